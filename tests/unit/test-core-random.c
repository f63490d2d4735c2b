/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Long random histories of requests, releases, failures, unplugs, meddling and crashes on a host
 * in memory, against a model that knows the rules by itself. After every event: no group has two
 * owners, what the registry says is what the model says, and every change was reported. Steps are
 * checked while they run: nothing is rebound under a lease that is active, and no kernel driver
 * gets a device that user space had before it was closed and reset.
 *
 * With an argument: only the history of that seed.
 */
#include <stdio.h>
#include <time.h>

#include "core-fixture.h"

enum {
        N_GROUPS = 7,
        MAX_LEASES = 24,
        N_EVENTS = 2500,
        N_SEEDS = 100
};

static const DeviceSpec specs[] = {
        { "0000:01:00.0", 1, "e1000e" },
        { "0000:02:00.0", 2, "igb" },
        { "0000:02:00.1", 2, "igb" },
        { "0000:00:1c.0", 3, "pcieport", .bridge = true },
        { "0000:03:00.0", 3, "e1000" },
        { "0000:03:00.1", 3, NULL },
        { "0000:00:1d.0", 4, "shpchp", .bridge = true },
        { "0000:04:00.0", 4, "e1000", .driver_override = "e1000" },
        { "0000:05:00.0", 5, "mlx5_core", .vfio_driver = "mlx5_vfio_pci", .type = "DMA-FQ" },
        { "0000:06:00.0", 6, "nvme", .type = "identity" },
        { "0000:06:00.1", 6, "vfio-pci", .type = "identity" },
};
enum {
        N_DEVICES = sizeof(specs) / sizeof(specs[0])
};

typedef struct ModelLease {
        char id[16]; /* "": this place is free */
        RequestSpec spec;
        bool groups[N_GROUPS];
        bool active;
} ModelLease;

typedef struct Before {
        bool valid;
        char *driver, *driver_override;
} Before;

typedef struct ModelGroup {
        GroupState state;
        char *type;        /* what the first lease found, or was owed */
        char *wished_type; /* what it has while dma-api holds it */
        char *owed;
        const char *driver; /* that the first lease wished */
        RequestSpec first;
        Plan plan; /* steps under way */
        size_t next;
        bool planned;
        /* as the registry had it before the event */
        GroupState shown_state;
        unsigned shown_count;
} ModelGroup;

typedef struct Model {
        World w;
        ModelLease leases[MAX_LEASES];
        ModelGroup groups[N_GROUPS];
        Before before[N_DEVICES];
        uint64_t random;
        unsigned granted, refused, restored, crashes, losts;
} Model;

static unsigned pick(Model *m, unsigned n) {
        m->random ^= m->random << 13;
        m->random ^= m->random >> 7;
        m->random ^= m->random << 17;
        return (unsigned)((m->random >> 32) % n);
}

static unsigned model_count(const Model *m, unsigned group) {
        unsigned n = 0;

        for (size_t i = 0; i < MAX_LEASES; i++)
                n += m->leases[i].id[0] && m->leases[i].groups[group];
        return n;
}

static void forget_before(Model *m, size_t i) {
        free(m->before[i].driver);
        free(m->before[i].driver_override);
        m->before[i] = (Before){};
}

static void stop_plan(Model *m, unsigned group) {
        plan_clear(&m->groups[group].plan);
        m->groups[group].next = 0;
        m->groups[group].planned = false;
}

static void model_set_state(Model *m, unsigned group, GroupState state) {
        m->groups[group].state = state;
        stop_plan(m, group);
        if (state == GROUP_FREE || state == GROUP_LOST)
                world_drop_kept(&m->w, group);
        if (state != GROUP_FREE)
                return;
        for (size_t i = 0; i < N_DEVICES; i++)
                if (specs[i].group == (int)group)
                        forget_before(m, i);
}

/* The right of a lease goes, on all its groups. */
static void model_end(Model *m, ModelLease *l) {
        l->id[0] = '\0';
        for (unsigned g = 0; g < N_GROUPS; g++)
                if (l->groups[g] && model_count(m, g) == 0)
                        model_set_state(m, g, GROUP_DRAINING);
}

