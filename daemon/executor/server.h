/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The main process: takes packets from the daemon and gives each step a process of its own. */

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "shared/sysfs.h"
#include "util/cleanup.h"

typedef struct Server Server;

typedef struct ServerSockets {
        int listen;  /* SEQPACKET */
        int netlink; /* of the host's network interfaces, see executor/netlink.h */
        int audit;   /* of the kernel's audit log; -EBADF: there is none */
} ServerSockets;

#define SERVER_SOCKETS_NULL \
        ((ServerSockets){ .listen = -EBADF, .netlink = -EBADF, .audit = -EBADF })
#define _cleanup_server_sockets_ _cleanup_(server_sockets_close)
void server_sockets_close(ServerSockets *s);

/* All are taken over on success: sockets; sysfs; runtime, the folder for locks and memory.
 * daemon_uid: who may connect, besides root and our own user. SIGCHLD has to be blocked. */
int server_new(sd_event *event, ServerSockets *sockets, Sysfs *sysfs, int runtime, uid_t daemon_uid,
               Server **ret);
Server *server_free(Server *s);
DEFINE_CLEANUP(Server *, server_free);
