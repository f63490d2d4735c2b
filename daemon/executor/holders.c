/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/holders.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#include "util/strings.h"

#define NAMES_MAX 8

typedef struct Scan {
        const Sysfs *s;
        char **devices; /* of the group */
        char **nodes;   /* ends of paths: "/vfio/12", "/vfio/devices/vfio3" */
        char *exact;
        char *guess;
        size_t n_exact;
        size_t n_guess;
} Scan;

typedef enum Hold {
        HOLD_NONE,
        HOLD_PERHAPS, /* a file of some VFIO device */
        HOLD_SURE,    /* a file of this group */
} Hold;

static void scan_clear(Scan *scan) {
        strv_free(scan->devices);
        strv_free(scan->nodes);
        free(scan->exact);
        free(scan->guess);
}

static bool ends_with(const char *s, const char *end) {
        size_t n = strlen(s), m = strlen(end);

        return n >= m && strcmp(s + n - m, end) == 0;
}

static int scan_add_node(Scan *scan, const char *folder, const char *name) {
        _cleanup_free_ char *end = str_format("/%s/%s", folder, name);

        return end ? strv_extend(&scan->nodes, end) : -ENOMEM;
}

static int scan_add_group(Scan *scan, unsigned group) {
        char number[16];

        (void)snprintf(number, sizeof(number), "%u", group);
        return scan_add_node(scan, "vfio", number);
}

