/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Packets of JSON on SEQPACKET sockets, perhaps with descriptors. */

#include <json-c/json.h>
#include <stddef.h>

#include "util/cleanup.h"

#define PACKET_SIZE_MAX ((size_t)64U * 1024U)
/* More descriptors in one packet are refused by its receiver. */
#define PACKET_FDS_MAX 64U

/* Descriptors on their way. */
typedef struct Descriptors {
        int items[PACKET_FDS_MAX];
        size_t n;
} Descriptors;

/* Closes those that nobody took (TAKE_FD()). */
void descriptors_close(Descriptors *d);
#define _cleanup_descriptors_ _cleanup_(descriptors_close)

/* d: copies of these go along; NULL: none. Does not wait where the socket does not. */
int packet_send(int socket, const char *text, const Descriptors *d);
/* Does not wait. Returns the length (buffer has room for PACKET_SIZE_MAX, no NUL is added), 0 at
 * the end, or negative errno: -EAGAIN if there is none, -EMSGSIZE if it was longer, or had more
 * descriptors than fit. d: receives the descriptors; NULL: what comes is closed. */
int packet_receive(int socket, char *buffer, Descriptors *d);
/* An object that is the whole text; NULL: it is none. */
json_object *packet_parse(const char *text, size_t length);
