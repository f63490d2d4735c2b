/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Values of the policy that are words, or lists of them. */

#include <stdbool.h>

#include "config/json-text.h"

#define JSON_WORD_MAX 128

typedef bool (*JsonWordCheck)(const char *word);

typedef struct JsonWords {
        char **list;
        const char *key;
        JsonWordCheck check;
        const char *expected; /* for messages */
        bool numbers;         /* they are written as numbers */
} JsonWords;

/* One word, or a list of them, as words says. -EINVAL with the message set, or -ENOMEM. */
int json_words_read(JsonText *t, const JsonValue *value, JsonWords words, char ***ret);

/* Has it only characters that are allowed? */
bool json_word_only(const char *word, const char *allowed);

/* Always returns -EINVAL, or -ENOMEM. */
int json_fail_expected(JsonText *t, const char *key, const JsonValue *value, const char *expected);
