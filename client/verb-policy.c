/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/bus.h"
#include "client/verbs.h"

int verb_reload(const Options *o) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = bus_connect(o, &bus);
        return r != 0 ? r : bus_call(bus, BUS_ROOT, INTERFACE_MANAGER, "Reload", NULL, "");
}
