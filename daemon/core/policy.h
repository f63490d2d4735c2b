/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Who may ask for what, and what becomes of a device between two owners. Rules are tried in order;
 * each key of a rule is a decision of its own: the first rule that matches the device and has the
 * key decides it; of "access", the first that matches who asks as well. What no rule decides is as
 * the vendor default says: root may do all; members of the group "dmaowner" may take user leases
 * without force; nobody else anything; what only root may do to leases and groups of others,
 * administrators may by polkit; a device goes back to the host after a reset by any method that it
 * has. How the rules are written: dmaownerd.json(5).
 */

#include <stdbool.h>
#include <sys/types.h>

#include "core/access.h"
#include "core/device-match.h"
#include "core/fault.h"
#include "core/registry.h"

/* What becomes of a group when its last user lease has ended. */
typedef enum ReleaseAction {
        RELEASE_RESTORE, /* "restore": as the host had it */
        RELEASE_KEEP,    /* "keep": quarantined, ready for the next user lease */
        RELEASE_UNBOUND, /* "unbound": as the host had it, but without a driver */
        _RELEASE_ACTION_MAX,
        _RELEASE_ACTION_INVALID = -EINVAL,
} ReleaseAction;

const char *release_action_to_string(ReleaseAction a);
ReleaseAction release_action_from_string(const char *s);

typedef struct Rule {
        char *name;   /* for people; may be NULL */
        char *origin; /* "/etc/dmaownerd/dmaownerd.json:7" */
        DeviceMatch match;
        ReleaseAction release; /* _INVALID: not this rule's to say */
        ScrubGate scrub;       /* likewise */
        int protect;           /* -1: likewise */
        int vfs;               /* likewise */
        char **drivers; /* that a lease may name besides those whose alias fits; NULL: likewise */
        char *reset;    /* "auto", "none", "required" or a method; NULL: likewise */
        AccessList access; /* who may take it; what none of these decides is not this rule's to say */
} Rule;

#define RULE_NULL                                    \
        ((Rule){ .release = _RELEASE_ACTION_INVALID, \
                 .scrub = _SCRUB_GATE_INVALID,       \
                 .protect = -1,                      \
                 .vfs = -1 })
void rule_clear(Rule *r);
#define _cleanup_rule_ _cleanup_(rule_clear)

/* How much one user who is not root may have. */
typedef struct Limits {
        unsigned leases; /* that are not over, queued ones too */
        unsigned queued;
} Limits;

#define LIMITS_DEFAULT ((Limits){ .leases = 256, .queued = 64 })

struct Policy {
        Rule *rules;
        size_t n;
        AccessList manage; /* who may do what to that of others */
        Limits limits;
        char *closed; /* why nothing is granted; NULL: it is */
};

int policy_new(Policy **ret);
Policy *policy_free(Policy *p);
DEFINE_CLEANUP(Policy *, policy_free);
/* The policy while its files are broken: nothing is granted to anybody, and that is why. */
int policy_new_closed(const char *why, Policy **ret);
/* Appends the rule and takes its contents over. 0 or -ENOMEM. */
int policy_add(Policy *p, Rule *rule);

/* Everywhere below a policy of NULL is the vendor default. */

typedef struct DevicePolicy {
        ReleaseAction release;
        const char *reset;   /* what a lease that asks for nothing gets: "auto", "none", a method */
        bool reset_required; /* without a reset it is not for another owner */
        ScrubGate scrub;     /* who cleans it before another owner */
        const Rule *protect; /* the rule that gives it to nobody; NULL: none */
        char *const *drivers;
        unsigned vfs; /* that are made of a PF for those who ask for any; 0: none */
} DevicePolicy;

DevicePolicy policy_for_device(const Policy *p, const Device *d);

/* Does a rule say that the device may have this driver, though its tables do not list it? */
bool policy_lists_driver(const Policy *p, const Device *d, const char *driver);

typedef struct GroupPolicy {
        bool keep; /* a rule says so of one of its devices: a group is kept or restored whole */
} GroupPolicy;

GroupPolicy policy_for_group(const Policy *p, const Group *g);

/*
 * May who asks have this request, with these groups? 0, or -ECANCELED: MayNot, MustAsk (an administrator may
 * allow it: then request.authorised is set, and it is asked again) or BadPolicy. The devices that are
 * named have to be allowed; the others of their groups, which they bring along, may not be denied.
 */
int policy_check_request(const Policy *p, const Request *request, Group *const *groups, size_t n,
                         Fault *fault);
/* Which entry decides of this device, for who asks. NULL: none, which is a refusal. */
const AccessEntry *policy_decide(const Policy *p, const Request *request, const Device *d);
/* For how long may it be had? Microseconds; 0: for ever. */
uint64_t policy_longest_ttl(const Policy *p, const Request *request, Group *const *groups, size_t n);

/*
 * What the policy says of a request for devices that are named, of which the first is the one whose rule is told:
 * "FILE:LINE", or "" for what holds without a rule. why: unless it is allowed. -ECANCELED with the fault set if
 * it makes no sense, or -ENOMEM.
 */
int registry_test_policy(Registry *r, const Request *request, Decision *ret, char **ret_rule,
                         Fault *fault, Fault *why);
/* Notes in the leases that the policy would not grant any more why (Lease.forbidden). 0 or -ENOMEM. */
int registry_note_forbidden(Registry *r, Changes *c);
/* For how long may the lease be renewed? Microseconds; 0: for ever. */
uint64_t registry_longest_ttl(Registry *r, const Lease *l);

/* May the caller do this to what is that owner's, or (NULL) the host's? 0, or -ECANCELED: MayNot, MustAsk. */
int policy_check_manage(const Policy *p, const Caller *caller, const Owner *owner,
                        ManageAction action, Fault *fault);
