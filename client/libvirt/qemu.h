/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The QEMU process of a domain, as libvirt notes it in /run/libvirt/qemu (for root) or in its user's own folder. */

#include "client/libvirt/domain.h"

/* 0, -ESRCH if there is none, or another negative errno. ret_pid may be NULL. */
int qemu_open(const Domain *d, pid_t *ret_pid, int *ret_pidfd);
