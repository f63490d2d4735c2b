/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steps of the Linux kernel layer against an executor that the test plays. */
#include "linux-host.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "kernel/linux.h"

#define NIC  "0000:3b:00.0"
#define SOON 2000000U /* microseconds in which whatever is to come has come */

/* What became of one step. */
typedef struct Outcome {
        unsigned times;
        int error;
        char *value, *text;
        size_t n_obstacles;
        int fds[2];
        char *driver_then; /* what was known of the device at that moment */
} Outcome;

typedef struct Fixture {
        Host host;
        char socket[64];
        sd_event *event;
        Kernel *kernel;
        int listener, peer; /* the executor's side */
        int ready;          /* as last told; -1: not yet */
        unsigned ready_times;
        char *waiting;
        char *driver, *override;
        KernelOp *cancel_on_seen;
        Outcome outcomes[4];
} Fixture;

static void on_seen(const DeviceFacts *facts, void *userdata) {
        Fixture *f = userdata;

        assert_int_equal(str_set(&f->driver, facts->driver), 0);
        assert_int_equal(str_set(&f->override, facts->driver_override), 0);
        if (f->cancel_on_seen) {
                f->kernel->ops->cancel(f->cancel_on_seen);
                f->cancel_on_seen = NULL;
        }
}

static void on_gone(const char *name, void *userdata) {
}

static void on_waiting(KernelOp *op, const char *who, void *userdata) {
        assert_int_equal(str_set(&((Fixture *)userdata)->waiting, who), 0);
}

static void on_ready(bool ready, void *userdata) {
        Fixture *f = userdata;

        f->ready = ready;
        f->ready_times++;
}

static void on_done(KernelOp *op, StepResult *result, void *userdata) {
        Outcome *o = userdata;
        Fixture *f = op->kernel->events.userdata;

        o->times++;
        o->error = result->error;
        o->value = TAKE_PTR(result->value);
        o->text = TAKE_PTR(result->text);
        o->n_obstacles = result->obstacles.n;
        for (size_t i = 0; i < 2; i++)
                o->fds[i] = i < result->files.n ? TAKE_FD(result->files.items[i].fd) : -EBADF;
        assert_int_equal(str_set(&o->driver_then, f->driver), 0);
}

