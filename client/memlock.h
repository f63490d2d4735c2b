/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* VFIO locks the memory that a device may reach, within RLIMIT_MEMLOCK of the process. */

/* Raises the soft limit of this process to the hard one, and warns when that is too little for
 * most programs that use VFIO. A process that may lock without limit is left alone. */
void memlock_prepare(void);
