/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/describe.h"

#include <pwd.h>

#include "client/message-json.h"
#include "client/text.h"
#include "util/strings.h"

static int add_time(json_object *o, const char *name, const Clocks *now, uint64_t stamp) {
        _cleanup_free_ char *iso = NULL;
        json_object *value = NULL;

        if (stamp != TIME_INFINITY) {
                iso = boottime_to_iso(now, stamp);
                if (!iso)
                        return -ENOMEM;
                value = json_object_new_string(iso);
                if (!value)
                        return -ENOMEM;
        }
        if (json_object_object_add(o, name, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

int lease_add_times(json_object *lease, const Clocks *now) {
        int r;

        r = add_time(lease, "created_at", now, json_number(lease, "Created"));
        if (r < 0)
                return r;
        return add_time(lease, "expires_at", now, json_number(lease, "Expires"));
}

char *owner_describe(json_object *owner) {
        uint64_t uid = json_object_get_uint64(json_object_array_get_idx(owner, 0));
        const char *name = json_object_get_string(json_object_array_get_idx(owner, 1));
        _cleanup_free_ char *user = NULL;
        const struct passwd *pw;

        if (uid == UINT32_MAX)
                return strdup("(hidden)");
        pw = getpwuid((uid_t)uid);
        user = pw ? strdup(pw->pw_name) : str_format("%llu", (unsigned long long)uid);
        if (!user)
                return NULL;
        return str_format("%s%s%s", user, str_empty(name) ? "" : ":", name ? name : "");
}

static char *list_describe(json_object *list) {
        char *text = strdup("");

        for (size_t i = 0; text && i < json_object_array_length(list); i++) {
                const char *s = json_object_get_string(json_object_array_get_idx(list, i));

                if (str_empty(s))
                        continue;
                if (str_append(&text, "%s%s", *text ? " " : "", s) < 0) {
                        free(text);
                        return NULL;
                }
        }
        return text;
}

char *value_describe(json_object *value) {
        const char *s;

        if (json_object_is_type(value, json_type_array))
                return list_describe(value);
        if (json_object_is_type(value, json_type_boolean))
                return strdup(json_object_get_boolean(value) ? "yes" : "no");
        s = json_object_get_string(value);
        return strdup(s ? s : "");
}

/* "2026-02-03T04:05:06.123456Z (3min ago)" */
static char *stamp_describe(uint64_t stamp, const Clocks *now) {
        bool past = stamp <= now->boottime;
        _cleanup_free_ char *iso = NULL, *span = NULL;

        if (stamp == TIME_INFINITY)
                return strdup("never");
        iso = boottime_to_iso(now, stamp);
        span = timespan_format(past ? now->boottime - stamp : stamp - now->boottime);
        if (!iso || !span)
                return NULL;
        return str_format("%s (%s%s%s)", iso, past ? "" : "in ", span, past ? " ago" : "");
}

/* The owner of a free group is no owner. */
static bool is_unowned(json_object *o) {
        json_object *kind = json_member(o, "OwnerKind");

        return kind && str_empty(json_object_get_string(kind));
}

char *property_describe(json_object *o, const char *name, json_object *value, const Clocks *now) {
        if (strcmp(name, "Owner") == 0)
                return is_unowned(o) ? strdup("") : owner_describe(value);
        if (strcmp(name, "Created") == 0 || strcmp(name, "Expires") == 0)
                return stamp_describe(json_object_get_uint64(value), now);
        return value_describe(value);
}

int properties_print(json_object *properties, const Clocks *now, const Look *look, FILE *out) {
        static const Column columns[] = { { "PROPERTY" }, { "VALUE" } };
        Look lines = { .unicode = look->unicode, .colour = look->colour }; /* values in full */
        _cleanup_table_ Table t = TABLE_INIT(columns);
        int r;

        json_object_object_foreach(properties, name, value) {
                _cleanup_free_ char *text = NULL;

                if (str_starts(name, "created_at") || str_starts(name, "expires_at"))
                        continue; /* Created and Expires say it already */
                text = property_describe(properties, name, value, now);
                if (!text)
                        return -ENOMEM;
                r = table_add(&t, COLOUR_DIM, name);
                if (r < 0)
                        return r;
                r = table_add(&t, strcmp(name, "State") == 0 ? state_colour(text) : COLOUR_NONE,
                              *text ? text : "-");
                if (r < 0)
                        return r;
        }
        return table_print(&t, &lines, out);
}

Colour state_colour(const char *state) {
        static const struct {
                const char *state;
                Colour colour;
        } colours[] = {
                { "owned", COLOUR_GOOD },          { "active", COLOUR_GOOD },
                { "claiming", COLOUR_PENDING },    { "activating", COLOUR_PENDING },
                { "draining", COLOUR_PENDING },    { "restoring", COLOUR_PENDING },
                { "quarantined", COLOUR_PENDING }, { "unconfirmed", COLOUR_PENDING },
                { "failed", COLOUR_BAD },          { "lost", COLOUR_BAD },
        };

        for (size_t i = 0; i < sizeof(colours) / sizeof(*colours); i++)
                if (strcmp(state, colours[i].state) == 0)
                        return colours[i].colour;
        return COLOUR_NONE;
}
