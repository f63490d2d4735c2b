/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>

#include "client/lent-files.h"
#include "util/strings.h"

static void test_lent_files_describe(void **state) {
        static const dmaowner_file files[] = {
                { .name = "iommufd", .role = "iommufd", .fd = 5 },
                { .name = "0000:00:03.0", .role = "cdev", .fd = 6 },
                { .name = "iommufd@0000:00:04.0", .role = "iommufd", .fd = 7 },
        };
        const LentFiles three = { files, 3 }, none = {};
        _cleanup_free_ char *text = lent_files_describe(&three),
                            *nothing = lent_files_describe(&none);

        assert_string_equal(text, "iommufd=5,0000:00:03.0=6,iommufd@0000:00:04.0=7");
        assert_string_equal(nothing, "");
        assert_ptr_equal(lent_files_first(&three, "iommufd"), &files[0]);
        assert_null(lent_files_first(&three, "container"));
        assert_null(lent_files_first(&none, "iommufd"));
}

static void test_lent_files_pass_on(void **state) {
        _cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        const dmaowner_file file = { .name = "iommufd", .role = "iommufd", .fd = fd };

        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(lent_files_pass_on(&(LentFiles){ &file, 1 }), 0);
        assert_int_equal(fcntl(fd, F_GETFD), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lent_files_describe),
                cmocka_unit_test(test_lent_files_pass_on),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
