/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plans that change the default domain type, on kernels before and after 6.4. */
#include "core-fixture.h"

#define A       "0000:01:00.0"
#define BRIDGE  "0000:00:1e.0"
#define B       "0000:02:01.0"
#define C       "0000:02:02.0"
#define USER    .kind = OWNER_KIND_USER
#define DMA_API .kind = OWNER_KIND_DMA_API

static Lease *lease_on(World *w, const DeviceSpec *host, RequestSpec want) {
        Lease *l = NULL;

        world_init(w);
        for (; host->name; host++)
                world_plug(w, *host);
        assert_int_equal(world_ask(w, want, &l, NULL), 0);
        return l;
}

static void plan(const Group *g, Plan *p, Obstacles *o) {
        assert_int_equal(plan_claim(g, &g->owner, &g->terms, 0, false, p, o), 0);
}

static void refused(const DeviceSpec *host, RequestSpec want, const char *code, const char *says) {
        _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
        _cleanup_plan_ Plan p = PLAN_NULL;
        _cleanup_world_ World w;

        plan(lease_on(&w, host, want)->groups[0], &p, &o);
        assert_int_equal(p.n, 0);
        assert_int_equal(o.n, 1);
        assert_string_equal(o.items[0].code, code);
        assert_non_null(strstr(o.items[0].text, says));
}

static const DeviceSpec two_strict[] = { { B, 2, "e1000", .strict_type = true },
                                         { C, 2, "e1000", .strict_type = true },
                                         {} };

static void test_strict_kernels_change_single_devices_only(void **state) {
        static const DeviceSpec identity[] = {
                { B, 2, "e1000", .type = "identity", .strict_type = true },
                { C, 2, "e1000", .type = "identity", .strict_type = true },
                {}
        };

        refused(two_strict, (RequestSpec){ { B }, DMA_API, .type = "identity" },
                "type-needs-single-device", "2 devices, " B " and " C);
        refused(two_strict, (RequestSpec){ { B }, DMA_API, .type = "DMA-FQ" },
                "type-needs-single-device", "6.4");
        refused(two_strict, (RequestSpec){ { B }, DMA_API, .type = "auto" },
                "type-needs-single-device", "6.4");
        refused(identity, (RequestSpec){ { B }, USER }, "type-needs-single-device",
                "identity to DMA");
}

static void test_strict_kernels_grant_what_is_there(void **state) {
        _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
        _cleanup_plan_ Plan p = PLAN_NULL;
        _cleanup_world_ World w;

        plan(lease_on(&w, two_strict, (RequestSpec){ { B }, DMA_API, .type = "DMA" })->groups[0],
             &p, &o);
        assert_int_equal(o.n, 0);
        assert_int_equal(p.n, 0);
}

static void test_a_group_without_a_default_domain(void **state) {
        static const DeviceSpec host[] = { { A, 1, "e1000e", .type = "" }, {} };

        refused(host, (RequestSpec){ { A }, DMA_API, .type = "DMA" }, "no-default-domain-type", A);
}

/* Over, back, and the plan of the way over. */
static void over_and_back(World *w, Lease *l, Plan *p) {
        _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
        Group *g = l->groups[0];

        plan(g, p, &o);
        assert_int_equal(o.n, 0);
        world_run_plan(w, p, 0, p->n);
        assert_true(group_is_switched(g, &g->terms));
        assert_int_equal(registry_group_claimed(w->r, g, &w->c), 0);
        assert_int_equal(registry_lease_end(w->r, l, LEASE_ENDED, "released", &w->c), 0);
        world_restore(w, g);
        assert_int_equal(g->state, GROUP_FREE);
}

/* Newer ones let pci-stub stay, older ones want no driver at all. */
static void test_harmless_drivers_leave_on_strict_kernels(void **state) {
        for (int strict = 0; strict < 2; strict++) {
                const DeviceSpec host[] = { { A, 1, "pci-stub", .strict_type = strict }, {} };
                _cleanup_plan_ Plan p = PLAN_NULL;
                _cleanup_world_ World w;
                Lease *l = lease_on(&w, host, (RequestSpec){ { A }, DMA_API, .type = "identity" });

                over_and_back(&w, l, &p);
                assert_int_equal(p.n, strict ? 3 : 1);
                assert_string_equal(group_type(registry_group(w.r, 1)), "DMA");
                assert_string_equal(world_device(&w, A)->facts.driver, "pci-stub");
        }
}

static void test_strict_kernels_switch_a_single_device(void **state) {
        static const struct {
                const char *from, *to;
                size_t n_steps;
                bool owed;
        } changes[] = {
                { "DMA", "identity", 3, false },
                { "identity", "DMA-FQ", 3, false },
                { "DMA-FQ", "DMA", 3, false },
                { "DMA", "DMA-FQ", 1, true },
        };

        for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
                const DeviceSpec host[] = {
                        { A, 1, "e1000e", .type = changes[i].from, .strict_type = true }, {}
                };
                RequestSpec want = { { A }, DMA_API, .type = changes[i].to };
                _cleanup_plan_ Plan p = PLAN_NULL;
                _cleanup_world_ World w;
                Group *g;

                over_and_back(&w, lease_on(&w, host, want), &p);
                g = registry_group(w.r, 1);
                assert_int_equal(p.n, changes[i].n_steps);
                assert_string_equal(group_type(g),
                                    changes[i].owed ? changes[i].to : changes[i].from);
                assert_true(str_eq(g->owed_type, changes[i].owed ? changes[i].from : NULL));
        }
}

/* What was written down by a former run. */
static void test_owed_type_is_adopted(void **state) {
        _cleanup_world_ World w;
        Group *g;
        Lease *l;

        world_init(&w);
        world_plug(&w, (DeviceSpec){ A, 1, "e1000e", .type = "DMA-FQ" });
        world_plug(&w, (DeviceSpec){ B, 2, "e1000e", .type = "DMA" });
        g = registry_group(w.r, 1);
        assert_int_equal(registry_adopt_owed(registry_group(w.r, 2), "DMA"), -EINVAL);
        assert_int_equal(registry_adopt_owed(g, "DMA"), 0);
        l = world_acquire(&w, (RequestSpec){ { A }, USER });
        assert_int_equal(registry_adopt_owed(g, "DMA"), -EINVAL);
        assert_int_equal(registry_lease_end(w.r, l, LEASE_ENDED, "released", &w.c), 0);
        world_restore(&w, g);
        assert_string_equal(group_type(g), "DMA");
        assert_null(g->owed_type);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_strict_kernels_change_single_devices_only),
                cmocka_unit_test(test_strict_kernels_grant_what_is_there),
                cmocka_unit_test(test_a_group_without_a_default_domain),
                cmocka_unit_test(test_harmless_drivers_leave_on_strict_kernels),
                cmocka_unit_test(test_strict_kernels_switch_a_single_device),
                cmocka_unit_test(test_owed_type_is_adopted),
        };

        return cmocka_run_group_tests_name("core-retype", tests, NULL, NULL);
}
