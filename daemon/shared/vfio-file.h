/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Open files of VFIO and iommufd, each with the part it plays: what the daemon lends to a
 * requester, or keeps so that a group stays in a blocking domain.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/types.h"
#include "shared/packet.h"

typedef struct VfioFile {
        FileRole role;
        char *device; /* FILE_CDEV: whose; the others belong to a whole group: NULL */
        int fd;
} VfioFile;

/* The files of one group. */
typedef struct VfioFiles {
        VfioFile *items;
        size_t n;
} VfioFiles;

#define VFIO_FILES_NULL ((VfioFiles){})

/* Closes them all. */
void vfio_files_clear(VfioFiles *f);
#define _cleanup_vfio_files_ _cleanup_(vfio_files_clear)

#define TAKE_VFIO_FILES(f)              \
        ({                              \
                VfioFiles _taken = (f); \
                (f) = VFIO_FILES_NULL;  \
                _taken;                 \
        })

/* Takes fd over on success. 0, -ENOMEM, or -E2BIG: more would not fit into a packet. */
int vfio_files_add(VfioFiles *f, FileRole role, const char *device, int fd);
/* Copies with descriptors of their own. */
int vfio_files_copy(const VfioFiles *from, VfioFiles *ret);
/* Closes the file of a device's own node. */
void vfio_files_remove_device(VfioFiles *f, const char *device);
/* device NULL: the first of that role. -EBADF: there is none. */
int vfio_files_get(const VfioFiles *f, FileRole role, const char *device);
/* A file of a device, open, would keep its unbind waiting for ever; the others do not. */
bool vfio_files_have_device(const VfioFiles *f);

/*
 * On the wire: an array of {"role": "cdev", "device": "0000:3b:00.0"}, in the order of the
 * descriptors that go along. NULL on lack of memory.
 */
json_object *vfio_files_to_json(const VfioFiles *f);
/* Copies of the numbers, not of the files. */
void vfio_files_to_descriptors(const VfioFiles *f, Descriptors *ret);
/* Takes the descriptors over on success. -EBADMSG: list and descriptors do not fit. */
int vfio_files_from_json(json_object *list, Descriptors *d, VfioFiles *ret);
