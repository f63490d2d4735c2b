/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/registry-private.h"
#include "util/strings.h"

void revocation_clear(Revocation *v) {
        free(v->reason);
        *v = (Revocation){};
}

static int end_at_once(Registry *r, Lease *l, const char *reason, Changes *c) {
        _cleanup_free_ char *text = str_format("revoked: %s", reason);

        return text ? registry_lease_end(r, l, LEASE_ENDED, text, c) : -ENOMEM;
}

static int ask_to_leave(Registry *r, Lease *l, const char *reason, uint64_t deadline, bool by_queue,
                        Changes *c) {
        if (lease_state_is_over(l->state))
                return -EINVAL;
        if (l->state == LEASE_QUEUED || l->state == LEASE_ACTIVATING)
                return end_at_once(r, l, reason, c);
        /* its own owner may revoke it too, and may not win time by that */
        if (l->state == LEASE_REVOKING && deadline > l->revocation.deadline)
                deadline = l->revocation.deadline;
        if (l->state == LEASE_REVOKING && deadline == l->revocation.deadline &&
            by_queue == l->revocation.by_queue && str_eq(reason, l->revocation.reason))
                return 0;
        if (changes_reserve(c, 0, 1, 0) < 0 || str_set(&l->revocation.reason, reason) < 0)
                return -ENOMEM;
        if (l->state != LEASE_REVOKING)
                l->revocation.former = l->state;
        l->state = LEASE_REVOKING;
        l->revocation.deadline = deadline;
        l->revocation.by_queue = by_queue;
        l->revocation.told = false;
        changes_add_lease(c, l);
        return 0;
}

int registry_revoke(Registry *r, Lease *l, const char *reason, uint64_t deadline, Changes *c) {
        return ask_to_leave(r, l, reason, deadline, false, c);
}

int registry_revoke_due(Registry *r, Lease *l, Changes *c) {
        size_t n = l->n_groups;
        _cleanup_free_ Group **left = NULL;
        int k;

        if (l->state != LEASE_REVOKING)
                return -EINVAL;
        left = calloc(n, sizeof(Group *));
        if (!left)
                return -ENOMEM;
        memcpy(left, l->groups, n * sizeof(Group *));
        k = end_at_once(r, l, l->revocation.reason, c);
        for (size_t i = 0; k == 0 && i < n; i++)
                left[i]->evict = left[i]->count == 0 && left[i]->terms.kind == OWNER_KIND_USER;
        return k;
}

/* for the queue */

/* Would the waiter have the group if those who hold it left, and are they to leave for it? */
static bool may_be_emptied(const Group *g, const Lease *waiter) {
        if (group_held_back_by(g, &waiter->request, waiter->seq))
                return false;
        if (group_may_be_claimed(g, request_terms(&waiter->request).kind) ||
            g->state == GROUP_DRAINING || g->state == GROUP_RESTORING)
                return true;
        if (g->state != GROUP_CLAIMING && g->state != GROUP_OWNED)
                return false;
        if (!group_conflict(g, &waiter->request))
                return true;
        for (size_t i = 0; i < g->n_leases; i++)
                if (g->leases[i]->request.priority >= waiter->request.priority)
                        return false;
        return true;
}

static bool is_in_the_way(const Group *g, const Lease *waiter) {
        return (g->state == GROUP_CLAIMING || g->state == GROUP_OWNED) &&
               group_conflict(g, &waiter->request);
}

/* Asks those who hold a group; one that was asked already only keeps the mark. */
static int empty_group(Registry *r, Group *g, const Lease *waiter, uint64_t deadline, Changes *c) {
        _cleanup_free_ char *reason = NULL;
        size_t i = 0;

        /* everybody hears it: whose lease that is tells it to those who may know */
        reason = str_format("lease %s with priority %d waits for it", waiter->id,
                            waiter->request.priority);
        if (!reason)
                return -ENOMEM;
        while (i < g->n_leases) {
                Lease *l = g->leases[i];
                bool ends = l->state == LEASE_ACTIVATING;

                l->mark = r->mark;
                /* a person who gives more time than the queue does asked for something else */
                if (l->state != LEASE_REVOKING ||
                    (!l->revocation.by_queue && l->revocation.deadline > deadline)) {
                        bool by_queue = l->state != LEASE_REVOKING;
                        int k = ask_to_leave(r, l, reason, deadline, by_queue, c);

                        if (k < 0)
                                return k;
                        r->asked = true;
                }
                if (!ends) /* else another one stands in its place */
                        i++;
        }
        return 0;
}

static int make_way(Registry *r, const Lease *waiter, uint64_t deadline, Changes *c) {
        int k = 0;

        for (size_t i = 0; i < waiter->n_wanted; i++)
                if (!may_be_emptied(waiter->wanted[i], waiter))
                        return 0;
        for (size_t i = 0; k == 0 && i < waiter->n_wanted; i++)
                if (is_in_the_way(waiter->wanted[i], waiter))
                        k = empty_group(r, waiter->wanted[i], waiter, deadline, c);
        return k;
}

/* Leases that need not leave any more. */
static int take_back(Registry *r, Changes *c) {
        bool asked = false;

        for (Lease *l = r->leases; l; l = l->hh.next) {
                if (l->state != LEASE_REVOKING || !l->revocation.by_queue)
                        continue;
                if (l->mark == r->mark) {
                        asked = true;
                        continue;
                }
                if (changes_reserve(c, 0, 1, 0) < 0)
                        return -ENOMEM;
                l->state = l->revocation.former;
                revocation_clear(&l->revocation);
                changes_add_lease(c, l);
        }
        r->asked = asked;
        return 0;
}

int registry_queue_revoke(Registry *r, uint64_t deadline, Changes *c) {
        int k = 0;

        r->mark++;
        for (size_t i = 0; k == 0 && i < r->n_queue; i++)
                k = make_way(r, r->queue[i], deadline, c);
        return k == 0 && r->asked ? take_back(r, c) : k;
}
