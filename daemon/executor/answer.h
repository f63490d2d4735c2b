/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a step's process found out, and its packet (docs/executor.md). */

#include "core/planner.h"
#include "shared/vfio-file.h"

typedef struct Answer {
        int error;   /* positive errno, 0: done */
        char *value; /* what was read back */
        char *text;  /* for people */
        Obstacles obstacles;
        VfioFiles files; /* STEP_LEND, STEP_CLAIM */
} Answer;

#define ANSWER_NULL ((Answer){})
void answer_clear(Answer *a);
#define _cleanup_answer_ _cleanup_(answer_clear)

/* Notes what went wrong, in place of what was noted before, and returns -error. */
int answer_fail(Answer *a, int error, const char *fmt, ...) _printf_(3, 4);

/* Packets as docs/executor.md has them; NULL on lack of memory. Texts are cut and stripped to what
 * any receiver can show, so that a packet fits. */
char *answer_to_packet(const Answer *a, unsigned long long seq);
char *answer_waiting_packet(const char *who, unsigned long long seq);
