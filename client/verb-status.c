/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/bus.h"
#include "client/message-json.h"
#include "client/names.h"
#include "client/report.h"
#include "client/text.h"
#include "client/verbs.h"
#include "util/strings.h"

/* How many objects are in each state: { "free": 12, "owned": 3 } */
static int count_states(json_object *objects, json_object **ret) {
        _cleanup_json_ json_object *counts = json_object_new_object();

        if (!counts)
                return -ENOMEM;
        for (size_t i = 0; i < json_object_array_length(objects); i++) {
                const char *state = json_string(json_object_array_get_idx(objects, i), "State");
                json_object *count = json_member(counts, state);

                if (count) {
                        (void)json_object_int_inc(count, 1); /* cannot fail for an integer */
                        continue;
                }
                count = json_object_new_int64(1);
                if (!count || json_object_object_add(counts, state, count) < 0) {
                        json_object_put(count);
                        return -ENOMEM;
                }
        }
        *ret = TAKE_PTR(counts);
        return 0;
}

static int waits_add(json_object *waits, json_object *o, const char *who, const char *for_what) {
        _cleanup_free_ char *text = NULL;
        json_object *line;

        text = str_format("%s is %s%s%s", who, json_string(o, "State"), *for_what ? ": " : "",
                          for_what);
        if (!text)
                return -ENOMEM;
        line = json_object_new_string(text);
        if (!line || json_object_array_add(waits, line) < 0) {
                json_object_put(line);
                return -ENOMEM;
        }
        return 0;
}

static const char *why_lease_waits(json_object *l) {
        const char *waits_for = json_string(l, "WaitsFor");
        json_object *revocation = json_member(l, "Revocation"),
                    *failure = json_member(l, "Failure");

        if (*waits_for)
                return waits_for;
        if (strcmp(json_string(l, "State"), "revoking") == 0)
                return json_object_get_string(json_object_array_get_idx(revocation, 0));
        return json_object_get_string(json_object_array_get_idx(failure, 1));
}

/* Groups that are neither free nor in an owner's hands, and leases on their way. */
static int collect_waits(json_object *groups, json_object *leases, json_object **ret) {
        _cleanup_json_ json_object *waits = json_object_new_array();
        int r;

        if (!waits)
                return -ENOMEM;
        for (size_t i = 0; i < json_object_array_length(groups); i++) {
                json_object *g = json_object_array_get_idx(groups, i);
                const char *state = json_string(g, "State");
                _cleanup_free_ char *who = NULL;

                if (strcmp(state, "free") == 0 || strcmp(state, "owned") == 0)
                        continue;
                who = str_format("group %llu", (unsigned long long)json_number(g, "Id"));
                if (!who)
                        return -ENOMEM;
                r = waits_add(waits, g, who, json_string(g, "WaitsFor"));
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < json_object_array_length(leases); i++) {
                json_object *l = json_object_array_get_idx(leases, i);
                _cleanup_free_ char *who = NULL;

                if (strcmp(json_string(l, "State"), "active") == 0)
                        continue;
                who = str_format("lease %s", json_string(l, "Id"));
                if (!who)
                        return -ENOMEM;
                r = waits_add(waits, l, who, why_lease_waits(l));
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(waits);
        return 0;
}

static uint64_t count_devices(json_object *groups) {
        uint64_t n = 0;

        for (size_t i = 0; i < json_object_array_length(groups); i++)
                n += json_object_array_length(
                        json_member(json_object_array_get_idx(groups, i), "Devices"));
        return n;
}

/* "4096: 4090 free, 6 owned" */
static void print_counts(const char *title, size_t n, json_object *counts) {
        const char *separator = ": ";

        printf("%-9s%zu", title, n);
        json_object_object_foreach(counts, state, count) {
                printf("%s%s %s", separator, json_object_get_string(count), state);
                separator = ", ";
        }
        putchar('\n');
}

static void print_waits(json_object *waits) {
        for (size_t i = 0; i < json_object_array_length(waits); i++) {
                _cleanup_free_ char *clean = text_clean(
                        json_object_get_string(json_object_array_get_idx(waits, i)));

                printf("%-9s%s\n", i == 0 ? "Waits:" : "", clean ? clean : "");
        }
}

typedef struct Summary {
        json_object *manager, *groups, *leases, *group_states, *lease_states, *waits;
} Summary;

static void summary_clear(Summary *s) {
        json_object_put(s->manager);
        json_object_put(s->groups);
        json_object_put(s->leases);
        json_object_put(s->group_states);
        json_object_put(s->lease_states);
        json_object_put(s->waits);
}

static int summary_fetch(sd_bus *bus, Summary *s) {
        int r;

        r = bus_get_properties(bus, BUS_ROOT, INTERFACE_MANAGER, &s->manager);
        if (r != 0)
                return r;
        r = bus_list_groups(bus, &s->groups);
        if (r != 0)
                return r;
        return bus_list_leases(bus, &s->leases);
}

static int summary_count(Summary *s) {
        int r;

        r = count_states(s->groups, &s->group_states);
        if (r < 0)
                return r;
        r = count_states(s->leases, &s->lease_states);
        if (r < 0)
                return r;
        return collect_waits(s->groups, s->leases, &s->waits);
}

static int summary_print_json(const Summary *s, JsonStyle style) {
        _cleanup_json_ json_object *all = json_object_new_object();

        if (!all ||
            json_object_object_add(all, "version",
                                   json_object_get(json_member(s->manager, "Version"))) < 0 ||
            json_object_object_add(all, "kernel",
                                   json_object_get(json_member(s->manager, "Kernel"))) < 0 ||
            json_object_object_add(all, "devices",
                                   json_object_new_uint64(count_devices(s->groups))) < 0 ||
            json_object_object_add(all, "groups", json_object_get(s->group_states)) < 0 ||
            json_object_object_add(all, "leases", json_object_get(s->lease_states)) < 0 ||
            json_object_object_add(all, "waits", json_object_get(s->waits)) < 0)
                return report_errno(-ENOMEM, "status");
        json_print(all, style);
        return 0;
}

int verb_status(const Options *o) {
        _cleanup_(summary_clear) Summary s = {};
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = bus_connect(o, &bus);
        if (r != 0)
                return r;
        r = summary_fetch(bus, &s);
        if (r != 0)
                return r;
        r = summary_count(&s);
        if (r < 0)
                return report_errno(r, "status");
        if (o->json != JSON_NONE)
                return summary_print_json(&s, o->json);
        printf("%-9sdmaownerd %s\n%-9s%s\n%-9s%llu\n", "Daemon:", json_string(s.manager, "Version"),
               "Kernel:", json_string(s.manager, "Kernel"),
               "Devices:", (unsigned long long)count_devices(s.groups));
        print_counts("Groups:", json_object_array_length(s.groups), s.group_states);
        print_counts("Leases:", json_object_array_length(s.leases), s.lease_states);
        print_waits(s.waits);
        return 0;
}