static int scan_add_devices(Scan *scan, unsigned group) {
        int r;

        r = sysfs_listf(scan->s, &scan->devices, "sys/kernel/iommu_groups/%u/devices", group);
        if (r < 0)
                return r;
        for (char **d = scan->devices; *d; d++) {
                _cleanup_(strv_freep) char **names = NULL;

                r = sysfs_listf(scan->s, &names, "sys/bus/pci/devices/%s/vfio-dev", *d);
                if (r < 0 && r != -ENOENT)
                        return r;
                for (char **name = names; name && *name; name++) {
                        r = scan_add_node(scan, "vfio/devices", *name);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* A file of a VFIO device: newer kernels tell of which. */
static Hold device_file_hold(const Scan *scan, const char *pid, const char *fd) {
        static const char key[] = "vfio-device-syspath:";
        _cleanup_free_ char *info = NULL;
        char *path;

        if (sysfs_readf(scan->s, &info, "proc/%s/fdinfo/%s", pid, fd) < 0)
                return HOLD_NONE; /* closed just now */
        path = strstr(info, key);
        if (!path)
                return HOLD_PERHAPS;
        path[strcspn(path, "\n")] = '\0';
        path = strrchr(path, '/');
        return path && strv_contains(scan->devices, path + 1) ? HOLD_SURE : HOLD_NONE;
}

/* A file of a node that was opened only to name it, as udev does, is no use of the device. */
static Hold node_file_hold(const Scan *scan, const char *pid, const char *fd) {
        static const char key[] = "flags:";
        _cleanup_free_ char *info = NULL;
        const char *flags;
        int r;

        r = sysfs_readf(scan->s, &info, "proc/%s/fdinfo/%s", pid, fd);
        if (r < 0)
                return r == -ENOENT ? HOLD_NONE /* closed just now */ : HOLD_SURE;
        flags = strstr(info, key);
        return flags && (strtoul(flags + strlen(key), NULL, 8) & O_PATH) ? HOLD_NONE : HOLD_SURE;
}

static Hold target_hold(const Scan *scan, const char *pid, const char *fd, const char *target) {
        if (strcmp(target, "anon_inode:[vfio-device]") == 0)
                return device_file_hold(scan, pid, fd);
        for (char **end = scan->nodes; end && *end; end++)
                if (ends_with(target, *end))
                        return node_file_hold(scan, pid, fd);
        return HOLD_NONE;
}

static Hold file_hold(const Scan *scan, const char *pid, int folder, const char *fd) {
        char target[PATH_MAX], again[PATH_MAX];
        Hold hold;
        ssize_t n;

        n = readlinkat(folder, fd, target, sizeof(target) - 1);
        if (n < 0)
                return HOLD_NONE;
        target[n] = '\0';
        hold = target_hold(scan, pid, fd, target);
        /* its number may be another file's by now, and what was read of that tells nothing */
        if (hold != HOLD_NONE && (readlinkat(folder, fd, again, sizeof(again)) != n ||
                                  memcmp(target, again, (size_t)n) != 0))
                return HOLD_NONE;
        return hold;
}

static Hold process_hold(const Scan *scan, const char *pid) {
        _cleanup_free_ char *path = str_format("proc/%s/fd", pid);
        Hold most = HOLD_NONE;
        struct dirent *entry;
        DIR *folder;
        int fd;

        fd = path ? sysfs_open_file(scan->s, path, O_RDONLY | O_DIRECTORY) : -ENOMEM;
        if (fd < 0)
                return HOLD_NONE; /* gone, or a kernel thread's */
        folder = fdopendir(fd);
        if (!folder) {
                safe_close(fd);
                return HOLD_NONE;
        }
        while (most != HOLD_SURE && (entry = readdir(folder))) {
                Hold hold = file_hold(scan, pid, fd, entry->d_name);

                if (hold > most)
                        most = hold;
        }
        (void)closedir(folder);
        return most;
}

static int add_name(const Scan *scan, const char *pid, char **text, size_t *n) {
        _cleanup_free_ char *comm = NULL;

        if (++*n > NAMES_MAX)
                return *n == NAMES_MAX + 1 ? str_append(text, " and others") : 0;
        if (sysfs_readf(scan->s, &comm, "proc/%s/comm", pid) < 0)
                comm = NULL; /* gone just now */
        return str_append(text, "%s%s (pid %s)", *text ? ", " : "", comm ? comm : "a process", pid);
}

static bool is_skipped(unsigned long long pid, const pid_t *skip) {
        if (pid == (unsigned long long)getpid())
                return true;
        for (; skip && *skip > 0; skip++)
                if ((unsigned long long)*skip == pid)
                        return true;
        return false;
}

static int scan_processes(Scan *scan, const pid_t *skip) {
        _cleanup_(strv_freep) char **processes = NULL;
        int r;

        r = sysfs_list(scan->s, "proc", &processes);
        if (r < 0)
                return r;
        for (char **p = processes; *p; p++) {
                unsigned long long pid;

                r = 0;
                if (parse_u64(*p, 10, &pid) < 0 || is_skipped(pid, skip))
                        continue;
                switch (process_hold(scan, *p)) {
                case HOLD_SURE:
                        r = add_name(scan, *p, &scan->exact, &scan->n_exact);
                        break;
                case HOLD_PERHAPS:
                        r = add_name(scan, *p, &scan->guess, &scan->n_guess);
                        break;
                case HOLD_NONE:
                        break;
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

int holders_describe(const Sysfs *s, unsigned group, HolderFiles which, const pid_t *skip,
                     bool guess, char **ret) {
        _cleanup_(scan_clear) Scan scan = { .s = s };
        int r;

        r = scan_add_devices(&scan, group);
        if (r == 0 && which == HOLDERS_OF_ANY)
                r = scan_add_group(&scan, group);
        if (r == 0)
                r = scan_processes(&scan, skip);
        if (r < 0)
                return r;
        if (guess && !scan.exact)
                scan.exact = TAKE_PTR(scan.guess);
        *ret = TAKE_PTR(scan.exact);
        return 0;
}

int holders_of_node(const Sysfs *s, const char *end, char **ret) {
        _cleanup_(scan_clear) Scan scan = { .s = s };
        int r;

        r = strv_extend(&scan.nodes, end);
        if (r == 0)
                r = scan_processes(&scan, NULL);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(scan.exact);
        return 0;
}

int holders_include(const Sysfs *s, unsigned group, const pid_t *processes) {
        _cleanup_(scan_clear) Scan scan = { .s = s };
        char pid[16];
        int r;

        r = scan_add_group(&scan, group);
        for (; r == 0 && *processes > 0; processes++) {
                (void)snprintf(pid, sizeof(pid), "%d", (int)*processes);
                r = process_hold(&scan, pid) == HOLD_SURE;
        }
        return r;
}
