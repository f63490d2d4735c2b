/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tables of docs/states.md, row by row; observing; taking a former run back in. */
#include "core-fixture.h"

#define A       "0000:01:00.0" /* group 1 */
#define B       "0000:02:00.0" /* group 2, with C */
#define C       "0000:02:00.1"
#define USER    .kind = OWNER_KIND_USER
#define DMA_API .kind = OWNER_KIND_DMA_API

static const RequestSpec both = { { A, B }, USER };

static void host_init(World *w) {
        world_init(w);
        world_plug(w, (DeviceSpec){ B, 2, "igb" });
        world_plug(w, (DeviceSpec){ C, 2, "igb" });
        world_plug(w, (DeviceSpec){ A, 1, "e1000e" });
        changes_clear(&w->c);
}

static void check_changed(World *w, size_t groups, size_t leases, size_t devices) {
        assert_int_equal(w->c.n_groups, groups);
        assert_int_equal(w->c.n_leases, leases);
        assert_int_equal(w->c.n_devices, devices);
        changes_clear(&w->c);
}

static int act_claimed(World *w, Group *g) {
        return registry_group_claimed(w->r, g, &w->c);
}
static int act_claim_failed(World *w, Group *g) {
        _cleanup_fault_ Fault why = FAULT_NULL;

        (void)fault_set(&why, ERROR_KERNEL_REFUSED, "test");
        return registry_group_claim_failed(w->r, g, &why, &w->c);
}
static int act_drained(World *w, Group *g) {
        return registry_group_drained(w->r, g, &w->c);
}
static int act_restored(World *w, Group *g) {
        return registry_group_restored(w->r, g, &w->c);
}
static int act_failed(World *w, Group *g) {
        return registry_group_failed(w->r, g, "test", &w->c);
}
static int act_lost(World *w, Group *g) {
        return registry_group_lost(w->r, g, "test", &w->c);
}
static int act_retry(World *w, Group *g) {
        return registry_group_retry(w->r, g, &w->c);
}
static int act_accept(World *w, Group *g) {
        return registry_group_accept(w->r, g, &w->c);
}
static int act_lease_end(World *w, Group *g) {
        return g->n_leases == 0
                       ? -EINVAL
                       : registry_lease_end(w->r, g->leases[0], LEASE_ENDED, "test", &w->c);
}
static int act_unplug(World *w, Group *g) {
        world_unplug(w, C);
        return 0;
}

#define NO _GROUP_STATE_INVALID

/* what each function makes of a group with one lease or none; NO: -EINVAL and nothing changes */
static const struct {
        const char *what;
        int (*act)(World *w, Group *g);
        GroupState to[_GROUP_STATE_MAX];
} transitions[] = {
        /*                    free claiming owned draining restoring quarantined failed lost */
        { "claimed", act_claimed, { NO, GROUP_OWNED, NO, NO, NO, NO, NO, NO } },
        { "claim failed", act_claim_failed, { NO, GROUP_DRAINING, NO, NO, NO, NO, NO, NO } },
        { "drained", act_drained, { NO, NO, NO, GROUP_RESTORING, NO, NO, NO, NO } },
        { "restored", act_restored, { NO, NO, NO, NO, GROUP_FREE, NO, NO, NO } },
        { "failed", act_failed, { NO, NO, NO, GROUP_FAILED, GROUP_FAILED, NO, NO, NO } },
        { "lost",
          act_lost,
          { NO, GROUP_LOST, GROUP_LOST, GROUP_LOST, GROUP_LOST, GROUP_LOST, NO, NO } },
        { "retry", act_retry, { NO, NO, NO, NO, NO, NO, GROUP_DRAINING, GROUP_DRAINING } },
        { "accept", act_accept, { NO, NO, NO, NO, NO, NO, GROUP_DRAINING, GROUP_DRAINING } },
        { "lease end", act_lease_end, { NO, GROUP_DRAINING, GROUP_DRAINING, NO, NO, NO, NO, NO } },
        { "unplug",
          act_unplug,
          { GROUP_FREE, GROUP_DRAINING, GROUP_DRAINING, GROUP_DRAINING, GROUP_RESTORING,
            GROUP_QUARANTINED, GROUP_FAILED, GROUP_LOST } },
};

