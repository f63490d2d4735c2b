/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A process is its pid and its start time (clock ticks since boot): a pid alone is used again. */

#include <stdint.h>
#include <sys/types.h>

/* The process that a pidfd refers to, and whose it is. -EBADF: not a pidfd; -ESRCH: it has ended. */
int process_of_pidfd(int pidfd, pid_t *ret_pid, uid_t *ret_uid, uint64_t *ret_start);

/* The systemd unit of that process, the system's manager's. NULL: none. */
int process_unit(int pidfd, char **ret);

/* A pidfd for exactly that process. -ESRCH: it has ended. */
int process_open(pid_t pid, uint64_t start, int *ret_pidfd);
