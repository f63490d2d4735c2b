/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Which module a device wants, by /lib/modules/RELEASE/modules.alias. A module's name is not the
 * name of the driver that it registers: mlx5_vfio_pci registers mlx5_vfio_pci, vfio_pci registers
 * vfio-pci; /sys/module/NAME/drivers tells once it is loaded.
 */

#include <stdbool.h>
#include <stddef.h>

#include "shared/sysfs.h"

typedef struct Modalias {
        char **patterns; /* "vfio_pci:v000015B3d..." */
        char **modules;
        size_t n;
} Modalias;

#define MODALIAS_NULL ((Modalias){})

/* Opens a file of the modules of that kernel. The service's units show their folder in another place, and
 * nothing else of the modules (ProtectKernelModules=). Negative errno. */
int modalias_open(const Sysfs *s, const char *release, const char *file, int flags);

/* Reads the lines of modules.alias whose pattern begins with prefix ("vfio_", "pci:"). A missing
 * file is an empty table (kernels without modules). */
int modalias_load(const Sysfs *s, const char *release, const char *prefix, Modalias *ret);
/* The same of what is part of the kernel, by modules.builtin.modinfo. */
int modalias_load_builtin(const Sysfs *s, const char *release, const char *prefix, Modalias *ret);
void modalias_clear(Modalias *m);
#define _cleanup_modalias_ _cleanup_(modalias_clear)

/* The module for a device with that modalias ("pci:v...") among the VFIO ones: the matching
 * pattern with the fewest '*' wins. NULL: none matches. Valid as long as the table. */
const char *modalias_best_vfio(const Modalias *m, const char *modalias);
/* True if module is one of those whose pattern matches the device. */
bool modalias_matches(const Modalias *m, const char *modalias, const char *module);

/* The driver of a bus that a module registers: by /sys/module/MODULE/drivers if it is loaded, else
 * the usual name ("vfio-pci" for vfio_pci and "xe-vfio-pci" for xe_vfio_pci, the module's own name
 * otherwise). */
int modalias_driver_of(const Sysfs *s, const char *module, const char *bus, char **ret);
