/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The connection, and calls whose failures are said to the person who waits. All functions return
 * 0 or, after having reported, an ExitStatus. */

#include <systemd/sd-bus.h>

#include <json-c/json.h>

#include "client/options.h"
#include "util/cleanup.h"

#define BUS_NAME             "org.dmaowner1"
#define BUS_ROOT             "/org/dmaowner1"
#define INTERFACE_MANAGER    "org.dmaowner1.Manager"
#define INTERFACE_GROUP      "org.dmaowner1.Group"
#define INTERFACE_DEVICE     "org.dmaowner1.Device"
#define INTERFACE_LEASE      "org.dmaowner1.Lease"
#define INTERFACE_PROPERTIES "org.freedesktop.DBus.Properties"

#define _cleanup_bus_     _cleanup_(sd_bus_flush_close_unrefp)
#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)

int bus_connect(const Options *o, sd_bus **ret);
/* A method of the daemon; signature and arguments as for sd_bus_message_append(). *ret_reply, an
 * array of what it answered, may be NULL. */
int bus_call(sd_bus *bus, const char *path, const char *interface, const char *method,
             json_object **ret_reply, const char *signature, ...);
/* Waits as long as it takes. */
int bus_call_patiently(sd_bus *bus, const char *path, const char *interface, const char *method);
/* All properties of an object; those of a lease with the time on the wall. */
int bus_get_properties(sd_bus *bus, const char *path, const char *interface, json_object **ret);
/* The path of the lease of that id. */
int bus_find_lease(sd_bus *bus, const char *id, char **ret_path);

/* All groups and all leases, page by page, as the manager lists them. */
int bus_list_groups(sd_bus *bus, json_object **ret);
int bus_list_leases(sd_bus *bus, json_object **ret);
