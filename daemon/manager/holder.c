/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What keeps a lease alive: a lifeline or a process, and the time to live. A connection is
 * watched by the bus layer. When the holder is gone the lease ends at once, unless it has a grace. When only the time is over, files that are still
 * open are respected: the lease is unconfirmed until they close.
 */

#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "kernel/alarm.h"
#include "manager/manager-internal.h"
#include "manager/process.h"
#include "util/log.h"
#include "util/strings.h"

#define LINGER_USEC 60000000ULL
#define AGAIN_USEC  1000000ULL

struct Holder {
        Manager *m;
        Lease *l;
        int fd;
        sd_event_source *watch;
        sd_event_source *expiry;
        sd_event_source *revocation; /* the deadline of one that was asked to leave */
        KernelOp *op;                /* STEP_WAIT_CLOSED of an expired lease */
        size_t closed;               /* how many of its groups have been found closed */
        unsigned failures;           /* of the op, in a row */
        const char *reason;          /* why it ends when its files are closed */
};

static int on_expiry(sd_event_source *source, uint64_t usec, void *userdata);

/* Frees h, now or later. */
static void end(Holder *h, const char *reason) {
        manager_surely_end_lease(h->m, h->l, reason);
}

/* Whoever tidies up behind a dead process has the grace for it; then the lease ends as one that has expired. */
static void died(Holder *h) {
        _cleanup_changes_ Changes c = CHANGES_NULL;

        h->reason = "holder-died";
        if (registry_lease_orphan(h->l, manager_now(h->m) + h->l->request.grace, &c) < 0) {
                end(h, h->reason);
                return;
        }
        holder_set_expiry(h->l);
        (void)manager_commit(h->m, &c); /* a failed write is logged */
}

static int on_hang_up(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        /* it would be told again and again until the lease has ended */
        (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
        died(userdata);
        return 0;
}

/* expiry */

static int wait_closed(Holder *h);

/* What keeps the lease is shown at the group that it keeps. */
static void set_waits_for(Holder *h, const char *what) {
        _cleanup_changes_ Changes c = CHANGES_NULL;

        if (!what || registry_group_set_waits_for(h->l->groups[h->closed], what, &c) < 0)
                log_error("Out of memory");
        (void)manager_commit(h->m, &c);
}

/* Not knowing is no reason to end a lease; it is asked again after a while that grows to ten
 * seconds. */
static void ask_later(Holder *h, int error, const char *text) {
        uint64_t delay = h->failures < 4 ? 1000000ULL << h->failures : 10000000ULL;
        _cleanup_free_ char *what = NULL;

        what = str_format(
                "whether the files of group %u are closed, which the expired lease %s holds, cannot be told: "
                "%s%s%s",
                h->l->groups[h->closed]->id, h->l->id, strerror(error), text ? ": " : "",
                text ? text : "");
        if (h->failures++ == 0)
                log_warning("%s", what ? what : strerror(error));
        set_waits_for(h, what);
        alarm_set_relative(h->expiry, delay);
}

bool holder_waits(Lease *l, const KernelOp *op, const char *who) {
        Holder *h = l->userdata;

        if (!h || h->op != op)
                return false;
        set_waits_for(h, who);
        return true;
}

static void on_closed(KernelOp *op, StepResult *result, void *userdata) {
        Holder *h = userdata;
        int r;

        h->op = NULL;
        /* no node, no open file */
        if (result->error == 0 || result->error == ENOENT) {
                h->failures = 0;
                h->closed++;
                r = wait_closed(h);
                if (r < 0)
                        ask_later(h, -r, NULL);
        } else
                ask_later(h, result->error, result->text);
}

static int wait_closed(Holder *h) {
        Step step = { .kind = STEP_WAIT_CLOSED };
        static char lent[] = "lent";

        /* what other leases hold too is not taken away with this one */
        while (h->closed < h->l->n_groups && h->l->groups[h->closed]->count > 1)
                h->closed++;
        if (h->closed >= h->l->n_groups) {
                end(h, h->reason);
                return 0;
        }
        step.group = h->l->groups[h->closed]->id;
        /* what is lent we have open ourselves */
        if (manager_lent_files(h->l->groups[h->closed]))
                step.value = lent;
        return h->m->kernel->ops->run(h->m->kernel, &step, NULL, 0, on_closed, h, &h->op);
}

static int on_expiry(sd_event_source *source, uint64_t usec, void *userdata) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        Holder *h = userdata;
        int r;

        if (h->l->state == LEASE_FAILED || h->l->state == LEASE_LOST ||
            h->l->request.terms.kind != OWNER_KIND_USER || h->l->state == LEASE_ACTIVATING) {
                end(h, h->reason);
                return 0;
        }
        if (registry_lease_set_state(h->m->registry, h->l, LEASE_UNCONFIRMED, &c))
                (void)manager_commit(h->m, &c);
        h->closed = 0;
        r = wait_closed(h); /* may end the lease, and h with it */
        if (r < 0)
                ask_later(h, -r, NULL);
        return 0;
}

