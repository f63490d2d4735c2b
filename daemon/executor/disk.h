/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Is a disk in use? The kernel itself is asked, by opening the whole disk exclusively: that fails
 * while it or a partition of it is mounted, swapped to, or below md, dm or another file system.
 */

#include "core/planner.h"
#include "shared/sysfs.h"

typedef struct Disks {
        int *fds;
        size_t n;
} Disks;

#define DISKS_NULL ((Disks){})
void disks_close(Disks *d);
#define _cleanup_disks_ _cleanup_(disks_close)

/* path: the disk's folder in sysfs. Adds an obstacle for device if the disk is in use, else the
 * descriptor to *disks. */
int disk_inspect(const Sysfs *s, const char *path, const char *device, Obstacles *obstacles,
                 Disks *disks);
/* Adds why a disk could not be opened exclusively. */
int disk_explain(const Sysfs *s, const char *path, const char *device, Obstacles *obstacles);
