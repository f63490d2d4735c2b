/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/output.h"

#include <assert.h>
#include <langinfo.h>
#include <sys/ioctl.h>

#include "client/text.h"
#include "util/strings.h"

#define COLUMN_GAP 2

static const char *const colour_codes[_COLOUR_MAX] = {
        [COLOUR_NONE] = "",         [COLOUR_BOLD] = "\x1b[1m",     [COLOUR_DIM] = "\x1b[2m",
        [COLOUR_GOOD] = "\x1b[32m", [COLOUR_PENDING] = "\x1b[33m", [COLOUR_BAD] = "\x1b[1;31m",
};

/* $COLUMNS goes before the terminal, so that a person can ask for a width in a pipe too. */
static size_t stdout_width(void) {
        const char *wished = getenv("COLUMNS");
        unsigned long long columns;
        struct winsize size;

        if (wished && parse_u64(wished, 10, &columns) == 0 && columns > 0)
                return (size_t)columns;
        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
                return size.ws_col;
        return 0;
}

Look look_of_stdout(bool legend) {
        bool terminal = isatty(STDOUT_FILENO), dumb = str_eq(getenv("TERM"), "dumb");

        return (Look){
                .width = stdout_width(),
                .unicode = terminal && str_eq(nl_langinfo(CODESET), "UTF-8"),
                .colour = terminal && !dumb && str_empty(getenv("NO_COLOR")),
                .legend = legend,
        };
}

void table_clear(Table *t) {
        for (size_t i = 0; i < t->n_cells; i++)
                free(t->cells[i].text);
        free(t->cells);
        *t = (Table){ .columns = t->columns, .n_columns = t->n_columns };
}

int table_add(Table *t, Colour colour, const char *text) {
        char *clean;

        if (t->n_cells == t->n_allocated) {
                size_t n = t->n_allocated ? 2 * t->n_allocated : 64;
                Cell *cells = reallocarray(t->cells, n, sizeof(Cell));

                if (!cells)
                        return -ENOMEM;
                t->cells = cells;
                t->n_allocated = n;
        }
        clean = text_clean(text ? text : "");
        if (!clean)
                return -ENOMEM;
        t->cells[t->n_cells++] = (Cell){ .text = clean, .colour = colour };
        return 0;
}

static size_t widths_sum(const size_t *widths, size_t n) {
        size_t sum = 0;

        for (size_t i = 0; i < n; i++)
                if (widths[i] > 0)
                        sum += widths[i] + (sum > 0 ? COLUMN_GAP : 0);
        return sum;
}

/* The widest column that may still be cut, n if there is none. */
static size_t columns_widest(const Column *columns, size_t n, const size_t *widths) {
        size_t best = n;

        for (size_t i = 0; i < n; i++)
                if (columns[i].min > 0 && widths[i] > columns[i].min &&
                    (best == n || widths[i] > widths[best]))
                        best = i;
        return best;
}

/* The shown column that goes first, n if all have to stay. */
static size_t columns_least(const Column *columns, size_t n, const size_t *widths) {
        size_t least = n;

        for (size_t i = 0; i < n; i++)
                if (widths[i] > 0 && columns[i].rank > 0 &&
                    (least == n || columns[i].rank > columns[least].rank))
                        least = i;
        return least;
}

/* How narrow a column can get. */
static size_t column_least_width(const Column *c, size_t width) {
        return c->min > 0 && width > c->min ? c->min : width;
}

void columns_fit(const Column *columns, size_t n, size_t limit, size_t *widths) {
        size_t narrow[TABLE_COLUMNS_MAX], i;

        assert(n <= TABLE_COLUMNS_MAX);
        for (;;) {
                for (i = 0; i < n; i++)
                        narrow[i] = column_least_width(&columns[i], widths[i]);
                i = columns_least(columns, n, widths);
                if (widths_sum(narrow, n) <= limit || i == n)
                        break;
                widths[i] = 0;
        }
        while (widths_sum(widths, n) > limit) {
                i = columns_widest(columns, n, widths);
                if (i == n) /* what has to stay is too wide: the end of the line is cut off */
                        return;
                widths[i]--;
        }
}

static void table_measure(const Table *t, const Look *look, size_t *widths) {
        assert(t->n_columns <= TABLE_COLUMNS_MAX);
        for (size_t i = 0; i < t->n_columns; i++)
                widths[i] = 0;
        for (size_t i = 0; i < t->n_cells; i++) {
                size_t w = text_width(t->cells[i].text), *widest = &widths[i % t->n_columns];

                *widest = w > *widest ? w : *widest;
        }
        for (size_t i = 0; look->legend && i < t->n_columns; i++) {
                size_t w = text_width(t->columns[i].title);

                if (widths[i] > 0 && w > widths[i])
                        widths[i] = w;
        }
        if (look->width > 0)
                columns_fit(t->columns, t->n_columns, look->width, widths);
}

static int row_print(const Cell *cells, size_t n, const size_t *widths, const Look *look,
                     FILE *out) {
        size_t at = 0, pending = 0;

        for (size_t i = 0; i < n; i++) {
                bool coloured = look->colour && cells[i].colour != COLOUR_NONE;
                _cleanup_free_ char *text = NULL;
                size_t room = widths[i];

                if (widths[i] == 0)
                        continue;
                if (look->width > 0 && at + room > look->width)
                        room = at < look->width ? look->width - at : 0;
                text = text_cut(cells[i].text, room, look->unicode);
                if (!text)
                        return -ENOMEM;
                /* blanks only before text: no line ends in them */
                if (*text) {
                        fprintf(out, "%*s%s%s%s", (int)pending, "",
                                coloured ? colour_codes[cells[i].colour] : "", text,
                                coloured ? "\x1b[0m" : "");
                        pending = 0;
                }
                pending += widths[i] - text_width(text) + COLUMN_GAP;
                at += widths[i] + COLUMN_GAP;
        }
        fputc('\n', out);
        return 0;
}

int table_print(const Table *t, const Look *look, FILE *out) {
        size_t widths[TABLE_COLUMNS_MAX];
        int r;

        table_measure(t, look, widths);
        if (look->legend) {
                Cell titles[TABLE_COLUMNS_MAX];

                for (size_t i = 0; i < t->n_columns; i++)
                        titles[i] = (Cell){ .text = (char *)t->columns[i].title,
                                            .colour = COLOUR_BOLD };
                r = row_print(titles, t->n_columns, widths, look, out);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i + t->n_columns <= t->n_cells; i += t->n_columns) {
                r = row_print(t->cells + i, t->n_columns, widths, look, out);
                if (r < 0)
                        return r;
        }
        return 0;
}

void json_print(json_object *o, JsonStyle style) {
        int flags = style == JSON_PRETTY ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED
                                         : JSON_C_TO_STRING_PLAIN;
        const char *text = json_object_to_json_string_ext(o, flags | JSON_C_TO_STRING_NOSLASHESCAPE);

        puts(text ? text : "null");
}
