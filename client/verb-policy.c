/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "client/bus.h"
#include "client/names.h"
#include "client/report.h"
#include "client/verbs.h"
#include "config/policy-file.h"
#include "util/strings.h"

int verb_reload(const Options *o) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = bus_connect(o, &bus);
        return r != 0 ? r : bus_call(bus, BUS_ROOT, INTERFACE_MANAGER, "Reload", NULL, "");
}

/* Needs no daemon: the file may be one that is not installed yet. */
int verb_policy(const Options *o) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        _cleanup_free_ char *message = NULL;
        int r;

        if (!str_eq(o->operands[0], "check"))
                return report(STATUS_USAGE, NULL, "policy wants: check FILE");
        r = policy_new(&policy);
        if (r == 0)
                r = policy_read_file(policy, o->operands[1], &message);
        if (r == 0) {
                printf("%s is right: %zu rule%s\n", o->operands[1], policy->n,
                       policy->n == 1 ? "" : "s");
                return 0;
        }
        return message ? report(STATUS_ERROR, "dmaownerd.json(5) has all keys", "%s", message)
                       : report_errno(r, o->operands[1]);
}

/* What administrators say of devices, one after the other. */
static int call_for_devices(const Options *o, const char *method) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = bus_connect(o, &bus);
        for (size_t i = 0; r == 0 && i < o->n_operands; i++) {
                _cleanup_free_ char *name = device_name_normalise(o->operands[i]);

                if (!name)
                        return report_errno(-ENOMEM, method);
                r = bus_call(bus, BUS_ROOT, INTERFACE_MANAGER, method, NULL, "as", 1, name);
        }
        return r;
}

int verb_clean(const Options *o) {
        return call_for_devices(o, "MarkClean");
}

int verb_restore(const Options *o) {
        return call_for_devices(o, "Restore");
}
