/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The gate between two owners: who had a device, and who is held back until what is done. */

#include "core-fixture.h"
#include "core/use.h"

#define A "0000:01:00.0"
#define B "0000:01:00.1"
#define C "0000:02:00.0"

static const DeviceSpec plain[] = { { A, 1, "nvme" }, { B, 1, "nvme" }, { C, 2, "e1000e" } };

static void world_plain(World *w) {
        world_init(w);
        for (size_t i = 0; i < sizeof(plain) / sizeof(*plain); i++)
                world_plug(w, plain[i]);
}

/* The same rule for all devices. */
static void set_rule(World *w, Rule rule) {
        _cleanup_(policy_freep) Policy *p = NULL;

        assert_int_equal(policy_new(&p), 0);
        assert_int_equal(policy_add(p, &rule), 0);
        for (Device *d = registry_devices(w->r); d; d = d->hh.next)
                assert_int_equal(device_apply_policy(d, p, &w->c), 0);
}

static Rule rule_of(ScrubGate scrub, const char *reset) {
        Rule rule = RULE_NULL;

        rule.scrub = scrub;
        rule.reset = reset ? strdup(reset) : NULL;
        return rule;
}

/* One owner has the group of A, and every member is noted. */
static void use(World *w, const char *owner) {
        Lease *l = world_acquire(w, (RequestSpec){ { A }, OWNER_KIND_USER, .owner = owner });
        Group *g = l->groups[0];

        for (Device *d = g->devices; d; d = d->next)
                assert_true(device_note_use(d, &w->c) >= 0);
        assert_int_equal(registry_lease_end(w->r, l, LEASE_ENDED, "released", &w->c), 0);
        registry_forget_lease(w->r, l);
        world_restore(w, g);
        assert_int_equal(g->state, GROUP_FREE);
}

static void check(World *w, const char *owner, OwnerKind kind, const char *refusal) {
        _cleanup_fault_ Fault fault = FAULT_NULL;
        RequestSpec spec = { { A }, kind, .owner = owner };
        _cleanup_request_ Request q = request_make(spec);
        _cleanup_free_ Group **groups = NULL;
        size_t n;
        int r = registry_check(w->r, &q, &groups, &n, &fault);

        assert_int_equal(r, refusal ? -ECANCELED : 0);
        if (!refusal)
                return;
        assert_int_equal(fault.code, ERROR_QUARANTINED);
        if (!strstr(fault.message, refusal))
                fail_msg("%s expected, not: %s", refusal, fault.message);
}

static void assert_gate(World *w, const char *device, const char *part) {
        _cleanup_free_ char *text = NULL;

        assert_int_equal(device_describe_gate(registry_device(w->r, device), true, &text), 0);
        if (part ? !strstr(text, part) : *text)
                fail_msg("%s expected, not: %s", part ? part : "nothing", text);
}

static void test_without_rules_nothing_is_noted(void **state) {
        _cleanup_world_ World w;

        world_plain(&w);
        set_rule(&w, rule_of(SCRUB_NONE, "auto"));
        use(&w, "first");
        assert_false(registry_device(w.r, A)->use.valid);
        check(&w, "second", OWNER_KIND_USER, NULL);
}

static void test_required_reset(void **state) {
        _cleanup_world_ World w;
        Device *a, *b;

        world_plain(&w);
        set_rule(&w, rule_of(SCRUB_NONE, "required"));
        a = registry_device(w.r, A);
        b = registry_device(w.r, B);
        check(&w, "first", OWNER_KIND_USER, NULL);
        use(&w, "first");
        assert_true(a->use.valid && b->use.valid && !registry_device(w.r, C)->use.valid);
        assert_gate(&w, A, "not reset");
        check(&w, "first", OWNER_KIND_USER, NULL);
        check(&w, "second", OWNER_KIND_USER, A);
        check(&w, "second", OWNER_KIND_DMA_API, A);
        /* a sibling that was not reset holds back the group */
        assert_int_equal(device_note_reset(a, &w.c), 1);
        check(&w, "second", OWNER_KIND_USER, B);
        assert_int_equal(device_note_reset(b, &w.c), 1);
        check(&w, "second", OWNER_KIND_USER, NULL);
        assert_gate(&w, A, NULL);
        assert_int_equal(device_note_reset(a, &w.c), 0);
}

