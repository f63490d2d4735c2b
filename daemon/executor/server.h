/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The main process: takes packets from the daemon and gives each step a process of its own. */

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "shared/sysfs.h"
#include "util/cleanup.h"

typedef struct Server Server;

/* All are taken over on success: listen, a listening SEQPACKET socket; sysfs; runtime, the folder
 * for locks and memory. daemon_uid: who may connect, besides root and our own user. SIGCHLD has to
 * be blocked. */
int server_new(sd_event *event, int listen, Sysfs *sysfs, int runtime, uid_t daemon_uid,
               Server **ret);
Server *server_free(Server *s);
DEFINE_CLEANUP(Server *, server_free);
