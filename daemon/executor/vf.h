/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the host has set for one VF: read before it is leased, and put back after. */

#include "executor/run.h"

int step_read_vf(Run *run);
int step_set_vf(Run *run);
