/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"
#include "util/strings.h"

#define A "0000:01:00.0"
#define B "0000:02:00.0"

#define USER    .kind = OWNER_KIND_USER
#define DMA_API .kind = OWNER_KIND_DMA_API

static const RequestSpec fd_lease = { { A }, USER, .access = ACCESS_FD };

static void host_init(World *w) {
        world_init(w);
        world_plug(w, (DeviceSpec){ A, 1, "e1000e" });
        world_plug(w, (DeviceSpec){ B, 2, "e1000e" });
}

/* A policy that keeps everything. */
static Policy *keep_all(void) {
        _cleanup_rule_ Rule rule = RULE_NULL;
        Policy *p;

        rule.release = RELEASE_KEEP;
        assert_int_equal(policy_new(&p), 0);
        assert_int_equal(policy_add(p, &rule), 0);
        return p;
}

static Lease *hold(World *w, RequestSpec spec) {
        _cleanup_plan_ Plan p = PLAN_NULL;
        _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
        Lease *l = NULL;
        Group *g;

        assert_int_equal(world_ask(w, spec, &l, NULL), 0);
        g = l->groups[0];
        assert_int_equal(plan_claim(g, &g->owner, &g->terms, g->node_uid, false, &p, &o), 0);
        assert_int_equal(o.n, 0);
        world_run_plan(w, &p, 0, p.n);
        /* the same owner is lent what keeps the group */
        if (g->terms.access == ACCESS_FD && g->kept == KEPT_CLAIM)
                assert_int_equal(registry_group_set_kept(g, KEPT_LENT, g->kept_interface, &w->c), 0);
        assert_int_equal(registry_group_claimed(w->r, g, &w->c), 0);
        return l;
}

static void go_back(World *w, Group *g, const Policy *policy) {
        _cleanup_plan_ Plan p = PLAN_NULL, left = PLAN_NULL;

        assert_int_equal(plan_restore(g, policy, &p), 0);
        world_run_plan(w, &p, 0, p.n);
        assert_int_equal(registry_group_drained(w->r, g, &w->c), 0);
        g->cleaned = g->kept == KEPT_CLAIM;
        assert_int_equal(plan_restore(g, policy, &left), 0);
        assert_int_equal(left.n, 0);
        if (plan_keeps(g, policy))
                assert_int_equal(registry_group_quarantined(w->r, g, &w->c), 0);
        else
                assert_int_equal(registry_group_restored(w->r, g, &w->c), 0);
}

static void release(World *w, Lease *l, const Policy *policy) {
        Group *g = l->groups[0];

        assert_int_equal(registry_lease_end(w->r, l, LEASE_ENDED, "released", &w->c), 0);
        go_back(w, g, policy);
}

static void test_kept_and_given_back(void **state) {
        _cleanup_(policy_freep) Policy *policy = keep_all();
        _cleanup_world_ World w;
        Group *g;

        host_init(&w);
        g = registry_group(w.r, 1);
        assert_int_equal(registry_group_give_back(w.r, g, &w.c), -EINVAL);
        release(&w, hold(&w, fd_lease), policy);
        assert_int_equal(g->state, GROUP_QUARANTINED);
        assert_int_equal(g->count, 0);
        assert_int_equal(g->kept, KEPT_CLAIM);
        assert_string_equal(world_device(&w, A)->facts.driver, "vfio-pci");
        assert_int_equal(registry_group_quarantined(w.r, g, &w.c), -EINVAL);
        assert_int_equal(registry_group_give_back(w.r, g, &w.c), 0);
        assert_int_equal(g->state, GROUP_DRAINING);
        go_back(&w, g, policy);
        assert_int_equal(g->state, GROUP_FREE);
        assert_int_equal(g->kept, KEPT_NOTHING);
        assert_string_equal(world_device(&w, A)->facts.driver, "e1000e");
}

/* What becomes of the binding when these two follow each other. */
static bool is_bound_anew(RequestSpec first, RequestSpec second) {
        _cleanup_(policy_freep) Policy *policy = keep_all();
        _cleanup_plan_ Plan p = PLAN_NULL;
        _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
        _cleanup_world_ World w;
        bool unbind = false, bind = false;
        Lease *l = NULL;
        Group *g;

        host_init(&w);
        release(&w, hold(&w, first), policy);
        assert_int_equal(world_ask(&w, second, &l, NULL), 0);
        g = l->groups[0];
        /* the records are those of the host still */
        assert_string_equal(g->devices->record.driver, "e1000e");
        assert_int_equal(plan_claim(g, &g->owner, &g->terms, g->node_uid, false, &p, &o), 0);
        for (size_t i = 0; i < p.n; i++) {
                unbind = unbind || p.steps[i].kind == STEP_UNBIND;
                bind = bind || p.steps[i].kind == STEP_BIND;
        }
        assert_true(unbind == bind);
        world_run_plan(&w, &p, 0, p.n);
        return unbind;
}

