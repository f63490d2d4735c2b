/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "util/strings.h"

/* The disk or one of its partitions. */
typedef struct Part {
        char *path;   /* folder in sysfs */
        char *name;   /* below /dev */
        char *number; /* "259:1" */
} Part;

typedef struct Disk {
        const Sysfs *s;
        const char *device; /* whose obstacles they are */
        Obstacles *obstacles;
        Part *parts; /* the first is the disk */
        size_t n;
} Disk;

void disks_close(Disks *d) {
        for (size_t i = 0; i < d->n; i++)
                safe_close(d->fds[i]);
        free(d->fds);
        *d = DISKS_NULL;
}

static int disks_add(Disks *d, int fd) {
        int *more = reallocarray(d->fds, d->n + 1, sizeof(int));

        if (!more)
                return -ENOMEM;
        d->fds = more;
        d->fds[d->n++] = fd;
        return 0;
}

static void disk_clear(Disk *d) {
        for (size_t i = 0; i < d->n; i++) {
                free(d->parts[i].path);
                free(d->parts[i].name);
                free(d->parts[i].number);
        }
        free(d->parts);
}

/* "cciss!c0d0" stands for /dev/cciss/c0d0. */
static char *disk_name(const char *path) {
        char *name = strdup(strrchr(path, '/') + 1);

        for (char *c = name; c && *c; c++)
                if (*c == '!')
                        *c = '/';
        return name;
}

static int disk_add_part(Disk *d, const char *path) {
        Part *more, part = {};
        int r;

        more = reallocarray(d->parts, d->n + 1, sizeof(Part));
        if (!more)
                return -ENOMEM;
        d->parts = more;
        r = sysfs_readf(d->s, &part.number, "%s/dev", path);
        if (r < 0)
                return r;
        part.path = strdup(path);
        part.name = disk_name(path);
        d->parts[d->n++] = part;
        return part.path && part.name ? 0 : -ENOMEM;
}

