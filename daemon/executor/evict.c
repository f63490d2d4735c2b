/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/evict.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

#include "core/device.h"
#include "executor/check.h"
#include "executor/disk.h"
#include "executor/group.h"
#include "executor/inspect.h"
#include "util/strings.h"

#define FIRST_SCAN_MSEC 100
#define SCAN_MSEC       10000

/* The kernel asks whoever has the device open, and keeps the write until he has closed it. So it is
 * made by a process of its own, which like this one has the group's lock, and the permit. Its end
 * shows as a hang-up of *ret_end. */
static int start_unbind(Run *run, const char *driver, pid_t *ret_child, int *ret_end) {
        int ends[2], r;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        *ret_child = fork();
        if (*ret_child < 0) {
                r = -errno;
                safe_close(ends[0]);
                safe_close(ends[1]);
                return r;
        }
        if (*ret_child == 0) {
                /* who waits for our answer is not to wait for this process */
                safe_close(run->channel);
                r = run_write(run, run->step->device, "sys/bus/pci/drivers/%s/unbind", driver);
                _exit(-r);
        }
        safe_close(ends[1]);
        *ret_end = ends[0];
        return 0;
}

static int end_of(pid_t child) {
        int status;

        while (waitpid(child, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

/* Says who keeps the device, until it is unbound. */
static int wait_unbound(Run *run, pid_t child, int end) {
        struct pollfd fds[] = {
                { .fd = end },
                { .fd = run->permit, .events = POLLIN },
        };
        _cleanup_free_ char *reported = NULL;
        int timeout = FIRST_SCAN_MSEC, r;

        for (;;) {
                r = poll(fds, 2, timeout);
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r > 0 && fds[0].revents)
                        return end_of(child);
                if (r > 0)
                        return run_check_permit(run); /* the child cannot be stopped any more */
                r = group_report_holders(run, HOLDERS_OF_ANY, &reported);
                if (r < 0)
                        return r;
                timeout = SCAN_MSEC;
        }
}

/* Removing a physical function would hang all hot plugging while one of its VFs is open. */
static int check_vfs(Run *run) {
        _cleanup_disks_ Disks disks = DISKS_NULL;
        int r;

        r = inspect_device(run, &run->answer.obstacles, &disks);
        if (r < 0)
                return r;
        for (size_t i = 0; i < run->answer.obstacles.n; i++)
                if (str_eq(run->answer.obstacles.items[i].code, OBSTACLE_VF_OPEN))
                        return answer_fail(&run->answer, EBUSY, "%s is in use: %s",
                                           run->step->device, run->answer.obstacles.items[i].text);
        obstacles_clear(&run->answer.obstacles);
        return 0;
}

int step_evict(Run *run) {
        const char *device = run->step->device, *driver = run->step->value;
        _cleanup_free_ char *now = NULL, *after = NULL;
        _cleanup_close_ int end = -EBADF;
        pid_t child;
        int r;

        r = device_driver(&run->sysfs, device, &now);
        if (r < 0 || !now)
                return r; /* without a driver it is what it shall be */
        if (!str_eq(now, driver))
                return answer_fail(&run->answer, ESTALE, "%s is bound to %s, not to %s", device,
                                   now, driver);
        if (!driver_is_vfio(now))
                return answer_fail(&run->answer, EPERM,
                                   "%s is bound to %s, which nobody in user space can be evicted from",
                                   device, now);
        r = check_vfs(run);
        if (r < 0)
                return r;
        r = check_remember_host(run);
        if (r < 0)
                return r;
        r = start_unbind(run, driver, &child, &end);
        if (r < 0)
                return r;
        r = wait_unbound(run, child, end);
        if (r < 0)
                return r;
        r = device_driver(&run->sysfs, device, &after);
        if (r < 0)
                return r;
        return after ? answer_fail(&run->answer, ENODEV, "%s is bound to %s instead of unbound",
                                   device, after)
                     : 0;
}