static void listen_as_executor(Fixture *f) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        (void)strcpy(address.sun_path, f->socket);
        (void)unlink(f->socket);
        f->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_true(f->listener >= 0);
        assert_int_equal(bind(f->listener, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(listen(f->listener, 4), 0);
}

static void accept_daemon(Fixture *f) {
        struct pollfd p = { .fd = f->listener, .events = POLLIN };

        assert_int_equal(poll(&p, 1, 0), 1);
        f->peer = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(f->peer >= 0);
}

/* Runs the loop until a condition holds; false if it does not come to that. */
#define run_until(f, condition)                              \
        ({                                                   \
                int _n = 1;                                  \
                while (!(condition) && _n > 0)               \
                        _n = sd_event_run((f)->event, SOON); \
                (condition);                                 \
        })

/* Runs the loop for that long. */
static void run_for(Fixture *f, uint64_t usec) {
        while (sd_event_run(f->event, usec) > 0)
                ;
}

static int setup_without_executor(void **state) {
        static Fixture f;
        KernelEvents events = {
                .device_seen = on_seen,
                .device_gone = on_gone,
                .node_changed = host_ignore_node,
                .device_use_changed = on_gone,
                .waiting = on_waiting,
                .ready = on_ready,
                .userdata = &f,
        };

        f = (Fixture){ .listener = -EBADF, .peer = -EBADF, .ready = -1 };
        for (size_t i = 0; i < 4; i++)
                f.outcomes[i].fds[0] = f.outcomes[i].fds[1] = -EBADF;
        host_init(&f.host);
        host_add_device(&f.host, NIC, "0x020000\n");
        host_set_group(&f.host, NIC, "12", "DMA\n");
        host_set_driver(&f.host, NIC, "e1000e");
        (void)snprintf(f.socket, sizeof(f.socket), "%s/executor", f.host.root);
        assert_true(sd_event_new(&f.event) >= 0);
        assert_int_equal(linux_kernel_new_at(f.event, f.host.root, f.socket, &events, &f.kernel), 0);
        *state = &f;
        return 0;
}

static int setup(void **state) {
        Fixture *f;

        (void)setup_without_executor(state);
        f = *state;
        listen_as_executor(f);
        assert_int_equal(f->kernel->ops->start(f->kernel), 0);
        assert_int_equal(f->ready, -1);
        assert_true(run_until(f, f->ready == 1));
        accept_daemon(f);
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        (void)kernel_free(f->kernel);
        (void)sd_event_unref(f->event);
        (void)safe_close(f->listener);
        (void)safe_close(f->peer);
        free(f->waiting);
        free(f->driver);
        free(f->override);
        for (size_t i = 0; i < 4; i++) {
                free(f->outcomes[i].value);
                free(f->outcomes[i].text);
                free(f->outcomes[i].driver_then);
                (void)safe_close(f->outcomes[i].fds[0]);
                (void)safe_close(f->outcomes[i].fds[1]);
        }
        host_destroy(&f->host);
        return 0;
}

static KernelOp *run_step(Fixture *f, const Step *step, uint64_t deadline, Outcome *outcome) {
        KernelOp *op = NULL;

        assert_int_equal(f->kernel->ops->run(f->kernel, step, NULL, deadline, on_done, outcome, &op),
                         0);
        assert_non_null(op);
        assert_int_equal(outcome->times, 0); /* never from inside the call */
        if (f->listener >= 0 && f->peer < 0)
                accept_daemon(f); /* the step made it connect */
        return op;
}

static KernelOp *run_unbind(Fixture *f, uint64_t deadline, Outcome *outcome) {
        Step step = {
                .kind = STEP_UNBIND, .device = (char *)NIC, .group = 12, .value = (char *)"e1000e"
        };

        return run_step(f, &step, deadline, outcome);
}

/* The next packet that the executor gets; "" if there is none. Valid until the next call. */
static const char *received(Fixture *f) {
        static char packet[4096];
        ssize_t n = recv(f->peer, packet, sizeof(packet) - 1, MSG_DONTWAIT);

        assert_true(n >= 0 || errno == EAGAIN);
        packet[n < 0 ? 0 : n] = '\0';
        return packet;
}

static void answer_with_fds(Fixture *f, const char *text, const int *fds, size_t n_fds) {
        union {
                struct cmsghdr header;
                char room[CMSG_SPACE(4 * sizeof(int))];
        } control = {};
        struct iovec iov = { .iov_base = (char *)text, .iov_len = strlen(text) };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (n_fds > 0) {
                m.msg_control = &control;
                m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
        }
        assert_int_equal(sendmsg(f->peer, &m, MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void answer(Fixture *f, const char *text) {
        answer_with_fds(f, text, NULL, 0);
}

static void test_step_is_sent_and_done(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[0];

        (void)run_unbind(f, 0, o);
        assert_string_equal(received(f), "{\"step\":\"unbind\",\"device\":\"" NIC
                                         "\",\"group\":12,\"value\":\"e1000e\",\"seq\":1}");
        host_remove(&f->host, host_device_file(NIC, "driver"));
        answer(f, "{\"seq\":1,\"event\":\"done\",\"errno\":0,\"value\":\"\"}");
        assert_true(run_until(f, o->times == 1));
        assert_int_equal(o->error, 0);
        assert_string_equal(o->value, "");
        assert_null(o->text);
        /* what it did was told before */
        assert_null(o->driver_then);
        assert_null(f->driver);
}

static void test_failure_says_why(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[0];

        (void)run_unbind(f, 0, o);
        answer(f,
               "{\"seq\":1,\"event\":\"done\",\"errno\":16,\"text\":\"eth0 is up\",\"obstacles\":"
               "[{\"code\":\"network-address\",\"device\":\"" NIC "\",\"text\":\"eth0\"}]}");
        assert_true(run_until(f, o->times == 1));
        assert_int_equal(o->error, EBUSY);
        assert_string_equal(o->text, "eth0 is up");
        assert_int_equal(o->n_obstacles, 1);
        assert_string_equal(o->driver_then, "e1000e");
}

static void test_answers_out_of_order(void **state) {
        Fixture *f = *state;

        (void)run_unbind(f, 0, &f->outcomes[0]);
        (void)run_unbind(f, 0, &f->outcomes[1]);
        answer(f, "{\"seq\":2,\"event\":\"done\",\"errno\":2}");
        answer(f, "{\"seq\":9,\"event\":\"done\",\"errno\":3}");
        answer(f, "{\"seq\":1,\"event\":\"done\",\"errno\":1}");
        assert_true(run_until(f, f->outcomes[0].times == 1));
        assert_int_equal(f->outcomes[0].error, 1);
        assert_int_equal(f->outcomes[1].times, 1);
        assert_int_equal(f->outcomes[1].error, 2);
        assert_int_equal(f->ready, 1);
}

static void test_override_is_what_was_read_back(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[0];
        Step step = { .kind = STEP_SET_OVERRIDE,
                      .device = (char *)NIC,
                      .group = 12,
                      .value = (char *)"vfio-pci" };

        (void)run_step(f, &step, 0, o);
        host_write(&f->host, host_device_file(NIC, "driver_override"), "vfio-pci\n");
        answer(f, "{\"seq\":1,\"event\":\"done\",\"errno\":0,\"value\":\"vfio-pci\"}");
        assert_true(run_until(f, o->times == 1));
        assert_string_equal(f->override, "vfio-pci");
}

static void test_type_is_read_for_the_whole_group(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[0];
        Step step = { .kind = STEP_SET_TYPE, .group = 12, .value = (char *)"identity" };

        (void)run_step(f, &step, 0, o);
        host_set_driver(&f->host, NIC, "seen-by-the-way");
        answer(f, "{\"seq\":1,\"event\":\"done\",\"errno\":0,\"value\":\"identity\"}");
        assert_true(run_until(f, o->times == 1));
        assert_string_equal(o->driver_then, "seen-by-the-way");
}

#define TWO_FILES "\"files\":[{\"role\":\"container\"},{\"role\":\"group\"}]}"

static void test_claim_brings_descriptors(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[0];
        Step step = { .kind = STEP_CLAIM, .group = 12 };
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        (void)run_step(f, &step, 0, o);
        answer(f, "{\"seq\":1,\"event\":\"waiting\",\"text\":\"dpdk-testpmd (pid 4711)\"}");
        assert_true(run_until(f, f->waiting));
        assert_string_equal(f->waiting, "dpdk-testpmd (pid 4711)");
        assert_int_equal(o->times, 0);
        answer_with_fds(f, "{\"seq\":1,\"event\":\"done\",\"errno\":0," TWO_FILES, fds, 2);
        assert_true(run_until(f, o->times == 1));
        assert_int_equal(o->error, 0);
        /* in their order: what is written to the second is read from the first */
        assert_int_equal(write(o->fds[1], "x", 1), 1);
        assert_int_equal(read(o->fds[0], &(char){ 0 }, 1), 1);
        assert_true(fcntl(o->fds[0], F_GETFD) & FD_CLOEXEC);
        (void)close(fds[0]);
        (void)close(fds[1]);
}

/* A pipe's reader sees the end once the daemon has closed its copy of the writing end. */
static void assert_closed_by_daemon(int fds[static 2]) {
        struct pollfd p = { .fd = fds[0] };

        (void)close(fds[1]);
        assert_int_equal(poll(&p, 1, 0), 1);
        assert_true(p.revents & POLLHUP);
        (void)close(fds[0]);
}

static void test_descriptors_nobody_asked_for_are_closed(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[0];
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        (void)run_unbind(f, 0, o);
        answer_with_fds(f, "{\"seq\":1,\"event\":\"done\",\"errno\":0}", (int[]){ fds[1], fds[1] },
                        2);
        assert_true(run_until(f, o->times == 1));
        assert_int_equal(o->fds[0], -EBADF);
        assert_closed_by_daemon(fds);
}

/* Ends the connection, and with it the step. */
static void assert_refused(Fixture *f, Outcome *o) {
        char c;

        assert_true(run_until(f, o->times == 1 && f->ready == 0));
        assert_int_equal(o->error, ECONNRESET);
        assert_non_null(o->text);
        while (recv(f->peer, &c, 1, 0) > 0)
                ;
        f->peer = safe_close(f->peer);
}

static void test_wrong_number_of_descriptors(void **state) {
        static const size_t numbers[] = { 0, 1, 3 };
        Fixture *f = *state;
        Step step = { .kind = STEP_CLAIM, .group = 12 };

        for (size_t i = 0; i < 3; i++) {
                int fds[2];
                char text[128];

                assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
                (void)run_step(f, &step, 0, &f->outcomes[i]);
                (void)snprintf(text, sizeof(text),
                               "{\"seq\":%zu,\"event\":\"done\",\"errno\":0," TWO_FILES, i + 1);
                answer_with_fds(f, text, (int[]){ fds[1], fds[1], fds[1] }, numbers[i]);
                assert_refused(f, &f->outcomes[i]);
                assert_closed_by_daemon(fds);
        }
}

static void test_garbage_ends_the_connection(void **state) {
        static const char *const garbage[] = {
                "}",
                "[]",
                "{\"seq\":%d,\"event\":\"done\",\"errno\":0",
                "{\"seq\":%d,\"event\":\"done\",\"errno\":0} x",
                "{\"seq\":%d,\"event\":\"done\"}",
                "{\"seq\":%d,\"event\":\"done\",\"errno\":-5}",
                "{\"seq\":%d,\"event\":\"done\",\"errno\":\"EBUSY\"}",
                "{\"seq\":%d,\"event\":\"done\",\"errno\":0,\"value\":7}",
                "{\"seq\":%d,\"event\":\"done\",\"errno\":0,\"obstacles\":{}}",
                "{\"seq\":%d,\"event\":\"waiting\"}",
                "{\"seq\":%d,\"event\":\"dance\"}",
                "{\"seq\":%d}",
                "{\"event\":\"done\",\"errno\":0}",
                "{\"locked\":12}",
                "{\"locked\":[\"12\"]}",
        };
        Fixture *f = *state;

        for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
                Outcome o = { .fds = { -EBADF, -EBADF } };
                const char *number = strstr(garbage[i], "%d");
                char text[128];

                (void)run_unbind(f, 0, &o);
                (void)snprintf(text, sizeof(text), "%.*s",
                               number ? (int)(number - garbage[i]) : 127, garbage[i]);
                if (number)
                        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%zu%s",
                                       i + 1, number + 2);
                answer(f, text);
                assert_refused(f, &o);
                free(o.value);
                free(o.text);
                free(o.driver_then);
        }
}

static void test_connection_loss(void **state) {
        Fixture *f = *state;

        (void)run_unbind(f, 0, &f->outcomes[0]);
        (void)run_unbind(f, 0, &f->outcomes[1]);
        f->peer = safe_close(f->peer);
        assert_true(run_until(f, f->outcomes[0].times + f->outcomes[1].times == 2));
        assert_int_equal(f->outcomes[0].times, 1);
        assert_int_equal(f->outcomes[0].error, ECONNRESET);
        assert_int_equal(f->outcomes[1].error, ECONNRESET);
        assert_int_equal(f->ready, 0);
        /* it comes back by itself, and steps work again */
        assert_true(run_until(f, f->ready == 1));
        assert_int_equal(f->ready_times, 3);
        accept_daemon(f);
        (void)run_unbind(f, 0, &f->outcomes[2]);
        answer(f, "{\"seq\":3,\"event\":\"done\",\"errno\":0}");
        assert_true(run_until(f, f->outcomes[2].times == 1));
        assert_int_equal(f->outcomes[2].error, 0);
        assert_int_equal(f->outcomes[0].times, 1);
}

static void test_nobody_there(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[0];

        assert_int_equal(f->kernel->ops->start(f->kernel), 0);
        (void)run_unbind(f, 0, o);
        assert_true(run_until(f, o->times == 1));
        assert_int_equal(o->error, ENOTCONN);
        assert_non_null(strstr(o->text, "dmaowner-executor.service"));
        assert_int_equal(f->ready, -1);
        /* a step tries at once, whatever the timer says */
        run_for(f, 300000);
        listen_as_executor(f);
        (void)run_unbind(f, 0, &f->outcomes[1]);
        assert_non_null(strstr(received(f), "\"seq\":2}"));
        assert_true(run_until(f, f->ready == 1));
}

/* Waits for somebody, so any number of it may be under way. */
static int run_wait_closed(Fixture *f, Outcome *outcome) {
        Step step = { .kind = STEP_WAIT_CLOSED, .group = 12 };

        return f->kernel->ops->run(f->kernel, &step, NULL, 0, on_done, outcome, NULL);
}

static void test_more_than_the_socket_takes(void **state) {
        Fixture *f = *state;
        Outcome last = { .fds = { -EBADF, -EBADF } };
        unsigned n = 4000;

        for (unsigned i = 1; i < n; i++) {
                assert_int_equal(run_wait_closed(f, &last), 0);
        }
        for (unsigned i = 1; i < n; i++) {
                char seq[32];
                const char *packet;

                while (str_empty(packet = received(f)))
                        assert_true(sd_event_run(f->event, SOON) > 0);
                (void)snprintf(seq, sizeof(seq), "\"seq\":%u}", i);
                assert_non_null(strstr(packet, seq));
        }
        run_for(f, 50000);
        assert_int_equal(last.times, 0);
}

static void test_unsent_steps_are_told_from_lost_ones(void **state) {
        Fixture *f = *state;
        Outcome all[2000] = {};

        for (size_t i = 0; i < 2000; i++)
                assert_int_equal(run_wait_closed(f, &all[i]), 0);
        f->peer = safe_close(f->peer);
        run_for(f, 50000);
        assert_int_equal(all[0].error, ECONNRESET);
        assert_int_equal(all[1999].error, ENOTCONN);
        for (size_t i = 0; i < 2000; i++) {
                assert_int_equal(all[i].times, 1);
                free(all[i].text);
                free(all[i].driver_then);
        }
}

static size_t count_received(Fixture *f) {
        size_t n = 0;

        run_for(f, 20000);
        while (!str_empty(received(f)))
                n++;
        return n;
}

static void test_steps_take_turns(void **state) {
        enum {
                STEPS = 20,
                AT_ONCE = 8
        };
        Fixture *f = *state;
        Outcome all[STEPS] = {};
        KernelOp *ops[STEPS];

        for (size_t i = 0; i < STEPS; i++)
                ops[i] = run_unbind(f, 0, &all[i]);
        assert_int_equal(count_received(f), AT_ONCE);
        /* one that only waits for somebody is not held up */
        assert_int_equal(run_wait_closed(f, &f->outcomes[0]), 0);
        assert_int_equal(count_received(f), 1);
        /* the next begins when one is done, or is cancelled */
        answer(f, "{\"seq\":3,\"event\":\"done\",\"errno\":0}");
        assert_true(run_until(f, all[2].times == 1));
        assert_int_equal(count_received(f), 1);
        f->kernel->ops->cancel(ops[0]);
        assert_int_equal(count_received(f), 2); /* its cancel, too */
        /* one that has not begun leaves no trace */
        f->kernel->ops->cancel(ops[STEPS - 1]);
        assert_int_equal(count_received(f), 0);
        /* a kernel that hangs holds nobody up for long */
        run_for(f, 1200000);
        assert_int_equal(count_received(f), STEPS - AT_ONCE - 3);
        assert_int_equal(all[0].times + all[STEPS - 1].times, 0);
        f->peer = safe_close(f->peer);
        assert_true(run_until(f, all[STEPS - 2].times == 1));
        for (size_t i = 0; i < STEPS; i++) {
                free(all[i].text);
                free(all[i].driver_then);
        }
}

/* What has not begun when the executor goes was certainly not done. */
static void test_steps_whose_turn_never_came(void **state) {
        enum {
                STEPS = 20
        };
        Fixture *f = *state;
        Outcome all[STEPS] = {};

        for (size_t i = 0; i < STEPS; i++)
                (void)run_unbind(f, 0, &all[i]);
        f->peer = safe_close(f->peer);
        run_for(f, 50000);
        assert_int_equal(all[0].error, ECONNRESET);
        assert_int_equal(all[STEPS - 1].error, ENOTCONN);
        for (size_t i = 0; i < STEPS; i++) {
                assert_int_equal(all[i].times, 1);
                free(all[i].text);
                free(all[i].driver_then);
        }
}

static void test_deadline(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[0];

        (void)run_unbind(f, 50000, o);
        (void)received(f);
        assert_true(run_until(f, o->times == 1));
        assert_int_equal(o->error, ETIMEDOUT);
        assert_non_null(strstr(o->text, "0.05s"));
        assert_string_equal(received(f), "{\"cancel\":1}");
        /* what comes after is nobody's any more */
        answer(f, "{\"seq\":1,\"event\":\"done\",\"errno\":0}");
        run_for(f, 50000);
        assert_int_equal(o->times, 1);
        assert_int_equal(f->ready, 1);
}

static void test_deadline_names_who_is_waited_for(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[0];
        Step step = { .kind = STEP_WAIT_CLOSED, .group = 12 };

        (void)run_step(f, &step, 100000, o);
        answer(f, "{\"seq\":1,\"event\":\"waiting\",\"text\":\"qemu (pid 7)\"}");
        assert_true(run_until(f, o->times == 1));
        assert_int_equal(o->error, ETIMEDOUT);
        assert_non_null(strstr(o->text, "qemu (pid 7)"));
}

static void test_cancel(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[0];
        KernelOp *op = run_unbind(f, 100000, o);

        (void)received(f);
        f->kernel->ops->cancel(op);
        assert_string_equal(received(f), "{\"cancel\":1}");
        answer(f, "{\"seq\":1,\"event\":\"done\",\"errno\":0}");
        run_for(f, 200000);
        assert_int_equal(o->times, 0);
        assert_int_equal(f->ready, 1);
}

static void test_cancel_before_a_certain_answer(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[0];
        KernelOp *op;

        assert_int_equal(f->kernel->ops->start(f->kernel), 0);
        op = run_unbind(f, 0, o);
        f->kernel->ops->cancel(op);
        run_for(f, 50000);
        assert_int_equal(o->times, 0);
}

static void test_cancel_while_its_facts_are_told(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[0];

        f->cancel_on_seen = run_unbind(f, 0, o);
        host_set_driver(&f->host, NIC, "vfio-pci");
        answer(f, "{\"seq\":1,\"event\":\"done\",\"errno\":0}");
        assert_true(run_until(f, !f->cancel_on_seen));
        run_for(f, 50000);
        assert_int_equal(o->times, 0);
        assert_string_equal(f->driver, "vfio-pci");
}

static void test_release_is_not_for_the_kernel(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[0];
        Step step = { .kind = STEP_RELEASE, .group = 12 };

        (void)run_step(f, &step, 0, o);
        assert_true(run_until(f, o->times == 1));
        assert_int_equal(o->error, EINVAL);
        assert_string_equal(received(f), "");
}

static uint64_t now_usec(void) {
        struct timespec t;

        assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &t), 0);
        return (uint64_t)t.tv_sec * 1000000U + (uint64_t)t.tv_nsec / 1000U;
}

