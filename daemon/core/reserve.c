/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/registry-private.h" /* first: it sets uthash up */

#include <limits.h>

#include "core/pool.h"
#include "core/vfs.h"
#include "util/strings.h"

static int name_compare(const void *a, const void *b) {
        return device_name_compare(*(char *const *)a, *(char *const *)b);
}

static int group_compare(const void *a, const void *b) {
        unsigned x = (*(Group *const *)a)->id, y = (*(Group *const *)b)->id;

        return (x > y) - (x < y);
}

/* Names the one that stands twice in a sorted list. */
static int refuse_duplicates(char *const *sorted, size_t n, Fault *fault) {
        for (size_t i = 1; i < n; i++)
                if (strcmp(sorted[i - 1], sorted[i]) == 0)
                        return fault_set(fault, ERROR_INVALID_ARGS, "%s is named twice", sorted[i]);
        return 0;
}

static bool name_is_printable(const char *s) {
        size_t n = strlen(s);

        for (size_t i = 0; i < n; i++)
                if (s[i] < ' ' || s[i] > '~')
                        return false;
        return n > 0 && n <= 64;
}

static int resolve_device(Registry *r, const char *name, Group **ret, Fault *fault) {
        Device *d = registry_device(r, name);

        if (!d && device_name_is_pci(name))
                return fault_set(fault, ERROR_NO_SUCH_DEVICE, "There is no device %s", name);
        if (!d)
                /* too long or strange names are not worth repeating */
                return fault_set(fault, ERROR_INVALID_ARGS,
                                 "%s is not a PCI address such as 0000:3b:00.0",
                                 name_is_printable(name) ? name : "What was given");
        if (!str_eq(d->facts.bus, "pci"))
                return fault_set(fault, ERROR_UNSUPPORTED,
                                 "%s is a device of the bus %s; only pci is supported", name,
                                 str_empty(d->facts.bus) ? "?" : d->facts.bus);
        if (!d->group)
                return fault_set(fault, ERROR_NO_IOMMU,
                                 "%s has no IOMMU group; is the IOMMU off in the firmware or on the "
                                 "kernel command line?",
                                 name);
        if (d->facts.bridge)
                return fault_set(fault, ERROR_NOT_VIABLE,
                                 "%s is a bridge, which cannot be handed out; name a device behind "
                                 "it",
                                 name);
        *ret = d->group;
        return 0;
}

static int resolve(Registry *r, const Request *request, bool with_pools, Group ***ret_groups,
                   size_t *ret_n, Fault *fault) {
        _cleanup_free_ Group **groups = NULL;
        _cleanup_free_ char **names = NULL;
        size_t n = strv_length(request->devices), n_found = n, n_groups = 0;
        int k;

        groups = calloc(2 * n + 1, sizeof(Group *));
        names = calloc(n + 1, sizeof(char *));
        if (!groups || !names)
                return fault_set_oom(fault);
        for (size_t i = 0; i < n; i++) {
                names[i] = request->devices[i];
                k = resolve_device(r, names[i], &groups[i], fault);
                if (k < 0)
                        return k;
        }
        for (size_t i = 0; with_pools && i < n; i++) {
                Group *pool = pool_group(r, registry_device(r, names[i]));

                if (pool)
                        groups[n_found++] = pool;
        }
        qsort(names, n, sizeof(char *), name_compare);
        k = refuse_duplicates(names, n, fault);
        if (k < 0)
                return k;
        qsort(groups, n_found, sizeof(Group *), group_compare);
        for (size_t i = 0; i < n_found; i++)
                if (n_groups == 0 || groups[n_groups - 1] != groups[i])
                        groups[n_groups++] = groups[i];
        *ret_groups = TAKE_PTR(groups);
        *ret_n = n_groups;
        return 0;
}

int registry_resolve(Registry *r, const Request *request, Group ***ret_groups, size_t *ret_n,
                     Fault *fault) {
        return resolve(r, request, true, ret_groups, ret_n, fault);
}

