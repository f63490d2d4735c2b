/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Devices, groups and leases, and the rules of who may own what. Pure: no I/O and no clock. Each
 * function changes the model and adds what it changed to a Changes record; the manager passes
 * that to the store and then to the bus. The states and their transitions stand in
 * docs/states.md.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uthash.h>

#include "core/caller.h"
#include "core/device.h"
#include "core/driver-wish.h"
#include "core/fault.h"
#include "core/types.h"

typedef struct Device Device;
typedef struct Group Group;
typedef struct Lease Lease;
typedef struct Registry Registry;
typedef struct Policy Policy;

typedef struct Owner {
        uid_t uid;
        char *name;
} Owner;

/* What a lease asks of the kernel. Two leases share a group only if their terms agree. */
typedef struct Terms {
        OwnerKind kind;
        Access access;             /* kind user only */
        VfioInterface interface;   /* access fd only; what it became once the files are opened */
        char *driver;              /* wished kernel driver, NULL: the usual one */
        char **devices;            /* those it is wished for, NULL: all that are no bridges */
        char *default_domain_type; /* wished, NULL: as it is */
        char *reset;               /* "auto" (NULL means the same), "none", or a method */
        unsigned vfs;              /* to be made first, and leased instead of the PF; 0: none */
        char *pf;                  /* whose VFs these are, also on the VFs' own groups */
        bool pool; /* they are for whoever asks, and the PF's group is shared by all */
} Terms;

typedef struct Request {
        char **devices;   /* names */
        char ***choices;  /* lists with selectors, to be tried in this order: core/choice.h */
        size_t n_choices; /* 0: the devices were named */
        Terms terms;
        Owner owner;
        Caller caller;   /* who asked */
        bool authorised; /* an administrator was asked, and said yes */
        uid_t uid;       /* who gets the nodes: the owner's uid unless a privileged caller says */
        char *label;
        HolderType holder;
        pid_t holder_pid;      /* HOLDER_PROCESS */
        uint64_t holder_start; /* its start time, clock ticks since boot */
        char *holder_name;     /* HOLDER_CONNECTION: unique bus name */
        uint64_t grace;        /* microseconds that it stays when its process has died; 0: none */
        bool force;
        uint64_t created;    /* CLOCK_BOOTTIME, microseconds */
        uint64_t expires;    /* the same clock; UINT64_MAX: never */
        uint64_t ttl;        /* of one that is queued: begins when it is granted; 0: for ever */
        uint64_t wait_until; /* how long to be queued, the same clock; 0: not, UINT64_MAX: for ever */
        int priority;
} Request;

#define REQUEST_NULL ((Request){ .terms = { .kind = _OWNER_KIND_INVALID }, .expires = UINT64_MAX })

/* The driver that the terms wish for this device; NULL: none. */
const char *terms_driver(const Terms *t, const Device *d);
/* The terms with the devices that they are for. Points into the request. */
Terms request_terms(const Request *r);
/* Copies of these, for a request of which nothing else is known. 0 or -ENOMEM. */
int request_take_terms(Request *r, const Owner *owner, const Terms *terms);
void request_clear(Request *r);
/* Replaces *to. 0 or -ENOMEM. */
int request_copy(Request *to, const Request *from);
/* Appends a copy of the list. 0 or -ENOMEM. */
int request_add_choice(Request *r, char *const *list);
void request_drop_choices(Request *r);
/* Everything of a request that can be judged without the host. */
int request_validate(const Request *r, Fault *fault);
#define _cleanup_request_ _cleanup_(request_clear)

/* What the host had before the first lease on the device's group. */
typedef struct HostRecord {
        bool valid;
        bool unknown; /* it was lost: only the kernel can say which driver the device should have */
        char *driver;
        char *driver_override;
        unsigned num_vfs;
        bool vf_autoprobe;
        char *vf_settings; /* of a VF; NULL: not read, or put back; "": there is nothing to put back */
} HostRecord;

/* What the policy says of a device (core/use.h). */
typedef struct DeviceRules {
        char *protect;       /* the rule that gives it to nobody; NULL: none */
        bool reset_required; /* before another owner has it; likewise */
        ScrubGate scrub;
        unsigned vfs; /* the pool that a PF may make; 0: none */
} DeviceRules;

/* Its last owner in user space, until what policy wants after him is done (core/use.h). */
typedef struct DeviceUse {
        bool valid;
        Owner owner;
        bool reset;     /* since */
        bool scrubbing; /* the unit is at work */
        char *trouble;  /* why the unit has failed */
} DeviceUse;

void device_use_clear(DeviceUse *u);

