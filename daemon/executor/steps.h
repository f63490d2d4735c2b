/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Steps that are one write to sysfs, and what is read back. 0 or negative errno. */

#include "executor/run.h"

int step_set_override(Run *run);
int step_unbind(Run *run);
int step_bind(Run *run);
int step_probe(Run *run);
int step_set_type(Run *run);
int step_load_module(Run *run);
int step_reset(Run *run);
