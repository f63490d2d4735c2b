/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "client/libdmaowner/dmaowner.h"
#include "util/cleanup.h"

DEFINE_CLEANUP(dmaowner_request *, dmaowner_request_free);
