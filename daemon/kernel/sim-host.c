/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The model of the kernel: drivers, devices, groups, and who counts as an owner of a group's DMA.
 * A group's owner count is the number of bound drivers that manage no DMA of their own
 * (kernel_users), or 1 if user space has claimed it; never both.
 */
#include "kernel/sim.h"

#include <string.h>

#include "util/strings.h"

SimDriver *sim_driver(Sim *sim, const char *name) {
        SimDriver *driver;

        HASH_FIND_STR(sim->drivers, name, driver);
        return driver;
}

SimDriver *sim_driver_free(SimDriver *d) {
        if (!d)
                return NULL;
        free(d->name);
        free(d->module);
        free(d);
        return NULL;
}
DEFINE_CLEANUP(SimDriver *, sim_driver_free);

SimDriver *sim_driver_get(Sim *sim, const char *name) {
        _cleanup_(sim_driver_freep) SimDriver *new = NULL;
        SimDriver *driver = sim_driver(sim, name);

        if (driver)
                return driver;
        new = calloc(1, sizeof(SimDriver));
        if (!new || str_set(&new->name, name) < 0 || str_set(&new->module, name) < 0)
                return NULL;
        for (char *c = new->module; *c; c++)
                if (*c == '-')
                        *c = '_';
        new->loaded = !driver_is_vfio(name);
        HASH_ADD_KEYPTR(hh, sim->drivers, new->name, strlen(new->name), new);
        return new->hh.tbl ? TAKE_PTR(new) : NULL;
}

SimDevice *sim_device(Sim *sim, const char *name) {
        SimDevice *d;

        HASH_FIND_STR(sim->devices, name, d);
        return d;
}

SimDevice *sim_device_free(SimDevice *d) {
        if (!d)
                return NULL;
        device_facts_clear(&d->facts);
        (void)strv_free(d->matches);
        (void)strv_free(d->reset);
        (void)strv_free(d->remembered);
        free(d->vf_settings);
        free(d->vf_remembered);
        obstacles_clear(&d->in_use);
        sim_pipe_close(&d->cdev_file, NULL);
        free(d);
        return NULL;
}

SimGroup *sim_group(Sim *sim, unsigned id) {
        SimGroup *g;

        HASH_FIND(hh, sim->groups, &id, sizeof(id), g);
        return g;
}

SimGroup *sim_group_free(SimGroup *g) {
        if (!g)
                return NULL;
        sd_event_source_unref(g->udev);
        sim_pipe_close(&g->claim, NULL);
        while (g->files) {
                SimFile *f = g->files;

                g->files = f->next;
                sim_file_free(f);
        }
        free(g->type);
        free(g->forced_type);
        free(g);
        return NULL;
}
DEFINE_CLEANUP(SimGroup *, sim_group_free);

SimGroup *sim_group_get(Sim *sim, unsigned id) {
        _cleanup_(sim_group_freep) SimGroup *new = NULL;
        SimGroup *g = sim_group(sim, id);

        if (g)
                return g;
        new = malloc(sizeof(SimGroup));
        if (!new)
                return NULL;
        *new = (SimGroup){ .id = id, .node = SIM_NODE_NEW, .claim = SIM_PIPE_NULL, .sim = sim };
        if (str_set(&new->type, sim->default_type) < 0)
                return NULL;
        HASH_ADD(hh, sim->groups, id, sizeof(new->id), new);
        return new->hh.tbl ? TAKE_PTR(new) : NULL;
}

void sim_group_drop_if_empty(SimGroup *g) {
        if (g->n_devices > 0 || g->lock)
                return;
        HASH_DEL(g->sim->groups, g);
        sim_group_free(g);
}

void sim_device_news(Sim *sim, SimDevice *d, unsigned news) {
        if (d->news == 0) {
                d->news_next = NULL;
                *sim->news_tail = d;
                sim->news_tail = &d->news_next;
        }
        d->news |= news;
        sim_wake(sim);
}

int sim_device_add(Sim *sim, SimDevice *d) {
        SimGroup *g = NULL;

        if (d->facts.group >= 0) {
                g = sim_group_get(sim, (unsigned)d->facts.group);
                if (!g || str_set(&d->facts.default_domain_type, g->type) < 0)
                        return -ENOMEM;
        }
        d->facts.strict_type = sim->strict_type;
        HASH_ADD_KEYPTR(hh, sim->devices, d->facts.name, strlen(d->facts.name), d);
        if (!d->hh.tbl)
                return -ENOMEM;
        d->group = g;
        if (g) {
                d->next = g->devices;
                g->devices = d;
                g->n_devices++;
        }
        sim_device_news(sim, d, SIM_SEEN);
        return 0;
}

bool sim_group_is_claimed(const SimGroup *g) {
        for (const SimFile *f = g->files; f; f = f->next)
                if (!f->cdev)
                        return true;
        for (const SimDevice *d = g->devices; d; d = d->next)
                if (d->cdev == SIM_CDEV_BOUND)
                        return true;
        return g->claimed;
}

