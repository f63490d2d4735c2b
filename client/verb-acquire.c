/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "client/bus.h"
#include "client/describe.h"
#include "client/hold.h"
#include "client/message-json.h"
#include "client/report.h"
#include "client/verbs.h"
#include "util/strings.h"

/* "l7  active  0000:00:03.0  group 12  expires never": the id comes first, for scripts. */
static int acquire_print_line(json_object *lease) {
        _cleanup_free_ char *devices = value_describe(json_member(lease, "Devices")),
                            *groups = value_describe(json_member(lease, "Groups"));

        if (!devices || !groups)
                return -ENOMEM;
        printf("%s  %s  %s  group %s  expires %s\n", json_string(lease, "Id"),
               json_string(lease, "State"), devices, groups,
               json_member(lease, "expires_at") ? json_string(lease, "expires_at") : "never");
        return 0;
}

static int acquire_print(const Hold *h, const Options *o) {
        _cleanup_json_ json_object *lease = NULL;
        int r;

        r = bus_get_properties(h->bus, dmaowner_lease_get_path(h->lease), INTERFACE_LEASE, &lease);
        if (r != 0)
                return r;
        if (o->json != JSON_NONE)
                json_print(lease, o->json);
        else if (acquire_print_line(lease) < 0)
                return report_errno(-ENOMEM, "lease");
        /* who waits for this line is not to wait until the lease ends */
        (void)fflush(stdout);
        return 0;
}

static int acquire_hold(Hold *h) {
        int r;

        report_note("holding lease %s; Ctrl-C releases it", dmaowner_lease_get_id(h->lease));
        /* as a service (dmaowner-lease@.service), which others wait for */
        r = sd_notifyf(0, "READY=1\nSTATUS=Holding lease %s", dmaowner_lease_get_id(h->lease));
        if (r < 0)
                return report_errno(r, "cannot tell the service manager");
        while (h->n_signals == 0 && !dmaowner_lease_is_over(h->lease)) {
                if (!dmaowner_is_connected(h->connection))
                        return report(STATUS_NO_DAEMON, NULL,
                                      "the bus went away, and lease %s with it",
                                      dmaowner_lease_get_id(h->lease));
                r = hold_run(h);
                if (r != 0)
                        return r;
        }
        if (dmaowner_lease_is_over(h->lease))
                return hold_report_end(h);
        r = hold_release(h);
        if (r == 0)
                report_note("lease %s is released", dmaowner_lease_get_id(h->lease));
        return r;
}

int verb_acquire(const Options *o) {
        const char *holder = o->holder ? o->holder : "lifeline";
        bool by_process = strcmp(holder, "process") == 0;
        _cleanup_hold_ Hold h = HOLD_NULL;
        int r;

        if (by_process != (o->pid > 0))
                return report(STATUS_USAGE, NULL, "--holder=process and --pid go together");
        r = hold_open(&h, o);
        if (r != 0)
                return r;
        r = hold_acquire(&h, o, NULL, holder);
        if (r != 0)
                return r;
        r = acquire_print(&h, o);
        if (r != 0)
                return r;
        if (by_process || strcmp(holder, "none") == 0)
                return 0;
        return acquire_hold(&h);
}
