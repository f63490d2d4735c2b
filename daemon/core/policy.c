/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/policy.h"

#define KIND(k) (1U << (k))
#define ALL_KINDS \
        (KIND(OWNER_KIND_DMA_API) | KIND(OWNER_KIND_PRIVATE_DOMAIN) | KIND(OWNER_KIND_USER))

typedef struct Rule {
        bool privileged; /* matches only those */
        bool member;
        unsigned kinds;
        bool force;     /* may override what is in use */
        bool other_uid; /* may give the nodes to another uid */
} Rule;

static const Rule vendor_rules[] = {
        { .privileged = true, .kinds = ALL_KINDS, .force = true, .other_uid = true },
        { .member = true, .kinds = KIND(OWNER_KIND_USER) },
};

static bool rule_matches(const Rule *rule, const Caller *caller, const Request *request) {
        return (!rule->privileged || caller->privileged) && (!rule->member || caller->member) &&
               (rule->kinds & KIND(request->terms.kind));
}

int policy_check_acquire(const Caller *caller, const Request *request, Fault *fault) {
        for (size_t i = 0; i < sizeof(vendor_rules) / sizeof(*vendor_rules); i++) {
                const Rule *rule = &vendor_rules[i];

                if (!rule_matches(rule, caller, request))
                        continue;
                if (request->force && !rule->force)
                        return fault_set(fault, ERROR_ACCESS_DENIED,
                                         "uid %u may not use force: only root may take from the host "
                                         "what it uses",
                                         (unsigned)caller->uid);
                if (request->uid != caller->uid && !rule->other_uid)
                        return fault_set(fault, ERROR_ACCESS_DENIED,
                                         "uid %u may not take a lease for uid %u: only root may",
                                         (unsigned)caller->uid, (unsigned)request->uid);
                return 0;
        }
        return fault_set(fault, ERROR_ACCESS_DENIED,
                         "uid %u may not take %s leases: members of the group dmaowner may take user "
                         "leases, root may take all (usermod -aG dmaowner USER, then log in again)",
                         (unsigned)caller->uid, owner_kind_to_string(request->terms.kind));
}

int policy_check_manage(const Caller *caller, const Owner *owner, Fault *fault) {
        if (caller->privileged || caller->uid == owner->uid)
                return 0;
        return fault_set(fault, ERROR_ACCESS_DENIED,
                         "uid %u may not do this to a lease of another user: ask its owner, or root",
                         (unsigned)caller->uid);
}

int policy_check_administer(const Caller *caller, Fault *fault) {
        if (caller->privileged)
                return 0;
        return fault_set(fault, ERROR_ACCESS_DENIED, "uid %u may not do this: only root may",
                         (unsigned)caller->uid);
}

bool policy_may_see(const Caller *caller, uid_t uid) {
        return caller->privileged || caller->member || caller->uid == uid;
}
