/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/hold.h"

#include <fcntl.h>
#include <sys/pidfd.h>

#include "client/bus.h"
#include "client/describe.h"
#include "client/message-json.h"
#include "client/report.h"
#include "util/strings.h"

#define LEASES_PATH "/org/dmaowner1/lease"
#define MATCH_OWNER \
        "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" BUS_NAME "'"
#define MATCH_DISCONNECTED                                   \
        "type='signal',sender='org.freedesktop.DBus.Local'," \
        "interface='org.freedesktop.DBus.Local',member='Disconnected'"
#define MATCH_LEASES "type='signal',sender='" BUS_NAME "',path_namespace='" LEASES_PATH "'"

void hold_close(Hold *h) {
        sd_bus_slot_unref(h->narrow);
        sd_bus_message_unref(h->reply);
        if (h->bus)
                (void)sd_bus_detach_event(h->bus);
        sd_bus_flush_close_unref(h->bus);
        sd_event_unref(h->event);
        json_object_put(h->lease);
        free(h->path);
        free(h->ended);
        h->lifeline = safe_close(h->lifeline);
}

const char *hold_id(const Hold *h) {
        return json_string(h->lease, "Id");
}

static const char *hold_state(const Hold *h) {
        return json_string(h->lease, "State");
}

/* In state "ended" the signal with the reason is right behind. */
static bool hold_waits_for_reason(const Hold *h) {
        return !h->ended && strcmp(hold_state(h), "ended") == 0;
}

bool hold_is_alive(const Hold *h) {
        static const char *const alive[] = { "activating", "active", "unconfirmed", "revoking" };

        for (size_t i = 0; !h->ended && i < sizeof(alive) / sizeof(*alive); i++)
                if (strcmp(hold_state(h), alive[i]) == 0)
                        return true;
        return hold_waits_for_reason(h);
}

int hold_report_end(const Hold *h) {
        json_object *failure = json_member(h->lease, "Failure");
        const char *name = json_object_get_string(json_object_array_get_idx(failure, 0)),
                   *message = json_object_get_string(json_object_array_get_idx(failure, 1));

        if (!str_empty(name))
                return report_error(name, message);
        return report(STATUS_ERROR, NULL, "lease %s %s%s%s", hold_id(h),
                      h->ended ? "has ended" : hold_state(h), str_empty(h->ended) ? "" : ": ",
                      h->ended ? h->ended : "");
}

static int hold_merge(Hold *h, json_object *properties) {
        json_object_object_foreach(properties, name, value) {
                if (json_object_object_add(h->lease, name, json_object_get(value)) < 0) {
                        json_object_put(value);
                        return -ENOMEM;
                }
        }
        return 0;
}

/* The same from a signal; these go to everybody, so they do not tell what is not everybody's
 * business. The state is said when it changes under a lease that was active already. */
static int hold_merge_signal(Hold *h, json_object *changed) {
        _cleanup_free_ char *former = strdup(hold_state(h));
        int r;

        if (!former)
                return -ENOMEM;
        json_object_object_del(changed, "Owner");
        json_object_object_del(changed, "Uid");
        json_object_object_del(changed, "Label");
        r = hold_merge(h, changed);
        if (r < 0)
                return r;
        if (hold_is_alive(h) && !hold_waits_for_reason(h) && *former &&
            strcmp(former, "activating") != 0 && strcmp(former, hold_state(h)) != 0)
                report_note("lease %s is %s now", hold_id(h), hold_state(h));
        return 0;
}

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

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        const char *name, *former, *now;
        Hold *h = userdata;
        int r;

        r = sd_bus_message_read(m, "sss", &name, &former, &now);
        if (r < 0)
                return r;
        h->daemon_gone = str_empty(now);
        return 0;
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        Hold *h = userdata;

        h->disconnected = true;
        return 0;
}

