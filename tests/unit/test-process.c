/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "manager/process.h"
#include "util/cleanup.h"

/* A child that waits to be killed; its name tries to confuse who counts fields of /proc/PID/stat. */
static pid_t start_child(void) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void)prctl(PR_SET_NAME, "a) S 1 2 (b");
                for (;;)
                        pause();
        }
        return pid;
}

static void end_child(pid_t pid) {
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static int open_pidfd(pid_t pid) {
        int fd = (int)syscall(SYS_pidfd_open, pid, 0);

        assert_true(fd >= 0);
        return fd;
}

static void test_process_is_found_by_its_pidfd(void **state) {
        pid_t pid = start_child(), found = 0;
        int fd = open_pidfd(pid), again = -1;
        uint64_t start = 0;
        uid_t uid = 12345;

        assert_int_equal(process_of_pidfd(fd, &found, &uid, &start), 0);
        assert_int_equal(found, pid);
        assert_int_equal(uid, getuid());
        assert_true(start > 0);
        assert_int_equal(process_open(pid, start, &again), 0);
        close(again);
        assert_int_equal(process_open(pid, start + 1, &again), -ESRCH);
        end_child(pid);
        assert_int_equal(process_of_pidfd(fd, &found, &uid, &start), -ESRCH);
        assert_int_equal(process_open(pid, start, &again), -ESRCH);
        close(fd);
}

static void test_process_that_is_a_zombie_has_ended(void **state) {
        pid_t pid = start_child(), found;
        int fd = open_pidfd(pid);
        siginfo_t info;
        uint64_t start;
        uid_t uid;

        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
        assert_int_equal(process_of_pidfd(fd, &found, &uid, &start), -ESRCH);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        close(fd);
}

static void test_process_needs_a_pidfd(void **state) {
        uint64_t start;
        pid_t pid;
        uid_t uid;
        int pipes[2];

        assert_int_equal(pipe(pipes), 0);
        assert_int_equal(process_of_pidfd(pipes[0], &pid, &uid, &start), -EBADF);
        close(pipes[0]);
        close(pipes[1]);
}

static int wait_for_end(void *userdata) {
        char c;

        return (int)read(*(int *)userdata, &c, 1);
}

/* One that a restart could not find again. Linux 6.9 and newer. */
static void test_process_is_no_thread(void **state) {
        static char stack[65536] __attribute__((aligned(16)));
        uint64_t start;
        int fd, ends[2];
        pid_t tid, pid;
        uid_t uid;

        assert_int_equal(pipe(ends), 0);
        tid = clone(wait_for_end, stack + sizeof(stack),
                    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD, &ends[0]);
        assert_true(tid > 0);
        fd = (int)syscall(SYS_pidfd_open, tid, O_EXCL /* PIDFD_THREAD */);
        if (fd < 0) {
                close(ends[1]);
                print_message("this kernel has no pidfds of threads\n");
                skip();
        }
        assert_int_equal(process_of_pidfd(fd, &pid, &uid, &start), -EBADF);
        close(fd);
        close(ends[1]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_process_is_found_by_its_pidfd),
                cmocka_unit_test(test_process_that_is_a_zombie_has_ended),
                cmocka_unit_test(test_process_needs_a_pidfd),
                cmocka_unit_test(test_process_is_no_thread),
        };

        return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
