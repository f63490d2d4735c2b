/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/text.h"

#include <wchar.h>

#include "util/strings.h"

/* Bytes of the character at s, and its columns; 0 if it is none that can be shown. */
static size_t text_next(const char *s, size_t *ret_columns) {
        mbstate_t state = {};
        wchar_t c;
        size_t n;
        int columns;

        n = mbrtowc(&c, s, strlen(s), &state);
        if (n == 0 || n == (size_t)-1 || n == (size_t)-2)
                return 0;
        columns = wcwidth(c);
        if (columns < 0)
                return 0;
        *ret_columns = (size_t)columns;
        return n;
}

char *text_clean(const char *s) {
        char *clean = malloc(strlen(s) + 1);
        size_t columns, n, at = 0;

        if (!clean)
                return NULL;
        while (*s) {
                n = text_next(s, &columns);
                if (n == 0) {
                        clean[at++] = '?';
                        s++;
                        continue;
                }
                memcpy(clean + at, s, n);
                at += n;
                s += n;
        }
        clean[at] = '\0';
        return clean;
}

/* Bytes at the beginning of s that fit into limit columns. */
static size_t text_fitting(const char *s, size_t limit, size_t *ret_columns) {
        size_t bytes = 0, width = 0, columns, n;

        while (s[bytes]) {
                n = text_next(s + bytes, &columns);
                if (n == 0) {
                        n = 1;
                        columns = 1;
                }
                if (width + columns > limit)
                        break;
                width += columns;
                bytes += n;
        }
        *ret_columns = width;
        return bytes;
}

size_t text_width(const char *s) {
        size_t columns;

        (void)text_fitting(s, (size_t)-1, &columns);
        return columns;
}

char *text_cut(const char *s, size_t width, bool unicode) {
        const char *mark = unicode ? "…" : "..";
        size_t mark_width = unicode ? 1 : 2, bytes, columns;

        bytes = text_fitting(s, width, &columns);
        if (s[bytes] == '\0')
                return strdup(s);
        if (width < mark_width)
                return strndup(s, bytes);
        bytes = text_fitting(s, width - mark_width, &columns);
        return str_format("%.*s%s", (int)bytes, s, mark);
}
