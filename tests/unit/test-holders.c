/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who has a node open, by the real /proc, while that changes. By the files of a host: test-executor-inspect.c. */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "executor/holders.h"
#include "linux-host.h"

/* Names the node for a moment and then uses another file by the same number, as udev's workers do. */
static void name_and_close(const char *node) {
        for (;;) {
                int named = open(node, O_PATH | O_CLOEXEC), used;

                (void)close(named);
                used = open("/dev/null", O_RDWR | O_CLOEXEC);
                if (named < 0 || used != named)
                        _exit(1);
                (void)close(used);
        }
}

static void test_a_file_that_changes_between_two_looks(void **state) {
        _cleanup_free_ char *node = NULL;
        _cleanup_(sysfs_close) Sysfs real = SYSFS_NULL;
        Host host;
        pid_t child;
        int r = 0;

        host_init(&host);
        host_write(&host, "dev/vfio/12", "");
        node = str_format("%s/dev/vfio/12", host.root);
        assert_non_null(node);
        assert_int_equal(sysfs_open("/", &real), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
                name_and_close(node);
        for (int i = 0; i < 20000 && r == 0; i++)
                r = holders_include(&real, 12, (const pid_t[]){ child, 0 });
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        host_destroy(&host);
        assert_int_equal(r, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_file_that_changes_between_two_looks),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
