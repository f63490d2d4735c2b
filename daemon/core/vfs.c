/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/registry-private.h" /* first: it sets uthash up */

#include "core/planner-private.h"
#include "core/pool.h"
#include "core/vfs.h"
#include "util/strings.h"

Terms terms_of_pf(const Terms *wanted) {
        return (Terms){ .kind = OWNER_KIND_DMA_API,
                        .vfs = wanted->vfs,
                        .pf = wanted->pf,
                        .pool = wanted->pool };
}

static Device *find_pf(const Group *g, const Terms *terms) {
        Device *d = terms->vfs > 0 ? g->devices : NULL;

        while (d && !str_eq(d->facts.name, terms->pf))
                d = d->next;
        return d;
}

Device *group_pf(const Group *g) {
        return find_pf(g, &g->terms);
}

bool lease_awaits_vfs(const Lease *l) {
        const Request *q = &l->request;

        return q->terms.vfs > 0 && strv_length(q->devices) == 1 &&
               str_eq(q->devices[0], q->terms.pf);
}

/* All VFs of the PF that the registry knows, by name. */
static int list_vfs(Registry *r, const char *pf, char ***ret) {
        _cleanup_(strv_freep) char **names = calloc(1, sizeof(char *));

        if (!names)
                return -ENOMEM;
        for (Device *d = registry_devices(r); d; d = d->hh.next)
                if (str_eq(d->facts.physfn, pf) && strv_extend(&names, d->facts.name) < 0)
                        return -ENOMEM;
        *ret = TAKE_PTR(names);
        return 0;
}

int registry_settle_vfs(Registry *r, Request *request, Fault *fault) {
        _cleanup_(strv_freep) char **names = NULL;
        Terms *t = &request->terms;
        const Device *pf;

        if (t->vfs == 0 || strv_length(request->devices) != 1)
                return 0;
        if (str_set(&t->pf, request->devices[0]) < 0)
                return fault_set_oom(fault);
        pf = registry_device(r, t->pf);
        if (!pf || pf->facts.num_vfs != t->vfs || (pf->group && group_pf(pf->group)))
                return 0;
        if (list_vfs(r, t->pf, &names) < 0)
                return fault_set_oom(fault);
        if (strv_length(names) != t->vfs)
                return fault_set(fault, ERROR_BUSY,
                                 "The %u virtual functions of %s have not all appeared yet; try "
                                 "again soon",
                                 t->vfs, t->pf);
        (void)strv_free(request->devices);
        request->devices = TAKE_PTR(names);
        free(t->pf);
        t->pf = NULL;
        t->vfs = 0;
        return 0;
}

int registry_check_vfs(Registry *r, const Request *request, Fault *fault) {
        for (char **name = request->devices; name && *name; name++) {
                const Device *d = registry_device(r, *name),
                             *pf = d && d->facts.physfn ? registry_device(r, d->facts.physfn)
                                                        : NULL;
                const Group *g = pf ? pf->group : NULL;

                if (!g || group_pf(g) != pf)
                        continue;
                if (g->state == GROUP_OWNED && g->n_leases > 0 && !lease_awaits_vfs(g->leases[0]))
                        continue;
                return fault_set(fault, ERROR_BUSY,
                                 "%s is a virtual function that is just being %s, for lease %s",
                                 *name, g->n_leases > 0 ? "made" : "removed",
                                 g->n_leases > 0 ? g->leases[0]->id : "that has ended");
        }
        return 0;
}

/* Stands for the lease's request for its VFs, once they are there. */
static Request request_for_vfs(const Request *request, char **names) {
        Request vfs = *request;

        vfs.devices = names;
        vfs.terms.vfs = 0; /* the PF stays: they are its, and go with the lease */
        return vfs;
}

/* One that is on its way back to the host will be: the daemon ended while it was claimed, before that
 * was written of the lease. */
static bool groups_are_there(Registry *r, char *const *names) {
        for (; *names; names++) {
                const Group *g = registry_device(r, *names)->group;

                if (!g || g->state == GROUP_DRAINING || g->state == GROUP_RESTORING)
                        return false;
        }
        return true;
}

