/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/sim-json.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "util/strings.h"

#define FILE_MAX  (64u << 20)
#define DEPTH_MAX 16

/* "devices[3].group"; the outermost object has no name */
static char *place_to_string(const Place *at) {
        _cleanup_free_ char *up = NULL;

        if (!at)
                return strdup("");
        up = place_to_string(at->up);
        if (!up)
                return NULL;
        if (!at->key)
                return str_format("%s[%zu]", up, at->index);
        return str_format("%s%s%s", up, *up ? "." : "", at->key);
}

void reader_oom(Reader *rd) {
        if (rd->error == 0)
                rd->error = -ENOMEM;
}

void reader_fail(Reader *rd, const Place *at, const char *fmt, ...) {
        _cleanup_free_ char *place = NULL, *what = NULL;
        va_list ap;
        int r;

        if (rd->error != 0)
                return;
        va_start(ap, fmt);
        r = vasprintf(&what, fmt, ap);
        va_end(ap);
        if (r < 0)
                what = NULL;
        place = place_to_string(at);
        if (what && place)
                rd->message = str_format("%s: %s%s%s", rd->file, place, *place ? ": " : "", what);
        rd->error = rd->message ? -EINVAL : -ENOMEM;
}

static size_t line_of(const char *text, size_t offset) {
        size_t line = 1;

        for (size_t i = 0; i < offset; i++)
                if (text[i] == '\n')
                        line++;
        return line;
}

json_object *reader_parse(Reader *rd, const char *text, size_t length) {
        json_tokener *tokener;
        json_object *o;

        if (rd->error != 0)
                return NULL;
        tokener = json_tokener_new_ex(DEPTH_MAX);
        if (!tokener) {
                reader_oom(rd);
                return NULL;
        }
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        o = json_tokener_parse_ex(tokener, text, (int)length);
        if (json_tokener_get_error(tokener) == json_tokener_continue)
                reader_fail(rd, NULL, "line %zu: the text ends too early", line_of(text, length));
        else if (json_tokener_get_error(tokener) != json_tokener_success)
                reader_fail(rd, NULL, "line %zu: %s",
                            line_of(text, json_tokener_get_parse_end(tokener)),
                            json_tokener_error_desc(json_tokener_get_error(tokener)));
        else if (!json_object_is_type(o, json_type_object))
                reader_fail(rd, NULL, "expected an object {...}, found %s",
                            json_type_to_name(json_object_get_type(o)));
        json_tokener_free(tokener);
        if (rd->error != 0) {
                (void)json_object_put(o);
                return NULL;
        }
        return o;
}

static int read_whole(int fd, char *buffer, size_t size) {
        for (size_t done = 0; done < size;) {
                ssize_t n = read(fd, buffer + done, size - done);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n == 0)
                        return -EIO; /* became shorter while we read */
                if (n > 0)
                        done += (size_t)n;
        }
        return 0;
}

json_object *reader_parse_file(Reader *rd) {
        _cleanup_close_ int fd = open(rd->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        _cleanup_free_ char *text = NULL;
        struct stat st;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0) {
                r = -errno;
                reader_fail(rd, NULL, "cannot read it: %s", strerror(-r));
                rd->error = rd->message ? r : -ENOMEM;
                return NULL;
        }
        if (!S_ISREG(st.st_mode)) {
                reader_fail(rd, NULL, "expected a regular file");
                return NULL;
        }
        if (st.st_size > (off_t)FILE_MAX) {
                reader_fail(rd, NULL, "too big: at most %u MiB", FILE_MAX >> 20);
                return NULL;
        }
        text = malloc((size_t)st.st_size + 1);
        if (!text) {
                reader_oom(rd);
                return NULL;
        }
        r = read_whole(fd, text, (size_t)st.st_size);
        if (r < 0) {
                reader_fail(rd, NULL, "cannot read it: %s", strerror(-r));
                return NULL;
        }
        text[st.st_size] = '\0';
        return reader_parse(rd, text, (size_t)st.st_size);
}

json_object *reader_take(Reader *rd, const Place *at, json_object *o, const char *key,
                         json_type type) {
        const Place here = { .up = at, .key = key };
        json_object *value;

        if (rd->error != 0 || !json_object_object_get_ex(o, key, &value))
                return NULL;
        if (value && !json_object_is_type(value, type)) {
                reader_fail(rd, &here, "expected %s, found %s", json_type_to_name(type),
                            json_type_to_name(json_object_get_type(value)));
                return NULL;
        }
        value = json_object_get(value);
        json_object_object_del(o, key);
        return value;
}

