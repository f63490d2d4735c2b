/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/policy.h"

#include "core/pool.h"
#include "core/queue.h"
#include "core/string-table.h"
#include "util/strings.h"

#define KIND(k)   (1U << (k))
#define ACTION(a) (1U << (a))

/* what holds where no rule says anything */

static char *any_owner[] = { (char *)"*", NULL };

static AccessEntry vendor_access[] = {
        { .privileged = true,
          .owners = any_owner,
          .decision = DECISION_ALLOW,
          .priority_min = PRIORITY_MIN,
          .priority_max = PRIORITY_MAX,
          .force = true,
          .for_anybody = true },
        { .member = true,
          .kinds = KIND(OWNER_KIND_USER),
          .decision = DECISION_ALLOW,
          .priority_min = PRIORITY_MIN },
};

static AccessEntry vendor_manage[] = {
        { .privileged = true, .decision = DECISION_ALLOW },
        { .member = true, .actions = ACTION(MANAGE_SEE), .decision = DECISION_ALLOW },
        { .actions = ACTION(MANAGE_SEE) | ACTION(MANAGE_OPEN), .decision = DECISION_DENY },
        { .decision = DECISION_ASK },
};

#define LIST(array) ((AccessList){ (array), sizeof(array) / sizeof(*(array)) })

static const char *const release_actions[_RELEASE_ACTION_MAX] = {
        [RELEASE_RESTORE] = "restore",
        [RELEASE_KEEP] = "keep",
        [RELEASE_UNBOUND] = "unbound",
};
DEFINE_STRING_TABLE(release_action, ReleaseAction, release_actions, _RELEASE_ACTION_INVALID);

void rule_clear(Rule *r) {
        free(r->name);
        free(r->origin);
        free(r->reset);
        strv_free(r->drivers);
        device_match_clear(&r->match);
        access_list_clear(&r->access);
        *r = RULE_NULL;
}

int policy_new(Policy **ret) {
        Policy *p = calloc(1, sizeof(Policy));

        if (!p)
                return -ENOMEM;
        p->limits = LIMITS_DEFAULT;
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
        access_list_clear(&p->manage);
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

/* who may */

static const AccessEntry *find_in_rules(const Policy *p, const Request *request, const Device *d) {
        for (size_t i = 0; p && i < p->n; i++) {
                const Rule *rule = &p->rules[i];
                const AccessEntry *e = NULL;

                if (rule->access.n > 0 && device_match(&rule->match, d))
                        e = access_list_find(&rule->access, request);
                if (e)
                        return e;
        }
        return NULL;
}

const AccessEntry *policy_decide(const Policy *p, const Request *request, const Device *d) {
        const AccessEntry *e = find_in_rules(p, request, d);

        return e ? e : access_list_find(&LIST(vendor_access), request);
}

/* Of the virtual functions that a pool makes, each is judged as what it is going to be. */
static const AccessEntry *decide(const Policy *p, const Request *request, const Device *d) {
        const Device vf = pool_vf(d);

        if (strv_contains(request->devices, d->facts.name))
                return policy_decide(p, request, request->terms.pool ? &vf : d);
        /* what is taken along, and is not held for the sake of virtual functions alone */
        return d->facts.bridge || (d->group && d->group->terms.pool) ? NULL
                                                                     : find_in_rules(p, request, d);
}

static int refuse_undecided(const Request *request, Fault *fault) {
        const char *name = request->owner.name;

        if (name && strchr(name, ':') && request->caller.member)
                return fault_set(fault, ERROR_MAY_NOT,
                                 "uid %u may not call itself %s: a name with \":\" in it needs a rule "
                                 "with \"owners\" in the policy",
                                 (unsigned)request->caller.uid, name);
        return fault_set(fault, ERROR_MAY_NOT,
                         "uid %u may not take %s leases: members of the group dmaowner may take user "
                         "leases, root may take all (usermod -aG dmaowner USER, then log in again), "
                         "and so may whom the policy allows",
                         (unsigned)request->caller.uid, owner_kind_to_string(request->terms.kind));
}

static int refuse_denied(const AccessEntry *e, const Request *request, const Device *d,
                         Fault *fault) {
        return fault_set(fault, ERROR_MAY_NOT, "uid %u may not take %s%s: the rule at %s says so",
                         (unsigned)request->caller.uid, d->facts.name,
                         strv_contains(request->devices, d->facts.name)
                                 ? ""
                                 : ", which is in the same IOMMU group",
                         e->origin);
}

static int check_device(const Policy *p, const Request *request, const Device *d, bool *ask,
                        Fault *fault) {
        const AccessEntry *e = decide(p, request, d);

        if (!e)
                return strv_contains(request->devices, d->facts.name)
                               ? refuse_undecided(request, fault)
                               : 0;
        if (e->decision == DECISION_DENY)
                return refuse_denied(e, request, d, fault);
        *ask = *ask || e->decision == DECISION_ASK;
        return access_entry_check_limits(e, request, fault);
}

int policy_check_request(const Policy *p, const Request *request, Group *const *groups, size_t n,
                         Fault *fault) {
        bool ask = false;
        int r = 0;

        if (p && p->closed)
                return fault_set(fault, ERROR_BAD_POLICY,
                                 "nothing is granted while the policy cannot be used: %s; put that "
                                 "right, then run \"dmaownerctl reload\"",
                                 p->closed);
        for (size_t i = 0; i < n; i++)
                for (const Device *d = groups[i]->devices; r == 0 && d; d = d->next)
                        r = check_device(p, request, d, &ask, fault);
        if (r < 0 || !ask || request->authorised)
                return r;
        return fault_set(
                fault, ERROR_MUST_ASK,
                "uid %u may take it only if an administrator agrees, and nobody could be asked",
                (unsigned)request->caller.uid);
}

uint64_t policy_longest_ttl(const Policy *p, const Request *request, Group *const *groups,
                            size_t n) {
        uint64_t longest = 0;

        for (size_t i = 0; i < n; i++)
                for (const Device *d = groups[i]->devices; d; d = d->next) {
                        const AccessEntry *e = decide(p, request, d);

                        if (e && e->max_ttl > 0 && (longest == 0 || e->max_ttl < longest))
                                longest = e->max_ttl;
                }
        return longest;
}

static const AccessEntry *decide_action(const Policy *p, const Caller *caller, ManageAction action) {
        const AccessEntry *e = p ? access_list_find_action(&p->manage, caller, action) : NULL;

        return e ? e : access_list_find_action(&LIST(vendor_manage), caller, action);
}

int policy_check_manage(const Policy *p, const Caller *caller, const Owner *owner,
                        ManageAction action, Fault *fault) {
        const AccessEntry *e;

        if (owner && caller->uid == owner->uid)
                return 0;
        e = decide_action(p, caller, action);
        if (e && e->decision == DECISION_ALLOW)
                return 0;
        if (e && e->decision == DECISION_ASK)
                return fault_set(fault, ERROR_MUST_ASK,
                                 "uid %u may do this only if an administrator agrees, and nobody could "
                                 "be asked",
                                 (unsigned)caller->uid);
        if (owner)
                return fault_set(fault, ERROR_MAY_NOT,
                                 "uid %u may not do this to a lease of another user: ask its owner, or "
                                 "root",
                                 (unsigned)caller->uid);
        return fault_set(fault, ERROR_MAY_NOT, "uid %u may not do this: ask root",
                         (unsigned)caller->uid);
}
