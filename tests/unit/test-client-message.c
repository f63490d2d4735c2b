/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "client/message-json.h"
#include "message-fixture.h"

static void check_json(sd_bus_message *m, const char *expected) {
        _cleanup_json_ json_object *o = NULL;

        message_seal(m);
        assert_int_equal(message_to_json(m, &o), 0);
        assert_string_equal(json_object_to_json_string_ext(o,
                                                           JSON_C_TO_STRING_PLAIN |
                                                                   JSON_C_TO_STRING_NOSLASHESCAPE),
                            expected);
}

static void test_basic(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = message_new(*state);

        assert_true(sd_bus_message_append(m, "ybnqiuxtdsog", 255, 1, -2, 65535, -3, UINT32_MAX,
                                          INT64_MIN, UINT64_MAX, 0.5, "text \"quoted\"", "/a/b",
                                          "a{sv}") >= 0);
        check_json(m, "[255,true,-2,65535,-3,4294967295,-9223372036854775808,18446744073709551615,"
                      "0.5,\"text \\\"quoted\\\"\",\"/a/b\",\"a{sv}\"]");
}

static void test_containers(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = message_new(*state);

        assert_true(sd_bus_message_append(m, "as(us)a(ss)", 2, "a", "b", 1000, "dpdk", 1, "x",
                                          "y") >= 0);
        check_json(m, "[[\"a\",\"b\"],[1000,\"dpdk\"],[[\"x\",\"y\"]]]");
}

static void test_properties(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = message_new(*state);

        assert_true(sd_bus_message_append(m, "sa{sv}as", "org.dmaowner1.Lease", 3, "State", "s",
                                          "active", "Groups", "au", 2, 12, 13, "Owner", "(us)", 0,
                                          "me", 0) >= 0);
        check_json(m, "[\"org.dmaowner1.Lease\",{\"State\":\"active\",\"Groups\":[12,13],"
                      "\"Owner\":[0,\"me\"]},[]]");
}

static void test_nested(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = message_new(*state);

        assert_true(sd_bus_message_append(m, "aa{sv}a{oa{sa{sv}}}", 1, 1, "DeviceList", "aa{sv}", 1,
                                          1, "Name", "s", "0000:3b:00.0", 1, "/a", 1, "i", 1, "p",
                                          "b", 0) >= 0);
        check_json(m, "[[{\"DeviceList\":[{\"Name\":\"0000:3b:00.0\"}]}],"
                      "{\"/a\":{\"i\":{\"p\":false}}}]");
}

static void test_empty(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = message_new(*state);

        assert_true(sd_bus_message_append(m, "asa{sv}a{us}", 0, 0, 1, 5, "five") >= 0);
        check_json(m, "[[],{},{\"5\":\"five\"}]");
}

static void test_nothing(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = message_new(*state);

        check_json(m, "[]");
}

static void test_descriptor(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = message_new(*state);

        assert_true(sd_bus_message_append(m, "oah", "/a", 1, STDIN_FILENO) >= 0);
        check_json(m, "[\"/a\",[null]]");
}

static void test_members(void **state) {
        _cleanup_json_ json_object *o = json_tokener_parse(
                "{\"s\":\"text\",\"n\":18446744073709551615}");

        assert_non_null(o);
        assert_string_equal(json_string(o, "s"), "text");
        assert_string_equal(json_string(o, "missing"), "");
        assert_true(json_number(o, "n") == UINT64_MAX);
        assert_true(json_number(o, "missing") == 0);
        assert_null(json_member(o, "missing"));
        assert_string_equal(json_string(NULL, "s"), "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_basic),      cmocka_unit_test(test_containers),
                cmocka_unit_test(test_properties), cmocka_unit_test(test_nested),
                cmocka_unit_test(test_empty),      cmocka_unit_test(test_nothing),
                cmocka_unit_test(test_descriptor), cmocka_unit_test(test_members),
        };

        return cmocka_run_group_tests(tests, message_setup, message_teardown);
}
