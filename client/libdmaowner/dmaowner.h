/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DMAOWNER_H
#define DMAOWNER_H

/*
 * libdmaowner: leases of devices from dmaownerd, over D-Bus. libdmaowner(3) shows how it is used.
 *
 * What asks the daemon for something is started by its function and answered later. A program with an event
 * loop watches the connection and is told by the callback of the lease; one without waits with
 * dmaowner_lease_wait(). Both may be mixed, but nothing may be waited for inside a callback.
 *
 * Functions that return int return 0, or a negative errno if they could not even begin (-ENOMEM, -EINVAL, what
 * connecting to a bus can fail with). They leave nothing behind then. Objects are for one thread at a time.
 * Strings and arrays that are returned belong to the object, and are there until it changes.
 * Times are microseconds; those of day are CLOCK_BOOTTIME.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sd_bus sd_bus;
typedef struct sd_bus_message sd_bus_message;

typedef struct dmaowner dmaowner;                 /* a connection */
typedef struct dmaowner_request dmaowner_request; /* what is asked for */
typedef struct dmaowner_lease dmaowner_lease;

#define DMAOWNER_FOREVER UINT64_MAX

/* ---- The connection ---- */

/* To the system bus. */
int dmaowner_open(dmaowner **ret);
/* On a connection that one has already, and that somebody may have attached to an sd_event loop. It is
 * referenced, not taken over. */
int dmaowner_new(dmaowner **ret, sd_bus *bus);
dmaowner *dmaowner_ref(dmaowner *o);
/* Returns NULL. Leases hold a reference. */
dmaowner *dmaowner_unref(dmaowner *o);

/* For poll(): the descriptor, the events to wait for, and until when (CLOCK_MONOTONIC; UINT64_MAX: no limit).
 * Ask again before each poll(). */
int dmaowner_get_fd(dmaowner *o);
int dmaowner_get_events(dmaowner *o);
int dmaowner_get_timeout(dmaowner *o, uint64_t *ret);
/* Handles what has come, and calls callbacks. Negative, for good, when the bus is gone. */
int dmaowner_process(dmaowner *o);

/* False while the daemon is known to be away. Leases stay, and are looked at again when it is back. */
bool dmaowner_daemon_is_there(const dmaowner *o);
/* False when the bus has gone. */
bool dmaowner_is_connected(const dmaowner *o);

/* ---- What is asked for ---- */

/* kind: "user", "dma-api" or "private-domain". */
int dmaowner_request_new(dmaowner_request **ret, const char *kind);
/* Returns NULL. */
dmaowner_request *dmaowner_request_free(dmaowner_request *q);
/* A name such as "0000:3b:00.0", or a selector such as "class=02,numa=0". */
int dmaowner_request_add_device(dmaowner_request *q, const char *device);
/* Devices that are added from now on are to be tried if those before cannot be had. */
int dmaowner_request_begin_alternative(dmaowner_request *q);
/* An option of org.dmaowner1.Manager.Acquire, with its D-Bus type and value: "s" const char *, "b" int,
 * "i" int32_t, "u" uint32_t, "t" uint64_t, "h" int (a descriptor, which is duplicated). One that was set already is
 * replaced. -EINVAL: no such type. Whether the option exists is for the daemon to say. */
int dmaowner_request_set(dmaowner_request *q, const char *option, const char *type, ...);
/* Appends devices, kind and options ("assa{sv}"), for other methods that take the same, such as Explain. */
int dmaowner_request_append(const dmaowner_request *q, sd_bus_message *m);

/* ---- Leases ---- */

/* Starts to ask. Settled when the lease is held, or is over. The request can be freed at once. */
int dmaowner_acquire(dmaowner *o, const dmaowner_request *q, dmaowner_lease **ret);
/* Starts to look for a lease of that id, to watch it, or to do something with it. */
int dmaowner_find(dmaowner *o, const char *id, dmaowner_lease **ret);
dmaowner_lease *dmaowner_lease_ref(dmaowner_lease *l);
/* Returns NULL. The last reference closes the lifeline and what is left of the lent files: with the
 * holder "lifeline" this is the end of the lease. With others it lives on. */
dmaowner_lease *dmaowner_lease_unref(dmaowner_lease *l);

/* What is called whenever anything about the lease has changed, or what was started is answered, or the daemon
 * or the bus has come or gone. NULL: nobody. */
