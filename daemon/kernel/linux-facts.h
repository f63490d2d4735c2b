/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The facts of one PCI device, by reading files of sysfs that never block: not driver_override
 * and not uevent, which wait for a pending unbind on kernels before 6.12 (see linux-override.h),
 * and not config, which wakes a sleeping device.
 */

#include <libudev.h>
#include <time.h>

#include "core/device.h"
#include "shared/modalias.h"
#include "shared/sysfs.h"

typedef struct FactsReader {
        Sysfs sysfs;
        char *release;    /* of the running kernel */
        bool strict_type; /* see DeviceFacts */
        Modalias vfio;
        struct timespec vfio_changed; /* when modules.alias was, as it was read */
        struct udev_hwdb *hwdb;       /* NULL: none is installed, names stay unknown */
} FactsReader;

#define FACTS_READER_NULL ((FactsReader){ .sysfs = SYSFS_NULL })

int facts_reader_init(FactsReader *f, const char *root, struct udev *udev);
void facts_reader_clear(FactsReader *f);

/* Everything but driver_override. before: what was read of it the last time, or NULL. -ENODEV: there is
 * no such device (any more). */
int facts_reader_read(FactsReader *f, const char *name, const DeviceFacts *before, DeviceFacts *ret);
/* Is anything else there now, of what changes without an event: driver, group, default domain type, number of VFs? Also
 * if it cannot be read. */
bool facts_reader_is_stale(FactsReader *f, const DeviceFacts *known);