static void model_end_all(Model *m, unsigned group) {
        for (size_t i = 0; i < MAX_LEASES; i++)
                if (m->leases[i].id[0] && m->leases[i].groups[group])
                        model_end(m, &m->leases[i]);
}

static void model_lose(Model *m, unsigned group) {
        Group *g = registry_group(m->w.r, group);

        assert_int_equal(registry_group_lost(m->w.r, g, "somebody", &m->w.c), 0);
        model_end_all(m, group);
        model_set_state(m, group, GROUP_LOST);
        m->losts++;
}

static const DeviceFacts *facts_of(Model *m, size_t i) {
        return &world_device(&m->w, specs[i].name)->facts;
}

static const char *type_of(Model *m, unsigned group) {
        for (size_t i = 0; i < N_DEVICES; i++)
                if (specs[i].group == (int)group && m->w.devices[i].present)
                        return facts_of(m, i)->default_domain_type;
        return NULL;
}

static bool names_device(const RequestSpec *s, const char *name) {
        for (size_t i = 0; s->devices[i]; i++)
                if (str_eq(s->devices[i], name))
                        return true;
        return false;
}

/* The ownership table once more, in other words. */
static bool model_admits(Model *m, unsigned group, const RequestSpec *want) {
        const ModelGroup *g = &m->groups[group];
        const RequestSpec *have = &g->first;

        if (g->state == GROUP_FREE)
                return true;
        if ((g->state != GROUP_CLAIMING && g->state != GROUP_OWNED) || have->kind != want->kind)
                return false;
        if (want->kind == OWNER_KIND_DMA_API) {
                if (want->type && !str_eq(want->type, g->wished_type))
                        return false;
                for (size_t i = 0; want->driver && i < N_DEVICES; i++)
                        if (specs[i].group == (int)group && names_device(want, specs[i].name) &&
                            !str_eq(want->driver, g->driver && names_device(have, specs[i].name)
                                                          ? g->driver
                                                          : m->before[i].driver))
                                return false;
                return true;
        }
        for (size_t i = 0; have->driver && i < N_DEVICES; i++)
                if (specs[i].group == (int)group && names_device(want, specs[i].name) &&
                    !names_device(have, specs[i].name))
                        return false;
        return have->uid == want->uid && str_eq(have->owner, want->owner) &&
               str_eq(have->driver, want->driver) &&
               (want->kind == OWNER_KIND_PRIVATE_DOMAIN ||
                (have->access == want->access && have->node_uid == want->node_uid));
}

static void model_claim(Model *m, unsigned group, const RequestSpec *want) {
        ModelGroup *g = &m->groups[group];
        const char *type = type_of(m, group);
        const char *was = g->owed && str_eq(type, "DMA-FQ") ? g->owed : type;

        model_set_state(m, group, GROUP_CLAIMING);
        g->first = *want;
        g->driver = want->driver;
        if (str_set(&g->type, was) < 0 ||
            str_set(&g->wished_type, want->type ? want->type : type) < 0)
                fail();
        free(g->owed);
        g->owed = NULL;
        for (size_t i = 0; i < N_DEVICES; i++) {
                const DeviceFacts *f = facts_of(m, i);

                if (specs[i].group != (int)group || !m->w.devices[i].present)
                        continue;
                forget_before(m, i);
                m->before[i].valid = true;
                if (str_set(&m->before[i].driver, f->driver) < 0 ||
                    str_set(&m->before[i].driver_override, f->driver_override) < 0)
                        fail();
        }
}

