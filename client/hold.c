/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/hold.h"

#include <sys/pidfd.h>

#include "client/bus.h"
#include "client/report.h"
#include "client/request.h"
#include "util/strings.h"

void hold_close(Hold *h) {
        dmaowner_lease_unref(h->lease);
        dmaowner_unref(h->connection);
        if (h->bus)
                (void)sd_bus_detach_event(h->bus);
        sd_bus_flush_close_unref(h->bus);
        sd_event_unref(h->event);
        free(h->state);
}

/* ---- What is told ---- */

static int report_failure(const Hold *h) {
        const char *name, *message;
        int r = dmaowner_lease_get_error(h->lease, &name, &message);

        return str_empty(name) ? report_errno(r, "lease") : report_error(name, message);
}

int hold_report_end(const Hold *h) {
        const char *id = dmaowner_lease_get_id(h->lease),
                   *reason = dmaowner_lease_get_end(h->lease);

        if (dmaowner_lease_get_error(h->lease, NULL, NULL) < 0)
                return report_failure(h);
        return report(STATUS_ERROR, NULL, "lease %s has ended%s%s", id,
                      str_empty(reason) ? "" : ": ", reason);
}

static void tell_state(Hold *h, const char *state) {
        const char *id = dmaowner_lease_get_id(h->lease);
        bool was_held = !str_empty(h->state) && !str_eq(h->state, "activating") &&
                        !str_eq(h->state, "queued");

        if (str_eq(state, "queued"))
                report_note("lease %s is queued: %s", id, dmaowner_lease_get_waits_for(h->lease));
        else if (was_held && !dmaowner_lease_is_over(h->lease) && !str_eq(state, "ended"))
                report_note("lease %s is %s now", id, state);
}

static void tell_revocation(Hold *h) {
        const char *reason;
        uint64_t at = dmaowner_lease_get_revocation(h->lease, &reason);

        if (at != 0 && at != h->revoke_at)
                report_note("lease %s is asked to leave: %s", dmaowner_lease_get_id(h->lease),
                            reason);
        h->revoke_at = at;
}

static void tell_daemon(Hold *h) {
        bool gone = !dmaowner_daemon_is_there(h->connection);

        if (gone && !h->daemon_was_gone && !str_eq(h->state, "activating"))
                report_note("dmaownerd went away; lease %s stays, and is looked at when it is back",
                            dmaowner_lease_get_id(h->lease));
        h->daemon_was_gone = gone;
}

static void on_change(dmaowner_lease *l, void *userdata) {
        const char *state = dmaowner_lease_get_state(l);
        Hold *h = userdata;

        tell_daemon(h);
        tell_revocation(h);
        if (str_eq(state, h->state))
                return;
        tell_state(h, state);
        (void)str_set(&h->state, state); /* or it is told again */
}

/* ---- Signals ---- */

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        Hold *h = userdata;

        h->signo = (int)si->ssi_signo;
        if (h->child == 0) {
                h->n_signals++;
                return 0;
        }
        /* what the terminal sends, the child got as well */
        if (si->ssi_code == SI_KERNEL && getpgid(h->child) == getpgrp())
                return 0;
        if (kill(h->child, h->signo) < 0)
                return -errno;
        return 0;
}

static bool signal_is_ignored(int signo) {
        struct sigaction sa;

        return sigaction(signo, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN;
}

static int hold_add_signals(Hold *h) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };
        sigset_t mask;
        int r;

        sigemptyset(&mask);
        sigaddset(&mask, SIGCHLD); /* as sd_event_add_child() wants it */
        for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
                sigaddset(&mask, signals[i]);
        if (sigprocmask(SIG_BLOCK, &mask, &h->former_mask) < 0)
                return -errno;
        for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
                if (signals[i] == SIGHUP && signal_is_ignored(SIGHUP))
                        continue; /* nohup */
                r = sd_event_add_signal(h->event, NULL, signals[i], on_signal, h);
                if (r < 0)
                        return r;
        }
        return 0;
}

