/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A folder that looks like the root of a host, for tests of the Linux kernel layer. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "util/strings.h"

typedef struct Host {
        char root[32];
} Host;

static inline void host_init(Host *h) {
        (void)strcpy(h->root, "/tmp/linux-host-XXXXXX");
        assert_non_null(mkdtemp(h->root));
}

static inline int host_remove_entry(const char *path, const struct stat *st, int type,
                                    struct FTW *ftw) {
        return remove(path);
}

static inline void host_destroy(Host *h) {
        assert_int_equal(nftw(h->root, host_remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* For events of the kernel layer that a test does not look at. */
static inline void host_ignore_node(unsigned group, void *userdata) {
}

/* The full path; folders on the way are made. Valid until the next call. */
static inline char *host_path(const Host *h, const char *path) {
        static char full[512];

        assert_true(snprintf(full, sizeof(full), "%s/%s", h->root, path) < (int)sizeof(full));
        for (char *slash = strchr(full + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                assert_true(mkdir(full, 0755) == 0 || errno == EEXIST);
                *slash = '/';
        }
        return full;
}

static inline void host_write(const Host *h, const char *path, const char *text) {
        FILE *f = fopen(host_path(h, path), "w");

        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static inline void host_link(const Host *h, const char *path, const char *target) {
        const char *full = host_path(h, path);

        assert_true(unlink(full) == 0 || errno == ENOENT);
        assert_int_equal(symlink(target, full), 0);
}

static inline void host_remove(const Host *h, const char *path) {
        assert_int_equal(remove(host_path(h, path)), 0);
}

/* A file of a device. */
static inline char *host_device_file(const char *device, const char *file) {
        static char path[256];

        (void)snprintf(path, sizeof(path), "sys/bus/pci/devices/%s/%s", device, file);
        return path;
}

static inline void host_add_device(const Host *h, const char *name, const char *class_code) {
        host_write(h, host_device_file(name, "vendor"), "0x8086\n");
        host_write(h, host_device_file(name, "device"), "0x10d3\n");
        host_write(h, host_device_file(name, "class"), class_code);
        host_write(h, host_device_file(name, "modalias"),
                   "pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00\n");
        host_write(h, host_device_file(name, "numa_node"), "-1\n");
        host_write(h, host_device_file(name, "driver_override"), "(null)\n");
}

static inline void host_set_group(const Host *h, const char *name, const char *group,
                                  const char *type) {
        char path[128];

        (void)snprintf(path, sizeof(path), "../../../../kernel/iommu_groups/%s", group);
        host_link(h, host_device_file(name, "iommu_group"), path);
        (void)snprintf(path, sizeof(path), "sys/kernel/iommu_groups/%s/type", group);
        host_write(h, path, type);
}

static inline void host_set_driver(const Host *h, const char *name, const char *driver) {
        char path[128];

        (void)snprintf(path, sizeof(path), "../../../../bus/pci/drivers/%s", driver);
        host_link(h, host_device_file(name, "driver"), path);
}

/* A process that has a file open, by its descriptor 7. */
static inline void host_add_holder(const Host *h, const char *pid, const char *comm,
                                   const char *target) {
        char path[64];

        (void)snprintf(path, sizeof(path), "proc/%s/fd/7", pid);
        host_link(h, path, target);
        (void)snprintf(path, sizeof(path), "proc/%s/fdinfo/7", pid);
        host_write(h, path, "pos:\t0\n");
        (void)snprintf(path, sizeof(path), "proc/%s/comm", pid);
        host_write(h, path, comm);
}

static inline void host_write_aliases(const Host *h, const char *text) {
        char path[256];
        struct utsname u;

        assert_int_equal(uname(&u), 0);
        (void)snprintf(path, sizeof(path), "lib/modules/%s/modules.alias", u.release);
        host_write(h, path, text);
}
