/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Virtual functions of a PF: who uses them, and how many there are. */

#include "executor/run.h"

/* Obstacles to removing the VFs of the device: one that has a driver, or is open. *ret_n: how many it
 * has. sriov_numvfs would tell that too, but reading it can hang. */
int vfs_inspect(const Sysfs *s, const char *device, Obstacles *obstacles, unsigned *ret_n);

int step_set_vf_autoprobe(Run *run);
int step_set_num_vfs(Run *run);
