/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "client/libdmaowner/dmaowner.h"

#define BUS_NAME             "org.dmaowner1"
#define BUS_ROOT             "/org/dmaowner1"
#define INTERFACE_MANAGER    "org.dmaowner1.Manager"
#define INTERFACE_DEVICE     "org.dmaowner1.Device"
#define INTERFACE_LEASE      "org.dmaowner1.Lease"
#define INTERFACE_PROPERTIES "org.freedesktop.DBus.Properties"

struct dmaowner {
        unsigned n_ref;
        sd_bus *bus;
        sd_bus_slot *owner_changed, *disconnected;
        sd_bus_slot *
                wide; /* match for the signals of all leases, while that of a new one is not in place */
        unsigned n_wide; /* leases that need it */
        char *daemon;    /* its unique name, once it is known: only its signals count */
        bool daemon_is_gone, bus_is_gone;
        dmaowner_lease *leases; /* not referenced */
};

/* Signals of all leases are seen from here on, until as many calls of connection_narrow(). */
int connection_widen(dmaowner *o);
void connection_narrow(dmaowner *o);
/* Remembers who has answered. 0 or -ENOMEM. */
int connection_learn_daemon(dmaowner *o, sd_bus_message *reply);
/* Anybody may send a signal to anybody. */
bool connection_is_from_daemon(const dmaowner *o, sd_bus_message *m);
