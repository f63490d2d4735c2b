/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/access.h"

#include "core/device-match.h"
#include "core/string-table.h"
#include "util/strings.h"

#define SECOND 1000000ULL

static const char *const decisions[_DECISION_MAX] = {
        [DECISION_DENY] = "deny",
        [DECISION_ALLOW] = "allow",
        [DECISION_ASK] = "ask",
};
DEFINE_STRING_TABLE(decision, Decision, decisions, _DECISION_INVALID);

static const char *const manage_actions[_MANAGE_ACTION_MAX] = {
        [MANAGE_SEE] = "see",       [MANAGE_RELEASE] = "release",
        [MANAGE_REVOKE] = "revoke", [MANAGE_RENEW] = "renew",
        [MANAGE_OPEN] = "open",     [MANAGE_ADMINISTER] = "administer",
        [MANAGE_RELOAD] = "reload",
};
DEFINE_STRING_TABLE(manage_action, ManageAction, manage_actions, _MANAGE_ACTION_INVALID);

void accounts_clear(Accounts *a) {
        strv_free(a->names);
        free(a->ids);
        *a = (Accounts){};
}

int accounts_add_id(Accounts *a, uint32_t id) {
        uint32_t *longer = reallocarray(a->ids, a->n_ids + 1, sizeof(uint32_t));

        if (!longer)
                return -ENOMEM;
        a->ids = longer;
        a->ids[a->n_ids++] = id;
        return 0;
}

bool accounts_have(const Accounts *a, uint32_t id) {
        for (size_t i = 0; i < a->n_ids; i++)
                if (a->ids[i] == id)
                        return true;
        return false;
}

void access_entry_clear(AccessEntry *e) {
        free(e->origin);
        accounts_clear(&e->users);
        accounts_clear(&e->groups);
        accounts_clear(&e->for_users);
        strv_free(e->units);
        strv_free(e->owners);
        strv_free(e->types);
        *e = ACCESS_ENTRY_NULL;
}

void access_list_clear(AccessList *l) {
        for (size_t i = 0; i < l->n; i++)
                access_entry_clear(&l->items[i]);
        free(l->items);
        *l = (AccessList){};
}

int access_list_add(AccessList *l, AccessEntry *e) {
        AccessEntry *longer = reallocarray(l->items, l->n + 1, sizeof(AccessEntry));

        if (!longer)
                return -ENOMEM;
        l->items = longer;
        l->items[l->n++] = *e;
        *e = ACCESS_ENTRY_NULL;
        return 0;
}

/* matching */

static bool in_groups(const Accounts *groups, const Caller *caller) {
        for (size_t i = 0; i < caller->n_gids; i++)
                if (accounts_have(groups, caller->gids[i]))
                        return true;
        return false;
}

static bool matches_caller(const AccessEntry *e, const Caller *caller) {
        if ((e->privileged && !caller->privileged) || (e->member && !caller->member))
                return false;
        if (!e->users.names && !e->groups.names && !e->units)
                return true;
        return accounts_have(&e->users, caller->uid) || in_groups(&e->groups, caller) ||
               (!str_empty(caller->unit) && patterns_match(e->units, caller->unit));
}

static bool matches_owner(const AccessEntry *e, const char *name) {
        if (e->owners)
                return patterns_match(e->owners, name ? name : "");
        return e->decision == DECISION_DENY || !name || !strchr(name, ':');
}

const AccessEntry *access_list_find(const AccessList *l, const Request *request) {
        for (size_t i = 0; i < l->n; i++) {
                const AccessEntry *e = &l->items[i];

                if ((e->kinds == 0 || (e->kinds & (1U << request->terms.kind))) &&
                    matches_caller(e, &request->caller) && matches_owner(e, request->owner.name))
                        return e;
        }
        return NULL;
}

const AccessEntry *access_list_find_action(const AccessList *l, const Caller *caller,
                                           ManageAction action) {
        for (size_t i = 0; i < l->n; i++) {
                const AccessEntry *e = &l->items[i];

                if ((e->actions == 0 || (e->actions & (1U << action))) && matches_caller(e, caller))
                        return e;
        }
        return NULL;
}

/* limits */

char *access_entry_describe(const AccessEntry *e) {
        return e->origin ? str_format("the rule at %s", e->origin)
                         : strdup("what holds without a rule");
}

static int refuse(const AccessEntry *e, const Request *request, const char *what, Fault *fault) {
        _cleanup_free_ char *who = fault ? access_entry_describe(e) : NULL;

        if (fault && !who)
                return fault_set_oom(fault);
        return fault_set(fault, ERROR_MAY_NOT, "uid %u may not %s: %s does not let it",
                         (unsigned)request->caller.uid, what, who ? who : "");
}

static int refuse_priority(const AccessEntry *e, const Request *request, Fault *fault) {
        _cleanup_free_ char *what = str_format("ask with priority %d, only with %d to %d",
                                               request->priority, e->priority_min, e->priority_max);

        return what ? refuse(e, request, what, fault) : fault_set_oom(fault);
}

static int check_ttl(const AccessEntry *e, const Request *request, Fault *fault) {
        if (e->max_ttl == 0 || request->ttl <= e->max_ttl)
                return 0;
        return fault_set(fault, ERROR_MAY_NOT,
                         "uid %u may have it for %llu s at most, not for %llu s: the rule at %s says "
                         "so",
                         (unsigned)request->caller.uid, (unsigned long long)(e->max_ttl / SECOND),
                         (unsigned long long)(request->ttl / SECOND), e->origin);
}

int access_entry_check_limits(const AccessEntry *e, const Request *request, Fault *fault) {
        const char *type = request->terms.default_domain_type;

        if (request->force && !e->force)
                return refuse(e, request, "use force, which takes from the host what it uses",
                              fault);
        if (request->uid != request->caller.uid && !e->for_anybody &&
            !accounts_have(&e->for_users, request->uid))
                return refuse(e, request, "take a lease for another user", fault);
        if (request->priority < e->priority_min || request->priority > e->priority_max)
                return refuse_priority(e, request, fault);
        if (!str_empty(type) && e->types && !strv_contains(e->types, type))
                return refuse(e, request, "ask for that default domain type", fault);
        return check_ttl(e, request, fault);
}
