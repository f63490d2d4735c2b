/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A fault is an error that a person reads: what went wrong, which device, who is in the way,
 * what to do next. Functions that can refuse take a Fault * as their last argument, fill it and
 * return a negative errno-style value; the bus layer sends code and message as they are.
 */

#include <stdbool.h>

#include "core/types.h"
#include "util/cleanup.h"

typedef struct Fault {
        ErrorCode code;
        char *message; /* NULL: no fault */
} Fault;

#define FAULT_NULL ((Fault){ .code = _ERROR_CODE_INVALID })

static inline bool fault_is_set(const Fault *f) {
        return f->message;
}

/* Sets *f unless it is set already (the first cause counts). f may be NULL. Always returns
 * -ECANCELED, so that a refusal is "return fault_set(...)". */
int fault_set(Fault *f, ErrorCode code, const char *fmt, ...) _printf_(3, 4);

/* The fault for a lack of memory; needs none itself. Always returns -ENOMEM. */
int fault_set_oom(Fault *f);

void fault_clear(Fault *f);
/* Replaces *to. 0 or -ENOMEM. */
int fault_copy(Fault *to, const Fault *from);

#define _cleanup_fault_ _cleanup_(fault_clear)
