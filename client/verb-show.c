/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/bus.h"
#include "client/describe.h"
#include "client/message-json.h"
#include "client/names.h"
#include "client/report.h"
#include "client/verbs.h"
#include "util/strings.h"

/* Where the object of that name is, and which interface has its properties. */
static int show_find(sd_bus *bus, const char *typed, const char **ret_interface,
                     json_object **ret_reply) {
        _cleanup_free_ char *device = NULL;
        unsigned group;

        if (group_name_parse(typed, &group)) {
                *ret_interface = INTERFACE_GROUP;
                return bus_call(bus, BUS_ROOT, INTERFACE_MANAGER, "GetGroup", ret_reply, "u", group);
        }
        if (lease_name_valid(typed)) {
                *ret_interface = INTERFACE_LEASE;
                return bus_call(bus, BUS_ROOT, INTERFACE_MANAGER, "GetLease", ret_reply, "s", typed);
        }
        device = device_name_normalise(typed);
        if (!device)
                return report_errno(-ENOMEM, "show");
        *ret_interface = INTERFACE_DEVICE;
        return bus_call(bus, BUS_ROOT, INTERFACE_MANAGER, "GetDevice", ret_reply, "s", device);
}

int verb_show(const Options *o) {
        _cleanup_json_ json_object *reply = NULL, *properties = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        Look look = look_of_stdout(false);
        Clocks now = clocks_now();
        const char *interface = NULL;
        int r;

        r = bus_connect(o, &bus);
        if (r != 0)
                return r;
        r = show_find(bus, o->operands[0], &interface, &reply);
        if (r != 0)
                return r;
        r = bus_get_properties(bus, json_object_get_string(json_object_array_get_idx(reply, 0)),
                               interface, &properties);
        if (r != 0)
                return r;
        if (o->json != JSON_NONE) {
                json_print(properties, o->json);
                return 0;
        }
        r = properties_print(properties, &now, &look, stdout);
        if (r < 0)
                return report_errno(r, "show");
        return 0;
}
