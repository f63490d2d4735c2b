/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A host in memory for the tests of the core: devices whose drivers, overrides and types follow
 * the kernel's rules as far as plans depend on them, and a registry that sees them.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/planner.h"
#include "core/queue.h"
#include "core/registry.h"
#include "util/strings.h"

enum {
        HOST_DEVICES = 32,
        HOST_GROUPS = 16
};

typedef struct DeviceSpec {
        const char *name;
        int group;
        const char *driver; /* also the one that a probe finds */
        const char *driver_override;
        const char *vfio_driver; /* default "vfio-pci"; "": none */
        bool vfio_built_in;      /* it is in no module */
        const char *type;        /* default "DMA" */
        const char *bus;         /* default "pci" */
        unsigned num_vfs, total_vfs;
        const char *physfn;
        const char *vf_settings; /* as its PF's driver has them; it is a NIC's then */
        bool bridge;
        bool strict_type;
} DeviceSpec;

typedef struct HostDevice {
        bool present;
        bool dirty; /* user space had it and it was not reset since */
        DeviceFacts facts;
        char *native;
        char *vf_settings;
} HostDevice;

typedef struct World {
        Registry *r;
        Changes c;
        HostDevice devices[HOST_DEVICES];
        size_t n_devices;
        bool claimed[HOST_GROUPS];
        bool open[HOST_GROUPS];
        bool granted[HOST_GROUPS];
        char **modules;
} World;

typedef struct RequestSpec {
        const char *devices[8];
        OwnerKind kind;
        uid_t uid;
        const char *owner; /* default "dpdk" */
        uid_t node_uid;
        Access access;
        const char *driver;
        const char *type;
        const char *reset;
        uint64_t expires;    /* default: never */
        uint64_t wait_until; /* default: not queued */
        uint64_t ttl;
        int priority;
} RequestSpec;

void world_init(World *w);
void world_clear(World *w);
#define _cleanup_world_ _cleanup_(world_clear)

void world_plug(World *w, DeviceSpec spec);
void world_unplug(World *w, const char *name);
HostDevice *world_device(World *w, const char *name);
/* Somebody else binds a device. */
void world_rebind(World *w, const char *name, const char *driver);
/* Runs one step as the kernel would; 0 or a negative errno. */
/* The daemon holds nothing open of the group any more. */
void world_drop_kept(World *w, unsigned group);
int world_run(World *w, const Step *s);
/* Runs steps from..to of a plan, all of which have to succeed. */
void world_run_plan(World *w, const Plan *p, size_t from, size_t to);

Request request_make(RequestSpec spec);
/* Reserves; fault may be NULL. */
int world_ask(World *w, RequestSpec spec, Lease **ret, Fault *fault);
/* Reserves, which has to succeed, and switches all groups. */
Lease *world_acquire(World *w, RequestSpec spec);
/* Brings a draining group back to the host. */
void world_restore(World *w, Group *g);
/* What is there now is right. The group is free afterwards. */
void world_accept(World *w, Group *g);
void plan_print(const Plan *p);
