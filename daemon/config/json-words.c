/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config/json-words.h"

#include <string.h>

#include "util/strings.h"

#define LIST_MAX 1024

/* NULL: it is of another type. */
static const char *word_of(const JsonWords *words, const JsonValue *value) {
        if (!words->numbers)
                return json_value_string(value);
        return json_object_is_type(value->o, json_type_int) ? json_object_to_json_string(value->o)
                                                            : NULL;
}

static int take_word(JsonText *t, const JsonValue *value, void *userdata) {
        JsonWords *words = userdata;
        const char *word = word_of(words, value);

        if (!word)
                return json_text_fail(t, value->at, "key \"%s\": expected is %s, not %s",
                                      words->key, words->expected, json_value_kind(value));
        if (str_empty(word) || strlen(word) > JSON_WORD_MAX || !words->check(word))
                return json_text_fail(t, value->at, "key \"%s\": expected is %s", words->key,
                                      words->expected);
        if (strv_length(words->list) >= LIST_MAX)
                return json_text_fail(t, value->at, "key \"%s\": at most %d items", words->key,
                                      LIST_MAX);
        return strv_extend(&words->list, word);
}

int json_words_read(JsonText *t, const JsonValue *value, JsonWords words, char ***ret) {
        int r;

        if (!json_object_is_type(value->o, json_type_array))
                r = take_word(t, value, &words);
        else if (json_object_array_length(value->o) == 0)
                r = json_text_fail(t, value->at, "key \"%s\": an empty list says nothing",
                                   words.key);
        else
                r = json_text_items(t, value, take_word, &words);
        if (r < 0)
                strv_free(words.list);
        else
                *ret = words.list;
        return r;
}

bool json_word_only(const char *word, const char *allowed) {
        return word[strspn(word, allowed)] == '\0';
}

int json_fail_expected(JsonText *t, const char *key, const JsonValue *value, const char *expected) {
        const char *given = json_value_string(value);

        if (given && strlen(given) <= JSON_WORD_MAX)
                return json_text_fail(t, value->at, "key \"%s\": expected is %s, not \"%s\"", key,
                                      expected, given);
        return json_text_fail(t, value->at, "key \"%s\": expected is %s, not %s", key, expected,
                              given ? "such a long string" : json_value_kind(value));
}
