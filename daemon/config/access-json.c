/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config/access-json.h"

#include <ctype.h>
#include <string.h>

#include "config/json-words.h"
#include "core/queue.h"
#include "util/strings.h"

#define SECOND      1000000ULL
#define MAX_SECONDS (10LL * 365 * 24 * 3600)

typedef struct Reader {
        AccessEntry *entry;
        bool limits; /* it has a key that is of no use where it denies */
} Reader;

/* what a word may look like */

static bool is_account(const char *word) {
        for (const char *c = word; *c; c++)
                if (!isgraph((unsigned char)*c) || strchr(":,/*", *c))
                        return false;
        return word[0] != '-';
}

static bool is_account_or_all(const char *word) {
        return strcmp(word, "*") == 0 || is_account(word);
}

static bool is_unit(const char *word) {
        const char *dot = strrchr(word, '.');

        for (const char *c = word; *c; c++)
                if (!isalnum((unsigned char)*c) && !strchr("_-*.@:\\", *c))
                        return false;
        return dot && (strcmp(dot, ".service") == 0 || strcmp(dot, ".scope") == 0);
}

static bool is_owner(const char *word) {
        for (const char *c = word; *c; c++)
                if ((unsigned char)*c < ' ' || *c == 0x7f)
                        return false;
        return true;
}

static bool is_kind(const char *word) {
        return owner_kind_from_string(word) >= 0;
}

static bool is_action(const char *word) {
        return manage_action_from_string(word) >= 0;
}

static bool is_type(const char *word) {
        static const char *const types[] = { "DMA", "DMA-FQ", "identity", "auto" };

        for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
                if (strcmp(word, types[i]) == 0)
                        return true;
        return false;
}

/* keys */

static int read_users(JsonText *t, const char *key, const JsonValue *value, Reader *r) {
        JsonWords words = { .key = key,
                            .check = is_account,
                            .expected = "the name or number of a user, or a list of them" };

        return json_words_read(t, value, words, &r->entry->users.names);
}

static int read_groups(JsonText *t, const char *key, const JsonValue *value, Reader *r) {
        JsonWords words = {
                .key = key,
                .check = is_account,
                .expected = "the name or number of a group of users, or a list of them"
        };

        return json_words_read(t, value, words, &r->entry->groups.names);
}

static int read_units(JsonText *t, const char *key, const JsonValue *value, Reader *r) {
        JsonWords words = { .key = key,
                            .check = is_unit,
                            .expected = "the name of a systemd unit, such as \"libvirtd.service\", "
                                        "with \"*\" for any part" };

        return json_words_read(t, value, words, &r->entry->units);
}

static int read_owners(JsonText *t, const char *key, const JsonValue *value, Reader *r) {
        JsonWords words = { .key = key,
                            .check = is_owner,
                            .expected = "an owner's name, with \"*\" for any part" };

        return json_words_read(t, value, words, &r->entry->owners);
}

static int read_kinds(JsonText *t, const char *key, const JsonValue *value, Reader *r) {
        JsonWords words = { .key = key,
                            .check = is_kind,
                            .expected = "\"dma-api\", \"private-domain\" or \"user\"" };
        _cleanup_(strv_freep) char **kinds = NULL;
        int k = json_words_read(t, value, words, &kinds);

        for (char **kind = kinds; k == 0 && *kind; kind++)
                r->entry->kinds |= 1U << owner_kind_from_string(*kind);
        return k;
}

static int read_actions(JsonText *t, const char *key, const JsonValue *value, Reader *r) {
        JsonWords words = { .key = key,
                            .check = is_action,
                            .expected = "\"see\", \"release\", \"revoke\", \"renew\", \"open\", "
                                        "\"administer\" or \"reload\"" };
        _cleanup_(strv_freep) char **actions = NULL;
        int k = json_words_read(t, value, words, &actions);

        for (char **action = actions; k == 0 && *action; action++)
                r->entry->actions |= 1U << manage_action_from_string(*action);
        return k;
}

static int read_decision(JsonText *t, const char *key, const JsonValue *value, Reader *r) {
        Decision decision = decision_from_string(json_value_string(value));

        if (decision < 0)
                return json_fail_expected(t, key, value, "\"allow\", \"ask\" or \"deny\"");
        r->entry->decision = decision;
        return 0;
}

static int read_types(JsonText *t, const char *key, const JsonValue *value, Reader *r) {
        JsonWords words = { .key = key,
                            .check = is_type,
                            .expected = "\"DMA\", \"DMA-FQ\", \"identity\" or \"auto\"" };

        r->limits = true;
        return json_words_read(t, value, words, &r->entry->types);
}

static int read_ttl(JsonText *t, const char *key, const JsonValue *value, Reader *r) {
        int64_t seconds = json_object_get_int64(value->o);

        if (!json_object_is_type(value->o, json_type_int) || seconds < 1 || seconds > MAX_SECONDS)
                return json_fail_expected(t, key, value, "a number of seconds, at most ten years");
        r->limits = true;
        r->entry->max_ttl = (uint64_t)seconds * SECOND;
        return 0;
}

static bool get_priority(json_object *list, size_t i, int *ret) {
        json_object *o = json_object_array_get_idx(list, i);
        int64_t value = json_object_get_int64(o);

        *ret = (int)value;
        return json_object_is_type(o, json_type_int) && value >= PRIORITY_MIN &&
               value <= PRIORITY_MAX;
}

