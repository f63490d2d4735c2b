/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/run.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "config.h"
#include "executor/audit-log.h"
#include "executor/check.h"
#include "executor/evict.h"
#include "executor/group.h"
#include "executor/inspect.h"
#include "executor/lend.h"
#include "executor/node.h"
#include "executor/rules.h"
#include "executor/scrub.h"
#include "executor/steps.h"
#include "executor/vf.h"
#include "executor/vfs.h"
#include "util/log.h"
#include "util/strings.h"

#define LOCK_LOOK_AGAIN_MSEC 10
#define LOCK_PATIENCE_MSEC   2000

/* Locks of open file descriptions: they can be asked for without being taken, and end with the
 * process, however it ends. */
static int lock_open(int runtime, unsigned group, int flags) {
        char path[32];
        int fd;

        (void)snprintf(path, sizeof(path), "locks/%u", group);
        fd = openat(runtime, path, flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
        return fd < 0 ? -errno : fd;
}

int run_group_is_locked(int runtime, unsigned group) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        _cleanup_close_ int fd = -EBADF;

        fd = lock_open(runtime, group, 0);
        if (fd == -ENOENT)
                return 0;
        if (fd < 0)
                return fd;
        if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
                return -errno;
        return lock.l_type != F_UNLCK;
}

int run_check_permit(Run *run) {
        struct pollfd permit = { .fd = run->permit, .events = POLLIN };

        if (poll(&permit, 1, 0) == 0)
                return 0;
        return answer_fail(&run->answer, ECANCELED, "the permit of the step was withdrawn");
}

/* An inspection beside the plan of the group has it for a moment; a step that was left behind longer.
 * Returns 0, -EWOULDBLOCK, or another negative errno. */
static int lock_wait(Run *run, int fd) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        struct pollfd permit = { .fd = run->permit, .events = POLLIN };

        for (int waited = 0;; waited += LOCK_LOOK_AGAIN_MSEC) {
                if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
                        return 0;
                if (errno != EAGAIN && errno != EACCES)
                        return -errno;
                if (waited >= LOCK_PATIENCE_MSEC)
                        return -EWOULDBLOCK;
                if (poll(&permit, 1, LOCK_LOOK_AGAIN_MSEC) > 0)
                        return run_check_permit(run);
        }
}

/* *ret is kept open until the process ends. */
static int lock_take(Run *run, int *ret) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = lock_open(run->runtime, run->step->group, O_CREAT);
        if (fd < 0)
                return answer_fail(&run->answer, -fd, "cannot open the lock of IOMMU group %u: %s",
                                   run->step->group, strerror(-fd));
        r = lock_wait(run, fd);
        if (r == -EWOULDBLOCK)
                return answer_fail(&run->answer, EWOULDBLOCK,
                                   "a step of an earlier run still works on IOMMU group %u",
                                   run->step->group);
        if (r < 0)
                return r;
        *ret = TAKE_FD(fd);
        return 0;
}

int run_open_memory(const Run *run, const char *path, int flags) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        /* a FIFO must not keep us waiting */
        fd = openat(run->runtime, path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (fd < 0)
                return errno == ELOOP || errno == ENXIO || errno == EISDIR ? -EBADMSG : -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        return S_ISREG(st.st_mode) ? TAKE_FD(fd) : -EBADMSG;
}

/* A minute */
#define TURN_USEC  10000
#define TURN_TRIES 6000

int run_take_turn(const Run *run, const char *path) {
        _cleanup_close_ int fd = run_open_memory(run, path, O_RDWR | O_CREAT);

        if (fd < 0)
                return fd;
        for (unsigned i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
                if (errno != EWOULDBLOCK && errno != EINTR)
                        return -errno;
                if (i == TURN_TRIES)
                        return -ETIMEDOUT;
                (void)usleep(TURN_USEC);
        }
        return TAKE_FD(fd);
}

int run_close_all_but(const int *keep, size_t n) {
        unsigned next = 3;

        for (;;) {
                unsigned lowest = UINT_MAX;

                for (size_t i = 0; i < n; i++)
                        if (keep[i] >= 0 && (unsigned)keep[i] >= next && (unsigned)keep[i] < lowest)
                                lowest = (unsigned)keep[i];
                if (lowest > next &&
                    close_range(next, lowest == UINT_MAX ? UINT_MAX : lowest - 1, 0) < 0)
                        return -errno;
                if (lowest == UINT_MAX)
                        return 0;
                next = lowest + 1;
        }
}