void reader_string(Reader *rd, const Place *at, json_object *o, const char *key, char **p) {
        _cleanup_json_ json_object *value = reader_take(rd, at, o, key, json_type_string);
        const Place here = { .up = at, .key = key };

        if (!value)
                return;
        if (strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value))
                reader_fail(rd, &here, "expected a string without \\u0000");
        else if (str_set(p, json_object_get_string(value)) < 0)
                reader_oom(rd);
}

void reader_strings(Reader *rd, const Place *at, json_object *o, const char *key, char ***p) {
        _cleanup_json_ json_object *value = reader_take(rd, at, o, key, json_type_array);
        _cleanup_(strv_freep) char **v = NULL;

        if (!value)
                return;
        for (size_t i = 0; i < json_object_array_length(value); i++) {
                json_object *item = json_object_array_get_idx(value, i);
                const Place list = { .up = at, .key = key }, here = { .up = &list, .index = i };

                if (!json_object_is_type(item, json_type_string)) {
                        reader_fail(rd, &here, "expected string, found %s",
                                    json_type_to_name(json_object_get_type(item)));
                        return;
                }
                if (strv_extend(&v, json_object_get_string(item)) < 0) {
                        reader_oom(rd);
                        return;
                }
        }
        (void)strv_free(*p);
        *p = TAKE_PTR(v);
}

void reader_bool(Reader *rd, const Place *at, json_object *o, const char *key, bool *p) {
        _cleanup_json_ json_object *value = reader_take(rd, at, o, key, json_type_boolean);

        if (value)
                *p = json_object_get_boolean(value);
}

bool reader_int(Reader *rd, const Place *at, json_object *o, const char *key, int64_t min,
                int64_t max, int64_t *p) {
        _cleanup_json_ json_object *value = reader_take(rd, at, o, key, json_type_int);
        const Place here = { .up = at, .key = key };
        int64_t v;

        if (!value)
                return false;
        v = json_object_get_int64(value);
        if (v < min || v > max) {
                reader_fail(rd, &here, "expected a number from %lld to %lld, found %lld",
                            (long long)min, (long long)max, (long long)v);
                return false;
        }
        *p = v;
        return true;
}

bool reader_digits(Reader *rd, const Place *at, json_object *o, const char *key, int base,
                   uint64_t max, uint64_t *p) {
        _cleanup_json_ json_object *value = reader_take(rd, at, o, key, json_type_string);
        const Place here = { .up = at, .key = key };
        unsigned long long v;

        if (!value)
                return false;
        if (parse_u64(json_object_get_string(value), base, &v) < 0 || v > max) {
                reader_fail(rd, &here,
                            base == 16 ? "expected hexadecimal digits up to \"%llx\", found \"%s\""
                                       : "expected octal digits up to \"%llo\", found \"%s\"",
                            (unsigned long long)max, json_object_get_string(value));
                return false;
        }
        *p = v;
        return true;
}

void reader_errno(Reader *rd, const Place *at, json_object *o, const char *key, int *p) {
        _cleanup_free_ char *name = NULL;
        const Place here = { .up = at, .key = key };

        reader_string(rd, at, o, key, &name);
        if (!name || rd->error != 0)
                return;
        for (int e = 1; e < 256; e++)
                if (str_eq(strerrorname_np(e), name)) {
                        *p = e;
                        return;
                }
        reader_fail(rd, &here, "expected the name of an errno like \"EBUSY\", found \"%s\"", name);
}

void reader_each(Reader *rd, const Place *at, json_object *o, const char *key, ReaderEach f,
                 void *userdata) {
        _cleanup_json_ json_object *list = reader_take(rd, at, o, key, json_type_array);
        const Place place = { .up = at, .key = key };

        if (!list)
                return;
        for (size_t i = 0; i < json_object_array_length(list) && rd->error == 0; i++) {
                json_object *item = json_object_array_get_idx(list, i);
                const Place here = { .up = &place, .index = i };

                if (json_object_is_type(item, json_type_object))
                        f(rd, &here, item, userdata);
                else
                        reader_fail(rd, &here, "expected object, found %s",
                                    json_type_to_name(json_object_get_type(item)));
        }
}

void reader_end(Reader *rd, const Place *at, json_object *o) {
        struct json_object_iterator i = json_object_iter_begin(o), end = json_object_iter_end(o);

        if (!json_object_iter_equal(&i, &end))
                reader_fail(rd, at, "unknown key \"%s\"", json_object_iter_peek_name(&i));
}
