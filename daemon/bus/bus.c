/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/bus.h"

#include <string.h>
#include <utlist.h>

#include "bus/bus-internal.h"
#include "util/log.h"
#include "util/strings.h"

struct Tracked {
        BusServer *s;
        char *lease;
        sd_bus_track *track;
        Tracked *prev, *next;
};

/* holders that are connections */

static void tracked_free(Tracked *t) {
        DL_DELETE(t->s->tracked, t);
        sd_bus_track_unref(t->track);
        free(t->lease);
        free(t);
}

static int on_connection_gone(sd_bus_track *track, void *userdata) {
        Tracked *t = userdata;
        BusServer *s = t->s;
        _cleanup_free_ char *id = TAKE_PTR(t->lease);
        Lease *l = registry_lease(manager_registry(s->m), id);

        tracked_free(t);
        if (l && l->request.holder == HOLDER_CONNECTION)
                manager_surely_end_lease(s->m, l, "holder-died");
        return 0;
}

int bus_track_holder(BusServer *s, const Lease *l) {
        const char *at = strchr(l->request.holder_name, '@');
        _cleanup_free_ char *name = NULL;
        Tracked *t;
        int r;

        name = at ? strndup(l->request.holder_name, (size_t)(at - l->request.holder_name)) : NULL;
        t = calloc(1, sizeof(Tracked));
        if (!name || !t) {
                free(t);
                return -ENOMEM;
        }
        t->s = s;
        DL_APPEND(s->tracked, t);
        r = str_set(&t->lease, l->id);
        if (r >= 0)
                r = sd_bus_track_new(s->bus, &t->track, on_connection_gone, t);
        if (r >= 0)
                r = sd_bus_track_add_name(t->track, name);
        if (r < 0)
                tracked_free(t);
        return r < 0 ? r : 0;
}

/* After a restart: is the connection that holds the lease still there, and on this very bus? */
static int restore_connections(BusServer *s) {
        unsigned long long seq = 0;
        const char *at;
        Lease *l;
        int r;

        while ((l = registry_next_lease(manager_registry(s->m), seq))) {
                seq = l->seq;
                if (l->request.holder != HOLDER_CONNECTION)
                        continue;
                at = strchr(l->request.holder_name, '@');
                r = at && str_eq(at + 1, s->bus_id) ? bus_track_holder(s, l) : -ENXIO;
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        r = manager_end_lease(s->m, l, "holder-died");
                if (r < 0)
                        return r;
        }
        return 0;
}

/* signals */

static int announce(BusServer *s, const char *path, const char *interface, bool *published) {
        int r;

        if (*published)
                return sd_bus_emit_properties_changed_strv(s->bus, path, interface, NULL);
        r = sd_bus_emit_object_added(s->bus, path);
        *published = r >= 0;
        return r;
}

static int announce_group(BusServer *s, Group *g) {
        _cleanup_free_ char *path = NULL;
        int r = group_bus_path(g, &path);

        return r < 0 || g->n_devices == 0 ? r : announce(s, path, BUS_NAME ".Group", &g->published);
}

static int announce_device(BusServer *s, Device *d) {
        _cleanup_free_ char *path = NULL;
        int r = device_bus_path(d->facts.name, &path);

        return r < 0 ? r : announce(s, path, BUS_NAME ".Device", &d->published);
}

/* Once for each time that it is asked. */
static int announce_revocation(BusServer *s, Lease *l, const char *path) {
        int r;

        if (l->state != LEASE_REVOKING || l->revocation.told)
                return 0;
        r = sd_bus_emit_signal(s->bus, path, BUS_NAME ".Lease", "RevokeRequested", "st",
                               l->revocation.reason, l->revocation.deadline);
        l->revocation.told = r >= 0;
        return r;
}

static int announce_lease(BusServer *s, Lease *l) {
        _cleanup_free_ char *path = NULL;
        int r;

        if (!l->published && lease_state_is_over(l->state))
                return 0; /* refused before anybody heard of it */
        r = lease_bus_path(l, &path);
        if (r >= 0)
                r = announce(s, path, BUS_NAME ".Lease", &l->published);
        if (r >= 0)
                r = announce_revocation(s, l, path);
        if (r < 0 || !lease_state_is_over(l->state))
                return r;
        return sd_bus_emit_signal(s->bus, path, BUS_NAME ".Lease", "Ended", "s",
                                  l->ended                    ? l->ended
                                  : fault_is_set(&l->failure) ? l->failure.message
                                                              : lease_state_to_string(l->state));
}

static int on_changed(const Changes *c, void *userdata) {
        BusServer *s = userdata;
        int r = 0;

        /* Signals go to everybody, whoever's call caused them. */
        s->signalling = true;
        for (size_t i = 0; r >= 0 && i < c->n_devices; i++)
                r = announce_device(s, c->devices[i]);
        for (size_t i = 0; r >= 0 && i < c->n_groups; i++)
                r = announce_group(s, c->groups[i]);
        for (size_t i = 0; r >= 0 && i < c->n_leases; i++)
                r = announce_lease(s, c->leases[i]);
        s->signalling = false;
        if (r < 0)
                log_warning("Cannot tell what changed yet: %s", strerror(-r));
        return r;
}

/* All that sd_bus_emit_object_added() told; the object need not exist any more. */
static void emit_removed(BusServer *s, int r, const char *path, const char *interface) {
        if (r >= 0)
                r = sd_bus_emit_interfaces_removed(s->bus, path, interface,
                                                   "org.freedesktop.DBus.Introspectable",
                                                   "org.freedesktop.DBus.Peer",
                                                   "org.freedesktop.DBus.Properties", NULL);
        if (r < 0)
                log_warning("Cannot tell that %s is gone: %s", path ? path : "an object",
                            strerror(-r));
}

