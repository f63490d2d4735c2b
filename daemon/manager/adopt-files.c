/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Files that the service manager kept since the last run come back to their groups. What is not what its
 * name says, by the kernel's own word, is closed. */

#include <string.h>

#include "manager/switch-internal.h"
#include "util/log.h"
#include "util/strings.h"

/* What is said of a file of the last run. */
typedef struct Adoptee {
        const char *name;
        char *device; /* that the group is known by */
        Kept kept;
        FileRole role;
        char *file_device; /* FILE_CDEV */
        int fd;
} Adoptee;

static void adoptee_clear(Adoptee *a) {
        free(a->device);
        free(a->file_device);
        safe_close(a->fd);
}

/* Its group, if the kernel says that the file is what its name says. */
static Group *adoptee_group(Manager *m, const Adoptee *a) {
        Device *d = registry_device(m->registry, a->device), *member = d;
        Group *g = d ? d->group : NULL;

        if (a->role == FILE_CDEV)
                member = registry_device(m->registry, a->file_device);
        if (!g || !member || member->group != g ||
            m->kernel->ops->is_file(m->kernel, g->id, a->role, a->file_device, a->fd) != 1)
                return NULL;
        return g;
}

/* -EINVAL: it is not to be kept. */
static int adopt_into(Manager *m, Group *g, Adoptee *a, Changes *c) {
        Switch *s;
        int r;

        if (g->state == GROUP_FREE)
                return -EINVAL;
        /* a claim takes the place of what was lent before it */
        if (g->kept == KEPT_CLAIM && a->kept == KEPT_LENT)
                return -EINVAL;
        s = switch_get(m, g);
        if (!s)
                return -ENOMEM;
        if (g->kept == KEPT_LENT && a->kept == KEPT_CLAIM)
                (void)keep_drop(&s->keep, m->fd_store, g, c);
        r = vfio_files_get(&s->keep.files, a->role, a->file_device);
        if (r >= 0) {
                log_warning("There are two files %s of the last run; one is closed", a->name);
                return fd_store_replace(m->fd_store, a->name, r);
        }
        r = keep_adopt(&s->keep, g, a->name, a->kept, a->role, a->file_device, a->fd, c);
        if (r == 0)
                TAKE_FD(a->fd);
        return r;
}

static int adopt_file(Manager *m, const char *name, int fd, Changes *c) {
        _cleanup_(adoptee_clear) Adoptee a = { .name = name, .fd = fd };
        Group *g;
        int r;

        r = keep_parse_name(name, &a.device, &a.kept, &a.role, &a.file_device);
        if (r < 0)
                return r;
        if (str_empty(a.file_device)) {
                free(a.file_device);
                a.file_device = NULL;
        }
        g = adoptee_group(m, &a);
        if (!g)
                return -EINVAL;
        /* what is on VFIO and kept open is not free, whether or not there is a record of it */
        r = salvage_kept(m, g, c);
        return r < 0 ? r : adopt_into(m, g, &a, c);
}

int manager_adopt_files(Manager *m, Changes *c) {
        for (;;) {
                _cleanup_free_ char *name = NULL;
                int fd, r;

                r = fd_store_take(m->fd_store, &name, &fd);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                r = adopt_file(m, name, fd, c);
                if (r == 0)
                        continue;
                if (r != -EINVAL)
                        return r;
                log_warning("A file of the last run, %s, is nobody's; closed", name);
                fd_store_remove(m->fd_store, name);
        }
        for (Group *g = registry_groups(m->registry); g; g = g->hh.next) {
                Switch *s = g->userdata;

                if (s && s->keep.files.n > 0 && !keep_is_whole(&s->keep))
                        (void)keep_drop(&s->keep, m->fd_store, g, c);
        }
        return 0;
}