/* A group brought to a state, with a lease where that has one. */
static Group *group_in(World *w, GroupState state, Lease **ret) {
        Lease *l = NULL;
        Group *g;

        *ret = NULL;
        host_init(w);
        g = registry_group(w->r, 2);
        if (state == GROUP_FREE)
                return g;
        if (state == GROUP_QUARANTINED) {
                _cleanup_request_ Request q = request_make((RequestSpec){ { B }, USER });

                assert_int_equal(registry_adopt_group(w->r, g, state, &q.owner, &q.terms, 0, "DMA",
                                                      &w->c),
                                 0);
                return g;
        }
        assert_int_equal(world_ask(w, (RequestSpec){ { B }, USER }, &l, NULL), 0);
        if (state == GROUP_CLAIMING || state == GROUP_OWNED) {
                if (state == GROUP_OWNED)
                        assert_int_equal(act_claimed(w, g), 0);
                *ret = l;
                return g;
        }
        assert_int_equal(act_lease_end(w, g), 0);
        if (state == GROUP_RESTORING)
                assert_int_equal(act_drained(w, g), 0);
        if (state == GROUP_FAILED)
                assert_int_equal(act_failed(w, g), 0);
        if (state == GROUP_LOST)
                assert_int_equal(act_lost(w, g), 0);
        return g;
}

static void test_group_table(void **state) {
        for (size_t i = 0; i < sizeof(transitions) / sizeof(transitions[0]); i++)
                for (GroupState from = 0; from < _GROUP_STATE_MAX; from++) {
                        _cleanup_world_ World w;
                        Lease *l;
                        Group *g = group_in(&w, from, &l);
                        LeaseState lease = l ? l->state : LEASE_ENDED;
                        GroupState to = transitions[i].to[from];
                        int k;

                        assert_int_equal(g->state, from);
                        changes_clear(&w.c);
                        k = transitions[i].act(&w, g);
                        if (k != (to == NO ? -EINVAL : 0) || g->state != (to == NO ? from : to))
                                fail_msg("%s of a group that is %s: %d, %s", transitions[i].what,
                                         group_state_to_string(from), k,
                                         group_state_to_string(g->state));
                        if (to == NO) {
                                check_changed(&w, 0, 0, 0);
                                assert_true(!l || l->state == lease);
                                continue;
                        }
                        assert_int_equal(w.c.n_groups, 1);
                        assert_ptr_equal(w.c.groups[0], g);
                        /* who owns it is known until it is free, and so is what to restore */
                        assert_int_equal(g->recorded, to != GROUP_FREE);
                        assert_int_equal(g->owner.name != NULL, to != GROUP_FREE);
                        assert_int_equal(g->devices->record.valid,
                                         to != GROUP_FREE && from != GROUP_QUARANTINED);
                        assert_true(str_eq(g->waits_for,
                                           to == GROUP_FAILED || to == GROUP_LOST ? "test" : NULL) ||
                                    transitions[i].act == act_unplug);
                        assert_int_equal(g->count, to == GROUP_OWNED ? 1 : 0);
                        assert_int_equal(g->n_leases, g->count);
                }
}

static void test_waits_for(void **state) {
        _cleanup_world_ World w;
        Lease *l;
        Group *g = group_in(&w, GROUP_DRAINING, &l);

        changes_clear(&w.c);
        assert_int_equal(registry_group_set_waits_for(g, "qemu (pid 47)", &w.c), 0);
        check_changed(&w, 1, 0, 0);
        assert_int_equal(registry_group_set_waits_for(g, "qemu (pid 47)", &w.c), 0);
        check_changed(&w, 0, 0, 0);
        assert_string_equal(g->waits_for, "qemu (pid 47)");
        assert_int_equal(act_drained(&w, g), 0);
        assert_null(g->waits_for);
        assert_int_equal(registry_group_set_waits_for(registry_group(w.r, 1), "x", &w.c), -EINVAL);
}

static void test_lease_ends(void **state) {
        static const struct {
                LeaseState state;
                ErrorCode code;
        } ends[] = { { LEASE_ENDED, 0 },
                     { LEASE_FAILED, ERROR_KERNEL_REFUSED },
                     { LEASE_LOST, ERROR_LOST } };

        for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
                _cleanup_world_ World w;
                Lease *l, *other;

                host_init(&w);
                l = world_acquire(&w, both);
                other = world_acquire(&w, (RequestSpec){ { A }, USER });
                changes_clear(&w.c);
                assert_int_equal(registry_lease_end(w.r, l, LEASE_ACTIVE, "x", &w.c), -EINVAL);
                assert_int_equal(registry_lease_end(w.r, l, ends[i].state, "why", &w.c), 0);
                check_changed(&w, 2, 1, 0);
                assert_int_equal(l->state, ends[i].state);
                assert_int_equal(l->n_groups, 0);
                assert_int_equal(registry_group(w.r, 1)->state, GROUP_OWNED);
                assert_int_equal(registry_group(w.r, 1)->count, 1);
                assert_ptr_equal(registry_group(w.r, 1)->leases[0], other);
                assert_int_equal(registry_group(w.r, 2)->state, GROUP_DRAINING);
                if (ends[i].state == LEASE_ENDED)
                        assert_string_equal(l->ended, "why");
                else {
                        assert_int_equal(l->failure.code, ends[i].code);
                        assert_string_equal(l->failure.message, "why");
                }
                /* a right that is gone does not go again */
                for (size_t k = 0; k < sizeof(ends) / sizeof(ends[0]); k++)
                        assert_int_equal(registry_lease_end(w.r, l, ends[k].state, "x", &w.c),
                                         -EINVAL);
                /* one that is alive is not forgotten */
                registry_forget_lease(w.r, other);
                assert_ptr_equal(registry_lease(w.r, "l2"), other);
                registry_forget_lease(w.r, l);
                assert_null(registry_lease(w.r, "l1"));
        }
}

