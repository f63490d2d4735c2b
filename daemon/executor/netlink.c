/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/netlink.h"

#include <linux/rtnetlink.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "util/cleanup.h"

/* One message has all VFs of an interface, in an attribute of up to 64 KiB. */
#define ANSWER_SIZE   (128 * 1024)
#define PATIENCE_MSEC 10000

int netlink_open(int *ret) {
        const struct sockaddr_nl any = { .nl_family = AF_NETLINK };
        _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

        if (fd < 0 || bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0)
                return -errno;
        *ret = TAKE_FD(fd);
        return 0;
}

/* What comes from other processes is not the kernel's word. Does not wait. */
static ssize_t receive(const Run *run, char *answer) {
        struct sockaddr_nl from = {};
        socklen_t size;
        ssize_t n;

        do {
                size = sizeof(from);
                n = recvfrom(run->netlink, answer, ANSWER_SIZE, MSG_DONTWAIT | MSG_TRUNC,
                             (struct sockaddr *)&from, &size);
        } while ((n < 0 && errno == EINTR) || (n >= 0 && from.nl_pid != 0));
        return n < 0 ? -errno : n;
}

/* The kernel answers while it is asked, and a list part by part as it is read: there is nothing to wait for. */
static ssize_t receive_soon(const Run *run, char *answer) {
        struct pollfd readable = { .fd = run->netlink, .events = POLLIN };
        ssize_t n;

        while ((n = receive(run, answer)) == -EAGAIN) {
                int r = poll(&readable, 1, PATIENCE_MSEC);

                if (r == 0)
                        return -ETIMEDOUT;
                if (r < 0 && errno != EINTR)
                        return -errno;
        }
        return n > ANSWER_SIZE ? -EMSGSIZE : n;
}

/* What a step has left that was ended before its answer came. */
static int forget_answers(const Run *run, char *answer) {
        ssize_t n;

        do
                n = receive(run, answer);
        while (n >= 0 || n == -ENOBUFS);
        return n == -EAGAIN ? 0 : (int)n;
}

/* Of a list, and of a request that has no other answer: both begin with the error. */
static int on_end(const struct nlmsghdr *h, void *userdata) {
        int error = 0;

        if (mnl_nlmsg_get_payload_len(h) >= sizeof(error))
                memcpy(&error, mnl_nlmsg_get_payload(h), sizeof(error));
        if (error >= 0)
                return MNL_CB_STOP;
        errno = -error;
        return MNL_CB_ERROR;
}

static int read_answer(const Run *run, char *answer, uint32_t sequence, mnl_cb_t f, void *userdata) {
        static mnl_cb_t control[NLMSG_DONE + 1] = { [NLMSG_ERROR] = on_end, [NLMSG_DONE] = on_end };
        struct sockaddr_nl own = {};
        socklen_t size = sizeof(own);
        int r = MNL_CB_OK;

        if (getsockname(run->netlink, (struct sockaddr *)&own, &size) < 0)
                return -errno;
        while (r > MNL_CB_STOP) {
                const struct nlmsghdr *h = (const void *)answer;
                ssize_t n = receive_soon(run, answer);

                if (n < 0)
                        return (int)n;
                if (!mnl_nlmsg_ok(h, (int)n))
                        return -EBADMSG;
                if (h->nlmsg_seq == sequence)
                        r = mnl_cb_run2(answer, (size_t)n, sequence, own.nl_pid, f, userdata,
                                        control, NLMSG_DONE + 1);
        }
        return r < 0 ? -errno : 0;
}

/* Kinds of requests are new, delete, get and set. */
static bool changes_something(const struct nlmsghdr *request) {
        return (request->nlmsg_type & 3) != 2;
}

int netlink_ask(Run *run, struct nlmsghdr *request, mnl_cb_t f, void *userdata) {
        const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
        _cleanup_free_ char *answer = malloc(ANSWER_SIZE);
        _cleanup_close_ int turn = -EBADF;
        int r;

        if (!answer)
                return -ENOMEM;
        turn = run_take_turn(run, "locks/netlink");
        if (turn < 0)
                return turn;
        r = forget_answers(run, answer);
        if (r == 0 && changes_something(request))
                r = run_check_permit(run);
        if (r < 0)
                return r;
        request->nlmsg_flags |= NLM_F_REQUEST;
        request->nlmsg_seq = (uint32_t)getpid();
        if (sendto(run->netlink, request, request->nlmsg_len, 0, (const struct sockaddr *)&kernel,
                   sizeof(kernel)) < 0)
                return -errno;
        r = read_answer(run, answer, request->nlmsg_seq, f, userdata);
        if (r < 0)
                (void)forget_answers(run, answer); /* or the next one does */
        return r;
}
