/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A lease over VFs that are made for it: what its PF's group does, and when it gets them. */
#include "core-fixture.h"

#include "core/choice.h"
#include "core/vfs.h"

#define PF    "0000:01:00.0" /* group 1 */
#define VF0   "0000:01:00.1" /* group 2 */
#define VF1   "0000:01:00.2" /* group 3 */
#define OTHER "0000:02:00.0" /* group 4 */
#define USER  .kind = OWNER_KIND_USER

static void host_init(World *w) {
        world_init(w);
        world_plug(w, (DeviceSpec){ .name = PF, .group = 1, .driver = "igb", .total_vfs = 4 });
        world_plug(w, (DeviceSpec){ .name = OTHER, .group = 4, .driver = "e1000e" });
        changes_clear(&w->c);
}

static int ask(World *w, unsigned vfs, RequestSpec spec, Lease **ret, Fault *why) {
        _cleanup_request_ Request q = request_make(spec);
        int k;

        q.terms.vfs = vfs;
        k = registry_choose(w->r, &q, NULL, why);
        return k < 0 ? k : registry_reserve(w->r, &q, ret, &w->c, why);
}

static Lease *reserve(World *w, unsigned vfs) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        Lease *l = NULL;

        if (ask(w, vfs, (RequestSpec){ { PF }, USER }, &l, &why) < 0)
                fail_msg("%s", why.message);
        for (size_t i = 0; i < l->n_groups; i++)
                registry_group_begin(l->groups[i]);
        return l;
}

static void refused(World *w, unsigned vfs, RequestSpec spec, ErrorCode code, const char *says) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        Lease *l = NULL;

        assert_int_equal(ask(w, vfs, spec, &l, &why), -ECANCELED);
        if (why.code != code || !strstr(why.message, says))
                fail_msg("%s: %s", error_code_to_string(why.code), why.message);
}

/* Plans and runs what the group needs, which has to be these steps. */
static void claim(World *w, Group *g, const char *const *steps) {
        _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
        _cleanup_plan_ Plan p = PLAN_NULL;

        assert_int_equal(plan_claim(g, &g->owner, &g->terms, g->node_uid, false, &p, &o), 0);
        assert_int_equal(o.n, 0);
        for (size_t i = 0; steps && i < p.n; i++) {
                _cleanup_free_ char *text = step_describe(&p.steps[i]);

                assert_string_equal(text, steps[i]);
        }
        world_run_plan(w, &p, 0, p.n);
        assert_true(group_is_switched(g, &g->terms));
        assert_int_equal(registry_group_claimed(w->r, g, &w->c), 0);
}

static Group *group(World *w, const char *device) {
        return registry_device(w->r, device)->group;
}

static void plug_vf(World *w, const char *name, int number) {
        world_plug(w, (DeviceSpec){ .name = name, .group = number, .physfn = PF });
}

static void make(World *w, Lease *l) {
        static const char *const steps[] = {
                "let drivers not bind new virtual functions of " PF,
                "set the number of virtual functions of " PF " to 2",
        };

        claim(w, group(w, PF), steps);
        assert_int_equal(l->state, LEASE_ACTIVATING);
        assert_true(lease_awaits_vfs(l));
}

static Lease *acquire(World *w) {
        Lease *l = reserve(w, 2);

        make(w, l);
        plug_vf(w, VF0, 2);
        plug_vf(w, VF1, 3);
        assert_int_equal(registry_join_vfs(w->r, l, &w->c, NULL), 1);
        claim(w, group(w, VF0), NULL);
        claim(w, group(w, VF1), NULL);
        assert_int_equal(l->state, LEASE_ACTIVE);
        return l;
}

