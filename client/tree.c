/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/tree.h"

#include "client/describe.h"
#include "client/message-json.h"
#include "client/text.h"
#include "util/strings.h"

static const Column tree_columns[] = {
        { "GROUP", .min = sizeof("4095 -- 0000:3b:00.0") - 1 },
        { "NAME", .min = 10, .rank = 5 },
        { "DRIVER", .min = 10, .rank = 2 },
        { "STATE", .rank = 1 },
        { "OWNER", .min = 8, .rank = 2 },
        { "LEASE", .min = 4, .rank = 4 },
        { "AGE", .rank = 6 },
        { "NOTE", .min = 10, .rank = 3 },
};

typedef struct Tree {
        Table table;
        json_object *leases_by_id; /* lease objects by Id */
        const Clocks *now;
        const Look *look;
        int id_width;
} Tree;

static void tree_clear(Tree *t) {
        table_clear(&t->table);
        json_object_put(t->leases_by_id);
}

/* What leads from the number of a group to its device i of n. */
static const char *tree_branch(const Look *look, size_t i, size_t n) {
        if (n <= 1)
                return look->unicode ? "──" : "--";
        if (i == 0)
                return look->unicode ? "┬─" : "+-";
        if (i + 1 < n)
                return look->unicode ? "├─" : "|-";
        return look->unicode ? "└─" : "`-";
}

static int tree_add_stem(Tree *t, json_object *group, const char *device, size_t i, size_t n) {
        const char *branch = tree_branch(t->look, i, n), *gap = *device ? " " : "";
        _cleanup_free_ char *text = NULL;

        if (i == 0)
                text = str_format("%*llu %s%s%s", t->id_width,
                                  (unsigned long long)json_number(group, "Id"), branch, gap,
                                  device);
        else
                text = str_format("%*s %s%s%s", t->id_width, "", branch, gap, device);
        if (!text)
                return -ENOMEM;
        return table_add(&t->table, COLOUR_NONE, text);
}

/* Vendor and Model are "8086 Intel Corporation" or, where hwdb knows no name, the number alone. */
static const char *name_without_number(const char *s) {
        size_t n = strspn(s, "0123456789abcdef:");

        return (n == strlen("8086") || n == strlen("8086:10d3")) && s[n] == ' ' ? s + n + 1 : s;
}

/* What tells devices apart comes first, the rest may be cut off. */
static int tree_add_name(Tree *t, json_object *device) {
        const char *vendor = json_string(device, "Vendor"), *model = json_string(device, "Model");
        const char *vendor_name = name_without_number(vendor);
        _cleanup_free_ char *text = NULL;

        if (vendor_name != vendor)
                text = str_format("%s (%s)", name_without_number(model), vendor_name);
        else if (*vendor && strcmp(vendor, "0000") != 0) /* else not on PCI */
                text = str_format("%s:%s", vendor, model);
        else
                text = strdup("");
        if (!text)
                return -ENOMEM;
        return table_add(&t->table, COLOUR_NONE, text);
}

/* "vfio-pci (e1000e)": the driver and, where it differs, the one that it goes back to. */
static int tree_add_driver(Tree *t, json_object *device) {
        const char *driver = json_string(device, "Driver"),
                   *host = json_string(device, "HostDriver");
        _cleanup_free_ char *text = NULL;

        if (str_empty(host) || strcmp(driver, host) == 0)
                return table_add(&t->table, COLOUR_NONE, driver);
        text = str_format("%s (%s)", *driver ? driver : "-", host);
        if (!text)
                return -ENOMEM;
        return table_add(&t->table, COLOUR_NONE, text);
}

static int tree_add_state(Tree *t, json_object *group) {
        const char *state = json_string(group, "State"), *kind = json_string(group, "OwnerKind");
        _cleanup_free_ char *text = NULL;

        if (strcmp(state, "owned") == 0 && *kind)
                text = strdup(kind);
        else
                text = strdup(state);
        if (!text)
                return -ENOMEM;
        return table_add(&t->table, state_colour(state), text);
}

static int tree_add_owner(Tree *t, json_object *group) {
        _cleanup_free_ char *text = NULL;

        if (str_empty(json_string(group, "OwnerKind")))
                return table_add(&t->table, COLOUR_NONE, NULL);
        text = owner_describe(json_member(group, "Owner"));
        if (!text)
                return -ENOMEM;
        return table_add(&t->table, COLOUR_NONE, text);
}

/* The leases of a group, and how long the first of them is there. */
static int tree_add_leases(Tree *t, json_object *group) {
        json_object *ids = json_member(group, "Leases");
        _cleanup_free_ char *text = NULL, *age = NULL;
        uint64_t created = TIME_INFINITY;
        int r;

        text = value_describe(ids);
        if (!text)
                return -ENOMEM;
        for (size_t i = 0; ids && i < json_object_array_length(ids); i++) {
                const char *id = json_object_get_string(json_object_array_get_idx(ids, i));
                json_object *lease = json_member(t->leases_by_id, id);

                if (lease && json_number(lease, "Created") < created)
                        created = json_number(lease, "Created");
        }
        if (created <= t->now->boottime) {
                age = timespan_format(t->now->boottime - created);
                if (!age)
                        return -ENOMEM;
        }
        r = table_add(&t->table, COLOUR_NONE, text);
        if (r < 0)
                return r;
        return table_add(&t->table, COLOUR_NONE, age);
}