static void test_one_binding_serves_one_owner(void **state) {
        const RequestSpec mine = { { A }, USER, .access = ACCESS_FD, .owner = "me", .uid = 1 };
        const RequestSpec others = { { A }, USER, .access = ACCESS_FD, .owner = "you", .uid = 1 };
        const RequestSpec namesake = { { A }, USER, .access = ACCESS_FD, .owner = "me", .uid = 2 };
        const RequestSpec by_node = { { A }, USER, .owner = "me", .uid = 1 };

        assert_false(is_bound_anew(mine, mine));
        assert_false(is_bound_anew(mine, by_node));
        assert_false(is_bound_anew(by_node, mine));
        assert_true(is_bound_anew(mine, others));
        assert_true(is_bound_anew(mine, namesake));
        assert_true(is_bound_anew(by_node, others));
}

/* He who did not leave when he was asked leaves a binding behind that is nobody's. */
static void test_evicted(void **state) {
        _cleanup_(policy_freep) Policy *policy = keep_all();
        _cleanup_plan_ Plan evict = PLAN_NULL;
        _cleanup_world_ World w;
        Lease *l;
        Group *g;

        host_init(&w);
        g = registry_group(w.r, 1);
        l = hold(&w, (RequestSpec){ { A }, USER, .owner = "me", .uid = 1 });
        w.open[1] = true;
        assert_int_equal(registry_revoke(w.r, l, "x", 1, &w.c), 0);
        assert_int_equal(registry_revoke_due(w.r, l, &w.c), 0);
        assert_int_equal(plan_restore(g, policy, &evict), 0);
        assert_int_equal(evict.steps[1].kind, STEP_EVICT);
        world_run_plan(&w, &evict, 0, evict.n);
        go_back(&w, g, policy);
        assert_int_equal(g->state, GROUP_QUARANTINED);
        assert_string_equal(world_device(&w, A)->facts.driver, "vfio-pci");
}

/* One who failed half way has not become the owner of the binding. */
static void test_failed_successor(void **state) {
        const RequestSpec first = { { A }, USER, .access = ACCESS_FD, .owner = "first" };
        const RequestSpec second = { { A }, USER, .access = ACCESS_FD, .owner = "second" };
        _cleanup_(policy_freep) Policy *policy = keep_all();
        _cleanup_fault_ Fault why = FAULT_NULL;
        _cleanup_world_ World w;
        Lease *l = NULL;
        Group *g;

        host_init(&w);
        release(&w, hold(&w, first), policy);
        assert_int_equal(world_ask(&w, second, &l, NULL), 0);
        g = l->groups[0];
        (void)fault_set(&why, ERROR_KERNEL_REFUSED, "test");
        assert_int_equal(registry_group_claim_failed(w.r, g, &why, &w.c), 0);
        assert_true(plan_keeps(g, policy));
        go_back(&w, g, policy);
        assert_int_equal(g->state, GROUP_QUARANTINED);
        /* not even for the first owner: nobody looked at how far the second one came */
        assert_true(group_needs_new_binding(g, &(Owner){ 0, (char *)"first" }, 0, NULL));
        assert_true(group_needs_new_binding(g, &(Owner){ 0, (char *)"second" }, 0, NULL));
        (void)hold(&w, second);
        assert_false(g->rebind);
}

/* A claim that began at the host's drivers ends there. */
static void test_failed_claim_is_the_hosts(void **state) {
        _cleanup_(policy_freep) Policy *policy = keep_all();
        _cleanup_plan_ Plan p = PLAN_NULL;
        _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
        _cleanup_fault_ Fault why = FAULT_NULL;
        _cleanup_world_ World w;
        Lease *l = NULL;
        Group *g;

        host_init(&w);
        assert_int_equal(world_ask(&w, fd_lease, &l, NULL), 0);
        g = l->groups[0];
        assert_int_equal(plan_claim(g, &g->owner, &g->terms, g->node_uid, false, &p, &o), 0);
        world_run_plan(&w, &p, 0, p.n);
        (void)fault_set(&why, ERROR_KERNEL_REFUSED, "test");
        assert_int_equal(registry_group_claim_failed(w.r, g, &why, &w.c), 0);
        assert_false(plan_keeps(g, policy));
        go_back(&w, g, policy);
        assert_int_equal(g->state, GROUP_FREE);
        assert_string_equal(world_device(&w, A)->facts.driver, "e1000e");
}

