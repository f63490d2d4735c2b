/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What somebody did to the state folder by hand: a folder, a link or a FIFO where a file should be, a
 * file that may not be read. Nothing of that is believed and nothing is lost: it is moved to
 * damaged/ below that folder, with a message, and a person can look at it there.
 */

#include <stddef.h>

typedef struct Folder {
        int fd;
        const char *path; /* for messages */
        char ***messages; /* a strv */
} Folder;

/* Moves name out of the way; name is relative to the folder. What cannot be moved is told, and stays:
 * that is no failure. 0 or -ENOMEM. */
int set_aside(const Folder *f, const char *name, const char *why);
/* Makes sure that this is a folder of ours. */
int make_folder(const Folder *f, const char *name);
/* Sets aside whatever is there and is no regular file. */
int expect_file(const Folder *f, const char *name);
/* The text of a regular file of at most max bytes; free it. 0, -ENOENT, or -EBADMSG: it is damaged, *ret_why
 * says how (do not free). Anything else is no fault of the file. */
int read_text(const Folder *f, const char *name, size_t max, char **ret, const char **ret_why);
