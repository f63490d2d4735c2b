/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Errors and notes on stderr: "dmaownerctl: MESSAGE", and what to do next on a line of its own. */

#include <systemd/sd-bus.h>

#include "client/exit-status.h"
#include "util/cleanup.h"

/* By which name it speaks from now on, if not "dmaownerctl". */
void report_as(const char *name);
/* hint may be NULL. Returns status. */
ExitStatus report(ExitStatus status, const char *hint, const char *fmt, ...) _printf_(3, 4);
/* An error as a reply or Lease.Failure has it. Returns the status of its name. */
ExitStatus report_error(const char *name, const char *message);
/* What was tried failed with r, a negative errno. Returns STATUS_ERROR. */
ExitStatus report_errno(int r, const char *what);
/* Something that a person should know, but no error. */
void report_note(const char *fmt, ...) _printf_(1, 2);
