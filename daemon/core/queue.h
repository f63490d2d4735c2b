/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The queue: requests that wait until all their groups can be had. A lease that is queued holds no
 * right, so nobody can wait in a circle. Service is by priority, then by age. A request may not
 * overtake one that is ahead of it and wants one of the same groups, so that those who want many
 * groups are not starved by those who want few; with the exceptions of docs/states.md.
 */

#include "core/registry.h"

enum {
        PRIORITY_MIN = -100,
        PRIORITY_MAX = 100,
        QUEUE_MAX = 1024,      /* leases that are queued */
        QUEUE_GROUP_MAX = 256, /* of them for one group */
        QUEUE_LISTS_MAX = 256  /* of devices to choose from, of all that are queued */
};

/* The first in the order of service that can be granted now; NULL: none. Who grants until there is
 * none has left nobody waiting without reason. */
Lease *registry_queue_next(Registry *r);
/* It gets its right: active or activating as by registry_reserve(). Its time to live begins now. */
int registry_queue_grant(Registry *r, Lease *l, uint64_t now, Changes *c);
/* When the first wait is over; UINT64_MAX: never. */
uint64_t registry_queue_deadline(Registry *r);
/* Waits that are over: those leases fail with TimedOut, which says what they waited for. */
int registry_queue_expire(Registry *r, uint64_t now, Changes *c);
/* What a queued lease waits for, for people; NULL: for nothing any more. 0 or -ENOMEM. */
int lease_waits_for(const Lease *l, char **ret);

/* revoke.c */

/*
 * The lease is asked to leave before that time, CLOCK_BOOTTIME. One that is active, unconfirmed or
 * revoking is revoking then; one that is queued or activating, of which nobody can have made use,
 * ends at once. -EINVAL if it is over.
 */
int registry_revoke(Registry *r, Lease *l, const char *reason, uint64_t deadline, Changes *c);
/* The deadline is over: the right ends. Groups that a user lease leaves behind are taken back
 * without waiting for their files to be closed (Group.evict). */
int registry_revoke_due(Registry *r, Lease *l, Changes *c);
/*
 * Asks the leases that are in the way of queued ones of higher priority to leave before that time,
 * if nothing else is in the way; and takes back what was asked for one that waits no longer.
 */
int registry_queue_revoke(Registry *r, uint64_t deadline, Changes *c);
