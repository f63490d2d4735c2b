/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shared/whole-json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Control characters and a few others are escaped. */
static size_t string_length(const char *s, size_t size) {
        size_t n = 2;

        for (; size > 0; size--, s++)
                if (*s != '\0' && strchr("\b\n\r\t\f\"\\/", *s))
                        n += 2;
                else
                        n += (unsigned char)*s < ' ' ? strlen("\\u0000") : 1;
        return n;
}

static size_t text_length(json_object *o);

static size_t object_length(json_object *o) {
        size_t n = 2, members = 0;

        json_object_object_foreach(o, key, value) {
                n += string_length(key, strlen(key)) + 1 + text_length(value);
                members++;
        }
        return n + (members > 0 ? members - 1 : 0);
}

static size_t array_length(json_object *o) {
        size_t n = 2, members = json_object_array_length(o);

        for (size_t i = 0; i < members; i++)
                n += text_length(json_object_array_get_idx(o, i));
        return n + (members > 0 ? members - 1 : 0);
}

static size_t number_length(json_object *o) {
        int64_t number = json_object_get_int64(o);

        return (size_t)(number < 0 ? snprintf(NULL, 0, "%" PRId64, number)
                                   : snprintf(NULL, 0, "%" PRIu64, json_object_get_uint64(o)));
}

static size_t text_length(json_object *o) {
        switch (json_object_get_type(o)) {
        case json_type_object:
                return object_length(o);
        case json_type_array:
                return array_length(o);
        case json_type_string:
                return string_length(json_object_get_string(o),
                                     (size_t)json_object_get_string_len(o));
        case json_type_int:
                return number_length(o);
        case json_type_boolean:
                return strlen(json_object_get_boolean(o) ? "true" : "false");
        case json_type_null:
                return strlen("null");
        case json_type_double:
                break;
        }
        return 0;
}

const char *json_whole_text(json_object *o) {
        size_t length = 0;
        const char *text = o ? json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN, &length)
                             : NULL;

        return text && length == text_length(o) ? text : NULL;
}
