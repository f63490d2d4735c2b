/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Entries of the journal about decisions of the daemon, as JSON and in words: docs/audit.md. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "client/output.h"

/* Takes a field of an entry over: "NAME=value", as the journal has it. What is no business of ours is left
 * out. 0 or -ENOMEM. */
int history_add_field(json_object *entry, const void *field, size_t size);
/* The time on the wall, in microseconds. 0 or -ENOMEM. */
int history_add_time(json_object *entry, uint64_t realtime);
/* Is it about one of these devices, leases ("l7") or groups ("group:12")? Without any: yes. */
bool history_is_about(json_object *entry, char *const *names, size_t n);
/* All of these, in order, one a line. 0 or a negative errno. */
int history_print(json_object *entries, const Look *look, FILE *out);
