/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared by the files of this folder only. */

#include "core/queue.h"
#include "manager/audit.h"
#include "manager/keep.h"
#include "manager/manager.h"

/* One request on its way to its answer (acquire.c). */
typedef struct Inquiry Inquiry;

/* A lease whose VFs have not all appeared (vfs.c). */
typedef struct VfWait VfWait;

struct Manager {
        sd_event *event;
        Registry *registry;
        Kernel *kernel;
        Store *store;
        FdStore *fd_store;
        Policy *policy; /* NULL: the vendor default */
        ManagerEvents events;
        bool started;    /* enumeration and recovery are done: changes are acted upon */
        int start_error; /* of enumeration: a device left out would count as unplugged */
        bool executor_ready;
        struct Gate *gate;
        struct Inspector *inspector;
        struct QueueRunner *queue;
        struct Patrol *patrol;
        struct CatchUp *catch_up;
        Audit *audit;
        Inquiry *inquiries; /* utlist, doubly linked */
        VfWait *vf_waits;   /* the same */
};

/* manager.c: every change of the model goes through here: store first (intent before act), then the
 * bus, then the switches that follow from the new states. The changes are cleared. */
int manager_commit(Manager *m, Changes *c);
/* The device is not there any more. */
void manager_device_gone(Manager *m, const char *name);
/* What the host uses a device for may be something else now. */
void manager_refresh_use(Manager *m, const char *name);

/* Takes the policy over. */
void manager_set_policy(Manager *m, Policy *policy);

/* plan.c: plan_claim(), with what the kernel layer knows of the drivers that the terms name. */
int manager_plan_claim(Manager *m, Group *g, const Owner *owner, const Terms *t, uid_t uid,
                       bool force, Plan *ret, Obstacles *obstacles);

/* switch.c: what runs a group's plan; Group.userdata */
typedef struct Switch Switch;

/* A lease has ended while a step towards it is under way: the group waits for that. */
void switch_note_waiting(Group *g, Changes *c);
/* Looks at the group's state and starts what follows from it, if nothing is under way. A claim has to
 * be begun first: until then what is seen of the group is the host's. */
void switch_kick(Manager *m, Group *g);
/* The claim of this group waits until its Inquiry says go. */
int switch_hold(Manager *m, Group *g, const Inquiry *q);
void switch_go(Manager *m, Group *g, const Inquiry *q);
bool switch_is_held(const Group *g, const Inquiry *q);
/* The Inquiry will not say anything. */
void switch_unhold(Group *g, const Inquiry *q);
/* The Inquiry said no: nothing was begun. */
void switch_drop(Group *g);
/* Nothing is kept of a group that is the host's, and no device's file of one that somebody else has
 * changed. */
void switch_settle(Manager *m, Group *g);
/* The group is gone, and nothing of it is kept. */
void switch_forget(Manager *m, Group *g);
/* What the daemon keeps open of the group. */
const VfioFiles *switch_files(const Group *g);
/* After a restart: a step of the last run may still be at work on the group. */
int switch_distrust(Manager *m, Group *g);
/* The step that was under way when the last run ended. */
int switch_note_left_behind(Manager *m, Group *g, const Step *step);
/* The one that is under way, or was left behind; NULL: none. */
const Step *switch_step(const Group *g);
/* What is known of its devices is old: no plan for it is finished before they are read again. */
void switch_is_stale(Group *g);
/* The executor came back: what waits for it need not wait longer. */
void switch_wake(Manager *m, Group *g);
/* A step of some group waits for these processes. */
bool switch_waits(Manager *m, KernelOp *op, const char *who);
bool switch_is_busy(const Group *g);
Switch *switch_free(Switch *s);

/* inspector.c: keeps Device.in_use fresh, a few devices at a time */
typedef struct Inspector Inspector;
int inspector_new(Manager *m, Inspector **ret);
Inspector *inspector_free(Inspector *i);
void inspector_queue(Inspector *i, const char *device);

