/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VFs that policy has made for whoever asks for one: who counts on their PF, and for how long. */
#include "core-fixture.h"

#include "core/choice.h"
#include "core/policy.h"
#include "core/pool.h"
#include "core/use.h"
#include "core/vfs.h"

#define PF   "0000:01:00.0" /* group 1 */
#define VF0  "0000:01:00.1" /* group 2 */
#define VF1  "0000:01:00.2" /* group 3 */
#define USER .kind = OWNER_KIND_USER

static void set_rule(World *w, int vfs) {
        _cleanup_(policy_freep) Policy *p = NULL;
        _cleanup_rule_ Rule rule = RULE_NULL;

        rule.vfs = vfs;
        assert_int_equal(policy_new(&p), 0);
        assert_int_equal(policy_add(p, &rule), 0);
        assert_int_equal(device_apply_policy(registry_device(w->r, PF), p, NULL), 0);
}

static void host_init(World *w) {
        world_init(w);
        world_plug(w, (DeviceSpec){ .name = PF, .group = 1, .driver = "igb", .total_vfs = 4 });
        set_rule(w, 2);
        changes_clear(&w->c);
}

static int ask(World *w, const char *selector, const char *owner, Lease **ret, Fault *why) {
        _cleanup_request_ Request q = request_make((RequestSpec){ { NULL }, USER, .owner = owner });
        char *list[] = { (char *)selector, NULL };

        assert_int_equal(request_add_choice(&q, list), 0);
        (void)strv_free(q.devices);
        q.devices = NULL;
        return registry_request(w->r, &q, NULL, ret, &w->c, why);
}

static Group *group(World *w, const char *device) {
        return registry_device(w->r, device)->group;
}

static void claim(World *w, Group *g) {
        _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
        _cleanup_plan_ Plan p = PLAN_NULL;

        registry_group_begin(g);
        assert_int_equal(plan_claim(g, &g->owner, &g->terms, g->node_uid, false, &p, &o), 0);
        assert_int_equal(o.n, 0);
        world_run_plan(w, &p, 0, p.n);
        assert_int_equal(registry_group_claimed(w->r, g, &w->c), 0);
}

static void plug_vfs(World *w) {
        world_plug(w, (DeviceSpec){ .name = VF0, .group = 2, .physfn = PF });
        world_plug(w, (DeviceSpec){ .name = VF1, .group = 3, .physfn = PF });
}

/* One that has the pool made, and VF0. */
static Lease *acquire_first(World *w) {
        Lease *l = NULL;

        assert_int_equal(ask(w, "pf=" PF, "first", &l, NULL), 0);
        assert_string_equal(l->request.devices[0], PF);
        claim(w, group(w, PF));
        assert_int_equal(registry_device(w->r, PF)->facts.num_vfs, 2);
        plug_vfs(w);
        assert_int_equal(registry_join_vfs(w->r, l, &w->c, NULL), 1);
        claim(w, group(w, VF0));
        assert_int_equal(l->state, LEASE_ACTIVE);
        return l;
}

static Lease *acquire_second(World *w) {
        Lease *l = NULL;

        assert_int_equal(ask(w, "pf=" PF, "second", &l, NULL), 0);
        assert_string_equal(l->request.devices[0], VF1);
        claim(w, group(w, VF1));
        assert_int_equal(l->state, LEASE_ACTIVE);
        return l;
}

static void end(World *w, Lease *l) {
        assert_int_equal(registry_lease_end(w->r, l, LEASE_ENDED, "released", &w->c), 0);
}

static void test_the_last_lease_ends_it(void **state) {
        _cleanup_world_ World w;
        Lease *first, *second;

        host_init(&w);
        first = acquire_first(&w);
        assert_int_equal(strv_length(first->request.devices), 1);
        assert_string_equal(first->request.devices[0], VF0);
        assert_int_equal(group(&w, VF1)->state, GROUP_FREE);
        second = acquire_second(&w);
        assert_int_equal(group(&w, PF)->count, 2);
        end(&w, first);
        assert_int_equal(group(&w, PF)->state, GROUP_OWNED);
        world_restore(&w, group(&w, VF0));
        end(&w, second);
        assert_int_equal(group(&w, PF)->state, GROUP_DRAINING);
        world_restore(&w, group(&w, VF1));
        world_restore(&w, group(&w, PF));
        assert_int_equal(registry_device(w.r, PF)->facts.num_vfs, 0);
        assert_true(registry_device(w.r, PF)->facts.vf_autoprobe);
}

