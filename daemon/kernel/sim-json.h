/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Reading JSON that people write: topologies, faults, events. A reader takes members out of
 * their object, so what is left over is what nobody knows. The first error sticks: the functions
 * do nothing after it, and one look at Reader.error at the end is enough. Messages say the file,
 * the place in it and what was expected there.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/cleanup.h"
#include "util/json.h"

typedef struct Reader {
        const char *file;
        int error; /* 0, -EINVAL (with message) or another negative errno */
        char *message;
} Reader;

/* Where in the file: a chain up to the outermost object, which is NULL. */
typedef struct Place {
        const struct Place *up;
        const char *key; /* NULL: the element index of an array */
        size_t index;
} Place;

/* Parses text; NULL with the error set if it is not one JSON object. */
json_object *reader_parse(Reader *rd, const char *text, size_t length);
/* The same for the file Reader.file, which may be up to 64 MiB. */
json_object *reader_parse_file(Reader *rd);

void reader_fail(Reader *rd, const Place *at, const char *fmt, ...) _printf_(3, 4);
void reader_oom(Reader *rd);

/* The member, taken out of the object, or NULL: it is not there, is null, or (an error) has
 * another type. */
json_object *reader_take(Reader *rd, const Place *at, json_object *o, const char *key,
                         json_type type);
/* These leave *p alone if there is no such member. */
void reader_string(Reader *rd, const Place *at, json_object *o, const char *key, char **p);
void reader_strings(Reader *rd, const Place *at, json_object *o, const char *key, char ***p);
void reader_bool(Reader *rd, const Place *at, json_object *o, const char *key, bool *p);
/* True if the member was there and in range. */
bool reader_int(Reader *rd, const Place *at, json_object *o, const char *key, int64_t min,
                int64_t max, int64_t *p);
/* A string of digits of that base ("8086", "0600"). */
bool reader_digits(Reader *rd, const Place *at, json_object *o, const char *key, int base,
                   uint64_t max, uint64_t *p);
/* The name of an errno ("EBUSY"). */
void reader_errno(Reader *rd, const Place *at, json_object *o, const char *key, int *p);

/* Calls f for each object of an array member. */
typedef void (*ReaderEach)(Reader *rd, const Place *at, json_object *o, void *userdata);
void reader_each(Reader *rd, const Place *at, json_object *o, const char *key, ReaderEach f,
                 void *userdata);

/* Whatever is left in the object is an error. */
void reader_end(Reader *rd, const Place *at, json_object *o);
