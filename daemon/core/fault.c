/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char oom_message[] = "Out of memory";

int fault_set(Fault *f, ErrorCode code, const char *fmt, ...) {
        char *message;
        va_list ap;
        int r;

        if (!f || fault_is_set(f))
                return -ECANCELED;
        va_start(ap, fmt);
        r = vasprintf(&message, fmt, ap);
        va_end(ap);
        if (r < 0)
                (void)fault_set_oom(f);
        else
                *f = (Fault){ .code = code, .message = message };
        return -ECANCELED;
}

int fault_set_oom(Fault *f) {
        if (f && !fault_is_set(f))
                *f = (Fault){ .code = ERROR_NO_MEMORY, .message = oom_message };
        return -ENOMEM;
}

void fault_clear(Fault *f) {
        if (f->message != oom_message)
                free(f->message);
        *f = FAULT_NULL;
}

int fault_copy(Fault *to, const Fault *from) {
        Fault copy = *from;

        if (from->message && from->message != oom_message) {
                copy.message = strdup(from->message);
                if (!copy.message)
                        return -ENOMEM;
        }
        fault_clear(to);
        *to = copy;
        return 0;
}
