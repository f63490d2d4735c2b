/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/registry-private.h" /* first: it sets uthash up */

#include "core/choice.h"
#include "core/vfs.h"
#include "util/strings.h"

/* Is the waiter served before a request of that priority and age? */
static bool is_ahead(const Lease *waiter, int priority, unsigned long long seq) {
        return waiter->request.priority > priority ||
               (waiter->request.priority == priority && waiter->seq < seq);
}

static bool owner_counts_on(const Group *g, const Owner *owner) {
        for (size_t i = 0; i < g->n_leases; i++)
                if (owner_equal(&g->leases[i]->request.owner, owner))
                        return true;
        return false;
}

/* The group serves somebody and would serve this request too. Does that cost the waiter nothing? It
 * does not if the waiter can join as well, nor if the owner is there anyway and may stay. */
static bool may_join_before(const Group *g, const Lease *waiter, const Request *request) {
        if (g->state != GROUP_CLAIMING && g->state != GROUP_OWNED)
                return false;
        return !group_conflict(g, &waiter->request) ||
               (waiter->request.priority == request->priority &&
                owner_counts_on(g, &request->owner));
}

const Lease *group_held_back_by(const Group *g, const Request *request, unsigned long long seq) {
        for (size_t i = 0; i < g->n_queue && is_ahead(g->queue[i], request->priority, seq); i++)
                if (!may_join_before(g, g->queue[i], request))
                        return g->queue[i];
        return NULL;
}

/* joining and leaving */

static int grow(Lease ***queue, size_t n) {
        Lease **longer = reallocarray(*queue, n + 1, sizeof(Lease *));

        if (!longer)
                return -ENOMEM;
        *queue = longer;
        return 0;
}

int queue_reserve(Registry *r, Group **groups, size_t n) {
        if (grow(&r->queue, r->n_queue) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                if (grow(&groups[i]->queue, groups[i]->n_queue) < 0)
                        return -ENOMEM;
        return 0;
}

static void insert(Lease **queue, size_t *n, Lease *l) {
        size_t i = *n;

        for (; i > 0 && !is_ahead(queue[i - 1], l->request.priority, l->seq); i--)
                queue[i] = queue[i - 1];
        queue[i] = l;
        (*n)++;
}

static void take_out(Lease **queue, size_t *n, const Lease *l) {
        size_t i = 0;

        while (queue[i] != l)
                i++;
        (*n)--;
        memmove(queue + i, queue + i + 1, (*n - i) * sizeof(Lease *));
}

void queue_add(Registry *r, Lease *l, Changes *c) {
        l->state = LEASE_QUEUED;
        insert(r->queue, &r->n_queue, l);
        for (size_t i = 0; i < l->n_wanted; i++) {
                insert(l->wanted[i]->queue, &l->wanted[i]->n_queue, l);
                changes_add_group(c, l->wanted[i]);
        }
}

static void leave_queues(Registry *r, const Lease *l, Changes *c) {
        take_out(r->queue, &r->n_queue, l);
        for (size_t i = 0; i < l->n_wanted; i++) {
                take_out(l->wanted[i]->queue, &l->wanted[i]->n_queue, l);
                changes_add_group(c, l->wanted[i]);
        }
}

void queue_remove(Registry *r, Lease *l, Changes *c) {
        leave_queues(r, l, c);
        free(l->wanted);
        l->wanted = NULL;
        l->n_wanted = 0;
}

/* What is chosen from is chosen anew at every change. */
static int check_lists(const Registry *r, const Request *request, Fault *fault) {
        size_t n = request->n_choices;

        for (size_t i = 0; i < r->n_queue; i++)
                if (request_is_open(&r->queue[i]->request))
                        n += r->queue[i]->request.n_choices;
        if (!request_is_open(request) || n <= QUEUE_LISTS_MAX)
                return 0;
        return fault_set(fault, ERROR_QUOTA_EXCEEDED,
                         "requests with selectors or alternatives that are queued have %zu lists of "
                         "devices together, and there may not be more than %d; name devices, or try "
                         "again later",
                         n, QUEUE_LISTS_MAX);
}

static int check_length(const Registry *r, Group **groups, size_t n, Fault *fault) {
        if (r->n_queue >= QUEUE_MAX)
                return fault_set(fault, ERROR_QUOTA_EXCEEDED,
                                 "%d requests are queued already, and there may not be more; try "
                                 "again later",
                                 QUEUE_MAX);
        for (size_t i = 0; i < n; i++)
                if (groups[i]->n_queue >= QUEUE_GROUP_MAX)
                        return fault_set(fault, ERROR_QUOTA_EXCEEDED,
                                         "%d requests are queued for IOMMU group %u already, and "
                                         "there may not be more; try again later",
                                         QUEUE_GROUP_MAX, groups[i]->id);
        return 0;
}

int registry_enqueue(Registry *r, Request *request, Group ***groups, size_t n, Lease **ret,
                     Changes *c, Fault *fault) {
        _cleanup_(lease_freep) Lease *l = NULL;
        int k = check_length(r, *groups, n, fault);

        if (k == 0)
                k = check_lists(r, request, fault);
        if (k == 0)
                k = registry_check_queue_limits(r, request, fault);
        if (k < 0)
                return k;
        l = registry_new_lease(r);
        if (!l || queue_reserve(r, *groups, n) < 0 || changes_reserve(c, n, 1, 0) < 0 ||
            registry_add_lease(r, l) < 0)
                return fault_set_oom(fault);
        lease_take_request(l, request);
        l->request.expires = UINT64_MAX; /* while it has nothing that could expire */
        l->wanted = TAKE_PTR(*groups);
        l->n_wanted = n;
        queue_add(r, l, c);
        changes_add_lease(c, l);
        *ret = TAKE_PTR(l);
        return 0;
}

int queue_drop_device(Registry *r, const Group *g, const char *device, Changes *c) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        size_t i = 0;

        (void)fault_set(&why, ERROR_NO_SUCH_DEVICE,
                        "%s was removed from the host while the request was queued", device);
        while (i < g->n_queue)
                if (!strv_contains(g->queue[i]->request.devices, device))
                        i++;
                else if (registry_lease_fail(r, g->queue[i], &why, c) < 0) /* takes it out */
                        return -ENOMEM;
        return 0;
}