int registry_resolve_named(Registry *r, const Request *request, Group ***ret_groups, size_t *ret_n,
                           Fault *fault) {
        return resolve(r, request, false, ret_groups, ret_n, fault);
}

/* dma-api shares a group among owners as long as the driver of each named device and the default
 * domain type are, or are going to be, what the newcomer wishes. */
static const char *dma_api_conflict(const Group *g, const Request *request) {
        const Terms *have = &g->terms, *want = &request->terms;

        if (!str_empty(want->default_domain_type) &&
            !str_eq(want->default_domain_type, str_empty(have->default_domain_type)
                                                       ? group_type(g)
                                                       : have->default_domain_type))
                return "with another default domain type";
        if (str_empty(want->driver))
                return NULL;
        for (const Device *d = g->devices; d; d = d->next) {
                const char *driver = terms_driver(have, d);

                if (strv_contains(request->devices, d->facts.name) &&
                    !str_eq(want->driver, driver ? driver : d->record.driver))
                        return "with another driver";
        }
        return NULL;
}

/* Is the driver of the group's terms for all devices of it that are named now? */
static bool driver_is_for(const Group *g, const Request *request) {
        for (const Device *d = g->devices; d && !str_empty(g->terms.driver); d = d->next)
                if (strv_contains(request->devices, d->facts.name) && !terms_driver(&g->terms, d))
                        return false;
        return true;
}

static bool names_device_of(const Group *g, const Request *request) {
        for (const Device *d = g->devices; d; d = d->next)
                if (strv_contains(request->devices, d->facts.name))
                        return true;
        return false;
}

const char *group_conflict(const Group *g, const Request *request) {
        const Terms *have = &g->terms, *want = &request->terms;

        if (have->pool && have->vfs > 0 && !names_device_of(g, request))
                return NULL; /* it wants one of the VFs, and counts on their PF for that */
        if (have->vfs > 0 || want->vfs > 0)
                return "as the device that virtual functions are made of";
        if (have->kind != want->kind)
                return "as another kind of owner";
        if (have->kind == OWNER_KIND_DMA_API)
                return dma_api_conflict(g, request);
        if (!owner_equal(&g->owner, &request->owner))
                return "which is another owner";
        if (!str_eq(have->driver, want->driver) || !driver_is_for(g, request))
                return "with another driver";
        if (have->kind == OWNER_KIND_USER) {
                if (have->access != want->access)
                        return "with another access";
                if (want->interface != VFIO_INTERFACE_AUTO && want->interface != have->interface)
                        return "over another interface";
                if (g->node_uid != request->uid)
                        return "for another uid";
        }
        return NULL;
}

static bool group_expires(const Group *g) {
        for (size_t i = 0; i < g->n_leases; i++)
                if (g->leases[i]->request.expires == UINT64_MAX)
                        return false;
        return g->n_leases > 0;
}

static int refuse_held(const Group *g, const char *conflict, const Caller *asks, Fault *fault) {
        _cleanup_free_ char *names = NULL, *who = NULL;

        if (!fault)
                return -ECANCELED;
        names = group_device_names(g);
        who = group_describe_owner(g, asks);
        if (!names || !who)
                return fault_set_oom(fault);
        return fault_set(fault, ERROR_BUSY,
                         "IOMMU group %u (%s) is held by %s, %s (kind %s), until %s", g->id, names,
                         who, conflict, owner_kind_to_string(g->terms.kind),
                         group_expires(g) ? "that is released or expires" : "that is released");
}

