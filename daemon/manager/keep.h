/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The files of a group that the daemon holds open: to lend them, or so that the group stays in a
 * blocking domain. Those that shall outlive the daemon are in the service manager's store too.
 */

#include "core/registry.h"
#include "shared/vfio-file.h"
#include "store/fd-store.h"

typedef struct Keep {
        VfioFiles files;
        char **stored; /* their names in the store; NULL: they are not in it */
} Keep;

#define KEEP_NULL ((Keep){})

/* These take the place of what is kept, and are taken over on success. outlive: they survive the
 * daemon. -EDQUOT: the store is full. */
int keep_replace(Keep *k, FdStore *store, Group *g, Kept kept, bool outlive, VfioFiles *files,
                 Changes *c);
/* Nothing is kept any more. True: the service manager has yet to close its duplicates. */
bool keep_drop(Keep *k, FdStore *store, Group *g, Changes *c);
/* A device's own file only; the others go on keeping the group. */
void keep_drop_device(Keep *k, FdStore *store, const char *device);
/* Closes the files; the service manager keeps its own. */
void keep_close(Keep *k);

/* A file of the last run: of which group's, by the name it has in the store. -EINVAL: it is no
 * name of ours. */
int keep_parse_name(const char *name, char **ret_device, Kept *ret_kept, FileRole *ret_role,
                    char **ret_file_device);
/* Does it have what its interface needs? What the last run was still storing when it ended does not. */
bool keep_is_whole(const Keep *k);
/* A file of the last run comes back, one of those of that kind. Takes fd over unless it fails. */
int keep_adopt(Keep *k, Group *g, const char *name, Kept kept, FileRole role, const char *device,
               int fd, Changes *c);
