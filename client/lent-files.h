/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The files that are lent, for the command that gets them. */

#include <stddef.h>

#include "client/libdmaowner/dmaowner.h"

typedef struct LentFiles {
        const dmaowner_file *items;
        size_t n;
} LentFiles;

/* The first of that role; NULL: there is none. */
const dmaowner_file *lent_files_first(const LentFiles *f, const char *role);
/* "iommufd=5,0000:00:03.0=6"; NULL on lack of memory. */
char *lent_files_describe(const LentFiles *f);
/* Lets a command have them: they stay open over an exec. 0 or negative errno. */
int lent_files_pass_on(const LentFiles *f);
