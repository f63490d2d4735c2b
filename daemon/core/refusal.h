/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the kernel means by the errno that it answers a step with. The rules are its own, and differ
 * between versions; what it says is only the number. */

#include "core/registry.h"
#include "core/step.h"

/* For people: why, who is in the way, what to do. *ret is NULL if the number says it all. 0 or
 * -ENOMEM. */
int refusal_explain(const Group *g, const Step *step, int error, char **ret);