static RequestSpec random_request(Model *m) {
        static const char *const owners[] = { "dpdk", "qemu", "spdk" };
        static const char *const types[] = { NULL, NULL, "DMA", "DMA-FQ", "identity" };
        RequestSpec s = { .kind = pick(m, 3), .uid = pick(m, 2), .owner = owners[pick(m, 3)] };
        size_t n = 1 + pick(m, 3), k = 0;

        for (size_t i = 0; i < n; i++) {
                size_t d = pick(m, N_DEVICES);

                if (!specs[d].bridge && m->w.devices[d].present && !names_device(&s, specs[d].name))
                        s.devices[k++] = specs[d].name;
        }
        if (s.kind == OWNER_KIND_USER) {
                s.access = pick(m, 2);
                s.node_uid = s.uid;
        } else if (s.kind == OWNER_KIND_PRIVATE_DOMAIN)
                s.driver = pick(m, 2) ? "host1x" : "tegra";
        else {
                s.type = types[pick(m, 5)];
                s.driver = pick(m, 4) ? NULL : "e1000e";
        }
        return s;
}

static void event_request(Model *m) {
        _cleanup_fault_ Fault fault = FAULT_NULL;
        RequestSpec spec = random_request(m);
        ModelLease *place = NULL;
        bool groups[N_GROUPS] = {}, admitted = true, active = true;
        Lease *l = NULL;
        int k;

        for (size_t i = 0; i < MAX_LEASES && !place; i++)
                place = m->leases[i].id[0] ? NULL : &m->leases[i];
        if (!place || !spec.devices[0])
                return;
        for (size_t i = 0; i < N_DEVICES; i++)
                if (names_device(&spec, specs[i].name))
                        groups[specs[i].group] = true;
        for (unsigned g = 0; g < N_GROUPS; g++)
                if (groups[g]) {
                        admitted = admitted && model_admits(m, g, &spec);
                        active = active && m->groups[g].state == GROUP_OWNED;
                }
        k = world_ask(&m->w, spec, &l, &fault);
        if (admitted != (k == 0))
                fail_msg("%s: %s", spec.devices[0], k == 0 ? "granted" : fault.message);
        m->granted += admitted;
        m->refused += !admitted;
        if (!admitted)
                return;
        *place = (ModelLease){ .spec = spec, .active = active };
        (void)snprintf(place->id, sizeof(place->id), "%s", l->id);
        for (unsigned g = 0; g < N_GROUPS; g++) {
                place->groups[g] = groups[g];
                if (groups[g] && m->groups[g].state == GROUP_FREE)
                        model_claim(m, g, &spec);
        }
}

static ModelLease *random_lease(Model *m) {
        ModelLease *l = &m->leases[pick(m, MAX_LEASES)];

        return l->id[0] ? l : NULL;
}

static void event_end(Model *m) {
        ModelLease *l = random_lease(m);

        if (!l)
                return;
        assert_int_equal(registry_lease_end(m->w.r, registry_lease(m->w.r, l->id), LEASE_ENDED,
                                            "holder-died", &m->w.c),
                         0);
        model_end(m, l);
}

static void event_open(Model *m) {
        unsigned g = 1 + pick(m, N_GROUPS - 1);

        /* who has a right opens the node; who had one keeps it open */
        if (m->groups[g].state == GROUP_OWNED && m->groups[g].first.kind == OWNER_KIND_USER &&
            !m->w.open[g]) {
                m->w.open[g] = true;
                for (size_t i = 0; i < N_DEVICES; i++)
                        if (specs[i].group == (int)g && driver_is_vfio(facts_of(m, i)->driver))
                                m->w.devices[i].dirty = true;
        } else
                m->w.open[g] = false;
}

static void claim_done(Model *m, unsigned group) {
        Group *g = registry_group(m->w.r, group);

        assert_true(group_is_switched(g, &g->terms));
        assert_int_equal(registry_group_claimed(m->w.r, g, &m->w.c), 0);
        model_set_state(m, group, GROUP_OWNED);
        for (size_t i = 0; i < MAX_LEASES; i++) {
                ModelLease *l = &m->leases[i];

                l->active = true;
                for (unsigned k = 0; k < N_GROUPS; k++)
                        if (l->groups[k] && m->groups[k].state != GROUP_OWNED)
                                l->active = false;
        }
}