static void test_from_making_to_removing(void **state) {
        _cleanup_free_ char *names = NULL;
        _cleanup_world_ World w;
        Group *g;
        Lease *l;

        host_init(&w);
        l = acquire(&w);
        g = group(&w, PF);
        assert_int_equal(strv_length(l->request.devices), 2);
        assert_string_equal(l->request.devices[0], VF0);
        assert_int_equal(l->n_groups, 3);
        assert_int_equal(g->terms.kind, OWNER_KIND_DMA_API);
        assert_int_equal(group(&w, VF0)->terms.kind, OWNER_KIND_USER);
        assert_ptr_equal(group_pf(g), registry_device(w.r, PF));
        assert_null(group_pf(group(&w, VF0)));

        assert_int_equal(registry_lease_end(w.r, l, LEASE_ENDED, "released", &w.c), 0);
        assert_int_equal(g->state, GROUP_DRAINING);
        assert_int_equal(registry_vfs_in_use(w.r, g, &names), 0);
        assert_string_equal(names, VF0 ", " VF1);
        world_restore(&w, group(&w, VF0));
        world_restore(&w, group(&w, VF1));
        assert_null(registry_device(w.r, VF0)->facts.driver);
        free(names);
        assert_int_equal(registry_vfs_in_use(w.r, g, &names), 0);
        assert_null(names);
        world_restore(&w, g);
        assert_int_equal(registry_device(w.r, PF)->facts.num_vfs, 0);
        assert_true(registry_device(w.r, PF)->facts.vf_autoprobe);
        registry_forget_lease(w.r, l);
}

static void test_they_come_one_by_one(void **state) {
        _cleanup_world_ World w;
        Lease *l;

        host_init(&w);
        l = reserve(&w, 2);
        make(&w, l);
        assert_int_equal(registry_join_vfs(w.r, l, &w.c, NULL), 0);
        plug_vf(&w, VF0, 2);
        assert_int_equal(registry_join_vfs(w.r, l, &w.c, NULL), 0);
        /* nobody can be quicker */
        refused(&w, 0, (RequestSpec){ { VF0 }, USER, .owner = "other" }, ERROR_BUSY, "being made");
        plug_vf(&w, VF1, -1); /* its group is not known yet */
        assert_int_equal(registry_join_vfs(w.r, l, &w.c, NULL), 0);
        plug_vf(&w, VF1, 3);
        assert_int_equal(registry_join_vfs(w.r, l, &w.c, NULL), 1);
        assert_int_equal(registry_join_vfs(w.r, l, &w.c, NULL), -EINVAL);
}

/* After a restart: the claims of the VFs had been written, but not that the lease has them. */
static void test_groups_that_are_taken_back_first(void **state) {
        Terms terms = { .kind = OWNER_KIND_USER, .pf = (char *)PF };
        Owner owner = { .name = (char *)"dpdk" };
        _cleanup_world_ World w;
        Group *g;
        Lease *l;

        host_init(&w);
        l = reserve(&w, 2);
        make(&w, l);
        plug_vf(&w, VF0, 2);
        plug_vf(&w, VF1, 3);
        g = group(&w, VF0);
        assert_int_equal(registry_adopt_group(w.r, g, GROUP_CLAIMING, &owner, &terms, 0, "DMA",
                                              &w.c),
                         0);
        assert_int_equal(registry_adopt_done(w.r, &w.c), 0);
        assert_int_equal(g->state, GROUP_DRAINING);
        assert_int_equal(registry_join_vfs(w.r, l, &w.c, NULL), 0);
        world_restore(&w, g);
        assert_int_equal(registry_join_vfs(w.r, l, &w.c, NULL), 1);
}

static void test_vfs_beside_their_pf(void **state) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        _cleanup_world_ World w;
        Lease *l;

        host_init(&w);
        l = reserve(&w, 2);
        make(&w, l);
        plug_vf(&w, VF0, 1);
        plug_vf(&w, VF1, 3);
        assert_int_equal(registry_join_vfs(w.r, l, &w.c, &why), -ECANCELED);
        assert_int_equal(why.code, ERROR_NOT_VIABLE);
        assert_int_equal(group(&w, VF1)->state, GROUP_FREE);
        assert_true(lease_awaits_vfs(l));
}

static void test_the_pf_is_held(void **state) {
        _cleanup_world_ World w;

        host_init(&w);
        acquire(&w);
        refused(&w, 0, (RequestSpec){ { PF }, USER }, ERROR_BUSY, "virtual functions");
        refused(&w, 0, (RequestSpec){ { PF }, .kind = OWNER_KIND_DMA_API }, ERROR_BUSY, PF);
        refused(&w, 2, (RequestSpec){ { PF }, USER }, ERROR_BUSY, PF);
}

