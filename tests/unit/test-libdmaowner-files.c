/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>

#include "client/libdmaowner/files.h"
#include "util/strings.h"

#define A "0000:00:03.0"
#define B "0000:00:04.0"
#define C "0000:00:05.0"

static int add(Files *f, uint32_t group, const char *role, const char *device) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(files_add(f, group, role, device, fd), 0);
        return fd;
}

static void check(const Files *f, size_t i, const char *name, int fd) {
        assert_string_equal(f->items[i].name, name);
        assert_int_equal(f->items[i].fd, fd);
}

static void test_files_of_iommufd(void **state) {
        int first, second, third, fourth, fifth, twice;
        Files f = {};

        first = add(&f, 7, "iommufd", A);
        second = add(&f, 7, "cdev", A);
        /* the same file of the group, asked for by its other device */
        twice = add(&f, 7, "iommufd", B);
        assert_int_equal(fcntl(twice, F_GETFD), -1);
        third = add(&f, 7, "cdev", B);
        fourth = add(&f, 8, "iommufd", C);
        fifth = add(&f, 8, "cdev", C);
        assert_int_equal(f.n, 5);
        check(&f, 0, "iommufd", first);
        check(&f, 1, A, second);
        check(&f, 2, B, third);
        check(&f, 3, "iommufd@" C, fourth);
        check(&f, 4, C, fifth);
        files_clear(&f);
        assert_int_equal(f.n, 0);
        assert_int_equal(fcntl(first, F_GETFD), -1);
        assert_int_equal(fcntl(fifth, F_GETFD), -1);
}

static void test_files_of_containers(void **state) {
        int first, second, third, fourth;
        Files f = {};

        first = add(&f, 1, "container", A);
        second = add(&f, 1, "group", A);
        third = add(&f, 2, "container", B);
        fourth = add(&f, 2, "group", B);
        check(&f, 0, "container", first);
        check(&f, 1, "group", second);
        check(&f, 2, "container@" B, third);
        check(&f, 3, "group@" B, fourth);
        files_clear(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_files_of_iommufd),
                cmocka_unit_test(test_files_of_containers),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
