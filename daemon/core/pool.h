/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Configured pools: VFs that policy has made of a PF when somebody asks for one and none is free. The
 * first lease makes them as one does that asks for VFs of its own (core/vfs.h); the others count on the
 * PF's group as well, so the VFs stay until the last of these leases ends. See docs/states.md.
 */

#include "core/registry.h"

/* A virtual function as it is going to be. Points into the PF. */
Device pool_vf(const Device *pf);

/*
 * Is there a PF whose pool, once made, serves the list all by itself? The first by name that can be had
 * becomes what the request is for. avoid: as in core/choice.h; seq: the age of the request. 1, -ENOMEM, or
 * 0: none; if one would serve it, the fault says why it cannot be had.
 */
int pool_choose(Registry *r, Request *request, char *const *list, char *const *avoid,
                unsigned long long seq, Fault *fault);
/* What was chosen last was a pool: it is no more. */
void pool_forget(Request *request);
/* How many of the pool that was chosen does the request want? 0: it fits no more. Or -ENOMEM. */
int pool_count(const Request *request, const Device *pf, size_t *ret);

/* The PF's group that a lease on this device counts on, too; NULL: none. */
Group *pool_group(Registry *r, const Device *vf);
/* Notes in groups that are prepared for a claim, and are VFs of a pool among the groups, that they are. */
int pool_mark(Group **groups, size_t n);
