/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Is a group as the terms of its leases say? Where it is not, while no step of ours is under way, somebody
 * else has changed it. */
#include "core/planner-private.h"
#include "core/vfs.h"
#include "util/strings.h"

/* What is not as it should be. All NULL: nothing. */
typedef struct Deviation {
        const Device *device; /* NULL: the type of the group */
        bool override;        /* not the driver, but driver_override */
        bool joined;          /* the device came late, with a driver */
        const char *is;       /* NULL: none */
        const char *should;
} Deviation;

/* What the claim has set, so that the device stays where it is; NULL: the claim does not care. */
static const char *wanted_override(const Device *d, const Terms *t) {
        const char *driver = goal_driver(d, t);

        if (d->facts.bridge)
                return NULL;
        if (t->kind == OWNER_KIND_USER)
                return driver;
        /* where only the kernel could tell whether the driver is right, none was set */
        if (!terms_driver(t, d) || str_eq(d->record.driver, driver) ||
            str_empty(d->facts.driver_override))
                return NULL;
        return driver;
}

static bool find_driver(const Group *g, const Device *d, const Terms *t, Deviation *ret) {
        const DeviceFacts *f = &d->facts;
        bool ours = device_is_ours(g, d), user = t->kind == OWNER_KIND_USER;
        const char *goal = goal_driver(d, t);

        *ret = (Deviation){ .device = d, .is = f->driver, .should = goal };
        if (user && (f->bridge || !ours)) {
                ret->joined = !ours;
                ret->should = NULL;
                return driver_is_in_the_way(f->driver);
        }
        if (!ours || (f->bridge && t->kind == OWNER_KIND_PRIVATE_DOMAIN))
                return false;
        if (user && !terms_driver(t, d))
                return !driver_is_vfio(f->driver);
        return !str_eq(f->driver, goal);
}

static bool find_override(const Group *g, const Device *d, const Terms *t, Deviation *ret) {
        const char *wanted = device_is_ours(g, d) ? wanted_override(d, t) : NULL;

        *ret = (Deviation){
                .device = d, .override = true, .is = d->facts.driver_override, .should = wanted
        };
        return wanted && !str_eq(d->facts.driver_override, wanted);
}

/* What "auto" gave cannot be told from what is there. */
static bool find_type(const Group *g, const Terms *t, Deviation *ret) {
        const char *type = goal_type(g, t);

        *ret = (Deviation){ .is = group_type(g), .should = type };
        return type && !str_eq(type, "auto");
}

bool group_is_switched(const Group *g, const Terms *t) {
        Deviation ignored;

        if (!vfs_are_made(g, t))
                return false;
        for (const Device *d = g->devices; d; d = d->next)
                if (find_driver(g, d, t, &ignored))
                        return false;
        return !find_type(g, t, &ignored);
}

static bool find_deviation(const Group *g, const Terms *t, Deviation *ret) {
        for (const Device *d = g->devices; d; d = d->next)
                if (find_driver(g, d, t, ret) || find_override(g, d, t, ret))
                        return true;
        return find_type(g, t, ret);
}

int group_deviation(const Group *g, char **ret) {
        Deviation v;
        const char *is, *should;

        *ret = NULL;
        if (!find_deviation(g, &g->terms, &v)) {
                if (vfs_are_made(g, &g->terms))
                        return 0;
                *ret = str_format("the number of virtual functions of %s was %u and is %u now",
                                  g->terms.pf, g->terms.vfs,
                                  group_pf(g) ? group_pf(g)->facts.num_vfs : 0);
                return *ret ? 0 : -ENOMEM;
        }
        is = str_empty(v.is) ? "none" : v.is;
        should = str_empty(v.should) ? "none" : v.should;
        if (v.joined)
                *ret = str_format("%s has joined IOMMU group %u and is used by the driver %s",
                                  v.device->facts.name, g->id, is);
        else if (v.device)
                *ret = str_format("the %s of %s was %s and is %s now",
                                  v.override ? "driver_override" : "driver", v.device->facts.name,
                                  should, is);
        else
                *ret = str_format("the default domain type of IOMMU group %u was %s and is %s now",
                                  g->id, should, is);
        return *ret ? 0 : -ENOMEM;
}