static int on_lease_signal(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        _cleanup_json_ json_object *arguments = NULL;
        json_object *first;
        Hold *h = userdata;
        int r;

        if (!h->path || strcmp(sd_bus_message_get_path(m), h->path) != 0)
                return 0;
        r = sd_bus_message_rewind(m, true); /* two matches may show it to us twice */
        if (r < 0)
                return r;
        r = message_to_json(m, &arguments);
        if (r < 0)
                return r;
        first = json_object_array_get_idx(arguments, 0);
        if (sd_bus_message_is_signal(m, INTERFACE_LEASE, "Ended"))
                return str_set(&h->ended, json_object_get_string(first));
        if (sd_bus_message_is_signal(m, INTERFACE_LEASE, "RevokeRequested")) {
                report_note("lease %s is asked to leave: %s", hold_id(h),
                            json_object_get_string(first));
                return 0;
        }
        if (sd_bus_message_is_signal(m, INTERFACE_PROPERTIES, "PropertiesChanged"))
                return hold_merge_signal(h, json_object_array_get_idx(arguments, 1));
        return 0;
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        Hold *h = userdata;

        h->reply = sd_bus_message_ref(m);
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

static int hold_add_matches(Hold *h) {
        int r;

        r = sd_bus_add_match(h->bus, NULL, MATCH_OWNER, on_owner_changed, h);
        if (r < 0)
                return r;
        r = sd_bus_add_match(h->bus, NULL, MATCH_DISCONNECTED, on_disconnected, h);
        if (r < 0)
                return r;
        return sd_bus_attach_event(h->bus, h->event, SD_EVENT_PRIORITY_NORMAL);
}

int hold_open(Hold *h, const Options *o) {
        int r;

        h->lease = json_object_new_object();
        if (!h->lease)
                return report_errno(-ENOMEM, "lease");
        r = bus_connect(o, &h->bus);
        if (r != 0)
                return r;
        r = sd_event_new(&h->event);
        if (r < 0)
                return report_errno(r, "event loop");
        r = hold_add_matches(h);
        if (r < 0)
                return report_errno(r, "cannot watch the bus");
        r = hold_add_signals(h);
        if (r < 0)
                return report_errno(r, "signals");
        return 0;
}

/* Sends m and waits for the answer: a daemon that has much to do takes its time, and the bus tells if it is no more. A
 * second signal means that somebody does not want to wait. */
static int hold_call(Hold *h, sd_bus_message *m, sd_bus_message **ret) {
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        const sd_bus_error *e;
        int r;

        r = sd_bus_call_async(h->bus, &slot, m, on_reply, h, UINT64_MAX);
        if (r < 0)
                return report_errno(r, sd_bus_message_get_member(m));
        while (!h->reply) {
                if (h->n_signals >= 2)
                        return 128 + h->signo;
                r = sd_event_run(h->event, UINT64_MAX);
                if (r < 0)
                        return report_errno(r, "event loop");
        }
        e = sd_bus_message_get_error(h->reply);
        if (e)
                r = report_error(e->name, e->message);
        else
                r = 0;
        if (r == 0 && ret)
                *ret = TAKE_PTR(h->reply);
        h->reply = sd_bus_message_unref(h->reply);
        return r;
}

static int hold_new_call(Hold *h, sd_bus_message **ret, const char *interface, const char *method) {
        return sd_bus_message_new_method_call(h->bus, ret, BUS_NAME, h->path, interface, method);
}

static int hold_refresh(Hold *h) {
        _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_json_ json_object *arguments = NULL;
        int r;

        r = hold_new_call(h, &m, INTERFACE_PROPERTIES, "GetAll");
        if (r < 0)
                return report_errno(r, "GetAll");
        r = sd_bus_message_append(m, "s", INTERFACE_LEASE);
        if (r < 0)
                return report_errno(r, "GetAll");
        r = hold_call(h, m, &reply);
        if (r != 0)
                return r;
        r = message_to_json(reply, &arguments);
        if (r < 0)
                return report_errno(r, "GetAll");
        r = hold_merge(h, json_object_array_get_idx(arguments, 0));
        if (r < 0)
                return report_errno(r, "GetAll");
        return 0;
}

int hold_release(Hold *h) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = hold_new_call(h, &m, INTERFACE_LEASE, "Release");
        if (r < 0)
                return report_errno(r, "Release");
        return hold_call(h, m, NULL);
}

int hold_run(Hold *h) {
        bool was_gone = h->daemon_gone;
        int r;

        r = sd_event_run(h->event, UINT64_MAX);
        if (r < 0)
                return report_errno(r, "event loop");
        if (h->daemon_gone && !was_gone)
                report_note("dmaownerd went away; lease %s stays, and is looked at when it is back",
                            hold_id(h));
        if (!h->daemon_gone && was_gone && !h->disconnected)
                return hold_refresh(h);
        return 0;
}

