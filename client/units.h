/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Times: as people write them, and between the clock of the daemon (CLOCK_BOOTTIME) and the one
 * on the wall. All in microseconds. */

#include <stdint.h>

#define TIME_INFINITY UINT64_MAX

typedef struct Clocks {
        uint64_t boottime;
        uint64_t realtime;
} Clocks;

Clocks clocks_now(void);

/* "500ms", "30s", "10min", "2h", "1d", "infinity". 0, -EINVAL or -ERANGE. */
int timespan_parse(const char *s, uint64_t *ret);
/* The time on the wall at "2h" (ago), "today", "yesterday", "18:30", "2026-02-03", "2026-02-03 18:30:05"; what has
 * no date is of today, and all is of the time zone here. 0, -EINVAL or -ERANGE. */
int realtime_parse(const char *s, const Clocks *now, uint64_t *ret);
/* In the largest unit that fits: "2d", "5h", "3min", "45s", "0s" for less. NULL on lack of memory. */
char *timespan_format(uint64_t span);
/* A stamp of CLOCK_BOOTTIME as "2026-02-03T04:05:06.123456Z". NULL on lack of memory. */
char *boottime_to_iso(const Clocks *c, uint64_t stamp);
char *realtime_to_iso(uint64_t stamp);
