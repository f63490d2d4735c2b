/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.dmaowner1.Simulation: the side of the story that on a real host is played by hardware, other
 * programs and people. Exported on a simulated host only. */

#include <string.h>

#include "bus/bus-internal.h"

/* What the simulated kernel refuses keeps its errno; the message says more. */
static int reply(sd_bus_message *call, int r, const char *message) {
        if (r >= 0)
                return sd_bus_reply_method_return(call, "");
        return sd_bus_reply_method_errnof(call, r, "%s", message ? message : strerror(-r));
}

static int method_inject(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_free_ char *message = NULL;
        BusServer *s = userdata;
        const char *fault;
        int r = sd_bus_message_read(call, "s", &fault);

        if (r >= 0)
                r = sim_kernel_inject(manager_kernel(s->m), fault, &message);
        return reply(call, r, message);
}

static int method_clear(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        BusServer *s = userdata;

        sim_kernel_clear(manager_kernel(s->m));
        return sd_bus_reply_method_return(call, "");
}

static int method_event(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_free_ char *message = NULL;
        BusServer *s = userdata;
        const char *event;
        int r = sd_bus_message_read(call, "s", &event);

        if (r >= 0)
                r = sim_kernel_event(manager_kernel(s->m), event, &message);
        return reply(call, r, message);
}

static int method_dump(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_free_ char *host = NULL;
        BusServer *s = userdata;
        int r = sim_kernel_dump(manager_kernel(s->m), &host);

        return r < 0 ? r : sd_bus_reply_method_return(call, "s", host);
}

/* For the user who runs it and root only: no SD_BUS_VTABLE_UNPRIVILEGED on a shared bus. */
static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Inject", SD_BUS_ARGS("s", fault), SD_BUS_NO_RESULT, method_inject,
                                0),
        SD_BUS_METHOD("Clear", "", "", method_clear, 0),
        SD_BUS_METHOD_WITH_ARGS("Event", SD_BUS_ARGS("s", event), SD_BUS_NO_RESULT, method_event, 0),
        SD_BUS_METHOD_WITH_ARGS("Dump", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", host), method_dump, 0),
        SD_BUS_VTABLE_END,
};

int simulation_bus_export(BusServer *s) {
        return sd_bus_add_object_vtable(s->bus, NULL, BUS_ROOT, BUS_NAME ".Simulation", vtable, s);
}