static void test_other_kinds_are_refused(void **state) {
        _cleanup_(policy_freep) Policy *policy = keep_all();
        _cleanup_fault_ Fault fault = FAULT_NULL;
        _cleanup_world_ World w;

        host_init(&w);
        release(&w, hold(&w, fd_lease), policy);
        assert_int_equal(world_ask(&w, (RequestSpec){ { A }, DMA_API }, NULL, &fault), -ECANCELED);
        assert_int_equal(fault.code, ERROR_QUARANTINED);
        assert_int_equal(registry_group(w.r, 1)->state, GROUP_QUARANTINED);
}

/* After a restart: without what kept it the group is claimed again, with it nothing is done. */
static void test_adopted(void **state) {
        _cleanup_(policy_freep) Policy *policy = keep_all();

        for (int kept = 0; kept < 2; kept++) {
                _cleanup_request_ Request had = request_make(fd_lease);
                _cleanup_world_ World w;
                Group *g;

                world_init(&w);
                world_plug(&w, (DeviceSpec){ A, 1, "vfio-pci" });
                g = registry_group(w.r, 1);
                assert_int_equal(registry_adopt_group(w.r, g, GROUP_QUARANTINED, &had.owner,
                                                      &had.terms, 0, "DMA", &w.c),
                                 0);
                assert_int_equal(device_set_record(registry_device(w.r, A), "e1000e", NULL), 0);
                if (kept) {
                        assert_int_equal(registry_group_set_kept(g, KEPT_CLAIM,
                                                                 VFIO_INTERFACE_CONTAINER, &w.c),
                                         0);
                        w.claimed[1] = true;
                }
                assert_int_equal(registry_adopt_done(w.r, &w.c), 0);
                assert_int_equal(g->state, kept ? GROUP_QUARANTINED : GROUP_DRAINING);
                if (!kept)
                        go_back(&w, g, policy);
                assert_int_equal(g->state, GROUP_QUARANTINED);
                assert_true(w.claimed[1]);
        }
}

/* In between it is the host's to say what a VF has. */
static void test_settings_of_a_vf(void **state) {
        static const char first[] = "trust=off", second[] = "trust=off vlan=7";
        _cleanup_(policy_freep) Policy *policy = keep_all();
        const RequestSpec spec = { { A }, USER };
        _cleanup_world_ World w;
        HostDevice *host;
        Device *d;
        Lease *l;

        world_init(&w);
        world_plug(&w, (DeviceSpec){ A, 1, "igbvf", .physfn = B, .vf_settings = first });
        host = world_device(&w, A);
        d = registry_device(w.r, A);
        l = hold(&w, spec);
        assert_int_equal(str_set(&host->vf_settings, "trust=on"), 0);
        assert_int_equal(registry_lease_end(w.r, l, LEASE_ENDED, "released", &w.c), 0);
        go_back(&w, d->group, policy);
        assert_int_equal(d->group->state, GROUP_QUARANTINED);
        assert_string_equal(host->vf_settings, first);
        assert_int_equal(str_set(&host->vf_settings, second), 0);
        l = hold(&w, spec);
        assert_string_equal(d->record.vf_settings, second);
        assert_int_equal(str_set(&host->vf_settings, "trust=on"), 0);
        assert_int_equal(registry_lease_end(w.r, l, LEASE_ENDED, "released", &w.c), 0);
        go_back(&w, d->group, NULL);
        assert_int_equal(d->group->state, GROUP_FREE);
        assert_string_equal(host->vf_settings, second);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_kept_and_given_back),
                cmocka_unit_test(test_one_binding_serves_one_owner),
                cmocka_unit_test(test_evicted),
                cmocka_unit_test(test_failed_successor),
                cmocka_unit_test(test_failed_claim_is_the_hosts),
                cmocka_unit_test(test_other_kinds_are_refused),
                cmocka_unit_test(test_adopted),
                cmocka_unit_test(test_settings_of_a_vf),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
