/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Who may ask for what, and what becomes of a device between two owners. Rules are tried in order;
 * each key of a rule is a decision of its own: the first rule that matches the device and has the
 * key decides it. What no rule decides is as the vendor default says: root may do all; members of
 * the group "dmaowner" may take user leases without force; nobody else anything; a device goes
 * back to the host after a reset by any method that it has. How the rules are written: dmaownerd.json(5).
 */

#include <stdbool.h>
#include <sys/types.h>

#include "core/device-match.h"
#include "core/fault.h"
#include "core/registry.h"

typedef struct Caller {
        uid_t uid;
        bool privileged; /* root, or the user that runs a simulated host */
        bool member;     /* of the group "dmaowner" */
} Caller;

/* What becomes of a group when its last user lease has ended. */
typedef enum ReleaseAction {
        RELEASE_RESTORE, /* "restore": as the host had it */
        RELEASE_KEEP,    /* "keep": quarantined, ready for the next user lease */
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
} Rule;

#define RULE_NULL                                    \
        ((Rule){ .release = _RELEASE_ACTION_INVALID, \
                 .scrub = _SCRUB_GATE_INVALID,       \
                 .protect = -1,                      \
                 .vfs = -1 })
void rule_clear(Rule *r);
#define _cleanup_rule_ _cleanup_(rule_clear)

typedef struct Policy {
        Rule *rules;
        size_t n;
        char *closed; /* why nothing is granted; NULL: it is */
} Policy;

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

/* May the caller make this request? 0, or -ECANCELED with AccessDenied or BadPolicy. */
int policy_check_acquire(const Policy *p, const Caller *caller, const Request *request,
                         Fault *fault);

/* May the caller release, renew, confirm a lease of that owner? */
int policy_check_manage(const Caller *caller, const Owner *owner, Fault *fault);

/* May the caller retry or accept what went wrong with a group? */
int policy_check_administer(const Caller *caller, Fault *fault);

/* May the caller see owner and label of what that uid owns? */
bool policy_may_see(const Caller *caller, uid_t uid);
