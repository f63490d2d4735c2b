/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/history.h"

#include <pwd.h>
#include <time.h>

#include "client/message-json.h"
#include "client/names.h"
#include "client/units.h"
#include "core/audit-event.h"
#include "util/strings.h"

#define USEC_PER_SEC 1000000ULL

/* fields */

static int add(json_object *entry, const char *name, json_object *value) {
        if (value && json_object_object_add(entry, name, value) == 0)
                return 0;
        json_object_put(value);
        return -ENOMEM;
}

static int add_text(json_object *entry, const char *name, const char *value) {
        return add(entry, name, json_object_new_string(value));
}

static int add_number(json_object *entry, const char *name, const char *value) {
        unsigned long long number;

        return parse_u64(value, 10, &number) < 0 ? 0
                                                 : add(entry, name, json_object_new_uint64(number));
}

static int append(json_object *entry, const char *name, json_object *value) {
        json_object *list = json_member(entry, name);

        if (value && !list) {
                list = json_object_new_array();
                if (add(entry, name, list) < 0)
                        list = NULL;
        }
        if (value && list && json_object_array_add(list, value) == 0)
                return 0;
        json_object_put(value);
        return -ENOMEM;
}

static int append_text(json_object *entry, const char *name, const char *value) {
        return append(entry, name, json_object_new_string(value));
}

static int append_number(json_object *entry, const char *name, const char *value) {
        unsigned long long number;

        return parse_u64(value, 10, &number) < 0
                       ? 0
                       : append(entry, name, json_object_new_uint64(number));
}

static int append_words(json_object *entry, const char *name, const char *value) {
        while (*value) {
                size_t n = strcspn(value, " ");
                int r = n == 0 ? 0 : append(entry, name, json_object_new_string_len(value, (int)n));

                if (r < 0)
                        return r;
                value += n + (value[n] == ' ');
        }
        return 0;
}

static int add_event(json_object *entry, const char *name, const char *value) {
        const char *event = audit_event_to_string(audit_event_from_id(value));

        return event ? add_text(entry, name, event) : 0;
}

static const struct {
        const char *field;
        const char *name;
        int (*take)(json_object *entry, const char *name, const char *value);
} fields[] = {
        { "MESSAGE_ID", "event", add_event },
        { "PRIORITY", "priority", add_number },
        { "MESSAGE", "message", add_text },
        { "_BOOT_ID", "boot", add_text },
        { "DMAOWNER_LEASE", "lease", add_text },
        { "DMAOWNER_OWNER", "owner", add_text },
        { "DMAOWNER_UID", "uid", add_number },
        { "DMAOWNER_NODE_UID", "node_uid", add_number },
        { "DMAOWNER_KIND", "kind", add_text },
        { "DMAOWNER_ACCESS", "access", add_text },
        { "DMAOWNER_HOLDER", "holder", add_text },
        { "DMAOWNER_LABEL", "label", add_text },
        { "DMAOWNER_DEVICES", "devices", append_words },
        { "DMAOWNER_DEVICE", "group_devices", append_text },
        { "DMAOWNER_GROUP", "groups", append_number },
        { "DMAOWNER_METHOD", "method", add_text },
        { "DMAOWNER_CALLER_UID", "caller_uid", add_number },
        { "DMAOWNER_CALLER_UNIT", "caller_unit", add_text },
        { "DMAOWNER_AUTHORISED", "authorised", add_text },
        { "DMAOWNER_RULE", "rules", append_text },
        { "DMAOWNER_ERROR", "error", add_text },
        { "DMAOWNER_REASON", "reason", add_text },
};

int history_add_field(json_object *entry, const void *field, size_t size) {
        const char *equals = memchr(field, '=', size);
        _cleanup_free_ char *value = NULL;
        size_t n;

        if (!equals)
                return 0;
        n = (size_t)(equals - (const char *)field);
        for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
                if (strlen(fields[i].field) != n || memcmp(fields[i].field, field, n) != 0)
                        continue;
                value = strndup(equals + 1, size - n - 1);
                return value ? fields[i].take(entry, fields[i].name, value) : -ENOMEM;
        }
        return 0;
}

int history_add_time(json_object *entry, uint64_t realtime) {
        _cleanup_free_ char *iso = realtime_to_iso(realtime);

        if (!iso || add_text(entry, "time", iso) < 0)
                return -ENOMEM;
        return add(entry, "realtime", json_object_new_uint64(realtime));
}

/* what is asked for */

static bool list_has(json_object *list, const char *name) {
        for (size_t i = 0; list && i < json_object_array_length(list); i++)
                if (str_eq(json_object_get_string(json_object_array_get_idx(list, i)), name))
                        return true;
        return false;
}

static bool is_about(json_object *entry, const char *name) {
        unsigned group;

        if (group_name_parse(name, &group))
                return list_has(json_member(entry, "groups"), name + strlen("group:"));
        if (lease_name_valid(name))
                return str_eq(json_string(entry, "lease"), name);
        return list_has(json_member(entry, "devices"), name) ||
               list_has(json_member(entry, "group_devices"), name);
}

