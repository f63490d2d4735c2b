/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <stdio.h>
#include <systemd/sd-event.h>

#include "client/bus.h"
#include "client/describe.h"
#include "client/message-json.h"
#include "client/names.h"
#include "client/report.h"
#include "client/text.h"
#include "client/units.h"
#include "client/verbs.h"
#include "util/strings.h"

#define MATCH_ALL "type='signal',sender='" BUS_NAME "',path_namespace='" BUS_ROOT "'"
#define MATCH_OWNER \
        "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" BUS_NAME "'"

typedef struct Monitor {
        const Options *options;
        sd_event *event;
        json_object *known; /* properties by path: signals tell all, people see what differs */
} Monitor;

static void monitor_clear(Monitor *m) {
        sd_event_unref(m->event);
        json_object_put(m->known);
}

/* Nobody reads any more: there is nothing left to do. */
static int monitor_flush(const Monitor *m) {
        if (fflush(stdout) == 0 && !ferror(stdout))
                return 0;
        return sd_event_exit(m->event, 0);
}

static int monitor_print_json(const Monitor *m, sd_bus_message *message, json_object *arguments) {
        _cleanup_json_ json_object *line = json_object_new_object();
        _cleanup_free_ char *time = realtime_to_iso(clocks_now().realtime);

        if (!line || !time ||
            json_object_object_add(line, "time", json_object_new_string(time)) < 0 ||
            json_object_object_add(line, "path",
                                   json_object_new_string(sd_bus_message_get_path(message))) < 0 ||
            json_object_object_add(line, "interface",
                                   json_object_new_string(sd_bus_message_get_interface(message))) <
                    0 ||
            json_object_object_add(line, "member",
                                   json_object_new_string(sd_bus_message_get_member(message))) < 0 ||
            json_object_object_add(line, "arguments", json_object_get(arguments)) < 0)
                return -ENOMEM;
        json_print(line, m->options->json);
        return 0;
}

/* Signals go to everybody, so they do not tell what is not everybody's business. */
static bool is_private(const char *property) {
        return strcmp(property, "Owner") == 0 || strcmp(property, "Uid") == 0 ||
               strcmp(property, "Label") == 0;
}

/* What is known of the object at path. NULL on lack of memory. */
static json_object *monitor_known(Monitor *m, const char *path) {
        json_object *o = json_member(m->known, path);

        if (o)
                return o;
        o = json_object_new_object();
        if (o && json_object_object_add(m->known, path, o) < 0) {
                json_object_put(o);
                return NULL;
        }
        return o;
}

/* Takes changed over into known. ret_text tells what is new in it: "State: draining, Count: 0". */
static int changes_merge(json_object *known, json_object *changed, char **ret_text) {
        _cleanup_free_ char *text = NULL;
        Clocks now = clocks_now();

        json_object_object_foreach(changed, name, value) {
                json_object *former = json_member(known, name);
                _cleanup_free_ char *shown = NULL;

                if (is_private(name) || json_object_equal(former, value))
                        continue;
                shown = property_describe(changed, name, value, &now);
                if (!shown)
                        return -ENOMEM;
                if (!former && !*shown) /* of a new object people see what it has */
                        continue;
                if (str_append(&text, "%s%s: %s", text ? ", " : "", name, *shown ? shown : "-") < 0)
                        return -ENOMEM;
                if (json_object_object_add(known, name, json_object_get(value)) < 0) {
                        json_object_put(value);
                        return -ENOMEM;
                }
        }
        *ret_text = TAKE_PTR(text);
        return 0;
}

static int monitor_print_line(const char *subject, const char *text) {
        _cleanup_free_ char *time = realtime_to_iso(clocks_now().realtime), *clean = NULL;

        clean = text_clean(text);
        if (!time || !clean)
                return -ENOMEM;
        printf("%s  %s  %s\n", time, subject, clean);
        return 0;
}

static int monitor_print_changes(Monitor *m, const char *path, json_object *changed) {
        _cleanup_free_ char *subject = object_path_describe(path), *text = NULL;
        json_object *known = monitor_known(m, path);
        int r;

        if (!subject || !known)
                return -ENOMEM;
        r = changes_merge(known, changed, &text);
        if (r < 0 || !text)
                return r;
        return monitor_print_line(subject, text);
}

