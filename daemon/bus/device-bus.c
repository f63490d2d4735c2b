/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "bus/bus-internal.h"
#include "core/use.h"
#include "util/strings.h"

#define PREFIX BUS_ROOT "/device"

/* properties */

static int append_text(sd_bus_message *m, const char *text) {
        return sd_bus_message_append(m, "s", text ? text : "");
}

static int append_name(sd_bus_message *m, const void *object, const Caller *caller) {
        const Device *d = object;

        return append_text(m, d->facts.name);
}

static int append_bus(sd_bus_message *m, const void *object, const Caller *caller) {
        const Device *d = object;

        return append_text(m, d->facts.bus);
}

/* "8086 Intel Corporation": number and, where hwdb knows it, name */
static int append_number_and_name(sd_bus_message *m, unsigned number, const char *name) {
        _cleanup_free_ char *text = str_format("%04x%s%s", number, name ? " " : "",
                                               name ? name : "");

        return text ? append_text(m, text) : -ENOMEM;
}

static int append_vendor(sd_bus_message *m, const void *object, const Caller *caller) {
        const Device *d = object;

        return append_number_and_name(m, d->facts.vendor, d->facts.vendor_name);
}

static int append_model(sd_bus_message *m, const void *object, const Caller *caller) {
        const Device *d = object;

        return append_number_and_name(m, d->facts.model, d->facts.model_name);
}

static int append_class(sd_bus_message *m, const void *object, const Caller *caller) {
        const Device *d = object;
        _cleanup_free_ char *text = str_format("%06x", d->facts.class_code);

        return text ? append_text(m, text) : -ENOMEM;
}

static int append_driver(sd_bus_message *m, const void *object, const Caller *caller) {
        const Device *d = object;

        return append_text(m, d->facts.driver);
}

static int append_driver_override(sd_bus_message *m, const void *object, const Caller *caller) {
        const Device *d = object;

        return append_text(m, d->facts.driver_override);
}

static int append_host_driver(sd_bus_message *m, const void *object, const Caller *caller) {
        const Device *d = object;

        return append_text(m, d->record.valid ? d->record.driver : d->facts.driver);
}

static int append_group(sd_bus_message *m, const void *object, const Caller *caller) {
        const Device *d = object;

        return sd_bus_message_append(m, "i", d->facts.group);
}

static int append_in_use(sd_bus_message *m, const void *object, const Caller *caller) {
        const Device *d = object;

        return append_text(m, d->in_use);
}

static int append_held_back(sd_bus_message *m, const void *object, const Caller *caller) {
        const Device *d = object;
        _cleanup_free_ char *text = NULL;
        bool named = caller && caller_may_see(caller, d->use.owner.uid);
        int r = device_describe_gate(d, named, &text);

        return r < 0 ? r : append_text(m, text);
}

static int append_numa_node(sd_bus_message *m, const void *object, const Caller *caller) {
        const Device *d = object;

        return sd_bus_message_append(m, "i", d->facts.numa_node);
}

const BusProperty device_properties[] = {
        { "Name", "s", append_name },
        { "Bus", "s", append_bus },
        { "Vendor", "s", append_vendor },
        { "Model", "s", append_model },
        { "Class", "s", append_class },
        { "Driver", "s", append_driver },
        { "DriverOverride", "s", append_driver_override },
        { "HostDriver", "s", append_host_driver },
        { "Group", "i", append_group },
        { "InUse", "s", append_in_use },
        { "HeldBack", "s", append_held_back },
        { "NumaNode", "i", append_numa_node },
        {},
};

/* objects */

int device_bus_path(const char *name, char **ret) {
        return sd_bus_path_encode(PREFIX, name, ret);
}

static Device *device_of(BusServer *s, const char *path) {
        _cleanup_free_ char *name = NULL;

        if (sd_bus_path_decode(path, PREFIX, &name) <= 0)
                return NULL;
        return registry_device(manager_registry(s->m), name);
}

static int find(sd_bus *bus, const char *path, const char *interface, void *userdata,
                void **ret_found, sd_bus_error *error) {
        BusServer *s = userdata;

        if (!device_of(s, path))
                return 0;
        *ret_found = s;
        return 1;
}

static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        BusServer *s = userdata;
        const Device *d = device_of(s, path);

        return d ? bus_property_get(s, device_properties, property, reply, d) : -ENOENT;
}

static int enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes,
                     sd_bus_error *error) {
        _cleanup_(strv_freep) char **nodes = NULL;
        BusServer *s = userdata;
        size_t n = 0;

        nodes = calloc(HASH_COUNT(registry_devices(manager_registry(s->m))) + 1, sizeof(char *));
        if (!nodes)
                return -ENOMEM;
        for (Device *d = registry_devices(manager_registry(s->m)); d; d = d->hh.next)
                if (device_bus_path(d->facts.name, &nodes[n++]) < 0)
                        return -ENOMEM;
        *ret_nodes = TAKE_PTR(nodes);
        return 1;
}

#define CONST   SD_BUS_VTABLE_PROPERTY_CONST
#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Name", "s", get_property, 0, CONST),
        SD_BUS_PROPERTY("Bus", "s", get_property, 0, CONST),
        SD_BUS_PROPERTY("Vendor", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Model", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Class", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Driver", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("DriverOverride", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("HostDriver", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Group", "i", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("InUse", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("HeldBack", "s", get_property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
        SD_BUS_PROPERTY("NumaNode", "i", get_property, 0, CHANGES),
        SD_BUS_VTABLE_END,
};

int device_bus_export(BusServer *s) {
        int r = sd_bus_add_fallback_vtable(s->bus, NULL, PREFIX, BUS_NAME ".Device", vtable, find,
                                           s);

        return r < 0 ? r : sd_bus_add_node_enumerator(s->bus, NULL, PREFIX, enumerate, s);
}