static void node_event(Fixture *f, const char *action, const char *name, uint64_t initialized) {
        discovery_event(linux_kernel_discovery(f->kernel),
                        &(DeviceEvent){ .action = action,
                                        .subsystem = "vfio",
                                        .name = name,
                                        .path = "/sys/devices/virtual/vfio/12",
                                        .initialized = initialized });
}

#define NODE "sys/class/vfio/4000000" /* no group of this computer's has that number */

static void test_wait_node(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[0];
        Step step = { .kind = STEP_WAIT_NODE, .group = 4000000 };

        (void)run_step(f, &step, 0, o);
        /* the node alone is not enough: udev may still change it */
        host_write(&f->host, NODE, "");
        node_event(f, "add", "4000001", now_usec());
        run_for(f, 50000);
        assert_int_equal(o->times, 0);
        node_event(f, "add", "4000000", now_usec());
        assert_true(run_until(f, o->times == 1));
        assert_int_equal(o->error, 0);
        assert_string_equal(received(f), ""); /* no business of the executor */
        /* and with all of it there already */
        (void)run_step(f, &step, 0, &f->outcomes[1]);
        assert_true(run_until(f, f->outcomes[1].times == 1));
        assert_int_equal(f->outcomes[1].error, 0);
}

static void test_wait_node_of_a_new_binding(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[1];
        Step unbind = { .kind = STEP_UNBIND,
                        .device = (char *)NIC,
                        .group = 4000000,
                        .value = (char *)"vfio-pci" };
        Step wait = { .kind = STEP_WAIT_NODE, .group = 4000000 };
        uint64_t former = now_usec();

        host_write(&f->host, NODE, "");
        node_event(f, "add", "4000000", former);
        (void)run_step(f, &unbind, 0, &f->outcomes[0]);
        host_remove(&f->host, NODE);
        answer(f, "{\"seq\":1,\"event\":\"done\",\"errno\":0}");
        assert_true(run_until(f, f->outcomes[0].times == 1));
        /* bound anew, while udev has still to hear of it */
        host_write(&f->host, NODE, "");
        (void)run_step(f, &wait, 0, o);
        node_event(f, "change", "4000000", former);
        run_for(f, 50000);
        assert_int_equal(o->times, 0);
        node_event(f, "add", "4000000", now_usec());
        assert_true(run_until(f, o->times == 1));
        assert_int_equal(o->error, 0);
}