static void test_lease_table(void **state) {
        static const LeaseState alive[] = { LEASE_ACTIVATING, LEASE_ACTIVE, LEASE_UNCONFIRMED,
                                            LEASE_REVOKING };

        for (size_t i = 0; i < sizeof(alive) / sizeof(alive[0]); i++)
                for (LeaseState to = 0; to < _LEASE_STATE_MAX; to++) {
                        LeaseState from = alive[i];
                        bool allowed = (from == LEASE_ACTIVE && to == LEASE_UNCONFIRMED) ||
                                       (from == LEASE_UNCONFIRMED && to == LEASE_ACTIVE);
                        _cleanup_world_ World w;
                        Lease *l = NULL;

                        host_init(&w);
                        assert_int_equal(world_ask(&w, (RequestSpec){ { A }, USER }, &l, NULL), 0);
                        if (from != LEASE_ACTIVATING)
                                assert_int_equal(act_claimed(&w, l->groups[0]), 0);
                        if (from == LEASE_UNCONFIRMED)
                                assert_true(registry_lease_set_state(w.r, l, from, &w.c));
                        if (from == LEASE_REVOKING)
                                assert_int_equal(registry_revoke(w.r, l, "test", 1, &w.c), 0);
                        assert_int_equal(l->state, from);
                        assert_true(lease_state_is_alive(from));
                        changes_clear(&w.c);
                        assert_int_equal(registry_lease_set_state(w.r, l, to, &w.c), allowed);
                        assert_int_equal(l->state, allowed ? to : from);
                        check_changed(&w, 0, allowed, 0);
                        assert_int_equal(registry_lease_end(w.r, l, LEASE_ENDED, "x", &w.c), 0);
                        assert_false(registry_lease_set_state(w.r, l, to, &w.c));
                }
}

/* Its process has died; only a lease that could be used leaves something to tidy up. */
static void test_orphan(void **state) {
        static const struct {
                uint64_t grace;
                LeaseState from;
                int r;
        } rows[] = {
                { 0, LEASE_ACTIVE, -EINVAL },     { 7, LEASE_ACTIVE, 0 },
                { 7, LEASE_UNCONFIRMED, 0 },      { 7, LEASE_REVOKING, -EINVAL },
                { 7, LEASE_ACTIVATING, -EINVAL },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                _cleanup_world_ World w;
                Lease *l = NULL;

                host_init(&w);
                assert_int_equal(world_ask(&w, (RequestSpec){ { A }, USER }, &l, NULL), 0);
                if (rows[i].from != LEASE_ACTIVATING)
                        assert_int_equal(act_claimed(&w, l->groups[0]), 0);
                if (rows[i].from == LEASE_UNCONFIRMED)
                        assert_true(registry_lease_set_state(w.r, l, LEASE_UNCONFIRMED, &w.c));
                if (rows[i].from == LEASE_REVOKING)
                        assert_int_equal(registry_revoke(w.r, l, "test", 1, &w.c), 0);
                assert_int_equal(registry_lease_set_process(l, 4711, 5, &w.c), 0);
                l->request.grace = rows[i].grace;
                changes_clear(&w.c);
                assert_int_equal(registry_lease_orphan(l, 99, &w.c), rows[i].r);
                assert_int_equal(l->state, rows[i].r == 0 ? LEASE_UNCONFIRMED : rows[i].from);
                assert_int_equal(l->request.holder, rows[i].r == 0 ? HOLDER_NONE : HOLDER_PROCESS);
                assert_int_equal(l->request.holder_pid, rows[i].r == 0 ? 0 : 4711);
                assert_true(l->request.expires == (rows[i].r == 0 ? 99 : UINT64_MAX));
                check_changed(&w, 0, rows[i].r == 0, 0);
        }
}

