/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What somebody did to the executor's own memory, below its run-time folder. */
#include <acl/libacl.h>
#include <sys/sysmacros.h>

#include "executor-fixture.h"

static void command(const Fixture *f, const char *what) {
        _cleanup_free_ char *line = str_format("cd %s/runtime && %s", f->host.root, what);

        assert_non_null(line);
        assert_int_equal(system(line), 0);
}

/* Each says so at once, hangs nowhere, and works again when it is gone. */
static void test_no_regular_files(void **state) {
        static const char *const makes[] = { "mkdir", "mkfifo", "ln -s /dev/zero", "ln -s nowhere" };
        Fixture *f = *state;

        for (size_t i = 0; i < sizeof(makes) / sizeof(*makes); i++) {
                _cleanup_free_ char *make = str_format("%s hosts/" DEVICE, makes[i]);

                command(f, make);
                assert_step(f, STEP("unbind", ",\"value\":\"e1000e\""), EBADMSG, NULL);
                assert_step(f, STEP("inspect", ""), 0, NULL);
                command(f, "rm -rf hosts/" DEVICE);
        }
        assert_step(f, STEP("set-override", ",\"value\":\"vfio-pci\""), 0, NULL);
}

/* A lock that cannot be taken is one that is held, for all that is known. */
static void test_locks(void **state) {
        Fixture *f = *state;

        command(f, "rm -f locks/12 && mkdir locks/12");
        assert_step(f, STEP("inspect", ""), EISDIR, "cannot open the lock");
        command(f, "rmdir locks/12");
        assert_step(f, STEP("inspect", ""), 0, NULL);
}

/* The right that was granted goes, whether or not it is known what the node was like before. */
static void test_nodes(void **state) {
        static const char *const damages[] = { ": > nodes/12", "echo x > nodes/12",
                                               "rm nodes/12 && mkfifo nodes/12",
                                               "rm nodes/12 && ln -s /dev/zero nodes/12" };
        Fixture *f = *state;

        if (geteuid() != 0)
                skip();
        host_write(&f->host, "sys/class/vfio/12/dev", "1:3\n");
        if (mknod(host_path(&f->host, "dev/vfio/12"), S_IFCHR | 0600, makedev(1, 3)) < 0)
                skip();
        for (size_t i = 0; i < sizeof(damages) / sizeof(*damages); i++) {
                const char *node;
                struct stat st;
                acl_t acl;

                assert_step(f, "{\"seq\":1,\"step\":\"grant-node\",\"group\":12,\"uid\":1000}", 0,
                            NULL);
                command(f, damages[i]);
                assert_step(f, "{\"seq\":1,\"step\":\"revoke-node\",\"group\":12,\"uid\":1000}", 0,
                            NULL);
                node = host_path(&f->host, "dev/vfio/12");
                assert_int_equal(stat(node, &st), 0);
                assert_int_equal(st.st_uid, 0);
                assert_int_equal(st.st_mode & 0777, 0600);
                acl = acl_get_file(node, ACL_TYPE_ACCESS);
                assert_non_null(acl);
                assert_int_equal(acl_equiv_mode(acl, NULL), 0);
                (void)acl_free(acl);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_no_regular_files, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_locks, executor_setup, executor_teardown),
                cmocka_unit_test_setup_teardown(test_nodes, executor_setup, executor_teardown),
        };

        return cmocka_run_group_tests_name("executor-memory", tests, NULL, NULL);
}
