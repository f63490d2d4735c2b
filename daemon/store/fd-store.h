/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Open files that survive a restart of the daemon: the service manager keeps duplicates under names
 * (sd_notify(3), FDSTORE=1) and hands them to the next run. Without a service manager nothing is
 * kept, and nothing fails. It drops what exceeds its limit without a word, so files are counted
 * here. It is an opener like any other, and closes late: what has to be closed for certain waits
 * for fd_store_sync().
 */

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "util/cleanup.h"

typedef struct FdStore FdStore;
typedef struct FdStoreSync FdStoreSync;

/* max: as FileDescriptorStoreMax= of the unit says. Takes over what the last run left. */
int fd_store_new(sd_event *event, unsigned max, FdStore **ret);
/* The service manager keeps what it has. */
FdStore *fd_store_free(FdStore *s);
DEFINE_CLEANUP(FdStore *, fd_store_free);

/* One file of the last run, still in the store; 0: no more. The descriptor is the caller's now. */
int fd_store_take(FdStore *s, char **ret_name, int *ret_fd);
/* Names are unique and have up to 255 printable characters without ":". -EDQUOT: it is full. */
int fd_store_put(FdStore *s, const char *name, int fd);
/* There were two files of that name: from now on there is only this one. */
int fd_store_replace(FdStore *s, const char *name, int fd);
/* Now or, if the service manager cannot be told now, later: until then fd_store_sync() fails. */
void fd_store_remove(FdStore *s, const char *name);

/* done is called once, from the event loop, when the service manager has dealt with all before;
 * in_time: false if it has not said so within five seconds. */
typedef void (*FdStoreDone)(bool in_time, void *userdata);
int fd_store_sync(FdStore *s, FdStoreDone done, void *userdata, FdStoreSync **ret);
/* done is not called any more. */
FdStoreSync *fd_store_sync_free(FdStoreSync *sync);
