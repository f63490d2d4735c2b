/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the daemon says of a lease. */

#include <systemd/sd-bus.h>

#include <stdint.h>

typedef struct Properties {
        char *id, *state, *waits_for, *warning;
        char *failure_name, *failure_message;
        char *revocation; /* why */
        uint64_t revocation_at, expires;
        char **devices;
} Properties;

void properties_clear(Properties *p);
/* Takes over those that are there of an a{sv}; others stay. 0 or negative errno; -EBADMSG, too, for one of a
 * type that it should not have. */
int properties_read(Properties *p, sd_bus_message *m);
