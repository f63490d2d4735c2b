/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A lease of this process: asked for, waited for, watched. Signals that would end the process are
 * counted instead, so that whatever was begun can be undone. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include <json-c/json.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "client/options.h"
#include "util/cleanup.h"

typedef struct Hold {
        sd_bus *bus;
        sd_event *event;
        sd_bus_slot *narrow; /* match for the signals of this lease, once its path is known */
        sd_bus_message *reply;
        sigset_t former_mask;
        char *path;
        json_object *lease; /* its properties, kept up to date by signals */
        char *ended;        /* the reason that the signal Ended gave; NULL: no such signal */
        int lifeline;
        unsigned n_signals;
        int signo;   /* the last one */
        pid_t child; /* signals go to it, 0: none */
        bool daemon_gone;
        bool disconnected; /* from the bus */
} Hold;

#define HOLD_NULL ((Hold){ .lifeline = -EBADF })

void hold_close(Hold *h);
#define _cleanup_hold_ _cleanup_(hold_close)

/* Connects and gets ready to watch. 0 or an ExitStatus. */
int hold_open(Hold *h, const Options *o);
/* Asks, and waits until the lease is active. A signal meanwhile takes everything back. owner and
 * holder as for bus_append_request(). 0 or an ExitStatus. */
int hold_acquire(Hold *h, const Options *o, const char *owner, const char *holder);
/* Waits for the next thing to happen. After a daemon came back it asks anew how the lease is. 0 or
 * an ExitStatus. */
int hold_run(Hold *h);
/* Gives the lease back; returns when the right is gone. 0 or an ExitStatus. */
int hold_release(Hold *h);
/* The right is there, though it may be about to go. */
bool hold_is_alive(const Hold *h);
/* Why it is not: reports, and returns the ExitStatus. */
int hold_report_end(const Hold *h);

const char *hold_id(const Hold *h);
