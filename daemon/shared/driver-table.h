/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Which devices the drivers of the PCI bus are for, by the tables of their modules: modules.alias, and
 * modules.builtin.modinfo for those that are part of the kernel, which need not be there. VFIO's
 * drivers are another matter: modalias.h.
 */

#include "core/driver-wish.h"
#include "shared/sysfs.h"

/* What the tables say of the driver for that device. -ENODEV: there is no such device. */
int driver_table_find(const Sysfs *s, const char *release, const char *device, const char *driver,
                      DriverWish *ret);
/* Does modules.alias list the device for that module? 1, 0 or negative errno. */
int driver_table_has_module(const Sysfs *s, const char *release, const char *device,
                            const char *module);
