/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <json-c/json.h>

#include "util/cleanup.h"

static inline void json_releasep(json_object **o) {
        if (*o)
                json_object_put(*o);
}

#define _cleanup_json_ _cleanup_(json_releasep)
