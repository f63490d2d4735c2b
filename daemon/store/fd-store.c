/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/fd-store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <systemd/sd-daemon.h>

#include "util/log.h"
#include "util/strings.h"

#define SYNC_USEC    5000000ULL
#define AGAIN_USEC   200000ULL
#define LONGEST_NAME 255 /* of the service manager */

/* One that the service manager could not be told to close yet. */
typedef struct Doomed {
        struct Doomed *next;
        char name[];
} Doomed;

struct FdStore {
        sd_event *event;
        bool there; /* a service manager listens */
        unsigned max, n;
        char **names; /* of the last run */
        int n_left;   /* not yet taken, from the end */
        Doomed *doomed;
        sd_event_source *again;
};

struct FdStoreSync {
        FdStoreDone done;
        void *userdata;
        int fd; /* hangs up when the service manager closes its end */
        sd_event_source *watch, *deadline;
};

static int on_again(sd_event_source *source, uint64_t usec, void *userdata);

int fd_store_new(sd_event *event, unsigned max, FdStore **ret) {
        _cleanup_(fd_store_freep) FdStore *s = calloc(1, sizeof(FdStore));
        int r;

        if (!s)
                return -ENOMEM;
        s->event = sd_event_ref(event);
        s->there = !str_empty(getenv("NOTIFY_SOCKET"));
        s->max = max;
        r = sd_listen_fds_with_names(1, &s->names);
        if (r < 0)
                return r;
        s->n_left = r;
        s->n = (unsigned)r;
        r = sd_event_add_time(event, &s->again, CLOCK_MONOTONIC, UINT64_MAX, 0, on_again, s);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->again, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

FdStore *fd_store_free(FdStore *s) {
        if (!s)
                return NULL;
        while (s->n_left > 0)
                safe_close(SD_LISTEN_FDS_START + --s->n_left);
        strv_free(s->names);
        while (s->doomed) {
                Doomed *next = s->doomed->next; /* the next run finds it, and drops it */

                free(s->doomed);
                s->doomed = next;
        }
        sd_event_source_disable_unref(s->again);
        sd_event_unref(s->event);
        free(s);
        return NULL;
}

int fd_store_take(FdStore *s, char **ret_name, int *ret_fd) {
        int i = s->n_left - 1, r;

        if (i < 0)
                return 0;
        r = str_set(ret_name, s->names[i]);
        if (r < 0)
                return r;
        s->n_left = i;
        *ret_fd = SD_LISTEN_FDS_START + i;
        return 1;
}

/* Without allocations, so that letting go needs none. */
static int tell(const char *what, const char *name, const int *fds, unsigned n) {
        char state[LONGEST_NAME + 64];

        (void)snprintf(state, sizeof(state), "%s\nFDNAME=%s", what, name);
        return sd_pid_notify_with_fds(0, 0, state, fds, n);
}

static int remove_now(FdStore *s, const char *name) {
        int r = tell("FDSTOREREMOVE=1", name, NULL, 0);

        if (r >= 0 && s->n > 0)
                s->n--;
        return r < 0 ? r : 0;
}

/* 0: none is left */
static int remove_doomed(FdStore *s) {
        while (s->doomed) {
                Doomed *first = s->doomed;
                int r = remove_now(s, first->name);

                if (r < 0)
                        return r;
                s->doomed = first->next;
                free(first);
        }
        return 0;
}

static void again_later(FdStore *s) {
        (void)sd_event_source_set_time_relative(s->again, AGAIN_USEC);
        (void)sd_event_source_set_enabled(s->again, SD_EVENT_ONESHOT);
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata) {
        if (remove_doomed(userdata) < 0)
                again_later(userdata);
        return 0;
}

int fd_store_put(FdStore *s, const char *name, int fd) {
        int r;

        if (!s->there)
                return 0;
        r = remove_doomed(s); /* or what has this name would go with it */
        if (r < 0)
                return r;
        if (s->n >= s->max)
                return -EDQUOT;
        /* what hangs up would be dropped otherwise */
        r = tell("FDSTORE=1\nFDPOLL=0", name, &fd, 1);
        if (r < 0)
                return r;
        s->n++;
        return 0;
}

void fd_store_remove(FdStore *s, const char *name) {
        size_t size = strlen(name) + 1;
        Doomed *doomed;
        int r;

        r = s->there ? remove_now(s, name) : 0;
        if (r == 0)
                return;
        doomed = malloc(sizeof(Doomed) + size);
        if (!doomed) {
                log_error("The service manager cannot be told to close %s: %s", name, strerror(-r));
                return;
        }
        memcpy(doomed->name, name, size);
        doomed->next = s->doomed;
        s->doomed = doomed;
        again_later(s);
}

int fd_store_replace(FdStore *s, const char *name, int fd) {
        fd_store_remove(s, name);
        if (s->there && s->n > 0)
                s->n--;
        return fd_store_put(s, name, fd);
}

FdStoreSync *fd_store_sync_free(FdStoreSync *sync) {
        if (!sync)
                return NULL;
        sync->watch = sd_event_source_disable_unref(sync->watch);
        sync->deadline = sd_event_source_disable_unref(sync->deadline);
        sync->fd = safe_close(sync->fd);
        free(sync);
        return NULL;
}
DEFINE_CLEANUP(FdStoreSync *, fd_store_sync_free);

static void sync_finish(FdStoreSync *sync, bool in_time) {
        FdStoreDone done = sync->done;
        void *userdata = sync->userdata;

        (void)fd_store_sync_free(sync);
        done(in_time, userdata);
}

static int on_hang_up(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        sync_finish(userdata, true);
        return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        sync_finish(userdata, false);
        return 0;
}

int fd_store_sync(FdStore *s, FdStoreDone done, void *userdata, FdStoreSync **ret) {
        _cleanup_(fd_store_sync_freep) FdStoreSync *sync = NULL;
        _cleanup_close_ int other = -EBADF;
        int ends[2], r = remove_doomed(s);

        if (r < 0)
                return r;
        sync = calloc(1, sizeof(FdStoreSync));
        if (!sync)
                return -ENOMEM;
        *sync = (FdStoreSync){ .done = done, .userdata = userdata, .fd = -EBADF };
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        sync->fd = ends[0];
        other = ends[1];
        if (s->there)
                r = sd_pid_notify_with_fds(0, 0, "BARRIER=1", &other, 1);
        if (r >= 0)
                r = sd_event_add_io(s->event, &sync->watch, sync->fd, EPOLLHUP, on_hang_up, sync);
        if (r >= 0)
                r = sd_event_add_time_relative(s->event, &sync->deadline, CLOCK_MONOTONIC,
                                               SYNC_USEC, 0, on_deadline, sync);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(sync);
        return 0;
}
