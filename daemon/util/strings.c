/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/strings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int str_set(char **p, const char *s) {
        char *copy = NULL;

        if (s) {
                copy = strdup(s);
                if (!copy)
                        return -ENOMEM;
        }
        free(*p);
        *p = copy;
        return 0;
}

char *str_format(const char *fmt, ...) {
        va_list ap;
        char *s;
        int r;

        va_start(ap, fmt);
        r = vasprintf(&s, fmt, ap);
        va_end(ap);
        return r < 0 ? NULL : s;
}

int str_append(char **p, const char *fmt, ...) {
        _cleanup_free_ char *tail = NULL;
        char *joined;
        va_list ap;
        int r;

        va_start(ap, fmt);
        r = vasprintf(&tail, fmt, ap);
        va_end(ap);
        if (r < 0) {
                tail = NULL;
                return -ENOMEM;
        }
        joined = str_format("%s%s", *p ? *p : "", tail);
        if (!joined)
                return -ENOMEM;
        free(*p);
        *p = joined;
        return 0;
}

char **strv_free(char **v) {
        if (v)
                for (char **i = v; *i; i++)
                        free(*i);
        free(v);
        return NULL;
}

size_t strv_length(char *const *v) {
        size_t n = 0;

        if (v)
                while (v[n])
                        n++;
        return n;
}

bool strv_contains(char *const *v, const char *s) {
        if (v)
                for (; *v; v++)
                        if (strcmp(*v, s) == 0)
                                return true;
        return false;
}

int strv_extend(char ***v, const char *s) {
        size_t n = strv_length(*v);
        char **longer, *copy;

        copy = strdup(s);
        if (!copy)
                return -ENOMEM;
        longer = realloc(*v, (n + 2) * sizeof(char *));
        if (!longer) {
                free(copy);
                return -ENOMEM;
        }
        longer[n] = copy;
        longer[n + 1] = NULL;
        *v = longer;
        return 0;
}

char **strv_copy(char *const *v) {
        _cleanup_(strv_freep) char **copy = calloc(1, sizeof(char *));

        if (!copy)
                return NULL;
        for (; v && *v; v++)
                if (strv_extend(&copy, *v) < 0)
                        return NULL;
        return TAKE_PTR(copy);
}

char *strv_join(char *const *v, const char *sep) {
        char *s = strdup("");

        for (char *const *i = v; s && i && *i; i++)
                if (str_append(&s, "%s%s", i == v ? "" : sep, *i) < 0) {
                        free(s);
                        return NULL;
                }
        return s;
}

int parse_u64(const char *s, int base, unsigned long long *ret) {
        unsigned long long value;
        char *end;

        /* strtoull() takes signs and blanks, which no number of ours has */
        if (str_empty(s) ||
            strspn(s, base == 16 ? "0123456789abcdefABCDEFx" : "0123456789") != strlen(s))
                return -EINVAL;
        errno = 0;
        value = strtoull(s, &end, base);
        if (errno != 0)
                return -errno;
        if (*end != '\0')
                return -EINVAL;
        *ret = value;
        return 0;
}
