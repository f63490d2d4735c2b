/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/bus.h"
#include "client/message-json.h"
#include "client/report.h"
#include "client/text.h"
#include "client/units.h"
#include "client/verbs.h"

/* { "released": 2 } or a line for people */
static int release_print(const Options *o, unsigned n) {
        _cleanup_json_ json_object *all = NULL;

        if (o->json == JSON_NONE) {
                printf("%u lease%s released\n", n, n == 1 ? "" : "s");
                return 0;
        }
        all = json_object_new_object();
        if (!all || json_object_object_add(all, "released", json_object_new_int64(n)) < 0)
                return report_errno(-ENOMEM, "release");
        json_print(all, o->json);
        return 0;
}

static int release_owner(sd_bus *bus, const char *owner, unsigned *ret_n) {
        _cleanup_json_ json_object *reply = NULL;
        int r;

        r = bus_call(bus, BUS_ROOT, INTERFACE_MANAGER, "ReleaseOwner", &reply, "s", owner);
        if (r != 0)
                return r;
        *ret_n = (unsigned)json_object_get_int64(json_object_array_get_idx(reply, 0));
        return 0;
}

static int release_lease(sd_bus *bus, const char *id) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = bus_find_lease(bus, id, &path);
        if (r != 0)
                return r;
        return bus_call_patiently(bus, path, INTERFACE_LEASE, "Release");
}

int verb_release(const Options *o) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r, first = 0;
        unsigned n = 0;

        if ((o->n_operands > 0) == (o->owner != NULL))
                return report(STATUS_USAGE, "\"dmaownerctl list\" shows both",
                              "release wants ids of leases or --owner=NAME");
        r = bus_connect(o, &bus);
        if (r != 0)
                return r;
        if (o->owner)
                first = release_owner(bus, o->owner, &n);
        /* one that cannot be released does not keep the others */
        for (size_t i = 0; i < o->n_operands; i++) {
                r = release_lease(bus, o->operands[i]);
                if (r == 0)
                        n++;
                else if (first == 0)
                        first = r;
        }
        r = first == 0 || n > 0 ? release_print(o, n) : 0;
        return first != 0 ? first : r;
}

int verb_renew(const Options *o) {
        _cleanup_json_ json_object *lease = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        if (o->ttl == 0)
                return report(STATUS_USAGE, NULL, "renew wants --ttl=TIME");
        r = bus_connect(o, &bus);
        if (r != 0)
                return r;
        r = bus_find_lease(bus, o->operands[0], &path);
        if (r != 0)
                return r;
        r = bus_call(bus, path, INTERFACE_LEASE, "Renew", NULL, "t",
                     o->ttl == TIME_INFINITY ? (uint64_t)0 : o->ttl);
        if (r != 0)
                return r;
        r = bus_get_properties(bus, path, INTERFACE_LEASE, &lease);
        if (r != 0)
                return r;
        if (o->json != JSON_NONE)
                json_print(lease, o->json);
        else
                printf("lease %s expires: %s\n", o->operands[0],
                       json_member(lease, "expires_at") ? json_string(lease, "expires_at")
                                                        : "never");
        return 0;
}
