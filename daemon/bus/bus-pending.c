/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <utlist.h>

#include "bus/bus-internal.h"
#include "kernel/alarm.h"
#include "util/log.h"

#define AGAIN_USEC   200000ULL
#define CALLS_OF_ONE 128 /* user, that wait for their answer */

static void pending_free(Pending *p) {
        DL_DELETE(p->s->pending, p);
        sd_bus_message_unref(p->call);
        free(p);
}

static void answer(Pending *p) {
        int r = sd_bus_reply_method_errno(p->call, p->error, NULL);

        if (r == -ENOMEM)
                alarm_set_relative(p->s->answer_again, AGAIN_USEC);
        else
                pending_free(p);
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata) {
        BusServer *s = userdata;
        Pending *p, *next;

        DL_FOREACH_SAFE(s->pending, p, next)
        if (p->error < 0)
                answer(p);
        return 0;
}

int bus_pending_init(BusServer *s, sd_event *event) {
        return alarm_new(event, on_again, s, &s->answer_again);
}

void bus_pending_end(BusServer *s) {
        while (s->pending)
                pending_free(s->pending);
        s->answer_again = sd_event_source_disable_unref(s->answer_again);
}

static size_t count_pending(const BusServer *s, uid_t uid) {
        const Pending *p;
        size_t n = 0;

        DL_FOREACH(s->pending, p) {
                n += p->uid == uid;
        }
        return n;
}

int pending_new(BusServer *s, sd_bus_message *call, const Caller *caller, Pending **ret,
                Fault *fault) {
        Pending *p;

        if (!caller->privileged && count_pending(s, caller->uid) >= CALLS_OF_ONE)
                return fault_set(fault, ERROR_QUOTA_EXCEEDED,
                                 "uid %u waits for %d answers already: wait for some of them",
                                 (unsigned)caller->uid, CALLS_OF_ONE);
        p = calloc(1, sizeof(Pending));
        if (!p)
                return -ENOMEM;
        *p = (Pending){ .s = s, .call = sd_bus_message_ref(call), .uid = caller->uid };
        DL_APPEND(s->pending, p);
        *ret = p;
        return 0;
}

void pending_finish(Pending *p, int r) {
        if (r >= 0) {
                pending_free(p);
                return;
        }
        log_warning("Cannot answer %s: %s", sd_bus_message_get_member(p->call), strerror(-r));
        p->error = r;
        answer(p);
}
