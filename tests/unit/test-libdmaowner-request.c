/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "client/libdmaowner/request.h"
#include "message-fixture.h"

static void read_devices(sd_bus_message *m, const char *first, const char *second) {
        const char *a, *b = NULL;

        assert_true(sd_bus_message_enter_container(m, 'a', "s") > 0);
        assert_true(sd_bus_message_read_basic(m, 's', &a) > 0);
        assert_string_equal(a, first);
        if (second) {
                assert_true(sd_bus_message_read_basic(m, 's', &b) > 0);
                assert_string_equal(b, second);
        }
        assert_int_equal(sd_bus_message_at_end(m, false), 1);
        assert_true(sd_bus_message_exit_container(m) >= 0);
}

static void test_request_without_options(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = message_new(*state);
        _cleanup_(dmaowner_request_freep) dmaowner_request *q = NULL;
        const char *kind;

        assert_int_equal(dmaowner_request_new(&q, "user"), 0);
        assert_int_equal(dmaowner_request_add_device(q, "0000:00:03.0"), 0);
        assert_int_equal(dmaowner_request_add_device(q, "0000:00:04.0"), 0);
        assert_int_equal(dmaowner_request_append(q, m), 0);
        message_seal(m);
        assert_string_equal(sd_bus_message_get_signature(m, true), "assa{sv}");
        read_devices(m, "0000:00:03.0", "0000:00:04.0");
        assert_true(sd_bus_message_read_basic(m, 's', &kind) > 0);
        assert_string_equal(kind, "user");
        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        assert_int_equal(sd_bus_message_at_end(m, false), 1);
}

static void test_request_with_options(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = message_new(*state);
        _cleanup_(dmaowner_request_freep) dmaowner_request *q = NULL;
        const char *name, *kind, *text;
        struct stat theirs, ours;
        uint64_t ttl;
        int yes, fd, r, file = open("/dev/null", O_RDONLY | O_CLOEXEC);

        assert_int_equal(dmaowner_request_new(&q, "user"), 0);
        assert_int_equal(dmaowner_request_add_device(q, "a"), 0);
        assert_int_equal(dmaowner_request_begin_alternative(q), 0);
        assert_int_equal(dmaowner_request_add_device(q, "b"), 0);
        assert_int_equal(dmaowner_request_begin_alternative(q), 0);
        assert_int_equal(dmaowner_request_add_device(q, "c"), 0);
        assert_int_equal(dmaowner_request_set(q, "label", "s", "first"), 0);
        assert_int_equal(dmaowner_request_set(q, "force", "b", 1), 0);
        assert_int_equal(dmaowner_request_set(q, "pidfd", "h", file), 0);
        assert_int_equal(dmaowner_request_set(q, "label", "s", "second"), 0); /* in place of it */
        assert_int_equal(dmaowner_request_set(q, "ttl", "t", UINT64_C(60000000)), 0);
        assert_int_equal(dmaowner_request_set(q, "label", "as", "x"), -EINVAL);
        assert_int_equal(dmaowner_request_set(q, "label", "d", 0.5), -EINVAL);
        assert_int_equal(dmaowner_request_set(q, "pidfd", "h", -1), -EBADF);
        close(file); /* it has its own */
        assert_int_equal(dmaowner_request_append(q, m), 0);
        message_seal(m);

        read_devices(m, "a", NULL);
        assert_true(sd_bus_message_read_basic(m, 's', &kind) > 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        assert_true(sd_bus_message_enter_container(m, 'e', "sv") > 0);
        assert_true(sd_bus_message_read_basic(m, 's', &name) > 0);
        assert_string_equal(name, "alternatives");
        assert_true(sd_bus_message_enter_container(m, 'v', "aas") > 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "as") > 0);
        read_devices(m, "b", NULL);
        read_devices(m, "c", NULL);
        for (size_t i = 0; i < 3; i++)
                assert_true(sd_bus_message_exit_container(m) >= 0);
        r = sd_bus_message_read(m, "{sv}{sv}{sv}{sv}", &name, "s", &text, &name, "b", &yes, &name,
                                "h", &fd, &name, "t", &ttl);
        assert_true(r > 0);
        assert_string_equal(name, "ttl");
        assert_string_equal(text, "second");
        assert_int_equal(yes, 1);
        assert_true(ttl == 60000000);
        assert_int_equal(fstat(fd, &theirs), 0);
        assert_int_equal(stat("/dev/null", &ours), 0);
        assert_true(theirs.st_rdev == ours.st_rdev);
        assert_int_equal(sd_bus_message_at_end(m, false), 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_request_without_options),
                cmocka_unit_test(test_request_with_options),
        };

        return cmocka_run_group_tests(tests, message_setup, message_teardown);
}
