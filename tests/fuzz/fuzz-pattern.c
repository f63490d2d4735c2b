/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The patterns of policy match what fnmatch(3) matches that knows nothing but "*". The input: a pattern, a
 * newline, a text. */
#include "fuzz.h"

#include <fnmatch.h>

#include "core/device-match.h"

/* What else is special to fnmatch() is escaped. */
static char *for_fnmatch(const char *pattern) {
        char *escaped = malloc(2 * strlen(pattern) + 1), *to = escaped;

        assert(escaped);
        for (; *pattern; pattern++) {
                if (*pattern != '*')
                        *to++ = '\\';
                *to++ = *pattern;
        }
        *to = '\0';
        return escaped;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *pattern = fuzz_text(data, size), *escaped = NULL;
        char *text = strchr(pattern, '\n');

        if (!text)
                return 0;
        *text++ = '\0';
        escaped = for_fnmatch(pattern);
        assert(pattern_matches(pattern, text) == (fnmatch(escaped, text, 0) == 0));
        return 0;
}
