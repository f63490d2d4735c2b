/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What must survive a restart of the daemon, below its run-time folder:
 *
 *   leases/<id>.json        one file per lease
 *   groups/<device>.json    one file per group that is not free, named after its first recorded
 *                           device (group numbers change): what the host had, what is intended,
 *                           the step under way. Written before each kernel change: the journal.
 *                           For a free group only if it is owed its default domain type.
 *   lifelines/<id>          the FIFO of a lifeline
 *   sequence                the number of the youngest lease: ids are not used again
 *   reserve                 space given up when the folder is full, so that a way back can
 *                           always be written
 *   damaged/                what could not be understood, set aside
 *
 * The folder itself is locked (flock) by the running daemon.
 * Every file is written to a temporary name and renamed, and carries the boot id: state of an
 * earlier boot means nothing and is dropped. The folder is memory (tmpfs), nothing is synced.
 * All functions return 0 or a negative errno.
 */

#include "core/registry.h"
#include "core/step.h"

typedef struct Store Store;

typedef struct StoredLease {
        char *id;
        LeaseState state;
        bool answered;
        Request request;
        Revocation revocation;
} StoredLease;

typedef struct StoredDevice {
        char *name;
        HostRecord record;
} StoredDevice;

typedef struct StoredGroup {
        char *key;
        GroupState state;
        Owner owner;
        Terms terms;
        uid_t node_uid;
        bool give_back, requarantine, rebind, guess, accepted, untouched;
        char *recorded_type;
        char *owed_type; /* GROUP_FREE, which has only this and the names of its devices */
        char *waits_for;
        bool evict;
        StoredDevice *devices;
        size_t n_devices;
        char **leases; /* the ids of those that counted on it */
        Step step;     /* the one under way when it was written; may be of no kind */
} StoredGroup;

typedef struct StoredState {
        StoredLease *leases; /* oldest first */
        size_t n_leases;
        StoredGroup *groups;
        size_t n_groups;
        unsigned long long last_seq; /* of any lease there ever was */
        char **damaged_leases;       /* ids of leases whose files were set aside */
        char **damaged_groups;       /* keys of groups whose files were */
        char **messages;             /* what was set aside or dropped, for the log */
} StoredState;

void stored_state_clear(StoredState *s);
#define _cleanup_stored_state_ _cleanup_(stored_state_clear)

/* dir must exist. -EBUSY: another daemon runs on it. */
int store_open(const char *dir, Store **ret);
Store *store_free(Store *s);
DEFINE_CLEANUP(Store *, store_free);

int store_load(Store *s, StoredState *ret);

int store_save_lease(Store *s, const Lease *l);
int store_remove_lease(Store *s, const char *id);
/* step: what is about to be done, NULL: nothing. */
int store_save_group(Store *s, const Group *g, const Step *step);
/* The key a group's file has: its first recorded device, or its first one while it is free. NULL if
 * nothing is recorded. */
const char *store_group_key(const Group *g);
int store_remove_group(Store *s, const char *key);

/* A lifeline: the daemon watches the read end for a hang-up, the requester keeps the other. */
int store_create_lifeline(Store *s, const char *id, int *ret_read, int *ret_write);
/* After a restart. Both ends are opened and the writing one is closed again, else a reader that
 * no writer has met never sees a hang-up. -ENOENT: there is none. */
int store_reopen_lifeline(Store *s, const char *id, int *ret_read);
int store_remove_lifeline(Store *s, const char *id);

/* Removes the files of leases and groups that are nobody's, which could not be removed in time. */
typedef bool (*StoreWanted)(const char *name, void *userdata);
int store_remove_unwanted(Store *s, StoreWanted lease, StoreWanted group, void *userdata);
