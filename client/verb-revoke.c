/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "client/bus.h"
#include "client/message-json.h"
#include "client/report.h"
#include "client/units.h"
#include "client/verbs.h"

#define DEADLINE_USEC 30000000ULL

int verb_revoke(const Options *o) {
        const char *reason = o->reason ? o->reason : "an administrator wants it back";
        _cleanup_json_ json_object *lease = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        r = bus_connect(o, &bus);
        if (r != 0)
                return r;
        r = bus_find_lease(bus, o->operands[0], &path);
        if (r != 0)
                return r;
        r = bus_call(bus, path, INTERFACE_LEASE, "Revoke", NULL, "st", reason,
                     o->has_deadline ? o->deadline : DEADLINE_USEC);
        if (r != 0)
                return r;
        if (o->json == JSON_NONE) {
                printf("lease %s is asked to leave\n", o->operands[0]);
                return 0;
        }
        lease = json_object_new_object();
        if (!lease ||
            json_object_object_add(lease, "revoked", json_object_new_string(o->operands[0])) < 0)
                return report_errno(-ENOMEM, "revoke");
        json_print(lease, o->json);
        return 0;
}
