/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/linux-executor.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <utlist.h>

#include "util/strings.h"

#define BACKOFF_MIN_USEC (100U * 1000U)
#define BACKOFF_MAX_USEC (10U * 1000U * 1000U)

typedef struct Packet {
        uint64_t seq;
        char *text;
        VfioFiles files;
        struct Packet *prev, *next;
} Packet;

struct Executor {
        sd_event *event;
        struct sockaddr_un address;
        ExecutorEvents events;
        int fd;
        sd_event_source *io;
        sd_event_source *retry;
        sd_event_source *announce;
        bool announced; /* what ready() was last called with */
        uint64_t backoff;
        Packet *queue;
        char *buffer;
};

static Packet *packet_free(Packet *p) {
        if (!p)
                return NULL;
        free(p->text);
        vfio_files_clear(&p->files);
        free(p);
        return NULL;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata);

/* Later and from the event loop, but before any other source that is ready then. */
static void announce_later(Executor *e) {
        (void)sd_event_source_set_enabled(e->announce, SD_EVENT_ONESHOT);
}

static int on_announce(sd_event_source *source, void *userdata) {
        Executor *e = userdata;
        bool ready = e->fd >= 0;

        if (ready == e->announced)
                return 0;
        e->announced = ready;
        e->events.ready(ready, e->events.userdata);
        return 0;
}

/* The next attempt is the later the longer there was no answer. */
static void retry_later(Executor *e) {
        (void)sd_event_source_set_time_relative(e->retry, e->backoff);
        (void)sd_event_source_set_enabled(e->retry, SD_EVENT_ONESHOT);
        e->backoff *= 2;
        if (e->backoff > BACKOFF_MAX_USEC)
                e->backoff = BACKOFF_MAX_USEC;
}

static int connect_now(Executor *e) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *)&e->address, sizeof(e->address)) < 0)
                return -errno;
        r = sd_event_add_io(e->event, &e->io, fd, EPOLLIN, on_io, e);
        if (r < 0)
                return r;
        e->fd = TAKE_FD(fd);
        (void)sd_event_source_set_enabled(e->retry, SD_EVENT_OFF);
        announce_later(e);
        return 0;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        Executor *e = userdata;

        if (e->fd < 0 && connect_now(e) < 0)
                retry_later(e);
        return 0;
}

static void drop_connection(Executor *e) {
        Packet *p, *next;

        e->io = sd_event_source_disable_unref(e->io);
        e->fd = safe_close(e->fd);
        e->events.lost(e->events.userdata);
        DL_FOREACH_SAFE(e->queue, p, next) {
                DL_DELETE(e->queue, p);
                (void)packet_free(p);
        }
        announce_later(e);
        retry_later(e);
}

static void flush_queue(Executor *e) {
        while (e->queue) {
                Packet *p = e->queue;
                Descriptors fds;
                int r;

                vfio_files_to_descriptors(&p->files, &fds);
                r = packet_send(e->fd, p->text, &fds);
                if (r == -EINTR)
                        continue;
                if (r < 0) {
                        if (r != -EAGAIN)
                                drop_connection(e);
                        break;
                }
                DL_DELETE(e->queue, p);
                (void)packet_free(p);
        }
        if (e->io)
                (void)sd_event_source_set_io_events(e->io, e->queue ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* 0, -EAGAIN, or why the connection is of no use any more. */
static int receive(Executor *e) {
        _cleanup_descriptors_ Descriptors fds = {};
        json_object *o;
        int n, r;

        n = packet_receive(e->fd, e->buffer, &fds);
        if (n <= 0)
                return n == 0 ? -ECONNRESET : n == -EINTR ? -EAGAIN : n;
        o = packet_parse(e->buffer, (size_t)n);
        r = o ? e->events.packet(o, &fds, e->events.userdata) : -EBADMSG;
        (void)json_object_put(o);
        return r;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Executor *e = userdata;
        int r = 0;

        if (revents & EPOLLOUT)
                flush_queue(e);
        /* the former may have ended this connection; a new one has a source of its own */
        if (e->io != source || !(revents & ~(uint32_t)EPOLLOUT))
                return 0;
        r = receive(e);
        if (e->io != source)
                return 0;
        if (r >= 0)
                e->backoff = BACKOFF_MIN_USEC; /* it works */
        else if (r != -EAGAIN)
                drop_connection(e);
        return 0;
}

int executor_new(sd_event *event, const char *socket, const ExecutorEvents *events, Executor **ret) {
        _cleanup_(executor_freep) Executor *e = NULL;
        int r;

        e = calloc(1, sizeof(*e));
        if (!e)
                return -ENOMEM;
        *e = (Executor){
                .event = sd_event_ref(event),
                .address.sun_family = AF_UNIX,
                .events = *events,
                .fd = -EBADF,
                .backoff = BACKOFF_MIN_USEC,
        };
        if (strlen(socket) >= sizeof(e->address.sun_path))
                return -ENAMETOOLONG;
        (void)strcpy(e->address.sun_path, socket);
        e->buffer = malloc(PACKET_SIZE_MAX);
        if (!e->buffer)
                return -ENOMEM;
        r = sd_event_add_defer(event, &e->announce, on_announce, e);
        if (r < 0)
                return r;
        r = sd_event_source_set_priority(e->announce, SD_EVENT_PRIORITY_IMPORTANT);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(e->announce, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = sd_event_add_time_relative(event, &e->retry, CLOCK_MONOTONIC, 0, 0, on_retry, e);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(e->retry, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(e);
        return 0;
}

Executor *executor_free(Executor *e) {
        Packet *p, *next;

        if (!e)
                return NULL;
        (void)sd_event_source_disable_unref(e->io);
        (void)sd_event_source_disable_unref(e->retry);
        (void)sd_event_source_disable_unref(e->announce);
        (void)safe_close(e->fd);
        DL_FOREACH_SAFE(e->queue, p, next) {
                (void)packet_free(p);
        }
        free(e->buffer);
        (void)sd_event_unref(e->event);
        free(e);
        return NULL;
}

int executor_start(Executor *e) {
        return sd_event_source_set_enabled(e->retry, SD_EVENT_ONESHOT);
}

int executor_send(Executor *e, uint64_t seq, json_object *o, VfioFiles *files) {
        const char *text;
        Packet *p;
        int r;

        if (e->fd < 0 && connect_now(e) < 0)
                return -ENOTCONN;
        text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
        p = calloc(1, sizeof(*p));
        r = p && text ? str_set(&p->text, text) : -ENOMEM;
        if (r < 0) {
                (void)packet_free(p);
                return r;
        }
        if (files)
                p->files = TAKE_VFIO_FILES(*files);
        p->seq = seq;
        DL_APPEND(e->queue, p);
        flush_queue(e);
        return 0;
}

bool executor_unqueue(Executor *e, uint64_t seq) {
        Packet *p;

        DL_FOREACH(e->queue, p) {
                if (p->seq == seq) {
                        DL_DELETE(e->queue, p);
                        (void)packet_free(p);
                        return true;
                }
        }
        return false;
}
