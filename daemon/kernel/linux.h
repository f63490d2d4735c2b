/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The Linux kernel below another root than "/", and a way to hand it events: for tests. */

#include "kernel/kernel.h"
#include "kernel/linux-discover.h"

int linux_kernel_new_at(sd_event *event, const char *root, const char *executor_socket,
                        const KernelEvents *events, Kernel **ret);
Discovery *linux_kernel_discovery(Kernel *k);
