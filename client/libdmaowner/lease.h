/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "client/libdmaowner/connection.h"
#include "client/libdmaowner/files.h"
#include "client/libdmaowner/properties.h"

/* What can be under way, each at most once at a time. */
typedef enum Operation {
        OPERATION_ACQUIRE, /* or find */
        OPERATION_WATCH,   /* the match for its signals */
        OPERATION_LOOK,    /* all properties */
        OPERATION_RELEASE,
        OPERATION_RENEW,
        OPERATION_CONFIRM,
        OPERATION_OPEN,
        _OPERATION_MAX,
} Operation;

struct dmaowner_lease {
        unsigned n_ref;
        dmaowner *o;
        dmaowner_lease *next, **link; /* among those of the connection */
        dmaowner_lease_callback callback;
        void *userdata;
        sd_bus_slot *calls[_OPERATION_MAX]; /* not answered yet */
        sd_bus_slot *match;
        char *path;           /* NULL: not known yet, or there is no such lease */
        char *ended;          /* the reason that the signal Ended gave; NULL: no such signal */
        int error;            /* negative errno */
        char *name, *message; /* of the error */
        Properties properties;
        Files files;
        size_t n_opened; /* devices whose files were asked for */
        uint32_t group;  /* that of the next */
        int lifeline;
        bool is_wide; /* counts in connection_widen() */
        bool release_when_known, released, look_again;
};

/* A signal on the path of one of the connection's leases, maybe. */
void leases_see_signal(dmaowner *o, sd_bus_message *m);
/* The daemon, or the bus, has come or gone. */
void leases_see_daemon(dmaowner *o);

/* Something that a person or program starts: errors of before are over. */
int lease_begin(dmaowner_lease *l, Operation operation);
/* Sends m; handler gets the answer. */
int lease_start(dmaowner_lease *l, Operation operation, sd_bus_message *m,
                sd_bus_message_handler_t handler);
/* The answer has come. 0: it is well; otherwise the error is noted. */
int lease_answered(dmaowner_lease *l, Operation operation, sd_bus_message *m);
/* A negative r is the lease's error now. Tells whoever watches. Returns 0, for handlers. */
int lease_settle(dmaowner_lease *l, int r);
int lease_new_call(dmaowner_lease *l, sd_bus_message **ret, const char *interface,
                   const char *method);
