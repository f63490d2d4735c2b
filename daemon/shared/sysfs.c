/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shared/sysfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "util/strings.h"

#define FILE_SIZE_MAX ((size_t)64U * 1024U)

/* call, with `path` made of fmt and the arguments that follow it */
#define with_path(fmt, call)                      \
        ({                                        \
                _cleanup_free_ char *path = NULL; \
                va_list _ap;                      \
                int _n;                           \
                va_start(_ap, fmt);               \
                _n = vasprintf(&path, fmt, _ap);  \
                va_end(_ap);                      \
                if (_n < 0)                       \
                        path = NULL;              \
                path ? (call) : -ENOMEM;          \
        })

int sysfs_open(const char *root, Sysfs *ret) {
        int fd;

        fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        *ret = (Sysfs){ .root = fd };
        return 0;
}

void sysfs_close(Sysfs *s) {
        s->root = safe_close(s->root);
}

int sysfs_open_file(const Sysfs *s, const char *path, int flags) {
        struct open_how how = {
                .flags = (uint64_t)flags | O_CLOEXEC,
                .resolve = RESOLVE_IN_ROOT,
        };
        long fd = -1;

        /* EAGAIN: something was renamed or mounted anywhere while ".." was followed, and the kernel
         * cannot tell whether that led out of the root */
        for (int attempt = 0; attempt < 128; attempt++) {
                fd = syscall(SYS_openat2, s->root, path, &how, sizeof(how));
                if (fd >= 0 || errno != EAGAIN)
                        break;
        }
        /* A filter that has to see the flags (RestrictSUIDSGID=) hides openat2(). The links of a
         * real sysfs do not lead out of it, and names are checked before they become part of a
         * path. */
        if (fd < 0 && errno == ENOSYS)
                fd = openat(s->root, path, flags | O_CLOEXEC);
        /* valgrind does not know openat2(); only a test's root can be left, a real one has no
         * outside */
        if (fd < 0 && errno == ENOSYS)
                fd = openat(s->root, path, flags | O_CLOEXEC);
        return fd < 0 ? -errno : (int)fd;
}

int sysfs_open_shown(const Sysfs *s, const char *shown, const char *hidden, const char *name,
                     int flags) {
        _cleanup_free_ char *first = str_format("%s/%s", shown, name);
        _cleanup_free_ char *second = str_format("%s/%s", hidden, name);
        int fd;

        if (!first || !second)
                return -ENOMEM;
        fd = sysfs_open_file(s, first, flags);
        return fd == -ENOENT ? sysfs_open_file(s, second, flags) : fd;
}

int sysfs_stream(int fd, FILE **ret) {
        _cleanup_close_ int file = fd;
        FILE *f;

        if (file < 0)
                return file;
        f = fdopen(file, "r");
        if (!f)
                return -errno;
        TAKE_FD(file);
        *ret = f;
        return 0;
}

int sysfs_open_stream(const Sysfs *s, const char *path, FILE **ret) {
        return sysfs_stream(sysfs_open_file(s, path, O_RDONLY), ret);
}

int sysfs_read(const Sysfs *s, const char *path, char **ret) {
        _cleanup_free_ char *buffer = NULL;
        _cleanup_close_ int fd = -EBADF;
        size_t used = 0, size = 0;
        ssize_t n;

        fd = sysfs_open_file(s, path, O_RDONLY);
        if (fd < 0)
                return fd;
        do {
                if (size - used < 2) {
                        char *bigger;

                        if (used >= FILE_SIZE_MAX)
                                return -EFBIG;
                        /* a page holds any attribute of sysfs */
                        size = size == 0 ? 4096 : FILE_SIZE_MAX + 2;
                        bigger = realloc(buffer, size);
                        if (!bigger)
                                return -ENOMEM;
                        buffer = bigger;
                }
                n = read(fd, buffer + used, size - used - 1);
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0)
                        used += (size_t)n;
        } while (n != 0);
        if (used > FILE_SIZE_MAX)
                return -EFBIG;
        if (used > 0 && buffer[used - 1] == '\n')
                used--;
        buffer[used] = '\0';
        *ret = TAKE_PTR(buffer);
        return 0;
}

