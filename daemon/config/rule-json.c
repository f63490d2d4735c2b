/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config/rule-json.h"

#include <ctype.h>
#include <string.h>

#include "config/access-json.h"
#include "config/json-words.h"
#include "util/strings.h"

typedef struct Reader {
        Rule *rule;
        bool decides; /* it has a key that decides something */
} Reader;

/* what a word may look like */

static bool is_address(const char *word) {
        return json_word_only(word, "0123456789abcdef:.*");
}

static bool is_id(const char *word) {
        const char *colon = strchr(word, ':');
        size_t vendor = colon ? (size_t)(colon - word) : 0;

        return colon && json_word_only(word, "0123456789abcdef:*") && !strchr(colon + 1, ':') &&
               (vendor == 4 || (vendor > 0 && memchr(word, '*', vendor))) &&
               (strlen(colon + 1) == 4 || (strchr(colon + 1, '*') && strlen(colon + 1) < 5));
}

static bool is_class(const char *word) {
        size_t n = strlen(word);

        return json_word_only(word, "0123456789abcdef") && (n == 2 || n == 4 || n == 6);
}

static bool is_driver(const char *word) {
        for (; *word; word++)
                if (!isalnum((unsigned char)*word) && !strchr("_-*", *word))
                        return false;
        return true;
}

static bool is_driver_name(const char *word) {
        return is_driver(word) && !strchr(word, '*') && strcmp(word, "none") != 0;
}

static bool is_node(const char *word) {
        unsigned long long node;

        return strcmp(word, "-1") == 0 || (parse_u64(word, 10, &node) == 0 && node < 1024);
}

/* match */

#define EXPECT_ADDRESS "an address such as \"0000:3b:00.0\", in lower case, with \"*\" for any part"

static const struct MatchKey {
        const char *name;
        size_t offset;
        JsonWordCheck check;
        const char *expected;
        bool numbers;
} match_keys[] = {
        { "device", offsetof(DeviceMatch, devices), is_address, EXPECT_ADDRESS },
        { "id", offsetof(DeviceMatch, ids), is_id,
          "vendor:device in lower-case hexadecimal, such as \"8086:10d3\" or \"8086:*\"" },
        { "class", offsetof(DeviceMatch, classes), is_class,
          "2, 4 or 6 lower-case hexadecimal digits, such as \"02\" for network controllers" },
        { "driver", offsetof(DeviceMatch, drivers), is_driver,
          "the name of a driver, \"*\" for any part, or \"none\"" },
        { "pf", offsetof(DeviceMatch, pfs), is_address, EXPECT_ADDRESS },
        { "with", offsetof(DeviceMatch, with), is_address, EXPECT_ADDRESS },
        { "numa", offsetof(DeviceMatch, nodes), is_node, "the number of a NUMA node, or -1", true },
};

static int take_match_key(JsonText *t, const char *key, size_t at, const JsonValue *value,
                          void *userdata) {
        DeviceMatch *match = userdata;

        for (size_t i = 0; i < sizeof(match_keys) / sizeof(*match_keys); i++) {
                const struct MatchKey *k = &match_keys[i];
                char ***list = (char ***)((char *)match + k->offset);
                JsonWords words = { .key = key,
                                    .check = k->check,
                                    .expected = k->expected,
                                    .numbers = k->numbers };

                if (strcmp(k->name, key) == 0)
                        return json_words_read(t, value, words, list);
        }
        return json_text_fail(t, at,
                              "there is no key \"%s\" in \"match\"; there are \"device\", \"id\", "
                              "\"class\", \"driver\", \"pf\", \"with\", \"numa\"",
                              key);
}

static int read_match(JsonText *t, const char *key, const JsonValue *value, Reader *reader) {
        if (!json_object_is_type(value->o, json_type_object))
                return json_text_fail(t, value->at, "key \"%s\": an object is expected, not %s",
                                      key, json_value_kind(value));
        return json_text_members(t, value, take_match_key, &reader->rule->match);
}

/* decisions */

static int read_name(JsonText *t, const char *key, const JsonValue *value, Reader *reader) {
        const char *name = json_value_string(value);

        if (str_empty(name) || strlen(name) > JSON_WORD_MAX)
                return json_fail_expected(t, key, value, "a short text");
        for (const char *c = name; *c; c++)
                if ((unsigned char)*c < ' ' || *c == 0x7f)
                        return json_fail_expected(t, key, value,
                                                  "a text without control characters");
        return str_set(&reader->rule->name, name);
}

static int read_comment(JsonText *t, const char *key, const JsonValue *value, Reader *reader) {
        return json_value_string(value) ? 0 : json_fail_expected(t, key, value, "a text");
}