static void test_scrub_by_a_unit(void **state) {
        _cleanup_free_ char *unit = NULL;
        _cleanup_world_ World w;
        Device *a, *b;

        world_plain(&w);
        set_rule(&w, rule_of(SCRUB_UNIT, NULL));
        a = registry_device(w.r, A);
        b = registry_device(w.r, B);
        assert_false(device_wants_scrub(a));
        use(&w, "first");
        assert_true(device_wants_scrub(a) && device_wants_scrub(b));
        assert_int_equal(device_note_reset(a, &w.c), 1); /* does not make it clean */
        assert_gate(&w, A, "waits for dmaowner-scrub@" A ".service");
        assert_int_equal(device_note_scrubbing(a, &w.c), 1);
        assert_false(device_wants_scrub(a));
        check(&w, "first", OWNER_KIND_USER, "being cleaned"); /* the unit is at work */
        assert_int_equal(device_note_not_scrubbed(a, "it has failed", &w.c), 1);
        assert_false(device_wants_scrub(a));
        assert_gate(&w, A, "it has failed");
        check(&w, "first", OWNER_KIND_USER, NULL);
        assert_int_equal(device_note_not_scrubbed(a, NULL, &w.c), 1); /* again */
        assert_true(device_wants_scrub(a));
        assert_int_equal(device_note_clean(a, &w.c), 1);
        check(&w, "second", OWNER_KIND_USER, B);
        assert_int_equal(device_note_clean(b, &w.c), 1);
        check(&w, "second", OWNER_KIND_USER, NULL);
        unit = device_scrub_unit(a);
        assert_string_equal(unit, "dmaowner-scrub@" A ".service");
}

static void test_an_owner_that_comes_again(void **state) {
        _cleanup_world_ World w;
        Device *a;

        world_plain(&w);
        set_rule(&w, rule_of(SCRUB_ADMINISTRATOR, "required"));
        a = registry_device(w.r, A);
        use(&w, "first");
        assert_int_equal(device_note_reset(a, &w.c), 1);
        assert_true(a->use.valid && a->use.reset);
        use(&w, "first");
        assert_false(a->use.reset);
        assert_false(device_wants_scrub(a));
        assert_gate(&w, A, "dmaownerctl clean " A);
}

static void test_names_are_for_those_who_may_see_them(void **state) {
        _cleanup_free_ char *text = NULL;
        _cleanup_world_ World w;

        world_plain(&w);
        set_rule(&w, rule_of(SCRUB_ADMINISTRATOR, NULL));
        use(&w, "secret");
        assert_gate(&w, A, "secret");
        assert_int_equal(device_describe_gate(registry_device(w.r, A), false, &text), 0);
        assert_null(strstr(text, "secret"));
        assert_non_null(strstr(text, "somebody else"));
}

static void test_protected(void **state) {
        _cleanup_fault_ Fault fault = FAULT_NULL;
        _cleanup_world_ World w;
        Rule rule = RULE_NULL;

        world_plain(&w);
        rule.protect = 1;
        rule.origin = strdup("p.json:3");
        rule.match.devices = strv_copy((char *[]){ (char *)B, NULL });
        set_rule(&w, rule);
        assert_int_equal(world_ask(&w, (RequestSpec){ { A }, OWNER_KIND_DMA_API }, NULL, &fault),
                         -ECANCELED);
        assert_int_equal(fault.code, ERROR_ACCESS_DENIED);
        assert_non_null(strstr(fault.message, B));
        assert_non_null(strstr(fault.message, "p.json:3"));
        world_acquire(&w, (RequestSpec){ { C }, OWNER_KIND_USER });
}

static void test_warning(void **state) {
        _cleanup_free_ char *text = NULL;
        _cleanup_world_ World w;
        Lease *l;

        world_plain(&w);
        l = world_acquire(&w, (RequestSpec){ { C }, OWNER_KIND_USER });
        assert_int_equal(lease_describe_warning(l, &text), 0);
        assert_string_equal(text, "");
        assert_int_equal(str_set(&registry_device(w.r, C)->facts.reset_methods, ""), 0);
        assert_int_equal(lease_describe_warning(l, &text), 0);
        assert_non_null(strstr(text, C " has no reset method"));
        assert_null(strstr(text, "administrator"));
        set_rule(&w, rule_of(SCRUB_NONE, "required"));
        assert_int_equal(lease_describe_warning(l, &text), 0);
        assert_non_null(strstr(text, "administrator"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_without_rules_nothing_is_noted),
                cmocka_unit_test(test_required_reset),
                cmocka_unit_test(test_scrub_by_a_unit),
                cmocka_unit_test(test_an_owner_that_comes_again),
                cmocka_unit_test(test_names_are_for_those_who_may_see_them),
                cmocka_unit_test(test_protected),
                cmocka_unit_test(test_warning),
        };

        return cmocka_run_group_tests_name("core-use", tests, NULL, NULL);
}
