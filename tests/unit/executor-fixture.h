/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The executor itself, started on a folder in place of a host, and a connection to it. */

#include "linux-host.h"
#include "shared/step-json.h"

#define DEVICE "0000:3b:00.0"
#define NODE   "sys/bus/pci/devices/" DEVICE "/"
#define STEP(kind, more) \
        "{\"seq\":1,\"step\":\"" kind "\",\"device\":\"" DEVICE "\",\"group\":12" more "}"
#define TIMEOUT_MSEC 10000

typedef struct Fixture {
        Host host;
        pid_t pid;
        int fd;
} Fixture;

/* DEVICE is alone in group 12 and bound to e1000e. */
int executor_setup(void **state);
int executor_teardown(void **state);
void executor_start(Fixture *f);
void executor_stop(Fixture *f);
/* A connection; the executor drops the former one. */
int executor_dial(const Fixture *f);

void put(const Fixture *f, const char *packet);
/* The next packet; NULL: the executor closed the connection. */
json_object *take(const Fixture *f);
/* What a step answers. text_part: has to be in its text, NULL: there is none. */
void assert_done(const Fixture *f, int error, const char *text_part);
void assert_step(const Fixture *f, const char *packet, int error, const char *text_part);
/* A file of the host has that text. */
void assert_file(const Fixture *f, const char *path, const char *expected);
