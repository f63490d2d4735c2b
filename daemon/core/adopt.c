/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/registry-private.h" /* first: it sets uthash up */

#include "core/choice.h"
#include "core/vfs.h"
#include "util/strings.h"

int registry_adopt_group(Registry *r, Group *g, GroupState state, const Owner *owner,
                         const Terms *terms, uid_t node_uid, const char *recorded_type,
                         Changes *c) {
        if (g->state != GROUP_FREE || state == GROUP_FREE)
                return -EINVAL;
        if (changes_reserve(c, 1, 0, 0) < 0)
                return -ENOMEM;
        if (owner_copy(&g->owner, owner) < 0 || terms_copy(&g->terms, terms) < 0 ||
            str_set(&g->recorded_type, recorded_type) < 0) {
                group_forget_claim(g);
                return -ENOMEM;
        }
        g->node_uid = node_uid;
        g->recorded = true;
        g->begun = true;
        group_set_state(g, state, NULL, c);
        for (Device *d = g->devices; d; d = d->next) {
                d->lent = true; /* for all that is known */
                device_note_lent(d);
        }
        return 0;
}

int registry_adopt_unrecorded(Registry *r, Group *g, const Request *request, const char *lost,
                              Changes *c) {
        const Terms terms = request_terms(request);
        GroupState state = lost ? GROUP_LOST : GROUP_OWNED;
        int k = registry_adopt_group(r, g, state, &request->owner, &terms, request->uid, NULL, c);

        if (k < 0)
                return k;
        for (Device *d = g->devices; d; d = d->next)
                device_lose_record(d);
        return lost ? registry_group_set_waits_for(g, lost, c) : 0;
}

/* What a former lease left, DMA-FQ for DMA, is owed still. */
int registry_adopt_untouched(Group *g) {
        const char *type = group_type(g);

        if (!str_eq(type, "DMA-FQ") && str_set(&g->recorded_type, type) < 0)
                return -ENOMEM;
        return group_record_devices(g);
}

int registry_adopt_owed(Group *g, const char *type) {
        if (g->state != GROUP_FREE || !str_eq(group_type(g), "DMA-FQ"))
                return -EINVAL;
        return str_set(&g->owed_type, type);
}

/* A lease with VFs counts on the group of their PF too, on other terms. */
static int request_name_pf(Request *request) {
        const char *pf = request->terms.pf;

        return !pf || strv_contains(request->devices, pf) ? 0 : strv_extend(&request->devices, pf);
}

static bool group_serves(const Group *g, const Request *request) {
        Request vfs = *request;

        if (g->terms.pool && g->terms.vfs > 0)
                return true; /* one of its VFs is named */
        if (g->terms.vfs > 0)
                return g->terms.vfs == request->terms.vfs && str_eq(g->terms.pf, request->terms.pf);
        vfs.terms.vfs = 0;
        return !group_conflict(g, &vfs);
}

/* The groups that the lease still has a right on. -ECANCELED with the fault set: none. */
static int find_groups(Registry *r, const Request *request, Group ***ret, size_t *ret_n,
                       Fault *fault) {
        _cleanup_free_ Group **groups = NULL;
        _cleanup_request_ Request all = REQUEST_NULL;
        size_t n;
        int k;

        if (request_copy(&all, request) < 0 || request_name_pf(&all) < 0)
                return fault_set_oom(fault);
        k = registry_resolve(r, &all, &groups, &n, fault);
        if (k < 0)
                return k;
        for (size_t i = 0; i < n; i++) {
                Group *g = groups[i];

                if ((g->state != GROUP_CLAIMING && g->state != GROUP_OWNED) ||
                    !group_serves(g, request))
                        return fault_set(fault, ERROR_LOST,
                                         "IOMMU group %u is no longer this lease's after the daemon "
                                         "was started again",
                                         g->id);
                if (group_reserve_lease(g) < 0)
                        return fault_set_oom(fault);
        }
        *ret = TAKE_PTR(groups);
        *ret_n = n;
        return 0;
}

/* It waits where it waited, whatever the bounds. The groups may have become others meanwhile. */
static int find_wanted(Registry *r, const Request *request, Lease *l, Changes *c) {
        int k = request_is_open(request)
                        ? 0
                        : registry_resolve(r, request, &l->wanted, &l->n_wanted, &l->failure);

        if (k < 0)
                return k;
        return queue_reserve(r, l->wanted, l->n_wanted) < 0 ||
                               changes_reserve(c, l->n_wanted, 1, 0) < 0
                       ? -ENOMEM
                       : 0;
}

static LeaseState state_by_groups(const Lease *l) {
        if (lease_awaits_vfs(l))
                return LEASE_ACTIVATING;
        for (size_t i = 0; i < l->n_groups; i++)
                if (l->groups[i]->state != GROUP_OWNED)
                        return LEASE_ACTIVATING;
        return LEASE_ACTIVE;
}

int registry_adopt_lease(Registry *r, const char *id, LeaseState state, Request *request,
                         Lease **ret, Changes *c) {
        _cleanup_(lease_freep) Lease *l = calloc(1, sizeof(Lease));
        int k = 0;

        if (!l)
                return -ENOMEM;
        l->failure = FAULT_NULL;
        if (id[0] != 'l' || parse_u64(id + 1, 10, &l->seq) < 0 || l->seq == 0)
                return -EINVAL;
        l->id = str_format("l%llu", l->seq);
        if (!l->id)
                return -ENOMEM;
        if (!str_eq(l->id, id))
                return -EINVAL;
        if (registry_lease(r, id))
                return -EEXIST;
        if (lease_state_is_alive(state))
                k = find_groups(r, request, &l->groups, &l->n_groups, &l->failure);
        else if (state == LEASE_QUEUED)
                k = find_wanted(r, request, l, c);
        if (k == -ENOMEM || changes_reserve(c, l->n_groups, 1, 0) < 0 ||
            registry_add_lease(r, l) < 0)
                return -ENOMEM;
        l->request = *request;
        *request = REQUEST_NULL;
        for (size_t i = 0; i < l->n_groups; i++)
                lease_join_group(l, l->groups[i], c);
        if (state == LEASE_QUEUED && k < 0)
                l->state = LEASE_FAILED;
        else if (state == LEASE_QUEUED)
                queue_add(r, l, c);
        else if (k < 0) {
                l->failure.code = ERROR_LOST;
                l->state = LEASE_LOST;
        } else if (state == LEASE_ACTIVATING || state == LEASE_ACTIVE)
                l->state = state_by_groups(l);
        else
                l->state = state;
        r->asked = r->asked || l->state == LEASE_REVOKING; /* for all that is known */
        changes_add_lease(c, l);
        *ret = TAKE_PTR(l);
        return 0;
}

int registry_adopt_done(Registry *r, Changes *c) {
        if (changes_reserve(c, HASH_COUNT(r->groups), 0, 0) < 0)
                return -ENOMEM;
        for (Group *g = r->groups; g; g = g->hh.next)
                if ((g->count == 0 && (g->state == GROUP_CLAIMING || g->state == GROUP_OWNED)) ||
                    /* what kept it there is gone: it is claimed and cleaned again */
                    (g->state == GROUP_QUARANTINED && g->kept != KEPT_CLAIM)) {
                        group_begin_draining(g);
                        changes_add_group(c, g);
                }
        return 0;
}
