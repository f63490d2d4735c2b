/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/kernel.h"

void step_result_clear(StepResult *r) {
        free(r->value);
        free(r->text);
        obstacles_clear(&r->obstacles);
        r->fds[0] = safe_close(r->fds[0]);
        r->fds[1] = safe_close(r->fds[1]);
        *r = STEP_RESULT_NULL;
}
