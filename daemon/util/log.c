/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/log.h"

#include <stdarg.h>
#include <stdio.h>

static int arg_max_level = LOG_INFO;

void log_set_max_level(int level) {
        arg_max_level = level;
}

void log_full(int level, const char *fmt, ...) {
        char line[2048];
        int saved = errno;
        va_list ap;

        if (level > arg_max_level)
                return;
        va_start(ap, fmt);
        errno = saved; /* for %m */
        (void)vsnprintf(line, sizeof(line), fmt, ap);
        va_end(ap);
        if (isatty(STDERR_FILENO))
                fprintf(stderr, "%s\n", line);
        else
                fprintf(stderr, "<%d>%s\n", level, line);
        errno = saved;
}