static void test_expires(void **state) {
        _cleanup_world_ World w;
        Lease *l;

        host_init(&w);
        l = world_acquire(&w, both);
        changes_clear(&w.c);
        assert_int_equal(registry_lease_set_expires(l, 5, &w.c), 0);
        assert_int_equal(registry_lease_set_expires(l, 5, &w.c), 0);
        assert_true(l->request.expires == 5);
        check_changed(&w, 0, 1, 0);
}

/* A failed claim gives up the other groups of all leases on it, and only those leases. */
static void test_claim_failed(void **state) {
        _cleanup_world_ World w;
        _cleanup_fault_ Fault why = FAULT_NULL;
        Lease *wide = NULL, *narrow = NULL, *other = NULL;

        host_init(&w);
        other = world_acquire(&w, (RequestSpec){ { A }, USER });
        assert_int_equal(world_ask(&w, both, &wide, NULL), 0);
        assert_int_equal(world_ask(&w, (RequestSpec){ { C }, USER }, &narrow, NULL), 0);
        assert_int_equal(wide->state, LEASE_ACTIVATING);
        (void)fault_set(&why, ERROR_IN_USE, "%s is mounted", B);
        changes_clear(&w.c);
        assert_int_equal(registry_group_claim_failed(w.r, registry_group(w.r, 2), &why, &w.c), 0);
        check_changed(&w, 2, 2, 0);
        assert_int_equal(wide->state, LEASE_FAILED);
        assert_int_equal(narrow->state, LEASE_FAILED);
        assert_int_equal(other->state, LEASE_ACTIVE);
        assert_int_equal(wide->failure.code, ERROR_IN_USE);
        assert_string_equal(narrow->failure.message, B " is mounted");
        assert_int_equal(registry_group(w.r, 1)->state, GROUP_OWNED);
        assert_int_equal(registry_group(w.r, 1)->count, 1);
        assert_int_equal(registry_group(w.r, 2)->state, GROUP_DRAINING);
}

static void test_unplug(void **state) {
        _cleanup_world_ World w;
        Lease *l;
        Group *g, *later;

        host_init(&w);
        l = world_acquire(&w, both);
        g = registry_group(w.r, 2);
        changes_clear(&w.c);
        /* a device that the lease did not name, but its group */
        world_unplug(&w, C);
        check_changed(&w, 2, 1, 0);
        assert_int_equal(l->state, LEASE_LOST);
        assert_int_equal(l->failure.code, ERROR_LOST);
        assert_string_equal(l->failure.message, C " was removed from the host");
        assert_int_equal(registry_group(w.r, 1)->state, GROUP_DRAINING);
        assert_int_equal(g->state, GROUP_DRAINING);
        assert_int_equal(g->n_devices, 1);
        assert_null(registry_device(w.r, C));
        /* the last one: the group is reported once more, and is in nobody's way */
        world_unplug(&w, B);
        assert_int_equal(w.c.n_groups, 1);
        assert_ptr_equal(w.c.groups[0], g);
        assert_int_equal(g->n_devices, 0);
        assert_null(registry_group(w.r, 2));
        world_plug(&w, (DeviceSpec){ B, 2, "igb" });
        later = registry_group(w.r, 2);
        assert_ptr_not_equal(later, g);
        assert_int_equal(later->state, GROUP_FREE);
        registry_forget_group(w.r, g);
        registry_forget_group(w.r, later); /* is not gone */
        assert_ptr_equal(registry_group(w.r, 2), later);
        assert_int_equal(registry_device_removed(w.r, "0000:99:00.0", &w.c), 0);
}

static void test_plug_again(void **state) {
        _cleanup_world_ World w;
        Group *g;

        host_init(&w);
        g = world_acquire(&w, (RequestSpec){ { B }, USER })->groups[0];
        world_unplug(&w, C);
        world_plug(&w, (DeviceSpec){ C, 2, "igb" });
        assert_int_equal(g->n_devices, 2);
        assert_int_equal(g->state, GROUP_DRAINING);
        assert_true(registry_device(w.r, B)->record.valid);
        assert_false(registry_device(w.r, C)->record.valid);
}

