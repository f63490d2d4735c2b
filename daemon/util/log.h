/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Messages for the journal, on stderr with the kernel's "<N>" level prefix that journald
 * understands; a terminal gets them without it. Only thin edges and the manager log; libraries
 * return what went wrong.
 */

#include <syslog.h>

#include "util/cleanup.h"

/* Messages above this level are dropped (default LOG_INFO). */
void log_set_max_level(int level);

void log_full(int level, const char *fmt, ...) _printf_(2, 3);

#define log_debug(...)   log_full(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)    log_full(LOG_INFO, __VA_ARGS__)
#define log_notice(...)  log_full(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_full(LOG_WARNING, __VA_ARGS__)
#define log_error(...)   log_full(LOG_ERR, __VA_ARGS__)
