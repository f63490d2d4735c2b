/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/netlink.h"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "util/cleanup.h"

/* One message has all VFs of an interface, in an attribute of up to 64 KiB. */
#define ANSWER_SIZE (128 * 1024)

int netlink_open(int *ret) {
        const struct sockaddr_nl any = { .nl_family = AF_NETLINK };
        _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

        if (fd < 0 || bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0)
                return -errno;
        *ret = TAKE_FD(fd);
        return 0;
}

/* What comes from other processes is not the kernel's word. */
static ssize_t receive(const Run *run, char *answer, int flags) {
        struct sockaddr_nl from = {};
        socklen_t size;
        ssize_t n;

        do {
                size = sizeof(from);
                n = recvfrom(run->netlink, answer, ANSWER_SIZE, flags, (struct sockaddr *)&from,
                             &size);
        } while ((n < 0 && errno == EINTR) || (n >= 0 && from.nl_pid != 0));
        return n < 0 ? -errno : n;
}

static bool is_answer(const char *answer, ssize_t n, const struct nlmsghdr *request) {
        const struct nlmsghdr *h = (const void *)answer;

        return mnl_nlmsg_ok(h, (int)n) && h->nlmsg_seq == request->nlmsg_seq;
}

/* A step that was ended before its answer came has left that behind. */
static int forget_answers(const Run *run, char *answer) {
        ssize_t n;

        do
                n = receive(run, answer, MSG_DONTWAIT);
        while (n >= 0 || n == -ENOBUFS);
        return n == -EAGAIN ? 0 : (int)n;
}

int netlink_ask(const Run *run, struct nlmsghdr *request, mnl_cb_t f, void *userdata) {
        const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
        _cleanup_free_ char *answer = malloc(ANSWER_SIZE);
        _cleanup_close_ int turn = -EBADF;
        struct sockaddr_nl own = {};
        socklen_t size = sizeof(own);
        int r;

        if (!answer)
                return -ENOMEM;
        turn = run_take_turn(run, "locks/netlink");
        if (turn < 0)
                return turn;
        r = forget_answers(run, answer);
        if (r < 0)
                return r;
        if (getsockname(run->netlink, (struct sockaddr *)&own, &size) < 0)
                return -errno;
        request->nlmsg_flags |= NLM_F_REQUEST;
        request->nlmsg_seq = (uint32_t)getpid();
        if (sendto(run->netlink, request, request->nlmsg_len, 0, (const struct sockaddr *)&kernel,
                   sizeof(kernel)) < 0)
                return -errno;
        do {
                ssize_t n = receive(run, answer, 0);

                if (n < 0)
                        return (int)n;
                if (!is_answer(answer, n, request))
                        r = MNL_CB_OK;
                else
                        r = mnl_cb_run(answer, (size_t)n, request->nlmsg_seq, own.nl_pid, f,
                                       userdata);
        } while (r > MNL_CB_STOP);
        return r < 0 ? -errno : 0;
}
