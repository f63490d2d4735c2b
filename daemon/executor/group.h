/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Waiting until nobody has a VFIO group open, and claiming it then. */

#include "executor/run.h"

int step_wait_closed(Run *run);
int step_claim(Run *run);

/* An unbind from VFIO waits for every opener and cannot be taken back: -EBUSY with an answer if
 * there is one besides the daemon. */
int group_check_unbind(Run *run);

/* "0000:02:00.1 has e1000e, ...": the group's devices that have a driver. harmful_only: that have
 * one which manages DMA. *ret is NULL if there is none. except: may be NULL. */
int group_describe_drivers(Run *run, const char *except, bool harmful_only, char **ret);
