/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A timer that is made before it is needed, so that setting it needs no memory: what cannot be done now
 * for want of it is done later for certain. Times are of CLOCK_BOOTTIME, in microseconds.
 */

#include <stdbool.h>
#include <systemd/sd-event.h>

/* Is not set. Released by sd_event_source_disable_unref(). */
int alarm_new(sd_event *event, sd_event_time_handler_t ring, void *userdata, sd_event_source **ret);
/* Rings once, from the event loop. UINT64_MAX: never. */
void alarm_set(sd_event_source *alarm, uint64_t usec);
void alarm_set_relative(sd_event_source *alarm, uint64_t usec);
void alarm_stop(sd_event_source *alarm);
bool alarm_is_set(sd_event_source *alarm);
