/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plans with a driver that is asked for by name. */
#include "core-fixture.h"

#define A       "0000:01:00.0"
#define BRIDGE  "0000:00:1e.0"
#define B       "0000:02:01.0"
#define C       "0000:02:02.0"
#define DMA_API .kind = OWNER_KIND_DMA_API
#define PRIVATE .kind = OWNER_KIND_PRIVATE_DOMAIN

static void wish(World *w, const char *device, const char *driver, DriverMatch match,
                 const char *module) {
        DriverWish *known = &registry_device(w->r, device)->wish;

        driver_wish_clear(known);
        known->match = match;
        assert_int_equal(str_set(&known->name, driver), 0);
        assert_int_equal(str_set(&known->module, module), 0);
}

static Lease *lease_on(World *w, const DeviceSpec *host, RequestSpec want) {
        Lease *l = NULL;

        world_init(w);
        for (; host->name; host++)
                world_plug(w, *host);
        assert_int_equal(world_ask(w, want, &l, NULL), 0);
        return l;
}

static void check_plan(const Group *g, const char *code, const char *const *expected) {
        _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
        _cleanup_plan_ Plan p = PLAN_NULL;

        assert_int_equal(plan_claim(g, &g->owner, &g->terms, 0, false, &p, &o), 0);
        assert_int_equal(o.n, code ? 1 : 0);
        if (code)
                assert_string_equal(o.items[0].code, code);
        for (size_t i = 0; i < p.n || expected[i]; i++) {
                _cleanup_free_ char *text = i < p.n ? step_describe(&p.steps[i]) : NULL;

                if (!str_eq(text, expected[i])) {
                        plan_print(&p);
                        fail_msg("step %zu is '%s', not '%s'", i, text, expected[i]);
                }
        }
}

static const DeviceSpec one[] = { { A, 1, "virtio-pci" }, {} };
static const RequestSpec vdpa = { { A }, PRIVATE, .driver = "vp-vdpa" };
static const char *const nothing[] = { NULL };

static void test_what_the_tables_say(void **state) {
        static const char *const listed[] = { "set driver_override of " A " to vp-vdpa",
                                              "unbind " A " from virtio-pci",
                                              "bind " A " to vp-vdpa", NULL };
        static const char *const to_load[] = { "load module vp_vdpa",
                                               "set driver_override of " A " to vp-vdpa",
                                               "unbind " A " from virtio-pci",
                                               "bind " A " to vp-vdpa", NULL };
        static const char *const unknown[] = { "unbind " A " from virtio-pci",
                                               "bind " A " to vp-vdpa", NULL };
        _cleanup_world_ World w;
        Group *g = lease_on(&w, one, vdpa)->groups[0];

        wish(&w, A, "vp-vdpa", DRIVER_MATCH_LISTED, NULL);
        check_plan(g, NULL, listed);
        wish(&w, A, "vp-vdpa", DRIVER_MATCH_LISTED, "vp_vdpa");
        check_plan(g, NULL, to_load);
        wish(&w, A, "vp-vdpa", DRIVER_MATCH_UNKNOWN, NULL);
        check_plan(g, NULL, unknown);
        wish(&w, A, "vp-vdpa", DRIVER_MATCH_MISSING, NULL);
        check_plan(g, "no-such-driver", nothing);
        wish(&w, A, "vp-vdpa", DRIVER_MATCH_OTHER, NULL);
        check_plan(g, "driver-not-listed", nothing);
        /* of another driver */
        wish(&w, A, "e1000e", DRIVER_MATCH_MISSING, NULL);
        check_plan(g, NULL, listed);
}

static void test_an_override_leaves_where_the_kernel_decides(void **state) {
        static const DeviceSpec host[] = { { A, 1, "virtio-pci", .driver_override = "virtio-pci" },
                                           {} };
        static const char *const steps[] = { "clear driver_override of " A,
                                             "unbind " A " from virtio-pci",
                                             "bind " A " to vp-vdpa", NULL };
        _cleanup_world_ World w;
        Group *g = lease_on(&w, host, vdpa)->groups[0];

        wish(&w, A, "vp-vdpa", DRIVER_MATCH_UNKNOWN, NULL);
        check_plan(g, NULL, steps);
}

static void test_its_own_driver_is_not_looked_up(void **state) {
        _cleanup_world_ World w;
        Group *g = lease_on(&w, one, (RequestSpec){ { A }, DMA_API, .driver = "virtio-pci" })
                           ->groups[0];

        wish(&w, A, "virtio-pci", DRIVER_MATCH_OTHER, NULL);
        check_plan(g, NULL, nothing);
}

static const DeviceSpec two[] = {
        { BRIDGE, 2, .bridge = true }, { B, 2, "e1000" }, { C, 2, "nvme" }, {}
};

/* The others of its group keep theirs. */
static void test_only_named_devices_get_it(void **state) {
        static const char *const steps[] = { "set driver_override of " B " to other",
                                             "unbind " B " from e1000", "bind " B " to other",
                                             NULL };
        _cleanup_world_ World w;
        _cleanup_fault_ Fault fault = FAULT_NULL;
        Lease *l = lease_on(&w, two, (RequestSpec){ { B }, DMA_API, .driver = "other" });
        Group *g = l->groups[0];

        check_plan(g, NULL, steps);
        world_rebind(&w, B, "other");
        assert_true(group_is_switched(g, &g->terms));
        assert_int_equal(world_ask(&w, (RequestSpec){ { C }, DMA_API, .driver = "other" }, NULL,
                                   &fault),
                         -ECANCELED);
        assert_int_equal(fault.code, ERROR_BUSY);
        assert_int_equal(world_ask(&w, (RequestSpec){ { C }, DMA_API, .driver = "nvme" }, NULL,
                                   NULL),
                         0);
        assert_int_equal(world_ask(&w, (RequestSpec){ { B, C }, DMA_API }, NULL, NULL), 0);
}

static void test_a_private_domain_is_for_a_single_device(void **state) {
        _cleanup_world_ World w;
        Group *g = lease_on(&w, two, (RequestSpec){ { B }, PRIVATE, .driver = "other" })->groups[0];

        check_plan(g, "private-domain-needs-single-device", nothing);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_the_tables_say),
                cmocka_unit_test(test_an_override_leaves_where_the_kernel_decides),
                cmocka_unit_test(test_its_own_driver_is_not_looked_up),
                cmocka_unit_test(test_only_named_devices_get_it),
                cmocka_unit_test(test_a_private_domain_is_for_a_single_device),
        };

        return cmocka_run_group_tests_name("core-driver-wish", tests, NULL, NULL);
}