static int read_priority(JsonText *t, const char *key, const JsonValue *value, Reader *r) {
        AccessEntry *e = r->entry;

        r->limits = true;
        if (json_object_is_type(value->o, json_type_array) &&
            json_object_array_length(value->o) == 2 &&
            get_priority(value->o, 0, &e->priority_min) &&
            get_priority(value->o, 1, &e->priority_max) && e->priority_min <= e->priority_max)
                return 0;
        return json_text_fail(t, value->at,
                              "key \"%s\": expected is the lowest and the highest, such as [-100, 10], "
                              "from %d to %d",
                              key, PRIORITY_MIN, PRIORITY_MAX);
}

static int read_force(JsonText *t, const char *key, const JsonValue *value, Reader *r) {
        if (!json_object_is_type(value->o, json_type_boolean))
                return json_fail_expected(t, key, value, "true or false");
        r->limits = true;
        r->entry->force = json_object_get_boolean(value->o);
        return 0;
}

static int read_for(JsonText *t, const char *key, const JsonValue *value, Reader *r) {
        JsonWords words = { .key = key,
                            .check = is_account_or_all,
                            .expected = "the name or number of a user, a list of them, or \"*\" for "
                                        "all" };
        int k;

        r->limits = true;
        k = json_words_read(t, value, words, &r->entry->for_users.names);
        if (k == 0)
                r->entry->for_anybody = strv_contains(r->entry->for_users.names, "*");
        return k;
}

static int read_comment(JsonText *t, const char *key, const JsonValue *value, Reader *r) {
        return json_value_string(value) ? 0 : json_fail_expected(t, key, value, "a text");
}

enum {
        OF_ACCESS = 1,
        OF_MANAGE = 2,
        OF_BOTH = OF_ACCESS | OF_MANAGE,
};

static const struct EntryKey {
        const char *name;
        int where;
        int (*read)(JsonText *t, const char *key, const JsonValue *value, Reader *r);
} entry_keys[] = {
        { "comment", OF_BOTH, read_comment },     { "users", OF_BOTH, read_users },
        { "groups", OF_BOTH, read_groups },       { "units", OF_BOTH, read_units },
        { "decision", OF_BOTH, read_decision },   { "actions", OF_MANAGE, read_actions },
        { "kinds", OF_ACCESS, read_kinds },       { "owners", OF_ACCESS, read_owners },
        { "types", OF_ACCESS, read_types },       { "max-ttl", OF_ACCESS, read_ttl },
        { "priority", OF_ACCESS, read_priority }, { "force", OF_ACCESS, read_force },
        { "for", OF_ACCESS, read_for },
};

/* entries */

typedef struct ListReader {
        const char *key;
        int where;
        Reader reader;
        AccessList *list;
} ListReader;

static int fail_unknown_key(JsonText *t, const ListReader *l, const char *key, size_t at) {
        _cleanup_free_ char *known = NULL;

        for (size_t i = 0; i < sizeof(entry_keys) / sizeof(*entry_keys); i++)
                if ((entry_keys[i].where & l->where) &&
                    str_append(&known, "%s\"%s\"", known ? ", " : "", entry_keys[i].name) < 0)
                        return -ENOMEM;
        return json_text_fail(t, at, "there is no key \"%s\" in \"%s\"; there are %s", key, l->key,
                              known);
}

static int take_key(JsonText *t, const char *key, size_t at, const JsonValue *value,
                    void *userdata) {
        ListReader *l = userdata;

        for (size_t i = 0; i < sizeof(entry_keys) / sizeof(*entry_keys); i++)
                if ((entry_keys[i].where & l->where) && strcmp(entry_keys[i].name, key) == 0)
                        return entry_keys[i].read(t, key, value, &l->reader);
        return fail_unknown_key(t, l, key, at);
}

static int take_entry(JsonText *t, const JsonValue *value, void *userdata) {
        _cleanup_access_entry_ AccessEntry entry = ACCESS_ENTRY_NULL;
        ListReader *l = userdata;
        int r;

        if (!json_object_is_type(value->o, json_type_object))
                return json_text_fail(t, value->at, "key \"%s\": an object is expected, not %s",
                                      l->key, json_value_kind(value));
        entry.priority_min = PRIORITY_MIN;
        l->reader = (Reader){ .entry = &entry };
        r = json_text_members(t, value, take_key, l);
        if (r < 0)
                return r;
        if (entry.decision == DECISION_DENY && l->reader.limits)
                return json_text_fail(t, value->at,
                                      "key \"%s\": what is denied needs no limits (\"types\", "
                                      "\"max-ttl\", \"priority\", \"force\", \"for\")",
                                      l->key);
        entry.origin = str_format("%s:%u", t->name, json_text_line(t, value->at));
        return entry.origin ? access_list_add(l->list, &entry) : -ENOMEM;
}

int access_from_json(JsonText *t, const char *key, const JsonValue *value, bool manage,
                     AccessList *ret) {
        ListReader l = { .key = key, .where = manage ? OF_MANAGE : OF_ACCESS, .list = ret };

        if (!json_object_is_type(value->o, json_type_array))
                return take_entry(t, value, &l);
        if (json_object_array_length(value->o) == 0)
                return json_text_fail(t, value->at, "key \"%s\": an empty list says nothing", key);
        return json_text_items(t, value, take_entry, &l);
}
