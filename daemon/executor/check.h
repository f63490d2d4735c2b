/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon is not trusted: what it may have done to a device. All of these answer by themselves
 * when they refuse. */

#include "executor/run.h"

/* The step's device exists and is in the step's group. */
int check_device(Run *run);
/* The step's group exists. */
int check_group(Run *run);
/* The step's value is a driver that this device may have: vfio-pci, one whose module is listed for
 * the device, or one that it had before. */
int check_driver(Run *run);
/* Before a step takes a driver or an override away: notes both, so that the way back is allowed
 * even for drivers that no table lists. */
int check_remember_host(Run *run);
/* Has a step taken a driver or an override from this device, since the boot? 1, 0 or negative errno. */
int check_was_taken(Run *run, const char *device);
/* Replaces *ret by the driver that it had when that was first done; NULL if it was not. */
int check_former_driver(Run *run, const char *device, char **ret);
/* True if name can be a component of a path. */
bool check_is_name(const char *name);

/* The driver of a PCI device; *ret is NULL if it has none. */
int device_driver(const Sysfs *s, const char *device, char **ret);
/* The same for driver_override. */
int device_override(const Sysfs *s, const char *device, char **ret);
