/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A lease of this process: asked for, waited for, watched. Signals that would end the process are
 * counted instead, so that whatever was begun can be undone. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "client/libdmaowner/dmaowner.h"
#include "client/options.h"
#include "util/cleanup.h"

typedef struct Hold {
        sd_bus *bus;
        sd_event *event;
        dmaowner *connection;
        dmaowner_lease *lease;
        sigset_t former_mask;
        char *state;        /* as it was last seen */
        uint64_t revoke_at; /* of the last request to leave that was told; 0: none */
        unsigned n_signals;
        int signo;   /* the last one */
        pid_t child; /* signals go to it, 0: none */
        bool daemon_was_gone;
} Hold;

#define HOLD_NULL ((Hold){})

void hold_close(Hold *h);
#define _cleanup_hold_ _cleanup_(hold_close)

/* Connects and gets ready to watch. 0 or an ExitStatus. */
int hold_open(Hold *h, const Options *o);
/* Asks, and waits until the lease is active. A signal meanwhile takes everything back. owner and
 * holder as for request_from_options(). 0 or an ExitStatus. */
int hold_acquire(Hold *h, const Options *o, const char *owner, const char *holder);
/* Waits for the next thing to happen. 0 or an ExitStatus. */
int hold_run(Hold *h);
/* Gives the lease back; returns when the right is gone. 0 or an ExitStatus. */
int hold_release(Hold *h);
/* Fetches the files that are lent. 0 or an ExitStatus. */
int hold_open_files(Hold *h);
/* Why the lease is over: reports, and returns the ExitStatus. */
int hold_report_end(const Hold *h);