/* Refuses a group that serves nobody now: on its way back to the host, or waiting for a person. */
static int refuse_unavailable(const Group *g, OwnerKind kind, const Caller *asks, Fault *fault) {
        _cleanup_free_ char *names = NULL, *who = NULL;
        const char *why = str_empty(g->waits_for) ? NULL : g->waits_for;

        if (g->state == GROUP_CLAIMING || g->state == GROUP_OWNED || group_may_be_claimed(g, kind))
                return 0;
        if (!fault)
                return -ECANCELED;
        names = group_device_names(g);
        who = group_describe_owner(g, asks);
        if (!names || !who)
                return fault_set_oom(fault);
        switch (g->state) {
        case GROUP_DRAINING:
                return fault_set(fault, ERROR_BUSY,
                                 "IOMMU group %u (%s) is being taken back from %s and waits for %s",
                                 g->id, names, who, why ? why : "its files to be closed");
        case GROUP_RESTORING:
                return fault_set(fault, ERROR_BUSY,
                                 "IOMMU group %u (%s) is being given back to the host after %s%s%s; "
                                 "try again soon",
                                 g->id, names, who, why ? " and waits for " : "", why ? why : "");
        case GROUP_QUARANTINED:
                return fault_set(fault, ERROR_QUARANTINED,
                                 "IOMMU group %u (%s) is kept in quarantine for leases of kind user; "
                                 "Restore gives it back to the host",
                                 g->id, names);
        case GROUP_FAILED:
                return fault_set(fault, ERROR_BUSY,
                                 "IOMMU group %u (%s) could not be given back to the host: %s; put "
                                 "that right, then Retry or Accept the group",
                                 g->id, names, why ? why : "the reason is not known");
        case GROUP_LOST:
                return fault_set(fault, ERROR_LOST,
                                 "IOMMU group %u (%s) was changed by somebody else: %s; Retry or "
                                 "Accept the group",
                                 g->id, names, why ? why : "the reason is not known");
        case GROUP_FREE:
        case GROUP_CLAIMING:
        case GROUP_OWNED:
        case _GROUP_STATE_MAX:
        case _GROUP_STATE_INVALID:
                break;
        }
        return 0;
}

static int refuse_reserved(const Group *g, const Lease *waiter, const Caller *asks, Fault *fault) {
        _cleanup_free_ char *names = NULL, *who = NULL;

        if (!fault)
                return -ECANCELED;
        names = group_device_names(g);
        who = lease_describe_owner(waiter, asks);
        if (!names || !who)
                return fault_set_oom(fault);
        return fault_set(fault, ERROR_BUSY,
                         "IOMMU group %u (%s) is reserved for %s, which is queued ahead", g->id,
                         names, who);
}

int group_check(const Group *g, const Request *request, unsigned long long seq, Fault *fault) {
        const OwnerKind kind =
                request_terms(request).kind; /* of the PF's group, if VFs are wanted */
        const char *conflict;
        const Lease *waiter;
        int k;

        k = refuse_unavailable(g, kind, &request->caller, fault);
        if (k == 0 && g->count == 0)
                k = group_check_gate(g, request, fault);
        if (k < 0)
                return k;
        conflict = group_may_be_claimed(g, kind) ? NULL : group_conflict(g, request);
        if (conflict)
                return refuse_held(g, conflict, &request->caller, fault);
        /* its last owner may have it for the kernel; others may not join him before it is clean */
        k = g->count > 0 ? group_check_gate(g, request, fault) : 0;
        if (k < 0)
                return k;
        waiter = group_held_back_by(g, request, seq);
        return waiter ? refuse_reserved(g, waiter, &request->caller, fault) : 0;
}

/* What no owner could get is refused by a negative result; *ret_later: the groups are not to be
 * had now, as the fault says. */
static int find_groups(Registry *r, const Request *request, unsigned long long seq,
                       Group ***ret_groups, size_t *ret_n, bool *ret_later, Fault *fault) {
        _cleanup_free_ Group **groups = NULL;
        size_t n;
        int k;

        k = request_validate(request, fault);
        if (k < 0)
                return k;
        k = registry_resolve(r, request, &groups, &n, fault);
        if (k == 0)
                k = registry_check_policy(r, request, groups, n, fault);
        if (k == 0)
                k = registry_check_vfs(r, request, fault);
        if (k < 0)
                return k;
        for (size_t i = 0; k == 0 && i < n; i++)
                k = group_check(groups[i], request, seq, fault);
        if (k == -ENOMEM)
                return k;
        *ret_later = k < 0;
        *ret_groups = TAKE_PTR(groups);
        *ret_n = n;
        return 0;
}

