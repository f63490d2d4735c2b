/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/driver-wish.h"

#include "core/planner-private.h"
#include "util/strings.h"

void driver_wish_clear(DriverWish *w) {
        free(w->name);
        free(w->module);
        *w = (DriverWish){};
}

const char *terms_driver(const Terms *t, const Device *d) {
        if (str_empty(t->driver) || d->facts.bridge ||
            (t->devices && !strv_contains(t->devices, d->facts.name)))
                return NULL;
        return t->driver;
}

/* It has, or had, that driver: what the tables say does not matter. */
static bool device_knows(const Device *d, const char *driver) {
        return str_eq(d->facts.driver, driver) ||
               (d->record.valid && str_eq(d->record.driver, driver));
}

const DriverWish *device_wish(const Device *d, const Terms *t) {
        const char *driver = terms_driver(t, d);

        if (t->kind == OWNER_KIND_USER || !driver || device_knows(d, driver) ||
            !str_eq(d->wish.name, driver))
                return NULL;
        return &d->wish;
}

int check_wish(const Device *d, const Terms *t, Obstacles *o) {
        const DriverWish *w = device_wish(d, t);

        if (!w || w->match == DRIVER_MATCH_LISTED || w->match == DRIVER_MATCH_UNKNOWN)
                return 0;
        if (w->match == DRIVER_MATCH_MISSING)
                return obstacles_add(o, "no-such-driver", d->facts.name,
                                     "There is no driver %s on this host, and no module that is named "
                                     "like it and lists %s; if it is part of a module with another "
                                     "name, load that first",
                                     w->name, d->facts.name);
        return obstacles_add(o, "driver-not-listed", d->facts.name,
                             "%s is no driver for %s: its table of devices does not list it",
                             w->name, d->facts.name);
}

/* A driver attaches a domain of its own to one device; the kernel refuses that to a group of more. */
int check_alone(const Group *g, const Terms *t, Obstacles *o) {
        const Device *first = g->devices;

        if (t->kind != OWNER_KIND_PRIVATE_DOMAIN || g->n_devices == 1)
                return 0;
        return obstacles_add(o, "private-domain-needs-single-device", first->next->facts.name,
                             "IOMMU group %u has %zu devices, %s and %s among them: the kernel lets a "
                             "driver attach a domain of its own only where a device is alone in its "
                             "group",
                             g->id, g->n_devices, first->facts.name, first->next->facts.name);
}
