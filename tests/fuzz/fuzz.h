/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What every target needs. A target gets bytes that anybody might have written, has them read, and
 * asserts what has to hold of whatever was read: docs/fuzzing.md.
 */

#undef NDEBUG
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "util/strings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy with a NUL behind it. */
static inline char *fuzz_text(const uint8_t *data, size_t size) {
        char *text = malloc(size + 1);

        assert(text);
        if (size > 0)
                memcpy(text, data, size);
        text[size] = '\0';
        return text;
}
