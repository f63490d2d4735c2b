/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text on its way to a terminal, in the encoding of the locale. */

#include <stdbool.h>
#include <stddef.h>

/* A copy with a "?" for whatever a terminal would take as a command or cannot show: labels and
 * names of processes are chosen by other users. NULL on lack of memory. */
char *text_clean(const char *s);
/* Columns that a clean text takes. */
size_t text_width(const char *s);
/* A copy of a clean text that takes at most width columns; one that had to be cut ends in "…", or
 * in ".." without Unicode. NULL on lack of memory. */
char *text_cut(const char *s, size_t width, bool unicode);
