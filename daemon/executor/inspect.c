/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/inspect.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "core/device.h"
#include "executor/check.h"
#include "executor/group.h"
#include "executor/holders.h"
#include "executor/network.h"
#include "executor/vfs.h"
#include "util/strings.h"

#define WALK_DEPTH_MAX   24
#define WALK_FOLDERS_MAX 20000

typedef struct Walk {
        Run *run;
        const Sysfs *s;
        const char *device;
        Obstacles *obstacles;
        Disks *disks;
        char *consoles; /* "tty0 ttyS0" */
        bool interface; /* a network interface was found */
        bool idle;      /* a virtio device without a driver was found */
        unsigned n_folders;
} Walk;

static void walk_clear(Walk *w) {
        free(w->consoles);
}

/* Folders that hold nothing that anybody could use, and many files. */
static bool is_dull(const char *name) {
        static const char *const dull[] = { "power",  "msi_irqs", "statistics", "queues",
                                            "wakeup", "trace",    "hwmon",      NULL };

        return strv_contains((char *const *)dull, name);
}

static int visit_graphics(Walk *w, const char *path, const char *name) {
        if (!str_starts(name, "fb"))
                return 0;
        return obstacles_add(w->obstacles, "console-gpu", w->device,
                             "%s is the frame buffer of a graphical console", name);
}

static int visit_tty(Walk *w, const char *path, const char *name) {
        _cleanup_free_ char *consoles = w->consoles ? strdup(w->consoles) : NULL;
        char *rest = NULL;
        int r;

        if (!w->consoles) {
                r = sysfs_read(w->s, "sys/class/tty/console/active", &w->consoles);
                if (r < 0)
                        return r == -ENOENT ? 0 : r;
                consoles = strdup(w->consoles);
        }
        if (!consoles)
                return -ENOMEM;
        for (char *c = strtok_r(consoles, " ", &rest); c; c = strtok_r(NULL, " ", &rest))
                if (strcmp(c, name) == 0)
                        return obstacles_add(w->obstacles, "serial-console", w->device,
                                             "%s is a console of the kernel", name);
        return 0;
}

/* RDMA over Ethernet needs addresses, which are looked at by themselves; its ports are "active"
 * whenever the link is up. */
static int visit_infiniband(Walk *w, const char *path, const char *name) {
        _cleanup_(strv_freep) char **ports = NULL;
        int r;

        r = sysfs_listf(w->s, &ports, "%s/ports", path);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        for (char **p = ports; *p; p++) {
                _cleanup_free_ char *state = NULL, *layer = NULL;

                if (sysfs_readf(w->s, &state, "%s/ports/%s/state", path, *p) < 0 ||
                    sysfs_readf(w->s, &layer, "%s/ports/%s/link_layer", path, *p) < 0)
                        continue;
                if (!strstr(state, "ACTIVE") || strcmp(layer, "Ethernet") == 0)
                        continue;
                return obstacles_add(w->obstacles, "rdma-in-use", w->device,
                                     "port %s of the RDMA device %s is active", *p, name);
        }
        return 0;
}

/* A USB device with a driver on one of its interfaces. Root hubs are part of the controller. */
static int visit_usb(Walk *w, const char *path, const char *name) {
        _cleanup_free_ char *class_code = NULL, *product = NULL;
        _cleanup_(strv_freep) char **folders = NULL;
        int r;

        r = sysfs_readf(w->s, &class_code, "%s/bDeviceClass", path);
        if (r == -ENOENT)
                return 0; /* an interface */
        if (r < 0)
                return r;
        if (strcmp(class_code, "09") == 0)
                return 0;
        r = sysfs_readf(w->s, &product, "%s/product", path);
        if (r < 0 && r != -ENOENT)
                return r;
        r = sysfs_list_folders(w->s, path, &folders);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        for (char **f = folders; *f; f++) {
                _cleanup_free_ char *driver = NULL;

                r = sysfs_link_namef(w->s, &driver, "%s/%s/driver", path, *f);
                if (r == -ENOENT)
                        continue;
                if (r < 0)
                        return r;
                return obstacles_add(w->obstacles, "usb-in-use", w->device,
                                     "the USB device %s (%s) is used by %s",
                                     product ? product : "without a name", name, driver);
        }
        return 0;
}

static int visit_disk(Walk *w, const char *path) {
        _cleanup_free_ char *hidden = NULL;
        int r;

        r = sysfs_readf(w->s, &hidden, "%s/hidden", path);
        if (r < 0 && r != -ENOENT)
                return r;
        if (hidden && strcmp(hidden, "1") == 0)
                return 0; /* one path of a multipath disk, which has a head elsewhere */
        return disk_inspect(w->s, path, w->device, w->obstacles, w->disks);
}

