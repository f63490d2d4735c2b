/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who may open the nodes of a group and of its devices. Owner, mode and ACL of before are kept in the
 * run-time folder. */

#include "executor/run.h"

int step_grant_node(Run *run);
int step_revoke_node(Run *run);
