/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/check.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/utsname.h>

#include "core/device.h"
#include "executor/rules.h"
#include "shared/driver-table.h"
#include "shared/modalias.h"
#include "util/strings.h"

bool check_is_name(const char *name) {
        if (str_empty(name) || strlen(name) > NAME_MAX || *name == '.')
                return false;
        for (; *name; name++)
                if (*name == '/' || iscntrl((unsigned char)*name))
                        return false;
        return true;
}

int device_driver(const Sysfs *s, const char *device, char **ret) {
        int r;

        r = sysfs_link_namef(s, ret, "sys/bus/pci/devices/%s/driver", device);
        if (r == -ENOENT) {
                *ret = NULL;
                return 0;
        }
        return r;
}

int device_override(const Sysfs *s, const char *device, char **ret) {
        _cleanup_free_ char *value = NULL;
        int r;

        r = sysfs_readf(s, &value, "sys/bus/pci/devices/%s/driver_override", device);
        if (r < 0)
                return r;
        *ret = str_empty(value) || strcmp(value, "(null)") == 0 ? NULL : TAKE_PTR(value);
        return 0;
}

int check_device(Run *run) {
        const char *device = run->step->device;
        _cleanup_free_ char *group = NULL;
        unsigned long long id;
        int r;

        if (!device_name_is_pci(device))
                return answer_fail(&run->answer, EINVAL, "\"%.40s\" is no name of a PCI device",
                                   device);
        r = sysfs_link_namef(&run->sysfs, &group, "sys/bus/pci/devices/%s/iommu_group", device);
        if (r == -ENOENT) {
                r = sysfs_existsf(&run->sysfs, "sys/bus/pci/devices/%s", device);
                if (r < 0)
                        return r;
                return answer_fail(&run->answer, ENODEV,
                                   r > 0 ? "%s has no IOMMU group" : "there is no device %s",
                                   device);
        }
        if (r < 0)
                return r;
        if (parse_u64(group, 10, &id) < 0 || id != run->step->group)
                return answer_fail(&run->answer, ESTALE, "%s is in IOMMU group %s, not in %u",
                                   device, group, run->step->group);
        return 0;
}

int check_group(Run *run) {
        int r;

        r = sysfs_existsf(&run->sysfs, "sys/kernel/iommu_groups/%u", run->step->group);
        if (r < 0)
                return r;
        return r > 0 ? 0
                     : answer_fail(&run->answer, ENOENT, "there is no IOMMU group %u",
                                   run->step->group);
}

/* 1, 0 or negative errno */
static int host_is_remembered(Run *run, const char *driver) {
        _cleanup_free_ char *line = NULL;
        _cleanup_close_ int fd = -EBADF;
        char path[64];
        size_t size = 0;
        int found = 0;
        FILE *f;

        (void)snprintf(path, sizeof(path), "hosts/%s", run->step->device);
        fd = run_open_memory(run, path, O_RDONLY);
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        f = fdopen(fd, "r");
        if (!f)
                return -errno;
        TAKE_FD(fd);
        while (!found && getline(&line, &size, f) > 0) {
                line[strcspn(line, "\n")] = '\0';
                found = strcmp(line, driver) == 0;
        }
        (void)fclose(f);
        return found;
}

static int host_remember(Run *run, const char *driver) {
        _cleanup_free_ char *line = NULL;
        _cleanup_close_ int fd = -EBADF;
        char path[64];
        ssize_t n;
        int r;

        if (!driver || strcmp(driver, "vfio-pci") == 0)
                return 0; /* allowed anyway: a release writes nothing here */
        r = host_is_remembered(run, driver);
        if (r != 0)
                return r < 0 ? r : 0;
        line = str_format("%s\n", driver);
        if (!line)
                return -ENOMEM;
        (void)snprintf(path, sizeof(path), "hosts/%s", run->step->device);
        fd = run_open_memory(run, path, O_WRONLY | O_CREAT | O_APPEND);
        if (fd < 0)
                return fd;
        n = write(fd, line, strlen(line));
        if (n < 0)
                return -errno;
        return (size_t)n == strlen(line) ? 0 : -ENOSPC;
}

