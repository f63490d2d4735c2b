/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The files that the daemon lends with access fd, each with a name for the command that gets it. */

#include <systemd/sd-bus.h>

#include <json-c/json.h>
#include <stddef.h>

#include "util/cleanup.h"

typedef struct LentFile {
        char *name; /* unique: see lent_files_add() */
        char *role; /* "container", "group", "iommufd", "cdev" */
        char *device;
        unsigned group;
        int fd;
} LentFile;

typedef struct LentFiles {
        LentFile *items;
        size_t n;
} LentFiles;

#define LENT_FILES_NULL ((LentFiles){})

/* Closes them all. */
void lent_files_clear(LentFiles *f);
#define _cleanup_lent_files_ _cleanup_(lent_files_clear)

/*
 * Takes fd over on success. The file of a device has the device's name, those of the first group the name
 * of their role, those of further groups also "@" and the device by which they were asked for. What is
 * there already (a file of the group, asked for by another device) is closed. 0 or -ENOMEM.
 */
int lent_files_add(LentFiles *f, unsigned group, const char *role, const char *device, int fd);
/* The first of that role; NULL: there is none. */
const LentFile *lent_files_first(const LentFiles *f, const char *role);
/* "iommufd=5,0000:00:03.0=6"; NULL on lack of memory. */
char *lent_files_describe(const LentFiles *f);
/* Lets a command have them: they stay open over an exec. 0 or negative errno. */
int lent_files_pass_on(const LentFiles *f);

/* Asks for those of a lease's devices. 0 or, after having reported, an ExitStatus. */
int lent_files_open(LentFiles *f, sd_bus *bus, const char *lease, json_object *devices);
