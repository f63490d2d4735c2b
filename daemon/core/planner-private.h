/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A plan is first a list of moves, one per device that has to change; the order of the steps over
 * the whole group comes when the moves are spelled out.
 */

#include "core/planner.h"

typedef struct Move {
        const Device *device;
        bool set_override;
        const char *override; /* NULL: cleared */
        bool override_last; /* the one to put back names another driver than bind: it has to wait */
        bool unbind;
        bool force;
        const char *bind;   /* NULL: stays without a driver */
        const char *module; /* that has to be loaded first */
        const char *reset;  /* method; NULL: none */
        bool probe;
} Move;

typedef struct Moves {
        Move *items; /* room for every device of the group */
        size_t n;
} Moves;

int moves_init(Moves *m, const Group *g);
void moves_clear(Moves *m);
#define _cleanup_moves_ _cleanup_(moves_clear)

int plan_group_step(Plan *p, const Group *g, StepKind kind, const char *value, const char *former);
/* STEP_GRANT_NODE, STEP_REVOKE_NODE */
int plan_node_right(Plan *p, const Group *g, StepKind kind, uid_t uid);

/* Is a device taken from a VFIO driver? */
bool moves_leave_vfio(const Moves *moves);
/* Takes the drivers away; claimed: lets go of what keeps the group, before or after as its interface
 * wants it. */
int plan_unbind(Plan *p, const Group *g, const Moves *moves, bool claimed, VfioInterface interface);
/* The steps of one kind for all moves that have one. */
int plan_moves(Plan *p, const Moves *m, StepKind kind);

/* A driver that counts as a kernel owner of the group. */
static inline bool driver_is_in_the_way(const char *driver) {
        return driver && *driver && !driver_is_harmless(driver);
}

bool device_is_ours(const Group *g, const Device *d);
const char *goal_driver(const Device *d, const Terms *t);
const char *goal_type(const Group *g, const Terms *t);

/* driver-wish.c */

/* What is known of it; NULL: the device has or had it, or nothing is known. */
const DriverWish *device_wish(const Device *d, const Terms *t);
/* These add what is in the way. 0 or -ENOMEM. */
int check_wish(const Device *d, const Terms *t, Obstacles *o);
int check_alone(const Group *g, const Terms *t, Obstacles *o);

/* retype.c */

/* The one change that needs no moment without an owner. */
bool type_change_is_live(const char *now, const char *type);
/* Does the driver of the device keep the type of its group from being changed? */
bool device_bars_type(const Device *d);
/* Adds why the kernel will not write this type, as far as that can be known. 0 or -ENOMEM. */
int check_type(const Group *g, const char *type, Obstacles *o);
