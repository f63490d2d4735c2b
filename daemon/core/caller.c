/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/caller.h"

#include "util/strings.h"

void caller_clear(Caller *c) {
        free(c->gids);
        free(c->unit);
        *c = (Caller){};
}

int caller_add_group(Caller *c, gid_t gid) {
        gid_t *longer = reallocarray(c->gids, c->n_gids + 1, sizeof(gid_t));

        if (!longer)
                return -ENOMEM;
        c->gids = longer;
        c->gids[c->n_gids++] = gid;
        return 0;
}

int caller_copy(Caller *to, const Caller *from) {
        _cleanup_caller_ Caller copy = { .uid = from->uid,
                                         .privileged = from->privileged,
                                         .member = from->member,
                                         .sees = from->sees };

        for (size_t i = 0; i < from->n_gids; i++)
                if (caller_add_group(&copy, from->gids[i]) < 0)
                        return -ENOMEM;
        if (str_set(&copy.unit, from->unit) < 0)
                return -ENOMEM;
        caller_clear(to);
        *to = copy;
        copy = (Caller){};
        return 0;
}

bool caller_may_see(const Caller *c, uid_t uid) {
        return c->sees || c->uid == uid;
}
