/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Reading and writing sysfs (and /proc, /dev) below a root descriptor, so that tests can point it
 * at a folder of their own and no path can climb out of it. Every function returns 0 or a negative
 * errno; out-parameters are untouched on failure.
 */

#include <stdio.h>

#include "util/cleanup.h"

typedef struct Sysfs {
        int root; /* O_PATH descriptor of "/" (or of a test's folder) */
} Sysfs;

#define SYSFS_NULL ((Sysfs){ .root = -EBADF })

/* root: "/" on a real host */
int sysfs_open(const char *root, Sysfs *ret);
void sysfs_close(Sysfs *s);
#define _cleanup_sysfs_ _cleanup_(sysfs_close)

/* A descriptor (O_CLOEXEC is added) for what the others do not do. path is relative to the root:
 * "sys/bus/pci/devices/0000:00:03.0/driver_override". */
int sysfs_open_file(const Sysfs *s, const char *path, int flags);
/* The same for what a sandbox may hide: if there is a shown/NAME it is that file, else it is hidden/NAME. */
int sysfs_open_shown(const Sysfs *s, const char *shown, const char *hidden, const char *name,
                     int flags);
/* Takes a descriptor over for reading line by line. A negative one is the answer. */
int sysfs_stream(int fd, FILE **ret);
int sysfs_open_stream(const Sysfs *s, const char *path, FILE **ret);
/* The trailing newline is cut off. At most 64 KiB; longer is -EFBIG. */
int sysfs_read(const Sysfs *s, const char *path, char **ret);
int sysfs_readf(const Sysfs *s, char **ret, const char *fmt, ...) _printf_(3, 4);
/* The last component of a symbolic link: the name of a driver, the number of a group. */
int sysfs_link_name(const Sysfs *s, const char *path, char **ret);
int sysfs_link_namef(const Sysfs *s, char **ret, const char *fmt, ...) _printf_(3, 4);
/* One write(2) of value as it is; a short write is -EIO. */
int sysfs_write(const Sysfs *s, const char *path, const char *value);
int sysfs_writef(const Sysfs *s, const char *value, const char *fmt, ...) _printf_(3, 4);
/* Names in a folder, sorted, without "." and "..": a strv. */
int sysfs_list(const Sysfs *s, const char *path, char ***ret);
int sysfs_listf(const Sysfs *s, char ***ret, const char *fmt, ...) _printf_(3, 4);
/* Only its real sub-folders, no links: what a walk descends into. */
int sysfs_list_folders(const Sysfs *s, const char *path, char ***ret);
int sysfs_exists(const Sysfs *s, const char *path); /* 1, 0 or negative errno */
int sysfs_existsf(const Sysfs *s, const char *fmt, ...) _printf_(2, 3);
