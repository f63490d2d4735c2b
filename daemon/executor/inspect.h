/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What of the host hangs on a device: the obstacles to taking its driver away. */

#include "executor/disk.h"
#include "executor/run.h"

/* An unbind in spite of these would never end, so they cannot be forced. */
#define OBSTACLE_VF_OPEN   "vf-open"
#define OBSTACLE_VDPA_OPEN "vdpa-open"

int step_inspect(Run *run);

/* Fills *obstacles for the step's device, but for VFIO files, which an unbind asks about in another
 * way. disks: receives the whole disks below it, opened
 * exclusively, so that nobody can begin to use them until they are closed. */
int inspect_device(Run *run, Obstacles *obstacles, Disks *disks);
