/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The numbers of the users and groups that a policy names. Looking them up asks the host's name
 * services, which may be slow: when the files are read, never when somebody asks for a device.
 */

#include "core/policy.h"

/* Who does not exist matches nobody; ret_warnings says so, one text for each. -ENOMEM. */
int policy_resolve_accounts(Policy *p, char ***ret_warnings);
