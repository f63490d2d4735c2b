/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/policy.h"

#include "core/string-table.h"
#include "util/strings.h"

#define KIND(k) (1U << (k))
#define ALL_KINDS \
        (KIND(OWNER_KIND_DMA_API) | KIND(OWNER_KIND_PRIVATE_DOMAIN) | KIND(OWNER_KIND_USER))

typedef struct CallerRule {
        bool privileged; /* matches only those */
        bool member;
        unsigned kinds;
        bool force;     /* may override what is in use */
        bool other_uid; /* may give the nodes to another uid */
        bool priority;  /* may be served before others, and have them asked to leave */
} CallerRule;

static const CallerRule vendor_rules[] = {
        { .privileged = true, .kinds = ALL_KINDS, .force = true, .other_uid = true, .priority = true },
        { .member = true, .kinds = KIND(OWNER_KIND_USER) },
};

static bool caller_rule_matches(const CallerRule *rule, const Caller *caller,
                                const Request *request) {
        return (!rule->privileged || caller->privileged) && (!rule->member || caller->member) &&
               (rule->kinds & KIND(request->terms.kind));
}

static const char *const release_actions[_RELEASE_ACTION_MAX] = {
        [RELEASE_RESTORE] = "restore",
        [RELEASE_KEEP] = "keep",
};
DEFINE_STRING_TABLE(release_action, ReleaseAction, release_actions, _RELEASE_ACTION_INVALID);

void rule_clear(Rule *r) {
        free(r->name);
        free(r->origin);
        free(r->reset);
        strv_free(r->drivers);
        device_match_clear(&r->match);
        *r = RULE_NULL;
}

int policy_new(Policy **ret) {
        Policy *p = calloc(1, sizeof(Policy));

        if (!p)
                return -ENOMEM;
        *ret = p;
        return 0;
}

int policy_new_closed(const char *why, Policy **ret) {
        _cleanup_(policy_freep) Policy *p = NULL;

        if (policy_new(&p) < 0 || str_set(&p->closed, why) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(p);
        return 0;
}

Policy *policy_free(Policy *p) {
        if (!p)
                return NULL;
        for (size_t i = 0; i < p->n; i++)
                rule_clear(&p->rules[i]);
        free(p->rules);
        free(p->closed);
        free(p);
        return NULL;
}

int policy_add(Policy *p, Rule *rule) {
        Rule *longer = reallocarray(p->rules, p->n + 1, sizeof(Rule));

        if (!longer)
                return -ENOMEM;
        p->rules = longer;
        p->rules[p->n++] = *rule;
        *rule = RULE_NULL;
        return 0;
}

DevicePolicy policy_for_device(const Policy *p, const Device *d) {
        const Rule *release = NULL, *reset = NULL, *scrub = NULL, *protect = NULL, *drivers = NULL,
                   *vfs = NULL;

        for (size_t i = 0; p && i < p->n; i++) {
                const Rule *rule = &p->rules[i];

                if (!device_match(&rule->match, d))
                        continue;
                release = release || rule->release < 0 ? release : rule;
                reset = reset || !rule->reset ? reset : rule;
                scrub = scrub || rule->scrub < 0 ? scrub : rule;
                protect = protect || rule->protect < 0 ? protect : rule;
                drivers = drivers || !rule->drivers ? drivers : rule;
                vfs = vfs || rule->vfs < 0 ? vfs : rule;
        }
        return (DevicePolicy){
                .release = release ? release->release : RELEASE_RESTORE,
                .reset = reset && !str_eq(reset->reset, "required") ? reset->reset : "auto",
                .reset_required = reset && str_eq(reset->reset, "required"),
                .scrub = scrub ? scrub->scrub : SCRUB_NONE,
                .protect = protect && protect->protect ? protect : NULL,
                .drivers = drivers ? drivers->drivers : NULL,
                .vfs = vfs ? (unsigned)vfs->vfs : 0,
        };
}

bool policy_lists_driver(const Policy *p, const Device *d, const char *driver) {
        char *const *drivers = policy_for_device(p, d).drivers;

        return drivers && strv_contains(drivers, driver);
}

GroupPolicy policy_for_group(const Policy *p, const Group *g) {
        GroupPolicy said = {};

        for (const Device *d = g->devices; d; d = d->next)
                said.keep = said.keep || policy_for_device(p, d).release == RELEASE_KEEP;
        return said;
}

int policy_check_acquire(const Policy *p, const Caller *caller, const Request *request,
                         Fault *fault) {
        if (p && p->closed)
                return fault_set(fault, ERROR_BAD_POLICY,
                                 "nothing is granted while the policy cannot be used: %s; put that "
                                 "right, then run \"dmaownerctl reload\"",
                                 p->closed);
        for (size_t i = 0; i < sizeof(vendor_rules) / sizeof(*vendor_rules); i++) {
                const CallerRule *rule = &vendor_rules[i];

                if (!caller_rule_matches(rule, caller, request))
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
                if (request->priority > 0 && !rule->priority)
                        return fault_set(fault, ERROR_ACCESS_DENIED,
                                         "uid %u may not ask with priority %d: only root may go above "
                                         "0",
                                         (unsigned)caller->uid, request->priority);
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
