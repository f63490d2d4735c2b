/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "client/libdmaowner/properties.h"
#include "message-fixture.h"
#include "util/strings.h"

static void test_properties_are_taken_over(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = message_new(*state),
                                                        *later = message_new(*state);
        Properties p = {};

        assert_true(sd_bus_message_append(m, "a{sv}", 7, "Id", "s", "l7", "State", "s",
                                          "activating", "Groups", "au", 1, 12, "Devices", "as", 2,
                                          "a", "b", "Expires", "t", UINT64_MAX, "Failure", "(ss)",
                                          "name", "message", "Revocation", "(st)", "why",
                                          UINT64_C(5)) >= 0);
        message_seal(m);
        assert_int_equal(properties_read(&p, m), 0);
        assert_string_equal(p.id, "l7");
        assert_string_equal(p.state, "activating");
        assert_string_equal(p.devices[0], "a");
        assert_string_equal(p.devices[1], "b");
        assert_null(p.devices[2]);
        assert_true(p.expires == UINT64_MAX);
        assert_string_equal(p.failure_name, "name");
        assert_string_equal(p.failure_message, "message");
        assert_string_equal(p.revocation, "why");
        assert_int_equal(p.revocation_at, 5);

        /* what does not come stays, what does is replaced */
        assert_true(sd_bus_message_append(later, "a{sv}", 2, "State", "s", "active", "Devices",
                                          "as", 0) >= 0);
        message_seal(later);
        assert_int_equal(properties_read(&p, later), 0);
        assert_string_equal(p.id, "l7");
        assert_string_equal(p.state, "active");
        assert_true(!p.devices || !p.devices[0]);
        properties_clear(&p);
        assert_null(p.id);
}

/* Of a daemon of another version, or of none. */
static void test_properties_of_a_wrong_type(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = message_new(*state),
                                                        *other = message_new(*state);
        Properties p = {};

        assert_true(sd_bus_message_append(m, "a{sv}", 1, "State", "u", 7) >= 0);
        message_seal(m);
        assert_int_equal(properties_read(&p, m), -EBADMSG);
        assert_true(sd_bus_message_append(other, "as", 1, "State") >= 0);
        message_seal(other);
        assert_true(properties_read(&p, other) < 0);
        properties_clear(&p);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_properties_are_taken_over),
                cmocka_unit_test(test_properties_of_a_wrong_type),
        };

        return cmocka_run_group_tests(tests, message_setup, message_teardown);
}
