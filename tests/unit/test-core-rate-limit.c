/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/rate-limit.h"

#define BURST    3
#define INTERVAL 100

#define LIMIT ((RateLimit){ .burst = BURST, .interval = INTERVAL })

static void take_all(RateLimit *l, uid_t uid, uint64_t now) {
        for (int i = 0; i < BURST; i++)
                assert_true(rate_limit_take(l, uid, now));
        assert_false(rate_limit_take(l, uid, now));
}

static void check_collected(RateLimit *l, uint64_t now, uid_t uid, unsigned left_out) {
        unsigned count;
        uid_t who;

        assert_true(rate_limit_collect(l, now, &who, &count));
        assert_int_equal(who, uid);
        assert_int_equal(count, left_out);
}

static void check_nothing(RateLimit *l, uint64_t now) {
        unsigned count;
        uid_t who;

        assert_false(rate_limit_collect(l, now, &who, &count));
}

static void test_each_user_has_his_own(void **state) {
        RateLimit l = LIMIT;

        take_all(&l, 1000, 0);
        take_all(&l, 1001, 0);
        take_all(&l, 0, 0);
}

static void test_what_is_left_out_is_told_once(void **state) {
        RateLimit l = LIMIT;

        assert_true(rate_limit_deadline(&l) == UINT64_MAX);
        assert_true(rate_limit_take(&l, 7, 5));
        /* nothing is left out so far */
        assert_true(rate_limit_deadline(&l) == UINT64_MAX);
        assert_true(rate_limit_take(&l, 7, 50));
        assert_true(rate_limit_take(&l, 7, 60));
        for (int i = 0; i < 20; i++)
                assert_false(rate_limit_take(&l, 7, 104));
        assert_int_equal(rate_limit_deadline(&l), 105);
        check_nothing(&l, 104);
        check_collected(&l, 105, 7, 20);
        check_nothing(&l, 105);
        assert_true(rate_limit_deadline(&l) == UINT64_MAX);
        take_all(&l, 7, 105);
}

/* Until it was told nothing new is said, or what was left out would be told out of turn. */
static void test_late_collection(void **state) {
        RateLimit l = LIMIT;

        take_all(&l, 7, 0);
        assert_false(rate_limit_take(&l, 7, 500));
        check_collected(&l, 500, 7, 2);
        assert_true(rate_limit_take(&l, 7, 500));
}

static void test_quiet_users_are_forgotten(void **state) {
        RateLimit l = LIMIT;

        for (uid_t uid = 0; uid < 10 * RATE_LIMIT_USERS; uid++)
                assert_true(rate_limit_take(&l, uid, uid * INTERVAL));
        check_nothing(&l, UINT64_MAX);
}

static void test_too_many_users_share(void **state) {
        RateLimit l = LIMIT;

        for (uid_t uid = 0; uid < RATE_LIMIT_USERS; uid++)
                assert_true(rate_limit_take(&l, uid, 0));
        take_all(&l, 5000, 1);
        assert_false(rate_limit_take(&l, 5001, 1));
        /* those who were there first are not touched by it */
        assert_true(rate_limit_take(&l, 3, 1));
        assert_int_equal(rate_limit_deadline(&l), 101);
        check_collected(&l, 101, RATE_LIMIT_NOBODY, 2);
        check_nothing(&l, 101);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_user_has_his_own),
                cmocka_unit_test(test_what_is_left_out_is_told_once),
                cmocka_unit_test(test_late_collection),
                cmocka_unit_test(test_quiet_users_are_forgotten),
                cmocka_unit_test(test_too_many_users_share),
        };

        return cmocka_run_group_tests_name("core-rate-limit", tests, NULL, NULL);
}
