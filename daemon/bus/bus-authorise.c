/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Asks an administrator, by polkit, where the policy says "ask". The call waits meanwhile; once there is an
 * answer its handler is run again from the beginning, so everything is looked at again as it is then.
 */

#include <string.h>
#include <utlist.h>

#include "bus/bus-internal.h"
#include "util/strings.h"

#define POLKIT           "org.freedesktop.PolicyKit1"
#define POLKIT_PATH      "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_AUTHORITY "org.freedesktop.PolicyKit1.Authority"
#define INTERACTIVE      1U
#define ANSWER_USEC      300000000ULL /* people have to find their password */
#define QUESTIONS_MAX    64
#define QUESTIONS_OF_ONE 4 /* connection */

struct Question {
        BusServer *s;
        sd_bus_message *call;
        sd_bus_message_handler_t handler;
        sd_bus_slot *slot;
        sd_bus_track *track; /* of who asks */
        char *id;            /* by which it can be taken back */
        bool answered;
        Fault refusal; /* unset: yes */
        Question *prev, *next;
};

static void question_free(Question *q) {
        DL_DELETE(q->s->questions, q);
        sd_bus_slot_unref(q->slot);
        sd_bus_track_unref(q->track);
        sd_bus_message_unref(q->call);
        fault_clear(&q->refusal);
        free(q->id);
        free(q);
}

void bus_authorise_end(BusServer *s) {
        while (s->questions)
                question_free(s->questions);
}

static Question *find_question(BusServer *s, sd_bus_message *call) {
        Question *q;

        DL_SEARCH_SCALAR(s->questions, q, call, call);
        return q;
}

/* the answer */

static int read_answer(sd_bus_message *reply, Fault *refusal) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        int yes, challenge, r;

        if (sd_bus_error_has_names(e, SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                return fault_set(refusal, ERROR_MAY_NOT,
                                 "an administrator would have to agree, and there is no polkit to ask: "
                                 "ask root to do it, or to change the policy");
        if (e)
                return fault_set(refusal, ERROR_MAY_NOT,
                                 "an administrator has to agree, and polkit cannot be asked: %s",
                                 e->message ? e->message : e->name);
        r = sd_bus_message_enter_container(reply, 'r', "bba{ss}");
        if (r >= 0)
                r = sd_bus_message_read(reply, "bb", &yes, &challenge);
        if (r < 0)
                return fault_set(refusal, ERROR_MAY_NOT, "polkit's answer is not understood: %s",
                                 strerror(-r));
        if (yes)
                return 0;
        if (challenge)
                return fault_set(refusal, ERROR_MUST_ASK,
                                 "an administrator has to agree, and could not be asked: the call has "
                                 "to allow interactive authorization, and an agent has to run in the "
                                 "session");
        return fault_set(refusal, ERROR_MAY_NOT, "no administrator has agreed");
}

static int run_again(Question *q) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r = sd_bus_message_rewind(q->call, true);

        if (r >= 0)
                r = q->handler(q->call, q->s, &error);
        if (r < 0)
                r = sd_bus_reply_method_errno(q->call, r, &error);
        return r;
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Question *q = userdata;

        q->answered = true;
        (void)read_answer(reply, &q->refusal); /* it is in there */
        (void)run_again(q);                    /* who asked is gone */
        question_free(q);
        return 0;
}

/* Nobody shall have to answer for somebody who has left. */
static int on_gone(sd_bus_track *track, void *userdata) {
        Question *q = userdata;

        (void)sd_bus_call_method_async(q->s->bus, NULL, POLKIT, POLKIT_PATH, POLKIT_AUTHORITY,
                                       "CancelCheckAuthorization", NULL, NULL, "s", q->id);
        question_free(q);
        return 0;
}

/* the question */

