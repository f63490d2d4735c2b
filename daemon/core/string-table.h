/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Defines NAME_to_string() and NAME_from_string() over a table that is indexed by the enum. */

#include <stddef.h>
#include <string.h>

#define DEFINE_STRING_TABLE(name, type, table, invalid)                                    \
        const char *name##_to_string(type value) {                                         \
                if ((int)value < 0 || (size_t)value >= sizeof(table) / sizeof((table)[0])) \
                        return NULL;                                                       \
                return (table)[value];                                                     \
        }                                                                                  \
        type name##_from_string(const char *s) {                                           \
                for (size_t i = 0; s && i < sizeof(table) / sizeof((table)[0]); i++)       \
                        if (strcmp(s, (table)[i]) == 0)                                    \
                                return (type)i;                                            \
                return invalid;                                                            \
        }                                                                                  \
        struct name##_table_wants_a_semicolon
