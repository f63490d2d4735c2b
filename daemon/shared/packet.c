/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shared/packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define DEPTH_MAX 8

typedef union Control {
        struct cmsghdr header;
        char room[CMSG_SPACE(PACKET_FDS_MAX * sizeof(int))]; /* the kernel closes what does not fit */
} Control;

void descriptors_close(Descriptors *d) {
        for (size_t i = 0; i < d->n; i++)
                d->items[i] = safe_close(d->items[i]);
        d->n = 0;
}

int packet_send(int socket, const char *text, const Descriptors *d) {
        size_t size = d ? d->n * sizeof(int) : 0;
        Control control = {};
        struct iovec iov = { .iov_base = (char *)text, .iov_len = strlen(text) };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (size > 0) {
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(size);
                memcpy(CMSG_DATA(&control.header), d->items, size);
                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(size);
        }
        return sendmsg(socket, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int packet_receive(int socket, char *buffer, Descriptors *d) {
        Control control = {};
        struct iovec iov = { .iov_base = buffer, .iov_len = PACKET_SIZE_MAX };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
        struct cmsghdr *header;
        ssize_t n;

        if (d) {
                d->n = 0;
                message.msg_control = &control;
                message.msg_controllen = sizeof(control);
        }
        n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0)
                return -errno;
        header = d ? CMSG_FIRSTHDR(&message) : NULL;
        if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
                d->n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                memcpy(d->items, CMSG_DATA(header), d->n * sizeof(int));
        }
        if ((message.msg_flags & MSG_TRUNC) || (d && (message.msg_flags & MSG_CTRUNC))) {
                if (d)
                        descriptors_close(d);
                return -EMSGSIZE;
        }
        return (int)n;
}

json_object *packet_parse(const char *text, size_t length) {
        json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
        json_object *o;

        if (!tokener)
                return NULL;
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
        o = json_tokener_parse_ex(tokener, text, (int)length);
        if (o && (json_tokener_get_parse_end(tokener) != length ||
                  !json_object_is_type(o, json_type_object))) {
                (void)json_object_put(o);
                o = NULL;
        }
        json_tokener_free(tokener);
        return o;
}
