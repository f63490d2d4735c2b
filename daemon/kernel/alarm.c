/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/alarm.h"

#include <time.h>

#include "util/cleanup.h"

int alarm_new(sd_event *event, sd_event_time_handler_t ring, void *userdata, sd_event_source **ret) {
        sd_event_source *alarm = NULL;
        int r = sd_event_add_time(event, &alarm, CLOCK_BOOTTIME, UINT64_MAX, 0, ring, userdata);

        if (r >= 0)
                r = sd_event_source_set_enabled(alarm, SD_EVENT_OFF);
        if (r < 0) {
                sd_event_source_disable_unref(alarm);
                return r;
        }
        *ret = alarm;
        return 0;
}

/* None of these calls can fail on a timer that exists while its loop runs; when that is over there is
 * nothing to ring for. */
void alarm_set(sd_event_source *alarm, uint64_t usec) {
        if (usec == UINT64_MAX) {
                alarm_stop(alarm);
                return;
        }
        (void)sd_event_source_set_time(alarm, usec);
        (void)sd_event_source_set_enabled(alarm, SD_EVENT_ONESHOT);
}

void alarm_set_relative(sd_event_source *alarm, uint64_t usec) {
        (void)sd_event_source_set_time_relative(alarm, usec);
        (void)sd_event_source_set_enabled(alarm, SD_EVENT_ONESHOT);
}

void alarm_stop(sd_event_source *alarm) {
        (void)sd_event_source_set_enabled(alarm, SD_EVENT_OFF);
}

bool alarm_is_set(sd_event_source *alarm) {
        int enabled = SD_EVENT_OFF;

        return sd_event_source_get_enabled(alarm, &enabled) >= 0 && enabled != SD_EVENT_OFF;
}
