/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of the registry share. A function that changes the model first does all that
 * can fail (allocate, reserve room in Changes) and then acts, so that it does all or nothing.
 */

#define HASH_NONFATAL_OOM 1 /* a lack of memory leaves hh.tbl NULL instead of ending the process */
#include "core/queue.h"
#include "core/registry.h"
#include "core/use.h"

struct Registry {
        Device *devices;
        Group *groups;
        Lease *leases;
        bool devices_unsorted;
        bool groups_unsorted;
        bool leases_unsorted;
        Lease **queue; /* all that are queued, in the order of service */
        size_t n_queue;
        const Policy *policy; /* who may; the manager's */
        bool guarded;         /* it is asked */
        bool asked;           /* leases may be revoked for the queue's sake */
        unsigned mark;        /* the last that was used */
        Group *vanished;      /* out of the tables, not yet forgotten */
        unsigned long long last_seq;
};

/* guard.c */

/* Protected devices, and who may have the others: 0, or -ECANCELED with the fault set. */
int registry_check_policy(Registry *r, const Request *request, Group **groups, size_t n,
                          Fault *fault);
/* May that user have one more lease, or one more that is queued? */
int registry_check_limits(const Registry *r, const Request *request, Fault *fault);
int registry_check_queue_limits(const Registry *r, const Request *request, Fault *fault);
/* A right that policy gives for a time ends by itself. */
void registry_limit_ttl(Registry *r, Request *request, Group **groups, size_t n);

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

/* group.c */

/* May a request for that kind begin a claim: is the group free, or kept for user space? */
bool group_may_be_claimed(const Group *g, OwnerKind kind);
/* Takes owner, terms and (free) what the host has now into the group, whose state stays until
 * group_begin_claim(); group_drop_prepared() forgets them again. */
int group_prepare_claim(Group *g, const Request *request);
void group_drop_prepared(Group *g);
/* What the host has, as far as it was seen. */
int group_record_devices(Group *g);
/* It was seen anew before anything was changed. */
int group_record_again(Group *g, const DeviceFacts *facts);
void group_begin_claim(Group *g, Changes *c);
void group_forget_claim(Group *g);
/* The last right on the group is gone. */
void group_begin_draining(Group *g);
/* Notes whether the device may now be, or still is, in the hands of user space. */
void device_note_lent(Device *d);
/* Ends all leases of a group with a copy of *why. Room for the group itself is reserved too. */
int group_drop_leases(Registry *r, Group *g, LeaseState state, const Fault *why, Changes *c);
/* Takes over waits_for. */
void group_set_state(Group *g, GroupState state, char *waits_for, Changes *c);
Group *group_free(Group *g);

/* reserve.c */

/* The groups of the devices that are named, sorted by id; refuses what no owner could get. */
int registry_resolve_named(Registry *r, const Request *request, Group ***ret_groups, size_t *ret_n,
                           Fault *fault);
/* Also those of the PFs whose pools they are of. */
int registry_resolve(Registry *r, const Request *request, Group ***ret_groups, size_t *ret_n,
                     Fault *fault);
/* Makes room for one more lease. */
int group_reserve_lease(Group *g);
/* May this request have the group now? seq: its age, ULLONG_MAX for a new one. Without a fault to
 * fill this is only a question. */
int group_check(const Group *g, const Request *request, unsigned long long seq, Fault *fault);
/* A new lease of that request, with the next number and not in the registry yet; NULL: no memory. */
Lease *registry_new_lease(Registry *r);
/* Takes over the contents of the request. */
void lease_take_request(Lease *l, Request *request);
/* Everything of a grant that can fail; 0 or -ENOMEM. */
int groups_prepare(Group **groups, size_t n, const Request *request, Changes *c);
void groups_unprepare(Group **groups, size_t n);
/* Gives the lease its right on l->groups, which are prepared. */
void lease_take_groups(Lease *l, Changes *c);
/* Can this group, claiming or owned, serve this request as it is? NULL, or why not: "its driver
 * is e1000e". */
const char *group_conflict(const Group *g, const Request *request);

/* lease.c */

int registry_add_lease(Registry *r, Lease *l);
void lease_join_group(Lease *l, Group *g, Changes *c);
/* The infallible part of ending a lease: takes over *failure and *ended (either may be NULL). */
void lease_leave_groups(Registry *r, Lease *l, LeaseState state, Fault *failure, char **ended,
                        Changes *c);
Lease *lease_free(Lease *l);
DEFINE_CLEANUP(Lease *, lease_free);

/* queue.c */

/* The first waiter on the group that the request may not overtake; NULL: none. */
const Lease *group_held_back_by(const Group *g, const Request *request, unsigned long long seq);
/* Queues the request, which waits for these groups (taken over on success). */
int registry_enqueue(Registry *r, Request *request, Group ***groups, size_t n, Lease **ret,
                     Changes *c, Fault *fault);
/* Room for a lease in the queue of all and of these groups. 0 or -ENOMEM. */
int queue_reserve(Registry *r, Group **groups, size_t n);
/* Puts a lease at its place; it waits for l->wanted, and there is room. */
void queue_add(Registry *r, Lease *l, Changes *c);
/* It waits no longer. There is room for l->n_wanted groups in *c. */
void queue_remove(Registry *r, Lease *l, Changes *c);
/* Fails all that wait for a device of this name. */
int queue_drop_device(Registry *r, const Group *g, const char *device, Changes *c);
