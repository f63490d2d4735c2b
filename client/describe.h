/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Objects of the daemon, as JSON, in words for people. Strings are NULL on lack of memory. */

#include <json-c/json.h>
#include <stdio.h>

#include "client/output.h"
#include "client/units.h"

/* Adds created_at and expires_at, the time on the wall (null: never). 0 or -ENOMEM. */
int lease_add_times(json_object *lease, const Clocks *now);

/* (1000, "dpdk") as "alice:dpdk" */
char *owner_describe(json_object *owner);
/* A value for a line of its own: lists with blanks between, yes and no. */
char *value_describe(json_object *value);
/* The same for a property of o, by what its name means. */
char *property_describe(json_object *o, const char *name, json_object *value, const Clocks *now);
/* All properties of a group, device or lease, one a line. 0 or -ENOMEM. */
int properties_print(json_object *properties, const Clocks *now, const Look *look, FILE *out);

/* Of a group or a lease. */
Colour state_colour(const char *state);
