/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Unbinding a device from VFIO under those who have it open. */

#include "executor/run.h"

int step_evict(Run *run);
