/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Between the making of VFs and their claims: the kernel makes all at once, but they are seen one
 * after the other, as udev tells of them. And at the end: they are removed when nobody has them.
 */

#include <string.h>
#include <time.h>
#include <utlist.h>

#include "core/vfs.h"
#include "manager/manager-internal.h"
#include "util/log.h"
#include "util/strings.h"

#define APPEAR_USEC 30000000ULL
#define AGAIN_USEC  1000000ULL

struct VfWait {
        Manager *m;
        char *lease;
        uint64_t deadline;
        sd_event_source *source;
        VfWait *prev, *next;
};

static VfWait *vf_wait_free(VfWait *w) {
        if (!w)
                return NULL;
        DL_DELETE(w->m->vf_waits, w);
        sd_event_source_disable_unref(w->source);
        free(w->lease);
        free(w);
        return NULL;
}

static int fail_late(VfWait *w, Lease *l, Changes *c) {
        _cleanup_fault_ Fault why = FAULT_NULL;

        fault_set(&why, ERROR_TIMED_OUT,
                  "the %u virtual functions of %s were made, but not all of them appeared with an "
                  "IOMMU group within %llu seconds",
                  l->request.terms.vfs, l->request.terms.pf, APPEAR_USEC / 1000000);
        return registry_lease_fail(w->m->registry, l, &why, c);
}

/* 1: there is nothing to wait for any more. */
static int look(VfWait *w, Changes *c) {
        Lease *l = registry_lease(w->m->registry, w->lease);
        _cleanup_fault_ Fault why = FAULT_NULL;
        int r;

        if (!l || l->state != LEASE_ACTIVATING || !lease_awaits_vfs(l))
                return 1;
        r = registry_join_vfs(w->m->registry, l, c, &why);
        for (size_t i = 0; r == 0 && i < l->n_groups; i++)
                registry_group_begin(l->groups[i]);
        if (r == -ECANCELED)
                r = registry_lease_fail(w->m->registry, l, &why, c);
        else if (r == 0 && manager_now(w->m) < w->deadline)
                return 0;
        else if (r == 0)
                r = fail_late(w, l, c);
        return r < 0 ? r : 1;
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        VfWait *w = userdata;
        Manager *m = w->m;
        int r = look(w, &c);

        if (r < 0)
                log_error("Lease %s: cannot take the virtual functions over: %s", w->lease,
                          strerror(-r));
        if (r == 1)
                (void)vf_wait_free(w);
        else
                (void)sd_event_source_set_time(source,
                                               r < 0 ? manager_now(m) + AGAIN_USEC : w->deadline);
        (void)manager_commit(m, &c); /* a failed write is logged */
        return 0;
}

static VfWait *find_wait(Manager *m, const Lease *l) {
        VfWait *w;

        DL_FOREACH(m->vf_waits, w) {
                if (str_eq(w->lease, l->id))
                        break;
        }
        return w;
}

static int wait_new(Manager *m, const Lease *l) {
        VfWait *w = calloc(1, sizeof(VfWait));
        int r;

        if (!w)
                return -ENOMEM;
        w->m = m;
        w->deadline = manager_now(m) + APPEAR_USEC;
        DL_APPEND(m->vf_waits, w);
        r = str_set(&w->lease, l->id);
        /* from the event loop, so that a commit never runs inside another one */
        if (r == 0)
                r = sd_event_add_time(m->event, &w->source, CLOCK_BOOTTIME, 0, 0, on_time, w);
        if (r == 0)
                r = sd_event_source_set_enabled(w->source, SD_EVENT_ON);
        if (r < 0)
                (void)vf_wait_free(w);
        return r;
}

/* Something changed for the VFs of this PF's group. */
static void poke(Manager *m, Group *g) {
        Lease *l = g->n_leases > 0 ? g->leases[0] : NULL;
        VfWait *w = l ? find_wait(m, l) : NULL;
        int r = 0;

        if (g->state == GROUP_DRAINING)
                switch_wake(m, g);
        else if (w)
                r = sd_event_source_set_time(w->source, 0);
        else if (g->state == GROUP_OWNED && l && lease_awaits_vfs(l))
                r = wait_new(m, l);
        if (r < 0)
                catch_up_later(m);
}

void vfs_poke(Manager *m, const Group *changed) {
        const Device *pf = group_pf(changed);

        if (pf)
                poke(m, pf->group);
        for (const Device *d = changed->devices; d; d = d->next) {
                pf = d->facts.physfn ? registry_device(m->registry, d->facts.physfn) : NULL;
                if (pf && pf->group && group_pf(pf->group) == pf)
                        poke(m, pf->group);
        }
}

void vfs_note_settings(Manager *m, const Step *step, StepResult *result) {
        bool read = step->kind == STEP_READ_VF;
        Device *d = registry_device(m->registry, step->device);

        if (!str_empty(result->text))
                log_warning("Group %u: the settings of %s cannot be %s: %s", step->group,
                            step->device, read ? "recorded" : "put back", result->text);
        /* what is put back is owed no more */
        if (d && device_set_vf_settings(d, !read ? NULL : result->value ? result->value : "") < 0)
                result->error = ENOMEM;
}

void vfs_end(Manager *m) {
        while (m->vf_waits)
                (void)vf_wait_free(m->vf_waits);
}