/* With native multipath, the disks of an NVMe controller hang below its subsystem. */
static int visit_nvme(Walk *w, const char *path, const char *name) {
        static const char class[] = "sys/class/nvme-subsystem";
        _cleanup_(strv_freep) char **subsystems = NULL;
        int r;

        r = sysfs_list(w->s, class, &subsystems);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        for (char **s = subsystems; *s; s++) {
                _cleanup_(strv_freep) char **heads = NULL;

                r = sysfs_existsf(w->s, "%s/%s/%s", class, *s, name);
                if (r > 0)
                        r = sysfs_listf(w->s, &heads, "%s/%s", class, *s);
                if (r < 0)
                        return r;
                for (char **h = heads; h && *h; h++) {
                        _cleanup_free_ char *head = str_format("%s/%s/%s", class, *s, *h);

                        if (!head)
                                return -ENOMEM;
                        r = sysfs_existsf(w->s, "%s/queue", head);
                        if (r > 0)
                                r = visit_disk(w, head);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int visit_virtio(Walk *w, const char *path) {
        int r;

        r = sysfs_existsf(w->s, "%s/driver", path);
        if (r == 0)
                w->idle = true;
        return r < 0 ? r : 0;
}

/* A vDPA device as a file: an unbind of its driver waits for whoever has it open. */
static int visit_vhost_vdpa(Walk *w, const char *name) {
        _cleanup_free_ char *end = str_format("/%s", name), *holders = NULL;
        int r;

        r = end ? holders_of_node(w->s, end, &holders) : -ENOMEM;
        if (r < 0 || !holders)
                return r;
        return obstacles_add(w->obstacles, OBSTACLE_VDPA_OPEN, w->device,
                             "its /dev/%s is open in %s", name, holders);
}

/* 1: what is below is to be visited too; 0: it is not; or negative errno */
static int visit(Walk *w, const char *path, const char *name) {
        _cleanup_free_ char *subsystem = NULL;
        int r;

        if (str_starts(name, "vhost-vdpa-"))
                return visit_vhost_vdpa(w, name);
        r = sysfs_link_namef(w->s, &subsystem, "%s/subsystem", path);
        if (r == -ENOENT)
                return 1; /* a folder that only groups devices */
        if (r < 0)
                return r;
        if (strcmp(subsystem, "net") == 0) {
                w->interface = true;
                return network_inspect(w->run, path, w->device, w->obstacles);
        }
        if (strcmp(subsystem, "block") == 0)
                return visit_disk(w, path);
        if (strcmp(subsystem, "tty") == 0)
                return visit_tty(w, path, name);
        if (strcmp(subsystem, "graphics") == 0)
                return visit_graphics(w, path, name);
        if (strcmp(subsystem, "infiniband") == 0)
                return visit_infiniband(w, path, name);
        if (strcmp(subsystem, "usb") == 0)
                r = visit_usb(w, path, name);
        else if (strcmp(subsystem, "nvme") == 0)
                r = visit_nvme(w, path, name);
        else if (strcmp(subsystem, "virtio") == 0)
                r = visit_virtio(w, path);
        else
                r = 0;
        return r < 0 ? r : 1;
}

static int walk(Walk *w, const char *path, unsigned depth) {
        _cleanup_(strv_freep) char **folders = NULL;
        int r;

        if (depth > WALK_DEPTH_MAX || ++w->n_folders > WALK_FOLDERS_MAX)
                return answer_fail(&w->run->answer, EOVERFLOW,
                                   "there is more below %s than can be looked at", w->device);
        r = sysfs_list_folders(w->s, path, &folders);
        if (r < 0)
                return r == -ENOENT ? 0 : r; /* it went away meanwhile */
        for (char **f = folders; *f; f++) {
                _cleanup_free_ char *child = NULL;

                /* what is behind a bridge is a device of its own */
                if (is_dull(*f) || device_name_is_pci(*f))
                        continue;
                child = str_format("%s/%s", path, *f);
                if (!child)
                        return -ENOMEM;
                r = visit(w, child, *f);
                if (r > 0)
                        r = walk(w, child, depth + 1);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Taking the driver of a PF away removes its VFs. */
static int inspect_vfs(Walk *w) {
        unsigned n;
        int r;

        r = vfs_inspect(w->s, w->device, w->obstacles, &n);
        if (r < 0 || n == 0)
                return r;
        return obstacles_add(w->obstacles, "vfs-enabled", w->device,
                             "it has %u virtual functions, which would go away", n);
}

/* SPDK locks a file for each device that it drives. */
static int inspect_spdk(Walk *w) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        _cleanup_free_ char *name = str_format("spdk_pci_lock_%s", w->device);
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (!name)
                return -ENOMEM;
        /* anybody may make files there: no waiting for a FIFO. The service's unit shows the folder in another
         * place (PrivateTmp=) */
        fd = sysfs_open_shown(w->s, "run/dmaowner/var-tmp", "var/tmp", name,
                              O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || fcntl(fd, F_GETLK, &lock) < 0 ||
            lock.l_type == F_UNLCK)
                return 0;
        /* who drives a device by UIO is root; who drives it by VFIO, and is not, is seen by his open files. Others
         * could keep devices from everybody by this */
        if (st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
                return 0;
        return obstacles_add(w->obstacles, "spdk-lock", w->device,
                             "a program that uses SPDK (pid %d) drives it", (int)lock.l_pid);
}

static int inspect_console(Walk *w) {
        _cleanup_free_ char *boot = NULL;
        int r;

        r = sysfs_readf(w->s, &boot, "sys/bus/pci/devices/%s/boot_vga", w->device);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        if (strcmp(boot, "1") != 0)
                return 0;
        return obstacles_add(w->obstacles, "console-gpu", w->device,
                             "it is the graphics adapter that the firmware used as console");
}

/* These make vDPA devices of NICs, not interfaces. */
static bool driver_is_vdpa(const char *driver) {
        return strstr(driver, "vdpa") || strcmp(driver, "ifcvf") == 0;
}

/* A driver of a NIC that shows no interface. */
static int inspect_hidden_interface(Walk *w, const char *driver) {
        _cleanup_free_ char *code = NULL;
        int r;

        if (driver_is_vdpa(driver))
                return 0;
        r = sysfs_readf(w->s, &code, "sys/bus/pci/devices/%s/class", w->device);
        if (r < 0)
                return r;
        if (!str_starts(code, "0x0200") || w->interface || w->idle)
                return 0;
        return obstacles_add(w->obstacles, "network-namespace", w->device,
                             "it is bound to %s but no interface of it is visible: that is in "
                             "another network namespace, or a program drives it",
                             driver);
}

int inspect_device(Run *run, Obstacles *obstacles, Disks *disks) {
        _cleanup_free_ char *driver = NULL, *path = NULL;
        _cleanup_(walk_clear) Walk w = {
                .run = run,
                .s = &run->sysfs,
                .device = run->step->device,
                .obstacles = obstacles,
                .disks = disks,
        };
        int r;

        r = device_driver(w.s, w.device, &driver);
        if (r < 0 || !driver)
                return r; /* nobody can use it */
        r = inspect_vfs(&w);
        if (r < 0)
                return r;
        if (driver_is_vfio(driver) || strstr(driver, "uio")) {
                r = inspect_spdk(&w);
                if (r < 0)
                        return r;
        }
        if (driver_is_vfio(driver))
                return 0;
        r = inspect_console(&w);
        if (r < 0)
                return r;
        path = str_format("sys/bus/pci/devices/%s", w.device);
        if (!path)
                return -ENOMEM;
        r = walk(&w, path, 0);
        if (r < 0 || driver_is_harmless(driver))
                return r;
        return inspect_hidden_interface(&w, driver);
}

/* VFIO files are open. The daemon's own keep a group claimed for whoever is next. */
static int inspect_vfio(Run *run) {
        _cleanup_free_ char *driver = NULL, *holders = NULL;
        int r;

        r = device_driver(&run->sysfs, run->step->device, &driver);
        if (r < 0 || !driver_is_vfio(driver))
                return r;
        r = group_describe_users(run, true, &holders);
        if (r < 0 || !holders)
                return r;
        return obstacles_add(&run->answer.obstacles, "vfio-open", run->step->device,
                             "IOMMU group %u is open in %s", run->step->group, holders);
}

int step_inspect(Run *run) {
        _cleanup_disks_ Disks disks = DISKS_NULL;
        int r;

        r = inspect_device(run, &run->answer.obstacles, &disks);
        if (r >= 0)
                r = inspect_vfio(run);
        /* no event tells of this one */
        return r < 0 ? r : device_override(&run->sysfs, run->step->device, &run->answer.value);
}
