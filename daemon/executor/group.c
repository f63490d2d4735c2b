/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/group.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

#include "core/device.h"
#include "executor/check.h"
#include "executor/holders.h"
#include "executor/node.h"
#include "util/strings.h"

/* Milliseconds between attempts. A close is announced before the kernel has finished it, so the
 * first ones come quickly; the last one goes on: what kept the group may not be announced. */
static const int retry_delays[] = { 1, 2, 5, 10, 20, 50, 100, 1000 };
#define RETRY_SLOW (sizeof(retry_delays) / sizeof(retry_delays[0]) - 1)
/* Processes are looked for at every so many slow attempts. */
#define RETRIES_PER_SCAN 10

int group_describe_drivers(Run *run, const char *except, bool harmful_only, char **ret) {
        _cleanup_(strv_freep) char **devices = NULL;
        _cleanup_free_ char *text = NULL;
        int r;

        r = sysfs_listf(&run->sysfs, &devices, "sys/kernel/iommu_groups/%u/devices",
                        run->step->group);
        if (r < 0)
                return r;
        for (char **d = devices; *d; d++) {
                _cleanup_free_ char *driver = NULL;

                r = device_driver(&run->sysfs, *d, &driver);
                if (r < 0)
                        return r;
                if (!driver || str_eq(*d, except) || (harmful_only && driver_is_harmless(driver)))
                        continue;
                r = str_append(&text, "%s%s has %s", text ? ", " : "", *d, driver);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(text);
        return 0;
}

/* Opens the group's node. -EBUSY: somebody has it, or a device of it, open. */
static int open_if_free(Run *run, bool *ret_viable) {
        struct vfio_group_status status = { .argsz = sizeof(status) };
        _cleanup_free_ char *harmful = NULL, *holders = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = node_open(run, O_RDWR);
        if (fd < 0)
                return fd;
        if (ioctl(fd, VFIO_GROUP_GET_STATUS, &status) < 0)
                return -errno;
        *ret_viable = status.flags & VFIO_GROUP_FLAGS_VIABLE;
        if (!*ret_viable) {
                r = group_describe_drivers(run, NULL, true, &harmful);
                if (r < 0)
                        return r;
                /* owned, but by no kernel driver: by a device file whose group file was closed */
                if (!harmful)
                        return -EBUSY;
        }
        /* newer kernels also have nodes of single devices, which can be open without the group's */
        r = sysfs_exists(&run->sysfs, "dev/vfio/devices");
        if (r > 0)
                r = holders_describe(&run->sysfs, run->step->group, NULL, false, &holders);
        if (r < 0)
                return r;
        return holders ? -EBUSY : TAKE_FD(fd);
}

static int report_holders(Run *run, char **reported) {
        _cleanup_free_ char *holders = NULL;
        int r;

        r = holders_describe(&run->sysfs, run->step->group, NULL, true, &holders);
        if (r < 0)
                return r;
        if (!holders)
                holders = strdup("a process that /proc does not show");
        if (!holders)
                return -ENOMEM;
        if (str_eq(holders, *reported))
                return 0;
        r = run_report_waiting(run, holders);
        free(*reported);
        *reported = TAKE_PTR(holders);
        return r;
}

/* A descriptor that tells of every close of the group's node. */
static int watch_closes(Run *run) {
        _cleanup_close_ int watch = -EBADF, node = -EBADF;
        char path[64];

        node = node_open(run, O_PATH);
        if (node < 0)
                return node;
        watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (watch < 0)
                return -errno;
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", node);
        if (inotify_add_watch(watch, path, IN_CLOSE) < 0)
                return -errno;
        return TAKE_FD(watch);
}

/* 1: something was closed; 0: the time is up; negative errno, with the answer set if the permit is
 * gone */
static int wait_for_close(Run *run, int watch, int timeout) {
        char events[sizeof(struct inotify_event) * 64];
        struct pollfd fds[] = {
                { .fd = watch, .events = POLLIN },
                { .fd = run->permit, .events = POLLIN },
        };

        if (poll(fds, 2, timeout) < 0)
                return errno == EINTR ? 0 : -errno;
        if (fds[1].revents)
                return run_check_permit(run);
        if (!fds[0].revents)
                return 0;
        while (read(watch, events, sizeof(events)) > 0)
                ;
        return 1;
}

/* Waits until the group can be opened and returns its descriptor. */
static int wait_until_free(Run *run, bool *ret_viable) {
        _cleanup_free_ char *reported = NULL;
        _cleanup_close_ int watch = -EBADF;
        size_t attempt = 0, slow = 0;
        int r;

        /* before the first attempt, or a close in between would go unnoticed */
        watch = watch_closes(run);
        if (watch < 0)
                return watch;
        for (;;) {
                r = open_if_free(run, ret_viable);
                if (r != -EBUSY)
                        return r;
                if (attempt == RETRY_SLOW && slow++ % RETRIES_PER_SCAN == 0) {
                        r = report_holders(run, &reported);
                        if (r < 0)
                                return r;
                }
                r = wait_for_close(run, watch, retry_delays[attempt]);
                if (r < 0)
                        return r;
                if (r > 0)
                        attempt = slow = 0;
                else if (attempt < RETRY_SLOW)
                        attempt++;
        }
}

static int no_node(Run *run, int error) {
        if (error != -ENOENT && error != -ENODEV)
                return error;
        return answer_fail(&run->answer, ENOENT,
                           "IOMMU group %u has no VFIO node: no device of it is bound to a VFIO driver",
                           run->step->group);
}

int step_wait_closed(Run *run) {
        bool viable;
        int fd;

        fd = wait_until_free(run, &viable);
        if (fd < 0)
                return no_node(run, fd);
        safe_close(fd);
        return 0;
}

static int not_viable(Run *run) {
        _cleanup_free_ char *harmful = NULL;
        int r;

        r = group_describe_drivers(run, NULL, true, &harmful);
        if (r < 0)
                return r;
        return answer_fail(&run->answer, EPERM, "IOMMU group %u is not viable: %s",
                           run->step->group, harmful ? harmful : "a kernel driver had it just now");
}

int step_claim(Run *run) {
        struct vfio_group_status status = { .argsz = sizeof(status) };
        _cleanup_close_ int container = -EBADF, group = -EBADF;
        bool viable = false;
        int r;

        group = wait_until_free(run, &viable);
        if (group < 0)
                return no_node(run, group);
        if (!viable)
                return not_viable(run);
        container = sysfs_open_file(&run->sysfs, "dev/vfio/vfio", O_RDWR);
        if (container < 0)
                return answer_fail(&run->answer, -container, "cannot open /dev/vfio/vfio: %s",
                                   strerror(-container));
        r = run_check_permit(run);
        if (r < 0)
                return r;
        if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) < 0)
                return errno == EPERM ? not_viable(run) : -errno;
        if (ioctl(group, VFIO_GROUP_GET_STATUS, &status) < 0)
                return -errno;
        if (!(status.flags & VFIO_GROUP_FLAGS_CONTAINER_SET))
                return answer_fail(&run->answer, EIO,
                                   "VFIO took IOMMU group %u into a container but does not say so",
                                   run->step->group);
        r = vfio_files_add(&run->answer.files, FILE_CONTAINER, NULL, container);
        if (r < 0)
                return r;
        TAKE_FD(container);
        r = vfio_files_add(&run->answer.files, FILE_GROUP, NULL, group);
        if (r == 0)
                TAKE_FD(group);
        return r;
}

int group_check_unbind(Run *run) {
        /* the daemon and the service manager, which stores descriptors for it, may keep the group
         * claimed during an unbind: a group file alone holds nothing up */
        const pid_t skip[] = { getppid(), run->daemon, 1, 0 };
        _cleanup_free_ char *holders = NULL;
        bool viable;
        int r;

        r = open_if_free(run, &viable);
        if (r >= 0) {
                safe_close(r);
                return 0;
        }
        if (r == -ENOENT || r == -ENODEV)
                return 0;
        if (r != -EBUSY)
                return r;
        r = holders_describe(&run->sysfs, run->step->group, skip, false, &holders);
        if (r < 0 || !holders)
                return r;
        return answer_fail(&run->answer, EBUSY,
                           "%s is open in %s: unbinding it would hang until that is closed",
                           run->step->device, holders);
}
