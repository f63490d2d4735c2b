/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager/process.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <systemd/sd-login.h>

#include "util/cleanup.h"
#include "util/strings.h"

#define STAT_FIELD_START 22

static int read_small(const char *path, char *buffer, size_t size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        if (fd < 0)
                return -errno;
        n = read(fd, buffer, size - 1);
        if (n < 0)
                return -errno;
        buffer[n] = '\0';
        return 0;
}

static int read_start(pid_t pid, uint64_t *ret) {
        char path[64], text[1024], *field;
        unsigned long long start;
        int r;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        r = read_small(path, text, sizeof(text));
        if (r < 0)
                return r == -ENOENT ? -ESRCH : r;
        /* the name, field 2, may hold blanks and brackets: count from its end */
        field = strrchr(text, ')');
        for (int i = 2; field && i < STAT_FIELD_START; i++)
                field = strchr(field + 1, ' ');
        if (!field)
                return -EIO;
        field[1 + strcspn(field + 1, " ")] = '\0';
        r = parse_u64(field + 1, 10, &start);
        if (r < 0)
                return r;
        *ret = start;
        return 0;
}

/* A pidfd of a single thread (PIDFD_THREAD) could not be found again after a restart. */
static int check_process(pid_t pid) {
        char path[64], text[4096], *line;
        int r;

        (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
        r = read_small(path, text, sizeof(text));
        if (r < 0)
                return r == -ENOENT ? -ESRCH : r;
        line = strstr(text, "\nTgid:");
        return line && strtol(line + strlen("\nTgid:"), NULL, 10) == pid ? 0 : -EBADF;
}

static int has_ended(int pidfd) {
        struct pollfd p = { .fd = pidfd, .events = POLLIN };
        int r = poll(&p, 1, 0);

        return r < 0 ? -errno : r > 0;
}

int process_of_pidfd(int pidfd, pid_t *ret_pid, uid_t *ret_uid, uint64_t *ret_start) {
        char path[64], text[1024], *line;
        struct stat st;
        uint64_t start;
        long pid;
        int r;

        (void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
        r = read_small(path, text, sizeof(text));
        if (r < 0)
                return r;
        line = strstr(text, "\nPid:");
        if (!line)
                return -EBADF;
        pid = strtol(line + strlen("\nPid:"), NULL, 10);
        if (pid <= 0)
                return -ESRCH; /* ended, or of another pid namespace */
        r = check_process((pid_t)pid);
        if (r < 0)
                return r;
        r = read_start((pid_t)pid, &start);
        if (r < 0)
                return r;
        (void)snprintf(path, sizeof(path), "/proc/%ld", pid);
        if (stat(path, &st) < 0)
                return errno == ENOENT ? -ESRCH : -errno;
        /* still the same one after all that was read by its number? */
        r = has_ended(pidfd);
        if (r != 0)
                return r < 0 ? r : -ESRCH;
        *ret_pid = (pid_t)pid;
        *ret_uid = st.st_uid;
        *ret_start = start;
        return 0;
}

int process_unit(int pidfd, char **ret) {
        _cleanup_free_ char *unit = NULL;
        uint64_t start;
        pid_t pid;
        uid_t uid;
        int r;

        r = process_of_pidfd(pidfd, &pid, &uid, &start);
        if (r < 0)
                return r;
        r = sd_pid_get_unit(pid, &unit);
        if (r < 0 && r != -ENODATA && r != -ENXIO)
                return r;
        r = has_ended(pidfd); /* or that was another process */
        if (r != 0)
                return r < 0 ? r : -ESRCH;
        *ret = TAKE_PTR(unit);
        return 0;
}

int process_open(pid_t pid, uint64_t start, int *ret_pidfd) {
        _cleanup_close_ int fd = -EBADF;
        uint64_t now;
        int r;

        fd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (fd < 0) /* EINVAL, ENOENT: the number is a thread's now */
                return errno == EINVAL || errno == ENOENT ? -ESRCH : -errno;
        r = read_start(pid, &now);
        if (r < 0)
                return r;
        if (now != start)
                return -ESRCH;
        r = has_ended(fd);
        if (r != 0)
                return r < 0 ? r : -ESRCH;
        *ret_pidfd = TAKE_FD(fd);
        return 0;
}
