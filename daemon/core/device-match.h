/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Which devices a rule speaks of. Each member is a list of patterns of which one has to match; a
 * member that is left out matches every device.
 */

#include <stdbool.h>

#include "core/registry.h"

typedef struct DeviceMatch {
        char **devices; /* names, "*" for any part: "0000:3b:00.*" */
        char **ids;     /* vendor:device, hexadecimal: "8086:10d3", "15b3:*" */
        char **classes; /* 2, 4 or 6 hexadecimal digits: "02" for all network controllers */
        char **drivers; /* the host driver; "none": without one */
        char **pfs;     /* VFs of these PFs, by the PF's name */
        char **with;    /* names of devices: those that share an IOMMU group with one of them */
        char **nodes;   /* NUMA nodes, decimal; "-1": the device has none */
} DeviceMatch;

#define DEVICE_MATCH_NULL ((DeviceMatch){})
void device_match_clear(DeviceMatch *m);
/* d may be a device that is in no group. */
bool device_match(const DeviceMatch *m, const Device *d);

/* "*" in the pattern stands for any number of characters. */
bool pattern_matches(const char *pattern, const char *text);
/* One of them? NULL: no. */
bool patterns_match(char *const *patterns, const char *text);