static int read_release(JsonText *t, const char *key, const JsonValue *value, Reader *reader) {
        ReleaseAction action = release_action_from_string(json_value_string(value));

        if (action < 0)
                return json_fail_expected(t, key, value, "\"restore\", \"keep\" or \"unbound\"");
        reader->rule->release = action;
        reader->decides = true;
        return 0;
}

/* The kernel's names of methods are words like "flr", "device_specific"; which a device has is seen
 * when it is used. */
static int read_reset(JsonText *t, const char *key, const JsonValue *value, Reader *reader) {
        const char *reset = json_value_string(value);

        if (str_empty(reset) || strlen(reset) > 32 ||
            !json_word_only(reset, "abcdefghijklmnopqrstuvwxyz0123456789_"))
                return json_fail_expected(t, key, value,
                                          "\"auto\", \"required\", \"none\" or a method that "
                                          "reset_method of the device lists");
        reader->decides = true;
        return str_set(&reader->rule->reset, reset);
}

static int read_scrub(JsonText *t, const char *key, const JsonValue *value, Reader *reader) {
        ScrubGate gate = scrub_gate_from_string(json_value_string(value));

        if (gate < 0)
                return json_fail_expected(t, key, value, "\"none\", \"unit\" or \"administrator\"");
        reader->rule->scrub = gate;
        reader->decides = true;
        return 0;
}

static int read_protect(JsonText *t, const char *key, const JsonValue *value, Reader *reader) {
        if (!json_object_is_type(value->o, json_type_boolean))
                return json_fail_expected(t, key, value, "true or false");
        reader->rule->protect = json_object_get_boolean(value->o);
        reader->decides = true;
        return 0;
}

static int read_drivers(JsonText *t, const char *key, const JsonValue *value, Reader *reader) {
        JsonWords words = { .key = key,
                            .check = is_driver_name,
                            .expected = "the name of a driver" };

        reader->decides = true;
        return json_words_read(t, value, words, &reader->rule->drivers);
}

/* As many as the kernel can count; how many a PF can have is seen when they are made. */
static int read_vfs(JsonText *t, const char *key, const JsonValue *value, Reader *reader) {
        int64_t vfs = json_object_get_int64(value->o);

        if (!json_object_is_type(value->o, json_type_int) || vfs < 0 || vfs > UINT16_MAX)
                return json_fail_expected(t, key, value, "a number from 0 to 65535");
        reader->rule->vfs = (int)vfs;
        reader->decides = true;
        return 0;
}

static int read_access(JsonText *t, const char *key, const JsonValue *value, Reader *reader) {
        reader->decides = true;
        return access_from_json(t, key, value, false, &reader->rule->access);
}

static const struct RuleKey {
        const char *name;
        int (*read)(JsonText *t, const char *key, const JsonValue *value, Reader *reader);
} rule_keys[] = {
        { "name", read_name },       { "comment", read_comment }, { "match", read_match },
        { "release", read_release }, { "reset", read_reset },     { "scrub", read_scrub },
        { "protect", read_protect }, { "drivers", read_drivers }, { "vfs", read_vfs },
        { "access", read_access },
};

/* "name", "comment", ...: a key that is misspelt must not be a rule that protects nothing. */
static int fail_unknown_key(JsonText *t, const char *key, size_t at) {
        _cleanup_free_ char *known = NULL;

        for (size_t i = 0; i < sizeof(rule_keys) / sizeof(*rule_keys); i++)
                if (str_append(&known, "%s\"%s\"", i > 0 ? ", " : "", rule_keys[i].name) < 0)
                        return -ENOMEM;
        return json_text_fail(t, at, "there is no key \"%s\" in a rule; there are %s", key, known);
}

static int take_rule_key(JsonText *t, const char *key, size_t at, const JsonValue *value,
                         void *userdata) {
        for (size_t i = 0; i < sizeof(rule_keys) / sizeof(*rule_keys); i++)
                if (strcmp(rule_keys[i].name, key) == 0)
                        return rule_keys[i].read(t, key, value, userdata);
        return fail_unknown_key(t, key, at);
}

int rule_from_json(JsonText *t, const JsonValue *value, Rule *ret) {
        _cleanup_rule_ Rule rule = RULE_NULL;
        Reader reader = { .rule = &rule };
        int r;

        if (!json_object_is_type(value->o, json_type_object))
                return json_text_fail(t, value->at, "a rule has to be an object, not %s",
                                      json_value_kind(value));
        r = json_text_members(t, value, take_rule_key, &reader);
        if (r < 0)
                return r;
        if (!reader.decides)
                return json_text_fail(t, value->at,
                                      "this rule decides nothing: it has no key but "
                                      "\"name\", \"comment\", \"match\"");
        rule.origin = str_format("%s:%u", t->name, json_text_line(t, value->at));
        if (!rule.origin)
                return -ENOMEM;
        *ret = rule;
        rule = RULE_NULL;
        return 0;
}
