/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Virtual functions that are made for a lease. The PF's group makes and removes them on terms of its
 * own, the lease counts on it and, once they have appeared, on the groups of the VFs: see
 * docs/states.md.
 */

#include "core/planner.h"
#include "core/registry.h"

/* The terms of the PF's group for a request that wants VFs. Refers to *wanted. */
Terms terms_of_pf(const Terms *wanted);

/* The PF of a group on such terms; NULL: it is on others, or the PF is gone. */
Device *group_pf(const Group *g);

/* Are the VFs of the lease not among its devices yet? */
bool lease_awaits_vfs(const Lease *l);

/* A request for just as many VFs as there are is one for these: it then names them. Otherwise notes
 * whose VFs they are to be. The request names one device. 0, -ENOMEM, -ECANCELED. */
int registry_settle_vfs(Registry *r, Request *request, Fault *fault);

/* Refuses VFs that are just being made or removed. */
int registry_check_vfs(Registry *r, const Request *request, Fault *fault);

/*
 * The lease, whose PF's group is owned, joins the groups of the VFs, which have to be claimed then.
 * 1: it did; 0: they are not all there yet; -ECANCELED with the fault set: it cannot; -ENOMEM.
 */
int registry_join_vfs(Registry *r, Lease *l, Changes *c, Fault *fault);

/* The VFs of the group's PF that are not free: "0000:3b:00.2, ..."; NULL: none. 0 or -ENOMEM. */
int registry_vfs_in_use(Registry *r, const Group *g, char **ret);

/* planning */

int plan_make_vfs(const Group *g, const Terms *terms, Plan *p, Obstacles *o);
int plan_remove_vfs(const Group *g, Plan *p);
/* What the host has set for VFs that are lent is read first, and put back after; a VF that goes with its
 * lease needs neither. 0 or -ENOMEM. */
int plan_read_vfs(const Group *g, const Terms *terms, Plan *p);
int plan_set_vfs(const Group *g, Plan *p);
/* Has the PF of these terms its VFs? */
bool vfs_are_made(const Group *g, const Terms *terms);
