/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config/json-text.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util/json.h"
#include "util/strings.h"

#define DEPTH_MAX 16

static void tokener_freep(struct json_tokener **t) {
        if (*t)
                json_tokener_free(*t);
}

void json_text_clear(JsonText *t) {
        free(t->message);
        *t = (JsonText){};
}

unsigned json_text_line(const JsonText *t, size_t at) {
        unsigned line = 1;

        for (size_t i = 0; i < at && i < t->size; i++)
                if (t->text[i] == '\n')
                        line++;
        return line;
}

/* In characters: the bytes that go on with one are not counted. */
static unsigned column(const JsonText *t, size_t at) {
        unsigned n = 1;

        for (size_t i = at; i > 0 && t->text[i - 1] != '\n'; i--)
                if (((unsigned char)t->text[i - 1] & 0xc0) != 0x80)
                        n++;
        return n;
}

int json_text_fail(JsonText *t, size_t at, const char *fmt, ...) {
        _cleanup_free_ char *what = NULL;
        va_list ap;
        int n;

        if (t->message)
                return -EINVAL;
        if (at > t->size)
                at = t->size;
        va_start(ap, fmt);
        n = vasprintf(&what, fmt, ap);
        va_end(ap);
        if (n < 0) {
                what = NULL;
                return -ENOMEM;
        }
        t->message = str_format("%s:%u:%u: %s", t->name, json_text_line(t, at), column(t, at), what);
        return t->message ? -EINVAL : -ENOMEM;
}

static int fail_syntax(JsonText *t, struct json_tokener *tokener) {
        enum json_tokener_error error = json_tokener_get_error(tokener);
        size_t at = json_tokener_get_parse_end(tokener);

        if (error == json_tokener_error_parse_eof)
                return json_text_fail(t, t->size, "the file ends before the JSON is complete");
        if (error == json_tokener_error_depth)
                return json_text_fail(t, at, "nested deeper than any policy is");
        return json_text_fail(t, at, "this is not JSON: %s", json_tokener_error_desc(error));
}

/* Reads one value and says where it ends; what comes after it is nobody's business here. */
static int read_value(JsonText *t, size_t at, int flags, JsonValue *ret, size_t *ret_end) {
        _cleanup_(tokener_freep) struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
        json_object *o;

        if (!tokener)
                return -ENOMEM;
        json_tokener_set_flags(tokener, flags | JSON_TOKENER_VALIDATE_UTF8);
        o = json_tokener_parse_ex(tokener, t->text + at, (int)(t->size - at));
        /* a number might go on until it is seen what follows; no file goes on */
        if (json_tokener_get_error(tokener) == json_tokener_continue)
                o = json_tokener_parse_ex(tokener, "", -1);
        if (json_tokener_get_error(tokener) != json_tokener_success) {
                json_object_put(o);
                return fail_syntax(t, tokener);
        }
        *ret = (JsonValue){ .o = o, .at = at };
        *ret_end = at + json_tokener_get_parse_end(tokener);
        return 0;
}

static size_t skip_space(const JsonText *t, size_t at) {
        while (at < t->size && strchr(" \t\r\n", t->text[at]))
                at++;
        return at;
}

int json_text_read(JsonText *t, const char *name, const char *text, size_t size, JsonValue *ret) {
        JsonValue value;
        size_t end;
        int r;

        *t = (JsonText){ .name = name, .text = text, .size = size };
        if (size > INT_MAX)
                return json_text_fail(t, 0, "the file is too long");
        if (memchr(text, '\0', size))
                return json_text_fail(t, strlen(text), "a null byte is not JSON");
        if (skip_space(t, 0) == size)
                return json_text_fail(t, 0, "the file is empty");
        r = read_value(t, 0, JSON_TOKENER_STRICT, &value, &end);
        if (r < 0)
                return r;
        value.at = skip_space(t, 0);
        *ret = value;
        return 0;
}

/* What follows has been read as a part of the whole already: the syntax is right. */

int json_text_items(JsonText *t, const JsonValue *array, JsonItem take, void *userdata) {
        size_t at = skip_space(t, array->at + 1);

        while (t->text[at] != ']') {
                _cleanup_json_ json_object *released = NULL;
                JsonValue item;
                int r;

                r = read_value(t, at, 0, &item, &at);
                if (r < 0)
                        return r;
                released = item.o;
                r = take(t, &item, userdata);
                if (r < 0)
                        return r;
                at = skip_space(t, at);
                if (t->text[at] == ',')
                        at = skip_space(t, at + 1);
        }
        return 0;
}

/* The member at *at; moves on to the next. */
static int take_member(JsonText *t, size_t *at, char ***keys, JsonMember take, void *userdata) {
        _cleanup_json_ json_object *name = NULL, *released = NULL;
        JsonValue key, value;
        const char *text;
        int r;

        if (t->text[*at] != '"') /* json-c takes others, too */
                return json_text_fail(t, *at, "a key has to stand in double quotes");
        r = read_value(t, *at, 0, &key, at);
        if (r < 0)
                return r;
        name = key.o;
        text = json_value_string(&key);
        if (!text)
                return json_text_fail(t, key.at, "a key may not have a null character");
        if (strv_contains(*keys, text))
                return json_text_fail(t, key.at, "the key \"%s\" is there twice", text);
        r = strv_extend(keys, text);
        if (r < 0)
                return r;
        *at = skip_space(t, skip_space(t, *at) + 1);
        r = read_value(t, *at, 0, &value, at);
        if (r < 0)
                return r;
        released = value.o;
        return take(t, text, key.at, &value, userdata);
}

int json_text_members(JsonText *t, const JsonValue *object, JsonMember take, void *userdata) {
        _cleanup_(strv_freep) char **keys = NULL;
        size_t at = skip_space(t, object->at + 1);

        while (t->text[at] != '}') {
                int r = take_member(t, &at, &keys, take, userdata);

                if (r < 0)
                        return r;
                at = skip_space(t, at);
                if (t->text[at] == ',')
                        at = skip_space(t, at + 1);
        }
        return 0;
}

const char *json_value_kind(const JsonValue *v) {
        switch (json_object_get_type(v->o)) {
        case json_type_null:
                return "null";
        case json_type_boolean:
                return "true or false";
        case json_type_double:
        case json_type_int:
                return "a number";
        case json_type_object:
                return "an object";
        case json_type_array:
                return "a list";
        case json_type_string:
                return "a string";
        }
        return "something else";
}

const char *json_value_string(const JsonValue *v) {
        const char *s;

        if (!json_object_is_type(v->o, json_type_string))
                return NULL;
        s = json_object_get_string(v->o);
        return strlen(s) == (size_t)json_object_get_string_len(v->o) ? s : NULL;
}
