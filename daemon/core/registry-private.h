/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of the registry share. A function that changes the model first does all that
 * can fail (allocate, reserve room in Changes) and then acts, so that it does all or nothing.
 */

#define HASH_NONFATAL_OOM 1 /* a lack of memory leaves hh.tbl NULL instead of ending the process */
#include "core/registry.h"

struct Registry {
        Device *devices;
        Group *groups;
        Lease *leases;
        bool devices_unsorted;
        bool groups_unsorted;
        bool leases_unsorted;
        Group *vanished; /* out of the tables, not yet forgotten */
        unsigned long long last_seq;
};

/* changes.c */

/* Room for so many more of each: adding them then cannot fail. */
int changes_reserve(Changes *c, size_t groups, size_t leases, size_t devices);
void changes_add_group(Changes *c, Group *g);
void changes_add_lease(Changes *c, Lease *l);
void changes_add_device(Changes *c, Device *d);
void changes_drop_device(Changes *c, Device *d);

/* request.c */

void owner_clear(Owner *o);
int owner_copy(Owner *to, const Owner *from);
bool owner_equal(const Owner *a, const Owner *b);
void terms_clear(Terms *t);
int terms_copy(Terms *to, const Terms *from);
/* Everything of a request that can be judged without the host. */
int request_validate(const Request *r, Fault *fault);

/* group.c */

/* Takes owner, terms and what the host has now into a free group, which stays free until
 * group_begin_claim(); group_forget_claim() drops them again. */
int group_prepare_claim(Group *g, const Request *request);
/* What the host has was seen anew before anything was changed. */
int group_record_again(Group *g, const DeviceFacts *facts);
void group_begin_claim(Group *g, Changes *c);
void group_forget_claim(Group *g);
/* The last right on the group is gone. */
void group_begin_draining(Group *g);
/* Notes whether the device may now be, or still is, in the hands of user space. */
void device_note_lent(Device *d);
/* Ends all leases of a group with a copy of *why. Room for the group itself is reserved too. */
int group_drop_leases(Group *g, LeaseState state, const Fault *why, Changes *c);
/* Takes over waits_for. */
void group_set_state(Group *g, GroupState state, char *waits_for, Changes *c);
Group *group_free(Group *g);

/* reserve.c */

/* The groups of the devices that are named, sorted by id; refuses what no owner could get. */
int registry_resolve(Registry *r, const Request *request, Group ***ret_groups, size_t *ret_n,
                     Fault *fault);
/* Makes room for one more lease. */
int group_reserve_lease(Group *g);
/* Can this group, claiming or owned, serve this request as it is? NULL, or why not: "its driver
 * is e1000e". */
const char *group_conflict(const Group *g, const Request *request);

/* lease.c */

int registry_add_lease(Registry *r, Lease *l);
void lease_join_group(Lease *l, Group *g, Changes *c);
/* The infallible part of ending a lease: takes over *failure and *ended (either may be NULL). */
void lease_leave_groups(Lease *l, LeaseState state, Fault *failure, char **ended, Changes *c);
Lease *lease_free(Lease *l);
DEFINE_CLEANUP(Lease *, lease_free);
