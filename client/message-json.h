/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* D-Bus messages as JSON, which is what all verbs work on and what --json prints. */

#include <systemd/sd-bus.h>

#include <json-c/json.h>
#include <stdint.h>

#include "util/json.h"

/* The arguments of a message as an array. Dictionaries become objects, structures arrays, variants
 * what they contain; a descriptor becomes null. 0 or a negative errno. */
int message_to_json(sd_bus_message *m, json_object **ret);

/* Members of an object; "", 0 or NULL if there is none. */
const char *json_string(json_object *o, const char *name);
uint64_t json_number(json_object *o, const char *name);
json_object *json_member(json_object *o, const char *name);
