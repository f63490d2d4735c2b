/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Messages of D-Bus, made on a connection that nobody answers: *state is an sd_bus. */

#include <systemd/sd-bus.h>

int message_setup(void **state);
int message_teardown(void **state);
/* A signal to append to. */
sd_bus_message *message_new(sd_bus *bus);
/* It is complete, and can be read. */
void message_seal(sd_bus_message *m);
