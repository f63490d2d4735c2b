/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared by the files of this folder only. */

#include <systemd/sd-bus.h>

#include "bus/bus.h"
#include "core/policy.h"

#define PEERS 64

/* What the bus says of one of its connections. Unique names are never used again. */
typedef struct Peer {
        char *name;
        bool gone; /* whose messages are still to be read */
        Caller caller;
} Peer;

/* A lease that lives as long as a connection. */
typedef struct Tracked Tracked;
typedef struct Pending Pending;
/* What administrators are asked. */
typedef struct Question Question;

struct BusServer {
        sd_bus *bus;
        sd_bus *asking; /* to ask the bus who somebody is: see bus-caller.c */
        Manager *m;
        bool simulated;
        char *bus_id;
        int64_t member_gid; /* of those who may take devices; -1: there is no such group on this host */
        Peer peers[PEERS]; /* a ring: the oldest is forgotten */
        size_t next_peer;
        uint32_t sent; /* bus-unread.c: descriptors that were unread when the bus was asked, and those sent since */
        Tracked *tracked;
        Pending *pending;    /* calls that are answered later; utlist, doubly linked */
        Question *questions; /* the same */
        unsigned long long last_question;
        sd_event_source *answer_again;
        bool signalling; /* properties are read for everybody, not for a caller */
};

/* bus-caller.c */
int bus_caller_init(BusServer *s);
/* Who sent the message, as the bus itself says. A negative errno if it has left. */
int bus_caller(BusServer *s, sd_bus_message *m, const Caller **ret);

/* bus-unread.c: may so many descriptors be sent to who calls? 0, and then they are counted; or -ECANCELED with the
 * fault set. */
int bus_check_unread(BusServer *s, sd_bus_message *call, size_t n, Fault *fault);

/* bus-authorise.c */
void bus_authorise_end(BusServer *s);
/*
 * Has an administrator agreed to this call? 0: yes. 1: he is being asked, and handler is run again, with the call,
 * when he has answered. -ECANCELED with the fault set, or another errno. action: polkit's.
 */
int bus_authorise(BusServer *s, sd_bus_message *call, sd_bus_message_handler_t handler,
                  const char *action, Fault *fault);
/* He was asked, and has. */
bool bus_is_authorised(BusServer *s, sd_bus_message *call);
/* May who calls do this to what is that owner's, or (NULL) the host's? Answers like bus_authorise(). */
int bus_may_manage(BusServer *s, sd_bus_message *call, sd_bus_message_handler_t handler,
                   const Owner *owner, ManageAction action, Fault *fault);

/* bus-request.c: reads "a{sv}" options of Acquire and Explain into a request for these devices.
 * pidfd: a duplicate, or -EBADF. -ECANCELED with the fault set, or another errno. */
int bus_read_request(BusServer *s, sd_bus_message *m, const Caller *caller, Request *ret,
                     int *ret_pidfd, Fault *fault);

/* Texts that people will read in a terminal: short, and without control characters. */
int bus_check_text(const char *what, const char *text, Fault *fault);
/* microseconds; 0 is allowed where it means "for ever" (Renew) */
int bus_check_ttl(uint64_t ttl, Fault *fault);
/* May this process be the holder of a lease of that uid? Says which process it is. */
int bus_check_process(int pidfd, uid_t uid, const Caller *caller, pid_t *ret_pid,
                      uint64_t *ret_start, Fault *fault);

/* bus-property.c: the properties of an object as a table, for getters and for lists alike */
typedef struct BusProperty {
        const char *name;
        const char *signature;
        /* caller: who looks; NULL: everybody */
        int (*append)(sd_bus_message *reply, const void *object, const Caller *caller);
} BusProperty;

/* A getter for a vtable whose objects have that table (ended by a NULL name). */
int bus_property_get(BusServer *s, const BusProperty *table, const char *name,
                     sd_bus_message *reply, const void *object);
/* Appends each as a dict entry {sv}. */
int bus_property_append_all(sd_bus_message *reply, const BusProperty *table, const void *object,
                            const Caller *caller);
/* Appends one {sv}. */
int bus_append_entry(sd_bus_message *reply, const char *name, const char *type, ...);
int bus_append_owner(sd_bus_message *reply, const Owner *owner, const Caller *caller);

/* bus-pending.c: a call that is answered later. Its requester gets an answer, whatever becomes of
 * it. */
struct Pending {
        BusServer *s;
        sd_bus_message *call;
        uid_t uid;
        const char *action; /* polkit's, of Acquire */
        int error;          /* what is still to be said, for want of memory */
        Pending *prev, *next;
};

int bus_pending_init(BusServer *s, sd_event *event);
void bus_pending_end(BusServer *s);
/* -ECANCELED with the fault set if that user waits for too many answers, or -ENOMEM. */
int pending_new(BusServer *s, sd_bus_message *call, const Caller *caller, Pending **ret,
                Fault *fault);
/* r: whether it could be answered; if not, it is answered with that. */
void pending_finish(Pending *p, int r);

/* Answers with the fault, or with the errno if that is what r is. */
int bus_reply_fault(sd_bus_message *call, int r, const Fault *fault);

/* bus-audit.c: what stands in the journal of a call */
/* The same, and the refusal is recorded: for whatever is no mere question. */
int bus_refuse(BusServer *s, sd_bus_message *call, int r, const Fault *fault);
/* The caller may do it, and it is about to be done: to something that is not his own, or not only. */
void bus_audit_asked(BusServer *s, sd_bus_message *call, const Caller *caller);

/* one file per object */
extern const BusProperty group_properties[];
extern const BusProperty device_properties[];
extern const BusProperty lease_properties[];
int manager_bus_export(BusServer *s);
int group_bus_export(BusServer *s);
int device_bus_export(BusServer *s);
int lease_bus_export(BusServer *s);
int simulation_bus_export(BusServer *s);

int group_bus_path(const Group *g, char **ret);
int device_bus_path(const char *name, char **ret);
int lease_bus_path(const Lease *l, char **ret);

/* bus.c: the lease ends with the connection that the caller of this message has */
int bus_track_holder(BusServer *s, const Lease *l);
