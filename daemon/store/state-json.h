/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Leases and groups as JSON, both ways. Version 1 of the format. */

#include "shared/step-json.h"
#include "store/store.h"
#include "util/json.h"

/* NULL on lack of memory. */
json_object *lease_to_json(const Lease *l);
json_object *group_to_json(const Group *g, const Step *step);

/* -EINVAL with the reason in *ret_why if it is not such an object, or one of a newer version. */
int stored_lease_from_json(json_object *o, StoredLease *ret, const char **ret_why);
int stored_group_from_json(json_object *o, StoredGroup *ret, const char **ret_why);
void stored_lease_clear(StoredLease *l);
void stored_group_clear(StoredGroup *g);
