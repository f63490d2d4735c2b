/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <syslog.h>

#include <cmocka.h>

#include "core/audit-event.h"

static void test_ids(void **state) {
        for (int i = 0; i < _AUDIT_EVENT_MAX; i++) {
                const char *id = audit_event_id((AuditEvent)i);

                assert_int_equal(strlen(id), 32);
                assert_int_equal(strspn(id, "0123456789abcdef"), 32);
                assert_int_equal(audit_event_from_id(id), i);
                assert_int_equal(audit_event_from_string(audit_event_to_string((AuditEvent)i)), i);
                assert_in_range(audit_event_priority((AuditEvent)i), LOG_ERR, LOG_INFO);
        }
        assert_int_equal(audit_event_from_id("0123456789abcdef0123456789abcdef"),
                         _AUDIT_EVENT_INVALID);
        assert_int_equal(audit_event_from_id(NULL), _AUDIT_EVENT_INVALID);
        assert_null(audit_event_id(_AUDIT_EVENT_MAX));
        assert_null(audit_event_id(_AUDIT_EVENT_INVALID));
}

static void test_text_is_one_line(void **state) {
        char buffer[64];

        assert_string_equal(audit_text(buffer, sizeof(buffer), ""), "");
        assert_string_equal(audit_text(buffer, sizeof(buffer), "as it is"), "as it is");
        assert_string_equal(audit_text(buffer, sizeof(buffer), "a\n<0>Lease\x1b[2J\x7f"),
                            "a?<0>Lease?[2J?");
        assert_string_equal(audit_text(buffer, sizeof(buffer), "gr\xc3\xbc\xc3\x9f"),
                            "gr\xc3\xbc\xc3\x9f");
}

static void test_text_is_cut_between_characters(void **state) {
        char buffer[8];

        assert_string_equal(audit_text(buffer, sizeof(buffer), "1234567"), "1234567");
        assert_string_equal(audit_text(buffer, sizeof(buffer), "12345678"), "1234...");
        /* the fourth byte is the second of a character */
        assert_string_equal(audit_text(buffer, sizeof(buffer), "123\xc3\xbc-678"), "123...");
        assert_string_equal(audit_text(buffer, sizeof(buffer), "12\xc3\xbc-678"), "12\xc3\xbc...");
        /* nothing but what follows a first byte: whatever it is, it ends */
        assert_string_equal(audit_text(buffer, sizeof(buffer),
                                       "\xbc\xbc\xbc\xbc\xbc\xbc\xbc\xbc\xbc"),
                            "...");
}

/* A text may take the place of what it is made from. */
static void test_text_in_place(void **state) {
        char buffer[] = "a\tb";

        assert_string_equal(audit_text(buffer, sizeof(buffer), buffer), "a?b");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ids),
                cmocka_unit_test(test_text_is_one_line),
                cmocka_unit_test(test_text_is_cut_between_characters),
                cmocka_unit_test(test_text_in_place),
        };

        return cmocka_run_group_tests_name("core-audit-event", tests, NULL, NULL);
}
