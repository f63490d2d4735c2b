/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "client/lent-files.h"
#include "util/strings.h"

#define A "0000:00:03.0"
#define B "0000:00:04.0"
#define C "0000:00:05.0"

static int some_file(void) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static int add(LentFiles *f, unsigned group, const char *role, const char *device) {
        int fd = some_file();

        assert_int_equal(lent_files_add(f, group, role, device, fd), 0);
        return fd;
}

static void test_lent_files_names(void **state) {
        _cleanup_lent_files_ LentFiles f = LENT_FILES_NULL;
        _cleanup_free_ char *expected = NULL, *text = NULL, *nothing = lent_files_describe(&f);
        int fds[5], twice;

        assert_string_equal(nothing, "");
        assert_null(lent_files_first(&f, "iommufd"));
        fds[0] = add(&f, 7, "iommufd", A);
        fds[1] = add(&f, 7, "cdev", A);
        /* the same file of the group, asked for by its other device */
        twice = add(&f, 7, "iommufd", B);
        assert_int_equal(fcntl(twice, F_GETFD), -1);
        fds[2] = add(&f, 7, "cdev", B);
        fds[3] = add(&f, 8, "iommufd", C);
        fds[4] = add(&f, 8, "cdev", C);
        expected = str_format("iommufd=%d," A "=%d," B "=%d,iommufd@" C "=%d," C "=%d", fds[0],
                              fds[1], fds[2], fds[3], fds[4]);
        text = lent_files_describe(&f);
        assert_string_equal(text, expected);
        assert_int_equal(lent_files_first(&f, "iommufd")->fd, fds[0]);
}

static void test_lent_files_of_containers(void **state) {
        _cleanup_lent_files_ LentFiles f = LENT_FILES_NULL;
        _cleanup_free_ char *expected = NULL, *text = NULL;
        int fds[4];

        fds[0] = add(&f, 1, "container", A);
        fds[1] = add(&f, 1, "group", A);
        fds[2] = add(&f, 2, "container", B);
        fds[3] = add(&f, 2, "group", B);
        expected = str_format("container=%d,group=%d,container@" B "=%d,group@" B "=%d", fds[0],
                              fds[1], fds[2], fds[3]);
        text = lent_files_describe(&f);
        assert_string_equal(text, expected);
}

static void test_lent_files_pass_on(void **state) {
        LentFiles f = LENT_FILES_NULL;
        int fd = add(&f, 1, "iommufd", A);

        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(lent_files_pass_on(&f), 0);
        assert_int_equal(fcntl(fd, F_GETFD), 0);
        lent_files_clear(&f);
        assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lent_files_names),
                cmocka_unit_test(test_lent_files_of_containers),
                cmocka_unit_test(test_lent_files_pass_on),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
