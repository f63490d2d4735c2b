/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One rule as it is written in a policy file: dmaownerd.json(5). */

#include "config/json-text.h"
#include "core/policy.h"

/* -EINVAL with the text's message set, or -ENOMEM. */
int rule_from_json(JsonText *t, const JsonValue *value, Rule *ret);