static int disk_read(Disk *d, const char *path) {
        _cleanup_(strv_freep) char **folders = NULL;
        int r;

        r = disk_add_part(d, path);
        if (r < 0)
                return r;
        r = sysfs_list_folders(d->s, path, &folders);
        if (r < 0)
                return r;
        for (char **f = folders; *f; f++) {
                _cleanup_free_ char *part = str_format("%s/%s", path, *f), *mark = NULL;

                mark = part ? str_format("%s/partition", part) : NULL;
                if (!mark)
                        return -ENOMEM;
                r = sysfs_exists(d->s, mark);
                if (r > 0)
                        r = disk_add_part(d, part);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* By number, or by name below /dev: some file systems have numbers of their own. */
static const Part *disk_find(const Disk *d, const char *number, const char *node) {
        for (size_t i = 0; i < d->n; i++)
                if (str_eq(d->parts[i].number, number) ||
                    (str_starts(node, "/dev/") &&
                     strcmp(node + strlen("/dev/"), d->parts[i].name) == 0))
                        return &d->parts[i];
        return NULL;
}

static void stream_close(FILE **f) {
        if (*f)
                (void)fclose(*f);
}
#define _cleanup_stream_ _cleanup_(stream_close)

/* Mount points have blanks and the like as octal numbers. */
static void unescape(char *s) {
        char *to = s;

        for (; *s; s++) {
                unsigned c;

                if (*s == '\\' && sscanf(s + 1, "%3o", &c) == 1 && strlen(s) > 3) {
                        *to++ = (char)c;
                        s += 3;
                } else
                        *to++ = *s;
        }
        *to = '\0';
}

static int disk_add_mounts(Disk *d) {
        _cleanup_stream_ FILE *f = NULL;
        _cleanup_free_ char *line = NULL;
        size_t size = 0;
        int r;

        r = sysfs_open_stream(d->s, "proc/1/mountinfo", &f);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        while (getline(&line, &size, f) > 0) {
                char *number, *where, *source;
                const Part *part;
                int skip_number = 0, skip_where = 0;

                /* id parent major:minor root mount-point options [tags] - type source options */
                if (sscanf(line, "%*s %*s %n%*s %*s %n", &skip_number, &skip_where) < 0 ||
                    skip_where == 0)
                        continue;
                source = strstr(line, " - ");
                if (!source)
                        continue;
                source += strlen(" - ");
                source += strcspn(source, " ");
                source += strspn(source, " ");
                source[strcspn(source, " \n")] = '\0';
                number = line + skip_number;
                number[strcspn(number, " ")] = '\0';
                where = line + skip_where;
                where[strcspn(where, " ")] = '\0';
                part = disk_find(d, number, source);
                if (!part)
                        continue;
                unescape(where);
                r = obstacles_add(d->obstacles, "mounted", d->device, "/dev/%s is mounted on %s",
                                  part->name, where);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int disk_add_swaps(Disk *d) {
        _cleanup_stream_ FILE *f = NULL;
        _cleanup_free_ char *line = NULL;
        size_t size = 0;
        int r;

        r = sysfs_open_stream(d->s, "proc/swaps", &f);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        while (getline(&line, &size, f) > 0) {
                const Part *part;

                line[strcspn(line, " \t\n")] = '\0';
                part = disk_find(d, NULL, line);
                if (!part)
                        continue;
                r = obstacles_add(d->obstacles, "swap", d->device, "/dev/%s is used as swap space",
                                  part->name);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Device mapper, md, bcache and the like. */
static int disk_add_holders(Disk *d) {
        for (size_t i = 0; i < d->n; i++) {
                _cleanup_(strv_freep) char **holders = NULL;
                int r;

                r = sysfs_listf(d->s, &holders, "%s/holders", d->parts[i].path);
                if (r < 0 && r != -ENOENT)
                        return r;
                for (char **h = holders; h && *h; h++) {
                        _cleanup_free_ char *name = NULL;

                        r = sysfs_readf(d->s, &name, "%s/holders/%s/dm/name", d->parts[i].path, *h);
                        if (r < 0 && r != -ENOENT)
                                return r;
                        r = obstacles_add(d->obstacles, "block-holder", d->device,
                                          "/dev/%s is part of %s%s%s%s", d->parts[i].name, *h,
                                          name ? " (" : "", name ? name : "", name ? ")" : "");
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int disk_add_reasons(Disk *d) {
        size_t before = d->obstacles->n;
        int r;

        r = disk_add_mounts(d);
        if (r < 0)
                return r;
        r = disk_add_swaps(d);
        if (r < 0)
                return r;
        r = disk_add_holders(d);
        if (r < 0)
                return r;
        if (d->obstacles->n > before)
                return 0;
        return obstacles_add(d->obstacles, "opened-exclusively", d->device,
                             "/dev/%s is opened exclusively by another program", d->parts[0].name);
}

int disk_explain(const Sysfs *s, const char *path, const char *device, Obstacles *obstacles) {
        _cleanup_(disk_clear) Disk disk = { .s = s, .device = device, .obstacles = obstacles };
        int r;

        r = disk_read(&disk, path);
        if (r < 0)
                return r == -ENOENT ? 0 : r; /* it went away meanwhile */
        return disk_add_reasons(&disk);
}

/* Opens the block device of that number by its node. -ENOENT: there is none. */
static int open_exclusively(const Sysfs *s, const char *name, dev_t number) {
        _cleanup_free_ char *path = str_format("dev/%s", name);
        _cleanup_close_ int node = -EBADF;
        struct stat st;
        char link[48];
        int fd;

        if (!path)
                return -ENOMEM;
        node = sysfs_open_file(s, path, O_PATH | O_NOFOLLOW);
        if (node < 0)
                return node;
        if (fstat(node, &st) < 0)
                return -errno;
        if (!S_ISBLK(st.st_mode) || st.st_rdev != number)
                return -ENOENT;
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", node);
        fd = open(link, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int disk_inspect(const Sysfs *s, const char *path, const char *device, Obstacles *obstacles,
                 Disks *disks) {
        _cleanup_free_ char *number = NULL, *name = NULL;
        _cleanup_close_ int fd = -EBADF;
        unsigned major_number, minor_number;
        int r;

        r = sysfs_readf(s, &number, "%s/dev", path);
        if (r < 0)
                return r == -ENOENT ? 0 : r; /* it went away meanwhile */
        if (sscanf(number, "%u:%u", &major_number, &minor_number) != 2)
                return -EBADMSG;
        name = disk_name(path);
        if (!name)
                return -ENOMEM;
        fd = open_exclusively(s, name, makedev(major_number, minor_number));
        if (fd >= 0) {
                r = disks_add(disks, fd);
                if (r >= 0)
                        TAKE_FD(fd);
                return r;
        }
        if (fd == -ENOMEDIUM || fd == -ENXIO || fd == -ENODEV)
                return 0; /* nothing in it, or gone */
        if (fd == -EBUSY)
                return disk_explain(s, path, device, obstacles);
        return obstacles_add(obstacles, "unknown", device,
                             "whether /dev/%s is in use cannot be found out: %s", name,
                             strerror(-fd));
}
