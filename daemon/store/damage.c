/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/damage.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "util/strings.h"

/* How many things of the same name are kept. */
#define SAME_NAME_MAX 100

/* The nth place for it: damaged/leases-l5.json, damaged/leases-l5.json.2, ... */
static char *place_for(const char *name, unsigned n) {
        char *place;

        if (strcmp(name, "damaged") == 0)
                return str_format("damaged.%u", n);
        place = n > 1 ? str_format("damaged/%s.%u", name, n) : str_format("damaged/%s", name);
        for (char *c = place ? place + strlen("damaged/") : NULL; c && *c; c++)
                if (*c == '/')
                        *c = '-';
        return place;
}

int set_aside(const Folder *f, const char *name, const char *why) {
        _cleanup_free_ char *to = NULL, *message = NULL;
        struct stat st;
        int r = -EEXIST;

        (void)mkdirat(f->fd, "damaged", 0700);
        /* a folder's own entry ".." changes with its place, so it has to be writable */
        if (fstatat(f->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
                (void)fchmodat(f->fd, name, 0700, 0);
        for (unsigned n = 1; r == -EEXIST && n <= SAME_NAME_MAX; n++) {
                free(to);
                to = place_for(name, n);
                if (!to)
                        return -ENOMEM;
                r = renameat2(f->fd, name, f->fd, to, RENAME_NOREPLACE) < 0 ? -errno : 0;
        }
        message = r == 0 ? str_format("%s/%s %s; set aside as %s", f->path, name, why, to)
                         : str_format("%s/%s %s; it cannot be set aside: %s", f->path, name, why,
                                      strerror(-r));
        return message ? strv_extend(f->messages, message) : -ENOMEM;
}

int make_folder(const Folder *f, const char *name) {
        struct stat st;
        int r = 0;

        if (mkdirat(f->fd, name, 0700) == 0)
                return 0;
        if (errno != EEXIST)
                return -errno;
        if (fstatat(f->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (!S_ISDIR(st.st_mode))
                r = set_aside(f, name, "is no folder");
        else if (faccessat(f->fd, name, R_OK | W_OK | X_OK, 0) < 0 &&
                 fchmodat(f->fd, name, 0700, 0) < 0)
                r = set_aside(f, name, "is a folder that may not be used");
        else
                return 0;
        if (r < 0)
                return r;
        return mkdirat(f->fd, name, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int expect_file(const Folder *f, const char *name) {
        struct stat st;

        if (fstatat(f->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : -errno;
        return S_ISREG(st.st_mode) ? 0 : set_aside(f, name, "is no regular file");
}

static int read_all(int fd, size_t size, char **ret) {
        _cleanup_free_ char *text = malloc(size + 1);
        size_t n = 0;

        if (!text)
                return -ENOMEM;
        while (n < size) {
                ssize_t k = read(fd, text + n, size - n);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0)
                        break;
                n += (size_t)k;
        }
        text[n] = '\0';
        if (strlen(text) != n)
                return -EBADMSG;
        *ret = TAKE_PTR(text);
        return 0;
}

int read_text(const Folder *f, const char *name, size_t max, char **ret, const char **ret_why) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        int r;

        /* a FIFO, or a device, must not keep us waiting */
        fd = openat(f->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 && (errno == EACCES || errno == EPERM)) {
                *ret_why = "may not be read";
                return -EBADMSG;
        }
        if (fd < 0 && (errno == ELOOP || errno == ENXIO || errno == ENODEV)) {
                *ret_why = "is no regular file";
                return -EBADMSG;
        }
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode)) {
                *ret_why = "is no regular file";
                return -EBADMSG;
        }
        if (st.st_size > (off_t)max) {
                *ret_why = "is too long";
                return -EBADMSG;
        }
        r = read_all(fd, (size_t)st.st_size, ret);
        if (r == -EBADMSG)
                *ret_why = "is no text";
        return r;
}
