/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Steps and their obstacles as JSON, as docs/executor.md describes; also used by the store. */

#include <json-c/json.h>

#include "core/planner.h"
#include "core/step.h"

/* NULL on lack of memory. */
json_object *step_to_json(const Step *s);
/* -EINVAL with *ret_message (for people; may be NULL) if a member is missing, of the wrong type
 * or out of range. */
int step_from_json(json_object *o, Step *ret, char **ret_message);

json_object *obstacles_to_json(const Obstacles *o);
int obstacles_from_json(json_object *o, Obstacles *ret);

/* Members of an object; NULL, or -EINVAL if there is none of that type. */
const char *json_get_string(json_object *o, const char *name);
int json_get_uint(json_object *o, const char *name, unsigned long long max, unsigned long long *ret);
