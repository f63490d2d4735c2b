/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Packets on SEQPACKET sockets, perhaps with two descriptors. */

#include <json-c/json.h>
#include <stddef.h>

#define PACKET_SIZE_MAX ((size_t)64U * 1024U)

/* fds: two descriptors, or NULL. */
int packet_send(int socket, const char *text, const int *fds);
/* Does not wait. Returns the length (buffer has room for PACKET_SIZE_MAX, no NUL is added), 0 at
 * the end, or negative errno: -EAGAIN if there is none, -EMSGSIZE if it was longer. fds: receives
 * two descriptors or -EBADF; NULL: what comes is closed. */
int packet_receive(int socket, char *buffer, int *fds);
/* An object that is the whole text; NULL: it is none. */
json_object *packet_parse(const char *text, size_t length);