static void claim_failed(Model *m, unsigned group) {
        _cleanup_fault_ Fault why = FAULT_NULL;

        (void)fault_set(&why, ERROR_KERNEL_REFUSED, "test");
        assert_int_equal(registry_group_claim_failed(m->w.r, registry_group(m->w.r, group), &why,
                                                     &m->w.c),
                         0);
        model_end_all(m, group);
        assert_int_equal(m->groups[group].state, GROUP_DRAINING);
}

static void advance_claim(Model *m, unsigned group) {
        ModelGroup *g = &m->groups[group];
        Group *real = registry_group(m->w.r, group);

        /* nothing changes under a lease that is active */
        for (size_t i = 0; i < real->n_leases; i++)
                assert_int_equal(real->leases[i]->state, LEASE_ACTIVATING);
        if (!g->planned) {
                _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;

                assert_int_equal(plan_claim(real, &real->owner, &real->terms, real->node_uid, false,
                                            &g->plan, &o),
                                 0);
                g->planned = true;
                if (o.n > 0) {
                        assert_true(str_eq(o.items[0].code, "joined-late") ||
                                    (str_eq(o.items[0].code, "on-vfio-driver") &&
                                     real->terms.kind == OWNER_KIND_DMA_API) ||
                                    (str_eq(o.items[0].code, "private-domain-needs-single-device") &&
                                     real->terms.kind == OWNER_KIND_PRIVATE_DOMAIN));
                        claim_failed(m, group);
                        return;
                }
        }
        if (g->next == g->plan.n)
                claim_done(m, group);
        else if (pick(m, 25) == 0)
                claim_failed(m, group);
        else {
                world_run_plan(&m->w, &g->plan, g->next, g->next + 1);
                g->next++;
        }
}

/* What the host has is what the first lease found. */
static void check_restored(Model *m, unsigned group) {
        ModelGroup *g = &m->groups[group];
        const char *type = type_of(m, group);

        for (size_t i = 0; i < N_DEVICES; i++) {
                const DeviceFacts *f = facts_of(m, i);

                if (specs[i].group != (int)group || !m->w.devices[i].present || !m->before[i].valid)
                        continue;
                assert_true(str_eq(f->driver, m->before[i].driver));
                assert_true(str_eq(f->driver_override, m->before[i].driver_override));
                assert_false(m->w.devices[i].dirty && !driver_is_harmless(f->driver) && f->driver);
        }
        assert_false(m->w.claimed[group]);
        assert_false(m->w.granted[group]);
        if (str_eq(type, g->type))
                return;
        assert_string_equal(type, "DMA-FQ");
        assert_string_equal(g->type, "DMA");
        assert_int_equal(str_set(&g->owed, g->type), 0);
}

static void restore_done(Model *m, unsigned group) {
        Group *g = registry_group(m->w.r, group);
        _cleanup_plan_ Plan left = PLAN_NULL;

        if (g->state == GROUP_DRAINING)
                assert_int_equal(registry_group_drained(m->w.r, g, &m->w.c), 0);
        assert_int_equal(plan_restore(g, NULL, &left), 0);
        assert_int_equal(left.n, 0);
        check_restored(m, group);
        assert_int_equal(registry_group_restored(m->w.r, g, &m->w.c), 0);
        model_set_state(m, group, GROUP_FREE);
        assert_true(str_eq(g->owed_type, m->groups[group].owed));
        m->restored++;
}

