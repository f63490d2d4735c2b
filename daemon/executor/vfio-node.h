/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The nodes of VFIO and iommufd: opening them, and telling whether an open file is one of theirs.
 * What a path or a file is said to be is believed only if its device number is the one that the
 * kernel made for just that.
 */

#include <stdbool.h>

#include "executor/run.h"

/* A descriptor of the node with that role in the step's group; device: FILE_CDEV. Flags as for
 * open(2), O_PATH among them. -ENOENT: the kernel made no such node. */
int vfio_node_open(Run *run, FileRole role, const char *device, int flags);
/* 0 if the file is what its role says, of the step's group. -ENOENT: the kernel has no such node
 * any more, so nothing can be said. */
int vfio_node_check(Run *run, const VfioFile *file);
/* The run's file with that role, checked; it stays the run's. */
int vfio_node_file(Run *run, FileRole role);

/* The group's devices that have a VFIO driver: a strv, NULL if there are none. */
int vfio_node_devices(Run *run, char ***ret);
/* True if each of these has a node of its own, and there is an iommufd to bind it to. */
int vfio_node_has_iommufd(Run *run, char *const *devices, bool *ret);
