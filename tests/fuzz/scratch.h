/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A folder of the target's own, in memory, for what is read from files. It goes with the process. */

#include <stddef.h>

/* Its absolute path. */
const char *scratch_path(void);
/* Writes a file anew; folders on the way are made. The path is below the folder, likewise below. */
void scratch_write(const char *path, const char *text, size_t size);
void scratch_link(const char *path, const char *target);
void scratch_folder(const char *path);
/* Removes what is in it, or in a folder of it. */
void scratch_empty(const char *path);
