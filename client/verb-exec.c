/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/wait.h>

#include "client/describe.h"
#include "client/hold.h"
#include "client/memlock.h"
#include "client/message-json.h"
#include "client/report.h"
#include "client/verbs.h"
#include "util/strings.h"

/* As env(1) and all shells have it. */
#define EXIT_CANNOT_INVOKE 126
#define EXIT_NOT_FOUND     127

static int set_variable(const char *name, const char *value) {
        if (!value)
                return -ENOMEM;
        return setenv(name, value, 1) < 0 ? -errno : 0;
}

/* "-a 0000:00:03.0 -a 0000:00:04.0", as DPDK's EAL wants to be told its devices */
static char *eal_arguments(json_object *devices) {
        char *text = strdup("");

        for (size_t i = 0; text && i < json_object_array_length(devices); i++)
                if (str_append(&text, "%s-a %s", i == 0 ? "" : " ",
                               json_object_get_string(json_object_array_get_idx(devices, i))) < 0) {
                        free(text);
                        return NULL;
                }
        return text;
}

static int exec_set_environment(const Hold *h) {
        json_object *list = json_member(h->lease, "Devices");
        _cleanup_free_ char *devices = value_describe(list), *eal = eal_arguments(list),
                            *groups = value_describe(json_member(h->lease, "Groups"));
        int r;

        r = set_variable("DMAOWNER_LEASE", hold_id(h));
        if (r < 0)
                return r;
        r = set_variable("DMAOWNER_DEVICES", devices);
        if (r < 0)
                return r;
        r = set_variable("DMAOWNER_GROUPS", groups);
        if (r < 0)
                return r;
        return set_variable("DMAOWNER_EAL_ARGS", eal);
}

/* In the child: becomes the command. What it inherits on purpose is the lifeline alone. */
static int exec_become(const Hold *h, char **command) {
        int r;

        memlock_prepare();
        r = exec_set_environment(h);
        if (r < 0)
                return report_errno(r, "environment");
        if (fcntl(h->lifeline, F_SETFD, 0) < 0)
                return report_errno(-errno, "lifeline");
        (void)signal(SIGPIPE, SIG_DFL); /* main() ignores it */
        if (sigprocmask(SIG_SETMASK, &h->former_mask, NULL) < 0)
                return report_errno(-errno, "signals");
        (void)execvp(command[0], command);
        r = errno;
        (void)report(STATUS_ERROR, NULL, "cannot run %s: %s", command[0], strerror(r));
        return r == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_INVOKE;
}

static int on_child(sd_event_source *s, const siginfo_t *si, void *userdata) {
        int *status = userdata;

        *status = si->si_code == CLD_EXITED ? si->si_status : 128 + si->si_status;
        return 0;
}

/* The lease may go while the command runs; what then happens to the command is not for us to
 * decide. */
static int exec_wait(Hold *h) {
        bool was_alive = true;
        int r, status = -1;

        r = sd_event_add_child(h->event, NULL, h->child, WEXITED, on_child, &status);
        if (r < 0)
                return report_errno(r, "child");
        while (status < 0) {
                r = sd_event_run(h->event, UINT64_MAX);
                if (r < 0)
                        return report_errno(r, "event loop");
                if (was_alive && !hold_is_alive(h)) {
                        was_alive = false;
                        (void)hold_report_end(h);
                }
        }
        return status;
}

/* Signals that came before there was a child are for us. */
static int exec_drain_signals(Hold *h) {
        int r;

        do
                r = sd_event_run(h->event, 0);
        while (r > 0);
        if (r < 0)
                return report_errno(r, "event loop");
        if (h->n_signals == 0)
                return 0;
        r = hold_release(h);
        return r != 0 ? r : 128 + h->signo;
}

int verb_exec(const Options *o) {
        _cleanup_hold_ Hold h = HOLD_NULL;
        _cleanup_free_ char *command = strdup(o->command[0]);
        int r;

        if (!command)
                return report_errno(-ENOMEM, "exec");
        r = hold_open(&h, o);
        if (r != 0)
                return r;
        r = hold_acquire(&h, o, basename(command), "lifeline");
        if (r != 0)
                return r;
        r = exec_drain_signals(&h);
        if (r != 0)
                return r;
        h.child = fork();
        if (h.child < 0)
                return report_errno(-errno, "fork");
        if (h.child == 0)
                _exit(exec_become(&h, o->command));
        return exec_wait(&h);
}
