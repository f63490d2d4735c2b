/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What people type for devices, groups and leases. */

#include <stdbool.h>

/* The name as the bus has it: "3B:00.0" becomes "0000:3b:00.0". What does not look like a PCI address is
 * copied, it may belong to another bus. NULL on lack of memory. */
char *device_name_normalise(const char *typed);
/* "group:12". False if it is anything else. */
bool group_name_parse(const char *typed, unsigned *ret_id);
/* "l7" */
bool lease_name_valid(const char *typed);
/* "/org/dmaowner1/group/12" becomes "group 12". NULL on lack of memory. */
char *object_path_describe(const char *path);
