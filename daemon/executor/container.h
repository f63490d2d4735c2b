/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* VFIO's older interface: a group in a container is owned from the moment it is put there, and is in
 * a blocking domain until somebody sets an IOMMU. */

#include "executor/run.h"

int container_lend(Run *run);
/* With the run's files, as they were lent. */
int container_reclaim(Run *run);
/* With the run's files the group is in a container all the time but for the one moment in which no
 * device of it is open; without, from when nobody has it open. */
int container_claim(Run *run);
