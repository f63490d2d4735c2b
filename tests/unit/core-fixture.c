/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"

#include <stdio.h>

void world_init(World *w) {
        *w = (World){};
        assert_int_equal(registry_new(&w->r), 0);
}

void world_clear(World *w) {
        w->r = registry_free(w->r);
        changes_clear(&w->c);
        for (size_t i = 0; i < w->n_devices; i++) {
                device_facts_clear(&w->devices[i].facts);
                free(w->devices[i].native);
                free(w->devices[i].vf_settings);
        }
        w->modules = strv_free(w->modules);
}

HostDevice *world_device(World *w, const char *name) {
        for (size_t i = 0; i < w->n_devices; i++)
                if (str_eq(w->devices[i].facts.name, name))
                        return &w->devices[i];
        return NULL;
}

static void see(World *w, const HostDevice *d) {
        assert_int_equal(registry_device_seen(w->r, &d->facts, &w->c), 0);
}

void world_plug(World *w, DeviceSpec spec) {
        const char *vfio = spec.vfio_driver ? spec.vfio_driver : "vfio-pci";
        HostDevice *d = world_device(w, spec.name);

        if (!d) {
                assert_true(w->n_devices < HOST_DEVICES);
                d = &w->devices[w->n_devices++];
        }
        device_facts_clear(&d->facts);
        d->present = true;
        d->dirty = false;
        d->facts.group = spec.group;
        d->facts.bridge = spec.bridge;
        d->facts.strict_type = spec.strict_type;
        d->facts.num_vfs = spec.num_vfs;
        d->facts.total_vfs = spec.total_vfs;
        d->facts.vf_autoprobe = spec.total_vfs > 0;
        d->facts.class_code = spec.vf_settings ? 0x020000 : 0;
        if (str_set(&d->facts.name, spec.name) < 0 ||
            str_set(&d->facts.bus, spec.bus ? spec.bus : "pci") < 0 ||
            str_set(&d->facts.driver, spec.driver) < 0 ||
            str_set(&d->facts.driver_override, spec.driver_override) < 0 ||
            str_set(&d->facts.physfn, spec.physfn) < 0 ||
            str_set(&d->facts.vfio_driver, vfio) < 0 ||
            (!spec.vfio_built_in &&
             str_set(&d->facts.vfio_module, str_eq(vfio, "vfio-pci") ? "vfio_pci" : vfio) < 0) ||
            str_set(&d->facts.default_domain_type, spec.type ? spec.type : "DMA") < 0 ||
            str_set(&d->native, spec.driver) < 0 || str_set(&d->vf_settings, spec.vf_settings) < 0)
                fail();
        see(w, d);
}

static bool in_the_way(const char *driver) {
        return !str_empty(driver) && !driver_is_harmless(driver);
}

static bool group_has(World *w, unsigned group, bool (*what)(const char *driver)) {
        for (size_t i = 0; i < w->n_devices; i++)
                if (w->devices[i].present && w->devices[i].facts.group == (int)group &&
                    what(w->devices[i].facts.driver))
                        return true;
        return false;
}

/* The node goes with the last device on VFIO, and so do the rights on it. */
static void check_node(World *w, const HostDevice *d) {
        int group = d->facts.group;

        if (group >= 0 && !group_has(w, group, driver_is_vfio))
                w->granted[group] = w->open[group] = false;
}

void world_unplug(World *w, const char *name) {
        HostDevice *d = world_device(w, name);

        d->present = false;
        check_node(w, d);
        assert_int_equal(registry_device_removed(w->r, name, &w->c), 0);
}

void world_rebind(World *w, const char *name, const char *driver) {
        HostDevice *d = world_device(w, name);

        assert_int_equal(str_set(&d->facts.driver, driver), 0);
        d->dirty = false;
        check_node(w, d);
        see(w, d);
}

static int run_bind(World *w, HostDevice *d, const char *driver) {
        int group = d->facts.group;

        if (!str_empty(d->facts.driver))
                return -EBUSY;
        if (!str_empty(d->facts.driver_override)) {
                if (!str_eq(d->facts.driver_override, driver))
                        return -ENODEV;
        } else if (!str_eq(driver, d->native))
                return -ENODEV;
        if (in_the_way(driver) && w->claimed[group])
                return -EBUSY;
        if (in_the_way(driver) && d->dirty)
                return -EUCLEAN;
        if (str_eq(driver, "vfio-pci") && d->facts.vfio_module &&
            !strv_contains(w->modules, "vfio_pci"))
                return -ENOENT;
        return str_set(&d->facts.driver, driver);
}

