/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The files of a group that its steps open: kept, lent and let go of. */

#include <string.h>

#include "manager/switch-internal.h"
#include "util/log.h"
#include "util/strings.h"

const VfioFiles *switch_files(const Group *g) {
        const Switch *s = g->userdata;

        return s && s->keep.files.n > 0 ? &s->keep.files : NULL;
}

void switch_take_files(Switch *s, StepKind kind, StepResult *result) {
        bool outlive = kind == STEP_LEND || plan_keeps(s->g, s->m->policy);
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r;

        r = keep_replace(&s->keep, s->m->fd_store, s->g, kind == STEP_LEND ? KEPT_LENT : KEPT_CLAIM,
                         outlive, &result->files, &c);
        if (r < 0) {
                result->error = -r;
                free(result->text);
                result->text = r == -EDQUOT
                                       ? strdup("the service manager keeps too many files for the "
                                                "daemon already (FileDescriptorStoreMax=)")
                                       : NULL;
        }
        (void)manager_commit(s->m, &c); /* a failed write is logged */
}

int switch_lend_claim(Switch *s, Changes *c) {
        VfioFiles files = VFIO_FILES_NULL;
        int r;

        if (s->g->terms.access != ACCESS_FD || s->g->kept != KEPT_CLAIM)
                return 0;
        files = TAKE_VFIO_FILES(s->keep.files);
        r = keep_replace(&s->keep, s->m->fd_store, s->g, KEPT_LENT, true, &files, c);
        if (r < 0)
                s->keep.files = files;
        return r;
}

/* Whoever took a device may be waiting for its file, and so may a step of ours that the kernel keeps until he is
 * done: an unplug and a reset. We release before we unbind. The files of the others stay, and keep the kernel's
 * drivers out. */
static void switch_let_go(Switch *s) {
        for (const Device *d = s->g->devices; d; d = d->next)
                if (!driver_is_vfio(d->facts.driver))
                        keep_drop_device(&s->keep, s->m->fd_store, d->facts.name);
}

void switch_settle(Manager *m, Group *g) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        Switch *s = g->userdata;

        if (!s || s->keep.files.n == 0)
                return;
        if (vfio_files_have_device(&s->keep.files)) {
                switch_let_go(s);
                if (!vfio_files_have_device(&s->keep.files))
                        (void)keep_drop(&s->keep, m->fd_store, g, &c);
        }
        if (g->state == GROUP_FREE)
                (void)keep_drop(&s->keep, m->fd_store, g, &c);
}