unsigned sim_group_owner_count(const SimGroup *g) {
        return g->kernel_users + (sim_group_is_claimed(g) ? 1 : 0);
}

static bool driver_counts(const char *driver) {
        return driver && !driver_is_harmless(driver);
}

const SimDevice *sim_group_kernel_owner(const SimGroup *g) {
        for (const SimDevice *d = g->devices; d; d = d->next)
                if (driver_counts(d->facts.driver))
                        return d;
        return NULL;
}

/* driver_override alone decides where it is set; VFIO drivers match by nothing else. */
static bool device_matches(const SimDevice *d, const char *driver) {
        if (!str_empty(d->facts.driver_override))
                return str_eq(d->facts.driver_override, driver);
        return strv_contains(d->matches, driver);
}

/* What happens when probe() has succeeded. */
int sim_device_attach(Sim *sim, SimDevice *d, const SimDriver *driver) {
        if (str_set(&d->facts.driver, driver->name) < 0)
                return -ENOMEM;
        if (d->group) {
                if (driver_counts(driver->name))
                        d->group->kernel_users++;
                if (driver_is_vfio(driver->name) && d->group->vfio_users++ == 0)
                        sim_node_appear(d->group);
                sim_group_retry(d->group);
        }
        sim_device_news(sim, d, SIM_SEEN);
        return 0;
}

static void device_detach(Sim *sim, SimDevice *d) {
        if (!d->facts.driver)
                return;
        if (d->group) {
                if (driver_counts(d->facts.driver))
                        d->group->kernel_users--;
                if (driver_is_vfio(d->facts.driver) && --d->group->vfio_users == 0)
                        sim_node_vanish(d->group);
                sim_group_retry(d->group);
        }
        free(d->facts.driver);
        d->facts.driver = NULL;
        /* interfaces and disks went with the driver */
        if (d->in_use.n > 0) {
                obstacles_clear(&d->in_use);
                sim_device_news(sim, d, SIM_USE_CHANGED);
        }
        sim_device_news(sim, d, SIM_SEEN);
}

/* The bus's dma_configure: a kernel driver becomes an owner of the group. */
static int device_use_default_domain(const SimDevice *d, const SimDriver *driver) {
        if (d->group && driver_counts(driver->name) && sim_group_is_claimed(d->group))
                return -EBUSY;
        return 0;
}

static int device_call_probe(Sim *sim, SimDevice *d, const SimDriver *driver) {
        if (driver->fails > 0)
                return -driver->fails;
        if (driver_is_vfio(driver->name)) {
                if (!d->group || d->facts.bridge)
                        return -EINVAL;
                if (d->facts.num_vfs > 0)
                        return -EBUSY;
        }
        return sim_device_attach(sim, d, driver);
}

int sim_device_bind(Sim *sim, SimDevice *d, const char *name) {
        const SimDriver *driver = sim_driver(sim, name);
        int r;

        if (!driver || !driver->loaded)
                return -ENOENT;
        if (!device_matches(d, name))
                return -ENODEV;
        if (d->pending != SIM_PENDING_NONE)
                return SIM_HANGS;
        if (d->facts.driver)
                return -EBUSY;
        r = device_use_default_domain(d, driver);
        return r < 0 ? r : device_call_probe(sim, d, driver);
}

/* Those that somebody has open go later. */
static void device_unplug_vfs(Sim *sim, SimDevice *physfn) {
        SimDevice *d, *next;

        if (physfn->facts.num_vfs == 0)
                return;
        HASH_ITER(hh, sim->devices, d, next) {
                if (!str_eq(d->facts.physfn, physfn->facts.name))
                        continue;
                d->pending = SIM_PENDING_UNPLUG;
                sim_device_settle(sim, d);
        }
}

/* Most drivers remove the VFs first. True if that takes its time. */
static bool device_waits_for_vfs(Sim *sim, SimDevice *d) {
        const SimDriver *driver = d->facts.driver ? sim_driver(sim, d->facts.driver) : NULL;

        if (driver && driver->keeps_vfs)
                return false;
        device_unplug_vfs(sim, d);
        return d->facts.num_vfs > 0;
}

int sim_device_unbind(Sim *sim, SimDevice *d, const char *driver) {
        if (str_empty(driver) || !str_eq(d->facts.driver, driver))
                return -ENODEV;
        if (d->pending != SIM_PENDING_NONE)
                return SIM_HANGS;
        d->pending = SIM_PENDING_UNBIND;
        sim_device_settle(sim, d);
        return d->pending != SIM_PENDING_NONE ? SIM_HANGS : 0;
}

/* One driver of drivers_probe. 1: it is bound; 0: try the next. */
static int device_try_driver(Sim *sim, SimDevice *d, const char *name) {
        const SimDriver *driver = sim_driver(sim, name);
        int r;

        if (!driver || !driver->loaded || !device_matches(d, name))
                return 0;
        r = device_use_default_domain(d, driver);
        if (r < 0)
                return r;
        r = device_call_probe(sim, d, driver);
        if (r == -ENOMEM)
                return r;
        return r == 0;
}