/* Path and lifeline from the answer of Acquire. */
static int hold_take_reply(Hold *h, sd_bus_message *reply) {
        const char *path;
        int fd, r;

        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return r;
        r = str_set(&h->path, path);
        if (r < 0)
                return r;
        r = sd_bus_message_enter_container(reply, 'a', "h");
        if (r < 0)
                return r;
        r = sd_bus_message_read_basic(reply, 'h', &fd);
        if (r <= 0) /* none for the other holders */
                return r;
        h->lifeline = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        return h->lifeline < 0 ? -errno : 0;
}

static int hold_send_request(Hold *h, const Options *o, const char *owner, const char *holder,
                             sd_bus_message **ret_reply) {
        _cleanup_message_ sd_bus_message *m = NULL;
        _cleanup_close_ int pidfd = -EBADF;
        int r;

        if (o->pid > 0) {
                pidfd = pidfd_open(o->pid, 0);
                if (pidfd < 0)
                        return report(STATUS_ERROR, NULL, "process %d: %s", o->pid, strerror(errno));
        }
        r = sd_bus_message_new_method_call(h->bus, &m, BUS_NAME, BUS_ROOT, INTERFACE_MANAGER,
                                           "Acquire");
        if (r < 0)
                return report_errno(r, "Acquire");
        r = bus_append_request(m, o, owner, holder, pidfd);
        if (r < 0)
                return report_errno(r, "Acquire");
        return hold_call(h, m, ret_reply);
}

static int hold_undo(Hold *h) {
        int r = hold_release(h);

        if (r == 0)
                report_note("interrupted, %s is released", *hold_id(h) ? hold_id(h) : h->path);
        return 128 + h->signo;
}

/* A queue outlives its daemon, so this wait does, too. */
static int hold_wait_turn(Hold *h) {
        int r;

        if (strcmp(hold_state(h), "queued") == 0)
                report_note("lease %s is queued: %s", hold_id(h), json_string(h->lease, "WaitsFor"));
        while (!h->n_signals && !h->ended && strcmp(hold_state(h), "queued") == 0) {
                if (h->disconnected)
                        return report(STATUS_NO_DAEMON, NULL,
                                      "the bus went away while lease %s was queued", hold_id(h));
                r = hold_run(h);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int hold_wait_active(Hold *h) {
        int r;

        r = hold_wait_turn(h);
        if (r != 0)
                return r;

        while (!h->n_signals && !h->ended &&
               (strcmp(hold_state(h), "activating") == 0 || hold_waits_for_reason(h))) {
                if (h->daemon_gone || h->disconnected)
                        return report(STATUS_NO_DAEMON,
                                      "when it is back it undoes or finishes the switch",
                                      "dmaownerd went away while lease %s was activating",
                                      hold_id(h));
                r = sd_event_run(h->event, UINT64_MAX);
                if (r < 0)
                        return report_errno(r, "event loop");
        }
        if (h->n_signals)
                return hold_undo(h);
        return hold_is_alive(h) ? 0 : hold_report_end(h);
}

int hold_acquire(Hold *h, const Options *o, const char *owner, const char *holder) {
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *wide = NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        const char *warning;
        int r;

        /* before the path is known, so that no signal is missed */
        r = sd_bus_add_match(h->bus, &wide, MATCH_LEASES, on_lease_signal, h);
        if (r < 0)
                return report_errno(r, "cannot watch the bus");
        r = hold_send_request(h, o, owner, holder, &reply);
        if (r != 0)
                return r;
        r = hold_take_reply(h, reply);
        if (r < 0)
                return report_errno(r, "cannot read the daemon's answer");
        r = sd_bus_match_signal_async(h->bus, &h->narrow, BUS_NAME, h->path, NULL, NULL,
                                      on_lease_signal, NULL, h);
        if (r < 0)
                return report_errno(r, "cannot watch the lease");
        r = hold_refresh(h);
        if (r != 0)
                return r;
        r = hold_wait_active(h);
        if (r != 0)
                return r;
        warning = json_string(h->lease, "Warning");
        if (*warning)
                report_note("warning: %s", warning);
        return 0;
}
