/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the policy's files, which are root's, say of a device: read by the executor itself, because the
 * daemon is not trusted. Those that refuse answer by themselves. */

#include "core/policy.h"
#include "executor/run.h"

/* *ret points into the policy. */
int rules_of_device(Run *run, const char *device, DevicePolicy *ret);

/* A protected device is not taken from the host. */
int rules_check_device(Run *run, const char *device);
/* No device of the step's group is protected, or all that are were taken before. */
int rules_check_group(Run *run);
/* May the device have this driver because a rule lists it? 1, 0 or negative errno. */
int rules_list_driver(Run *run, const char *device, const char *driver);