bool history_is_about(json_object *entry, char *const *names, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (is_about(entry, names[i]))
                        return true;
        return n == 0;
}

/* for people */

static char *describe_time(json_object *entry) {
        time_t seconds = (time_t)(json_number(entry, "realtime") / USEC_PER_SEC);
        char text[sizeof("-9999999999-01-02 03:04:05")];
        struct tm tm;

        if (!localtime_r(&seconds, &tm) || strftime(text, sizeof(text), "%F %T", &tm) == 0)
                return strdup("?");
        return strdup(text);
}

/* As owners are written everywhere: "alice:dpdk"; of a call it is the caller. */
static char *describe_who(json_object *entry) {
        bool call = json_member(entry, "method") || !json_member(entry, "uid");
        const char *name = call ? "" : json_string(entry, "owner");
        const struct passwd *pw;
        uint64_t uid;

        if (call && !json_member(entry, "caller_uid"))
                return strdup("");
        uid = json_number(entry, call ? "caller_uid" : "uid");
        pw = getpwuid((uid_t)uid);
        return pw ? str_format("%s%s%s", pw->pw_name, *name ? ":" : "", name)
                  : str_format("%llu%s%s", (unsigned long long)uid, *name ? ":" : "", name);
}

static char *describe_object(json_object *entry) {
        json_object *groups = json_member(entry, "groups");

        if (json_member(entry, "lease"))
                return strdup(json_string(entry, "lease"));
        if (!groups || json_object_array_length(groups) != 1)
                return strdup("");
        return str_format("group:%s", json_object_get_string(json_object_array_get_idx(groups, 0)));
}

static char *describe_devices(json_object *entry) {
        json_object *devices = json_member(entry, "devices");
        char *text = NULL;

        for (size_t i = 0; devices && i < json_object_array_length(devices); i++)
                if (str_append(&text, "%s%s", text ? " " : "",
                               json_object_get_string(json_object_array_get_idx(devices, i))) < 0) {
                        free(text);
                        return NULL;
                }
        return text ? text : strdup("");
}

static char *describe_note(json_object *entry) {
        const char *method = json_string(entry, "method"), *reason = json_string(entry, "reason");
        const char *kind = str_eq(json_string(entry, "event"), "granted")
                                   ? json_string(entry, "kind")
                                   : "";
        /* of these the message is all that there is to say */
        if (!*method && str_starts(json_string(entry, "event"), "policy-"))
                return strdup(json_string(entry, "message"));
        return str_format("%s%s%s%s", method, *method && *reason ? ": " : "", reason,
                          *reason ? "" : kind);
}

static Colour event_colour(json_object *entry) {
        uint64_t priority = json_number(entry, "priority");

        return priority <= 4 ? COLOUR_BAD : priority == 5 ? COLOUR_PENDING : COLOUR_NONE;
}

static int add_cell(Table *t, Colour colour, char *text) {
        _cleanup_free_ char *cell = text;

        return text ? table_add(t, colour, cell) : -ENOMEM;
}

static int add_row(Table *t, json_object *entry) {
        int r = add_cell(t, COLOUR_DIM, describe_time(entry));

        if (r == 0)
                r = table_add(t, event_colour(entry), json_string(entry, "event"));
        if (r == 0)
                r = add_cell(t, COLOUR_NONE, describe_object(entry));
        if (r == 0)
                r = add_cell(t, COLOUR_NONE, describe_devices(entry));
        if (r == 0)
                r = add_cell(t, COLOUR_NONE, describe_who(entry));
        if (r == 0)
                r = add_cell(t, COLOUR_NONE, describe_note(entry));
        return r;
}

/* Leases and groups begin anew with each boot: l7 is not l7 of the boot before. */
static int add_boot(Table *t, const char **boot, json_object *entry) {
        static const char *const cells[] = { "", "(boot)", "", "", "", "" };
        const char *now = json_string(entry, "boot");
        bool other = *boot && !str_eq(*boot, now);
        int r = 0;

        *boot = now;
        for (size_t i = 0; other && r == 0 && i < sizeof(cells) / sizeof(*cells); i++)
                r = table_add(t, COLOUR_DIM, cells[i]);
        return r;
}

int history_print(json_object *entries, const Look *look, FILE *out) {
        static const Column columns[] = {
                { "TIME" },           { "EVENT" },     { "LEASE" },
                { "DEVICES", 12, 1 }, { "WHO", 8, 2 }, { "NOTE", 12 },
        };
        _cleanup_table_ Table t = TABLE_INIT(columns);
        const char *boot = NULL;
        int r = 0;

        for (size_t i = 0; r == 0 && i < json_object_array_length(entries); i++) {
                json_object *entry = json_object_array_get_idx(entries, i);

                r = add_boot(&t, &boot, entry);
                if (r == 0)
                        r = add_row(&t, entry);
        }
        return r < 0 ? r : table_print(&t, look, out);
}
