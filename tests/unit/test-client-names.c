/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "client/names.h"
#include "util/strings.h"

static void check_device(const char *typed, const char *expected) {
        _cleanup_free_ char *name = device_name_normalise(typed);

        assert_string_equal(name, expected);
}

static void test_device(void **state) {
        check_device("0000:3b:00.0", "0000:3b:00.0");
        check_device("3b:00.0", "0000:3b:00.0");
        check_device("3B:0F.7", "0000:3b:0f.7");
        check_device("ABCD:3B:00.0", "abcd:3b:00.0");
        /* of other buses, or nothing at all: the daemon says so */
        check_device("4A006000.ethernet", "4A006000.ethernet");
        check_device("3b:00", "3b:00");
        check_device("3b:00.0x", "3b:00.0x");
        check_device("3b:00.", "3b:00.");
        check_device("", "");
}

static void test_group(void **state) {
        unsigned id = 1;

        assert_true(group_name_parse("group:12", &id));
        assert_int_equal(id, 12);
        assert_true(group_name_parse("group:4294967295", &id));
        assert_int_equal(id, 4294967295U);
        assert_false(group_name_parse("group:4294967296", &id));
        assert_false(group_name_parse("group:", &id));
        assert_false(group_name_parse("group:-1", &id));
        assert_false(group_name_parse("12", &id));
        assert_int_equal(id, 4294967295U);
}

static void test_lease(void **state) {
        assert_true(lease_name_valid("l7"));
        assert_true(lease_name_valid("l1234567890"));
        assert_false(lease_name_valid("l"));
        assert_false(lease_name_valid("7"));
        assert_false(lease_name_valid("l7x"));
        assert_false(lease_name_valid("lo"));
        assert_false(lease_name_valid(""));
}

static void check_path(const char *path, const char *expected) {
        _cleanup_free_ char *text = object_path_describe(path);

        assert_string_equal(text, expected);
}

static void test_path(void **state) {
        check_path("/org/dmaowner1/group/12", "group 12");
        check_path("/org/dmaowner1/lease/l7", "lease l7");
        check_path("/org/dmaowner1/device/_30000_3a3b_3a00_2e0", "device 0000:3b:00.0");
        check_path("/org/dmaowner1", "/org/dmaowner1");
        check_path("/org/example/lease/l7", "/org/example/lease/l7");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_device),
                cmocka_unit_test(test_group),
                cmocka_unit_test(test_lease),
                cmocka_unit_test(test_path),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
