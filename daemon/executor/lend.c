/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/lend.h"

#include "executor/container.h"
#include "executor/group.h"
#include "executor/iommufd.h"
#include "executor/vfio-node.h"
#include "util/strings.h"

/* The interface that a step names. */
static int take_interface(Run *run, VfioInterface otherwise, VfioInterface *ret) {
        const char *value = run->step->value;
        VfioInterface interface = value ? vfio_interface_from_string(value) : otherwise;

        if (interface < 0)
                return answer_fail(&run->answer, EINVAL, "VFIO has no interface \"%.40s\"", value);
        *ret = interface;
        return 0;
}

/* The interface that the run's files are of: all of those that were lent, each once. */
static int find_interface(Run *run, VfioInterface *ret) {
        size_t n[_FILE_ROLE_MAX] = {};
        bool twice = false;

        for (size_t i = 0; i < run->files.n; i++) {
                const VfioFile *f = &run->files.items[i];

                n[f->role]++;
                twice = twice || vfio_files_get(&run->files, f->role, f->device) != f->fd;
        }
        if (!twice && n[FILE_CONTAINER] == 1 && n[FILE_GROUP] == 1 && run->files.n == 2)
                *ret = VFIO_INTERFACE_CONTAINER;
        else if (!twice && n[FILE_IOMMUFD] == 1 && n[FILE_CDEV] == run->files.n - 1)
                *ret = VFIO_INTERFACE_IOMMUFD;
        else
                return answer_fail(&run->answer, EINVAL,
                                   "the files are neither a container and a group nor an iommufd "
                                   "and devices, each once");
        return 0;
}

static int check_iommufd(Run *run, VfioInterface *interface) {
        _cleanup_(strv_freep) char **devices = NULL;
        bool has = false;
        int r;

        r = vfio_node_devices(run, &devices);
        if (r == 0 && !devices)
                r = group_no_node(run, -ENOENT);
        if (r == 0)
                r = vfio_node_has_iommufd(run, devices, &has);
        if (r < 0)
                return r;
        if (!has && *interface == VFIO_INTERFACE_IOMMUFD)
                return answer_fail(&run->answer, EOPNOTSUPP,
                                   "this kernel has no /dev/iommu or no /dev/vfio/devices: ask for "
                                   "the interface container");
        *interface = has ? VFIO_INTERFACE_IOMMUFD : VFIO_INTERFACE_CONTAINER;
        return 0;
}

int step_lend(Run *run) {
        VfioInterface interface;
        int r;

        r = take_interface(run, VFIO_INTERFACE_AUTO, &interface);
        if (r == 0 && interface != VFIO_INTERFACE_CONTAINER)
                r = check_iommufd(run, &interface);
        if (r < 0)
                return r;
        r = interface == VFIO_INTERFACE_IOMMUFD ? iommufd_lend(run) : container_lend(run);
        return r < 0 ? r : str_set(&run->answer.value, vfio_interface_to_string(interface));
}

int step_reclaim(Run *run) {
        VfioInterface interface;
        int r;

        r = find_interface(run, &interface);
        if (r < 0)
                return r;
        return interface == VFIO_INTERFACE_IOMMUFD ? iommufd_reclaim(run) : container_reclaim(run);
}

int step_claim(Run *run) {
        VfioInterface wanted, given;
        int r;

        r = take_interface(run, VFIO_INTERFACE_CONTAINER, &wanted);
        if (r < 0)
                return r;
        if (wanted == VFIO_INTERFACE_AUTO)
                return answer_fail(&run->answer, EINVAL, "a group is claimed with one interface");
        if (run->files.n > 0) {
                r = find_interface(run, &given);
                if (r < 0)
                        return r;
                if (given != wanted)
                        return answer_fail(&run->answer, EINVAL,
                                           "the files are of the interface %s, not %s",
                                           vfio_interface_to_string(given),
                                           vfio_interface_to_string(wanted));
        }
        return wanted == VFIO_INTERFACE_IOMMUFD ? iommufd_claim(run) : container_claim(run);
}
