/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/rate-limit.h"

#include <stddef.h>

static bool is_over(const RateUser *u, uint64_t now) {
        return u->used && u->end <= now;
}

/* What has been left out is to be collected first. */
static bool is_free(const RateUser *u, uint64_t now) {
        return !u->used || (is_over(u, now) && u->left_out == 0);
}

static RateUser *find(RateLimit *l, uid_t uid, uint64_t now) {
        RateUser *found = NULL;

        for (size_t i = 0; i < RATE_LIMIT_USERS; i++) {
                RateUser *u = &l->users[i];

                if (u->used && u->uid == uid)
                        return u;
                if (!found && is_free(u, now))
                        found = u;
        }
        if (found)
                *found = (RateUser){ .uid = uid };
        else {
                found = &l->users[RATE_LIMIT_USERS];
                found->uid = RATE_LIMIT_NOBODY;
        }
        return found;
}

bool rate_limit_take(RateLimit *l, uid_t uid, uint64_t now) {
        RateUser *u = find(l, uid, now);

        if (is_free(u, now))
                *u = (RateUser){ .used = true, .uid = u->uid, .end = now + l->interval };
        if (u->said < l->burst && !is_over(u, now)) {
                u->said++;
                return true;
        }
        u->left_out++;
        return false;
}

bool rate_limit_collect(RateLimit *l, uint64_t now, uid_t *ret_uid, unsigned *ret_left_out) {
        for (size_t i = 0; i <= RATE_LIMIT_USERS; i++) {
                RateUser *u = &l->users[i];

                if (!is_over(u, now))
                        continue;
                u->used = false;
                if (u->left_out == 0)
                        continue;
                *ret_uid = u->uid;
                *ret_left_out = u->left_out;
                return true;
        }
        return false;
}

uint64_t rate_limit_deadline(const RateLimit *l) {
        uint64_t first = UINT64_MAX;

        for (size_t i = 0; i <= RATE_LIMIT_USERS; i++)
                if (l->users[i].used && l->users[i].left_out > 0 && l->users[i].end < first)
                        first = l->users[i].end;
        return first;
}
