/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "bus/bus-internal.h"
#include "util/strings.h"

#define PREFIX BUS_ROOT "/group"

/* properties */

static int append_id(sd_bus_message *m, const void *object, const Caller *caller) {
        const Group *g = object;

        return sd_bus_message_append(m, "u", g->id);
}

static int append_state(sd_bus_message *m, const void *object, const Caller *caller) {
        const Group *g = object;

        return sd_bus_message_append(m, "s", group_state_to_string(g->state));
}

static int append_kind(sd_bus_message *m, const void *object, const Caller *caller) {
        const Group *g = object;

        return sd_bus_message_append(m, "s",
                                     g->state == GROUP_FREE ? ""
                                                            : owner_kind_to_string(g->terms.kind));
}

static int append_owner(sd_bus_message *m, const void *object, const Caller *caller) {
        static const Owner nobody = { .uid = UINT32_MAX };
        const Group *g = object;

        return bus_append_owner(m, g->state == GROUP_FREE ? &nobody : &g->owner, caller);
}

static int append_count(sd_bus_message *m, const void *object, const Caller *caller) {
        const Group *g = object;

        return sd_bus_message_append(m, "u", g->count);
}

static int append_claimed(sd_bus_message *m, const void *object, const Caller *caller) {
        return sd_bus_message_append(m, "b", (int)manager_group_is_claimed(object));
}

static int append_type(sd_bus_message *m, const void *object, const Caller *caller) {
        const char *type = group_type(object);

        return sd_bus_message_append(m, "s", type ? type : "");
}

static int append_devices(sd_bus_message *m, const void *object, const Caller *caller) {
        const Group *g = object;
        int r = sd_bus_message_open_container(m, 'a', "s");

        for (const Device *d = g->devices; r >= 0 && d; d = d->next)
                r = sd_bus_message_append(m, "s", d->facts.name);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_leases(sd_bus_message *m, const void *object, const Caller *caller) {
        const Group *g = object;
        int r = sd_bus_message_open_container(m, 'a', "s");

        for (size_t i = 0; r >= 0 && i < g->n_leases; i++)
                r = sd_bus_message_append(m, "s", g->leases[i]->id);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_queue(sd_bus_message *m, const void *object, const Caller *caller) {
        const Group *g = object;
        int r = sd_bus_message_open_container(m, 'a', "s");

        for (size_t i = 0; r >= 0 && i < g->n_queue; i++)
                r = sd_bus_message_append(m, "s", g->queue[i]->id);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_waits_for(sd_bus_message *m, const void *object, const Caller *caller) {
        const Group *g = object;

        return sd_bus_message_append(m, "s", g->waits_for ? g->waits_for : "");
}

const BusProperty group_properties[] = {
        { "Id", "u", append_id },
        { "State", "s", append_state },
        { "OwnerKind", "s", append_kind },
        { "Owner", "(us)", append_owner },
        { "Count", "u", append_count },
        { "Claimed", "b", append_claimed },
        { "DefaultDomainType", "s", append_type },
        { "Devices", "as", append_devices },
        { "Leases", "as", append_leases },
        { "Queue", "as", append_queue },
        { "WaitsFor", "s", append_waits_for },
        {},
};

/* objects */

int group_bus_path(const Group *g, char **ret) {
        char *path = str_format(PREFIX "/%u", g->id);

        if (!path)
                return -ENOMEM;
        *ret = path;
        return 0;
}

static int find(sd_bus *bus, const char *path, const char *interface, void *userdata,
                void **ret_found, sd_bus_error *error) {
        BusServer *s = userdata;
        unsigned long long id;
        Group *g;

        if (!str_starts(path, PREFIX "/") || parse_u64(path + strlen(PREFIX "/"), 10, &id) < 0 ||
            id > UINT32_MAX)
                return 0;
        g = registry_group(manager_registry(s->m), (unsigned)id);
        if (!g)
                return 0;
        *ret_found = s;
        return 1;
}

/* sd-bus hands one pointer to getters and methods: the server; the object comes from the path. */
static Group *group_of(BusServer *s, const char *path) {
        unsigned long long id = 0;

        if (parse_u64(path + strlen(PREFIX "/"), 10, &id) < 0)
                return NULL;
        return registry_group(manager_registry(s->m), (unsigned)id);
}

static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        BusServer *s = userdata;
        const Group *g = group_of(s, path);

        return g ? bus_property_get(s, group_properties, property, reply, g) : -ENOENT;
}

static int enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes,
                     sd_bus_error *error) {
        _cleanup_(strv_freep) char **nodes = NULL;
        BusServer *s = userdata;
        size_t n = 0;

        nodes = calloc(HASH_COUNT(registry_groups(manager_registry(s->m))) + 1, sizeof(char *));
        if (!nodes)
                return -ENOMEM;
        for (Group *g = registry_groups(manager_registry(s->m)); g; g = g->hh.next)
                if (group_bus_path(g, &nodes[n++]) < 0)
                        return -ENOMEM;
        *ret_nodes = TAKE_PTR(nodes);
        return 1;
}

/* methods */

static int administer(sd_bus_message *call, BusServer *s, sd_bus_message_handler_t handler,
                      int (*act)(Manager *, Group *, Fault *)) {
        Group *g = group_of(s, sd_bus_message_get_path(call));
        _cleanup_fault_ Fault fault = FAULT_NULL;
        int r;

        r = bus_may_manage(s, call, handler, NULL, MANAGE_ADMINISTER, &fault);
        if (r > 0)
                return r;
        if (r == 0)
                r = g ? act(s->m, g, &fault) : -ENOENT;
        return r < 0 ? bus_refuse(s, call, r, &fault) : sd_bus_reply_method_return(call, "");
}

static int method_retry(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        return administer(call, userdata, method_retry, manager_retry);
}

static int method_accept(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        return administer(call, userdata, method_accept, manager_accept);
}

#define CONST   SD_BUS_VTABLE_PROPERTY_CONST
#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Retry", "", "", method_retry, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Accept", "", "", method_accept, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Id", "u", get_property, 0, CONST),
        SD_BUS_PROPERTY("State", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("OwnerKind", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Owner", "(us)", get_property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
        SD_BUS_PROPERTY("Count", "u", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Claimed", "b", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("DefaultDomainType", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Devices", "as", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Leases", "as", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Queue", "as", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("WaitsFor", "s", get_property, 0, CHANGES),
        SD_BUS_VTABLE_END,
};

int group_bus_export(BusServer *s) {
        int r = sd_bus_add_fallback_vtable(s->bus, NULL, PREFIX, BUS_NAME ".Group", vtable, find, s);

        return r < 0 ? r : sd_bus_add_node_enumerator(s->bus, NULL, PREFIX, enumerate, s);
}
