/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files that steps hand out are writing ends of pipes, so that we see, as the kernel does, when the
 * last duplicate is closed, wherever it went. With a host that is remembered the pipe has a name:
 * files that outlive the daemon stay open over its restart.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include "kernel/sim.h"

/* Both ends. */
static int make_pipe(const char *path, int ret[2]) {
        _cleanup_close_ int reading = -EBADF, writing = -EBADF;

        if (!path)
                return pipe2(ret, O_CLOEXEC) < 0 ? -errno : 0;
        if (mkfifo(path, 0600) < 0 && errno != EEXIST)
                return -errno;
        reading = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (reading < 0)
                return -errno;
        writing = open(path, O_WRONLY | O_CLOEXEC);
        if (writing < 0)
                return -errno;
        ret[0] = TAKE_FD(reading);
        ret[1] = TAKE_FD(writing);
        return 0;
}

/* Takes the reading end over in any case. */
static int watch(SimPipe *p, sd_event *event, int reading, sd_event_io_handler_t closed,
                 void *userdata) {
        _cleanup_close_ int fd = reading;
        int r;

        /* only the hang-up: who writes into it must not keep us busy */
        r = sd_event_add_io(event, &p->watch, fd, 0, closed, userdata);
        if (r < 0)
                return r;
        /* before steps: closing, then running a step, happens in that order */
        r = sd_event_source_set_priority(p->watch, SD_EVENT_PRIORITY_IMPORTANT);
        if (r < 0) {
                p->watch = sd_event_source_disable_unref(p->watch);
                return r;
        }
        p->reading = TAKE_FD(fd);
        return 0;
}

int sim_pipe_open(SimPipe *p, sd_event *event, const char *path, sd_event_io_handler_t closed,
                  void *userdata, int *ret) {
        _cleanup_close_ int writing = -EBADF;
        int ends[2], r;

        r = make_pipe(path, ends);
        if (r < 0)
                return r;
        writing = ends[1];
        r = watch(p, event, ends[0], closed, userdata);
        if (r < 0)
                return r;
        *ret = TAKE_FD(writing);
        return 0;
}

int sim_pipe_adopt(SimPipe *p, sd_event *event, const char *path, sd_event_io_handler_t closed,
                   void *userdata) {
        struct pollfd look = { .fd = -EBADF };
        int ends[2], r;

        r = make_pipe(path, ends);
        if (r < 0)
                return r;
        /* only after a writer was there and went does a reader see a hang-up */
        safe_close(ends[1]);
        look.fd = ends[0];
        if (poll(&look, 1, 0) < 0) {
                r = -errno;
                safe_close(ends[0]);
                return r;
        }
        if (!(look.revents & POLLHUP))
                return watch(p, event, ends[0], closed, userdata);
        safe_close(ends[0]);
        return 0;
}

void sim_pipe_close(SimPipe *p, const char *path) {
        p->watch = sd_event_source_disable_unref(p->watch);
        p->reading = safe_close(p->reading);
        if (path)
                (void)unlink(path);
}

bool sim_pipe_is_open(const SimPipe *p) {
        return p->reading >= 0;
}

bool sim_pipe_is_end(const SimPipe *p, int fd) {
        struct stat ours, other;

        return fstat(p->reading, &ours) >= 0 && fstat(fd, &other) >= 0 &&
               ours.st_dev == other.st_dev && ours.st_ino == other.st_ino;
}
