/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/container.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

#include "executor/group.h"
#include "executor/iommufd.h"
#include "executor/vfio-node.h"
#include "util/strings.h"

static int open_container(Run *run) {
        _cleanup_close_ int container = -EBADF;

        container = vfio_node_open(run, FILE_CONTAINER, NULL, O_RDWR);
        if (container < 0 && run->answer.error == 0)
                return answer_fail(&run->answer, -container, "cannot open /dev/vfio/vfio: %s",
                                   strerror(-container));
        /* what CONFIG_IOMMUFD_VFIO_CONTAINER puts there takes groups in without owning them */
        if (container >= 0 && iommufd_is_one(container))
                return answer_fail(&run->answer, EOPNOTSUPP,
                                   "/dev/vfio/vfio of this kernel is iommufd's, which would leave "
                                   "IOMMU group %u without an owner: ask for the interface iommufd",
                                   run->step->group);
        return TAKE_FD(container);
}

/* VFIO says EPERM whoever it is that owns the group. */
static int explain_owned(Run *run) {
        _cleanup_free_ char *harmful = NULL;
        int r;

        r = group_describe_drivers(run, NULL, true, &harmful);
        if (r < 0)
                return r;
        return harmful ? group_not_viable(run) : -EBUSY;
}

/* Both go into the answer. */
static int keep_files(Run *run, int *container, int *group) {
        struct vfio_group_status status = { .argsz = sizeof(status) };
        int r;

        if (ioctl(*group, VFIO_GROUP_GET_STATUS, &status) < 0)
                return -errno;
        if (!(status.flags & VFIO_GROUP_FLAGS_CONTAINER_SET))
                return answer_fail(&run->answer, EIO,
                                   "VFIO took IOMMU group %u into a container but does not say so",
                                   run->step->group);
        r = vfio_files_add(&run->answer.files, FILE_CONTAINER, NULL, *container);
        if (r < 0)
                return r;
        TAKE_FD(*container);
        r = vfio_files_add(&run->answer.files, FILE_GROUP, NULL, *group);
        if (r == 0)
                TAKE_FD(*group);
        return r;
}

/* Consumes the group's descriptor on success. */
static int enter_container(Run *run, int *group) {
        _cleanup_close_ int container = -EBADF;
        int r;

        container = open_container(run);
        if (container < 0)
                return container;
        r = run_check_permit(run);
        if (r < 0)
                return r;
        if (ioctl(*group, VFIO_GROUP_SET_CONTAINER, &container) < 0)
                return errno == EPERM ? group_not_viable(run) : -errno;
        return keep_files(run, &container, group);
}

static int describe_holders(Run *run, char **holders) {
        _cleanup_close_ int group = vfio_node_open(run, FILE_GROUP, NULL, O_RDWR);
        int r;

        if (group != -EBUSY)
                return 0; /* whatever else it is, the next one finds it */
        r = holders_describe(&run->sysfs, run->step->group, HOLDERS_OF_ANY, NULL, true, holders);
        if (r < 0 || *holders)
                return r;
        return str_set(holders, "a process that /proc does not show");
}

int container_lend(Run *run) {
        _cleanup_free_ char *holders = NULL;
        _cleanup_close_ int group = -EBADF;
        int r;

        r = group_wait_briefly(run, describe_holders, &holders);
        if (r < 0)
                return r;
        if (holders)
                return answer_fail(&run->answer, EBUSY,
                                   "IOMMU group %u is open in %s: it can be lent once that is closed",
                                   run->step->group, holders);
        group = vfio_node_open(run, FILE_GROUP, NULL, O_RDWR);
        if (group < 0)
                return group_no_node(run, group);
        return enter_container(run, &group);
}

int container_reclaim(Run *run) {
        struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap),
                                                    .flags = VFIO_DMA_UNMAP_FLAG_ALL };
        struct vfio_iommu_type1_info info = { .argsz = sizeof(info) };
        int r, container;

        container = vfio_node_file(run, FILE_CONTAINER);
        if (container < 0)
                return container;
        r = run_check_permit(run);
        if (r < 0)
                return r;
        if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) == 0)
                return 0;
        r = -errno;
        /* without an IOMMU set, which the requester may never have done, no request is valid */
        if (r == -EINVAL && ioctl(container, VFIO_IOMMU_GET_INFO, &info) < 0 && errno == EINVAL)
                return 0;
        return r;
}

typedef struct Exchange {
        int group;
        int container; /* the fresh one */
} Exchange;

/* VFIO lets a group out of its container only while no device of it is open. Nothing may come
 * between that and the next container. */
static int exchange_container(Run *run, void *userdata) {
        Exchange *e = userdata;
        int r;

        r = run_check_permit(run);
        if (r < 0)
                return r;
        /* EINVAL: it is in none; whoever has a copy may have taken it out */
        if (ioctl(e->group, VFIO_GROUP_UNSET_CONTAINER) < 0 && errno != EINVAL)
                return -errno;
        if (ioctl(e->group, VFIO_GROUP_SET_CONTAINER, &e->container) == 0)
                return 0;
        if (errno == EPERM)
                return explain_owned(run);
        /* EINVAL: a copy was used to put it into another one just now */
        return errno == EINVAL ? -EBUSY : -errno;
}

static int claim_lent(Run *run) {
        _cleanup_close_ int group = -EBADF, container = -EBADF;
        int r, lent;

        lent = vfio_node_file(run, FILE_GROUP);
        if (lent < 0)
                return lent;
        group = fcntl(lent, F_DUPFD_CLOEXEC, 3);
        if (group < 0)
                return -errno;
        container = open_container(run);
        if (container < 0)
                return container;
        /* closes of devices are told by nothing, and the group's own file stays open */
        r = group_wait(run, &(GroupWait){ .attempt = exchange_container,
                                          .userdata = &(Exchange){ group, container },
                                          .which = HOLDERS_OF_DEVICES,
                                          .watch = -EBADF });
        return r < 0 ? r : keep_files(run, &container, &group);
}

int container_claim(Run *run) {
        _cleanup_close_ int group = -EBADF;
        bool viable = false;

        if (run->files.n > 0)
                return claim_lent(run);
        group = group_wait_until_free(run, &viable);
        if (group < 0)
                return group_no_node(run, group);
        if (!viable)
                return group_not_viable(run);
        return enter_container(run, &group);
}
