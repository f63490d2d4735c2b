/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* VFIO's newer interface: each device has a node of its own, whose file is bound to an iommufd. The
 * group is owned while one is bound, and in a blocking domain while none is attached. */

#include <stdbool.h>

#include "executor/run.h"

int iommufd_lend(Run *run);
/* With the run's files, as they were lent. */
int iommufd_reclaim(Run *run);
/* Closes the run's files, then waits until it can bind every device. */
int iommufd_claim(Run *run);

/* True if the file belongs to iommufd. */
bool iommufd_is_one(int fd);
