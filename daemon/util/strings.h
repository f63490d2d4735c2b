/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "util/cleanup.h"

/* NULL and "" are the same "nothing" wherever the kernel or a caller may leave a name out. */
static inline bool str_empty(const char *s) {
        return !s || !*s;
}

static inline bool str_eq(const char *a, const char *b) {
        return str_empty(a) ? str_empty(b) : !str_empty(b) && strcmp(a, b) == 0;
}

static inline bool str_starts(const char *s, const char *prefix) {
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Replaces *p by a copy of s (NULL stays NULL). 0 or -ENOMEM; *p is untouched on failure. */
int str_set(char **p, const char *s);

/* Like asprintf(), but returns the string or NULL. */
char *str_format(const char *fmt, ...) _printf_(1, 2);

/* Appends formatted text to *p (which may be NULL). 0 or -ENOMEM. */
int str_append(char **p, const char *fmt, ...) _printf_(2, 3);

/* A NULL-terminated array of strings. */
char **strv_free(char **v);
DEFINE_CLEANUP(char **, strv_free);
size_t strv_length(char *const *v);
bool strv_contains(char *const *v, const char *s);
char **strv_copy(char *const *v);
/* Appends a copy of s. 0 or -ENOMEM. */
int strv_extend(char ***v, const char *s);
/* All strings with sep between them; NULL on lack of memory. */
char *strv_join(char *const *v, const char *sep);

/* Parses a whole unsigned decimal or, with base 16, hexadecimal number. 0, -EINVAL or -ERANGE. */
int parse_u64(const char *s, int base, unsigned long long *ret);
