/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a script learns from the exit status, and what a person is told to do next. */

typedef enum ExitStatus {
        STATUS_OK = 0,
        STATUS_ERROR = 1,
        STATUS_USAGE = 2,
        STATUS_BUSY = 3,
        STATUS_NOT_VIABLE = 4, /* or in use by the host */
        STATUS_DENIED = 5,
        STATUS_TIMED_OUT = 6,
        STATUS_NO_DAEMON = 7,
} ExitStatus;

/* name: of a D-Bus error, as a reply or Lease.Failure has it. */
ExitStatus status_from_error(const char *name);
/* One sentence, or NULL if the message of the error has to do. */
const char *hint_from_error(const char *name);
