/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/libdmaowner/connection.h"

#include "client/libdmaowner/lease.h"
#include "util/strings.h"

#define THE_BUS "org.freedesktop.DBus"
#define MATCH_OWNER                                                                           \
        "type='signal',sender='" THE_BUS "',path='/org/freedesktop/DBus',interface='" THE_BUS \
        "',member='NameOwnerChanged',arg0='" BUS_NAME "'"
#define MATCH_DISCONNECTED                                                      \
        "type='signal',sender='" THE_BUS ".Local',interface='" THE_BUS ".Local" \
        "',member='Disconnected'"
#define MATCH_LEASES "type='signal',sender='" BUS_NAME "',path_namespace='" BUS_ROOT "/lease'"

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        const char *name, *former, *now;
        dmaowner *o = userdata;
        int r;

        if (!str_eq(sd_bus_message_get_sender(m), THE_BUS))
                return 0;
        r = sd_bus_message_read(m, "sss", &name, &former, &now);
        if (r < 0)
                return r;
        r = str_set(&o->daemon, now);
        if (r < 0)
                return r;
        o->daemon_is_gone = str_empty(now);
        leases_see_daemon(o);
        return 0;
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        dmaowner *o = userdata;

        o->bus_is_gone = true;
        leases_see_daemon(o);
        return 0;
}

dmaowner *dmaowner_ref(dmaowner *o) {
        o->n_ref++;
        return o;
}

dmaowner *dmaowner_unref(dmaowner *o) {
        if (!o || --o->n_ref > 0)
                return NULL;
        sd_bus_slot_unref(o->owner_changed);
        sd_bus_slot_unref(o->disconnected);
        sd_bus_slot_unref(o->wide);
        sd_bus_unref(o->bus);
        free(o->daemon);
        free(o);
        return NULL;
}

DEFINE_CLEANUP(dmaowner *, dmaowner_unref);

int dmaowner_new(dmaowner **ret, sd_bus *bus) {
        _cleanup_(dmaowner_unrefp) dmaowner *o = calloc(1, sizeof(*o));
        int r;

        if (!o)
                return -ENOMEM;
        o->n_ref = 1;
        o->bus = sd_bus_ref(bus);
        r = sd_bus_add_match_async(bus, &o->owner_changed, MATCH_OWNER, on_owner_changed, NULL, o);
        if (r >= 0)
                r = sd_bus_add_match_async(bus, &o->disconnected, MATCH_DISCONNECTED,
                                           on_disconnected, NULL, o);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(o);
        return 0;
}

int dmaowner_open(dmaowner **ret) {
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
        int r;

        r = sd_bus_open_system_with_description(&bus, "libdmaowner");
        return r < 0 ? r : dmaowner_new(ret, bus);
}

int dmaowner_get_fd(dmaowner *o) {
        return sd_bus_get_fd(o->bus);
}

int dmaowner_get_events(dmaowner *o) {
        return sd_bus_get_events(o->bus);
}

int dmaowner_get_timeout(dmaowner *o, uint64_t *ret) {
        int r = sd_bus_get_timeout(o->bus, ret);

        return r < 0 ? r : 0;
}

int dmaowner_process(dmaowner *o) {
        int r;

        dmaowner_ref(o);
        do
                r = sd_bus_process(o->bus, NULL);
        while (r > 0);
        dmaowner_unref(o);
        return r;
}

bool dmaowner_daemon_is_there(const dmaowner *o) {
        return !o->daemon_is_gone;
}

bool dmaowner_is_connected(const dmaowner *o) {
        return !o->bus_is_gone;
}

static int on_lease_signal(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        leases_see_signal(userdata, m);
        return 0;
}

int connection_widen(dmaowner *o) {
        int r = 0;

        if (!o->wide)
                r = sd_bus_add_match_async(o->bus, &o->wide, MATCH_LEASES, on_lease_signal, NULL, o);
        if (r < 0)
                return r;
        o->n_wide++;
        return 0;
}

void connection_narrow(dmaowner *o) {
        o->n_wide--;
        if (o->n_wide == 0)
                o->wide = sd_bus_slot_unref(o->wide);
}

int connection_learn_daemon(dmaowner *o, sd_bus_message *reply) {
        return str_set(&o->daemon, sd_bus_message_get_sender(reply));
}

bool connection_is_from_daemon(const dmaowner *o, sd_bus_message *m) {
        return !str_empty(o->daemon) && str_eq(sd_bus_message_get_sender(m), o->daemon);
}
