/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What could not be done - for want of memory, descriptors or space - is not forgotten: it is marked where it
 * is, which needs nothing, and done here as soon as it can be.
 */

#include <string.h>

#include "kernel/alarm.h"
#include "manager/manager-internal.h"
#include "util/log.h"
#include "util/strings.h"

#define FIRST_USEC   200000ULL
#define LONGEST_USEC 10000000ULL

struct CatchUp {
        Manager *m;
        sd_event_source *alarm;
        uint64_t delay;
        bool files, devices;
};

/* files */

static bool lease_is_wanted(const char *id, void *userdata) {
        CatchUp *u = userdata;
        const Lease *l = registry_lease(u->m->registry, id);

        return l && !lease_state_is_over(l->state);
}

static bool group_is_wanted(const char *key, void *userdata) {
        CatchUp *u = userdata;
        const Device *d = registry_device(u->m->registry, key);
        const Group *g = d ? d->group : NULL;

        return g && (g->state != GROUP_FREE || g->owed_type) && str_eq(store_group_key(g), key);
}

static int sweep(CatchUp *u) {
        int r;

        if (!u->files)
                return 0;
        r = store_remove_unwanted(u->m->store, lease_is_wanted, group_is_wanted, u);
        u->files = r < 0;
        return r;
}

/* devices */

static void remove_gone(Manager *m) {
        Device *d = registry_devices(m->registry), *next;

        for (; d; d = next) {
                /* its own goes with it */
                _cleanup_free_ char *name = d->gone ? strdup(d->facts.name) : NULL;

                next = d->hh.next;
                if (name)
                        manager_device_gone(m, name);
                else if (d->gone)
                        catch_up_later(m);
        }
}

/* What the kernel shows comes as events. */
static void look_at_devices(CatchUp *u) {
        if (!u->devices)
                return;
        u->devices = false;
        u->m->kernel->ops->tell_again(u->m->kernel);
        for (const Device *d = registry_devices(u->m->registry); d; d = d->hh.next)
                manager_refresh_use(u->m, d->facts.name);
}

/* leases and groups */

static int end_overdue(Manager *m) {
        unsigned long long seq = 0;
        Lease *l;
        int r = 0;

        while ((l = registry_next_lease(m->registry, seq)) && r == 0) {
                seq = l->seq;
                if (l->overdue)
                        r = manager_end_lease(m, l, l->overdue);
        }
        return r;
}

static int write_and_tell(Manager *m) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r = registry_take_behind(m->registry, &c);

        return r < 0 ? r : manager_commit(m, &c);
}

/* No Inquiry decides on a claim that nothing is busy with: whoever joined it waits for it. */
static void kick(Manager *m) {
        for (Group *g = registry_groups(m->registry); g; g = g->hh.next) {
                if (!switch_is_busy(g)) {
                        if (g->state == GROUP_CLAIMING)
                                registry_group_begin(g);
                        switch_kick(m, g);
                }
                vfs_poke(m, g);
        }
}

static int on_alarm(sd_event_source *source, uint64_t usec, void *userdata) {
        CatchUp *u = userdata;
        int r;

        remove_gone(u->m);
        r = end_overdue(u->m);
        if (r == 0) {
                kick(u->m);
                r = write_and_tell(u->m);
        }
        if (r == 0)
                r = sweep(u);
        queue_kick(u->m);
        look_at_devices(u);
        if (r < 0)
                catch_up_later(u->m);
        /* set by whoever could not do it again either */
        if (!alarm_is_set(u->alarm)) {
                log_info("What could not be done before is done");
                u->delay = FIRST_USEC;
        }
        return 0;
}

int catch_up_new(Manager *m, CatchUp **ret) {
        CatchUp *u = calloc(1, sizeof(CatchUp));
        int r;

        if (!u)
                return -ENOMEM;
        *u = (CatchUp){ .m = m, .delay = FIRST_USEC };
        r = alarm_new(m->event, on_alarm, u, &u->alarm);
        if (r < 0) {
                (void)catch_up_free(u);
                return r;
        }
        *ret = u;
        return 0;
}

CatchUp *catch_up_free(CatchUp *u) {
        if (!u)
                return NULL;
        sd_event_source_disable_unref(u->alarm);
        free(u);
        return NULL;
}

void catch_up_later(Manager *m) {
        CatchUp *u = m->catch_up;

        if (alarm_is_set(u->alarm))
                return;
        alarm_set_relative(u->alarm, u->delay);
        u->delay = u->delay < LONGEST_USEC / 2 ? 2 * u->delay : LONGEST_USEC;
}

void catch_up_files(Manager *m) {
        m->catch_up->files = true;
        catch_up_later(m);
}

void catch_up_devices(Manager *m) {
        m->catch_up->devices = true;
        catch_up_later(m);
}
