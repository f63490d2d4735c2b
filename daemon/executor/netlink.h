/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The kernel's own view of network interfaces (rtnetlink), in the network namespace of the host.
 * The executor has an empty one: its only way there is a socket that the service manager opens. All
 * steps share it, so one after the other asks.
 */

#include <libmnl/libmnl.h>

#include "executor/run.h"

/* What a request may be long, in bytes. */
#define NETLINK_REQUEST_SIZE 1024

/* A socket of the network namespace that this process is in. */
int netlink_open(int *ret);

/* Sends the request, whose length, type, flags and arguments are set, and hands each message of the
 * answer to f. Returns 0 or the kernel's own error; -EINTR: what was listed changed meanwhile, so it has
 * to be asked again; -ECANCELED, with the answer of the step set: it changes something, and that is not
 * permitted any more. */
int netlink_ask(Run *run, struct nlmsghdr *request, mnl_cb_t f, void *userdata);
