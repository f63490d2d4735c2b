/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/kernel.h"

void step_result_clear(StepResult *r) {
        free(r->value);
        free(r->text);
        obstacles_clear(&r->obstacles);
        vfio_files_clear(&r->files);
        *r = STEP_RESULT_NULL;
}
