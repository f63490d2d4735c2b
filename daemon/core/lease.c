/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/registry-private.h"
#include "util/strings.h"

Lease *lease_free(Lease *l) {
        if (!l)
                return NULL;
        free(l->id);
        request_clear(&l->request);
        free(l->groups);
        free(l->wanted);
        revocation_clear(&l->revocation);
        fault_clear(&l->failure);
        free(l->forbidden);
        free(l->ended);
        free(l);
        return NULL;
}

bool lease_state_is_alive(LeaseState s) {
        return s == LEASE_ACTIVATING || s == LEASE_ACTIVE || s == LEASE_UNCONFIRMED ||
               s == LEASE_REVOKING;
}

bool lease_state_is_over(LeaseState s) {
        return s == LEASE_ENDED || s == LEASE_FAILED || s == LEASE_LOST;
}

/* The group has room for the lease. */
void lease_join_group(Lease *l, Group *g, Changes *c) {
        g->leases[g->n_leases++] = l;
        g->count++;
        changes_add_group(c, g);
}

static void group_remove_lease(Group *g, Lease *l) {
        size_t i = 0;

        while (g->leases[i] != l)
                i++;
        g->n_leases--;
        memmove(g->leases + i, g->leases + i + 1, (g->n_leases - i) * sizeof(Lease *));
        g->count--;
        if (g->count == 0)
                group_begin_draining(g);
        else if (i == 0)
                /* Owners may differ within dma-api, where the owner is only shown: for lack of
                 * memory the former one stays. */
                (void)owner_copy(&g->owner, &g->leases[0]->request.owner);
}

void lease_leave_groups(Registry *r, Lease *l, LeaseState state, Fault *failure, char **ended,
                        Changes *c) {
        for (size_t i = 0; i < l->n_groups; i++) {
                group_remove_lease(l->groups[i], l);
                changes_add_group(c, l->groups[i]);
        }
        free(l->groups);
        l->groups = NULL;
        l->n_groups = 0;
        if (l->state == LEASE_QUEUED)
                queue_remove(r, l, c);
        l->state = state;
        if (failure) {
                fault_clear(&l->failure);
                l->failure = *failure;
                *failure = FAULT_NULL;
        }
        if (ended) {
                free(l->ended);
                l->ended = TAKE_PTR(*ended);
        }
        changes_add_lease(c, l);
}

int registry_lease_end(Registry *r, Lease *l, LeaseState state, const char *reason, Changes *c) {
        _cleanup_fault_ Fault failure = FAULT_NULL;
        _cleanup_free_ char *ended = NULL;

        if (lease_state_is_over(l->state) || !lease_state_is_over(state))
                return -EINVAL;
        if (changes_reserve(c, l->n_groups + l->n_wanted, 1, 0) < 0)
                return -ENOMEM;
        if (state == LEASE_ENDED) {
                if (str_set(&ended, reason) < 0)
                        return -ENOMEM;
        } else
                (void)fault_set(&failure, state == LEASE_LOST ? ERROR_LOST : ERROR_KERNEL_REFUSED,
                                "%s", reason);
        lease_leave_groups(r, l, state, &failure, &ended, c);
        return 0;
}

int registry_lease_fail(Registry *r, Lease *l, const Fault *why, Changes *c) {
        _cleanup_fault_ Fault failure = FAULT_NULL;

        if (lease_state_is_over(l->state))
                return -EINVAL;
        if (changes_reserve(c, l->n_groups + l->n_wanted, 1, 0) < 0 || fault_copy(&failure, why) < 0)
                return -ENOMEM;
        lease_leave_groups(r, l, LEASE_FAILED, &failure, NULL, c);
        return 0;
}

bool registry_lease_set_state(Registry *r, Lease *l, LeaseState state, Changes *c) {
        bool allowed = (l->state == LEASE_ACTIVE && state == LEASE_UNCONFIRMED) ||
                       (l->state == LEASE_UNCONFIRMED && state == LEASE_ACTIVE);

        if (!allowed || changes_reserve(c, l->n_groups, 1, 0) < 0)
                return false;
        l->state = state;
        changes_add_lease(c, l);
        for (size_t i = 0; state == LEASE_ACTIVE && i < l->n_groups; i++) {
                Group *g = l->groups[i];

                if (!g->waits_for)
                        continue;
                free(g->waits_for); /* until its files are closed */
                g->waits_for = NULL;
                changes_add_group(c, g);
        }
        return true;
}

int registry_lease_set_expires(Lease *l, uint64_t expires, Changes *c) {
        if (l->request.expires == expires)
                return 0;
        if (changes_reserve(c, 0, 1, 0) < 0)
                return -ENOMEM;
        l->request.expires = expires;
        if (l->revocation.former == LEASE_UNCONFIRMED)
                l->revocation.former = LEASE_ACTIVE;
        changes_add_lease(c, l);
        return 0;
}

void registry_forget_lease(Registry *r, Lease *l) {
        if (!lease_state_is_over(l->state))
                return;
        HASH_DEL(r->leases, l);
        (void)lease_free(l);
}

int registry_lease_set_process(Lease *l, pid_t pid, uint64_t start, Changes *c) {
        if (changes_reserve(c, 0, 1, 0) < 0)
                return -ENOMEM;
        l->request.holder = HOLDER_PROCESS;
        l->request.holder_pid = pid;
        l->request.holder_start = start;
        l->request.ttl = 0; /* that was for the time before */
        changes_add_lease(c, l);
        return 0;
}

int registry_lease_orphan(Lease *l, uint64_t expires, Changes *c) {
        if (l->request.grace == 0 || (l->state != LEASE_ACTIVE && l->state != LEASE_UNCONFIRMED))
                return -EINVAL;
        if (changes_reserve(c, 0, 1, 0) < 0)
                return -ENOMEM;
        l->state = LEASE_UNCONFIRMED;
        l->request.holder = HOLDER_NONE;
        l->request.holder_pid = 0;
        l->request.holder_start = 0;
        l->request.expires = expires;
        changes_add_lease(c, l);
        return 0;
}
