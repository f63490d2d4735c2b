/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Descriptors that were sent and that their receiver has not read. dbus-daemon keeps them for him, and while it has 64
 * that came from one connection (max_incoming_unix_fds) it takes nothing more from it: a client that asks, and does not
 * read, would keep the answers from everybody. It counts them, so it is asked before there can be too many. dbus-broker
 * charges whom they are for instead, and has nothing to ask.
 */

#include <linux/sockios.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "bus/bus-internal.h"

#define TIMEOUT_USEC  5000000ULL
#define SENT_UNASKED  16 /* so many may wait without anybody asking */
#define UNREAD_OF_ONE 16 /* of a receiver who has not read the last ones */
#define UNREAD_OF_ALL 60
#define MOMENTS       100

/* 0 where the bus does not tell. */
static uint32_t read_count(sd_bus_message *m, const char *wanted) {
        uint32_t count = 0;
        const char *key;
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");

        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &key);
                if (r >= 0)
                        r = strcmp(key, wanted) == 0 ? sd_bus_message_read(m, "v", "u", &count)
                                                     : sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? 0 : count;
}

static uint32_t ask(BusServer *s, const char *connection, const char *wanted) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
        int r;

        r = sd_bus_message_new_method_call(s->asking, &call, "org.freedesktop.DBus",
                                           "/org/freedesktop/DBus",
                                           "org.freedesktop.DBus.Debug.Stats",
                                           "GetConnectionStats");
        if (r >= 0)
                r = sd_bus_message_append(call, "s", connection);
        if (r >= 0)
                r = sd_bus_call(s->asking, call, TIMEOUT_USEC, NULL, &reply);
        return r < 0 ? 0 : read_count(reply, wanted);
}

/* Has the bus taken all that was sent? Usually it does at once, and is given a moment for it. */
static bool bus_has_all(BusServer *s) {
        static const struct timespec moment = { .tv_nsec = 200000 };
        int fd = sd_bus_get_fd(s->bus), unread = -1;
        uint64_t queued;

        if (fd < 0 || sd_bus_get_n_queued_write(s->bus, &queued) < 0 || queued > 0)
                return false;
        for (unsigned i = 0; i < MOMENTS; i++) {
                if (ioctl(fd, SIOCOUTQ, &unread) < 0 || unread == 0)
                        break;
                (void)nanosleep(&moment, NULL);
        }
        return unread == 0;
}

static int check(BusServer *s, sd_bus_message *call, uint32_t n, Fault *fault) {
        bool has_all = bus_has_all(s);
        uint32_t his = ask(s, sd_bus_message_get_sender(call), "OutgoingFDs");

        s->unread = ask(s, BUS_NAME, "IncomingFDs");
        if (his > 0 && his + n > UNREAD_OF_ONE)
                return fault_set(fault, ERROR_QUOTA_EXCEEDED,
                                 "you have not read answers with %u descriptors: read them first",
                                 (unsigned)his);
        /* what is still on its way to the bus is not counted there yet */
        if (s->unread + s->sent + n > UNREAD_OF_ALL)
                return fault_set(fault, ERROR_BUSY,
                                 "the bus holds %u descriptors that clients do not read: try again",
                                 (unsigned)(s->unread + s->sent));
        if (has_all)
                s->sent = 0;
        return 0;
}

int bus_check_unread(BusServer *s, sd_bus_message *call, size_t n, Fault *fault) {
        int r = 0;

        if (s->unread + s->sent + n > SENT_UNASKED)
                r = check(s, call, (uint32_t)n, fault);
        if (r == 0)
                s->sent += (uint32_t)n;
        return r;
}
