/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/memlock.h"

#include <linux/capability.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/report.h"

#define MIB    (1024ULL * 1024)
#define ENOUGH (512 * MIB)

static bool may_lock_without_limit(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

        return syscall(SYS_capget, &header, data) == 0 &&
               data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK);
}

void memlock_prepare(void) {
        struct rlimit limit;

        if (may_lock_without_limit() || getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
                return;
        if (limit.rlim_cur != limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max;
                (void)setrlimit(RLIMIT_MEMLOCK, &limit); /* the warning below covers the rest */
        }
        if (limit.rlim_max >= ENOUGH) /* so is RLIM_INFINITY */
                return;
        report_note("warning: only %llu MiB may be locked (RLIMIT_MEMLOCK), VFIO programs often "
                    "need more",
                    (unsigned long long)(limit.rlim_max / MIB));
        report_note("raise it: LimitMEMLOCK=infinity in a systemd unit, \"USER hard memlock "
                    "unlimited\" in /etc/security/limits.d/ and a new login, or, as root, "
                    "\"ulimit -l unlimited\" in the shell or \"prlimit --memlock=unlimited "
                    "--pid %d\"",
                    getppid());
}