static void test_what_cannot_be_made(void **state) {
        static const struct {
                unsigned vfs;
                const char *device, *code;
                DeviceSpec pf;
        } rows[] = {
                { 5, PF, "too-many-vfs", { PF, 1, "igb", .total_vfs = 4 } },
                { 1, OTHER, "no-sriov", { PF, 1, "igb", .total_vfs = 4 } },
                { 1, PF, "no-pf-driver", { PF, 1, NULL, .total_vfs = 4 } },
                { 1, PF, "no-pf-driver", { PF, 1, "vfio-pci", .total_vfs = 4 } },
                { 1, PF, "vfs-enabled", { PF, 1, "igb", .total_vfs = 4, .num_vfs = 3 } },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
                _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
                Terms terms = { .vfs = rows[i].vfs, .pf = (char *)rows[i].device };
                _cleanup_plan_ Plan p = PLAN_NULL;
                _cleanup_world_ World w;

                host_init(&w);
                world_plug(&w, rows[i].pf);
                assert_int_equal(plan_claim(group(&w, rows[i].device), &(Owner){}, &terms, 0, false,
                                            &p, &o),
                                 0);
                assert_int_equal(p.n, 0);
                assert_int_equal(o.n, 1);
                assert_string_equal(o.items[0].code, rows[i].code);
        }
}

static void test_requests_that_make_no_sense(void **state) {
        _cleanup_world_ World w;

        host_init(&w);
        refused(&w, 2, (RequestSpec){ { PF, OTHER }, USER }, ERROR_INVALID_ARGS, "one device");
        refused(&w, 2, (RequestSpec){ { PF }, .kind = OWNER_KIND_DMA_API }, ERROR_INVALID_ARGS,
                "driver");
        refused(&w, 2, (RequestSpec){ { "0000:09:00.0" }, USER }, ERROR_NO_SUCH_DEVICE, "09");
}

static void test_as_many_as_there_are(void **state) {
        _cleanup_world_ World w;
        Lease *l = NULL;

        host_init(&w);
        world_plug(&w, (DeviceSpec){ PF, 1, "igb", .total_vfs = 4, .num_vfs = 2 });
        plug_vf(&w, VF0, 2);
        refused(&w, 2, (RequestSpec){ { PF }, USER }, ERROR_BUSY, "appeared");
        plug_vf(&w, VF1, 3);
        assert_int_equal(ask(&w, 2, (RequestSpec){ { PF }, USER }, &l, NULL), 0);
        assert_int_equal(l->n_groups, 2);
        assert_string_equal(l->request.devices[1], VF1);
        assert_int_equal(group(&w, PF)->state, GROUP_FREE);
        assert_false(lease_awaits_vfs(l));
}

static void test_failures_undo_all(void **state) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        _cleanup_world_ World w;
        Lease *l;

        host_init(&w);
        l = reserve(&w, 2);
        make(&w, l);
        plug_vf(&w, VF0, 2);
        plug_vf(&w, VF1, 3);
        assert_int_equal(registry_join_vfs(w.r, l, &w.c, NULL), 1);
        fault_set(&why, ERROR_KERNEL_REFUSED, "bind: EIO");
        assert_int_equal(registry_group_claim_failed(w.r, group(&w, VF1), &why, &w.c), 0);
        assert_int_equal(l->state, LEASE_FAILED);
        assert_int_equal(group(&w, VF0)->state, GROUP_DRAINING);
        assert_int_equal(group(&w, PF)->state, GROUP_DRAINING);
        refused(&w, 0, (RequestSpec){ { VF0 }, USER }, ERROR_BUSY, "removed");
}

static void test_the_pf_goes(void **state) {
        _cleanup_world_ World w;
        Lease *l;

        host_init(&w);
        l = acquire(&w);
        world_unplug(&w, PF);
        assert_int_equal(l->state, LEASE_LOST);
        assert_int_equal(group(&w, VF0)->state, GROUP_DRAINING);
}

#define SETTINGS "mac=52:54:00:12:34:56 vlan=0 trust=off"
#define OTHERS   "mac=52:54:00:12:34:57 vlan=5 trust=on"

/* A VF that was there before, with what its PF's driver has set for it. */
static Lease *acquire_vf(World *w, RequestSpec spec, const char *settings) {
        host_init(w);
        world_plug(w,
                   (DeviceSpec){
                           .name = PF, .group = 1, .driver = "igb", .total_vfs = 4, .num_vfs = 1 });
        world_plug(w, (DeviceSpec){ .name = VF0,
                                    .group = 2,
                                    .driver = "igbvf",
                                    .physfn = PF,
                                    .vf_settings = settings });
        return world_acquire(w, spec);
}