static void on_lease_gone(const Lease *l, void *userdata) {
        _cleanup_free_ char *path = NULL;
        BusServer *s = userdata;
        int r = lease_bus_path(l, &path);
        Tracked *t, *next;

        DL_FOREACH_SAFE(s->tracked, t, next)
        if (str_eq(t->lease, l->id))
                tracked_free(t);
        if (l->published)
                emit_removed(s, r, path, BUS_NAME ".Lease");
}

static void on_group_gone(unsigned id, void *userdata) {
        Group group = { .id = id };
        _cleanup_free_ char *path = NULL;
        int r = group_bus_path(&group, &path);

        emit_removed(userdata, r, path, BUS_NAME ".Group");
}

static void on_device_gone(const char *name, void *userdata) {
        _cleanup_free_ char *path = NULL;
        int r = device_bus_path(name, &path);

        emit_removed(userdata, r, path, BUS_NAME ".Device");
}

/* life */

static int open_bus(const char *address, sd_bus **ret) {
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
        int r;

        if (strcmp(address, "system") == 0)
                return sd_bus_open_system(ret);
        if (strcmp(address, "user") == 0)
                return sd_bus_open_user(ret);
        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_address(bus, address);
        if (r >= 0)
                r = sd_bus_set_bus_client(bus, 1);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r >= 0)
                *ret = TAKE_PTR(bus);
        return r;
}

/* Anybody may send a signal to anybody, and libsystemd lets it pass a match for a sender whose name is not
 * unique: that a holder has gone, for one. Only the bus itself has something to tell us alone. */
static int drop_forged(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        uint8_t type;
        int r = sd_bus_message_get_type(m, &type);

        if (r < 0)
                return r;
        return type == SD_BUS_MESSAGE_SIGNAL && sd_bus_message_get_destination(m) &&
               !str_eq(sd_bus_message_get_sender(m), "org.freedesktop.DBus");
}

/* Both end the loop when they are lost. */
static int connect_bus(sd_event *event, const char *address, sd_bus **ret) {
        int r;

        r = open_bus(address, ret);
        if (r >= 0)
                r = sd_bus_add_filter(*ret, NULL, drop_forged, NULL);
        if (r >= 0)
                r = sd_bus_set_exit_on_disconnect(*ret, 1);
        return r < 0 ? r : sd_bus_attach_event(*ret, event, SD_EVENT_PRIORITY_NORMAL);
}

int bus_server_new(sd_event *event, const char *address, Manager *m, BusServer **ret) {
        _cleanup_(bus_server_freep) BusServer *s = calloc(1, sizeof(BusServer));
        sd_id128_t id;
        int r;

        if (!s)
                return -ENOMEM;
        s->m = m;
        r = bus_caller_init(s);
        if (r >= 0)
                r = connect_bus(event, address, &s->bus);
        if (r >= 0)
                r = connect_bus(event, address, &s->asking);
        if (r >= 0)
                r = bus_pending_init(s, event);
        if (r >= 0)
                r = sd_bus_get_bus_id(s->bus, &id);
        /* calls wait until the event loop runs */
        if (r >= 0)
                r = sd_bus_request_name(s->bus, BUS_NAME, 0);
        if (r < 0)
                return r;
        s->bus_id = str_format(SD_ID128_FORMAT_STR, SD_ID128_FORMAT_VAL(id));
        if (!s->bus_id)
                return -ENOMEM;
        *ret = TAKE_PTR(s);
        return 0;
}

int bus_server_start(BusServer *s) {
        const ManagerEvents events = {
                .changed = on_changed,
                .lease_gone = on_lease_gone,
                .group_gone = on_group_gone,
                .device_gone = on_device_gone,
                .userdata = s,
        };
        int r;

        s->simulated = str_eq(manager_kernel(s->m)->ops->name, "simulated");
        r = sd_bus_add_object_manager(s->bus, NULL, BUS_ROOT);
        if (r >= 0)
                r = manager_bus_export(s);
        if (r >= 0)
                r = group_bus_export(s);
        if (r >= 0)
                r = device_bus_export(s);
        if (r >= 0)
                r = lease_bus_export(s);
        if (r >= 0 && s->simulated)
                r = simulation_bus_export(s);
        if (r < 0)
                return r;
        for (Group *g = registry_groups(manager_registry(s->m)); g; g = g->hh.next)
                g->published = true;
        for (Device *d = registry_devices(manager_registry(s->m)); d; d = d->hh.next)
                d->published = true;
        for (Lease *l = registry_leases(manager_registry(s->m)); l; l = l->hh.next)
                l->published = true;
        manager_set_events(s->m, &events);
        r = restore_connections(s);
        return r < 0 ? r : 0;
}

BusServer *bus_server_free(BusServer *s) {
        if (!s)
                return NULL;
        manager_answer_all(s->m);
        while (s->tracked)
                tracked_free(s->tracked);
        for (size_t i = 0; i < PEERS; i++) {
                free(s->peers[i].name);
                caller_clear(&s->peers[i].caller);
        }
        free(s->bus_id);
        bus_authorise_end(s);
        bus_pending_end(s);
        sd_bus_flush_close_unref(s->bus);
        sd_bus_close_unref(s->asking);
        free(s);
        return NULL;
}
