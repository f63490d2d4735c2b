/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/bus.h"

#include <stdarg.h>

#include "client/describe.h"
#include "client/message-json.h"
#include "client/report.h"
#include "client/units.h"
#include "util/strings.h"

#define PAGE_SIZE 256U

static int bus_open(const char *which, sd_bus **ret) {
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
        int r;

        if (strcmp(which, "system") == 0)
                return sd_bus_open_system(ret);
        if (strcmp(which, "user") == 0)
                return sd_bus_open_user(ret);
        r = sd_bus_new(&bus);
        if (r < 0)
                return r;
        r = sd_bus_set_address(bus, which);
        if (r < 0)
                return r;
        r = sd_bus_set_bus_client(bus, true);
        if (r < 0)
                return r;
        r = sd_bus_start(bus);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

/* Anybody may send a signal to anybody, and libsystemd lets it pass a match for a sender whose name is not
 * unique. The daemon tells everybody; only the bus itself has something to tell one alone. */
static int drop_forged(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        uint8_t type;
        int r = sd_bus_message_get_type(m, &type);

        if (r < 0)
                return r;
        return type == SD_BUS_MESSAGE_SIGNAL && sd_bus_message_get_destination(m) &&
               !str_eq(sd_bus_message_get_sender(m), "org.freedesktop.DBus");
}

int bus_connect(const Options *o, sd_bus **ret) {
        _cleanup_bus_ sd_bus *bus = NULL;
        const char *name;
        int r;

        r = bus_open(o->bus, &bus);
        if (r >= 0)
                r = sd_bus_add_filter(bus, NULL, drop_forged, NULL);
        /* a person at a terminal may be asked for a password */
        if (r >= 0 && isatty(STDIN_FILENO))
                r = sd_bus_set_allow_interactive_authorization(bus, true);
        if (r >= 0)
                r = sd_bus_get_unique_name(bus, &name); /* waits until the bus has let us in */
        if (r >= 0) {
                *ret = TAKE_PTR(bus);
                return 0;
        }
        if (r == -EINVAL)
                return report(STATUS_USAGE,
                              "it is \"system\", \"user\" or an address like unix:path=/run/bus",
                              "--bus=%s is not understood", o->bus);
        if (r == -EACCES || r == -EPERM)
                return report(STATUS_DENIED, "run it as a user who may use this bus",
                              "cannot connect to the bus %s: %s", o->bus, strerror(-r));
        return report(STATUS_NO_DAEMON,
                      "is dbus running? --bus= names another bus; the daemon starts with "
                      "\"systemctl start dmaownerd\"",
                      "cannot connect to the bus %s: %s", o->bus, strerror(-r));
}

/* Consumes nothing of m. timeout 0: the usual one. */
static int bus_send(sd_bus *bus, sd_bus_message *m, uint64_t timeout, sd_bus_message **ret_reply) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

        if (sd_bus_call(bus, m, timeout, &error, ret_reply) < 0)
                return report_error(error.name, error.message);
        return 0;
}

int bus_call(sd_bus *bus, const char *path, const char *interface, const char *method,
             json_object **ret_reply, const char *signature, ...) {
        _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
        va_list ap;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, BUS_NAME, path, interface, method);
        if (r >= 0) {
                va_start(ap, signature);
                r = sd_bus_message_appendv(m, signature, ap);
                va_end(ap);
        }
        if (r < 0)
                return report_errno(r, method);
        r = bus_send(bus, m, 0, &reply);
        if (r != 0 || !ret_reply)
                return r;
        r = message_to_json(reply, ret_reply);
        if (r < 0)
                return report_errno(r, "cannot read the daemon's answer");
        return 0;
}

int bus_call_patiently(sd_bus *bus, const char *path, const char *interface, const char *method) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, BUS_NAME, path, interface, method);
        if (r < 0)
                return report_errno(r, method);
        return bus_send(bus, m, UINT64_MAX, NULL);
}

int bus_get_properties(sd_bus *bus, const char *path, const char *interface, json_object **ret) {
        _cleanup_json_ json_object *reply = NULL;
        json_object *properties;
        int r;

        r = bus_call(bus, path, INTERFACE_PROPERTIES, "GetAll", &reply, "s", interface);
        if (r != 0)
                return r;
        properties = json_object_array_get_idx(reply, 0);
        if (strcmp(interface, INTERFACE_LEASE) == 0) {
                Clocks now = clocks_now();

                r = lease_add_times(properties, &now);
                if (r < 0)
                        return report_errno(r, "lease");
        }
        *ret = json_object_get(properties);
        return 0;
}

int bus_find_lease(sd_bus *bus, const char *id, char **ret_path) {
        _cleanup_json_ json_object *reply = NULL;
        char *path;
        int r;

        r = bus_call(bus, BUS_ROOT, INTERFACE_MANAGER, "GetLease", &reply, "s", id);
        if (r != 0)
                return r;
        path = strdup(json_object_get_string(json_object_array_get_idx(reply, 0)));
        if (!path)
                return report_errno(-ENOMEM, "GetLease");
        *ret_path = path;
        return 0;
}

/* Moves the elements of page to the end of all. */
static int pages_join(json_object *all, json_object *page) {
        for (size_t i = 0; i < json_object_array_length(page); i++) {
                json_object *o = json_object_array_get_idx(page, i);

                if (json_object_array_add(all, json_object_get(o)) < 0) {
                        json_object_put(o);
                        return report_errno(-ENOMEM, "list");
                }
        }
        return 0;
}

/* A page may be shorter than asked for, only an empty one is the last. key: what pages go by. */
static int bus_list(sd_bus *bus, const char *method, const char *type, int64_t after,
                    const char *key, json_object **ret) {
        _cleanup_json_ json_object *all = json_object_new_array();
        int r;

        if (!all)
                return report_errno(-ENOMEM, "list");
        for (;;) {
                _cleanup_json_ json_object *reply = NULL;
                json_object *page, *last;
                int64_t next;

                r = bus_call(bus, BUS_ROOT, INTERFACE_MANAGER, method, &reply, type, after,
                             PAGE_SIZE);
                if (r != 0)
                        return r;
                page = json_object_array_get_idx(reply, 0);
                if (json_object_array_length(page) == 0)
                        break;
                last = json_object_array_get_idx(page, json_object_array_length(page) - 1);
                next = json_object_get_int64(json_member(last, key));
                if (next <= after)
                        return report(STATUS_ERROR, NULL, "%s: pages out of order", method);
                after = next;
                r = pages_join(all, page);
                if (r != 0)
                        return r;
        }
        *ret = TAKE_PTR(all);
        return 0;
}

int bus_list_groups(sd_bus *bus, json_object **ret) {
        return bus_list(bus, "ListGroups", "xu", -1, "Id", ret);
}

int bus_list_leases(sd_bus *bus, json_object **ret) {
        _cleanup_json_ json_object *leases = NULL;
        Clocks now = clocks_now();
        int r;

        r = bus_list(bus, "ListLeases", "tu", 0, "Sequence", &leases);
        if (r != 0)
                return r;
        for (size_t i = 0; i < json_object_array_length(leases); i++) {
                r = lease_add_times(json_object_array_get_idx(leases, i), &now);
                if (r < 0)
                        return report_errno(r, "list");
        }
        *ret = TAKE_PTR(leases);
        return 0;
}
