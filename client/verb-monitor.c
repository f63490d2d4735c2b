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
} Monitor;

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

/* "State: draining, WaitsFor: dpdk-testpmd (pid 4711)" */
static char *changes_describe(json_object *changed) {
        char *text = strdup("");

        json_object_object_foreach(changed, name, value) {
                _cleanup_free_ char *shown = strcmp(name, "Owner") == 0 ? owner_describe(value)
                                                                        : value_describe(value);

                if (!text || !shown ||
                    str_append(&text, "%s%s: %s", *text ? ", " : "", name, *shown ? shown : "-") <
                            0) {
                        free(text);
                        return NULL;
                }
        }
        return text;
}

static char *signal_describe(sd_bus_message *m, json_object *arguments) {
        json_object *first = json_object_array_get_idx(arguments, 0);
        _cleanup_free_ char *subject = object_path_describe(sd_bus_message_get_path(m)),
                            *about = NULL;

        if (!subject)
                return NULL;
        if (sd_bus_message_is_signal(m, INTERFACE_PROPERTIES, "PropertiesChanged")) {
                about = changes_describe(json_object_array_get_idx(arguments, 1));
                return about ? str_format("%s  %s", subject, about) : NULL;
        }
        if (sd_bus_message_is_signal(m, INTERFACE_LEASE, "Ended"))
                return str_format("%s  ended: %s", subject, json_object_get_string(first));
        if (sd_bus_message_is_signal(m, NULL, "InterfacesAdded") ||
            sd_bus_message_is_signal(m, NULL, "InterfacesRemoved")) {
                bool added = sd_bus_message_is_signal(m, NULL, "InterfacesAdded");

                about = object_path_describe(json_object_get_string(first));
                return about ? str_format("%s  %s", about, added ? "added" : "removed") : NULL;
        }
        about = value_describe(arguments);
        return about ? str_format("%s  %s %s", subject, sd_bus_message_get_member(m), about) : NULL;
}

static int monitor_print_line(const char *text) {
        _cleanup_free_ char *time = realtime_to_iso(clocks_now().realtime), *clean = NULL;

        clean = text_clean(text);
        if (!time || !clean)
                return -ENOMEM;
        printf("%s  %s\n", time, clean);
        return 0;
}

static int on_signal(sd_bus_message *message, void *userdata, sd_bus_error *e) {
        _cleanup_json_ json_object *arguments = NULL;
        _cleanup_free_ char *text = NULL;
        Monitor *m = userdata;
        int r;

        r = message_to_json(message, &arguments);
        if (r < 0)
                return r;
        if (m->options->json != JSON_NONE) {
                r = monitor_print_json(m, message, arguments);
        } else {
                text = signal_describe(message, arguments);
                r = text ? monitor_print_line(text) : -ENOMEM;
        }
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
        r = monitor_print_line(str_empty(now) ? "dmaownerd went away" : "dmaownerd is there");
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

int verb_monitor(const Options *o) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_json_ json_object *manager = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        Monitor m = { .options = o };
        int r;

        r = bus_connect(o, &bus);
        if (r != 0)
                return r;
        r = bus_get_properties(bus, BUS_ROOT, INTERFACE_MANAGER, &manager); /* is it there? */
        if (r != 0)
                return r;
        r = sd_event_new(&event);
        if (r < 0)
                return report_errno(r, "event loop");
        m.event = event;
        r = monitor_subscribe(&m, bus);
        if (r < 0)
                return report_errno(r, "cannot watch the bus");
        r = sd_event_loop(event);
        if (r != 0)
                return report(STATUS_NO_DAEMON, NULL, "the bus went away");
        return 0;
}