int sysfs_readf(const Sysfs *s, char **ret, const char *fmt, ...) {
        return with_path(fmt, sysfs_read(s, path, ret));
}

int sysfs_link_name(const Sysfs *s, const char *path, char **ret) {
        _cleanup_close_ int fd = -EBADF;
        char target[PATH_MAX], *name;
        ssize_t n;

        fd = sysfs_open_file(s, path, O_PATH | O_NOFOLLOW);
        if (fd < 0)
                return fd;
        n = readlinkat(fd, "", target, sizeof(target) - 1);
        if (n < 0)
                /* an empty path on what is no link is ENOENT, which would read as "is not there" */
                return errno == ENOENT ? -EINVAL : -errno;
        target[n] = '\0';
        name = strrchr(target, '/');
        name = strdup(name ? name + 1 : target);
        if (!name)
                return -ENOMEM;
        *ret = name;
        return 0;
}

int sysfs_link_namef(const Sysfs *s, char **ret, const char *fmt, ...) {
        return with_path(fmt, sysfs_link_name(s, path, ret));
}

int sysfs_write(const Sysfs *s, const char *path, const char *value) {
        _cleanup_close_ int fd = -EBADF;
        size_t length = strlen(value);
        ssize_t n;

        /* attributes do not care about O_TRUNC; files of a test's folder then behave like them */
        fd = sysfs_open_file(s, path, O_WRONLY | O_TRUNC);
        if (fd < 0)
                return fd;
        n = write(fd, value, length);
        if (n < 0)
                return -errno;
        return (size_t)n == length ? 0 : -EIO;
}

int sysfs_writef(const Sysfs *s, const char *value, const char *fmt, ...) {
        return with_path(fmt, sysfs_write(s, path, value));
}

static int entry_is_real(const struct dirent *entry) {
        return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int entry_compare(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int entry_is_folder(const struct dirent *entry) {
        return entry->d_type == DT_DIR && entry_is_real(entry);
}

static int list(const Sysfs *s, const char *path, int (*is_wanted)(const struct dirent *),
                char ***ret) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_free_ struct dirent **entries = NULL;
        _cleanup_close_ int fd = -EBADF;
        int n, r = 0;

        fd = sysfs_open_file(s, path, O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return fd;
        n = scandirat(fd, ".", &entries, is_wanted, entry_compare);
        if (n < 0)
                return -errno;
        names = calloc((size_t)n + 1, sizeof(char *));
        if (!names)
                r = -ENOMEM;
        for (int i = 0; i < n; i++) {
                if (r == 0) {
                        names[i] = strdup(entries[i]->d_name);
                        if (!names[i])
                                r = -ENOMEM;
                }
                free(entries[i]);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(names);
        return 0;
}

int sysfs_list(const Sysfs *s, const char *path, char ***ret) {
        return list(s, path, entry_is_real, ret);
}

int sysfs_list_folders(const Sysfs *s, const char *path, char ***ret) {
        return list(s, path, entry_is_folder, ret);
}

int sysfs_listf(const Sysfs *s, char ***ret, const char *fmt, ...) {
        return with_path(fmt, sysfs_list(s, path, ret));
}

int sysfs_exists(const Sysfs *s, const char *path) {
        int fd;

        fd = sysfs_open_file(s, path, O_PATH);
        if (fd < 0)
                return fd == -ENOENT || fd == -ENOTDIR ? 0 : fd;
        safe_close(fd);
        return 1;
}

int sysfs_existsf(const Sysfs *s, const char *fmt, ...) {
        return with_path(fmt, sysfs_exists(s, path));
}
