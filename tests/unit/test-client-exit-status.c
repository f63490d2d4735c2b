/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "client/exit-status.h"

static void test_names(void **state) {
        static const struct {
                const char *name;
                int status;
        } errors[] = {
                { "org.dmaowner1.Error.Busy", 3 },
                { "org.dmaowner1.Error.Quarantined", 3 },
                { "org.dmaowner1.Error.NotViable", 4 },
                { "org.dmaowner1.Error.InUse", 4 },
                { "org.dmaowner1.Error.TimedOut", 6 },
                { "org.dmaowner1.Error.KernelRefused", 1 },
                { "org.dmaowner1.Error.NoSuchDevice", 1 },
                { "org.dmaowner1.Error.Lost", 1 },
                { "org.freedesktop.DBus.Error.InvalidArgs", 2 },
                { "org.freedesktop.DBus.Error.AccessDenied", 5 },
                { "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", 5 },
                { "org.freedesktop.DBus.Error.ServiceUnknown", 7 },
                { "org.freedesktop.DBus.Error.NameHasNoOwner", 7 },
                { "org.freedesktop.DBus.Error.NoReply", 7 },
                { "org.freedesktop.DBus.Error.Spawn.ChildExited", 7 },
                { "org.freedesktop.systemd1.NoSuchUnit", 7 },
                { "org.freedesktop.DBus.Error.Failed", 1 },
                { "org.dmaowner1.Error.BusyBody", 1 },
                { "", 1 },
                { NULL, 1 },
        };

        for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
                assert_int_equal(status_from_error(errors[i].name), errors[i].status);
}

static void test_hints(void **state) {
        assert_non_null(hint_from_error("org.freedesktop.DBus.Error.ServiceUnknown"));
        assert_non_null(hint_from_error("org.dmaowner1.Error.Busy"));
        assert_non_null(hint_from_error("org.freedesktop.DBus.Error.AccessDenied"));
        assert_null(hint_from_error("org.example.Unheard"));
        assert_null(hint_from_error(NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_hints),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