int registry_check(Registry *r, const Request *request, Group ***ret_groups, size_t *ret_n,
                   Fault *fault) {
        return registry_check_at(r, request, ULLONG_MAX, ret_groups, ret_n, fault);
}

int registry_check_at(Registry *r, const Request *request, unsigned long long seq,
                      Group ***ret_groups, size_t *ret_n, Fault *fault) {
        _cleanup_free_ Group **groups = NULL;
        bool later;
        size_t n;
        int k;

        k = find_groups(r, request, seq, &groups, &n, &later, fault);
        if (k < 0)
                return k;
        if (later)
                return -ECANCELED;
        *ret_groups = TAKE_PTR(groups);
        *ret_n = n;
        return 0;
}

int group_reserve_lease(Group *g) {
        Lease **longer = reallocarray(g->leases, g->n_leases + 1, sizeof(Lease *));

        if (!longer)
                return -ENOMEM;
        g->leases = longer;
        return 0;
}

int groups_prepare(Group **groups, size_t n, const Request *request, Changes *c) {
        const OwnerKind kind = request_terms(request).kind;

        if (changes_reserve(c, n, 1, 0) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                if (group_reserve_lease(groups[i]) < 0 ||
                    (group_may_be_claimed(groups[i], kind) &&
                     group_prepare_claim(groups[i], request) < 0))
                        return -ENOMEM;
        return pool_mark(groups, n);
}

void groups_unprepare(Group **groups, size_t n) {
        for (size_t i = 0; i < n; i++)
                group_drop_prepared(groups[i]);
}

void lease_take_groups(Lease *l, Changes *c) {
        const OwnerKind kind = request_terms(&l->request).kind;

        l->state = LEASE_ACTIVE;
        for (size_t i = 0; i < l->n_groups; i++) {
                if (group_may_be_claimed(l->groups[i], kind))
                        group_begin_claim(l->groups[i], c);
                if (l->groups[i]->state == GROUP_CLAIMING)
                        l->state = LEASE_ACTIVATING;
                lease_join_group(l, l->groups[i], c);
        }
        changes_add_lease(c, l);
}

Lease *registry_new_lease(Registry *r) {
        _cleanup_(lease_freep) Lease *l = calloc(1, sizeof(Lease));

        if (!l)
                return NULL;
        l->failure = FAULT_NULL;
        l->seq = r->last_seq + 1;
        l->id = str_format("l%llu", l->seq);
        return l->id ? TAKE_PTR(l) : NULL;
}

void lease_take_request(Lease *l, Request *request) {
        l->request = *request;
        l->request.caller.sees = false; /* what becomes of it is told to everybody */
        *request = REQUEST_NULL;
        if (l->request.devices) /* else nothing is chosen yet */
                qsort(l->request.devices, strv_length(l->request.devices), sizeof(char *),
                      name_compare);
}

int registry_reserve(Registry *r, Request *request, Lease **ret, Changes *c, Fault *fault) {
        _cleanup_(lease_freep) Lease *l = NULL;
        _cleanup_free_ Group **groups = NULL;
        _cleanup_fault_ Fault busy = FAULT_NULL;
        bool later;
        size_t n;
        int k;

        k = find_groups(r, request, ULLONG_MAX, &groups, &n, &later, &busy);
        if (k < 0 || (later && request->wait_until == 0)) {
                if (fault && fault_copy(fault, &busy) < 0)
                        return fault_set_oom(fault);
                return k < 0 ? k : -ECANCELED;
        }
        if (later)
                return registry_enqueue(r, request, &groups, n, ret, c, fault);
        k = registry_check_limits(r, request, fault);
        if (k < 0)
                return k;
        registry_limit_ttl(r, request, groups, n);
        l = registry_new_lease(r);
        if (!l || groups_prepare(groups, n, request, c) < 0 || registry_add_lease(r, l) < 0) {
                groups_unprepare(groups, n);
                return fault_set_oom(fault);
        }
        lease_take_request(l, request);
        l->n_groups = n;
        l->groups = TAKE_PTR(groups);
        lease_take_groups(l, c);
        *ret = TAKE_PTR(l);
        return 0;
}