static bool has_step(const Plan *p, StepKind kind, const char *value) {
        for (size_t i = 0; i < p->n; i++)
                if (p->steps[i].kind == kind && (!value || str_eq(p->steps[i].value, value)))
                        return true;
        return false;
}

static size_t find_step(const Plan *p, StepKind kind) {
        size_t i = 0;

        while (i < p->n && p->steps[i].kind != kind)
                i++;
        assert_true(i < p->n);
        return i;
}

static void test_settings_are_put_back(void **state) {
        _cleanup_plan_ Plan p = PLAN_NULL;
        _cleanup_world_ World w;
        Device *d;
        Lease *l;

        l = acquire_vf(&w, (RequestSpec){ { VF0 }, USER }, SETTINGS);
        d = registry_device(w.r, VF0);
        assert_string_equal(d->record.vf_settings, SETTINGS);
        assert_int_equal(str_set(&world_device(&w, VF0)->vf_settings, OTHERS), 0);
        assert_int_equal(registry_lease_end(w.r, l, LEASE_ENDED, "released", &w.c), 0);
        assert_int_equal(plan_restore(d->group, NULL, &p), 0);
        assert_true(has_step(&p, STEP_SET_VF, SETTINGS));
        assert_true(find_step(&p, STEP_SET_VF) > find_step(&p, STEP_RESET));
        assert_true(find_step(&p, STEP_SET_VF) > find_step(&p, STEP_UNBIND));
        assert_true(find_step(&p, STEP_SET_VF) < find_step(&p, STEP_BIND));
        world_restore(&w, d->group);
        assert_string_equal(world_device(&w, VF0)->vf_settings, SETTINGS);
        assert_null(d->record.vf_settings);
}

static void test_settings_are_read_first_and_once(void **state) {
        _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
        Terms terms = { .kind = OWNER_KIND_USER };
        _cleanup_plan_ Plan p = PLAN_NULL, rest = PLAN_NULL;
        _cleanup_world_ World w;
        Group *g;

        host_init(&w);
        world_plug(&w, (DeviceSpec){ .name = VF0,
                                     .group = 2,
                                     .driver = "igbvf",
                                     .physfn = PF,
                                     .vf_settings = SETTINGS });
        g = group(&w, VF0);
        assert_int_equal(plan_claim(g, &(Owner){}, &terms, 0, false, &p, &o), 0);
        assert_int_equal(find_step(&p, STEP_READ_VF), 0);
        assert_false(plan_disturbs(&(Plan){ .steps = p.steps, .n = 1 }, VF0));
        world_run_plan(&w, &p, 0, 1);
        assert_int_equal(plan_claim(g, &(Owner){}, &terms, 0, false, &rest, &o), 0);
        assert_false(has_step(&rest, STEP_READ_VF, NULL));
}

static void test_settings_that_are_nobodys(void **state) {
        _cleanup_plan_ Plan p = PLAN_NULL;
        _cleanup_world_ World w;
        Lease *l;

        /* its driver reports none */
        l = acquire_vf(&w, (RequestSpec){ { VF0 }, USER }, "");
        assert_string_equal(registry_device(w.r, VF0)->record.vf_settings, "");
        assert_int_equal(registry_lease_end(w.r, l, LEASE_ENDED, "released", &w.c), 0);
        assert_int_equal(plan_restore(group(&w, VF0), NULL, &p), 0);
        assert_false(has_step(&p, STEP_SET_VF, NULL));
        world_clear(&w);
        /* the host goes on using it */
        (void)acquire_vf(&w, (RequestSpec){ { VF0 }, .kind = OWNER_KIND_DMA_API }, SETTINGS);
        assert_null(registry_device(w.r, VF0)->record.vf_settings);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_from_making_to_removing),
                cmocka_unit_test(test_they_come_one_by_one),
                cmocka_unit_test(test_groups_that_are_taken_back_first),
                cmocka_unit_test(test_vfs_beside_their_pf),
                cmocka_unit_test(test_the_pf_is_held),
                cmocka_unit_test(test_what_cannot_be_made),
                cmocka_unit_test(test_requests_that_make_no_sense),
                cmocka_unit_test(test_as_many_as_there_are),
                cmocka_unit_test(test_failures_undo_all),
                cmocka_unit_test(test_the_pf_goes),
                cmocka_unit_test(test_settings_are_put_back),
                cmocka_unit_test(test_settings_are_read_first_and_once),
                cmocka_unit_test(test_settings_that_are_nobodys),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
