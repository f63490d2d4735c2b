/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/report.h"

#include <stdarg.h>
#include <stdio.h>

#include "client/text.h"
#include "util/strings.h"

static const char *program = "dmaownerctl";

void report_as(const char *name) {
        program = name;
}

static _printf_(1, 0) void report_line(const char *fmt, va_list ap) {
        _cleanup_free_ char *line = NULL, *clean = NULL;

        if (vasprintf(&line, fmt, ap) < 0)
                line = NULL;
        if (line)
                clean = text_clean(line);
        fprintf(stderr, "%s: %s\n", program, clean ? clean : "out of memory");
}

ExitStatus report(ExitStatus status, const char *hint, const char *fmt, ...) {
        va_list ap;

        va_start(ap, fmt);
        report_line(fmt, ap);
        va_end(ap);
        if (hint)
                fprintf(stderr, "hint: %s\n", hint);
        return status;
}

ExitStatus report_error(const char *name, const char *message) {
        ExitStatus status = status_from_error(name);

        if (status == STATUS_NO_DAEMON ||
            (status == STATUS_TIMED_OUT && str_starts(name, "org.freedesktop.DBus.")))
                return report(status, hint_from_error(name), "dmaownerd does not answer: %s",
                              str_empty(message) ? name : message);
        return report(status, hint_from_error(name), "%s", str_empty(message) ? name : message);
}

ExitStatus report_errno(int r, const char *what) {
        return report(STATUS_ERROR, NULL, "%s: %s", what, strerror(-r));
}

void report_note(const char *fmt, ...) {
        va_list ap;

        va_start(ap, fmt);
        report_line(fmt, ap);
        va_end(ap);
}
