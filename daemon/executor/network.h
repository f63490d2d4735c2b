/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/planner.h"
#include "executor/run.h"

/* Adds what the host does with a network interface of device. path: its folder in sysfs. */
int network_inspect(Run *run, const char *path, const char *device, Obstacles *obstacles);
