/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "linux-host.h"
#include "shared/sysfs.h"

typedef struct Fixture {
        Host host;
        Sysfs s;
} Fixture;

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));

        assert_non_null(f);
        host_init(&f->host);
        assert_int_equal(sysfs_open(f->host.root, &f->s), 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        sysfs_close(&f->s);
        host_destroy(&f->host);
        free(f);
        return 0;
}

static void assert_reads(const Fixture *f, const char *path, const char *expected) {
        _cleanup_free_ char *text = NULL;

        assert_int_equal(sysfs_read(&f->s, path, &text), 0);
        assert_string_equal(text, expected);
}

static void test_read_cuts_one_newline(void **state) {
        Fixture *f = *state;
        char *untouched = (char *)"untouched";

        host_write(&f->host, "sys/a", "one\n\n");
        host_write(&f->host, "sys/b", "two");
        host_write(&f->host, "sys/c", "");
        assert_reads(f, "sys/a", "one\n");
        assert_reads(f, "sys/b", "two");
        assert_reads(f, "sys/c", "");
        assert_int_equal(sysfs_read(&f->s, "sys/none", &untouched), -ENOENT);
        assert_string_equal(untouched, "untouched");
}

static void test_read_is_bounded(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *big = malloc(65538), *text = NULL;

        assert_non_null(big);
        memset(big, 'x', 65537);
        big[65537] = '\0';
        host_write(&f->host, "big", big);
        assert_int_equal(sysfs_read(&f->s, "big", &text), -EFBIG);
        assert_null(text);
        big[65536] = '\0';
        host_write(&f->host, "big", big);
        assert_reads(f, "big", big);
}

static void test_no_path_climbs_out(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *text = NULL;

        /* such links lead to the root, which has no such file */
        host_link(&f->host, "sys/up", "../../../../../etc/passwd");
        host_link(&f->host, "sys/absolute", "/etc/passwd");
        assert_int_equal(sysfs_read(&f->s, "sys/up", &text), -ENOENT);
        assert_int_equal(sysfs_read(&f->s, "sys/absolute", &text), -ENOENT);
        assert_int_equal(sysfs_read(&f->s, "../../../../etc/passwd", &text), -ENOENT);
        assert_int_equal(sysfs_read(&f->s, "/etc/passwd", &text), -ENOENT);
        assert_null(text);
        host_write(&f->host, "etc/passwd", "ours\n");
        assert_reads(f, "sys/absolute", "ours");
}

static void test_link_name(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *name = NULL;

        host_link(&f->host, "sys/d/driver", "../../bus/pci/drivers/e1000e");
        host_link(&f->host, "sys/d/plain", "vfio-pci");
        host_write(&f->host, "sys/d/file", "");
        assert_int_equal(sysfs_link_name(&f->s, "sys/d/file", &name), -EINVAL);
        assert_int_equal(sysfs_link_name(&f->s, "sys/d/none", &name), -ENOENT);
        assert_null(name);
        /* it may dangle */
        assert_int_equal(sysfs_link_namef(&f->s, &name, "sys/%s/driver", "d"), 0);
        assert_string_equal(name, "e1000e");
        free(name);
        name = NULL;
        assert_int_equal(sysfs_link_name(&f->s, "sys/d/plain", &name), 0);
        assert_string_equal(name, "vfio-pci");
}

static void test_write(void **state) {
        Fixture *f = *state;

        host_write(&f->host, "sys/d/driver_override", "something long\n");
        assert_int_equal(sysfs_writef(&f->s, "vfio-pci", "sys/%s/driver_override", "d"), 0);
        assert_reads(f, "sys/d/driver_override", "vfio-pci");
        assert_int_equal(sysfs_write(&f->s, "sys/d/none", "x"), -ENOENT);
}

static void test_list(void **state) {
        Fixture *f = *state;
        _cleanup_(strv_freep) char **names = NULL, **folders = NULL, **none = NULL;

        host_write(&f->host, "sys/l/b", "");
        host_write(&f->host, "sys/l/c/x", "");
        host_write(&f->host, "sys/l/a/x", "");
        host_link(&f->host, "sys/l/d", "a");
        assert_int_equal(sysfs_list(&f->s, "sys/l", &names), 0);
        assert_int_equal(strv_length(names), 4);
        for (size_t i = 0; i < 4; i++)
                assert_string_equal(names[i], ((const char *[]){ "a", "b", "c", "d" })[i]);
        assert_int_equal(sysfs_list_folders(&f->s, "sys/l", &folders), 0);
        assert_int_equal(strv_length(folders), 2);
        assert_string_equal(folders[0], "a");
        assert_string_equal(folders[1], "c");
        assert_int_equal(sysfs_listf(&f->s, &none, "sys/%s", "none"), -ENOENT);
        assert_int_equal(sysfs_list(&f->s, "sys/l/b", &none), -ENOTDIR);
}

static void test_exists(void **state) {
        Fixture *f = *state;

        host_write(&f->host, "sys/a", "");
        host_link(&f->host, "sys/dangling", "nowhere");
        assert_int_equal(sysfs_exists(&f->s, "sys/a"), 1);
        assert_int_equal(sysfs_existsf(&f->s, "sys/%s", "b"), 0);
        assert_int_equal(sysfs_exists(&f->s, "sys/a/b"), 0);
        assert_int_equal(sysfs_exists(&f->s, "sys/dangling"), 0);
}

static void test_of_the_host(void **state) {
        Fixture *f = *state;
        Sysfs real = SYSFS_NULL;
        _cleanup_free_ char *name = NULL;
        FILE *stream;

        assert_int_equal(sysfs_open("/nowhere", &real), -ENOENT);
        assert_int_equal(sysfs_open("/", &real), 0);
        /* the links of /proc are followed, but not those to files of processes */
        assert_int_equal(sysfs_open_stream(&real, "proc/self/mountinfo", &stream), 0);
        assert_int_equal(fclose(stream), 0);
        assert_int_equal(sysfs_open_stream(&f->s, "proc/self/mountinfo", &stream), -ENOENT);
        assert_int_equal(sysfs_link_name(&real, "proc/self", &name), 0);
        assert_int_equal(atoi(name), getpid());
        sysfs_close(&real);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_read_cuts_one_newline, setup, teardown),
                cmocka_unit_test_setup_teardown(test_read_is_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_path_climbs_out, setup, teardown),
                cmocka_unit_test_setup_teardown(test_link_name, setup, teardown),
                cmocka_unit_test_setup_teardown(test_write, setup, teardown),
                cmocka_unit_test_setup_teardown(test_list, setup, teardown),
                cmocka_unit_test_setup_teardown(test_exists, setup, teardown),
                cmocka_unit_test_setup_teardown(test_of_the_host, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