struct Device {
        DeviceFacts facts;
        Group *group; /* NULL: the device has no IOMMU group */
        HostRecord record;
        DriverWish wish; /* what is known of the driver that was asked for last */
        DeviceRules rules;
        DeviceUse use;
        bool lent;      /* an owner in user space may have files of its VFIO binding */
        bool probed;    /* on the way back, in vain or not; until the next claim */
        char *in_use;   /* why the host needs it, as last inspected; NULL: it does not */
        bool published; /* the bus layer has announced it; likewise below */
        bool behind;  /* its last change could not be told; of others: or written; the manager's */
        bool gone;    /* from the host, but it could not be removed yet; the manager's, too */
        Device *next; /* Group.devices, sorted by name */
        size_t change_slot; /* index in the last Changes that it was added to */
        UT_hash_handle hh;
};

struct Group {
        unsigned id;
        GroupState state;
        unsigned count;      /* leases that hold a right on it */
        Owner owner;         /* the present or, while count is 0, the former one; until free */
        Terms terms;         /* likewise */
        uid_t node_uid;      /* who gets the nodes of a user lease */
        char *recorded_type; /* default domain type before the first lease */
        bool begun;      /* steps of the claim may have run: what is seen now is not the host's */
        bool recorded;   /* recorded_type and the devices' records are taken */
        char *owed_type; /* while free: the type to go back to when no driver is bound */
        Kept kept;
        VfioInterface kept_interface; /* of the files that are kept */
        bool bound;                   /* somebody has a device bound to an iommufd */
        bool give_back;    /* a way back that ends at the host whatever the policy says */
        bool cleaned;      /* draining: what quarantine asks for is done */
        bool requarantine; /* the claim began in quarantine, and ends there if it fails */
        bool accepted; /* a way back that leaves all as it is, but for the former owner's rights */
        bool guess;    /* whose record is unknown may go to the driver that the kernel chooses */
        bool rebind; /* the VFIO binding is, or may be, that of another owner than the present one */
        struct Claim *pending; /* quarantined: whose claim is being prepared */
        char *waits_for;       /* what a draining, failed or lost group waits for, for people */
        bool evict; /* its last owner did not leave when asked: unbind without waiting for him */
        Device *devices;
        size_t n_devices;
        Lease **leases; /* those that count */
        size_t n_leases;
        Lease **queue; /* those that wait for it, in the order of service (core/queue.h) */
        size_t n_queue;
        void *userdata;     /* the manager's switch of this group */
        GroupState audited; /* what the journal was told last; the manager's, too */
        bool published;
        bool behind;
        Group *next_vanished;
        size_t change_slot;
        UT_hash_handle hh;
};

/* A lease that was asked to leave. */
typedef struct Revocation {
        char *reason;      /* NULL: it was not */
        uint64_t deadline; /* CLOCK_BOOTTIME, microseconds: then the right ends; 0: it was not asked */
        bool by_queue;     /* for a lease that is queued; else by a person */
        LeaseState former; /* to go back to if nobody waits any more */
        bool told;         /* the bus layer has told the holder */
} Revocation;

void revocation_clear(Revocation *v);

struct Lease {
        char *id; /* "l7" */
        unsigned long long seq;
        LeaseState state;
        Request request; /* the devices are sorted and without duplicates */
        Group **groups;  /* sorted by id; empty once the right is gone */
        size_t n_groups;
        Group **wanted; /* LEASE_QUEUED: those it waits for, sorted by id */
        size_t n_wanted;
        Revocation revocation; /* LEASE_REVOKING */
        Fault failure;         /* LEASE_FAILED, LEASE_LOST */
        char *forbidden;       /* why the policy would not grant it any more; NULL: it would */
        char *ended;           /* reason of LEASE_ENDED: "released", "holder-died", ... */
        void *userdata;        /* the manager's holder watch */
        bool answered;         /* the requester knows of it; the manager's, like userdata */
        bool asking;  /* granted from the queue, but whether the host needs the devices is not known
                         * yet: for the store it is queued; the manager's too */
        bool audited; /* the journal has it; the manager's, and so is what it was told last */
        LeaseState audited_state;
        unsigned mark; /* core/queue.c */
        bool published;
        bool behind;
        const char *overdue; /* why it has to end, if it could not be ended yet; the manager's */
        size_t change_slot;
        UT_hash_handle hh;
};

/* What one call, or several in a row, changed. Each object appears once. A group with n_devices == 0
 * has vanished: it is in the registry no more and waits for registry_forget_group(). A device that
 * is gone is not listed. Pointers are valid until registry_forget_lease(), registry_forget_group()
 * and, for devices, registry_device_removed() with another Changes. */
typedef struct Changes {
        Group **groups;
        size_t n_groups;
        size_t groups_size;
        Lease **leases;
        size_t n_leases;
        size_t leases_size;
        Device **devices;
        size_t n_devices;
        size_t devices_size;
} Changes;