/* Whoever a group waits for, or what a person has to look at. */
static char *note_of_group(json_object *group) {
        const char *text = json_string(group, "WaitsFor"), *state = json_string(group, "State");
        bool is_reason = strcmp(state, "failed") == 0 || strcmp(state, "lost") == 0;
        json_object *waiters = json_member(group, "Queue");
        _cleanup_free_ char *queue = NULL;

        if (waiters && json_object_array_length(waiters) > 0) {
                queue = value_describe(waiters);
                if (!queue)
                        return NULL;
        }
        return str_format("%s%s%s%s%s", *text && !is_reason ? "waits for " : "", text,
                          *text && queue ? "; " : "", queue ? "queue: " : "", queue ? queue : "");
}

/* What a person has to know before he takes it. */
static int tree_add_note(Tree *t, json_object *group, json_object *device) {
        _cleanup_free_ char *of_group = note_of_group(group), *text = NULL;
        const char *in_use = json_string(device, "InUse"), *held = json_string(device, "HeldBack");

        if (!of_group)
                return -ENOMEM;
        text = str_format("%s%s%s%s%s%s%s", of_group, *of_group && *held ? "; " : "",
                          *held ? "held back: " : "", held,
                          (*of_group || *held) && *in_use ? "; " : "", *in_use ? "in use: " : "",
                          in_use);
        if (!text)
                return -ENOMEM;
        return table_add(&t->table, *of_group || *held ? COLOUR_PENDING : COLOUR_DIM, text);
}

/* group is NULL for all devices of a group but the first. */
static int tree_add_ownership(Tree *t, json_object *group) {
        int r;

        if (!group) {
                for (size_t i = 0; i < 4; i++) {
                        r = table_add(&t->table, COLOUR_NONE, NULL);
                        if (r < 0)
                                return r;
                }
                return 0;
        }
        r = tree_add_state(t, group);
        if (r < 0)
                return r;
        r = tree_add_owner(t, group);
        if (r < 0)
                return r;
        return tree_add_leases(t, group);
}

static int tree_add_device(Tree *t, json_object *group, json_object *device, size_t i, size_t n) {
        int r;

        r = tree_add_stem(t, group, json_string(device, "Name"), i, n);
        if (r < 0)
                return r;
        r = tree_add_name(t, device);
        if (r < 0)
                return r;
        r = tree_add_driver(t, device);
        if (r < 0)
                return r;
        r = tree_add_ownership(t, i == 0 ? group : NULL);
        if (r < 0)
                return r;
        return tree_add_note(t, i == 0 ? group : NULL, device);
}

static int tree_add_group(Tree *t, json_object *group) {
        json_object *devices = json_member(group, "DeviceList");
        size_t n = devices ? json_object_array_length(devices) : 0;
        int r;

        if (n == 0) /* all unplugged: its leases and its state are still there */
                return tree_add_device(t, group, NULL, 0, 0);
        for (size_t i = 0; i < n; i++) {
                r = tree_add_device(t, group, json_object_array_get_idx(devices, i), i, n);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int tree_index_leases(Tree *t, json_object *leases) {
        t->leases_by_id = json_object_new_object();
        if (!t->leases_by_id)
                return -ENOMEM;
        for (size_t i = 0; i < json_object_array_length(leases); i++) {
                json_object *lease = json_object_get(json_object_array_get_idx(leases, i));

                if (json_object_object_add(t->leases_by_id, json_string(lease, "Id"), lease) < 0) {
                        json_object_put(lease);
                        return -ENOMEM;
                }
        }
        return 0;
}

/* Digits of the largest number; groups come in ascending order. */
static int tree_id_width(json_object *groups) {
        size_t n = json_object_array_length(groups);
        json_object *last = n > 0 ? json_object_array_get_idx(groups, n - 1) : NULL;

        return snprintf(NULL, 0, "%llu", (unsigned long long)json_number(last, "Id"));
}

int tree_print(json_object *groups, json_object *leases, const Clocks *now, const Look *look,
               FILE *out) {
        _cleanup_(tree_clear) Tree t = {
                .table = TABLE_INIT(tree_columns),
                .now = now,
                .look = look,
                .id_width = tree_id_width(groups),
        };
        size_t n = json_object_array_length(groups);
        int r;

        r = tree_index_leases(&t, leases);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                r = tree_add_group(&t, json_object_array_get_idx(groups, i));
                if (r < 0)
                        return r;
        }
        r = table_print(&t.table, look, out);
        if (r < 0)
                return r;
        if (look->legend)
                fprintf(out, "\n%zu group%s, %zu lease%s\n", n, n == 1 ? "" : "s",
                        json_object_array_length(leases),
                        json_object_array_length(leases) == 1 ? "" : "s");
        return 0;
}