/* gate.c: what is between two owners of a device */
typedef struct Gate Gate;
int gate_new(Manager *m, Ledger *ledger, Gate **ret);
Gate *gate_free(Gate *gate);
/* The policy is another one. */
void gate_apply_policy(Manager *m);
/* What was read of the device is new; new_device: the device, too. */
void gate_device_seen(Manager *m, Device *d, bool new_device);
/* The owner is about to get at the devices: what has to be known afterwards is written before. */
int gate_claim(Manager *m, Group *g);
void gate_reset_done(Manager *m, const char *device);
/* Something may have to be scrubbed now; of this group. */
void gate_look(Manager *m);
void gate_look_at(Manager *m, const Group *g);
/* Runs units again that failed. 1 if there are any, 0 if not, or -ENOMEM. */
int gate_retry(Manager *m, Group *g);

/* patrol.c: looks after groups that are owned, for what no event tells */
typedef struct Patrol Patrol;
int patrol_new(Manager *m, Patrol **ret);
Patrol *patrol_free(Patrol *p);
/* The group has changed: there may be something to look after now. */
void patrol_note(Patrol *p, const Group *g);
/* udev has changed the node of the group. */
void patrol_renew_right(Manager *m, unsigned group);

/* holder.c: what keeps a lease alive; Lease.userdata */
typedef struct Holder Holder;
/* Watches what the lease's request says. fd: lifeline's read end or pidfd, or -EBADF; taken over on
 * success. */
int holder_new(Manager *m, Lease *l, int fd);
Holder *holder_free(Holder *h);
/* type: how fd is watched; taken over on success. */
int holder_set_fd(Lease *l, HolderType type, int fd);
void holder_set_expiry(Lease *l);
/* These processes keep its files open. False: it is not the lease's operation. */
bool holder_waits(Lease *l, const KernelOp *op, const char *who);
/* A failed or lost lease stays to be read for a minute, or until its holder is gone. */
void holder_linger(Lease *l);
/* After a restart: finds the holder again. An ended holder is noticed from the event loop. */
int holder_restore(Manager *m, Lease *l);

/* The lease is asked to leave, or it is not any more. */
void holder_set_revocation(Lease *l);

/* queue.c */
typedef struct QueueRunner QueueRunner;
int queue_runner_new(Manager *m, QueueRunner **ret);
QueueRunner *queue_runner_free(QueueRunner *q);
/* Something changed: somebody may have his turn. */
void queue_kick(Manager *m);
/* vfs.c: the group is a PF's, or has VFs, and changed: whoever waits for that looks again */
void vfs_poke(Manager *m, const Group *changed);
/* The settings of a VF were read, or put back, as far as anybody could be asked. */
void vfs_note_settings(Manager *m, const Step *step, StepResult *result);
void vfs_end(Manager *m);

/* catch-up.c: what could not be done for want of something is done as soon as it can be */
typedef struct CatchUp CatchUp;
int catch_up_new(Manager *m, CatchUp **ret);
CatchUp *catch_up_free(CatchUp *u);
/* Somebody could not go on, or could not write or tell what changed. Needs no memory. */
void catch_up_later(Manager *m);
/* The same; and files of what is no more may be left. */
void catch_up_files(Manager *m);
/* The same; and what is known of devices may be old. */
void catch_up_devices(Manager *m);

/* recover.c */
int manager_recover(Manager *m);

/* salvage.c: what is known all the same where a record was set aside */
/* A lease says that these groups are its own: those without a record are, if they look like it. */
int salvage_groups(Manager *m, const Request *request, Changes *c);
/* A lease whose record is gone: it is what the groups say that list it. */
int salvage_lease(Manager *m, const char *id, const StoredState *state, Changes *c);
/* A group whose record is gone, named after a device. If it is still free after all that: it is lost. */
int salvage_group(Manager *m, const char *device, Changes *c);
/* The same of a group that is on VFIO, and of which files were kept. */
int salvage_kept(Manager *m, Group *g, Changes *c);

/* adopt-files.c: files of the last run come back, or are closed. */
int manager_adopt_files(Manager *m, Changes *c);

/* acquire.c */
/* The turn of a lease that is queued. What stands in its way fails the lease. */
int manager_grant(Manager *m, Lease *l);
