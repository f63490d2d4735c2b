/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Serves the queue. After each change of the model, from the event loop: those whose turn it is are
 * granted, those whose wait is over are told, and holders who are in the way of a higher priority
 * are asked to leave.
 */

#include <string.h>

#include "kernel/alarm.h"
#include "manager/manager-internal.h"
#include "util/log.h"

#define NOTICE_USEC 30000000ULL /* how long a holder has to leave */
#define AGAIN_USEC  1000000ULL

struct QueueRunner {
        Manager *m;
        sd_event_source *run;
        sd_event_source *timer; /* the first wait is over */
};

static int serve(Manager *m) {
        Lease *l;
        int r = 0;

        while (r == 0 && (l = registry_queue_next(m->registry)))
                r = manager_grant(m, l);
        return r;
}

static int expire(Manager *m) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r = registry_queue_expire(m->registry, manager_now(m), &c);

        (void)manager_commit(m, &c); /* a failed write is logged; likewise below */
        return r;
}

static int make_way(Manager *m) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r = registry_queue_revoke(m->registry, manager_now(m) + NOTICE_USEC, &c);

        for (size_t i = 0; i < c.n_groups; i++)
                switch_note_waiting(c.groups[i], &c);
        (void)manager_commit(m, &c);
        return r;
}

static int on_run(sd_event_source *source, uint64_t usec, void *userdata) {
        QueueRunner *q = userdata;
        int r = serve(q->m);

        if (r == 0)
                r = expire(q->m);
        if (r == 0)
                r = make_way(q->m);
        if (r < 0) {
                log_error("The queue cannot be served now: %s", strerror(-r));
                alarm_set_relative(q->timer, AGAIN_USEC);
        } else
                alarm_set(q->timer, registry_queue_deadline(q->m->registry));
        return 0;
}

int queue_runner_new(Manager *m, QueueRunner **ret) {
        QueueRunner *q = calloc(1, sizeof(QueueRunner));
        int r;

        if (!q)
                return -ENOMEM;
        q->m = m;
        r = alarm_new(m->event, on_run, q, &q->run);
        if (r >= 0)
                r = alarm_new(m->event, on_run, q, &q->timer);
        if (r < 0) {
                (void)queue_runner_free(q);
                return r;
        }
        *ret = q;
        return 0;
}

QueueRunner *queue_runner_free(QueueRunner *q) {
        if (!q)
                return NULL;
        sd_event_source_disable_unref(q->run);
        sd_event_source_disable_unref(q->timer);
        free(q);
        return NULL;
}

void queue_kick(Manager *m) {
        /* from the event loop, so that a commit never runs inside another one */
        alarm_set_relative(m->queue->run, 0);
}
