/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Timers that are made before they are needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernel/alarm.h"
#include "util/cleanup.h"

#define MOMENT_USEC 10000ULL

static int on_ring(sd_event_source *alarm, uint64_t usec, void *userdata) {
        ++*(unsigned *)userdata;
        return 0;
}

/* For so long, or until nothing is left to do. */
static void run(sd_event *event, uint64_t usec) {
        while (sd_event_run(event, usec) > 0)
                ;
}

static void test_alarm(void **state) {
        sd_event_source *alarm = NULL;
        sd_event *event = NULL;
        unsigned rung = 0;

        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(alarm_new(event, on_ring, &rung, &alarm), 0);
        assert_false(alarm_is_set(alarm));
        run(event, MOMENT_USEC);
        assert_int_equal(rung, 0);

        alarm_set_relative(alarm, 0);
        assert_true(alarm_is_set(alarm));
        run(event, MOMENT_USEC);
        assert_int_equal(rung, 1);
        assert_false(alarm_is_set(alarm)); /* once */

        alarm_set(alarm, 1); /* in the past */
        run(event, MOMENT_USEC);
        assert_int_equal(rung, 2);

        alarm_set_relative(alarm, 0);
        alarm_stop(alarm);
        run(event, MOMENT_USEC);
        alarm_set_relative(alarm, 0);
        alarm_set(alarm, UINT64_MAX); /* never */
        assert_false(alarm_is_set(alarm));
        run(event, MOMENT_USEC);
        assert_int_equal(rung, 2);

        sd_event_source_disable_unref(alarm);
        sd_event_unref(event);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_alarm),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