/* A bridge without a driver is never seen again, but its group's type is. */
static void test_type_is_the_groups(void **state) {
        _cleanup_world_ World w;
        HostDevice *h;
        Group *g;

        host_init(&w);
        g = registry_device(w.r, B)->group;
        assert_int_equal(g->n_devices, 2);
        assert_string_equal(group_type(g), "DMA");
        h = world_device(&w, C);
        assert_int_equal(str_set(&h->facts.default_domain_type, "identity"), 0);
        assert_int_equal(registry_device_seen(w.r, &h->facts, &w.c), 0);
        assert_string_equal(group_type(g), "identity");
        for (Device *d = g->devices; d; d = d->next)
                assert_string_equal(d->facts.default_domain_type, "identity");
        /* of one whose type could not be read the others know more */
        assert_int_equal(str_set(&h->facts.default_domain_type, NULL), 0);
        assert_int_equal(registry_device_seen(w.r, &h->facts, &w.c), 0);
        assert_string_equal(group_type(g), "identity");
}

static void test_seen(void **state) {
        _cleanup_world_ World w;
        Device *d;
        HostDevice *h;

        host_init(&w);
        h = world_device(&w, A);
        d = registry_device(w.r, A);
        assert_int_equal(registry_device_seen(w.r, &h->facts, &w.c), 0);
        check_changed(&w, 0, 0, 0);
        world_rebind(&w, A, "other");
        check_changed(&w, 1, 0, 1);
        assert_ptr_equal(registry_device(w.r, A), d);
        assert_string_equal(d->facts.driver, "other");
        assert_int_equal(registry_device_set_in_use(d, "mounted", &w.c), 0);
        assert_int_equal(registry_device_set_in_use(d, "mounted", &w.c), 0);
        check_changed(&w, 0, 0, 1);
        assert_int_equal(registry_device_set_in_use(d, NULL, &w.c), 0);
        assert_null(d->in_use);
        changes_clear(&w.c);
        /* to another group, whose number was not known yet: the old one vanishes */
        world_plug(&w, (DeviceSpec){ A, 7, "e1000e" });
        check_changed(&w, 2, 0, 1);
        assert_null(registry_group(w.r, 1));
        assert_int_equal(registry_group(w.r, 7)->n_devices, 1);
        assert_ptr_equal(registry_device(w.r, A)->group, registry_group(w.r, 7));
        world_plug(&w, (DeviceSpec){ A, -1, "e1000e" });
        assert_null(registry_device(w.r, A)->group);
}

static void test_moved_away_from_a_lease(void **state) {
        _cleanup_world_ World w;
        Lease *l;

        host_init(&w);
        l = world_acquire(&w, (RequestSpec){ { C }, USER });
        world_plug(&w, (DeviceSpec){ C, 1, "igb" });
        assert_int_equal(l->state, LEASE_LOST);
        assert_int_equal(registry_group(w.r, 2)->state, GROUP_DRAINING);
        assert_int_equal(registry_group(w.r, 1)->n_devices, 2);
        assert_false(registry_device(w.r, C)->record.valid);
}

/* Several calls with one Changes: each object once, also when it was taken out again. */
static void test_changes(void **state) {
        _cleanup_world_ World w;

        host_init(&w);
        for (int i = 0; i < 3; i++) {
                world_rebind(&w, A, "x");
                world_rebind(&w, A, "y");
                world_rebind(&w, B, "x");
                world_rebind(&w, B, "y");
        }
        assert_int_equal(w.c.n_groups, 2);
        assert_int_equal(w.c.n_devices, 2);
        world_unplug(&w, A);
        assert_int_equal(w.c.n_devices, 1);
        assert_ptr_equal(w.c.devices[0], registry_device(w.r, B));
        world_rebind(&w, B, "z");
        assert_int_equal(w.c.n_devices, 1);
}

static void test_order(void **state) {
        _cleanup_world_ World w;
        Lease *l, *first = NULL;
        Group *g;
        long long last = -1;
        size_t n = 0;

        world_init(&w);
        for (int i = 0; i < 5000; i++) {
                _cleanup_free_ char *name = str_format("%04x:00:00.0", (i * 7919) % 5000);
                DeviceFacts f = DEVICE_FACTS_NULL;
                char bus[] = "pci";

                f.name = name;
                f.bus = bus;
                f.group = (i * 4001) % 5000;
                assert_int_equal(registry_device_seen(w.r, &f, &w.c), 0);
        }
        assert_int_equal(w.c.n_groups, 5000);
        for (g = registry_next_group(w.r, -1); g; g = registry_next_group(w.r, g->id), n++) {
                assert_true(g->id > last);
                last = g->id;
        }
        assert_int_equal(n, 5000);
        for (Device *d = registry_devices(w.r); d && d->hh.next; d = d->hh.next)
                assert_true(strcmp(d->facts.name, ((Device *)d->hh.next)->facts.name) < 0);
        assert_int_equal(registry_device_removed(w.r, registry_group(w.r, 77)->devices->facts.name,
                                                 &w.c),
                         0);
        assert_int_equal(registry_next_group(w.r, 77)->id, 78);
        assert_int_equal(registry_next_group(w.r, 76)->id, 78);
        assert_null(registry_next_group(w.r, 4999));
        assert_null(registry_next_group(w.r, 1LL << 40));
        for (int i = 0; i < 20; i++) {
                assert_int_equal(world_ask(&w, (RequestSpec){ { "0000:00:00.0" }, DMA_API }, &l,
                                           NULL),
                                 0);
                first = first ? first : l;
        }
        assert_ptr_equal(registry_next_lease(w.r, 0), first);
        assert_true(registry_next_lease(w.r, 7)->seq == 8);
        l = registry_lease(w.r, "l7");
        assert_int_equal(registry_lease_end(w.r, l, LEASE_ENDED, "x", &w.c), 0);
        registry_forget_lease(w.r, l);
        assert_true(registry_next_lease(w.r, 7)->seq == 8);
        assert_null(registry_next_lease(w.r, 20));
}

