/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager/keep.h"

#include <ctype.h>

#include "store/store.h"
#include "util/log.h"
#include "util/strings.h"

/*
 * Names in the store: KEY/KEPT/ROLE/DEVICE, like "0000_3b_00.0/lent/cdev/0000_3b_00.1": the device
 * that the group's state file is named after, and of a cdev whose it is. The service manager allows
 * no ":" in them.
 */

static const char *kept_to_string(Kept kept) {
        return kept == KEPT_LENT ? "lent" : "claim";
}

static void replace(char *s, char from, char to) {
        for (; *s; s++)
                if (*s == from)
                        *s = to;
}

static char *make_name(const char *key, Kept kept, const VfioFile *f) {
        char *name = str_format("%s/%s/%s/%s", key, kept_to_string(kept),
                                file_role_to_string(f->role), f->device ? f->device : "");

        if (name)
                replace(name, ':', '_');
        return name;
}

/* The part before the next "/", which is skipped. */
static int take_part(const char **rest, char **ret) {
        size_t n = strcspn(*rest, "/");
        char *part = strndup(*rest, n);

        if (!part)
                return -ENOMEM;
        *rest += n + ((*rest)[n] == '/');
        *ret = part;
        return 0;
}

int keep_parse_name(const char *name, char **ret_device, Kept *ret_kept, FileRole *ret_role,
                    char **ret_file_device) {
        _cleanup_free_ char *key = NULL, *kept = NULL, *role = NULL, *device = NULL;

        if (take_part(&name, &key) < 0 || take_part(&name, &kept) < 0 ||
            take_part(&name, &role) < 0 || take_part(&name, &device) < 0)
                return -ENOMEM;
        if (!str_eq(kept, "lent") && !str_eq(kept, "claim"))
                return -EINVAL;
        *ret_role = file_role_from_string(role);
        if ((int)*ret_role < 0 || str_empty(key) || (*ret_role == FILE_CDEV) == str_empty(device))
                return -EINVAL;
        replace(key, '_', ':');
        replace(device, '_', ':');
        *ret_kept = str_eq(kept, "lent") ? KEPT_LENT : KEPT_CLAIM;
        *ret_device = TAKE_PTR(key);
        *ret_file_device = TAKE_PTR(device);
        return 0;
}

static VfioInterface interface_of(const VfioFiles *files) {
        if (files->n == 0)
                return VFIO_INTERFACE_AUTO;
        return vfio_files_get(files, FILE_IOMMUFD, NULL) >= 0 ? VFIO_INTERFACE_IOMMUFD
                                                              : VFIO_INTERFACE_CONTAINER;
}

static void unstore(FdStore *store, char **names) {
        for (char **name = names; name && *name; name++)
                fd_store_remove(store, *name);
}

static int put_files(FdStore *store, const char *key, Kept kept, const VfioFiles *files,
                     char ***ret_names) {
        _cleanup_(strv_freep) char **names = NULL;
        int r = 0;

        for (size_t i = 0; r == 0 && i < files->n; i++) {
                _cleanup_free_ char *name = make_name(key, kept, &files->items[i]);

                r = name ? strv_extend(&names, name) : -ENOMEM;
                if (r == 0) {
                        r = fd_store_put(store, name, files->items[i].fd);
                        if (r < 0)
                                names[strv_length(names) - 1] = NULL; /* not there */
                }
        }
        if (r < 0) {
                unstore(store, names);
                return r;
        }
        *ret_names = TAKE_PTR(names);
        return 0;
}

/* A name may not stand for two files: what is there under it goes first. */
static void forget_stored(Keep *k, FdStore *store) {
        unstore(store, k->stored);
        k->stored = strv_free(k->stored);
}

int keep_replace(Keep *k, FdStore *store, Group *g, Kept kept, bool outlive, VfioFiles *files,
                 Changes *c) {
        _cleanup_(strv_freep) char **names = NULL;
        const char *key = store_group_key(g);
        int r = 0;

        if (g->kept == kept)
                forget_stored(k, store);
        if (outlive && key)
                r = put_files(store, key, kept, files, &names);
        if (r == 0)
                r = registry_group_set_kept(g, kept, interface_of(files), c);
        if (r < 0) {
                unstore(store, names);
                return r;
        }
        forget_stored(k, store);
        keep_close(k);
        k->files = TAKE_VFIO_FILES(*files);
        k->stored = TAKE_PTR(names);
        return 0;
}

static bool name_is_of(const char *name, const char *device) {
        _cleanup_free_ char *group = NULL, *whose = NULL;
        FileRole role;
        Kept kept;

        return keep_parse_name(name, &group, &kept, &role, &whose) == 0 && role == FILE_CDEV &&
               str_eq(whose, device);
}

void keep_drop_device(Keep *k, FdStore *store, const char *device) {
        size_t n = 0;

        for (char **name = k->stored; name && *name; name++) {
                char *one[] = { *name, NULL };

                if (!name_is_of(*name, device)) {
                        k->stored[n++] = *name;
                        continue;
                }
                unstore(store, one);
                free(*name);
        }
        if (k->stored)
                k->stored[n] = NULL;
        vfio_files_remove_device(&k->files, device);
}

bool keep_drop(Keep *k, FdStore *store, Group *g, Changes *c) {
        bool stored = k->stored;

        forget_stored(k, store);
        keep_close(k);
        /* can only fail to say so; the files are closed */
        if (g->kept != KEPT_NOTHING &&
            registry_group_set_kept(g, KEPT_NOTHING, VFIO_INTERFACE_AUTO, c) < 0)
                log_error("Group %u: out of memory", g->id);
        return stored;
}

void keep_close(Keep *k) {
        vfio_files_clear(&k->files);
        k->stored = strv_free(k->stored);
}

int keep_adopt(Keep *k, Group *g, const char *name, Kept kept, FileRole role, const char *device,
               int fd, Changes *c) {
        int r;

        r = strv_extend(&k->stored, name);
        if (r == 0)
                r = vfio_files_add(&k->files, role, device, fd);
        return r < 0 ? r : registry_group_set_kept(g, kept, interface_of(&k->files), c);
}

bool keep_is_whole(const Keep *k) {
        if (interface_of(&k->files) == VFIO_INTERFACE_IOMMUFD)
                return vfio_files_have_device(&k->files);
        return vfio_files_get(&k->files, FILE_CONTAINER, NULL) >= 0 &&
               vfio_files_get(&k->files, FILE_GROUP, NULL) >= 0;
}
