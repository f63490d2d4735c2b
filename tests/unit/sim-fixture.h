/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A simulated host made of a string, and what the manager would hear of it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "kernel/kernel.h"
#include "util/strings.h"

typedef struct Host {
        sd_event *event;
        Kernel *kernel;
        char folder[32];
        char *heard;       /* "seen NAME driver=X; gone NAME; use NAME; waiting WHO; ready; " */
        unsigned done;     /* how many operations are done */
        StepResult result; /* the last one's */
} Host;

/* A step's operation: how many times it was done, and its result. */
typedef struct Run {
        Host *host;
        KernelOp *op;
        unsigned done;
        StepResult result;
} Run;

#define HOST_DEADLINE_USEC 10000000

/* $DIR in the text becomes the host's folder, ' becomes ". */
void host_new(Host *h, const char *topology);
/* The same, which has to fail; returns the message (free it). */
char *host_refused(const char *topology);
/* Kills the host and starts it again from the same file. */
void host_restart(Host *h);
void host_free(Host *h);
#define _cleanup_host_ _cleanup_(host_free)

void run_begin(Host *h, Run *r, const Step *step, uint64_t deadline_usec);
/* The same with files that the step works on. */
void run_begin_files(Host *h, Run *r, const Step *step, const VfioFiles *files,
                     uint64_t deadline_usec);
/* Turns of the event loop until it is done. */
void run_finish(Run *r);
/* Everything that can go on now has gone on. */
void host_settle(Host *h);
void run_clear(Run *r);
#define _cleanup_run_ _cleanup_(run_clear)

/* Begins and finishes; the errno. */
int step(Host *h, StepKind kind, const char *device, unsigned group, const char *value);
int step_files(Host *h, StepKind kind, unsigned group, const char *value, const VfioFiles *files);

/* ' becomes "; has to be understood, or refused with that error. */
void event(Host *h, const char *json);
int event_error(Host *h, const char *json, char **ret_message);
void inject(Host *h, const char *json);

/* What the host would tell: a member of a device or group as a string ("" if it is not there), free
 * it. */
char *device_says(Host *h, const char *device, const char *member);
char *group_says(Host *h, unsigned group, const char *member);
#define assert_device(h, device, member, expected)                        \
        do {                                                              \
                _cleanup_free_ char *_v = device_says(h, device, member); \
                assert_string_equal(_v, expected);                        \
        } while (0)
#define assert_group(h, group, member, expected)                        \
        do {                                                            \
                _cleanup_free_ char *_v = group_says(h, group, member); \
                assert_string_equal(_v, expected);                      \
        } while (0)
/* The operations since the last call, "bind 0000:00:01.0 EBUSY; ...". Free it. */
char *host_operations(Host *h);
