/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/bus.h"
#include "client/message-json.h"
#include "client/report.h"
#include "client/request.h"
#include "client/text.h"
#include "client/verbs.h"
#include "util/strings.h"

static int explain_fetch(const Options *o, json_object **ret) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = bus_connect(o, &bus);
        if (r != 0)
                return r;
        r = sd_bus_message_new_method_call(bus, &m, BUS_NAME, BUS_ROOT, INTERFACE_MANAGER,
                                           "Explain");
        if (r < 0)
                return report_errno(r, "Explain");
        r = request_append_options(m, o);
        if (r < 0)
                return report_errno(r, "Explain");
        r = sd_bus_call(bus, m, 0, &error, &reply);
        if (r < 0)
                return report_error(error.name, error.message);
        r = message_to_json(reply, ret);
        if (r < 0)
                return report_errno(r, "Explain");
        return 0;
}

static int explain_print_json(json_object *reply, JsonStyle style) {
        static const char *const names[] = { "possible", "obstacles", "steps", "chosen" };
        _cleanup_json_ json_object *all = json_object_new_object();

        for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
                if (!all ||
                    json_object_object_add(all, names[i],
                                           json_object_get(json_object_array_get_idx(reply, i))) < 0)
                        return report_errno(-ENOMEM, "explain");
        json_print(all, style);
        return 0;
}

static void explain_print_obstacles(json_object *obstacles) {
        for (size_t i = 0; i < json_object_array_length(obstacles); i++) {
                json_object *o = json_object_array_get_idx(obstacles, i);
                _cleanup_free_ char *text = text_clean(json_string(o, "text"));
                const char *device = json_string(o, "device");

                printf("  %s%s%s\n", device, *device ? ": " : "", text ? text : "");
        }
}

static void explain_print_steps(json_object *steps) {
        for (size_t i = 0; i < json_object_array_length(steps); i++) {
                json_object *s = json_object_array_get_idx(steps, i);
                _cleanup_free_ char *text = text_clean(json_string(s, "text"));

                printf("%3zu. %s\n", i + 1, text ? text : "");
        }
}

/* Did the daemon have to choose? */
static bool was_open(const Options *o) {
        for (size_t i = 0; i < o->n_operands; i++)
                if (strchr(o->operands[i], '='))
                        return true;
        return o->n_alternatives > 0;
}

static void explain_print_chosen(json_object *chosen) {
        for (size_t i = 0; i < json_object_array_length(chosen); i++)
                printf("%s%s%s", i == 0 ? "Devices: " : " ",
                       json_object_get_string(json_object_array_get_idx(chosen, i)),
                       i + 1 == json_object_array_length(chosen) ? "\n" : "");
}

int verb_explain(const Options *o) {
        _cleanup_json_ json_object *reply = NULL;
        json_object *obstacles, *steps;
        bool possible;
        int r;

        r = explain_fetch(o, &reply);
        if (r != 0)
                return r;
        possible = json_object_get_boolean(json_object_array_get_idx(reply, 0));
        obstacles = json_object_array_get_idx(reply, 1);
        steps = json_object_array_get_idx(reply, 2);
        if (o->json != JSON_NONE) {
                r = explain_print_json(reply, o->json);
                return r == 0 && !possible ? STATUS_NOT_VIABLE : r;
        }
        puts(possible ? "Possible." : "Not possible:");
        explain_print_obstacles(obstacles);
        if (was_open(o))
                explain_print_chosen(json_object_array_get_idx(reply, 3));
        if (json_object_array_length(steps) > 0) {
                puts(possible ? "Acquire would:" : "Were it possible, Acquire would:");
                explain_print_steps(steps);
        } else if (possible) {
                puts("Nothing has to be changed.");
        }
        return possible ? 0 : STATUS_NOT_VIABLE;
}
