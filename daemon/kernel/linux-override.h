/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Reads driver_override of devices without ever blocking. On kernels before 6.12 the read waits
 * for a pending unbind of the device, whoever began it, and cannot be interrupted. So a process
 * reads; when it hangs it is left behind with that one device, and another takes its place.
 */

#include <systemd/sd-event.h>

#include "shared/sysfs.h"

typedef struct OverrideReader OverrideReader;

/* error: 0, or a negative errno; -ETIMEDOUT: it hangs, the same device is called again once it
 * could be read. value: as the file has it, "(null)" if there is no override. */
typedef void (*OverrideRead)(const char *device, int error, const char *value, void *userdata);

int override_reader_new(sd_event *event, const Sysfs *sysfs, OverrideRead read, void *userdata,
                        OverrideReader **ret);
OverrideReader *override_reader_free(OverrideReader *r);
DEFINE_CLEANUP(OverrideReader *, override_reader_free);

/* Asks; a device that is waited for already is read again after its answer, so that the last
 * value told is never older than the last question. */
int override_reader_ask(OverrideReader *r, const char *device);
/* Waits until every question is answered or known to hang. Only for before the event loop. */
int override_reader_drain(OverrideReader *r);
