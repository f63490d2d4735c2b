/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shared/vfio-file.h"

#include <errno.h>
#include <fcntl.h>

#include "shared/step-json.h"
#include "util/json.h"
#include "util/strings.h"

void vfio_files_clear(VfioFiles *f) {
        /* the last one first: a container lives until its last group has left it */
        for (size_t i = f->n; i-- > 0;) {
                f->items[i].fd = safe_close(f->items[i].fd);
                free(f->items[i].device);
        }
        free(f->items);
        *f = VFIO_FILES_NULL;
}

int vfio_files_add(VfioFiles *f, FileRole role, const char *device, int fd) {
        VfioFile *longer, added = { .role = role, .fd = fd };

        if (f->n >= PACKET_FDS_MAX)
                return -E2BIG;
        longer = reallocarray(f->items, f->n + 1, sizeof(VfioFile));
        if (!longer)
                return -ENOMEM;
        f->items = longer;
        if (str_set(&added.device, device) < 0)
                return -ENOMEM;
        f->items[f->n++] = added;
        return 0;
}

void vfio_files_remove_device(VfioFiles *f, const char *device) {
        size_t n = 0;

        for (size_t i = 0; i < f->n; i++) {
                if (f->items[i].role != FILE_CDEV || !str_eq(f->items[i].device, device)) {
                        f->items[n++] = f->items[i];
                        continue;
                }
                safe_close(f->items[i].fd);
                free(f->items[i].device);
        }
        f->n = n;
}

int vfio_files_copy(const VfioFiles *from, VfioFiles *ret) {
        _cleanup_vfio_files_ VfioFiles copy = VFIO_FILES_NULL;

        for (size_t i = 0; i < from->n; i++) {
                int r, fd = fcntl(from->items[i].fd, F_DUPFD_CLOEXEC, 3);

                if (fd < 0)
                        return -errno;
                r = vfio_files_add(&copy, from->items[i].role, from->items[i].device, fd);
                if (r < 0) {
                        safe_close(fd);
                        return r;
                }
        }
        *ret = TAKE_VFIO_FILES(copy);
        return 0;
}

int vfio_files_get(const VfioFiles *f, FileRole role, const char *device) {
        for (size_t i = 0; i < f->n; i++)
                if (f->items[i].role == role && (!device || str_eq(f->items[i].device, device)))
                        return f->items[i].fd;
        return -EBADF;
}

bool vfio_files_have_device(const VfioFiles *f) {
        return vfio_files_get(f, FILE_CDEV, NULL) >= 0;
}

static json_object *file_to_json(const VfioFile *f) {
        _cleanup_json_ json_object *o = json_object_new_object();

        if (!o || json_object_object_add(o, "role",
                                         json_object_new_string(file_role_to_string(f->role))) < 0)
                return NULL;
        if (f->device && json_object_object_add(o, "device", json_object_new_string(f->device)) < 0)
                return NULL;
        return TAKE_PTR(o);
}

json_object *vfio_files_to_json(const VfioFiles *f) {
        _cleanup_json_ json_object *list = json_object_new_array();

        for (size_t i = 0; list && i < f->n; i++) {
                json_object *o = file_to_json(&f->items[i]);

                if (!o)
                        return NULL;
                if (json_object_array_add(list, o) < 0) {
                        (void)json_object_put(o);
                        return NULL;
                }
        }
        return TAKE_PTR(list);
}

void vfio_files_to_descriptors(const VfioFiles *f, Descriptors *ret) {
        ret->n = f->n;
        for (size_t i = 0; i < f->n; i++)
                ret->items[i] = f->items[i].fd;
}

int vfio_files_from_json(json_object *list, Descriptors *d, VfioFiles *ret) {
        VfioFiles files = VFIO_FILES_NULL;
        size_t n;
        int r = 0;

        if (!json_object_is_type(list, json_type_array))
                return -EBADMSG;
        n = json_object_array_length(list);
        if (n != d->n)
                return -EBADMSG;
        for (size_t i = 0; i < n && r == 0; i++) {
                json_object *o = json_object_array_get_idx(list, i);
                FileRole role = file_role_from_string(json_get_string(o, "role"));
                const char *device = json_get_string(o, "device");

                if ((int)role < 0 || (role == FILE_CDEV) != (device != NULL))
                        r = -EBADMSG;
                else
                        r = vfio_files_add(&files, role, device, d->items[i]);
        }
        if (r < 0) {
                /* the descriptors stay the caller's */
                for (size_t i = 0; i < files.n; i++)
                        files.items[i].fd = -EBADF;
                vfio_files_clear(&files);
                return r;
        }
        d->n = 0;
        *ret = files;
        return 0;
}
