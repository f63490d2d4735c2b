/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How long an object's text has to be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shared/whole-json.h"

static void test_whole(void **state) {
        static const char *const texts[] = {
                "{}",
                "[]",
                "null",
                "true",
                "{\"a\":false,\"b\":[1,-23,0,9223372036854775807,18446744073709551615],\"c\":null}",
                "{\"text\":\"a\\/b \\\"quoted\\\" back\\\\slash\\n\\t\\u0001\\u001f\\u00e9 \xc3\xa9\"}",
                "[[[]],{\"x\":{\"y\":\"\"}}]",
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
                _cleanup_json_ json_object *o = json_tokener_parse(texts[i]);
                const char *text = json_whole_text(o);

                /* what has no text of its own is no text */
                if (!o)
                        assert_null(text);
                else
                        assert_string_equal(text,
                                            json_object_to_json_string_ext(o,
                                                                           JSON_C_TO_STRING_PLAIN));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_whole),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