/* dma-api: the owner that is shown is one that still holds a lease. */
static void test_shared_owner(void **state) {
        _cleanup_world_ World w;
        Lease *l;

        host_init(&w);
        l = world_acquire(&w, (RequestSpec){ { A }, DMA_API });
        (void)world_acquire(&w, (RequestSpec){ { A }, DMA_API, .owner = "other", .uid = 9 });
        assert_int_equal(registry_lease_end(w.r, l, LEASE_ENDED, "x", &w.c), 0);
        assert_string_equal(registry_group(w.r, 1)->owner.name, "other");
        assert_int_equal(registry_group(w.r, 1)->owner.uid, 9);
}

static int adopt(World *w, const char *id, LeaseState state, RequestSpec spec, Lease **ret) {
        _cleanup_request_ Request q = request_make(spec);

        return registry_adopt_lease(w->r, id, state, &q, ret, &w->c);
}

static void adopt_group(World *w, unsigned id, GroupState state) {
        _cleanup_request_ Request q = request_make((RequestSpec){ { A }, USER });
        Group *g = registry_group(w->r, id);

        assert_int_equal(registry_adopt_group(w->r, g, state, &q.owner, &q.terms, 0, "DMA", &w->c),
                         0);
        for (Device *d = g->devices; d; d = d->next)
                assert_int_equal(device_set_record(d, "before", NULL), 0);
}

static void test_adopt(void **state) {
        _cleanup_world_ World w;
        Lease *active = NULL, *half = NULL, *ended = NULL, *lost = NULL, *next = NULL;

        host_init(&w);
        adopt_group(&w, 1, GROUP_OWNED);
        adopt_group(&w, 2, GROUP_CLAIMING);
        assert_int_equal(adopt(&w, "l9", LEASE_ACTIVE, both, &half), 0);
        assert_int_equal(adopt(&w, "l4", LEASE_ACTIVATING, (RequestSpec){ { A }, USER }, &active),
                         0);
        assert_int_equal(adopt(&w, "l5", LEASE_ENDED, (RequestSpec){ { A }, USER }, &ended), 0);
        assert_int_equal(adopt(&w, "l6", LEASE_ACTIVE, (RequestSpec){ { "0000:99:00.0" }, USER },
                               &lost),
                         0);
        assert_int_equal(active->state, LEASE_ACTIVE);
        assert_int_equal(half->state, LEASE_ACTIVATING);
        assert_int_equal(ended->state, LEASE_ENDED);
        assert_int_equal(ended->n_groups, 0);
        assert_int_equal(lost->state, LEASE_LOST);
        assert_int_equal(lost->failure.code, ERROR_LOST);
        assert_int_equal(registry_group(w.r, 1)->count, 2);
        assert_string_equal(registry_device(w.r, A)->record.driver, "before");
        assert_int_equal(registry_adopt_done(w.r, &w.c), 0);
        assert_int_equal(act_claimed(&w, registry_group(w.r, 2)), 0);
        assert_int_equal(half->state, LEASE_ACTIVE);
        /* ids go on where they were */
        assert_int_equal(world_ask(&w, both, &next, NULL), 0);
        assert_string_equal(next->id, "l10");
        assert_ptr_equal(registry_leases(w.r), active);
        assert_true(registry_next_lease(w.r, 6)->seq == 9);
}