static int run_device_step(World *w, const Step *s) {
        HostDevice *d = world_device(w, s->device);
        int k = 0;

        if (!d || !d->present)
                return -ENODEV;
        assert_int_equal(s->group, d->facts.group);
        if (s->kind == STEP_SET_OVERRIDE) {
                assert_true(str_eq(s->former, d->facts.driver_override));
                k = str_set(&d->facts.driver_override, s->value);
        } else if (s->kind == STEP_UNBIND || s->kind == STEP_EVICT) {
                if (!str_eq(d->facts.driver, s->value))
                        return -ENODEV;
                if (s->kind == STEP_EVICT)
                        w->open[s->group] = false; /* he left */
                if (driver_is_vfio(s->value) && w->open[s->group])
                        return -EDEADLK; /* would hang */
                k = str_set(&d->facts.driver, NULL);
                check_node(w, d);
        } else if (s->kind == STEP_BIND)
                k = run_bind(w, d, s->value);
        else if (s->kind == STEP_PROBE) {
                registry_device_probed(registry_device(w->r, s->device));
                if (!str_empty(d->native))
                        (void)run_bind(w, d, d->native);
        } else if (s->kind == STEP_SET_VF_AUTOPROBE)
                d->facts.vf_autoprobe = str_eq(s->value, "1");
        else if (s->kind == STEP_SET_NUM_VFS)
                d->facts.num_vfs = (unsigned)strtoul(s->value, NULL, 10);
        else if (s->kind == STEP_READ_VF)
                k = device_set_vf_settings(registry_device(w->r, s->device), d->vf_settings);
        else if (s->kind == STEP_SET_VF) {
                k = str_set(&d->vf_settings, s->value);
                if (k == 0)
                        k = device_set_vf_settings(registry_device(w->r, s->device), NULL);
        } else if (s->kind == STEP_RESET) {
                if (w->open[s->group])
                        return -EBUSY;
                d->dirty = false;
        }
        if (k == 0)
                see(w, d);
        return k;
}

static int run_set_type(World *w, const Step *s) {
        size_t n_devices = 0, n_bound = 0;
        bool live = false, strict = false;

        for (size_t i = 0; i < w->n_devices; i++) {
                const HostDevice *d = &w->devices[i];

                if (!d->present || d->facts.group != (int)s->group)
                        continue;
                n_devices++;
                n_bound += !str_empty(d->facts.driver);
                strict = strict || d->facts.strict_type;
        }
        for (size_t i = 0; i < w->n_devices; i++)
                if (w->devices[i].facts.group == (int)s->group &&
                    str_eq(w->devices[i].facts.default_domain_type, "DMA"))
                        live = str_eq(s->value, "DMA-FQ");
        if (strict && n_devices != 1)
                return -EINVAL;
        if (strict && !live && n_bound > 0)
                return -EBUSY;
        if (!live && (w->claimed[s->group] || group_has(w, s->group, in_the_way)))
                return -EPERM;
        for (size_t i = 0; i < w->n_devices; i++) {
                HostDevice *d = &w->devices[i];

                if (!d->present || d->facts.group != (int)s->group)
                        continue;
                assert_true(str_eq(s->former, d->facts.default_domain_type));
                assert_int_equal(str_set(&d->facts.default_domain_type,
                                         str_eq(s->value, "auto") ? "DMA-FQ" : s->value),
                                 0);
                see(w, d);
        }
        return 0;
}

/* As the manager notes it. */
static int keep(World *w, unsigned group, Kept kept) {
        assert_int_equal(registry_group_set_kept(registry_group(w->r, group), kept,
                                                 VFIO_INTERFACE_CONTAINER, &w->c),
                         0);
        w->claimed[group] = kept != KEPT_NOTHING;
        return 0;
}

void world_drop_kept(World *w, unsigned group) {
        Group *g = registry_group(w->r, group);

        w->claimed[group] = false;
        if (g)
                assert_int_equal(registry_group_set_kept(g, KEPT_NOTHING, VFIO_INTERFACE_AUTO,
                                                         &w->c),
                                 0);
}

static int run_group_step(World *w, const Step *s) {
        bool node = group_has(w, s->group, driver_is_vfio);

        switch (s->kind) {
        case STEP_LOAD_MODULE:
                return strv_extend(&w->modules, s->value);
        case STEP_SET_TYPE:
                return run_set_type(w, s);
        case STEP_WAIT_NODE:
                return node ? 0 : -ENOENT;
        case STEP_GRANT_NODE:
        case STEP_REVOKE_NODE:
                if (!node)
                        return -ENOENT;
                w->granted[s->group] = s->kind == STEP_GRANT_NODE;
                return 0;
        case STEP_WAIT_CLOSED:
                return w->open[s->group] ? -EBUSY : 0;
        case STEP_CLAIM:
                if (w->open[s->group])
                        return -EBUSY;
                if (!node || group_has(w, s->group, in_the_way))
                        return -EPERM;
                return keep(w, s->group, KEPT_CLAIM);
        case STEP_LEND:
                if (!node || w->open[s->group])
                        return -EBUSY;
                if (group_has(w, s->group, in_the_way))
                        return -EPERM;
                return keep(w, s->group, KEPT_LENT);
        case STEP_RECLAIM:
                return w->claimed[s->group] ? 0 : -EBADF;
        case STEP_RELEASE:
                if (!w->claimed[s->group])
                        return -EBADF;
                return keep(w, s->group, KEPT_NOTHING);
        case STEP_INSPECT:
        case STEP_SET_OVERRIDE:
        case STEP_UNBIND:
        case STEP_EVICT:
        case STEP_BIND:
        case STEP_PROBE:
        case STEP_RESET:
        case STEP_SCRUB:
        case STEP_SET_VF_AUTOPROBE:
        case STEP_SET_NUM_VFS:
        case STEP_READ_VF:
        case STEP_SET_VF:
        case _STEP_KIND_MAX:
        case _STEP_KIND_INVALID:
                break;
        }
        return -EINVAL;
}