/* An object came, with its properties by interface, or went. */
static int monitor_print_object(Monitor *m, json_object *arguments, bool added) {
        const char *path = json_object_get_string(json_object_array_get_idx(arguments, 0));
        _cleanup_free_ char *subject = object_path_describe(path);
        json_object *interfaces = json_object_array_get_idx(arguments, 1);
        int r;

        if (!subject)
                return -ENOMEM;
        if (!added) {
                json_object_object_del(m->known, path);
                return monitor_print_line(subject, "is gone");
        }
        json_object_object_foreach(interfaces, name, properties) {
                if (!str_starts(name, BUS_NAME "."))
                        continue;
                r = monitor_print_changes(m, path, properties);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int monitor_print_signal(Monitor *m, sd_bus_message *message, json_object *arguments) {
        const char *path = sd_bus_message_get_path(message);
        _cleanup_free_ char *subject = NULL, *values = NULL, *text = NULL;

        if (sd_bus_message_is_signal(message, INTERFACE_PROPERTIES, "PropertiesChanged"))
                return monitor_print_changes(m, path, json_object_array_get_idx(arguments, 1));
        if (sd_bus_message_is_signal(message, NULL, "InterfacesAdded"))
                return monitor_print_object(m, arguments, true);
        if (sd_bus_message_is_signal(message, NULL, "InterfacesRemoved"))
                return monitor_print_object(m, arguments, false);
        subject = object_path_describe(path);
        values = value_describe(arguments);
        if (!subject || !values)
                return -ENOMEM;
        text = str_format("%s: %s", sd_bus_message_get_member(message), values);
        return text ? monitor_print_line(subject, text) : -ENOMEM;
}

static int on_signal(sd_bus_message *message, void *userdata, sd_bus_error *e) {
        _cleanup_json_ json_object *arguments = NULL;
        Monitor *m = userdata;
        int r;

        r = message_to_json(message, &arguments);
        if (r < 0)
                return r;
        if (m->options->json != JSON_NONE)
                r = monitor_print_json(m, message, arguments);
        else
                r = monitor_print_signal(m, message, arguments);
        if (r < 0)
                return r;
        return monitor_flush(m);
}

static int on_owner_changed(sd_bus_message *message, void *userdata, sd_bus_error *e) {
        const char *name, *former, *now;
        Monitor *m = userdata;
        int r;

        if (m->options->json != JSON_NONE)
                return on_signal(message, userdata, e);
        r = sd_bus_message_read(message, "sss", &name, &former, &now);
        if (r < 0)
                return r;
        r = monitor_print_line("dmaownerd", str_empty(now) ? "went away" : "is there");
        if (r < 0)
                return r;
        return monitor_flush(m);
}

static int monitor_subscribe(Monitor *m, sd_bus *bus) {
        static const int signals[] = { SIGINT, SIGTERM };
        sigset_t mask;
        int r;

        sigemptyset(&mask);
        for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
                sigaddset(&mask, signals[i]);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
                r = sd_event_add_signal(m->event, NULL, signals[i], NULL, NULL); /* NULL: exit */
                if (r < 0)
                        return r;
        }
        r = sd_bus_add_match(bus, NULL, MATCH_ALL, on_signal, m);
        if (r < 0)
                return r;
        r = sd_bus_add_match(bus, NULL, MATCH_OWNER, on_owner_changed, m);
        if (r < 0)
                return r;
        r = sd_bus_set_exit_on_disconnect(bus, true);
        if (r < 0)
                return r;
        return sd_bus_attach_event(bus, m->event, SD_EVENT_PRIORITY_NORMAL);
}

/* rows: groups, with their devices, or leases, as the manager lists them. */
static int monitor_seed(Monitor *m, json_object *rows) {
        for (size_t i = 0; i < json_object_array_length(rows); i++) {
                json_object *row = json_object_array_get_idx(rows, i),
                            *devices = json_member(row, "DeviceList");
                _cleanup_free_ char *path = NULL;
                int r;

                if (json_member(row, "Path"))
                        path = strdup(json_string(row, "Path"));
                else if (sd_bus_path_encode(BUS_ROOT "/device", json_string(row, "Name"), &path) < 0)
                        path = NULL;
                if (!path)
                        return -ENOMEM;
                if (json_object_object_add(m->known, path, json_object_get(row)) < 0) {
                        json_object_put(row);
                        return -ENOMEM;
                }
                r = devices ? monitor_seed(m, devices) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Signals that come meanwhile wait in the connection. */
static int monitor_learn(Monitor *m, sd_bus *bus) {
        _cleanup_json_ json_object *groups = NULL, *leases = NULL;
        int r;

        r = bus_list_groups(bus, &groups);
        if (r != 0)
                return r;
        r = bus_list_leases(bus, &leases);
        if (r != 0)
                return r;
        r = monitor_seed(m, groups);
        if (r >= 0)
                r = monitor_seed(m, leases);
        if (r < 0)
                return report_errno(r, "monitor");
        return 0;
}

int verb_monitor(const Options *o) {
        _cleanup_(monitor_clear) Monitor m = { .options = o };
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = bus_connect(o, &bus);
        if (r != 0)
                return r;
        m.known = json_object_new_object();
        if (!m.known)
                return report_errno(-ENOMEM, "monitor");
        r = sd_event_new(&m.event);
        if (r < 0)
                return report_errno(r, "event loop");
        r = monitor_subscribe(&m, bus);
        if (r < 0)
                return report_errno(r, "cannot watch the bus");
        r = monitor_learn(&m, bus);
        if (r != 0)
                return r;
        r = sd_event_loop(m.event);
        if (r != 0)
                return report(STATUS_NO_DAEMON, NULL, "the bus went away");
        return 0;
}
