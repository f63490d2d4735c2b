/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the kernel's audit log is told: which device or node was given to user space or taken from there,
 * by a step of the executor's own. The daemon is not asked. Only built where there is libaudit.
 */

#include <stdbool.h>

#include "core/step.h"

/* Is it such a step? type: AUDIT_DEV_ALLOC or AUDIT_DEV_DEALLOC. text: for the record, NULL on lack of
 * memory. error: a positive errno, 0: it was done. */
bool audit_log_describe(const Step *step, int error, int *ret_type, char **ret_text);
/* Writes it to that socket, if the audit log takes it. Waits as long as the kernel lets it. */
void audit_log_step(int audit, const Step *step, int error);