int world_run(World *w, const Step *s) {
        return s->device ? run_device_step(w, s) : run_group_step(w, s);
}

void plan_print(const Plan *p) {
        for (size_t i = 0; i < p->n; i++) {
                _cleanup_free_ char *text = step_describe(&p->steps[i]);

                print_message("# %zu: %s\n", i, text);
        }
}

void world_run_plan(World *w, const Plan *p, size_t from, size_t to) {
        for (size_t i = from; i < to; i++) {
                int k = world_run(w, &p->steps[i]);

                if (k < 0) {
                        plan_print(p);
                        fail_msg("step %zu: %s", i, strerror(-k));
                }
        }
}

Request request_make(RequestSpec spec) {
        Request q = REQUEST_NULL;

        q.terms.kind = spec.kind;
        q.terms.access = spec.access;
        q.uid = spec.node_uid;
        q.owner.uid = spec.uid;
        q.caller.sees = true;
        if (spec.expires)
                q.expires = spec.expires;
        q.wait_until = spec.wait_until;
        q.ttl = spec.ttl;
        q.priority = spec.priority;
        if (str_set(&q.owner.name, spec.owner ? spec.owner : "dpdk") < 0 ||
            str_set(&q.terms.driver, spec.driver) < 0 ||
            str_set(&q.terms.default_domain_type, spec.type) < 0 ||
            str_set(&q.terms.reset, spec.reset) < 0)
                fail();
        for (size_t i = 0; spec.devices[i]; i++)
                assert_int_equal(strv_extend(&q.devices, spec.devices[i]), 0);
        return q;
}

int world_ask(World *w, RequestSpec spec, Lease **ret, Fault *fault) {
        _cleanup_request_ Request q = request_make(spec);
        Lease *l = NULL;
        int k;

        k = registry_reserve(w->r, &q, &l, &w->c, fault);
        for (size_t i = 0; k == 0 && i < l->n_groups; i++)
                registry_group_begin(l->groups[i]);
        if (k == 0 && ret)
                *ret = l;
        assert_true(k == 0 || !l);
        return k;
}

Lease *world_acquire(World *w, RequestSpec spec) {
        _cleanup_fault_ Fault fault = FAULT_NULL;
        Lease *l = NULL;

        if (world_ask(w, spec, &l, &fault) < 0)
                fail_msg("%s", fault.message);
        for (size_t i = 0; i < l->n_groups; i++) {
                _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
                _cleanup_plan_ Plan p = PLAN_NULL;
                Group *g = l->groups[i];

                if (g->state != GROUP_CLAIMING)
                        continue;
                assert_int_equal(plan_claim(g, &g->owner, &g->terms, g->node_uid, false, &p, &o), 0);
                assert_int_equal(o.n, 0);
                world_run_plan(w, &p, 0, p.n);
                assert_true(group_is_switched(g, &g->terms));
                assert_int_equal(registry_group_claimed(w->r, g, &w->c), 0);
        }
        assert_int_equal(l->state, LEASE_ACTIVE);
        return l;
}

void world_restore(World *w, Group *g) {
        _cleanup_plan_ Plan p = PLAN_NULL;

        assert_int_equal(g->state, GROUP_DRAINING);
        assert_int_equal(plan_restore(g, NULL, &p), 0);
        world_run_plan(w, &p, 0, p.n);
        assert_int_equal(registry_group_drained(w->r, g, &w->c), 0);
        assert_int_equal(registry_group_restored(w->r, g, &w->c), 0);
        assert_int_equal(g->state, GROUP_FREE);
}

void world_accept(World *w, Group *g) {
        _cleanup_plan_ Plan p = PLAN_NULL;

        assert_int_equal(registry_group_accept(w->r, g, &w->c), 0);
        if (g->state == GROUP_FREE)
                return;
        assert_int_equal(plan_restore(g, NULL, &p), 0);
        for (size_t i = 0; i < p.n; i++) {
                int k = world_run(w, &p.steps[i]);

                assert_true(k == 0 || k == -ENOENT); /* there is no node any more */
        }
        assert_int_equal(registry_group_drained(w->r, g, &w->c), 0);
        assert_int_equal(registry_group_restored(w->r, g, &w->c), 0);
}