int check_was_taken(Run *run, const char *device) {
        char path[64];

        (void)snprintf(path, sizeof(path), "hosts/%s", device);
        if (faccessat(run->runtime, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return 1;
        return errno == ENOENT ? 0 : -errno;
}

int check_former_driver(Run *run, const char *device, char **ret) {
        _cleanup_free_ char *line = NULL;
        _cleanup_close_ int fd = -EBADF;
        char path[64];
        size_t size = 0;
        FILE *f;
        int r;

        (void)snprintf(path, sizeof(path), "hosts/%s", device);
        fd = run_open_memory(run, path, O_RDONLY);
        if (fd < 0)
                return fd == -ENOENT ? str_set(ret, NULL) : fd;
        f = fdopen(fd, "r");
        if (!f)
                return -errno;
        TAKE_FD(fd);
        if (getline(&line, &size, f) > 0)
                line[strcspn(line, "\n")] = '\0';
        r = str_set(ret, line);
        (void)fclose(f);
        return r;
}

int check_remember_host(Run *run) {
        _cleanup_free_ char *driver = NULL, *override = NULL;
        int r;

        r = device_driver(&run->sysfs, run->step->device, &driver);
        if (r < 0)
                return r;
        r = device_override(&run->sysfs, run->step->device, &override);
        if (r < 0)
                return r;
        r = host_remember(run, driver);
        if (r < 0)
                return r;
        return host_remember(run, override);
}

/* Is the module of one of VFIO's drivers listed for the device? 1, 0 or negative errno */
static int vfio_is_listed(Run *run, const char *release) {
        _cleanup_free_ char *module = NULL, *alias = NULL, *wanted = NULL;
        _cleanup_modalias_ Modalias table = MODALIAS_NULL;
        int r;

        r = sysfs_link_namef(&run->sysfs, &module, "sys/bus/pci/drivers/%s/module",
                             run->step->value);
        if (r < 0)
                return r == -ENOENT ? 0 : r; /* built in */
        r = sysfs_readf(&run->sysfs, &alias, "sys/bus/pci/devices/%s/modalias", run->step->device);
        if (r < 0)
                return r;
        wanted = str_format("vfio_%s", alias);
        if (!wanted)
                return -ENOMEM;
        r = modalias_load(&run->sysfs, release, "vfio_pci:", &table);
        return r < 0 ? r : modalias_matches(&table, wanted, module);
}

/* Without an override the kernel binds what the driver's own table lists, and nothing else. */
static int kernel_decides(Run *run) {
        _cleanup_free_ char *override = NULL;
        int r;

        if (run->step->kind != STEP_BIND)
                return 0;
        r = device_override(&run->sysfs, run->step->device, &override);
        return r < 0 ? r : !override;
}

/* May the device have the driver by what the tables say? 1, 0 or negative errno */
static int driver_is_listed(Run *run) {
        _cleanup_driver_wish_ DriverWish w = {};
        struct utsname uts;
        int r;

        if (uname(&uts) < 0)
                return -errno;
        if (driver_is_vfio(run->step->value))
                return vfio_is_listed(run, uts.release);
        r = driver_table_find(&run->sysfs, uts.release, run->step->device, run->step->value, &w);
        if (r < 0)
                return r;
        if (w.match == DRIVER_MATCH_UNKNOWN)
                return kernel_decides(run);
        return w.match == DRIVER_MATCH_LISTED && !w.module;
}

int check_driver(Run *run) {
        const char *driver = run->step->value;
        int r;

        if (!check_is_name(driver))
                return answer_fail(&run->answer, EINVAL, "\"%.40s\" is no name of a driver", driver);
        r = strcmp(driver, "vfio-pci") == 0 ? 0 : host_is_remembered(run, driver);
        if (r != 0)
                return r < 0 ? r : 0;
        r = rules_check_device(run, run->step->device);
        if (r < 0 || strcmp(driver, "vfio-pci") == 0)
                return r;
        r = driver_is_listed(run);
        if (r == 0)
                r = rules_list_driver(run, run->step->device, driver);
        if (r != 0)
                return r < 0 ? r : 0;
        return answer_fail(&run->answer, EPERM,
                           "%s may not have the driver %s: its module is not loaded or not listed "
                           "for that device, no rule lists it, and it did not have it before",
                           run->step->device, driver);
}
