/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Descriptors that were sent and that their receiver has not read. dbus-daemon keeps them for him, and while it has 64
 * that came from one connection (max_incoming_unix_fds) it takes nothing more from it: a client that asks, and does not
 * read, would keep the answers from everybody. It counts them, so it is asked before there can be too many. dbus-broker
 * charges whom they are for instead, and has nothing to ask.
 */

#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "bus/bus-internal.h"

#define TIMEOUT_USEC 5000000ULL
#define SENT_UNASKED 16 /* so many may be unread without anybody asking */
#define UNREAD_MAX   16 /* of one receiver */
#define LOOKS        5

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

/* What the bus is only about to deliver counts as well, so it is looked at again before it is held against him: who reads
 * has less each time. */
static int check(BusServer *s, sd_bus_message *call, uint32_t n, Fault *fault) {
        static const struct timespec moment = { .tv_nsec = 1000000 };
        uint32_t his = ask(s, sd_bus_message_get_sender(call), "OutgoingFDs");

        for (unsigned i = 0; i < LOOKS && his > 0 && his + n > UNREAD_MAX; i++) {
                (void)nanosleep(&moment, NULL);
                his = ask(s, sd_bus_message_get_sender(call), "OutgoingFDs");
        }
        if (his > 0 && his + n > UNREAD_MAX)
                return fault_set(fault, ERROR_QUOTA_EXCEEDED,
                                 "you have not read answers with %u descriptors: read them first",
                                 (unsigned)his);
        s->sent = ask(s, BUS_NAME, "IncomingFDs");
        return 0;
}

int bus_check_unread(BusServer *s, sd_bus_message *call, size_t n, Fault *fault) {
        int r = 0;

        if (s->sent + n > SENT_UNASKED)
                r = check(s, call, (uint32_t)n, fault);
        if (r == 0)
                s->sent += (uint32_t)n;
        return r;
}