static void advance_restore(Model *m, unsigned group) {
        ModelGroup *g = &m->groups[group];
        Group *real = registry_group(m->w.r, group);
        const Step *s;
        int k;

        assert_int_equal(real->count, 0);
        if (!g->planned) {
                assert_int_equal(plan_restore(real, NULL, &g->plan), 0);
                g->planned = true;
        }
        if (g->next == g->plan.n) {
                restore_done(m, group);
                return;
        }
        s = &g->plan.steps[g->next];
        if (pick(m, 25) == 0) {
                assert_int_equal(registry_group_failed(m->w.r, real, "test", &m->w.c), 0);
                model_set_state(m, group, GROUP_FAILED);
                return;
        }
        k = world_run(&m->w, s);
        if (k == -EBUSY && m->w.open[group]) {
                assert_true(s->kind == STEP_CLAIM || s->kind == STEP_WAIT_CLOSED);
                assert_int_equal(registry_group_set_waits_for(real, "somebody", &m->w.c), 0);
                return;
        }
        if (k < 0) {
                plan_print(&g->plan);
                fail_msg("group %u, step %zu: %s", group, g->next, strerror(-k));
        }
        if ((s->kind == STEP_CLAIM || s->kind == STEP_WAIT_CLOSED) &&
            real->state == GROUP_DRAINING) {
                assert_int_equal(registry_group_drained(m->w.r, real, &m->w.c), 0);
                g->state = GROUP_RESTORING;
        }
        g->next++;
}

static void event_advance(Model *m) {
        unsigned group = 1 + pick(m, N_GROUPS - 1);
        GroupState s = m->groups[group].state;
        Group *g = registry_group(m->w.r, group);

        if (!g)
                return;
        if (s == GROUP_CLAIMING)
                advance_claim(m, group);
        else if (s == GROUP_DRAINING || s == GROUP_RESTORING)
                advance_restore(m, group);
        else if (s == GROUP_FAILED || s == GROUP_LOST) {
                if (pick(m, 4) == 0) {
                        world_accept(&m->w, g);
                        model_set_state(m, group, GROUP_FREE);
                        free(m->groups[group].owed);
                        m->groups[group].owed = NULL;
                        m->w.open[group] = m->w.granted[group] = false;
                        for (size_t i = 0; i < N_DEVICES; i++)
                                if (specs[i].group == (int)group)
                                        m->w.devices[i].dirty = false;
                } else {
                        assert_int_equal(registry_group_retry(m->w.r, g, &m->w.c), 0);
                        model_set_state(m, group, GROUP_DRAINING);
                }
        }
}

static void event_unplug(Model *m) {
        size_t i = pick(m, N_DEVICES);
        unsigned group = (unsigned)specs[i].group;
        ModelGroup *g = &m->groups[group];

        if (!m->w.devices[i].present)
                return;
        m->w.open[group] = false;
        world_unplug(&m->w, specs[i].name);
        forget_before(m, i);
        model_end_all(m, group);
        stop_plan(m, group);
        if (registry_group(m->w.r, group))
                return;
        model_set_state(m, group, GROUP_FREE);
        free(g->owed);
        g->owed = NULL;
}

static void event_plug(Model *m) {
        size_t i = pick(m, N_DEVICES);
        unsigned group = (unsigned)specs[i].group;
        DeviceSpec spec = specs[i];
        const char *type = type_of(m, group);
        char *native = m->w.devices[i].native;
        Group *g;

        if (m->w.devices[i].present)
                return;
        spec.type = type ? type : spec.type;
        spec.driver_override = NULL;
        /* the kernel lets no driver in beside a claim */
        if (m->w.claimed[group] || m->w.open[group] || pick(m, 2))
                spec.driver = NULL;
        m->w.devices[i].native = NULL;
        world_plug(&m->w, spec);
        free(m->w.devices[i].native);
        m->w.devices[i].native = native;
        stop_plan(m, group);
        g = registry_group(m->w.r, group);
        if (m->groups[group].state == GROUP_OWNED && !group_is_switched(g, &g->terms))
                model_lose(m, group);
}

static void event_meddle(Model *m) {
        size_t i = pick(m, N_DEVICES);
        unsigned group = (unsigned)specs[i].group;
        Group *g = registry_group(m->w.r, group);

        if (!m->w.devices[i].present || m->w.open[group] || m->groups[group].state != GROUP_OWNED)
                return;
        world_rebind(&m->w, specs[i].name, pick(m, 2) ? m->w.devices[i].native : NULL);
        if (!group_is_switched(g, &g->terms))
                model_lose(m, group);
}