/* service */

/* What an open request would get now, for a lease of that age. */
static int choose_groups(Registry *r, const Lease *l, Request *ret, Group ***ret_groups,
                         size_t *ret_n) {
        if (request_copy(ret, &l->request) < 0)
                return -ENOMEM;
        if (registry_choose_at(r, ret, l->seq, NULL) < 0 ||
            registry_check_at(r, ret, l->seq, ret_groups, ret_n, NULL) < 0)
                return -ECANCELED;
        return 0;
}

static bool open_can_be_granted(Registry *r, const Lease *l) {
        _cleanup_request_ Request request = REQUEST_NULL;
        _cleanup_free_ Group **groups = NULL;
        size_t n;

        return choose_groups(r, l, &request, &groups, &n) == 0;
}

static bool can_be_granted(Registry *r, const Lease *l) {
        if (request_is_open(&l->request))
                return open_can_be_granted(r, l);
        if (registry_check_policy(r, &l->request, l->wanted, l->n_wanted, NULL) < 0)
                return false;
        for (size_t i = 0; i < l->n_wanted; i++)
                if (group_check(l->wanted[i], &l->request, l->seq, NULL) < 0)
                        return false;
        /* VFs that are about to be removed are nobody's */
        return registry_check_vfs(r, &l->request, NULL) == 0;
}

/* Everybody may read this, so it names leases and not whose they are. */
static int describe_group(const Group *g, const Lease *l, char **text) {
        const Lease *ahead = group_held_back_by(g, &l->request, l->seq);
        _cleanup_free_ char *names = group_device_names(g), *gate = NULL;

        if (!names || str_append(text, "%sIOMMU group %u (%s)", *text ? "; " : "", g->id, names) < 0)
                return -ENOMEM;
        if (g->state != GROUP_CLAIMING && g->state != GROUP_OWNED &&
            !group_may_be_claimed(g, request_terms(&l->request).kind))
                return str_append(text, " is %s%s%s", group_state_to_string(g->state),
                                  str_empty(g->waits_for) ? "" : ": ",
                                  str_empty(g->waits_for) ? "" : g->waits_for);
        if ((g->n_leases == 0 || !group_conflict(g, &l->request)) &&
            group_describe_gate(g, &l->request.owner, &gate) < 0)
                return -ENOMEM;
        if (!str_empty(gate))
                return str_append(text, " is held back: %s", gate);
        if (g->n_leases == 0 || !group_conflict(g, &l->request))
                return str_append(text, " is reserved for lease %s, which is ahead",
                                  ahead ? ahead->id : "?");
        if (str_append(text, " is held (%s) by", owner_kind_to_string(g->terms.kind)) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < g->n_leases; i++)
                if (str_append(text, "%s lease %s", i > 0 ? "," : "", g->leases[i]->id) < 0)
                        return -ENOMEM;
        return 0;
}

