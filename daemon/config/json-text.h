/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * JSON that a person wrote: json-c reads it, and for whatever is wrong with it, however late that is
 * found, the message says at which line and column.
 */

#include <json-c/json.h>

#include "util/cleanup.h"

typedef struct JsonText {
        const char *name; /* of the file, for messages */
        const char *text;
        size_t size;
        char *message; /* what is wrong with it: the first thing found */
} JsonText;

/* A value and where it begins. */
typedef struct JsonValue {
        json_object *o; /* NULL: null */
        size_t at;
} JsonValue;

/* Takes a file's contents, which have to stay, and reads the value that they are.
 * -EINVAL with the message set, or -ENOMEM. Release ret->o. */
int json_text_read(JsonText *t, const char *name, const char *text, size_t size, JsonValue *ret);
void json_text_clear(JsonText *t);
#define _cleanup_json_text_ _cleanup_(json_text_clear)

/* Sets the message "FILE:LINE:COLUMN: ...". Always returns -EINVAL, or -ENOMEM. */
int json_text_fail(JsonText *t, size_t at, const char *fmt, ...) _printf_(3, 4);
/* The line, counted from 1, that this is in. */
unsigned json_text_line(const JsonText *t, size_t at);

/* Calls take for each member of an object, in order, until one answers with less than 0. The same key
 * twice is refused. The value is released afterwards. */
typedef int (*JsonMember)(JsonText *t, const char *key, size_t key_at, const JsonValue *value,
                          void *userdata);
int json_text_members(JsonText *t, const JsonValue *object, JsonMember take, void *userdata);

/* The same for each item of an array. */
typedef int (*JsonItem)(JsonText *t, const JsonValue *value, void *userdata);
int json_text_items(JsonText *t, const JsonValue *array, JsonItem take, void *userdata);

/* "a string", "a number": what a value is, for messages. */
const char *json_value_kind(const JsonValue *v);
/* The string, or NULL if the value is none, or has a null character in it. */
const char *json_value_string(const JsonValue *v);
