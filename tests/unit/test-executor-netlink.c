/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* With the kernel that is there: every network namespace has an interface number 1. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "executor/netlink.h"
#include "util/cleanup.h"

#define LOOPBACK 1
#define STEPS    8
#define TURNS    200

typedef struct Fixture {
        char folder[32];
        Run run;
} Fixture;

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));

        assert_non_null(f);
        strcpy(f->folder, "/tmp/netlink-XXXXXX");
        assert_non_null(mkdtemp(f->folder));
        f->run.runtime = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(f->run.runtime >= 0);
        assert_int_equal(mkdirat(f->run.runtime, "locks", 0700), 0);
        assert_int_equal(netlink_open(&f->run.netlink), 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        (void)unlinkat(f->run.runtime, "locks/netlink", 0);
        assert_int_equal(unlinkat(f->run.runtime, "locks", AT_REMOVEDIR), 0);
        assert_int_equal(rmdir(f->folder), 0);
        safe_close(f->run.runtime);
        safe_close(f->run.netlink);
        free(f);
        return 0;
}

static struct nlmsghdr *get_link(char *buffer, int index) {
        struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
        struct ifinfomsg *m;

        h->nlmsg_type = RTM_GETLINK;
        m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
        m->ifi_index = index;
        return h;
}

static struct nlmsghdr *get_addresses(char *buffer) {
        struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);

        h->nlmsg_type = RTM_GETADDR;
        h->nlmsg_flags = NLM_F_DUMP;
        (void)mnl_nlmsg_put_extra_header(h, sizeof(struct ifaddrmsg));
        return h;
}

static int note_index(const struct nlmsghdr *h, void *userdata) {
        int *index = userdata;

        *index = ((const struct ifinfomsg *)mnl_nlmsg_get_payload(h))->ifi_index;
        return MNL_CB_STOP;
}

static int count(const struct nlmsghdr *h, void *userdata) {
        unsigned *n = userdata;

        *n += h->nlmsg_type == RTM_NEWADDR;
        return MNL_CB_OK;
}

static int ask_for_loopback(Run *run, int *ret) {
        char buffer[NETLINK_REQUEST_SIZE];

        return netlink_ask(run, get_link(buffer, LOOPBACK), note_index, ret);
}

static void test_answers(void **state) {
        Fixture *f = *state;
        char buffer[NETLINK_REQUEST_SIZE];
        unsigned addresses = 0;
        int index = 0;

        assert_int_equal(ask_for_loopback(&f->run, &index), 0);
        assert_int_equal(index, LOOPBACK);
        assert_int_equal(netlink_ask(&f->run, get_link(buffer, 0x7ffffff), note_index, &index),
                         -ENODEV);
        assert_int_equal(netlink_ask(&f->run, get_addresses(buffer), count, &addresses), 0);
        assert_true(addresses > 0);
}

/* A step that was killed between its question and the answer leaves that to nobody. */
static void test_what_was_left(void **state) {
        const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
        Fixture *f = *state;
        char buffer[NETLINK_REQUEST_SIZE];

        for (unsigned i = 0; i < 3; i++) {
                struct nlmsghdr *h = i == 1 ? get_addresses(buffer) : get_link(buffer, 0x7ffffff);
                int index = 0;

                h->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
                h->nlmsg_seq = (uint32_t)getpid();
                assert_true(sendto(f->run.netlink, h, h->nlmsg_len, 0,
                                   (const struct sockaddr *)&kernel, sizeof(kernel)) > 0);
                assert_int_equal(ask_for_loopback(&f->run, &index), 0);
                assert_int_equal(index, LOOPBACK);
        }
}

static int ask_often(Run *run) {
        char buffer[NETLINK_REQUEST_SIZE];

        for (unsigned i = 0; i < TURNS; i++) {
                unsigned addresses = 0;
                int index = 0, r;

                r = ask_for_loopback(run, &index);
                if (r < 0 || index != LOOPBACK)
                        return 1;
                r = netlink_ask(run, get_addresses(buffer), count, &addresses);
                if ((r < 0 && r != -EINTR) || addresses == 0)
                        return 1;
        }
        return 0;
}

static void test_steps_take_turns(void **state) {
        Fixture *f = *state;

        for (unsigned i = 0; i < STEPS; i++) {
                pid_t pid = fork();

                assert_true(pid >= 0);
                if (pid == 0)
                        _exit(ask_often(&f->run));
        }
        for (unsigned i = 0; i < STEPS; i++) {
                int status = -1;

                assert_true(wait(&status) > 0);
                assert_int_equal(status, 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_was_left, setup, teardown),
                cmocka_unit_test_setup_teardown(test_steps_take_turns, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