#define CHANGES_NULL ((Changes){})
void changes_clear(Changes *c);
/* All objects that are behind, which they are no more then. -ENOMEM: they still are. */
int registry_take_behind(Registry *r, Changes *c);
#define _cleanup_changes_ _cleanup_(changes_clear)

/*
 * Functions that take Changes either do all that they say or return a negative errno and change
 * nothing: -ENOMEM, or -EINVAL if the state does not allow it (docs/states.md).
 */

/* registry */
int registry_new(Registry **ret);
/* From now on every request is held against it (core/policy.h). It has to stay. */
void registry_set_policy(Registry *r, const Policy *policy);
/* New leases get higher numbers than this. */
void registry_set_last_seq(Registry *r, unsigned long long seq);
Registry *registry_free(Registry *r);
DEFINE_CLEANUP(Registry *, registry_free);

Device *registry_device(Registry *r, const char *name);
Group *registry_group(Registry *r, unsigned id);
Lease *registry_lease(Registry *r, const char *id);
/* The hash tables themselves, for iteration: HASH_ITER(hh, ...) or ->hh.next. Groups are in
 * ascending order of id, devices of name, leases of age. These calls restore that order, so they
 * may not be made while an iteration goes on. To look one up use the functions above: the tables
 * have a hash function of their own. */
Device *registry_devices(Registry *r);
Group *registry_groups(Registry *r);
Lease *registry_leases(Registry *r);
/* The first with id > after (-1: of all) or seq > after, else NULL. Takes constant time, unless
 * "after" itself has gone since. */
Group *registry_next_group(Registry *r, long long after);
Lease *registry_next_lease(Registry *r, unsigned long long after);

/* observing */

/* The observer read this device (new or changed). One that moved to another group is removed
 * first. 0 or -ENOMEM. */
int registry_device_seen(Registry *r, const DeviceFacts *facts, Changes *c);
/* The device is gone. Leases on its group end as lost; the group vanishes when it is empty. */
int registry_device_removed(Registry *r, const char *name, Changes *c);
/* The kernel has answered to a probe on the way back. */
void registry_device_probed(Device *d);
int registry_device_set_in_use(Device *d, const char *why, Changes *c);
/* Frees a group that has vanished. */
void registry_forget_group(Registry *r, Group *g);

/* leases */

/*
 * Checks the request against the ownership rules and reserves all its groups or none.
 * Takes over the contents of *request on success (it is then REQUEST_NULL).
 * On success *ret is a lease in state
 *   active      every group was owned already on the same terms: only counts went up;
 *   activating  the groups in state claiming need their steps run;
 *   queued      it has to wait, and the request says that it will (core/queue.h).
 * Refusals (-ECANCELED with the fault set): NoSuchDevice, NoIommu, Unsupported, Busy, Quarantined,
 * Lost, NotViable, InvalidArgs, QuotaExceeded. -ENOMEM otherwise. Nothing is changed then.
 */
int registry_reserve(Registry *r, Request *request, Lease **ret, Changes *c, Fault *fault);

/* The same check, which changes nothing and gives the groups concerned (free with free()). */
int registry_check(Registry *r, const Request *request, Group ***ret_groups, size_t *ret_n,
                   Fault *fault);
/* The same for a lease of that age which is queued. */
int registry_check_at(Registry *r, const Request *request, unsigned long long seq,
                      Group ***ret_groups, size_t *ret_n, Fault *fault);

/*
 * For the store, in this order: the groups of a former run, the records of their devices, the
 * leases, done.
 * registry_adopt_lease() keeps the id. A lease that held a right is active or activating again as
 * its groups are owned or not; if a device or group of it is no longer there or serves other
 * terms, it comes back as lost. -EINVAL for a malformed id, -EEXIST for one that is taken.
 * registry_adopt_unrecorded(): for a group of which there is no record any more, though a lease or something
 * else says that it is not free: state owned, or lost with the reason why. What the host had is unknown.
 * registry_adopt_done(): groups that no lease counts on are drained.
 */
int registry_adopt_lease(Registry *r, const char *id, LeaseState state, Request *request,
                         Lease **ret, Changes *c);
int registry_adopt_group(Registry *r, Group *g, GroupState state, const Owner *owner,
                         const Terms *terms, uid_t node_uid, const char *recorded_type, Changes *c);
/* For a group in the hands of its record of which nothing had been done yet: what it is now is what the host has. */
int registry_adopt_untouched(Group *g);
int registry_adopt_unrecorded(Registry *r, Group *g, const Request *request, const char *lost,
                              Changes *c);
/* -EINVAL: the group is not free any more, or its type has been changed. */
int registry_adopt_owed(Group *g, const char *type);
int device_set_record(Device *d, const char *driver, const char *driver_override);
void device_lose_record(Device *d);
void device_set_vf_record(Device *d, unsigned num_vfs, bool vf_autoprobe);
/* Of a VF; see HostRecord. */
int device_set_vf_settings(Device *d, const char *settings);
int registry_adopt_done(Registry *r, Changes *c);

