/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The files that the daemon lends with access fd, each with a name for whoever gets it. */

#include "client/libdmaowner/dmaowner.h"

typedef struct Files {
        dmaowner_file *items;
        size_t n;
} Files;

/* Closes them all. */
void files_clear(Files *f);
/*
 * Takes fd over on success. The file of a device has the device's name, those of the first group the name
 * of their role, those of further groups also "@" and the device by which they were asked for. What is
 * there already (a file of the group, asked for by another device) is closed. 0 or -ENOMEM.
 */
int files_add(Files *f, uint32_t group, const char *role, const char *device, int fd);