static void test_wait_node_in_vain(void **state) {
        Fixture *f = *state;
        Outcome *o = &f->outcomes[0];
        Step step = { .kind = STEP_WAIT_NODE, .group = 4000000 };

        (void)run_step(f, &step, 50000, o);
        node_event(f, "add", "4000000", now_usec()); /* without a node */
        assert_true(run_until(f, o->times == 1));
        assert_int_equal(o->error, ETIMEDOUT);
        assert_non_null(strstr(o->text, "/dev/vfio/4000000"));
        assert_string_equal(received(f), "");
}

static void test_locks(void **state) {
        Fixture *f = *state;
        int (*is_locked)(Kernel *, unsigned) = f->kernel->ops->group_is_locked;

        assert_int_equal(is_locked(f->kernel, 12), -1);
        assert_int_equal(is_locked(f->kernel, 14), -1);
        assert_int_equal(is_locked(f->kernel, 15), -1);
        assert_int_equal(is_locked(f->kernel, 12), -1);
        assert_string_equal(received(f), "{\"locks\":[12]}");
        assert_string_equal(received(f), "");
        answer(f, "{\"locked\":[12]}");
        run_for(f, 50000);
        assert_string_equal(received(f), "{\"locks\":[14,15]}");
        assert_int_equal(is_locked(f->kernel, 12), 1);
        answer(f, "{\"locked\":[15]}");
        run_for(f, 50000);
        assert_int_equal(is_locked(f->kernel, 14), 0);
        assert_int_equal(is_locked(f->kernel, 15), 1);
        /* an answer is given once */
        assert_int_equal(is_locked(f->kernel, 15), -1);
        assert_string_equal(received(f), "{\"locks\":[15]}");
}