/* kill -9: a new registry is told of the host, and of what was stored. */
static void event_crash(Model *m) {
        Registry *old = m->w.r;
        Lease *l;

        changes_clear(&m->w.c);
        assert_int_equal(registry_new(&m->w.r), 0);
        for (size_t i = 0; i < N_DEVICES; i++)
                if (m->w.devices[i].present)
                        assert_int_equal(registry_device_seen(m->w.r, facts_of(m, i), &m->w.c), 0);
        for (Group *g = registry_groups(old); g; g = g->hh.next) {
                Group *same = registry_group(m->w.r, g->id);

                free(m->groups[g->id].owed);
                m->groups[g->id].owed = NULL;
                stop_plan(m, g->id);
                m->w.claimed[g->id] = m->w.claimed[g->id] && pick(m, 2);
                if (g->state == GROUP_FREE)
                        continue;
                /* what is kept survives, or does not */
                if (m->w.claimed[g->id])
                        assert_int_equal(registry_group_set_kept(same, g->kept, g->kept_interface,
                                                                 &m->w.c),
                                         0);
                assert_int_equal(registry_adopt_group(m->w.r, same, g->state, &g->owner, &g->terms,
                                                      g->node_uid, g->recorded_type, &m->w.c),
                                 0);
                for (Device *d = g->devices; d; d = d->next)
                        if (d->record.valid)
                                assert_int_equal(device_set_record(registry_device(m->w.r,
                                                                                   d->facts.name),
                                                                   d->record.driver,
                                                                   d->record.driver_override),
                                                 0);
        }
        for (Lease *was = registry_leases(old); was; was = was->hh.next)
                assert_int_equal(registry_adopt_lease(m->w.r, was->id, was->state, &was->request,
                                                      &l, &m->w.c),
                                 0);
        assert_int_equal(registry_adopt_done(m->w.r, &m->w.c), 0);
        (void)registry_free(old);
        m->crashes++;
}

/* Invariant 1, from what the registry says alone. */
static void check_no_two_owners(Group *g) {
        for (size_t i = 1; i < g->n_leases; i++) {
                const Request *a = &g->leases[0]->request, *b = &g->leases[i]->request;

                assert_int_equal(a->terms.kind, b->terms.kind);
                if (a->terms.kind != OWNER_KIND_DMA_API) {
                        assert_int_equal(a->owner.uid, b->owner.uid);
                        assert_string_equal(a->owner.name, b->owner.name);
                        assert_true(str_eq(a->terms.driver, b->terms.driver));
                } else if (a->terms.default_domain_type && b->terms.default_domain_type)
                        assert_string_equal(a->terms.default_domain_type,
                                            b->terms.default_domain_type);
        }
}

static bool was_reported(void *const *objects, size_t n, const void *object) {
        size_t times = 0;

        for (size_t i = 0; i < n; i++)
                times += objects[i] == object;
        assert_true(times < 2);
        return times == 1;
}

static void check_groups(Model *m) {
        Changes *c = &m->w.c;

        for (unsigned id = 1; id < N_GROUPS; id++) {
                ModelGroup *want = &m->groups[id];
                Group *g = registry_group(m->w.r, id);
                bool reported;

                assert_int_equal(g != NULL, type_of(m, id) != NULL);
                if (!g)
                        continue;
                assert_int_equal(g->state, want->state);
                assert_int_equal(g->count, model_count(m, id));
                assert_int_equal(g->n_leases, g->count);
                assert_int_equal(g->count > 0,
                                 g->state == GROUP_CLAIMING || g->state == GROUP_OWNED);
                assert_int_equal(g->recorded, g->state != GROUP_FREE);
                check_no_two_owners(g);
                for (Device *d = g->devices; d; d = d->next)
                        assert_ptr_equal(d->group, g);
                reported = was_reported((void *const *)c->groups, c->n_groups, g);
                assert_true(reported ||
                            (g->state == want->shown_state && g->count == want->shown_count));
                want->shown_state = g->state;
                want->shown_count = g->count;
        }
}