int lease_waits_for(const Lease *l, char **ret) {
        _cleanup_free_ char *text = NULL;

        if (l->state == LEASE_QUEUED && request_is_open(&l->request)) {
                _cleanup_free_ char *list = strv_join(l->request.choices[0], " ");

                *ret = list ? str_format("free devices for %s%s", list,
                                         l->request.n_choices > 1 ? ", or an alternative" : "")
                            : NULL;
                return *ret ? 0 : -ENOMEM;
        }
        for (size_t i = 0; i < l->n_wanted; i++)
                if (group_check(l->wanted[i], &l->request, l->seq, NULL) < 0 &&
                    describe_group(l->wanted[i], l, &text) < 0)
                        return -ENOMEM;
        *ret = TAKE_PTR(text);
        return 0;
}

Lease *registry_queue_next(Registry *r) {
        for (size_t i = 0; i < r->n_queue; i++)
                if (can_be_granted(r, r->queue[i]))
                        return r->queue[i];
        return NULL;
}

static void reopen(Lease *l) {
        l->request.devices = strv_free(l->request.devices);
        free(l->wanted);
        l->wanted = NULL;
        l->n_wanted = 0;
}

/* It waits for what was chosen for it, without a place in the queues of these groups. */
static int settle_open(Registry *r, Lease *l) {
        _cleanup_request_ Request request = REQUEST_NULL;
        int k = choose_groups(r, l, &request, &l->wanted, &l->n_wanted);

        if (k < 0)
                return k;
        request_clear(&l->request);
        lease_take_request(l, &request);
        return 0;
}

int registry_queue_grant(Registry *r, Lease *l, uint64_t now, Changes *c) {
        const Request *request = &l->request;
        bool open = request_is_open(request);

        if (l->state != LEASE_QUEUED || !can_be_granted(r, l))
                return -EINVAL;
        if (open && settle_open(r, l) < 0)
                return -ENOMEM;
        if (groups_prepare(l->wanted, l->n_wanted, request, c) < 0) {
                groups_unprepare(l->wanted, l->n_wanted);
                if (open)
                        reopen(l);
                return -ENOMEM;
        }
        if (open)
                take_out(r->queue, &r->n_queue, l);
        else
                leave_queues(r, l, c);
        l->groups = TAKE_PTR(l->wanted);
        l->n_groups = l->n_wanted;
        l->n_wanted = 0;
        registry_limit_ttl(r, &l->request, l->groups, l->n_groups);
        if (request->ttl > 0 && request->ttl < UINT64_MAX - now)
                l->request.expires = now + request->ttl;
        lease_take_groups(l, c);
        return 0;
}

uint64_t registry_queue_deadline(Registry *r) {
        uint64_t first = UINT64_MAX;

        for (size_t i = 0; i < r->n_queue; i++)
                if (r->queue[i]->request.wait_until < first)
                        first = r->queue[i]->request.wait_until;
        return first;
}

static int time_out(Registry *r, Lease *l, Changes *c) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        _cleanup_free_ char *what = NULL;

        if (lease_waits_for(l, &what) < 0)
                return -ENOMEM;
        (void)fault_set(&why, ERROR_TIMED_OUT, "the wait is over: %s",
                        what ? what : "it could be granted only now");
        return registry_lease_fail(r, l, &why, c);
}

/* Has the policy come to forbid what it waits for? 1: it is failed */
static int drop_forbidden(Registry *r, Lease *l, Changes *c) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        int k = registry_check_policy(r, &l->request, l->wanted, l->n_wanted, &why);

        /* while the files are broken nobody knows */
        if (k != -ECANCELED || why.code == ERROR_BAD_POLICY)
                return k == -ECANCELED ? 0 : k;
        k = registry_lease_fail(r, l, &why, c);
        return k < 0 ? k : 1;
}

int registry_queue_expire(Registry *r, uint64_t now, Changes *c) {
        size_t i = 0;

        while (i < r->n_queue) {
                Lease *l = r->queue[i];
                int k = drop_forbidden(r, l, c);

                if (k == 0 && l->request.wait_until <= now)
                        k = time_out(r, l, c) < 0 ? -ENOMEM : 1;
                if (k < 0)
                        return k;
                i += k == 0; /* else it was taken out */
        }
        return 0;
}
