/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/libdmaowner/files.h"

#include "util/strings.h"

static void file_clear(dmaowner_file *f) {
        free((char *)f->name);
        free((char *)f->role);
        free((char *)f->device);
        f->fd = safe_close(f->fd);
}

void files_clear(Files *f) {
        for (size_t i = 0; i < f->n; i++)
                file_clear(&f->items[i]);
        free(f->items);
        *f = (Files){};
}

static char *make_name(const Files *f, uint32_t group, const char *role, const char *device) {
        if (str_eq(role, "cdev"))
                return strdup(device);
        if (f->n == 0 || f->items[0].group == group)
                return strdup(role);
        return str_format("%s@%s", role, device);
}

static bool is_there(const Files *f, uint32_t group, const char *role, const char *device) {
        for (size_t i = 0; i < f->n; i++)
                if (f->items[i].group == group && str_eq(f->items[i].role, role) &&
                    (!str_eq(role, "cdev") || str_eq(f->items[i].device, device)))
                        return true;
        return false;
}

int files_add(Files *f, uint32_t group, const char *role, const char *device, int fd) {
        dmaowner_file *longer, added = { .group = group, .fd = -EBADF };

        if (is_there(f, group, role, device)) {
                safe_close(fd);
                return 0;
        }
        longer = reallocarray(f->items, f->n + 1, sizeof(*longer));
        if (!longer)
                return -ENOMEM;
        f->items = longer;
        added.name = make_name(f, group, role, device);
        added.role = strdup(role);
        added.device = strdup(device);
        if (!added.name || !added.role || !added.device) {
                file_clear(&added);
                return -ENOMEM;
        }
        added.fd = fd;
        f->items[f->n++] = added;
        return 0;
}