static void check_leases(Model *m) {
        size_t alive = 0, n = 0;

        for (size_t i = 0; i < MAX_LEASES; i++) {
                const ModelLease *want = &m->leases[i];
                size_t n_groups = 0;
                Lease *l;

                if (!want->id[0])
                        continue;
                alive++;
                l = registry_lease(m->w.r, want->id);
                assert_non_null(l);
                assert_int_equal(l->state, want->active ? LEASE_ACTIVE : LEASE_ACTIVATING);
                for (unsigned g = 0; g < N_GROUPS; g++)
                        n_groups += want->groups[g];
                assert_int_equal(l->n_groups, n_groups);
                for (size_t k = 0; k < n_groups; k++)
                        assert_true(want->groups[l->groups[k]->id]);
        }
        for (Lease *l = registry_leases(m->w.r); l; l = l->hh.next)
                if (lease_state_is_alive(l->state))
                        n++;
                else {
                        assert_int_equal(l->n_groups, 0);
                        /* it ended just now, so it is reported */
                        assert_true(was_reported((void *const *)m->w.c.leases, m->w.c.n_leases, l));
                }
        assert_int_equal(n, alive);
}

/* What the manager does with changes when all was stored and sent. */
static void settle(Model *m) {
        for (size_t i = 0; i < m->w.c.n_leases; i++)
                if (!lease_state_is_alive(m->w.c.leases[i]->state))
                        registry_forget_lease(m->w.r, m->w.c.leases[i]);
        for (size_t i = 0; i < m->w.c.n_groups; i++)
                if (m->w.c.groups[i]->n_devices == 0)
                        registry_forget_group(m->w.r, m->w.c.groups[i]);
        changes_clear(&m->w.c);
}

static void run_seed(uint64_t seed, Model *m) {
        print_message("# seed %llu\n", (unsigned long long)seed);
        m->random = seed * 0x9e3779b97f4a7c15ULL + 1;
        world_init(&m->w);
        assert_int_equal(strv_extend(&m->w.modules, "vfio_pci"), 0);
        for (size_t i = 0; i < N_DEVICES; i++)
                world_plug(&m->w, specs[i]);
        for (unsigned i = 0; i < N_EVENTS; i++) {
                unsigned what = pick(m, 100);

                if (what < 20)
                        event_request(m);
                else if (what < 28)
                        event_end(m);
                else if (what < 38)
                        event_open(m);
                else if (what < 94)
                        event_advance(m);
                else if (what < 95)
                        event_unplug(m);
                else if (what < 98)
                        event_plug(m);
                else if (what < 99)
                        event_meddle(m);
                else
                        event_crash(m);
                check_groups(m);
                check_leases(m);
                settle(m);
        }
        for (unsigned g = 0; g < N_GROUPS; g++) {
                plan_clear(&m->groups[g].plan);
                free(m->groups[g].type);
                free(m->groups[g].wished_type);
                free(m->groups[g].owed);
        }
        for (size_t i = 0; i < N_DEVICES; i++)
                forget_before(m, i);
        world_clear(&m->w);
}

static uint64_t only_seed;

static void test_histories(void **state) {
        unsigned granted = 0, refused = 0, restored = 0, crashes = 0, losts = 0;

        for (uint64_t i = 1; i <= N_SEEDS + 1; i++) {
                static Model m;
                uint64_t seed = i <= N_SEEDS ? i : (uint64_t)time(NULL);

                if (only_seed && i > 1)
                        break;
                m = (Model){};
                run_seed(only_seed ? only_seed : seed, &m);
                granted += m.granted;
                refused += m.refused;
                restored += m.restored;
                crashes += m.crashes;
                losts += m.losts;
        }
        /* histories in which nothing happens would check nothing */
        assert_true(only_seed || (granted > 2000 && refused > 5000 && restored > 1000));
        assert_true(only_seed || (crashes > 500 && losts > 50));
}

int main(int argc, char *argv[]) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_histories) };
        unsigned long long seed = 0;

        if (argc > 1 && parse_u64(argv[1], 10, &seed) < 0)
                return EXIT_FAILURE;
        only_seed = seed;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
