/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The process of one step. It holds the lock of the step's group for as long as it lives, and may
 * change something only while its permit - the read end of a pipe whose write end only the main
 * process has - is open.
 */

#include <stdbool.h>

#include "core/policy.h"
#include "core/step.h"
#include "executor/answer.h"
#include "shared/sysfs.h"

typedef struct Run {
        const Step *step;
        unsigned long long seq;
        Sysfs sysfs;
        int runtime; /* folder for locks and memory */
        int netlink; /* see executor/netlink.h */
        int audit;   /* a socket of the audit log; -EBADF: there is none */
        int permit;
        int channel;  /* packets to the main process */
        pid_t daemon; /* the peer */
        const Policy *policy;
        VfioFiles files; /* that the daemon keeps: what STEP_RECLAIM and STEP_CLAIM work on */
        Answer answer;
} Run;

/* Carries the step out and answers. Never returns. */
void run_step(Run *run) __attribute__((noreturn));

/* 0, or -ECANCELED with the answer set: nothing may be changed any more. */
int run_check_permit(Run *run);
/* Opens a file of the executor's own memory, below its run-time folder, as open(2) does. -EBADMSG: what is
 * there is no regular file. */
int run_open_memory(const Run *run, const char *path, int flags);
/* Waits until no other step has this file of the memory open so, and returns a descriptor that keeps it. -ETIMEDOUT:
 * after a minute. */
int run_take_turn(const Run *run, const char *path);
/* Closes every descriptor from 3 on but these; negative ones are none. */
int run_close_all_but(const int *keep, size_t n);
/* Looks at the permit, then writes as sysfs_writef(). -ECANCELED has the answer set, other errors
 * are the caller's to explain. */
int run_write(Run *run, const char *value, const char *fmt, ...) _printf_(3, 4);
/* Tells the daemon for whom the step waits. */
int run_report_waiting(Run *run, const char *who);

/* 1 if a step works on the group, 0 if not, or negative errno. Takes nothing. */
int run_group_is_locked(int runtime, unsigned group);