int run_write(Run *run, const char *value, const char *fmt, ...) {
        _cleanup_free_ char *path = NULL;
        va_list ap;
        int r;

        va_start(ap, fmt);
        r = vasprintf(&path, fmt, ap);
        va_end(ap);
        if (r < 0) {
                path = NULL;
                return -ENOMEM;
        }
        r = run_check_permit(run);
        if (r < 0)
                return r;
        return sysfs_write(&run->sysfs, path, value);
}

int run_report_waiting(Run *run, const char *who) {
        _cleanup_free_ char *packet = answer_waiting_packet(who, run->seq);

        return packet ? packet_send(run->channel, packet, NULL) : -ENOMEM;
}

static int perform(Run *run) {
        switch (run->step->kind) {
        case STEP_INSPECT:
                return step_inspect(run);
        case STEP_LOAD_MODULE:
                return step_load_module(run);
        case STEP_SET_OVERRIDE:
                return step_set_override(run);
        case STEP_UNBIND:
                return step_unbind(run);
        case STEP_EVICT:
                return step_evict(run);
        case STEP_BIND:
                return step_bind(run);
        case STEP_PROBE:
                return step_probe(run);
        case STEP_SET_TYPE:
                return step_set_type(run);
        case STEP_GRANT_NODE:
                return step_grant_node(run);
        case STEP_REVOKE_NODE:
                return step_revoke_node(run);
        case STEP_WAIT_CLOSED:
                return step_wait_closed(run);
        case STEP_LEND:
                return step_lend(run);
        case STEP_RECLAIM:
                return step_reclaim(run);
        case STEP_CLAIM:
                return step_claim(run);
        case STEP_RESET:
                return step_reset(run);
        case STEP_SCRUB:
                return step_scrub(run);
        case STEP_SET_VF_AUTOPROBE:
                return step_set_vf_autoprobe(run);
        case STEP_SET_NUM_VFS:
                return step_set_num_vfs(run);
        case STEP_READ_VF:
                return step_read_vf(run);
        case STEP_SET_VF:
                return step_set_vf(run);
        case STEP_WAIT_NODE:
        case STEP_RELEASE:
        case _STEP_KIND_MAX:
        case _STEP_KIND_INVALID:
                break;
        }
        return answer_fail(&run->answer, EOPNOTSUPP, "the executor has no step \"%s\"",
                           step_kind_to_string(run->step->kind));
}

static int lock_check_perform(Run *run, int *ret_lock) {
        int r;

        if (run->step->kind != STEP_LOAD_MODULE) {
                r = lock_take(run, ret_lock);
                if (r < 0)
                        return r;
        }
        if (run->step->device) {
                r = check_device(run);
                if (r < 0)
                        return r;
        }
        /* to lend what no rule lends; also what keeps a group opens its devices */
        if (run->step->kind == STEP_GRANT_NODE || run->step->kind == STEP_SET_TYPE ||
            run->step->kind == STEP_LEND || (run->step->kind == STEP_CLAIM && run->files.n == 0)) {
                r = rules_check_group(run);
                if (r < 0)
                        return r;
        }
        return perform(run);
}

#if HAVE_LIBAUDIT
/* Only now, so that an audit that is stuck holds up neither the step nor whoever waits for its files. */
static void tell_audit(const Run *run) {
        const int keep[] = { run->audit, run->runtime };
        sigset_t all;

        int r;

        if (run->audit < 0)
                return;
        r = run_close_all_but(keep, 2);
        if (r == 0 && (sigfillset(&all) < 0 || sigprocmask(SIG_SETMASK, &all, NULL) < 0))
                r = -errno;
        if (r == 0)
                r = run_take_turn(run, "locks/audit");
        if (r < 0)
                log_warning("The audit log was not told of %s in IOMMU group %u: %s",
                            step_kind_to_string(run->step->kind), run->step->group, strerror(-r));
        else
                audit_log_step(run->audit, run->step, run->answer.error);
}
#endif

void run_step(Run *run) {
        Descriptors files = {};
        char *packet;
        int r, lock = -EBADF;

        r = lock_check_perform(run, &lock);
        if (r < 0)
                vfio_files_clear(&run->answer.files); /* a part of them is of no use */
        /* the kernel's own number: what it means the daemon knows as well */
        if (r < 0 && run->answer.error == 0)
                run->answer.error = -r;
        vfio_files_to_descriptors(&run->answer.files, &files);
        packet = answer_to_packet(&run->answer, run->seq);
        /* whoever is told "done" must not find the group locked by us any more */
        lock = safe_close(lock);
        r = packet ? packet_send(run->channel, packet, &files) : -ENOMEM;
#if HAVE_LIBAUDIT
        tell_audit(run);
#endif
        /* without an answer of ours, the main process says that we are gone */
        _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
