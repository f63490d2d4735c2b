/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The connection to the executor: packets of JSON over a SEQPACKET socket, as docs/executor.md
 * describes. Connects again by itself. Knows nothing of what the packets mean.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "shared/vfio-file.h"

typedef struct Executor Executor;

typedef struct ExecutorEvents {
        /* Called from the event loop, before anything else that follows from it. */
        void (*ready)(bool ready, void *userdata);
        /* A packet; the receiver takes the descriptors that it wants to keep. A negative return says
         * that it makes no sense, which ends the connection. */
        int (*packet)(json_object *o, Descriptors *fds, void *userdata);
        /* The connection is gone. May be called from inside executor_send(). */
        void (*lost)(void *userdata);
        void *userdata;
} ExecutorEvents;

int executor_new(sd_event *event, const char *socket, const ExecutorEvents *events, Executor **ret);
Executor *executor_free(Executor *e);
DEFINE_CLEANUP(Executor *, executor_free);

/* Begins to connect. */
int executor_start(Executor *e);
/* Sends or queues, with the files or (NULL) none, which are taken over on success; tries to connect
 * if there is no connection. seq tells the packet for executor_unqueue(). -ENOTCONN: nobody is
 * there. */
int executor_send(Executor *e, uint64_t seq, json_object *o, VfioFiles *files);
/* Takes a packet back that was not sent. False if it was. Also from inside lost(). */
bool executor_unqueue(Executor *e, uint64_t seq);