void holder_set_expiry(Lease *l) {
        Holder *h = l->userdata;

        if (h->op) {
                h->m->kernel->ops->cancel(h->op);
                h->op = NULL;
        }
        alarm_set(h->expiry, l->request.expires);
}

/* revocation */

static int on_revocation_due(sd_event_source *source, uint64_t usec, void *userdata) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        Holder *h = userdata;
        Manager *m = h->m;

        if (registry_revoke_due(m->registry, h->l, &c) < 0)
                alarm_set_relative(source, AGAIN_USEC);
        for (size_t i = 0; i < c.n_groups; i++)
                switch_note_waiting(c.groups[i], &c);
        (void)manager_commit(m, &c); /* frees h; a failed write is logged */
        return 0;
}

void holder_set_revocation(Lease *l) {
        Holder *h = l->userdata;

        alarm_set(h->revocation, l->state == LEASE_REVOKING ? l->revocation.deadline : UINT64_MAX);
}

void holder_linger(Lease *l) {
        Holder *h = l->userdata;

        if (!h)
                return;
        if (h->op)
                h->m->kernel->ops->cancel(h->op);
        h->op = NULL;
        alarm_set_relative(h->expiry, LINGER_USEC);
}

/* life */

int holder_set_fd(Lease *l, HolderType type, int fd) {
        sd_event_source *watch = NULL;
        Holder *h = l->userdata;
        int r;

        if (fd >= 0) {
                /* a pidfd becomes readable; of a lifeline only the hang-up counts, its holder may
                 * write what he likes */
                r = sd_event_add_io(h->m->event, &watch, fd, type == HOLDER_PROCESS ? EPOLLIN : 0,
                                    on_hang_up, h);
                if (r < 0)
                        return r;
        }
        sd_event_source_disable_unref(h->watch);
        safe_close(h->fd);
        h->watch = watch;
        h->fd = fd;
        return 0;
}

int holder_new(Manager *m, Lease *l, int fd) {
        Holder *h = calloc(1, sizeof(Holder));
        int r;

        if (!h)
                return -ENOMEM;
        *h = (Holder){ .m = m, .l = l, .fd = -EBADF, .reason = "expired" };
        l->userdata = h;
        r = alarm_new(m->event, on_expiry, h, &h->expiry);
        if (r >= 0)
                r = alarm_new(m->event, on_revocation_due, h, &h->revocation);
        if (r >= 0)
                r = holder_set_fd(l, l->request.holder, fd);
        if (r < 0) {
                h->fd = -EBADF; /* stays the caller's */
                l->userdata = holder_free(h);
                return r;
        }
        holder_set_expiry(l);
        holder_set_revocation(l);
        return 0;
}

/* after a restart */

static int find_holder(Manager *m, const Lease *l, int *ret_fd) {
        switch (l->request.holder) {
        case HOLDER_LIFELINE:
                return store_reopen_lifeline(m->store, l->id, ret_fd);
        case HOLDER_PROCESS:
                return process_open(l->request.holder_pid, l->request.holder_start, ret_fd);
        case HOLDER_CONNECTION:
        case HOLDER_NONE:
        case _HOLDER_TYPE_MAX:
        case _HOLDER_TYPE_INVALID:
                break;
        }
        return 0;
}

static int on_found_dead(sd_event_source *source, void *userdata) {
        died(userdata);
        return 0;
}

/* Whether the holder lives cannot be told. Nothing is taken from him while he has files open. */
static void lifeline_is_gone(Holder *h) {
        log_warning("The lifeline of lease %s is gone: it lasts as long as its files are open",
                    h->l->id);
        h->reason = "holder-died";
        alarm_set_relative(h->expiry, 0);
}

int holder_restore(Manager *m, Lease *l) {
        _cleanup_close_ int fd = -EBADF;
        Holder *h;
        int found, r;

        found = find_holder(m, l, &fd);
        if (found == -ENOMEM || found == -EMFILE || found == -ENFILE)
                return found; /* he may be dead: the next start will tell */
        if (found < 0 && found != -ENOENT && found != -ESRCH) {
                log_error("The holder of lease %s cannot be watched (%s): it lasts until it is released",
                          l->id, strerror(-found));
                found = 0;
        }
        r = holder_new(m, l, fd);
        if (r < 0)
                return r;
        TAKE_FD(fd);
        h = l->userdata;
        if (found == -ENOENT) {
                lifeline_is_gone(h);
                return 0;
        }
        /* died while nobody watched */
        return found < 0 ? sd_event_add_defer(m->event, &h->watch, on_found_dead, h) : 0;
}

Holder *holder_free(Holder *h) {
        if (!h)
                return NULL;
        if (h->op)
                h->m->kernel->ops->cancel(h->op);
        sd_event_source_disable_unref(h->watch);
        sd_event_source_disable_unref(h->expiry);
        sd_event_source_disable_unref(h->revocation);
        safe_close(h->fd);
        free(h);
        return NULL;
}
