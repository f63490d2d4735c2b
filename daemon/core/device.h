/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What is known of one device. Facts are what an observer read from the kernel; they are
 * replaced whole at every reading. A record is what the host had before the first lease: it is
 * what a restore puts back.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/cleanup.h"

typedef struct DeviceFacts {
        char *name; /* as its bus names it: "0000:3b:00.0" */
        char *bus;  /* "pci" */
        uint16_t vendor;
        uint16_t model;
        uint32_t class_code; /* 24 bits: base class, subclass, interface */
        char *vendor_name;   /* for people, from hwdb; may be NULL */
        char *model_name;
        int group;                 /* IOMMU group number, -1: none */
        int numa_node;             /* -1: none */
        char *driver;              /* bound kernel driver; NULL: none */
        char *driver_override;     /* NULL: none */
        char *vfio_module;         /* best VFIO module by modules.alias, NULL: none matches */
        char *vfio_driver;         /* the driver that module registers: "vfio-pci" */
        unsigned num_vfs;          /* VFs enabled on this PF */
        unsigned total_vfs;        /* that it can have; 0: no SR-IOV */
        bool vf_autoprobe;         /* drivers may bind its VFs when they appear */
        uint16_t vf_model;         /* what is their model */
        char *physfn;              /* name of the PF of a VF, else NULL */
        bool bridge;               /* header type is not that of an endpoint */
        char *reset_methods;       /* "flr bus": those of reset_method; "": none; NULL: unknown */
        char *default_domain_type; /* of its group: "DMA", "DMA-FQ", "identity"; NULL: unknown */
        bool strict_type; /* its kernel (before 6.4) changes the default domain type only of a group of
                           * one device, and while that has no driver at all */
} DeviceFacts;

#define DEVICE_FACTS_NULL ((DeviceFacts){ .group = -1, .numa_node = -1 })

void device_facts_clear(DeviceFacts *f);
int device_facts_copy(DeviceFacts *to, const DeviceFacts *from);
/* Is the method one that the device is known to have, or may have? */
bool device_has_reset(const DeviceFacts *f, const char *method);
bool device_facts_equal(const DeviceFacts *a, const DeviceFacts *b);
#define _cleanup_device_facts_ _cleanup_(device_facts_clear)

/* Drivers that manage no DMA of their own: they may stay bound in a group that user space owns
 * ("pcieport", "pci-stub" and the VFIO family). */
bool driver_is_harmless(const char *driver);
bool driver_is_vfio(const char *driver);

/* True if name has the shape "dddd:bb:dd.f" (lower-case hexadecimal) of a PCI device; the domain may
 * have up to eight digits. */
bool device_name_is_pci(const char *name);

/* Total order over names, used wherever several devices or groups are handled. */
int device_name_compare(const char *a, const char *b);
