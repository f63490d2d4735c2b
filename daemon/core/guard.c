/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the policy says of a request, whoever comes to grant it. */

#include "core/registry-private.h" /* first: it sets uthash up */

#include "core/policy.h"
#include "util/strings.h"

void registry_set_policy(Registry *r, const Policy *policy) {
        r->policy = policy;
        r->guarded = true;
}

int registry_check_policy(Registry *r, const Request *request, Group **groups, size_t n,
                          Fault *fault) {
        int k = 0;

        for (size_t i = 0; k == 0 && i < n; i++)
                k = group_check_protected(groups[i], fault);
        if (k < 0 || !r->guarded)
                return k;
        return policy_check_request(r->policy, request, groups, n, fault);
}

void registry_limit_ttl(Registry *r, Request *request, Group **groups, size_t n) {
        uint64_t longest = r->guarded && request->ttl == 0
                                   ? policy_longest_ttl(r->policy, request, groups, n)
                                   : 0;

        if (longest == 0)
                return;
        request->ttl = longest;
        request->expires = request->created + longest;
}

uint64_t registry_longest_ttl(Registry *r, const Lease *l) {
        return r->guarded ? policy_longest_ttl(r->policy, &l->request, l->groups, l->n_groups) : 0;
}

static int note_forbidden(Registry *r, Lease *l, Changes *c) {
        _cleanup_fault_ Fault why = FAULT_NULL;

        if (l->n_groups > 0 &&
            registry_check_policy(r, &l->request, l->groups, l->n_groups, &why) == -ENOMEM)
                return -ENOMEM;
        if (str_eq(l->forbidden, why.message))
                return 0;
        if (changes_reserve(c, 0, 1, 0) < 0 || str_set(&l->forbidden, why.message) < 0)
                return -ENOMEM;
        changes_add_lease(c, l);
        return 0;
}

int registry_note_forbidden(Registry *r, Changes *c) {
        int k = 0;

        for (Lease *l = r->leases; k == 0 && l; l = l->hh.next)
                if (!lease_state_is_over(l->state))
                        k = note_forbidden(r, l, c);
        return k;
}

int registry_test_policy(Registry *r, const Request *request, Decision *ret, char **ret_rule,
                         Fault *fault, Fault *why) {
        _cleanup_free_ Group **groups = NULL;
        const AccessEntry *e;
        const Device *d;
        size_t n;
        int k = request_validate(request, fault);

        if (k == 0)
                k = registry_resolve_named(r, request, &groups, &n, fault);
        if (k < 0)
                return k;
        k = registry_check_policy(r, request, groups, n, why);
        if (k == -ENOMEM)
                return k;
        d = registry_device(r, request->devices[0]);
        e = policy_decide(r->policy, request, d);
        *ret = k == 0 ? DECISION_ALLOW : why->code == ERROR_MUST_ASK ? DECISION_ASK : DECISION_DENY;
        *ret_rule = d->rules.protect ? strdup(d->rules.protect)
                                     : strdup(e && e->origin ? e->origin : "");
        return *ret_rule ? 0 : -ENOMEM;
}

/* How many leases that user has. */
static int check_limits(const Registry *r, const Request *request, bool queued, Fault *fault) {
        const Limits limits = r->policy ? r->policy->limits : LIMITS_DEFAULT;
        unsigned n_leases = 0, n_queued = 0;
        uid_t uid = request->caller.uid; /* not whom it is for: that would be a way around it */

        if (!r->guarded || request->caller.privileged)
                return 0;
        for (const Lease *l = r->leases; l; l = l->hh.next) {
                bool counts = l->request.caller.uid == uid && !lease_state_is_over(l->state);

                n_leases += counts;
                n_queued += counts && l->state == LEASE_QUEUED;
        }
        if (n_leases >= limits.leases)
                return fault_set(fault, ERROR_QUOTA_EXCEEDED,
                                 "uid %u has %u leases, and may not have more (\"limits\" in the "
                                 "policy): release some",
                                 (unsigned)uid, n_leases);
        if (queued && n_queued >= limits.queued)
                return fault_set(fault, ERROR_QUOTA_EXCEEDED,
                                 "uid %u has %u requests queued, and may not have more (\"limits\" in "
                                 "the policy): wait for some of them",
                                 (unsigned)uid, n_queued);
        return 0;
}

int registry_check_limits(const Registry *r, const Request *request, Fault *fault) {
        return check_limits(r, request, false, fault);
}

int registry_check_queue_limits(const Registry *r, const Request *request, Fault *fault) {
        return check_limits(r, request, true, fault);
}