int sim_device_probe(Sim *sim, SimDevice *d) {
        int r = 0;

        if (d->pending != SIM_PENDING_NONE)
                return SIM_HANGS;
        if (d->facts.driver)
                return 0;
        if (!str_empty(d->facts.driver_override))
                r = device_try_driver(sim, d, d->facts.driver_override);
        else
                for (char **name = d->matches; name && *name && r == 0; name++)
                        r = device_try_driver(sim, d, *name);
        /* whatever the reason was, drivers_probe has only one word for it */
        return r < 0 ? -EINVAL : 0;
}

int sim_device_set_override(Sim *sim, SimDevice *d, const char *driver) {
        if (d->pending != SIM_PENDING_NONE && sim->override_locks)
                return SIM_HANGS;
        return str_set(&d->facts.driver_override, str_empty(driver) ? NULL : driver);
}

bool sim_type_is_known(const char *type) {
        return str_eq(type, "DMA") || str_eq(type, "DMA-FQ") || str_eq(type, "identity");
}

static int group_change_type(SimGroup *g, const char *type) {
        if (g->forced_type && !str_eq(g->forced_type, type))
                return -EINVAL;
        if (str_eq(g->type, type))
                return 0;
        /* the kernel tells nobody */
        for (SimDevice *d = g->devices; d; d = d->next)
                if (str_set(&d->facts.default_domain_type, type) < 0)
                        return -ENOMEM;
        return str_set(&g->type, type);
}

int sim_group_set_type(Sim *sim, SimGroup *g, const char *type) {
        bool to_flush_queue = str_eq(type, "DMA-FQ") && str_eq(g->type, "DMA");

        if (!sim_type_is_known(type) && !str_eq(type, "auto"))
                return -EINVAL;
        if (sim->strict_type) {
                if (g->n_devices != 1)
                        return -EINVAL;
                if (g->devices->pending != SIM_PENDING_NONE)
                        return SIM_HANGS; /* it takes the device lock */
                if (g->devices->facts.driver && !to_flush_queue)
                        return -EBUSY;
                if (sim_group_is_claimed(g)) /* it is not on its default domain */
                        return -EBUSY;
        } else if (!to_flush_queue && (g->n_devices == 0 || sim_group_owner_count(g) > 0))
                return -EPERM;
        if (str_eq(type, "auto"))
                type = g->forced_type ? g->forced_type : sim->default_type;
        return group_change_type(g, type);
}

/* A driver that registers itself grabs every device without one that it matches. */
static int driver_register(Sim *sim, SimDriver *driver) {
        driver->loaded = true;
        for (SimDevice *d = sim->devices; d; d = d->hh.next)
                if (!d->facts.driver && d->pending == SIM_PENDING_NONE)
                        if (device_try_driver(sim, d, driver->name) == -ENOMEM)
                                return -ENOMEM;
        return 0;
}

int sim_module_load(Sim *sim, const char *module, char **ret_drivers) {
        _cleanup_(strv_freep) char **names = NULL;
        char *joined;

        for (SimDriver *driver = sim->drivers; driver; driver = driver->hh.next) {
                if (!str_eq(driver->module, module))
                        continue;
                if (!driver->loaded && driver_register(sim, driver) < 0)
                        return -ENOMEM;
                if (strv_extend(&names, driver->name) < 0)
                        return -ENOMEM;
        }
        if (!names)
                return -ENOENT;
        joined = strv_join(names, ", ");
        if (!joined)
                return -ENOMEM;
        *ret_drivers = joined;
        return 0;
}

static void device_remove(Sim *sim, SimDevice *d) {
        SimDevice *physfn = d->facts.physfn ? sim_device(sim, d->facts.physfn) : NULL;
        SimGroup *g = d->group;

        device_detach(sim, d);
        HASH_DEL(sim->devices, d);
        sim_device_news(sim, d, SIM_GONE); /* freed when that was told */
        if (g) {
                SimDevice **i = &g->devices;

                while (*i != d)
                        i = &(*i)->next;
                *i = d->next;
                g->n_devices--;
                d->group = NULL;
                sim_group_drop_if_empty(g);
        }
        if (physfn) {
                physfn->facts.num_vfs--;
                sim_device_news(sim, physfn, SIM_SEEN | SIM_SETTLE);
                if (physfn->group)
                        sim_group_retry(physfn->group);
        }
}

void sim_device_settle(Sim *sim, SimDevice *d) {
        if (d->pending == SIM_PENDING_NONE || sim_device_is_open(d))
                return;
        if (d->pending == SIM_PENDING_UNBIND) {
                if (device_waits_for_vfs(sim, d))
                        return;
                d->pending = SIM_PENDING_NONE;
                device_detach(sim, d);
        } else if (d->facts.num_vfs == 0)
                device_remove(sim, d);
}

void sim_device_unplug(Sim *sim, SimDevice *d) {
        device_unplug_vfs(sim, d);
        d->pending = SIM_PENDING_UNPLUG;
        sim_device_settle(sim, d);
}
