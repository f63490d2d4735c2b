/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/bus.h"
#include "client/message-json.h"
#include "client/report.h"
#include "client/tree.h"
#include "client/verbs.h"

static int list_print_json(json_object *groups, json_object *leases, JsonStyle style) {
        _cleanup_json_ json_object *all = json_object_new_object();

        if (!all || json_object_object_add(all, "groups", json_object_get(groups)) < 0 ||
            json_object_object_add(all, "leases", json_object_get(leases)) < 0)
                return report_errno(-ENOMEM, "list");
        json_print(all, style);
        return 0;
}

int verb_list(const Options *o) {
        _cleanup_json_ json_object *groups = NULL, *leases = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        Look look = look_of_stdout(!o->no_legend);
        Clocks now;
        int r;

        r = bus_connect(o, &bus);
        if (r != 0)
                return r;
        r = bus_list_groups(bus, &groups);
        if (r != 0)
                return r;
        r = bus_list_leases(bus, &leases);
        if (r != 0)
                return r;
        if (o->json != JSON_NONE)
                return list_print_json(groups, leases, o->json);
        now = clocks_now();
        r = tree_print(groups, leases, &now, &look, stdout);
        if (r < 0)
                return report_errno(r, "list");
        if (json_object_array_length(groups) == 0)
                report_note("this host has no IOMMU groups: %s",
                            hint_from_error("org.dmaowner1.Error.NoIommu"));
        return 0;
}
