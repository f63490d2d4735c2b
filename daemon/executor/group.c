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
#include "executor/vfio-node.h"
#include "util/strings.h"

/* Milliseconds between attempts. A close is announced before the kernel has finished it, so the
 * first ones come quickly; the last one goes on: what kept the group may not be announced. */
static const int retry_delays[] = { 1, 2, 5, 10, 20, 50, 100, 1000 };
#define RETRY_SLOW (sizeof(retry_delays) / sizeof(retry_delays[0]) - 1)
/* The service manager is late to close what it stored, and what it starts has copies until it is a program
 * of its own: on a busy host that may take a second or two. */
#define LATE_ATTEMPTS 8
#define LATE_MSEC     250
/* Processes are looked for no more often. */
#define SCAN_MSEC 10000

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

        fd = vfio_node_open(run, FILE_GROUP, NULL, O_RDWR);
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
                r = holders_describe(&run->sysfs, run->step->group, HOLDERS_OF_ANY, NULL, false,
                                     &holders);
        if (r < 0)
                return r;
        return holders ? -EBUSY : TAKE_FD(fd);
}

int group_report_holders(Run *run, HolderFiles which, char **reported) {
        _cleanup_free_ char *holders = NULL;
        int r;

        r = holders_describe(&run->sysfs, run->step->group, which, NULL, true, &holders);
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

int group_watch_new(void) {
        int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

        return watch < 0 ? -errno : watch;
}

int group_watch_add(int watch, int node) {
        char path[32];

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", node);
        return inotify_add_watch(watch, path, IN_CLOSE) < 0 ? -errno : 0;
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

int group_wait(Run *run, const GroupWait *wait) {
        /* where nothing tells of a close, the slow attempts are not so slow */
        const size_t last = wait->watch < 0 ? RETRY_SLOW - 1 : RETRY_SLOW;
        const int per_scan = SCAN_MSEC / retry_delays[last];
        _cleanup_free_ char *reported = NULL;
        size_t attempt = 0;
        int r, slow = 0;

        for (;;) {
                r = wait->attempt(run, wait->userdata);
                if (r != -EBUSY)
                        return r;
                if (attempt == last && slow++ % per_scan == 0) {
                        r = group_report_holders(run, wait->which, &reported);
                        if (r < 0)
                                return r;
                }
                r = wait_for_close(run, wait->watch, retry_delays[attempt]);
                if (r < 0)
                        return r;
                if (r > 0) {
                        attempt = 0;
                        slow = 0;
                } else if (attempt < last) {
                        attempt++;
                }
        }
}

static int attempt_open(Run *run, void *userdata) {
        return open_if_free(run, userdata);
}

int group_wait_until_free(Run *run, bool *ret_viable) {
        _cleanup_close_ int watch = -EBADF, node = -EBADF;
        int r;

        node = vfio_node_open(run, FILE_GROUP, NULL, O_PATH);
        if (node < 0)
                return node;
        /* before the first attempt, or a close in between would go unnoticed */
        watch = group_watch_new();
        r = watch < 0 ? watch : group_watch_add(watch, node);
        if (r < 0)
                return r;
        return group_wait(run, &(GroupWait){ .attempt = attempt_open,
                                             .userdata = ret_viable,
                                             .which = HOLDERS_OF_ANY,
                                             .watch = watch });
}

int group_no_node(Run *run, int error) {
        if (error != -ENOENT && error != -ENODEV)
                return error;
        return answer_fail(&run->answer, ENOENT,
                           "IOMMU group %u has no VFIO node: no device of it is bound to a VFIO driver",
                           run->step->group);
}

/* The daemon's own files are open as long as the lease lasts, and no close of a copy is announced. */
static int wait_for_borrowers(Run *run) {
        const pid_t own[] = { getppid(), run->daemon, 1, 0 };
        _cleanup_free_ char *reported = NULL;
        int r;

        for (;;) {
                _cleanup_free_ char *holders = NULL;

                /* a device's file that may be one of this group counts, or it would be taken from him */
                r = holders_describe(&run->sysfs, run->step->group, HOLDERS_OF_ANY, own, true,
                                     &holders);
                if (r < 0 || !holders)
                        return r;
                if (!str_eq(holders, reported)) {
                        r = run_report_waiting(run, holders);
                        if (r < 0)
                                return r;
                        free(reported);
                        reported = TAKE_PTR(holders);
                }
                r = wait_for_close(run, -EBADF, SCAN_MSEC);
                if (r < 0)
                        return r;
        }
}

int step_wait_closed(Run *run) {
        bool viable;
        int fd;

        if (str_eq(run->step->value, "lent"))
                return wait_for_borrowers(run);
        fd = group_wait_until_free(run, &viable);
        if (fd < 0)
                return group_no_node(run, fd);
        safe_close(fd);
        return 0;
}

int group_not_viable(Run *run) {
        _cleanup_free_ char *harmful = NULL;
        int r;

        r = group_describe_drivers(run, NULL, true, &harmful);
        if (r < 0)
                return r;
        return answer_fail(&run->answer, EPERM, "IOMMU group %u is not viable: %s",
                           run->step->group, harmful ? harmful : "a kernel driver had it just now");
}

int group_describe_users(Run *run, bool skip_own, char **ret) {
        /* the service manager stores files for the daemon */
        const pid_t own[] = { getppid(), run->daemon, 1, 0 };
        int r;

        /* Only one file of a group's node can be open: what others have of it is a copy. */
        r = holders_include(&run->sysfs, run->step->group, own);
        if (r < 0)
                return r;
        return holders_describe(&run->sysfs, run->step->group,
                                r > 0 ? HOLDERS_OF_DEVICES : HOLDERS_OF_ANY, skip_own ? own : NULL,
                                false, ret);
}

/* The daemon's files too count here, if they are of a device. */
static int attempt_unbind(Run *run, char **holders) {
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
        return group_describe_users(run, false, holders);
}

int group_wait_briefly(Run *run, int (*attempt)(Run *run, char **holders), char **ret) {
        _cleanup_free_ char *holders = NULL;
        int r;

        for (size_t i = 0; i < RETRY_SLOW + LATE_ATTEMPTS; i++) {
                free(holders);
                holders = NULL;
                r = attempt(run, &holders);
                if (r < 0 || !holders)
                        return r;
                r = wait_for_close(run, -EBADF, i < RETRY_SLOW ? retry_delays[i] : LATE_MSEC);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(holders);
        return 0;
}

int group_check_unbind(Run *run) {
        _cleanup_free_ char *holders = NULL;
        int r = group_wait_briefly(run, attempt_unbind, &holders);

        if (r < 0 || !holders)
                return r;
        return answer_fail(&run->answer, EBUSY,
                           "%s is open in %s: unbinding it would hang until that is closed",
                           run->step->device, holders);
}
