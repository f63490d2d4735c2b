/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/iommufd.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "executor/group.h"
#include "executor/iommufd-abi.h"
#include "executor/vfio-node.h"
#include "util/strings.h"

/* The kernel gives the lowest free number to an object. One so far above all others would have cost
 * its maker the memory of as many objects. */
#define ID_GAP_MAX           (1U << 18)
#define IDS_PER_PERMIT_CHECK 1024U

bool iommufd_is_one(int fd) {
        struct iommu_option option = { .size = sizeof(option),
                                       .option_id = IOMMU_OPTION_RLIMIT_MODE,
                                       .op = IOMMU_OPTION_OP_GET };

        return ioctl(fd, IOMMU_OPTION, &option) == 0;
}

/* The devices' nodes into the answer. */
static int open_devices(Run *run, char *const *devices) {
        for (; *devices; devices++) {
                int r, cdev;

                cdev = vfio_node_open(run, FILE_CDEV, *devices, O_RDWR);
                if (cdev < 0)
                        return cdev;
                r = vfio_files_add(&run->answer.files, FILE_CDEV, *devices, cdev);
                if (r < 0) {
                        safe_close(cdev);
                        return r;
                }
        }
        return 0;
}

static int open_iommufd(Run *run) {
        _cleanup_close_ int iommufd = -EBADF;
        int r;

        iommufd = vfio_node_open(run, FILE_IOMMUFD, NULL, O_RDWR);
        if (iommufd < 0)
                return iommufd;
        r = vfio_files_add(&run->answer.files, FILE_IOMMUFD, NULL, iommufd);
        return r < 0 ? r : TAKE_FD(iommufd);
}

static int describe_holders(Run *run, char **holders) {
        return holders_describe(&run->sysfs, run->step->group, HOLDERS_OF_ANY, NULL, false, holders);
}

/* Who has a file of the group open could bind it first, or would keep an unbind waiting. */
static int check_closed(Run *run) {
        _cleanup_free_ char *holders = NULL;
        int r = group_wait_briefly(run, describe_holders, &holders);

        if (r < 0 || !holders)
                return r;
        return answer_fail(&run->answer, EBUSY,
                           "IOMMU group %u is open in %s: it can be lent once that is closed",
                           run->step->group, holders);
}

int iommufd_lend(Run *run) {
        struct iommu_option option = { .size = sizeof(option),
                                       .option_id = IOMMU_OPTION_RLIMIT_MODE,
                                       .op = IOMMU_OPTION_OP_SET,
                                       .val64 = 1 };
        _cleanup_(strv_freep) char **devices = NULL;
        int r, iommufd;

        r = vfio_node_devices(run, &devices);
        if (r < 0)
                return r;
        if (!devices)
                return group_no_node(run, -ENOENT);
        r = check_closed(run);
        if (r < 0)
                return r;
        iommufd = open_iommufd(run);
        if (iommufd < 0)
                return iommufd;
        /* or all that a user's processes pin would count against each one's limit */
        if (ioctl(iommufd, IOMMU_OPTION, &option) < 0)
                return answer_fail(&run->answer, errno,
                                   "iommufd does not count pinned memory by process: %s",
                                   strerror(errno));
        r = run_check_permit(run);
        return r < 0 ? r : open_devices(run, devices);
}

/* Ids that are in use still. */
typedef struct Busy {
        uint32_t *ids;
        size_t n;
} Busy;

static void busy_clear(Busy *b) {
        free(b->ids);
}

static int busy_add(Busy *b, uint32_t id) {
        uint32_t *longer = b->ids;

        /* doubled at each power of two */
        if ((b->n & (b->n - 1)) == 0)
                longer = reallocarray(b->ids, b->n > 0 ? b->n * 2 : 1, sizeof(uint32_t));
        if (!longer)
                return -ENOMEM;
        b->ids = longer;
        b->ids[b->n++] = id;
        return 0;
}

/* -EBUSY: others refer to it; -ENOENT: there is none */
static int destroy(Run *run, int iommufd, uint32_t id) {
        struct iommu_destroy destroy = { .size = sizeof(destroy), .id = id };
        int r;

        if (id % IDS_PER_PERMIT_CHECK == 0) {
                r = run_check_permit(run);
                if (r < 0)
                        return r;
        }
        return ioctl(iommufd, IOMMU_DESTROY, &destroy) < 0 ? -errno : 0;
}

static int destroy_all(Run *run, int iommufd, Busy *busy) {
        uint32_t last = 0;
        int r;

        for (uint32_t id = 1; id - last <= ID_GAP_MAX; id++) {
                r = destroy(run, iommufd, id);
                if (r == -ENOENT)
                        continue;
                if (r == -EBUSY)
                        r = busy_add(busy, id);
                if (r < 0)
                        return r;
                last = id;
        }
        return 0;
}

