/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What goes to stdout: tables for people, JSON for programs. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "util/cleanup.h"

typedef struct Look {
        size_t width; /* columns of the terminal, 0: no limit */
        bool unicode;
        bool colour;
        bool legend;
} Look;

/* By what stdout and the locale are: no colour, no Unicode and no limit in a pipe. */
Look look_of_stdout(bool legend);

typedef enum Colour {
        COLOUR_NONE,
        COLOUR_BOLD,
        COLOUR_DIM,
        COLOUR_GOOD,
        COLOUR_PENDING,
        COLOUR_BAD,
        _COLOUR_MAX,
} Colour;

typedef struct Column {
        const char *title;
        size_t min;    /* may be cut down to this many columns; 0: is never cut */
        unsigned rank; /* when there is no room, the highest goes first; 0: stays */
} Column;

typedef struct Cell {
        char *text;
        Colour colour;
} Cell;

typedef struct Table {
        const Column *columns;
        size_t n_columns;
        Cell *cells; /* row by row */
        size_t n_cells, n_allocated;
} Table;

#define TABLE_COLUMNS_MAX 10

/* columns is an array of at most TABLE_COLUMNS_MAX that is kept, not copied. */
#define TABLE_INIT(_columns) \
        ((Table){ .columns = (_columns), .n_columns = sizeof(_columns) / sizeof(*(_columns)) })

void table_clear(Table *t);
#define _cleanup_table_ _cleanup_(table_clear)

/* The next cell, from left to right, row after row. text may be NULL. 0 or -ENOMEM. */
int table_add(Table *t, Colour colour, const char *text);
/* Columns without any text are left out. 0 or -ENOMEM. */
int table_print(const Table *t, const Look *look, FILE *out);

/* Changes widths, of n columns, so that they fit into limit: 0 is a column that is left out. */
void columns_fit(const Column *columns, size_t n, size_t limit, size_t *widths);

typedef enum JsonStyle {
        JSON_NONE,
        JSON_SHORT,
        JSON_PRETTY,
} JsonStyle;

void json_print(json_object *o, JsonStyle style);
