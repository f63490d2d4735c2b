/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who uses a VFIO group, and waiting until nobody does. */

#include "executor/holders.h"
#include "executor/run.h"

int step_wait_closed(Run *run);

/* -EBUSY: somebody is in the way still. Any other result ends the waiting. */
typedef int (*GroupAttempt)(Run *run, void *userdata);
/* What is attempted again and again, and who is reported as in the way meanwhile. */
typedef struct GroupWait {
        GroupAttempt attempt;
        void *userdata;
        HolderFiles which;
        int watch; /* inotify: tells of closes; -EBADF: nothing does */
} GroupWait;
int group_wait(Run *run, const GroupWait *wait);
/* A descriptor of the group's node, once nobody else has the group or a device of it open. */
int group_wait_until_free(Run *run, bool *ret_viable);
/* A descriptor for GroupWait, and one more node for it to tell of. */
int group_watch_new(void);
int group_watch_add(int watch, int node);

/* Tells the daemon who has it open, if that is not what was told last (*reported, at first NULL). */
int group_report_holders(Run *run, HolderFiles which, char **reported);

/* Attempts, for two seconds, until nobody has it open any more; *ret is who has it then. attempt: 0, and who has it
 * open, NULL: nobody; or negative. */
int group_wait_briefly(Run *run, int (*attempt)(Run *run, char **holders), char **ret);
/* An unbind from VFIO waits for every file of a device and cannot be taken back: -EBUSY with an
 * answer if there is one, or if somebody else than the daemon has the group open. */
int group_check_unbind(Run *run);
/* Who has files of the group open, besides those files of its node that are useless after the next
 * unbind because the daemon keeps the same. skip_own: nor does the daemon itself count. *ret is NULL
 * if there is nobody. */
int group_describe_users(Run *run, bool skip_own, char **ret);

/* Answers, and returns a negative errno. */
int group_not_viable(Run *run);
int group_no_node(Run *run, int error);

/* "0000:02:00.1 has e1000e, ...": the group's devices that have a driver. harmful_only: that have
 * one which manages DMA. *ret is NULL if there is none. except: may be NULL. */
int group_describe_drivers(Run *run, const char *except, bool harmful_only, char **ret);
