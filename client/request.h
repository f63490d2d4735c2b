/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the command line asks for, as Acquire and Explain take it. */

#include <systemd/sd-bus.h>

#include "client/libdmaowner/dmaowner.h"
#include "client/options.h"
#include "util/cleanup.h"

DEFINE_CLEANUP(dmaowner_request *, dmaowner_request_free);

/* holder is left out when NULL; owner stands in for an --owner that was not given, if it is not NULL.
 * 0 or negative errno. */
int request_from_options(const Options *o, const char *owner, const char *holder,
                         dmaowner_request **ret);
/* Appends such a request without a holder. */
int request_append_options(sd_bus_message *m, const Options *o);
