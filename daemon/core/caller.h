/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who asks for something, as the bus vouches for it. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "util/cleanup.h"

typedef struct Caller {
        uid_t uid;
        gid_t *gids; /* of all its groups, the primary one too */
        size_t n_gids;
        char *unit;      /* its systemd unit, if the bus proves which process it is; else NULL */
        bool privileged; /* root, or the user that runs a simulated host */
        bool member;     /* of the group "dmaowner" */
        bool sees;       /* owners and labels of others, as the policy says now */
} Caller;

void caller_clear(Caller *c);
#define _cleanup_caller_ _cleanup_(caller_clear)
/* Replaces *to. 0 or -ENOMEM. */
int caller_copy(Caller *to, const Caller *from);
/* May it see owner and label of what that uid owns? */
bool caller_may_see(const Caller *c, uid_t uid);
/* 0 or -ENOMEM */
int caller_add_group(Caller *c, gid_t gid);
