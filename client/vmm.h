/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a virtual machine monitor is told of devices whose files it gets. */

#include <json-c/json.h>

#include "client/lent-files.h"

typedef enum Vmm {
        VMM_NONE,
        VMM_QEMU,
        VMM_CLOUD_HYPERVISOR,
} Vmm;

/*
 * A copy of a command line in which each device is named by its file. Where the command names a device
 * by its address, that is replaced and all else of it stays; for the others, arguments are added. All
 * devices share the first iommufd: so what a guest's memory costs in locked memory, it costs once.
 * -ENOTSUP: the files are not iommufd's, and such a program takes no others.
 */
int vmm_command(Vmm vmm, char *const *command, const LentFiles *files, char ***ret);
/* What is added to a command that names no device, with blanks between. */
int vmm_arguments(Vmm vmm, const LentFiles *files, char **ret);