static void test_adopt_refuses(void **state) {
        static const char *const bad[] = { "",    "l",   "7",  "l0", "l07",
                                           "l-1", "l7x", "lx", "x7", "l99999999999999999999999" };
        _cleanup_world_ World w;
        _cleanup_request_ Request q = request_make((RequestSpec){ { A }, USER });
        Group *g;
        Lease *l = NULL;

        host_init(&w);
        adopt_group(&w, 1, GROUP_OWNED);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(adopt(&w, bad[i], LEASE_ACTIVE, (RequestSpec){ { A }, USER }, &l),
                                 -EINVAL);
        assert_int_equal(adopt(&w, "l1", LEASE_ACTIVE, (RequestSpec){ { A }, USER }, &l), 0);
        assert_int_equal(adopt(&w, "l1", LEASE_ACTIVE, (RequestSpec){ { A }, USER }, &l), -EEXIST);
        /* never two owners, whatever the file says */
        assert_int_equal(adopt(&w, "l2", LEASE_ACTIVE,
                               (RequestSpec){ { A }, USER, .owner = "spdk" }, &l),
                         0);
        assert_int_equal(l->state, LEASE_LOST);
        assert_int_equal(registry_group(w.r, 1)->count, 1);
        /* nor a right on a group that is not held at all */
        assert_int_equal(adopt(&w, "l3", LEASE_UNCONFIRMED, both, &l), 0);
        assert_int_equal(l->state, LEASE_LOST);
        g = registry_group(w.r, 1);
        assert_int_equal(registry_adopt_group(w.r, g, GROUP_OWNED, &q.owner, &q.terms, 0, NULL,
                                              &w.c),
                         -EINVAL);
        g = registry_group(w.r, 2);
        assert_int_equal(registry_adopt_group(w.r, g, GROUP_FREE, &q.owner, &q.terms, 0, NULL, &w.c),
                         -EINVAL);
        adopt_group(&w, 2, GROUP_OWNED);
        assert_int_equal(registry_adopt_done(w.r, &w.c), 0);
        assert_int_equal(g->state, GROUP_DRAINING);
        assert_int_equal(registry_group(w.r, 1)->state, GROUP_OWNED);
}

/* Without a record a group is nobody else's, and no way back ends at a guess unless a person says so. */
static void test_unrecorded(void **state) {
        _cleanup_request_ Request q = request_make((RequestSpec){ { A }, USER });
        _cleanup_plan_ Plan halt = PLAN_NULL, back = PLAN_NULL;
        Lease *l = NULL;
        _cleanup_world_ World w;
        Group *g, *lost;

        host_init(&w);
        g = registry_group(w.r, 1);
        lost = registry_group(w.r, 2);
        world_rebind(&w, A, "vfio-pci");
        assert_int_equal(registry_adopt_unrecorded(w.r, g, &q, NULL, &w.c), 0);
        assert_int_equal(registry_adopt_unrecorded(w.r, g, &q, NULL, &w.c), -EINVAL);
        assert_int_equal(registry_adopt_unrecorded(w.r, lost, &q, "damaged", &w.c), 0);
        assert_int_equal(lost->state, GROUP_LOST);
        assert_string_equal(lost->waits_for, "damaged");
        assert_int_equal(adopt(&w, "l4", LEASE_ACTIVE, (RequestSpec){ { A }, USER }, &l), 0);
        assert_int_equal(l->state, LEASE_ACTIVE);
        assert_int_equal(registry_adopt_done(w.r, &w.c), 0);
        assert_int_equal(g->state, GROUP_OWNED);

        assert_int_equal(registry_lease_end(w.r, l, LEASE_ENDED, "released", &w.c), 0);
        assert_true(group_awaits_person(g));
        assert_int_equal(plan_restore(g, NULL, &halt), 0);
        for (size_t i = 0; i < halt.n; i++)
                assert_true(halt.steps[i].kind == STEP_REVOKE_NODE ||
                            halt.steps[i].kind == STEP_CLAIM || halt.steps[i].kind == STEP_RESET);
        world_run_plan(&w, &halt, 0, halt.n);
        assert_int_equal(registry_group_failed(w.r, g, "unknown", &w.c), 0);
        assert_int_equal(registry_group_retry(w.r, g, &w.c), 0);
        assert_false(group_awaits_person(g));
        assert_int_equal(plan_restore(g, NULL, &back), 0);
        world_run_plan(&w, &back, 0, back.n);
        assert_string_equal(registry_device(w.r, A)->facts.driver, "e1000e");
        assert_null(registry_device(w.r, A)->facts.driver_override);
        world_accept(&w, lost);
        assert_false(registry_device(w.r, B)->record.unknown);
}

