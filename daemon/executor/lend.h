/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files of VFIO that are lent to a requester, taken back from him, and kept. */

#include "executor/run.h"

int step_lend(Run *run);
int step_reclaim(Run *run);
int step_claim(Run *run);