static int check_groups(Registry *r, const Lease *l, Group *const *groups, size_t n,
                        const Request *request, Fault *fault) {
        for (size_t i = 0; i < n; i++) {
                int k;

                if (group_pf(groups[i]))
                        return fault_set(fault, ERROR_NOT_VIABLE,
                                         "The virtual functions of %s are in its own IOMMU group "
                                         "%u, so they cannot have another owner than it has",
                                         l->request.terms.pf, groups[i]->id);
                k = group_check_protected(groups[i], fault);
                if (k == 0)
                        k = group_check(groups[i], request, l->seq, fault);
                if (k < 0)
                        return k;
                if (groups[i]->count > 0)
                        return fault_set(fault, ERROR_BUSY, "IOMMU group %u is not free",
                                         groups[i]->id);
        }
        return 0;
}

/* Of a pool it takes as many as it wants, the first that can be had; the others are for others. */
static int pick_vfs(Registry *r, const Lease *l, char ***names, Fault *fault) {
        _cleanup_(strv_freep) char **picked = calloc(1, sizeof(char *));
        _cleanup_fault_ Fault why = FAULT_NULL;
        size_t wanted, n;
        int k;

        if (!picked || pool_count(&l->request, registry_device(r, l->request.terms.pf), &wanted) < 0)
                return -ENOMEM;
        for (char **name = *names; *name && strv_length(picked) < wanted; name++) {
                char *only[] = { *name, NULL };
                const Request one = request_for_vfs(&l->request, only);
                _cleanup_free_ Group **groups = NULL;

                k = registry_resolve_named(r, &one, &groups, &n, &why);
                if (k == 0)
                        k = check_groups(r, l, groups, n, &one, &why);
                if (k == -ENOMEM || (k == 0 && strv_extend(&picked, *name) < 0))
                        return -ENOMEM;
        }
        if (wanted == 0 || strv_length(picked) < wanted)
                return fault_set(
                        fault, ERROR_NOT_VIABLE,
                        "%u virtual functions of %s were made, but %zu cannot be had of them%s%s",
                        l->request.terms.vfs, l->request.terms.pf, wanted,
                        fault_is_set(&why) ? ": " : "", fault_is_set(&why) ? why.message : "");
        (void)strv_free(*names);
        *names = TAKE_PTR(picked);
        return 0;
}

static int group_compare(const void *a, const void *b) {
        unsigned x = (*(Group *const *)a)->id, y = (*(Group *const *)b)->id;

        return (x > y) - (x < y);
}

/* Takes over groups, of which there are n, and names. Cannot fail. */
static void join(Lease *l, Group **all, Group **groups, size_t n, char **names, Changes *c) {
        (void)strv_free(l->request.devices);
        l->request.devices = names;
        for (size_t i = 0; i < n; i++) {
                all[l->n_groups + i] = groups[i];
                group_begin_claim(groups[i], c);
                lease_join_group(l, groups[i], c);
                registry_group_begin(groups[i]); /* fresh: the host has no use of it yet */
        }
        memcpy(all, l->groups, l->n_groups * sizeof(Group *));
        free(l->groups);
        l->groups = all;
        l->n_groups += n;
        qsort(all, l->n_groups, sizeof(Group *), group_compare);
        changes_add_lease(c, l);
}

int registry_join_vfs(Registry *r, Lease *l, Changes *c, Fault *fault) {
        _cleanup_free_ Group **groups = NULL, **all = NULL;
        _cleanup_(strv_freep) char **names = NULL;
        Request request;
        size_t n;
        int k;

        if (l->state != LEASE_ACTIVATING || !lease_awaits_vfs(l))
                return -EINVAL;
        if (list_vfs(r, l->request.terms.pf, &names) < 0)
                return -ENOMEM;
        if (strv_length(names) < l->request.terms.vfs || !groups_are_there(r, names))
                return 0;
        if (l->request.terms.pool) {
                k = pick_vfs(r, l, &names, fault);
                if (k < 0)
                        return k;
        }
        request = request_for_vfs(&l->request, names);
        k = registry_resolve_named(r, &request, &groups, &n, fault);
        if (k == 0)
                k = check_groups(r, l, groups, n, &request, fault);
        if (k < 0)
                return k;
        all = calloc(l->n_groups + n, sizeof(Group *));
        if (!all || groups_prepare(groups, n, &request, c) < 0) {
                groups_unprepare(groups, n);
                return -ENOMEM;
        }
        join(l, TAKE_PTR(all), groups, n, TAKE_PTR(names), c);
        return 1;
}

int registry_vfs_in_use(Registry *r, const Group *g, char **ret) {
        _cleanup_free_ char *names = NULL;
        const Device *pf = group_pf(g);

        for (Device *d = pf ? registry_devices(r) : NULL; d; d = d->hh.next)
                if (str_eq(d->facts.physfn, pf->facts.name) && d->group &&
                    d->group->state != GROUP_FREE &&
                    str_append(&names, "%s%s", names ? ", " : "", d->facts.name) < 0)
                        return -ENOMEM;
        *ret = TAKE_PTR(names);
        return 0;
}

