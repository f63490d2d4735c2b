/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Looks after groups that are owned or quarantined. The kernel tells nobody that a default domain type or a
 * driver_override was written, nor that an unbind or unplug waits for a program that has the device open, nor that
 * a requester has bound a lent device to an iommufd: so their devices are read again, a few at a time, twice a second. That udev runs its rules again for a node
 * is told; then the right on it is set again.
 */

#include <string.h>
#include <utlist.h>

#include "kernel/alarm.h"
#include "manager/manager-internal.h"
#include "util/log.h"
#include "util/strings.h"

#define INTERVAL_USEC       500000ULL
#define DEVICES_AT_ONCE     32U
#define GRANT_DEADLINE_USEC 10000000ULL

/* A right that is granted again. */
typedef struct Renewal {
        Patrol *patrol;
        unsigned group;
        KernelOp *op;
        struct Renewal *prev, *next;
} Renewal;

struct Patrol {
        Manager *m;
        Renewal *renewals;      /* under way */
        sd_event_source *timer; /* runs while there is something to look after */
        long long last;         /* group */
};

static bool group_is_watched(const Group *g) {
        return group_has_to_stay(g) && !switch_is_busy(g);
}

/* We have files of its devices open, for which somebody else may be waiting. */
static bool group_is_kept_by_device(const Group *g) {
        return g->kept != KEPT_NOTHING && g->kept_interface == VFIO_INTERFACE_IOMMUFD;
}

/* Until nobody has them any more. */
static bool group_is_lent(const Group *g) {
        return g->kept == KEPT_LENT && group_is_kept_by_device(g);
}

static bool group_is_looked_after(const Group *g) {
        return group_has_to_stay(g) || group_is_kept_by_device(g);
}

static void look_at_files(Manager *m, Group *g) {
        const VfioFiles *files = switch_files(g);
        _cleanup_changes_ Changes c = CHANGES_NULL;

        if (!files || !group_is_lent(g))
                return;
        if (registry_group_set_bound(g, m->kernel->ops->is_bound(m->kernel, files), &c) < 0)
                log_error("Out of memory");
        (void)manager_commit(m, &c); /* nothing to write */
}

/* Returns how many devices that were. What is found comes as an event, which may come at once: then the device,
 * and the group with its last one, is gone. */
static size_t look_at(Manager *m, const Group *g) {
        _cleanup_(strv_freep) char **names = NULL;

        for (const Device *d = g->devices; d; d = d->next)
                if (strv_extend(&names, d->facts.name) < 0) {
                        log_error("Group %u cannot be looked at now: out of memory", g->id);
                        return g->n_devices;
                }
        for (char **name = names; name && *name; name++)
                m->kernel->ops->look(m->kernel, *name);
        return strv_length(names);
}

/* The next few groups, in turn. False if there is none to look after. */
static bool patrol_walk(Patrol *p) {
        long long begin = p->last;
        bool again = false, any = false;
        size_t n = 0;

        while (n < DEVICES_AT_ONCE) {
                Group *g = registry_next_group(p->m->registry, p->last);

                if (!g || (again && (long long)g->id > begin)) {
                        if (again || begin < 0)
                                break;
                        again = true;
                        p->last = -1;
                        continue;
                }
                p->last = g->id;
                any = any || group_is_looked_after(g);
                look_at_files(p->m, g);
                if (group_is_watched(g) || group_is_kept_by_device(g))
                        n += look_at(p->m, g);
        }
        return any;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Patrol *p = userdata;

        if (patrol_walk(p))
                alarm_set_relative(p->timer, INTERVAL_USEC);
        return 0;
}

int patrol_new(Manager *m, Patrol **ret) {
        Patrol *p = calloc(1, sizeof(Patrol));
        int r;

        if (!p)
                return -ENOMEM;
        *p = (Patrol){ .m = m, .last = -1 };
        r = alarm_new(m->event, on_timer, p, &p->timer);
        if (r < 0) {
                (void)patrol_free(p);
                return r;
        }
        *ret = p;
        return 0;
}

static void renewal_free(Renewal *renewal) {
        DL_DELETE(renewal->patrol->renewals, renewal);
        free(renewal);
}

static void renewal_cancel(Renewal *renewal) {
        renewal->patrol->m->kernel->ops->cancel(renewal->op);
        renewal_free(renewal);
}

Patrol *patrol_free(Patrol *p) {
        Renewal *renewal, *next;

        if (!p)
                return NULL;
        DL_FOREACH_SAFE(p->renewals, renewal, next) {
                renewal_cancel(renewal);
        }
        sd_event_source_disable_unref(p->timer);
        free(p);
        return NULL;
}

void patrol_note(Patrol *p, const Group *g) {
        Renewal *renewal, *next;

        /* or it might come after the step that takes the right back */
        DL_FOREACH_SAFE(p->renewals, renewal, next) {
                if (renewal->group == g->id && !group_is_watched(g))
                        renewal_cancel(renewal);
        }
        if (!alarm_is_set(p->timer) && group_is_looked_after(g))
                alarm_set_relative(p->timer, INTERVAL_USEC);
}

static void on_granted(KernelOp *op, StepResult *result, void *userdata) {
        Renewal *renewal = userdata;
        Manager *m = renewal->patrol->m;
        Group *g = registry_group(m->registry, op->step->group);
        _cleanup_changes_ Changes c = CHANGES_NULL;
        const char *why = result->text ? result->text : strerror(result->error);

        renewal_free(renewal);
        if (result->error == 0) {
                log_notice("Group %u: /dev/vfio/%u was changed by somebody else; it is for uid %u again",
                           op->step->group, op->step->group, (unsigned)op->step->uid);
                return;
        }
        log_warning("Group %u: /dev/vfio/%u was changed by somebody else, and cannot be granted to uid %u "
                    "again: %s",
                    op->step->group, op->step->group, (unsigned)op->step->uid, why);
        if (!g)
                return;
        if (registry_group_set_waits_for(g, why, &c) < 0)
                log_error("Out of memory");
        (void)manager_commit(m, &c);
}

static int renew_right(Patrol *p, const Group *g) {
        Step step = { .kind = STEP_GRANT_NODE, .group = g->id, .uid = g->node_uid };
        Renewal *renewal = calloc(1, sizeof(Renewal));
        int r;

        if (!renewal)
                return -ENOMEM;
        *renewal = (Renewal){ .patrol = p, .group = g->id };
        DL_APPEND(p->renewals, renewal);
        r = p->m->kernel->ops->run(p->m->kernel, &step, NULL, GRANT_DEADLINE_USEC, on_granted,
                                   renewal, &renewal->op);
        if (r < 0)
                renewal_free(renewal);
        return r;
}

void patrol_renew_right(Manager *m, unsigned group) {
        const Group *g = registry_group(m->registry, group);
        int r;

        /* in quarantine the terms are those of the last lease, and nobody has a right */
        if (!m->started || !g || !group_is_watched(g) || g->state != GROUP_OWNED ||
            g->terms.kind != OWNER_KIND_USER || g->terms.access != ACCESS_NODE)
                return;
        r = renew_right(m->patrol, g);
        if (r < 0)
                log_error("Group %u: cannot grant /dev/vfio/%u again: %s", group, group,
                          strerror(-r));
}
