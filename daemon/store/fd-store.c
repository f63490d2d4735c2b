/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/fd-store.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <systemd/sd-daemon.h>

#include "util/strings.h"

#define SYNC_USEC 5000000ULL

struct FdStore {
        sd_event *event;
        bool there; /* a service manager listens */
        unsigned max, n;
        char **names; /* of the last run */
        int n_left;   /* not yet taken, from the end */
};

struct FdStoreSync {
        FdStoreDone done;
        void *userdata;
        int fd; /* hangs up when the service manager closes its end */
        sd_event_source *watch, *deadline;
};

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
        *ret = TAKE_PTR(s);
        return 0;
}

FdStore *fd_store_free(FdStore *s) {
        if (!s)
                return NULL;
        while (s->n_left > 0)
                safe_close(SD_LISTEN_FDS_START + --s->n_left);
        strv_free(s->names);
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

int fd_store_put(FdStore *s, const char *name, int fd) {
        _cleanup_free_ char *state = NULL;
        int r;

        if (!s->there)
                return 0;
        if (s->n >= s->max)
                return -EDQUOT;
        /* what hangs up would be dropped otherwise */
        state = str_format("FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
        if (!state)
                return -ENOMEM;
        r = sd_pid_notify_with_fds(0, 0, state, &fd, 1);
        if (r < 0)
                return r;
        s->n++;
        return 0;
}

int fd_store_remove(FdStore *s, const char *name) {
        _cleanup_free_ char *state = NULL;
        int r;

        if (!s->there)
                return 0;
        state = str_format("FDSTOREREMOVE=1\nFDNAME=%s", name);
        if (!state)
                return -ENOMEM;
        r = sd_notify(0, state);
        if (r < 0)
                return r;
        if (s->n > 0)
                s->n--;
        return 0;
}

int fd_store_replace(FdStore *s, const char *name, int fd) {
        int r = fd_store_remove(s, name);

        if (r < 0)
                return r;
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
        _cleanup_(fd_store_sync_freep) FdStoreSync *sync = calloc(1, sizeof(FdStoreSync));
        _cleanup_close_ int other = -EBADF;
        int ends[2], r = 0;

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
