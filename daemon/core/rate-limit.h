/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How much of what one user causes is said: the first so many in an interval, and then how many more
 * there were. Needs no memory but its own. Times are whatever the caller counts in, from one clock.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Users beyond so many in one interval share what is left for nobody in particular. */
#define RATE_LIMIT_USERS  64
#define RATE_LIMIT_NOBODY ((uid_t)-1)

typedef struct RateUser {
        bool used;
        uid_t uid;
        uint64_t end; /* of its interval */
        unsigned said, left_out;
} RateUser;

typedef struct RateLimit {
        unsigned burst;
        uint64_t interval;
        RateUser users[RATE_LIMIT_USERS + 1]; /* the last: of all others */
} RateLimit;

/* May one more be said? If not, it is counted. */
bool rate_limit_take(RateLimit *l, uid_t uid, uint64_t now);
/* A user whose interval is over, and how many of his were left out, if there were any: once for each. */
bool rate_limit_collect(RateLimit *l, uint64_t now, uid_t *ret_uid, unsigned *ret_left_out);
/* When there is something to collect. UINT64_MAX: never. */
uint64_t rate_limit_deadline(const RateLimit *l);
