/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Which processes have VFIO files of a group open, by /proc/PID/fd. A scan proves nothing, since
 * duplicates also live in socket queues and in the kernel; it tells people whom to look at.
 */

#include <stdbool.h>

#include "shared/sysfs.h"

/* Files that count. */
typedef enum HolderFiles {
        HOLDERS_OF_ANY,     /* of the group or of its devices */
        HOLDERS_OF_DEVICES, /* of its devices: what an unbind waits for */
} HolderFiles;

/* "qemu-system-x86 (pid 4711), dpdk-testpmd (pid 4712)"; *ret is NULL if nobody was found. skip:
 * processes that do not count, up to a 0. guess: if nobody has the group's own files, name those
 * who have files of any VFIO device. */
int holders_describe(const Sysfs *s, unsigned group, HolderFiles which, const pid_t *skip,
                     bool guess, char **ret);
/* The same for one node, by the end of its path: "/vhost-vdpa-0". */
int holders_of_node(const Sysfs *s, const char *end, char **ret);
/* Has one of these processes, up to a 0, the node of the group itself open? 1, 0 or negative errno */
int holders_include(const Sysfs *s, unsigned group, const pid_t *processes);
