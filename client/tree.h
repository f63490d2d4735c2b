/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <json-c/json.h>
#include <stdio.h>

#include "client/output.h"
#include "client/units.h"

/* The tree of "list": groups with DeviceList as ListGroups has them, and all leases. 0 or
 * -ENOMEM. */
int tree_print(json_object *groups, json_object *leases, const Clocks *now, const Look *look,
               FILE *out);