/* planning */

static int check_pf(const DeviceFacts *f, const Terms *terms, Obstacles *o) {
        if (f->total_vfs == 0)
                return obstacles_add(o, "no-sriov", f->name,
                                     "%s has no virtual functions (SR-IOV); is that off in its "
                                     "firmware?",
                                     f->name);
        if (terms->vfs > f->total_vfs)
                return obstacles_add(o, "too-many-vfs", f->name,
                                     "%s can have %u virtual functions, not %u", f->name,
                                     f->total_vfs, terms->vfs);
        if (str_empty(f->driver) || driver_is_harmless(f->driver))
                return obstacles_add(o, "no-pf-driver", f->name,
                                     "Virtual functions are made by the host's driver of %s, but it "
                                     "has %s%s",
                                     f->name, str_empty(f->driver) ? "none" : "the driver ",
                                     str_empty(f->driver) ? "" : f->driver);
        if (f->num_vfs > 0 && f->num_vfs != terms->vfs)
                return obstacles_add(o, "vfs-enabled", f->name,
                                     "%s has %u virtual functions already; ask for these, or "
                                     "disable them first",
                                     f->name, f->num_vfs);
        return 0;
}

static int plan_number(const Group *g, const DeviceFacts *f, StepKind kind, unsigned value,
                       unsigned former, Plan *p) {
        _cleanup_free_ char *to = NULL, *from = NULL;

        if (value == former)
                return 0;
        to = str_format("%u", value);
        from = str_format("%u", former);
        if (!to || !from)
                return -ENOMEM;
        return plan_add(p, &(Step){ .kind = kind,
                                    .device = f->name,
                                    .group = g->id,
                                    .value = to,
                                    .former = from });
}

int plan_make_vfs(const Group *g, const Terms *terms, Plan *p, Obstacles *o) {
        const Device *pf = find_pf(g, terms);
        size_t known = o->n;

        if (!pf)
                return 0;
        if (check_pf(&pf->facts, terms, o) < 0)
                return -ENOMEM;
        if (o->n > known || pf->facts.num_vfs == terms->vfs)
                return 0;
        if (plan_number(g, &pf->facts, STEP_SET_VF_AUTOPROBE, 0, pf->facts.vf_autoprobe, p) < 0)
                return -ENOMEM;
        return plan_number(g, &pf->facts, STEP_SET_NUM_VFS, terms->vfs, 0, p);
}

int plan_remove_vfs(const Group *g, Plan *p) {
        const Device *pf = group_pf(g);

        if (!pf || !pf->record.valid)
                return 0;
        if (plan_number(g, &pf->facts, STEP_SET_NUM_VFS, pf->record.num_vfs, pf->facts.num_vfs, p) <
            0)
                return -ENOMEM;
        return plan_number(g, &pf->facts, STEP_SET_VF_AUTOPROBE, pf->record.vf_autoprobe,
                           pf->facts.vf_autoprobe, p);
}

/* Only a NIC's driver has settings for its VFs. */
static bool has_settings(const DeviceFacts *f) {
        return f->physfn && f->class_code >> 16 == 0x02;
}

int plan_read_vfs(const Group *g, const Terms *terms, Plan *p) {
        if (terms->kind == OWNER_KIND_DMA_API || (terms->pf && !terms->pool))
                return 0;
        for (const Device *d = g->devices; d; d = d->next) {
                const Step step = { .kind = STEP_READ_VF, .device = d->facts.name, .group = g->id };

                if (has_settings(&d->facts) && device_is_ours(g, d) && !d->record.vf_settings &&
                    plan_add(p, &step) < 0)
                        return -ENOMEM;
        }
        return 0;
}

int plan_set_vfs(const Group *g, Plan *p) {
        for (const Device *d = g->devices; d; d = d->next) {
                const Step step = { .kind = STEP_SET_VF,
                                    .device = d->facts.name,
                                    .group = g->id,
                                    .value = d->record.vf_settings };

                if (!str_empty(d->record.vf_settings) && plan_add(p, &step) < 0)
                        return -ENOMEM;
        }
        return 0;
}

bool vfs_are_made(const Group *g, const Terms *terms) {
        const Device *pf = find_pf(g, terms);

        return terms->vfs == 0 || (pf && pf->facts.num_vfs == terms->vfs);
}