static int append_question(sd_bus_message *m, const Question *q, const char *action) {
        int r = sd_bus_message_open_container(m, 'r', "sa{sv}");

        if (r >= 0)
                r = sd_bus_message_append(m, "s", "system-bus-name");
        if (r >= 0)
                r = sd_bus_message_append(m, "a{sv}", 1, "name", "s",
                                          sd_bus_message_get_sender(q->call));
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_message_append(m, "sa{ss}us", action, 0,
                                          sd_bus_message_get_allow_interactive_authorization(
                                                  q->call) > 0
                                                  ? INTERACTIVE
                                                  : 0,
                                          q->id);
        return r;
}

static int ask(Question *q, const char *action) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        sd_bus *bus = q->s->bus;
        int r;

        q->id = str_format("dmaownerd-%llu", ++q->s->last_question);
        if (!q->id)
                return -ENOMEM;
        r = sd_bus_track_new(bus, &q->track, on_gone, q);
        if (r >= 0)
                r = sd_bus_track_add_sender(q->track, q->call);
        if (r >= 0)
                r = sd_bus_message_new_method_call(bus, &m, POLKIT, POLKIT_PATH, POLKIT_AUTHORITY,
                                                   "CheckAuthorization");
        if (r >= 0)
                r = append_question(m, q, action);
        if (r >= 0)
                r = sd_bus_call_async(bus, &q->slot, m, on_answer, q, ANSWER_USEC);
        return r;
}

static int check_room(BusServer *s, sd_bus_message *call, Fault *fault) {
        size_t n = 0, of_one = 0;
        Question *q;

        DL_FOREACH(s->questions, q) {
                n++;
                of_one += str_eq(sd_bus_message_get_sender(q->call),
                                 sd_bus_message_get_sender(call));
        }
        if (n < QUESTIONS_MAX && of_one < QUESTIONS_OF_ONE)
                return 0;
        return fault_set(fault, ERROR_QUOTA_EXCEEDED,
                         "administrators are being asked %zu questions already: try again later",
                         n);
}

bool bus_is_authorised(BusServer *s, sd_bus_message *call) {
        const Question *q = find_question(s, call);

        return q && q->answered && !fault_is_set(&q->refusal);
}

int bus_authorise(BusServer *s, sd_bus_message *call, sd_bus_message_handler_t handler,
                  const char *action, Fault *fault) {
        Question *q = find_question(s, call);
        int r;

        fault_clear(fault); /* that nobody could be asked is not said yet */
        if (q && q->answered) {
                if (!fault_is_set(&q->refusal))
                        return 0;
                return fault_copy(fault, &q->refusal) < 0 ? -ENOMEM : -ECANCELED;
        }
        r = check_room(s, call, fault);
        if (r < 0)
                return r;
        q = calloc(1, sizeof(Question));
        if (!q)
                return -ENOMEM;
        *q = (Question){
                .s = s, .call = sd_bus_message_ref(call), .handler = handler, .refusal = FAULT_NULL
        };
        DL_APPEND(s->questions, q);
        r = ask(q, action);
        if (r < 0) {
                question_free(q);
                return r;
        }
        return 1;
}

/* what is asked for */

static const char *action_of(ManageAction action) {
        switch (action) {
        case MANAGE_RELEASE:
                return BUS_NAME ".release";
        case MANAGE_REVOKE:
                return BUS_NAME ".revoke";
        case MANAGE_RELOAD:
                return BUS_NAME ".reload";
        case MANAGE_SEE:
        case MANAGE_RENEW:
        case MANAGE_OPEN:
        case MANAGE_ADMINISTER:
        case _MANAGE_ACTION_MAX:
        case _MANAGE_ACTION_INVALID:
                break;
        }
        return BUS_NAME ".manage";
}

int bus_may_manage(BusServer *s, sd_bus_message *call, sd_bus_message_handler_t handler,
                   const Owner *owner, ManageAction action, Fault *fault) {
        const Caller *caller;
        int r = bus_caller(s, call, &caller);

        if (r >= 0)
                r = policy_check_manage(manager_policy(s->m), caller, owner, action, fault);
        if (r < 0 && fault->code == ERROR_MUST_ASK)
                r = bus_authorise(s, call, handler, action_of(action), fault);
        if (r == 0 && (!owner || owner->uid != caller->uid))
                bus_audit_asked(s, call, caller);
        return r;
}
