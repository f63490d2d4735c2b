/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The kernel as the manager sees it: it tells what devices there are, and runs steps. Two
 * implementations: Linux (udev, sysfs, the executor) and a simulated host read from a JSON
 * topology. Nothing here blocks: answers come from the event loop, never from inside the call
 * that asked.
 */

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

#include "core/planner.h"
#include "core/step.h"
#include "shared/vfio-file.h"

typedef struct Kernel Kernel;
typedef struct KernelOp KernelOp;

/* What became of a step. Valid during the callback only; a receiver that wants to keep the
 * files takes them with TAKE_VFIO_FILES(). */
typedef struct StepResult {
        int error;           /* 0, or a positive errno */
        char *value;         /* what was read back: the driver, type or override now; or NULL */
        char *text;          /* for people: who or what is in the way; or NULL */
        Obstacles obstacles; /* STEP_INSPECT, and STEP_UNBIND that refused with EBUSY */
        VfioFiles files;     /* STEP_LEND, STEP_CLAIM */
} StepResult;

#define STEP_RESULT_NULL ((StepResult){})
void step_result_clear(StepResult *r);
#define _cleanup_step_result_ _cleanup_(step_result_clear)

/* done: exactly once per step, unless the operation was cancelled. */
typedef void (*KernelDone)(KernelOp *op, StepResult *result, void *userdata);

typedef struct KernelEvents {
        /* A device was found, or its facts changed. Also called for what steps of our own
         * changed, before their done. */
        void (*device_seen)(const DeviceFacts *facts, void *userdata);
        void (*device_gone)(const char *name, void *userdata);
        /* Something that hangs on the device (interface, disk) came, went or changed: what is
         * known of its use is stale. */
        void (*device_use_changed)(const char *name, void *userdata);
        /* udev's rules were run again for /dev/vfio/GROUP: its owner, mode and ACL may be others. */
        void (*node_changed)(unsigned group, void *userdata);
        /* A step of STEP_CLAIM or STEP_WAIT_CLOSED waits, for these processes. */
        void (*waiting)(KernelOp *op, const char *who, void *userdata);
        /* The executor can be reached, or no longer. Steps under way when it goes are done with
         * ECONNRESET: whether they happened is not known. */
        void (*ready)(bool ready, void *userdata);
        void *userdata;
} KernelEvents;

typedef struct KernelOps {
        const char *name; /* "linux", "simulated" */
        /* Enumerates: device_seen for each device, before it returns. Then watches. */
        int (*start)(Kernel *k);
        /* Begins a step. files: what STEP_RECLAIM and STEP_CLAIM work on, NULL: none; copies of the
         * descriptors are made. *ret may be NULL if the caller will not cancel. deadline_usec:
         * relative; 0: none. When it passes the step is left behind, fenced, and done with ETIMEDOUT. */
        int (*run)(Kernel *k, const Step *step, const VfioFiles *files, uint64_t deadline_usec,
                   KernelDone done, void *userdata, KernelOp **ret);
        /* Withdraws the permit. done is not called any more. What the step's process is stuck in
         * goes on, but it does nothing further. */
        void (*cancel)(KernelOp *op);
        /* Reads a device again, for what the kernel tells nobody; device_seen if it has changed,
         * device_gone if it is not there any more: from inside this call, or later. */
        void (*look)(Kernel *k, const char *device);
        /* What was told could not be taken up: device_seen for every device, maybe later. */
        void (*tell_again)(Kernel *k);
        /* Has anybody bound a device to an iommufd through one of these files, or a duplicate? Then the
         * group is owned, and no event tells of it. */
        bool (*is_bound)(Kernel *k, const VfioFiles *files);
        /* What the host's tables say of a driver for a device: for plans. -ENODEV: there is no such
         * device. */
        int (*find_driver)(Kernel *k, const char *device, const char *driver, DriverWish *ret);
        /* Is the file that of the group, or of its device, with this role? 1, 0, or negative errno. */
        int (*is_file)(Kernel *k, unsigned group, FileRole role, const char *device, int fd);
        /* Groups a left-behind step still works on (its lock is held); -1: not known yet. */
        int (*group_is_locked)(Kernel *k, unsigned group);
        Kernel *(*free)(Kernel *k);
} KernelOps;

/* First member of both implementations. */
struct Kernel {
        const KernelOps *ops;
        KernelEvents events;
};

/* First member of both implementations' operations. */
struct KernelOp {
        Kernel *kernel;
        KernelDone done;
        void *userdata;
        const Step *step; /* a copy that the operation owns */
};

static inline Kernel *kernel_free(Kernel *k) {
        return k ? k->ops->free(k) : NULL;
}
DEFINE_CLEANUP(Kernel *, kernel_free);

/* executor_socket: path of the executor's listening socket. */
int linux_kernel_new(sd_event *event, const char *executor_socket, const KernelEvents *events,
                     Kernel **ret);

/* Reads a topology. On failure the message names file, place and what was expected. */
int sim_kernel_new(sd_event *event, const char *topology, const KernelEvents *events, Kernel **ret,
                   char **ret_message);

/*
 * What only the simulated host can do; org.dmaowner1.Simulation hands these through. Strings of
 * JSON as docs/simulation.md describes. -EINVAL with a message if not understood.
 */
int sim_kernel_inject(Kernel *k, const char *fault_json, char **ret_message);
void sim_kernel_clear(Kernel *k);
int sim_kernel_event(Kernel *k, const char *event_json, char **ret_message);
/* The whole host as JSON: devices, drivers, overrides, types, owner counts, node ACLs, open
 * files, and the operations done since the last call. */
int sim_kernel_dump(Kernel *k, char **ret_json);
