/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "core/policy.h"

#define SELF 1001

static const Caller root = { .uid = 0, .privileged = true };
static const Caller member = { .uid = SELF, .member = true };
static const Caller other = { .uid = SELF };

static void test_policy_vendor_default(void **state) {
        static const struct {
                const Caller *caller;
                OwnerKind kind;
                bool force;
                uid_t uid;
                bool allowed;
        } cells[] = {
                { &root, OWNER_KIND_DMA_API, false, 0, true },
                { &root, OWNER_KIND_PRIVATE_DOMAIN, false, 0, true },
                { &root, OWNER_KIND_USER, true, 0, true },
                { &root, OWNER_KIND_USER, false, SELF, true },
                { &member, OWNER_KIND_USER, false, SELF, true },
                { &member, OWNER_KIND_USER, true, SELF, false },
                { &member, OWNER_KIND_USER, false, SELF + 1, false },
                { &member, OWNER_KIND_USER, false, 0, false },
                { &member, OWNER_KIND_DMA_API, false, SELF, false },
                { &member, OWNER_KIND_PRIVATE_DOMAIN, false, SELF, false },
                { &other, OWNER_KIND_USER, false, SELF, false },
                { &other, OWNER_KIND_DMA_API, false, SELF, false },
                { &other, OWNER_KIND_PRIVATE_DOMAIN, false, SELF, false },
        };

        for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++) {
                _cleanup_fault_ Fault fault = FAULT_NULL;
                Request q = REQUEST_NULL;
                int r;

                q.terms.kind = cells[i].kind;
                q.force = cells[i].force;
                q.uid = cells[i].uid;
                r = policy_check_acquire(NULL, cells[i].caller, &q, &fault);
                assert_int_equal(r, cells[i].allowed ? 0 : -ECANCELED);
                assert_int_equal(fault_is_set(&fault), !cells[i].allowed);
                if (!cells[i].allowed)
                        assert_int_equal(fault.code, ERROR_ACCESS_DENIED);
        }
}

static void test_policy_of_leases(void **state) {
        Owner own = { .uid = SELF }, foreign = { .uid = SELF + 1 };
        _cleanup_fault_ Fault fault = FAULT_NULL;

        assert_int_equal(policy_check_manage(&root, &foreign, &fault), 0);
        assert_int_equal(policy_check_manage(&other, &own, &fault), 0);
        assert_false(fault_is_set(&fault));
        assert_int_equal(policy_check_manage(&member, &foreign, &fault), -ECANCELED);
        assert_int_equal(fault.code, ERROR_ACCESS_DENIED);
        assert_int_equal(policy_check_manage(&member, &foreign, NULL), -ECANCELED);
}

static void test_policy_of_groups_and_sight(void **state) {
        _cleanup_fault_ Fault fault = FAULT_NULL;

        assert_int_equal(policy_check_administer(&root, &fault), 0);
        assert_int_equal(policy_check_administer(&member, &fault), -ECANCELED);
        assert_true(policy_may_see(&root, SELF + 1));
        assert_true(policy_may_see(&member, SELF + 1));
        assert_true(policy_may_see(&other, SELF));
        assert_false(policy_may_see(&other, SELF + 1));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_policy_vendor_default),
                cmocka_unit_test(test_policy_of_leases),
                cmocka_unit_test(test_policy_of_groups_and_sight),
        };

        return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