static void test_locks_are_asked_again_after_a_loss(void **state) {
        Fixture *f = *state;
        int (*is_locked)(Kernel *, unsigned) = f->kernel->ops->group_is_locked;

        assert_int_equal(is_locked(f->kernel, 12), -1);
        f->peer = safe_close(f->peer);
        assert_true(run_until(f, f->ready == 0));
        assert_true(run_until(f, f->ready == 1));
        accept_daemon(f);
        assert_string_equal(received(f), "");
        assert_int_equal(is_locked(f->kernel, 12), -1);
        assert_string_equal(received(f), "{\"locks\":[12]}");
}

int main(void) {
#define TEST(name)       cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_ALONE(name) cmocka_unit_test_setup_teardown(name, setup_without_executor, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_step_is_sent_and_done),
                TEST(test_failure_says_why),
                TEST(test_answers_out_of_order),
                TEST(test_override_is_what_was_read_back),
                TEST(test_type_is_read_for_the_whole_group),
                TEST(test_claim_brings_descriptors),
                TEST(test_descriptors_nobody_asked_for_are_closed),
                TEST(test_wrong_number_of_descriptors),
                TEST(test_garbage_ends_the_connection),
                TEST(test_connection_loss),
                TEST_ALONE(test_nobody_there),
                TEST(test_more_than_the_socket_takes),
                TEST(test_unsent_steps_are_told_from_lost_ones),
                TEST(test_steps_take_turns),
                TEST(test_steps_whose_turn_never_came),
                TEST(test_deadline),
                TEST(test_deadline_names_who_is_waited_for),
                TEST(test_cancel),
                TEST_ALONE(test_cancel_before_a_certain_answer),
                TEST(test_cancel_while_its_facts_are_told),
                TEST(test_release_is_not_for_the_kernel),
                TEST(test_wait_node),
                TEST(test_wait_node_of_a_new_binding),
                TEST(test_wait_node_in_vain),
                TEST(test_locks),
                TEST(test_locks_are_asked_again_after_a_loss),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
