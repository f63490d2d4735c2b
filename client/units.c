/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/units.h"

#include <time.h>

#include "util/strings.h"

#define USEC_PER_SEC 1000000ULL

typedef struct Unit {
        const char *name;
        uint64_t usec;
} Unit;

static const Unit units[] = {
        { "d", 24 * 3600 * USEC_PER_SEC },
        { "h", 3600 * USEC_PER_SEC },
        { "min", 60 * USEC_PER_SEC },
        { "s", USEC_PER_SEC },
        { "ms", 1000 },
        { "us", 1 },
};

static uint64_t clock_read(clockid_t id) {
        struct timespec ts = {};

        (void)clock_gettime(id, &ts); /* cannot fail for these two clocks */
        return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

Clocks clocks_now(void) {
        return (Clocks){
                .boottime = clock_read(CLOCK_BOOTTIME),
                .realtime = clock_read(CLOCK_REALTIME),
        };
}

int timespan_parse(const char *s, uint64_t *ret) {
        _cleanup_free_ char *digits = NULL;
        unsigned long long number;
        uint64_t span;
        size_t n;
        int r;

        if (strcmp(s, "infinity") == 0) {
                *ret = TIME_INFINITY;
                return 0;
        }
        n = strspn(s, "0123456789");
        digits = strndup(s, n);
        if (!digits)
                return -ENOMEM;
        r = parse_u64(digits, 10, &number);
        if (r < 0)
                return r;
        for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
                if (strcmp(s + n, units[i].name) != 0)
                        continue;
                if (__builtin_mul_overflow(number, units[i].usec, &span) || span == TIME_INFINITY)
                        return -ERANGE;
                *ret = span;
                return 0;
        }
        return -EINVAL;
}

/* The begin of the day, so many days ago. */
static struct tm day_begin(const Clocks *now, int ago) {
        time_t seconds = (time_t)(now->realtime / USEC_PER_SEC);
        struct tm tm = {};

        if (localtime_r(&seconds, &tm)) {
                tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
                tm.tm_mday -= ago; /* mktime() puts it right */
                tm.tm_isdst = -1;
        }
        return tm;
}

static bool parse_calendar(const char *s, const Clocks *now, struct tm *ret) {
        static const char *const formats[] = { "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d",
                                               "%H:%M:%S", "%H:%M" };

        if (strcmp(s, "today") == 0 || strcmp(s, "yesterday") == 0) {
                *ret = day_begin(now, strcmp(s, "yesterday") == 0);
                return true;
        }
        for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++) {
                struct tm tm = day_begin(now, 0);
                const char *end = strptime(s, formats[i], &tm);

                if (!end || *end)
                        continue;
                *ret = tm;
                return true;
        }
        return false;
}

int realtime_parse(const char *s, const Clocks *now, uint64_t *ret) {
        uint64_t span;
        struct tm tm;
        time_t seconds;
        int r;

        if (parse_calendar(s, now, &tm)) {
                seconds = mktime(&tm);
                if (seconds < 0)
                        return -ERANGE;
                *ret = (uint64_t)seconds * USEC_PER_SEC;
                return 0;
        }
        r = timespan_parse(s, &span);
        if (r < 0)
                return r;
        if (span > now->realtime)
                return -ERANGE;
        *ret = now->realtime - span;
        return 0;
}

char *timespan_format(uint64_t span) {
        for (size_t i = 0; i < sizeof(units) / sizeof(*units) && units[i].usec >= USEC_PER_SEC; i++)
                if (span >= units[i].usec)
                        return str_format("%llu%s", (unsigned long long)(span / units[i].usec),
                                          units[i].name);
        return strdup("0s");
}

char *realtime_to_iso(uint64_t stamp) {
        time_t seconds = (time_t)(stamp / USEC_PER_SEC);
        char text[sizeof("-9999999999-01-02T03:04:05")];
        struct tm tm;

        if (!gmtime_r(&seconds, &tm) || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
                return NULL;
        return str_format("%s.%06lluZ", text, stamp % USEC_PER_SEC);
}

char *boottime_to_iso(const Clocks *c, uint64_t stamp) {
        return realtime_to_iso(c->realtime - c->boottime + stamp);
}