/* What referred to them may be gone now. The latest first: they refer to earlier ones. */
static int destroy_busy(Run *run, int iommufd, Busy *busy) {
        size_t before = SIZE_MAX;
        int r;

        while (busy->n > 0 && busy->n < before) {
                size_t kept = busy->n;

                before = busy->n;
                for (size_t i = busy->n; i-- > 0;) {
                        r = destroy(run, iommufd, busy->ids[i]);
                        if (r == -EBUSY)
                                busy->ids[--kept] = busy->ids[i];
                        else if (r < 0 && r != -ENOENT)
                                return r;
                }
                busy->n -= kept;
                memmove(busy->ids, busy->ids + kept, busy->n * sizeof(uint32_t));
        }
        return 0;
}

/* Into the blocking domain. That unpins what the kernel itself made a domain for. */
static int detach(Run *run, const VfioFile *file) {
        struct vfio_device_detach_iommufd_pt detach = { .argsz = sizeof(detach) };
        int r;

        r = vfio_node_check(run, file);
        if (r == -ENOENT)
                return 0; /* the device is going; what is mapped for it goes with its last file */
        if (r < 0)
                return r;
        /* EINVAL: it was never bound */
        if (ioctl(file->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach) < 0 && errno != EINVAL &&
            errno != ENODEV)
                return -errno;
        return 0;
}

int iommufd_reclaim(Run *run) {
        _cleanup_(busy_clear) Busy busy = {};
        int r, iommufd;

        iommufd = vfio_node_file(run, FILE_IOMMUFD);
        if (iommufd < 0)
                return iommufd;
        r = run_check_permit(run);
        for (size_t i = 0; r == 0 && i < run->files.n; i++)
                if (run->files.items[i].role == FILE_CDEV)
                        r = detach(run, &run->files.items[i]);
        if (r == 0)
                r = destroy_all(run, iommufd, &busy);
        /* bound devices stay, and what devices of other groups use */
        return r < 0 ? r : destroy_busy(run, iommufd, &busy);
}

/* -EBUSY: somebody else has it bound, or the whole group open */
static int bind_device(Run *run, int cdev, int iommufd) {
        struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommufd };
        _cleanup_free_ char *harmful = NULL;
        int r;

        if (ioctl(cdev, VFIO_DEVICE_BIND_IOMMUFD, &bind) == 0)
                return 0;
        switch (errno) {
        case EPERM: /* another one in the group has an owner */
                r = group_describe_drivers(run, NULL, true, &harmful);
                if (r < 0)
                        return r;
                return harmful ? group_not_viable(run) : -EBUSY;
        case EINVAL: /* this device is bound */
        case EAGAIN:
                return -EBUSY;
        default:
                return -errno;
        }
}

/* The answer's files are the iommufd and the devices. Those are opened only once: a close of ours
 * would be told as one of somebody else. Files that are open besides own nothing once all devices
 * are bound, but an unbind would wait for them. */
static int bind_all(Run *run, void *userdata) {
        const VfioFiles *files = &run->answer.files;
        _cleanup_free_ char *holders = NULL;
        size_t *bound = userdata;
        int r;

        r = run_check_permit(run);
        for (; r == 0 && *bound + 1 < files->n; *bound += r == 0)
                r = bind_device(run, files->items[*bound + 1].fd, files->items[0].fd);
        if (r == 0)
                r = holders_describe(&run->sysfs, run->step->group, HOLDERS_OF_ANY, NULL, false,
                                     &holders);
        if (r < 0)
                return r;
        return holders ? -EBUSY : 0;
}

/* Of all nodes whose closing may let a claim through. */
static int watch_nodes(Run *run, char *const *devices, int *ret) {
        _cleanup_close_ int watch = -EBADF, group = -EBADF;
        int r;

        watch = group_watch_new();
        if (watch < 0)
                return watch;
        group = vfio_node_open(run, FILE_GROUP, NULL, O_PATH);
        /* a kernel may have no groups for user space */
        if (group < 0 && group != -ENOENT)
                return group;
        r = group < 0 ? 0 : group_watch_add(watch, group);
        for (; r == 0 && *devices; devices++) {
                _cleanup_close_ int cdev = vfio_node_open(run, FILE_CDEV, *devices, O_PATH);

                r = cdev < 0 ? cdev : group_watch_add(watch, cdev);
        }
        if (r == 0)
                *ret = TAKE_FD(watch);
        return r;
}

int iommufd_claim(Run *run) {
        _cleanup_(strv_freep) char **devices = NULL;
        _cleanup_close_ int watch = -EBADF;
        size_t bound = 0;
        int r;

        /* ours would keep the devices bound as well */
        vfio_files_clear(&run->files);
        r = vfio_node_devices(run, &devices);
        if (r < 0)
                return r;
        if (!devices)
                return group_no_node(run, -ENOENT);
        r = watch_nodes(run, devices, &watch);
        if (r < 0)
                return r;
        r = open_iommufd(run);
        if (r >= 0)
                r = open_devices(run, devices);
        if (r < 0)
                return r;
        return group_wait(run, &(GroupWait){ .attempt = bind_all,
                                             .userdata = &bound,
                                             .which = HOLDERS_OF_ANY,
                                             .watch = watch });
}
