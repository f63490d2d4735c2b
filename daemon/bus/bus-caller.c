/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who a caller is. The bus itself vouches for the uid and the groups that a connection had when it was
 * made; nothing is looked up by pid, which may be somebody else's by now: its unit only by a descriptor
 * of the process, where the bus gives one. One short call to the bus per connection; the answer is
 * remembered. It has a connection of its own: on that of the daemon the answer would stand behind all that others
 * have sent, and waiting for it would mean to take that in, with its descriptors, unbounded.
 */

#include <errno.h>
#include <grp.h>
#include <string.h>

#include "bus/bus-internal.h"
#include "manager/process.h"
#include "util/strings.h"

#define GROUP_NAME   "dmaowner"
#define TIMEOUT_USEC 5000000ULL

/* Once, at the start: it may ask a server far away. */
int bus_caller_init(BusServer *s) {
        char buffer[16384];
        struct group group, *found = NULL;
        int r = getgrnam_r(GROUP_NAME, &group, buffer, sizeof(buffer), &found);

        /* any other says in its own way that there is none */
        if (r == ENOMEM || r == EMFILE || r == ENFILE || r == EIO)
                return -r;
        s->member_gid = r == 0 && found ? (int64_t)found->gr_gid : -1;
        return 0;
}

static int read_groups(const BusServer *s, sd_bus_message *m, Caller *caller) {
        uint32_t gid;
        int r;

        r = sd_bus_message_enter_container(m, 'v', "au");
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "u");
        while (r >= 0 && (r = sd_bus_message_read(m, "u", &gid)) > 0) {
                if (gid == s->member_gid)
                        caller->member = true;
                r = caller_add_group(caller, gid);
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* A bus that hands out a descriptor of the process proves which one it is. What cannot be said of it matches no
 * rule. */
static int read_unit(sd_bus_message *m, Caller *caller) {
        int pidfd, r = sd_bus_message_read(m, "v", "h", &pidfd);

        if (r >= 0 && process_unit(pidfd, &caller->unit) == -ENOMEM)
                r = -ENOMEM;
        return r;
}

static int read_credentials(const BusServer *s, sd_bus_message *m, Caller *caller) {
        bool has_uid = false;
        const char *key;
        uint32_t uid;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &key);
                if (r >= 0 && strcmp(key, "UnixUserID") == 0) {
                        r = sd_bus_message_read(m, "v", "u", &uid);
                        caller->uid = uid;
                        has_uid = true;
                } else if (r >= 0 && strcmp(key, "UnixGroupIDs") == 0)
                        r = read_groups(s, m, caller);
                else if (r >= 0 && strcmp(key, "ProcessFD") == 0)
                        r = read_unit(m, caller);
                else if (r >= 0)
                        r = sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : has_uid ? 0 : -ENODATA;
}

static int ask_bus(BusServer *s, const char *sender, Caller *ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
        _cleanup_caller_ Caller caller = {};
        int r;

        r = sd_bus_message_new_method_call(s->asking, &call, "org.freedesktop.DBus",
                                           "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                           "GetConnectionCredentials");
        if (r >= 0)
                r = sd_bus_message_append(call, "s", sender);
        if (r >= 0)
                r = sd_bus_call(s->asking, call, TIMEOUT_USEC, NULL, &reply);
        if (r >= 0)
                r = read_credentials(s, reply, &caller);
        if (r < 0)
                return r;
        caller.privileged = caller.uid == 0 || (s->simulated && caller.uid == geteuid());
        *ret = caller;
        caller = (Caller){};
        return 0;
}

static int find_peer(BusServer *s, const char *sender, Peer **ret) {
        _cleanup_caller_ Caller caller = {};
        Peer *peer;
        bool gone;
        int r;

        for (size_t i = 0; i < PEERS; i++)
                if (str_eq(s->peers[i].name, sender)) {
                        *ret = &s->peers[i];
                        return s->peers[i].gone ? -ENXIO : 0;
                }
        r = ask_bus(s, sender, &caller);
        /* that it has left is the bus's answer too, and not asked for with each property of each object that it
         * wanted to see */
        if (r < 0 && r != -ENXIO)
                return r;
        gone = r < 0;
        peer = &s->peers[s->next_peer];
        r = str_set(&peer->name, sender);
        if (r < 0)
                return r;
        caller_clear(&peer->caller);
        peer->caller = caller;
        caller = (Caller){};
        s->next_peer = (s->next_peer + 1) % PEERS;
        peer->gone = gone;
        *ret = peer;
        return gone ? -ENXIO : 0;
}

int bus_caller(BusServer *s, sd_bus_message *m, const Caller **ret) {
        const char *sender = sd_bus_message_get_sender(m);
        Peer *peer;
        int r;

        if (!sender)
                return -ENODATA;
        r = find_peer(s, sender, &peer);
        if (r < 0)
                return r;
        peer->caller.sees = policy_check_manage(manager_policy(s->m), &peer->caller, NULL,
                                                MANAGE_SEE, NULL) == 0;
        *ret = &peer->caller;
        return 0;
}
