/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Where a node of VFIO or iommufd is, and where the kernel tells its number. What a path or a file is said
 * to be is believed only if its device number is the one that the kernel made for just that.
 */

#include "core/types.h"
#include "shared/sysfs.h"
#include "util/cleanup.h"

typedef struct VfioPlace {
        char *path;   /* of the node: "dev/vfio/12" */
        char *number; /* "sys/class/vfio/12/dev" */
} VfioPlace;

void vfio_place_clear(VfioPlace *p);
#define _cleanup_vfio_place_ _cleanup_(vfio_place_clear)

/* device: FILE_CDEV. -ENOENT: the kernel made no such node. */
int vfio_place_find(const Sysfs *s, unsigned group, FileRole role, const char *device,
                    VfioPlace *ret);
/* 1: the file has the number of the node, 0: not, or negative errno. */
int vfio_place_matches(const Sysfs *s, const VfioPlace *p, int fd, char **ret_number);
