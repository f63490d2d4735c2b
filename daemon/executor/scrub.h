/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Has the service manager run dmaowner-scrub@DEVICE.service, which cleans a device for its next owner, and
 * waits for its result. */

#include "executor/run.h"

int step_scrub(Run *run);
