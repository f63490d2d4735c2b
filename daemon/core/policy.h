/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Who may ask for what. Rules are tried in order and the first that matches decides; what none
 * matches is denied. The vendor default: root may do all; members of the group "dmaowner" may
 * take user leases without force; nobody else anything.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "core/fault.h"
#include "core/registry.h"

typedef struct Caller {
        uid_t uid;
        bool privileged; /* root, or the user that runs a simulated host */
        bool member;     /* of the group "dmaowner" */
} Caller;

/* May the caller make this request? 0, or -ECANCELED with AccessDenied. */
int policy_check_acquire(const Caller *caller, const Request *request, Fault *fault);

/* May the caller release, renew, confirm a lease of that owner? */
int policy_check_manage(const Caller *caller, const Owner *owner, Fault *fault);

/* May the caller retry or accept what went wrong with a group? */
int policy_check_administer(const Caller *caller, Fault *fault);

/* May the caller see owner and label of what that uid owns? */
bool policy_may_see(const Caller *caller, uid_t uid);
