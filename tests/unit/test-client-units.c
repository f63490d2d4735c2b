/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "client/units.h"
#include "util/strings.h"

#define SECOND 1000000ULL

static void test_parse(void **state) {
        static const struct {
                const char *text;
                uint64_t span;
        } spans[] = {
                { "0s", 0 },
                { "7us", 7 },
                { "500ms", 500 * 1000 },
                { "30s", 30 * SECOND },
                { "10min", 600 * SECOND },
                { "2h", 7200 * SECOND },
                { "1d", 86400 * SECOND },
                { "infinity", TIME_INFINITY },
                { "213503982d", 213503982ULL * 86400 * SECOND },
        };

        for (size_t i = 0; i < sizeof(spans) / sizeof(*spans); i++) {
                uint64_t span = 1;

                assert_int_equal(timespan_parse(spans[i].text, &span), 0);
                assert_true(span == spans[i].span);
        }
}

static void test_parse_refuses(void **state) {
        static const char *const wrong[] = { "",    "5",    "s",  "-5s",   "+5s",      " 5s", "5 s",
                                             "5s ", "1.5h", "5m", "5min3", "infinite", "0x5s" };
        static const char *const too_long[] = { "213503983d", "99999999999999999999s",
                                                "18446744073709551615us" };
        uint64_t span = 42;

        for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
                assert_int_equal(timespan_parse(wrong[i], &span), -EINVAL);
        for (size_t i = 0; i < sizeof(too_long) / sizeof(*too_long); i++)
                assert_int_equal(timespan_parse(too_long[i], &span), -ERANGE);
        assert_true(span == 42);
}

static void check_format(uint64_t span, const char *expected) {
        _cleanup_free_ char *text = timespan_format(span);

        assert_string_equal(text, expected);
}

#define NOW "2026-02-03 04:05:06"

static void check_time(const Clocks *now, const char *text, const char *seen) {
        uint64_t usec;
        char back[64];
        time_t seconds;
        struct tm tm;

        assert_int_equal(realtime_parse(text, now, &usec), 0);
        seconds = (time_t)(usec / SECOND);
        assert_non_null(localtime_r(&seconds, &tm));
        assert_int_not_equal(strftime(back, sizeof(back), "%Y-%m-%d %H:%M:%S", &tm), 0);
        assert_string_equal(back, seen);
}

static void test_realtime(void **state) {
        static const char *const bad[] = {
                "",           "now", "25:00", "2026-02-30x", "2026-02-03 04:05 ",
                "2026-13-01", "-1h", "3",     "infinity",    "99999999d"
        };
        Clocks now = {};
        uint64_t usec;

        assert_int_equal(setenv("TZ", "Europe/Berlin", 1), 0);
        tzset();
        assert_int_equal(realtime_parse(NOW, &now, &now.realtime), 0);
        check_time(&now, NOW, NOW);
        check_time(&now, "0s", NOW);
        check_time(&now, "2h", "2026-02-03 02:05:06");
        check_time(&now, "1d", "2026-02-02 04:05:06");
        check_time(&now, "today", "2026-02-03 00:00:00");
        check_time(&now, "yesterday", "2026-02-02 00:00:00");
        check_time(&now, "18:30", "2026-02-03 18:30:00");
        check_time(&now, "01:02:03", "2026-02-03 01:02:03");
        check_time(&now, "2025-12-31", "2025-12-31 00:00:00");
        check_time(&now, "2025-07-31 23:59", "2025-07-31 23:59:00"); /* of summer time */
        for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
                assert_true(realtime_parse(bad[i], &now, &usec) < 0);
}

static void test_format(void **state) {
        check_format(0, "0s");
        check_format(SECOND - 1, "0s");
        check_format(59 * SECOND, "59s");
        check_format(60 * SECOND, "1min");
        check_format(3599 * SECOND, "59min");
        check_format(5 * 3600 * SECOND, "5h");
        check_format(49 * 3600 * SECOND, "2d");
}

static void check_iso(const Clocks *c, uint64_t stamp, const char *expected) {
        _cleanup_free_ char *text = boottime_to_iso(c, stamp);

        assert_string_equal(text, expected);
}

static void test_iso(void **state) {
        /* up for 100 s at 2026-02-03 04:05:06.000007 */
        Clocks c = { .boottime = 100 * SECOND, .realtime = 1770091506ULL * SECOND + 7 };

        check_iso(&c, c.boottime, "2026-02-03T04:05:06.000007Z");
        check_iso(&c, 0, "2026-02-03T04:03:26.000007Z");
        check_iso(&c, c.boottime + 86400 * SECOND, "2026-02-04T04:05:06.000007Z");
}

static void test_clocks_advance(void **state) {
        Clocks a = clocks_now(), b = clocks_now();

        assert_true(a.boottime > 0 && b.boottime >= a.boottime);
        assert_true(a.realtime > 1700000000ULL * SECOND);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),          cmocka_unit_test(test_parse_refuses),
                cmocka_unit_test(test_format),         cmocka_unit_test(test_iso),
                cmocka_unit_test(test_clocks_advance), cmocka_unit_test(test_realtime),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
