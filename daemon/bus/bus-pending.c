/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <utlist.h>

#include "bus/bus-internal.h"
#include "kernel/alarm.h"
#include "util/log.h"

#define AGAIN_USEC 200000ULL

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

Pending *pending_new(BusServer *s, sd_bus_message *call) {
        Pending *p = calloc(1, sizeof(Pending));

        if (!p)
                return NULL;
        *p = (Pending){ .s = s, .call = sd_bus_message_ref(call) };
        DL_APPEND(s->pending, p);
        return p;
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
