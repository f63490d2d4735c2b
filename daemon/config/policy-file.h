/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Reads the policy's files: FOLDER/conf.d/NAME.json in the order of their names, then
 * FOLDER/dmaownerd.json. Their rules are tried in that order, so that a drop-in decides before the
 * file that it adds to. What the vendor brings stands in a folder of its own; a file of the
 * administrator's hides one of the same name there. Each has to be a regular file of root's (or our
 * own) that nobody else may write.
 */

#include "core/policy.h"

/* Where the files are: $CONFIGURATION_DIRECTORY, as the service manager sets it, or /etc/dmaownerd. */
const char *policy_folder(void);

/* A folder or a file that is not there says nothing. 0, or -EINVAL with *ret_message set (file,
 * line, column, key, what was expected), or -ENOMEM. */
int policy_read_folders(const char *folder, const char *vendor, Policy **ret, char **ret_message);
/* The same for the folders of this host. */
int policy_read(Policy **ret, char **ret_message);

/* Appends the rules of one file, which has to be there. */
int policy_read_file(Policy *p, const char *path, char **ret_message);
/* The same for contents that are in memory already; name is for messages. */
int policy_read_text(Policy *p, const char *name, const char *text, size_t size, char **ret_message);