typedef void (*dmaowner_lease_callback)(dmaowner_lease *l, void *userdata);
void dmaowner_lease_set_callback(dmaowner_lease *l, dmaowner_lease_callback callback,
                                 void *userdata);

/* All that was started is answered, and the lease is not on its way to be held. */
bool dmaowner_lease_is_settled(const dmaowner_lease *l);
/* Waits until it is settled. 0: all went well. -ETIMEDOUT: not within so many microseconds (it goes on).
 * -EINTR: a signal came. Otherwise why it failed, see dmaowner_lease_get_error(). */
int dmaowner_lease_wait(dmaowner_lease *l, uint64_t usec);

/* These start; -EBUSY: the same was started and is not answered yet, -ENOTCONN: there is no lease yet (but for
 * release, which waits for the answer to dmaowner_acquire()). */

/* Gives it back. Settled when the right is gone; restoring goes on. */
int dmaowner_lease_release(dmaowner_lease *l);
/* New time to live from now; 0: for ever. */
int dmaowner_lease_renew(dmaowner_lease *l, uint64_t usec);
/* Moves the lease to the process of that pidfd as its holder. */
int dmaowner_lease_confirm(dmaowner_lease *l, int pidfd);
/* Fetches the files that the daemon lends with the option access "fd": then see
 * dmaowner_lease_get_files(). */
int dmaowner_lease_open_files(dmaowner_lease *l);

/* Why something failed, or the lease has: a negative errno (0: nothing failed), and what the daemon or the bus
 * says of it, "" if nothing. name is one of org.dmaowner1.Error.*, org.freedesktop.DBus.Error.* Either may be
 * NULL. Stays until something is started again. */
int dmaowner_lease_get_error(const dmaowner_lease *l, const char **name, const char **message);

/* "l7"; "" until it is known, as all that follows. */
const char *dmaowner_lease_get_id(const dmaowner_lease *l);
/* "/org/dmaowner1/lease/l7" */
const char *dmaowner_lease_get_path(const dmaowner_lease *l);
/* "queued", "activating", "active", "unconfirmed", "revoking", "ended", "failed", "lost" */
const char *dmaowner_lease_get_state(const dmaowner_lease *l);
/* The devices may be used (state active, unconfirmed or revoking). */
bool dmaowner_lease_is_held(const dmaowner_lease *l);
/* It was, or was never, and will not be again. */
bool dmaowner_lease_is_over(const dmaowner_lease *l);
/* Why it has ended, for people. */
const char *dmaowner_lease_get_end(const dmaowner_lease *l);
/* Names of the devices, ended by a NULL; n (which may be NULL) without it. */
const char *const *dmaowner_lease_get_devices(const dmaowner_lease *l, size_t *n);
/* What is to be known of a lease that was granted nevertheless, for people. */
const char *dmaowner_lease_get_warning(const dmaowner_lease *l);
/* Whom or what it is queued for, for people; as it was when it began to wait. */
const char *dmaowner_lease_get_waits_for(const dmaowner_lease *l);
/* When its time to live is over; DMAOWNER_FOREVER: never. */
uint64_t dmaowner_lease_get_expiry(const dmaowner_lease *l);
/* In the state revoking: when its right ends, and why it is asked to leave (may be NULL). Otherwise 0
 * and "". */
uint64_t dmaowner_lease_get_revocation(const dmaowner_lease *l, const char **reason);

/* ---- Lent files ---- */

typedef struct dmaowner_file {
        const char *name; /* unique: the device for a device's file; the role for those of the first group, with
                               "@" and a device behind it for those of others */
        const char *role;   /* "container", "group", "iommufd", "cdev" */
        const char *device; /* what it was asked for by */
        uint32_t group;     /* IOMMU group */
        int fd;             /* close-on-exec */
} dmaowner_file;

const dmaowner_file *dmaowner_lease_get_files(const dmaowner_lease *l, size_t *n);
/* The file's descriptor belongs to the caller now, and is -1 in the list. */
int dmaowner_lease_take_file(dmaowner_lease *l, const char *name);
/* Closes all that were not taken. */
void dmaowner_lease_close_files(dmaowner_lease *l);

/* The lifeline of the holder "lifeline", which keeps the lease alive as long as any duplicate of it is open, for a
 * child to inherit; -1: there is none. Close-on-exec. */
int dmaowner_lease_get_lifeline(const dmaowner_lease *l);

#ifdef __cplusplus
}
#endif

#endif
