/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shared/vfio-place.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "util/strings.h"

void vfio_place_clear(VfioPlace *p) {
        free(p->path);
        free(p->number);
}

static int find_cdev(const Sysfs *s, const char *device, VfioPlace *ret) {
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        r = sysfs_listf(s, &names, "sys/bus/pci/devices/%s/vfio-dev", device);
        if (r < 0)
                return r;
        if (!names || !*names)
                return -ENOENT;
        ret->path = str_format("dev/vfio/devices/%s", *names);
        ret->number = str_format("sys/bus/pci/devices/%s/vfio-dev/%s/dev", device, *names);
        return 0;
}

int vfio_place_find(const Sysfs *s, unsigned group, FileRole role, const char *device,
                    VfioPlace *ret) {
        int r = 0;

        switch (role) {
        case FILE_CONTAINER:
                ret->path = strdup("dev/vfio/vfio");
                ret->number = strdup("sys/class/misc/vfio/dev");
                break;
        case FILE_GROUP:
                ret->path = str_format("dev/vfio/%u", group);
                ret->number = str_format("sys/class/vfio/%u/dev", group);
                break;
        case FILE_IOMMUFD:
                ret->path = strdup("dev/iommu");
                ret->number = strdup("sys/class/misc/iommu/dev");
                break;
        case FILE_CDEV:
                r = find_cdev(s, device, ret);
                break;
        case _FILE_ROLE_MAX:
        case _FILE_ROLE_INVALID:
                return -EINVAL;
        }
        if (r < 0)
                return r;
        return ret->path && ret->number ? 0 : -ENOMEM;
}

int vfio_place_matches(const Sysfs *s, const VfioPlace *p, int fd, char **ret_number) {
        char actual[32];
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        r = sysfs_read(s, p->number, ret_number);
        if (r < 0)
                return r;
        (void)snprintf(actual, sizeof(actual), "%u:%u", major(st.st_rdev), minor(st.st_rdev));
        return S_ISCHR(st.st_mode) && strcmp(*ret_number, actual) == 0;
}
