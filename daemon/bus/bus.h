/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon on D-Bus: org.dmaowner1 and the objects below /org/dmaowner1. */

#include <systemd/sd-event.h>

#include "manager/manager.h"

#define BUS_NAME "org.dmaowner1"
#define BUS_ROOT "/org/dmaowner1"

typedef struct BusServer BusServer;

/* address: "system", "user", or a D-Bus address. Connects; the name is not requested yet. */
int bus_server_new(sd_event *event, const char *address, Manager *m, BusServer **ret);
/* The manager has started: exports the objects, watches restored connections, takes the name.
 * -EEXIST: another daemon has it. */
int bus_server_start(BusServer *s);
BusServer *bus_server_free(BusServer *s);
DEFINE_CLEANUP(BusServer *, bus_server_free);
