/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "client/history.h"
#include "client/message-json.h"
#include "core/audit-event.h"
#include "util/strings.h"

#define T0 1770088000000000ULL /* 2026-02-03 03:06:40 UTC */

static json_object *make_entry(AuditEvent event, const char *const *fields) {
        _cleanup_free_ char *id = str_format("MESSAGE_ID=%s", audit_event_id(event));
        json_object *entry = json_object_new_object();

        assert_int_equal(history_add_time(entry, T0), 0);
        assert_int_equal(history_add_field(entry, id, strlen(id)), 0);
        for (; *fields; fields++)
                assert_int_equal(history_add_field(entry, *fields, strlen(*fields)), 0);
        return entry;
}

static const char *const lease_fields[] = {
        "PRIORITY=6",
        "_BOOT_ID=b1",
        "DMAOWNER_LEASE=l7",
        "DMAOWNER_OWNER=dpdk",
        "DMAOWNER_UID=4200000000",
        "DMAOWNER_KIND=user",
        "DMAOWNER_DEVICES=0000:3b:00.0 0000:3b:00.1",
        "DMAOWNER_DEVICE=0000:3b:00.0",
        "DMAOWNER_DEVICE=0000:3b:00.1",
        "DMAOWNER_DEVICE=0000:3b:00.2",
        "DMAOWNER_GROUP=12",
        "DMAOWNER_GROUP=13",
        NULL,
};

static const char *const refusal_fields[] = {
        "PRIORITY=5",
        "_BOOT_ID=b2",
        "DMAOWNER_METHOD=Acquire",
        "DMAOWNER_CALLER_UID=4200000001",
        "DMAOWNER_REASON=no such thing",
        "DMAOWNER_ERROR=org.dmaowner1.Error.NoSuchDevice",
        NULL,
};

static void test_fields(void **state) {
        _cleanup_json_ json_object *e = make_entry(AUDIT_EVENT_GRANTED, lease_fields);

        assert_string_equal(json_string(e, "event"), "granted");
        assert_string_equal(json_string(e, "time"), "2026-02-03T03:06:40.000000Z");
        assert_string_equal(json_string(e, "lease"), "l7");
        assert_int_equal(json_number(e, "uid"), 4200000000);
        assert_int_equal(json_object_array_length(json_member(e, "devices")), 2);
        assert_int_equal(json_object_array_length(json_member(e, "group_devices")), 3);
        assert_string_equal(json_object_to_json_string_ext(json_member(e, "groups"),
                                                           JSON_C_TO_STRING_PLAIN),
                            "[12,13]");
}

/* Other programs' fields, and what is none at all. */
static void test_what_is_not_understood(void **state) {
        static const char *const odd[] = { "",
                                           "=",
                                           "=x",
                                           "NOTHING",
                                           "X=1",
                                           "DMAOWNER_UID=many",
                                           "DMAO=",
                                           "DMAOWNER_GROUP=",
                                           "MESSAGE_ID=0123456789abcdef0123456789abcdef" };
        _cleanup_json_ json_object *e = json_object_new_object();

        for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++)
                assert_int_equal(history_add_field(e, odd[i], strlen(odd[i])), 0);
        assert_int_equal(json_object_object_length(e), 0);
        /* fields end where the journal says, not with a zero */
        assert_int_equal(history_add_field(e, "DMAOWNER_LEASE=l77", strlen("DMAOWNER_LEASE=l7")), 0);
        assert_string_equal(json_string(e, "lease"), "l7");
}

static void test_about(void **state) {
        _cleanup_json_ json_object *lease = make_entry(AUDIT_EVENT_GRANTED, lease_fields);
        _cleanup_json_ json_object *refusal = make_entry(AUDIT_EVENT_REFUSED, refusal_fields);
        static const char *const yes[] = { "l7", "0000:3b:00.1", "0000:3b:00.2", "group:13" };
        static const char *const no[] = { "l", "l8", "0000:3b:00", "group:1", "group:", "dpdk" };

        for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++) {
                char *names[] = { (char *)"no such thing", (char *)yes[i] };

                assert_true(history_is_about(lease, names, 2));
                assert_false(history_is_about(refusal, names, 2));
        }
        for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
                assert_false(history_is_about(lease, &(char *){ (char *)no[i] }, 1));
        assert_true(history_is_about(lease, NULL, 0) && history_is_about(refusal, NULL, 0));
}

static void test_print(void **state) {
        _cleanup_json_ json_object *entries = json_object_new_array();
        const Look look = { .legend = true };
        char *text = NULL;
        size_t size;
        FILE *out;

        assert_int_equal(setenv("TZ", "UTC", 1), 0);
        tzset();
        assert_int_equal(json_object_array_add(entries,
                                               make_entry(AUDIT_EVENT_GRANTED, lease_fields)),
                         0);
        assert_int_equal(json_object_array_add(entries,
                                               make_entry(AUDIT_EVENT_REFUSED, refusal_fields)),
                         0);
        out = open_memstream(&text, &size);
        assert_non_null(out);
        assert_int_equal(history_print(entries, &look, out), 0);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(
                text,
                "TIME                 EVENT    LEASE  DEVICES                    WHO              NOTE\n"
                "2026-02-03 03:06:40  granted  l7     0000:3b:00.0 0000:3b:00.1  4200000000:dpdk  user\n"
                "                     (boot)\n"
                "2026-02-03 03:06:40  refused                                    4200000001       "
                "Acquire: no such thing\n");
        free(text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_fields),
                cmocka_unit_test(test_what_is_not_understood),
                cmocka_unit_test(test_about),
                cmocka_unit_test(test_print),
        };

        return cmocka_run_group_tests_name("client-history", tests, NULL, NULL);
}
