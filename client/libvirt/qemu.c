/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/libvirt/qemu.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/pidfd.h>

#include "util/strings.h"

#define COMMAND_LINE_MAX ((size_t)4 << 20) /* bytes; many disks and NICs make it long */

/* Up to max bytes; *ret has a NUL more. */
static int read_file(const char *path, size_t max, char **ret, size_t *ret_size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        _cleanup_free_ char *text = NULL;
        size_t size = 0;

        if (fd < 0)
                return -errno;
        for (size_t room = 4096;; room *= 2) {
                char *more = realloc(text, room + 1);
                ssize_t n = 1;

                if (!more)
                        return -ENOMEM;
                text = more;
                while (size < room && (n = read(fd, text + size, room - size)) > 0)
                        size += (size_t)n;
                if (n < 0)
                        return -errno;
                if (size < room || room >= max)
                        break;
        }
        text[size] = '\0';
        *ret = TAKE_PTR(text);
        *ret_size = size;
        return 0;
}

static int read_pid(const Domain *d, pid_t *ret) {
        _cleanup_free_ char *path = NULL, *text = NULL;
        unsigned long long pid;
        size_t size;
        int r;

        if (strchr(d->name, '/'))
                return -ESRCH;
        path = geteuid() == 0 ? str_format("/run/libvirt/qemu/%s.pid", d->name)
                              : str_format("/run/user/%u/libvirt/qemu/run/%s.pid",
                                           (unsigned)geteuid(), d->name);
        if (!path)
                return -ENOMEM;
        r = read_file(path, 32, &text, &size);
        if (r < 0)
                return r == -ENOENT ? -ESRCH : r;
        text[strcspn(text, "\n")] = '\0';
        r = parse_u64(text, 10, &pid);
        if (r < 0 || pid == 0 || pid > INT32_MAX)
                return -ESRCH;
        *ret = (pid_t)pid;
        return 0;
}

/* The file may be left over, and its number be somebody else's by now: QEMU has the UUID as an argument. */
static int is_of_domain(pid_t pid, const Domain *d) {
        _cleanup_free_ char *path = str_format("/proc/%d/cmdline", (int)pid), *line = NULL;
        size_t size;
        int r;

        if (!path)
                return -ENOMEM;
        r = read_file(path, COMMAND_LINE_MAX, &line, &size);
        if (r < 0)
                return r == -ENOENT ? -ESRCH : r;
        for (size_t i = 0; i < size; i += strlen(line + i) + 1)
                if (strcasecmp(line + i, d->uuid) == 0)
                        return 0;
        return -ESRCH;
}

int qemu_open(const Domain *d, pid_t *ret_pid, int *ret_pidfd) {
        _cleanup_close_ int pidfd = -EBADF;
        pid_t pid;
        int r;

        r = read_pid(d, &pid);
        if (r < 0)
                return r;
        pidfd = pidfd_open(pid, 0);
        if (pidfd < 0)
                return -errno;
        /* the process of the descriptor, and no later one: it was there before and after the look */
        r = is_of_domain(pid, d);
        if (r < 0)
                return r;
        if (pidfd_send_signal(pidfd, 0, NULL, 0) < 0)
                return -errno;
        if (ret_pid)
                *ret_pid = pid;
        *ret_pidfd = TAKE_FD(pidfd);
        return 0;
}
