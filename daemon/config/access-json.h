/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who may do what, as it is written in a policy file: dmaownerd.json(5). */

#include "config/json-text.h"
#include "core/access.h"

/* An entry, or a list of them, of "manage" or of "access". -EINVAL with the text's message set, or
 * -ENOMEM. */
int access_from_json(JsonText *t, const char *key, const JsonValue *value, bool manage,
                     AccessList *ret);