/* All is left as it is, but a node that the former owner may open. */
static void test_accept_takes_the_right_back(void **state) {
        _cleanup_plan_ Plan p = PLAN_NULL;
        _cleanup_world_ World w;
        Lease *l;
        Group *g;

        host_init(&w);
        l = world_acquire(&w, (RequestSpec){ { A }, USER });
        g = l->groups[0];
        assert_int_equal(registry_group_lost(w.r, g, "test", &w.c), 0);
        assert_int_equal(registry_group_accept(w.r, g, &w.c), 0);
        assert_int_equal(g->state, GROUP_DRAINING);
        assert_int_equal(plan_restore(g, NULL, &p), 0);
        assert_int_equal(p.n, 1);
        assert_int_equal(p.steps[0].kind, STEP_REVOKE_NODE);
        world_run_plan(&w, &p, 0, p.n);
        assert_int_equal(registry_group_failed(w.r, g, "the node", &w.c), 0);
        assert_int_equal(registry_group_retry(w.r, g, &w.c), 0);
        plan_clear(&p);
        assert_int_equal(plan_restore(g, NULL, &p), 0);
        assert_true(p.n > 1); /* all of the way back */
        assert_int_equal(registry_group_failed(w.r, g, "the driver", &w.c), 0);
        assert_int_equal(registry_group_accept(w.r, g, &w.c), 0);
        assert_int_equal(registry_group_drained(w.r, g, &w.c), 0);
        assert_int_equal(registry_group_restored(w.r, g, &w.c), 0);
        assert_null(g->owed_type);
        assert_string_equal(registry_device(w.r, A)->facts.driver, "vfio-pci");

        l = world_acquire(&w, (RequestSpec){ { B }, DMA_API });
        assert_int_equal(registry_group_lost(w.r, l->groups[0], "test", &w.c), 0);
        g = registry_group(w.r, 2);
        assert_int_equal(registry_group_accept(w.r, g, &w.c), 0);
        assert_int_equal(g->state, GROUP_FREE);
}

/* Until the first step, what is seen is what the host has; from then on it is our own work. */
static void test_records_follow_until_begun(void **state) {
        _cleanup_request_ Request q = request_make((RequestSpec){ { A }, USER });
        _cleanup_fault_ Fault fault = FAULT_NULL;
        _cleanup_world_ World w;
        Lease *l = NULL;
        Device *d;

        host_init(&w);
        assert_int_equal(registry_reserve(w.r, &q, &l, &w.c, &fault), 0);
        d = registry_device(w.r, A);
        assert_string_equal(d->record.driver, "e1000e");
        assert_null(d->record.driver_override);
        world_rebind(&w, A, NULL);
        assert_null(d->record.driver);
        world_rebind(&w, A, "e1000e");
        assert_string_equal(d->record.driver, "e1000e");
        assert_true(group_is_untouched(l->groups[0]));
        registry_group_begin(l->groups[0]);
        world_rebind(&w, A, NULL);
        assert_string_equal(d->record.driver, "e1000e");
}

/* The same for one that died before the first step; a type that a former lease left is owed still. */
static void test_adopt_untouched(void **state) {
        _cleanup_world_ World w;
        Group *g;

        host_init(&w);
        adopt_group(&w, 1, GROUP_CLAIMING);
        g = registry_group(w.r, 1);
        assert_string_equal(registry_device(w.r, A)->record.driver, "before");
        assert_int_equal(registry_adopt_untouched(g), 0);
        assert_false(group_is_untouched(g));
        assert_string_equal(registry_device(w.r, A)->record.driver, "e1000e");
        assert_string_equal(g->recorded_type, group_type(g));
        world_rebind(&w, A, NULL);
        assert_string_equal(registry_device(w.r, A)->record.driver, "e1000e");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_records_follow_until_begun),
                cmocka_unit_test(test_group_table),
                cmocka_unit_test(test_waits_for),
                cmocka_unit_test(test_lease_ends),
                cmocka_unit_test(test_lease_table),
                cmocka_unit_test(test_orphan),
                cmocka_unit_test(test_expires),
                cmocka_unit_test(test_claim_failed),
                cmocka_unit_test(test_unplug),
                cmocka_unit_test(test_plug_again),
                cmocka_unit_test(test_seen),
                cmocka_unit_test(test_type_is_the_groups),
                cmocka_unit_test(test_moved_away_from_a_lease),
                cmocka_unit_test(test_changes),
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_shared_owner),
                cmocka_unit_test(test_adopt),
                cmocka_unit_test(test_adopt_refuses),
                cmocka_unit_test(test_adopt_untouched),
                cmocka_unit_test(test_unrecorded),
                cmocka_unit_test(test_accept_takes_the_right_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
