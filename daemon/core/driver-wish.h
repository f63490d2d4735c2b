/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A driver that somebody asks for by name, for one device, and what the host's tables say of it. A
 * driver_override binds any driver to any device, so only those that list the device are bound
 * by it. The module that has to be loaded is not named like its driver.
 */

#include "util/cleanup.h"

typedef enum DriverMatch {
        DRIVER_MATCH_UNKNOWN, /* part of the kernel, whose tables are not there: the kernel has to say */
        DRIVER_MATCH_MISSING, /* neither registered nor known by any table */
        DRIVER_MATCH_OTHER,   /* it does not list the device */
        DRIVER_MATCH_LISTED,
} DriverMatch;

typedef struct DriverWish {
        char *name; /* NULL: nothing is wished, or known */
        DriverMatch match;
        char *module; /* DRIVER_MATCH_LISTED: it has to be loaded first; NULL: nothing has */
} DriverWish;

void driver_wish_clear(DriverWish *w);
#define _cleanup_driver_wish_ _cleanup_(driver_wish_clear)
