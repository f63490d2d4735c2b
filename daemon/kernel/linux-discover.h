/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What PCI devices there are and what is known of them. Names and facts come from sysfs, what
 * changes from udev's events: those come after udev's rules have run, so nodes are as they will
 * stay. Tells KernelEvents of devices; driver_override is known before a device is first told.
 */

#include <stdint.h>
#include <systemd/sd-event.h>

#include "core/step.h"
#include "kernel/kernel.h"

typedef struct Discovery Discovery;

/* One event of udev. */
typedef struct DeviceEvent {
        const char *action;
        const char *subsystem;
        const char *name;     /* "0000:3b:00.0", "eth0", "12" */
        const char *path;     /* "/sys/devices/pci0000:00/..." */
        uint64_t initialized; /* CLOCK_MONOTONIC of when udev first saw it; 0: not yet */
} DeviceEvent;

/* node: something may have changed about a node of VFIO. root: "/". events have to stay where they
 * are. */
int discovery_new(sd_event *event, const char *root, const KernelEvents *events,
                  void (*node)(void *userdata), void *userdata, Discovery **ret);
Discovery *discovery_free(Discovery *d);
DEFINE_CLEANUP(Discovery *, discovery_free);

/* Tells all devices, then watches. */
int discovery_start(Discovery *d);
/* Takes one event in; called by the watch. */
void discovery_event(Discovery *d, const DeviceEvent *e);
/* Reads again what a step may have changed. override: what STEP_SET_OVERRIDE read back. */
void discovery_after_step(Discovery *d, const Step *step, bool succeeded, const char *override);
/* As KernelOps.look, is_file and find_driver. */
void discovery_look(Discovery *d, const char *device);
/* What is known of every device, whether or not it has changed. */
void discovery_tell_again(Discovery *d);
int discovery_is_file(Discovery *d, unsigned group, FileRole role, const char *device, int fd);
int discovery_find_driver(Discovery *d, const char *device, const char *driver, DriverWish *ret);
/* /dev/vfio/GROUP of the present binding is there, so are the nodes of its single devices if the
 * kernel makes such, and udev has finished with them: 1, 0, or a negative errno. */
int discovery_nodes_ready(Discovery *d, unsigned group);
