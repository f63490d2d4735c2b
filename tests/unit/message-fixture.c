/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>
#include <sys/socket.h>

#include "message-fixture.h"
#include "util/cleanup.h"

int message_setup(void **state) {
        _cleanup_close_ int other = -EBADF;
        sd_bus *bus = NULL;
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -1;
        other = fds[1];
        if (sd_bus_new(&bus) < 0 || sd_bus_set_fd(bus, fds[0], fds[0]) < 0 || sd_bus_start(bus) < 0)
                return -1;
        *state = bus;
        return 0;
}

int message_teardown(void **state) {
        sd_bus_close_unref(*state);
        return 0;
}

sd_bus_message *message_new(sd_bus *bus) {
        sd_bus_message *m = NULL;

        assert_true(sd_bus_message_new_signal(bus, &m, "/org/example", "org.example.A", "B") >= 0);
        return m;
}

void message_seal(sd_bus_message *m) {
        assert_true(sd_bus_message_seal(m, 1, 0) >= 0);
        assert_true(sd_bus_message_rewind(m, true) >= 0);
}