int hold_open(Hold *h, const Options *o) {
        int r;

        r = bus_connect(o, &h->bus);
        if (r != 0)
                return r;
        r = sd_event_new(&h->event);
        if (r < 0)
                return report_errno(r, "event loop");
        r = dmaowner_new(&h->connection, h->bus);
        if (r == 0)
                r = sd_bus_attach_event(h->bus, h->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return report_errno(r, "cannot watch the bus");
        r = hold_add_signals(h);
        if (r < 0)
                return report_errno(r, "signals");
        return 0;
}

/* ---- Waiting ---- */

int hold_run(Hold *h) {
        int r = sd_event_run(h->event, UINT64_MAX);

        return r < 0 ? report_errno(r, "event loop") : 0;
}

/* What was begun goes on until it is settled; a second signal means that somebody does not want to wait. */
static int hold_settle(Hold *h) {
        while (!dmaowner_lease_is_settled(h->lease)) {
                int r;

                if (h->n_signals >= 2)
                        return 128 + h->signo;
                r = hold_run(h);
                if (r != 0)
                        return r;
        }
        return dmaowner_lease_get_error(h->lease, NULL, NULL) < 0 ? report_failure(h) : 0;
}

int hold_release(Hold *h) {
        int r = dmaowner_lease_release(h->lease);

        return r < 0 ? (int)report_errno(r, "Release") : hold_settle(h);
}

int hold_open_files(Hold *h) {
        int r = dmaowner_lease_open_files(h->lease);

        return r < 0 ? (int)report_errno(r, "OpenFiles") : hold_settle(h);
}

static int hold_undo(Hold *h) {
        const char *id = dmaowner_lease_get_id(h->lease);

        if (hold_release(h) == 0)
                report_note("interrupted, %s is released",
                            *id ? id : dmaowner_lease_get_path(h->lease));
        return 128 + h->signo;
}

static int send_request(Hold *h, const Options *o, const char *owner, const char *holder) {
        _cleanup_(dmaowner_request_freep) dmaowner_request *q = NULL;
        _cleanup_close_ int pidfd = -EBADF;
        int r;

        r = request_from_options(o, owner, holder, &q);
        if (r == 0 && o->pid > 0) {
                pidfd = pidfd_open(o->pid, 0);
                if (pidfd < 0)
                        return report(STATUS_ERROR, NULL, "process %d: %s", o->pid, strerror(errno));
                r = dmaowner_request_set(q, "pidfd", "h", pidfd);
        }
        if (r == 0)
                r = dmaowner_acquire(h->connection, q, &h->lease);
        if (r < 0)
                return report_errno(r, "Acquire");
        dmaowner_lease_set_callback(h->lease, on_change, h);
        return 0;
}

/* A queue outlives its daemon, so this wait does, too. */
static int hold_wait_active(Hold *h) {
        while (h->n_signals == 0 && !dmaowner_lease_is_settled(h->lease)) {
                int r;

                if (!dmaowner_daemon_is_there(h->connection) && str_eq(h->state, "activating"))
                        return report(STATUS_NO_DAEMON,
                                      "when it is back it undoes or finishes the switch",
                                      "dmaownerd went away while lease %s was activating",
                                      dmaowner_lease_get_id(h->lease));
                r = hold_run(h);
                if (r != 0)
                        return r;
        }
        if (h->n_signals > 0)
                return hold_undo(h);
        if (!dmaowner_is_connected(h->connection))
                return report(STATUS_NO_DAEMON, NULL, "the bus went away while lease %s was %s",
                              dmaowner_lease_get_id(h->lease), dmaowner_lease_get_state(h->lease));
        return dmaowner_lease_is_held(h->lease) ? 0 : hold_report_end(h);
}

int hold_acquire(Hold *h, const Options *o, const char *owner, const char *holder) {
        const char *warning;
        int r;

        r = send_request(h, o, owner, holder);
        if (r == 0)
                r = hold_wait_active(h);
        if (r != 0)
                return r;
        warning = dmaowner_lease_get_warning(h->lease);
        if (*warning)
                report_note("warning: %s", warning);
        return 0;
}