static void test_nothing_of_it_is_kept(void **state) {
        _cleanup_rule_ Rule rule = RULE_NULL;
        _cleanup_(policy_freep) Policy *p = NULL;
        _cleanup_world_ World w;

        rule.release = RELEASE_KEEP;
        assert_int_equal(policy_new(&p), 0);
        assert_int_equal(policy_add(p, &rule), 0);
        host_init(&w);
        (void)acquire_first(&w);
        end(&w, acquire_second(&w));
        assert_string_equal(group(&w, VF1)->terms.pf, PF);
        assert_false(plan_keeps(group(&w, VF1), p));
}

static void test_whom_it_serves(void **state) {
        static const struct {
                const char *selector;
                bool served;
        } rows[] = {
                { "pf=" PF, true },           { "pf=" PF "*2", true },  { "pf=" PF "*3", false },
                { "pf=0000:02:00.0", false }, { "class=0000", true },   { "numa=1", false },
                { "vendor=0000", true },      { "device=0001", false }, { "driver=none", true },
                { "driver=igbvf", false },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
                _cleanup_fault_ Fault why = FAULT_NULL;
                _cleanup_world_ World w;
                Lease *l = NULL;
                int r;

                host_init(&w);
                registry_device(w.r, PF)->in_use = strdup("it has an address");
                r = ask(&w, rows[i].selector, NULL, &l, &why);
                if ((r == 0) != rows[i].served)
                        fail_msg("%s: %s", rows[i].selector, why.message ? why.message : "");
        }
}

/* Nothing is left of the choice when the request is asked again. */
static void test_it_is_chosen_anew(void **state) {
        _cleanup_request_ Request q = request_make((RequestSpec){ { NULL }, USER });
        char *list[] = { (char *)"pf=" PF, NULL };
        _cleanup_fault_ Fault why = FAULT_NULL;
        _cleanup_world_ World w;

        host_init(&w);
        assert_int_equal(request_add_choice(&q, list), 0);
        assert_int_equal(registry_choose(w.r, &q, NULL, NULL), 0);
        assert_true(q.terms.pool);
        assert_int_equal(q.terms.vfs, 2);
        set_rule(&w, 0);
        assert_int_equal(registry_choose(w.r, &q, NULL, &why), -ECANCELED);
        assert_int_equal(why.code, ERROR_NO_SUCH_DEVICE);
        assert_false(q.terms.pool);
        assert_int_equal(q.terms.vfs, 0);
        assert_null(q.terms.pf);
}

static void test_what_comes_back_after_a_restart(void **state) {
        Terms pool = { .kind = OWNER_KIND_DMA_API, .vfs = 2, .pf = (char *)PF, .pool = true };
        Terms vf = { .kind = OWNER_KIND_USER, .pf = (char *)PF, .pool = true };
        _cleanup_request_ Request q = request_make(
                (RequestSpec){ { VF1 }, USER, .owner = "second" });
        Owner owner = { .name = (char *)"second" };
        _cleanup_world_ World w;
        Lease *l = NULL;

        host_init(&w);
        world_plug(&w, (DeviceSpec){ PF, 1, "igb", .total_vfs = 4, .num_vfs = 2 });
        plug_vfs(&w);
        assert_int_equal(registry_adopt_group(w.r, group(&w, PF), GROUP_OWNED, &owner, &pool, 0,
                                              "DMA", &w.c),
                         0);
        assert_int_equal(registry_adopt_group(w.r, group(&w, VF1), GROUP_OWNED, &owner, &vf, 0,
                                              "DMA", &w.c),
                         0);
        assert_int_equal(registry_adopt_lease(w.r, "l7", LEASE_ACTIVE, &q, &l, &w.c), 0);
        assert_int_equal(registry_adopt_done(w.r, &w.c), 0);
        assert_int_equal(l->state, LEASE_ACTIVE);
        assert_int_equal(group(&w, PF)->count, 1);
        end(&w, l);
        assert_int_equal(group(&w, PF)->state, GROUP_DRAINING);
}

static void test_while_it_is_made_or_removed(void **state) {
        _cleanup_fault_ Fault making = FAULT_NULL, removing = FAULT_NULL;
        _cleanup_world_ World w;
        Lease *first = NULL, *l = NULL;

        host_init(&w);
        assert_int_equal(ask(&w, "pf=" PF, "first", &first, NULL), 0);
        assert_int_equal(ask(&w, "pf=" PF, "second", &l, &making), -ECANCELED);
        assert_int_equal(making.code, ERROR_BUSY);
        end(&w, first);
        assert_int_equal(ask(&w, "pf=" PF, "second", &l, &removing), -ECANCELED);
        assert_int_equal(removing.code, ERROR_BUSY);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_last_lease_ends_it),
                cmocka_unit_test(test_nothing_of_it_is_kept),
                cmocka_unit_test(test_whom_it_serves),
                cmocka_unit_test(test_it_is_chosen_anew),
                cmocka_unit_test(test_what_comes_back_after_a_restart),
                cmocka_unit_test(test_while_it_is_made_or_removed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
