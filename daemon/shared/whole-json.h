/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* json-c leaves out of an object's text what it has no memory for, and says nothing. */

#include "util/json.h"

/* The object's text, which it owns; NULL: no memory for all of it. Without doubles. */
const char *json_whole_text(json_object *o);
