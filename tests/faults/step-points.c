/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Preloaded into the executor by tests/vm/kill-points: when the process of a step comes to a chosen
 * point it kills itself, the executor or the daemon. What is wanted stands in a file that the test maps
 * as well, so it can be changed at any moment. The points of a step, each with its kind and device:
 *
 *   begin   its process runs, and has done nothing
 *   change  it has just written below /sys, or set the ACL of a node
 *   end     it is done, and nobody has heard of it
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/xattr.h>
#include <unistd.h>

#define POINT_SIZE 128
#define TRACE_SIZE (1u << 16)

typedef enum Mode {
        MODE_OFF,
        MODE_NOTE,
        MODE_KILL,
} Mode;

typedef enum Victim {
        VICTIM_STEP,
        VICTIM_EXECUTOR,
        VICTIM_DAEMON,
} Victim;

typedef struct Control {
        uint32_t mode;
        uint32_t victim;
        int32_t daemon; /* its pid */
        uint32_t nth;   /* of the points of that name, from 1 */
        uint32_t seen;
        uint32_t hits;
        uint32_t trace_used;
        char point[POINT_SIZE];
        char trace[TRACE_SIZE]; /* of MODE_NOTE: points, a line each */
} Control;

static Control *control;
static bool in_step;
static char step[POINT_SIZE]; /* that was asked for last: "unbind 0000:03:00.0" */

#define NEXT(function) ((__typeof__(&function))dlsym(RTLD_NEXT, #function))

__attribute__((constructor)) static void begin(void) {
        const char *path = getenv("DMAOWNER_STEP_POINTS");
        int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

        if (!path)
                return;
        control = fd < 0 ? MAP_FAILED
                         : mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (control == MAP_FAILED)
                _exit(EXIT_FAILURE);
        (void)close(fd);
        /* what a step starts is not the executor */
        (void)unsetenv("LD_PRELOAD");
        (void)unsetenv("DMAOWNER_STEP_POINTS");
}

static void note(const char *point) {
        size_t length = strlen(point);
        uint32_t at = __atomic_fetch_add(&control->trace_used, (uint32_t)length + 1,
                                         __ATOMIC_SEQ_CST);

        if (at + length + 1 > TRACE_SIZE)
                return;
        memcpy(control->trace + at, point, length);
        control->trace[at + length] = '\n';
}

static void reach(const char *moment) {
        char point[POINT_SIZE + 16];

        if (!control || !in_step || control->mode == MODE_OFF)
                return;
        (void)snprintf(point, sizeof(point), "%s %s", moment, step);
        if (control->mode == MODE_NOTE) {
                note(point);
                return;
        }
        if (strcmp(point, control->point) != 0 ||
            __atomic_add_fetch(&control->seen, 1, __ATOMIC_SEQ_CST) != control->nth)
                return;
        control->hits++;
        (void)kill(control->victim == VICTIM_STEP       ? getpid()
                   : control->victim == VICTIM_EXECUTOR ? getppid()
                                                        : control->daemon,
                   SIGKILL);
}

/* Adds a member of the packet, a string. */
static void add_member(const char *packet, const char *name) {
        const char *value = strstr(packet, name);
        size_t used = strlen(step);

        if (value)
                (void)snprintf(step + used, sizeof(step) - used, "%s%.*s", used > 0 ? " " : "",
                               (int)strcspn(value + strlen(name), "\""), value + strlen(name));
}

ssize_t recvmsg(int socket, struct msghdr *message, int flags) {
        static __typeof__(&recvmsg) next;
        char packet[512];
        ssize_t n;

        if (!next)
                next = NEXT(recvmsg);
        n = next(socket, message, flags);
        if (!control || in_step || n <= 0 || message->msg_iovlen != 1)
                return n;
        (void)snprintf(packet, sizeof(packet), "%.*s", (int)n, (char *)message->msg_iov[0].iov_base);
        if (strstr(packet, "\"step\":\"")) {
                step[0] = '\0';
                add_member(packet, "\"step\":\"");
                add_member(packet, "\"device\":\"");
        }
        return n;
}

pid_t fork(void) {
        static __typeof__(&fork) next;
        pid_t pid;

        if (!next)
                next = NEXT(fork);
        pid = next();
        if (pid == 0 && !in_step) {
                in_step = true;
                reach("begin");
        }
        return pid;
}

ssize_t write(int fd, const void *data, size_t size) {
        static __typeof__(&write) next;
        char link[64], path[PATH_MAX];
        ssize_t n, length;

        if (!next)
                next = NEXT(write);
        n = next(fd, data, size);
        if (!control || !in_step)
                return n;
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        length = readlink(link, path, sizeof(path));
        if (length > 5 && strncmp(path, "/sys/", 5) == 0)
                reach("change");
        return n;
}

int setxattr(const char *path, const char *name, const void *value, size_t size, int flags) {
        static __typeof__(&setxattr) next;
        int r;

        if (!next)
                next = NEXT(setxattr);
        r = next(path, name, value, size, flags);
        reach("change");
        return r;
}

ssize_t sendmsg(int socket, const struct msghdr *message, int flags) {
        static __typeof__(&sendmsg) next;

        if (!next)
                next = NEXT(sendmsg);
        if (control && in_step && message->msg_iovlen == 1 &&
            memmem(message->msg_iov[0].iov_base, message->msg_iov[0].iov_len, "\"done\"", 6))
                reach("end");
        return next(socket, message, flags);
}
