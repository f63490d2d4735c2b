/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

/* The errno, positive, that stands for an error of the daemon or the bus; EIO for one that nobody knows. */
int errno_of_error(const sd_bus_error *e);