/* From now on steps of the claim change the group. Until then the records follow what is seen, so
 * that a look at the devices right before the first step makes them true. */
void registry_group_begin(Group *g);
/* The steps of a claiming group are done: it is owned, and leases all of whose groups are owned
 * become active. */
int registry_group_claimed(Registry *r, Group *g, Changes *c);
/* A step failed. Leases on it fail with a copy of *why, and all their groups are given up as by
 * registry_lease_end(). */
int registry_group_claim_failed(Registry *r, Group *g, const Fault *why, Changes *c);

/* The right is gone: every group of the lease counts one down, and at zero it is draining (what
 * there is to undo is for plan_restore() to say). state is what the lease becomes: ended, for
 * that reason, or failed or lost, with that as the message of its failure. */
int registry_lease_end(Registry *r, Lease *l, LeaseState state, const char *reason, Changes *c);
/* active <-> unconfirmed; false if not allowed now (or for lack of memory). */
bool registry_lease_set_state(Registry *r, Lease *l, LeaseState state, Changes *c);
int registry_lease_set_expires(Lease *l, uint64_t expires, Changes *c);
/* Does a lease in this state hold a right? */
bool lease_state_is_alive(LeaseState s);
/* Is it ended, failed or lost? One that is queued is neither alive nor over. */
bool lease_state_is_over(LeaseState s);
/* It fails, with a copy of *why. Otherwise as registry_lease_end(). */
int registry_lease_fail(Registry *r, Lease *l, const Fault *why, Changes *c);
/* Another process is its holder now. */
int registry_lease_set_process(Lease *l, pid_t pid, uint64_t start, Changes *c);
/* Its process has died, and its grace begins: it has no holder and is unconfirmed until expires. -EINVAL if none was
 * asked for, or nothing could be tidied up in it. */
int registry_lease_orphan(Lease *l, uint64_t expires, Changes *c);
/* Frees a lease that is ended, failed or lost. */
void registry_forget_lease(Registry *r, Lease *l);

/* the way back */

/* What the daemon keeps of the group now; interface: of the files. */
int registry_group_set_kept(Group *g, Kept kept, VfioInterface interface, Changes *c);
/* 0 or -ENOMEM */
int registry_group_set_bound(Group *g, bool bound, Changes *c);
/* Not while the group is free. */
int registry_group_set_waits_for(Group *g, const char *who, Changes *c);
/* Nobody has it open any more, and it is ours: draining -> restoring. */
int registry_group_drained(Registry *r, Group *g, Changes *c);
/* What was recorded is back and verified: -> free. The record is dropped. */
int registry_group_restored(Registry *r, Group *g, Changes *c);
/* Nobody has it open any more, it is claimed and clean: restoring -> quarantined. */
int registry_group_quarantined(Registry *r, Group *g, Changes *c);
/* The host gets it back after all: quarantined -> draining. */
int registry_group_give_back(Registry *r, Group *g, Changes *c);
/* A step of the way back failed: draining, restoring -> failed. */
int registry_group_failed(Registry *r, Group *g, const char *why, Changes *c);
/* Somebody else changed it: any state but free, failed and lost -> lost, and its leases with it. */
int registry_group_lost(Registry *r, Group *g, const char *why, Changes *c);
/* failed or lost -> draining: try again, and whose record is unknown may go where the kernel wants it.
 * -EINVAL in other states. */
int registry_group_retry(Registry *r, Group *g, Changes *c);
/* failed or lost -> free: what is there now is right, the record is dropped. -> draining where the former
 * owner may open the node: that right has to be taken back first. -EINVAL in other states. */
int registry_group_accept(Registry *r, Group *g, Changes *c);
/* Has, or had, a lease a right on the nodes of the group that is to be taken back? */
bool group_owner_may_open(const Group *g);

/* Is the VFIO binding that a quarantined group has, or that a claim found there, no binding for this
 * owner and uid? */
bool group_needs_new_binding(const Group *g, const Owner *owner, uid_t uid, const char *driver);

/* The present default domain type; NULL: unknown. */
const char *group_type(const Group *g);
/* Claiming, and no step of that has been begun. */
bool group_is_untouched(const Group *g);
/* "0000:3b:00.0, 0000:3b:00.1": the names of a group's devices, for messages. */
char *group_device_names(const Group *g);
/* "lease l3 of dpdk (uid 1000)": who holds a group, or held it last, for messages to the caller, who may not be allowed
 * to see more than that it is another user. */
char *group_describe_owner(const Group *g, const Caller *asks);
char *lease_describe_owner(const Lease *l, const Caller *asks);
