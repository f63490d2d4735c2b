/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Turns "this ownership into that" into an ordered list of steps. A plan is the difference
 * between what is (facts) and what shall be (terms, or the record of the host), so it can be
 * made again at any moment: after a failed step or a crash the same call gives exactly what is
 * left to do, and nothing when there is nothing to do. The plan is the truth: Explain shows the
 * very steps that Acquire runs.
 */

#include "core/policy.h"
#include "core/registry.h"
#include "core/step.h"

/* Something that stands in the way of a plan. */
typedef struct Obstacle {
        char *code;   /* machine-readable: "mounted", "network-address", "no-vfio-driver" */
        char *device; /* the device in the way */
        char *text;   /* for people: what, and what to do */
} Obstacle;

typedef struct Obstacles {
        Obstacle *items;
        size_t n;
} Obstacles;

#define OBSTACLES_NULL ((Obstacles){})
void obstacles_clear(Obstacles *o);
int obstacles_add(Obstacles *o, const char *code, const char *device, const char *fmt, ...)
        _printf_(4, 5);
/* For people: the first few, and how many more there are. named: with their devices' names. NULL: there
 * are none, or no memory. */
char *obstacles_describe(const Obstacles *o, bool named);
#define _cleanup_obstacles_ _cleanup_(obstacles_clear)

/* The steps that make the group serve this owner on these terms. What the facts already show to be impossible
 * is added to *obstacles (the plan is then empty). 0 or -ENOMEM. */
int plan_claim(const Group *g, const Owner *owner, const Terms *terms, uid_t node_uid, bool force,
               Plan *ret, Obstacles *obstacles);

/* What the host had is unknown, and nobody has said that a guess will do: no way back ends without a
 * person. */
bool group_awaits_person(const Group *g);
/* Does a way back of this group end in quarantine? */
bool plan_keeps(const Group *g, const Policy *policy);
/* The steps that put back what the group's record says or, if the policy keeps it, that claim and
 * clean it. How a device is reset is the lease's to say, else the policy's. 0 or -ENOMEM. */
int plan_restore(const Group *g, const Policy *policy, Plan *ret);

/* Does the plan take something from those who use the device? Making VFs does not. */
bool plan_disturbs(const Plan *plan, const char *device);

/* Does the group look, by its devices' facts, as its terms say it should? For recovery and to
 * see foreign meddling. */
bool group_is_switched(const Group *g, const Terms *terms);
/* Must it stay as its terms say: is it owned, or kept for the next owner? */
static inline bool group_has_to_stay(const Group *g) {
        return g->state == GROUP_OWNED || g->state == GROUP_QUARANTINED;
}
/* What somebody else has changed about an owned group, from what to what; NULL: nothing. 0 or -ENOMEM. */
int group_deviation(const Group *g, char **ret);
