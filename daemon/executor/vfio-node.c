/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/vfio-node.h"

#include <fcntl.h>
#include <stdio.h>

#include "core/device.h"
#include "executor/check.h"
#include "shared/vfio-place.h"
#include "util/strings.h"

int vfio_node_open(Run *run, FileRole role, const char *device, int flags) {
        _cleanup_vfio_place_ VfioPlace place = {};
        _cleanup_free_ char *number = NULL;
        _cleanup_close_ int node = -EBADF;
        char path[32];
        int r;

        r = vfio_place_find(&run->sysfs, run->step->group, role, device, &place);
        if (r < 0)
                return r;
        node = sysfs_open_file(&run->sysfs, place.path, O_PATH | O_NOFOLLOW);
        if (node < 0)
                return node;
        r = vfio_place_matches(&run->sysfs, &place, node, &number);
        if (r < 0)
                return r;
        if (r == 0)
                return answer_fail(&run->answer, EPERM, "/%s is not the node that VFIO made (%s)",
                                   place.path, number);
        if (flags == O_PATH)
                return TAKE_FD(node);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", node);
        r = open(path, flags | O_CLOEXEC);
        return r < 0 ? -errno : r;
}

/* The device of a file has to be a member of the step's group. */
static int check_member(Run *run, const char *device) {
        _cleanup_free_ char *group = NULL;
        unsigned long long id;
        int r;

        if (!device_name_is_pci(device))
                return answer_fail(&run->answer, EINVAL, "\"%.40s\" is no name of a PCI device",
                                   device);
        r = sysfs_link_namef(&run->sysfs, &group, "sys/bus/pci/devices/%s/iommu_group", device);
        if (r < 0)
                return r;
        if (parse_u64(group, 10, &id) < 0 || id != run->step->group)
                return answer_fail(&run->answer, ESTALE, "%s is in IOMMU group %s, not in %u",
                                   device, group, run->step->group);
        return 0;
}

int vfio_node_check(Run *run, const VfioFile *file) {
        _cleanup_vfio_place_ VfioPlace place = {};
        _cleanup_free_ char *number = NULL;
        int r;

        if (file->role == FILE_CDEV) {
                r = check_member(run, file->device);
                if (r < 0)
                        return r;
        }
        r = vfio_place_find(&run->sysfs, run->step->group, file->role, file->device, &place);
        if (r < 0)
                return r;
        r = vfio_place_matches(&run->sysfs, &place, file->fd, &number);
        if (r != 0)
                return r < 0 ? r : 0;
        return answer_fail(&run->answer, EPERM, "the file that came as \"%s\" is none of /%s (%s)",
                           file_role_to_string(file->role), place.path, number);
}

int vfio_node_file(Run *run, FileRole role) {
        VfioFile file = { .role = role, .fd = vfio_files_get(&run->files, role, NULL) };
        int r;

        r = vfio_node_check(run, &file);
        if (r == -ENOENT)
                return answer_fail(&run->answer, ESTALE,
                                   "the kernel has no node any more that a file could be of as \"%s\"",
                                   file_role_to_string(role));
        return r < 0 ? r : file.fd;
}

int vfio_node_devices(Run *run, char ***ret) {
        _cleanup_(strv_freep) char **all = NULL, **bound = NULL;
        int r;

        r = sysfs_listf(&run->sysfs, &all, "sys/kernel/iommu_groups/%u/devices", run->step->group);
        if (r < 0)
                return r;
        for (char **d = all; *d; d++) {
                _cleanup_free_ char *driver = NULL;

                r = device_driver(&run->sysfs, *d, &driver);
                if (r == 0 && driver_is_vfio(driver))
                        r = strv_extend(&bound, *d);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(bound);
        return 0;
}

/* 1, 0 or negative errno */
static int has_node(Run *run, FileRole role, const char *device) {
        _cleanup_vfio_place_ VfioPlace place = {};
        int r;

        r = vfio_place_find(&run->sysfs, run->step->group, role, device, &place);
        if (r == 0)
                r = sysfs_exists(&run->sysfs, place.number);
        return r == -ENOENT ? 0 : r;
}

int vfio_node_has_iommufd(Run *run, char *const *devices, bool *ret) {
        int r;

        r = has_node(run, FILE_IOMMUFD, NULL);
        for (; r > 0 && *devices; devices++)
                r = has_node(run, FILE_CDEV, *devices);
        if (r < 0)
                return r;
        *ret = r > 0;
        return 0;
}
