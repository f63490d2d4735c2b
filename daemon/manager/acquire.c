/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Acquire and Explain up to their answers. Both ask the same questions: do the rules allow it,
 * is there a plan, does the host need what the plan takes away? Acquire holds its reservation
 * meanwhile, and gives it up again if the answer is no.
 */

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <utlist.h>

#include "core/choice.h"
#include "manager/manager-internal.h"
#include "util/log.h"
#include "util/strings.h"

#define INSPECT_DEADLINE_USEC 10000000ULL
#define RETRY_USEC            20000ULL
#define RETRIES               250
#define SPARE_FDS             64

struct Inquiry {
        Manager *m;
        char *lease;      /* Acquire: id */
        bool queued;      /* it was granted from the queue: its requester has his answer already */
        int lifeline;     /* the requester's end */
        Request question; /* Explain, and Acquire if other devices would do as well */
        int pidfd;        /* of the holder, likewise */
        char **avoid;     /* devices that were found in use */
        bool force;
        Plan plan; /* of all groups, one after the other */
        Obstacles obstacles;
        char **devices; /* those to inspect */
        KernelOp **ops; /* their inspections, as long as they have not answered */
        bool *answered;
        size_t n;
        size_t pending;
        unsigned *held; /* groups whose claim waits for the answer */
        size_t n_held;
        sd_event_source *retry;
        unsigned retries;
        AcquireDone acquired;
        ExplainDone explained;
        void *userdata;
        Inquiry *prev, *next;
};

/* Forgets what was found out, not what was asked. */
static void inquiry_reset(Inquiry *q) {
        for (size_t i = 0; q->ops && i < q->n; i++)
                if (q->ops[i])
                        q->m->kernel->ops->cancel(q->ops[i]);
        q->retry = sd_event_source_disable_unref(q->retry);
        q->devices = strv_free(q->devices);
        free(q->ops);
        free(q->answered);
        free(q->held);
        free(q->lease);
        q->ops = NULL;
        q->answered = NULL;
        q->held = NULL;
        q->lease = NULL;
        q->n = q->n_held = q->pending = 0;
        q->retries = 0;
        q->lifeline = safe_close(q->lifeline);
        plan_clear(&q->plan);
        obstacles_clear(&q->obstacles);
}

static Inquiry *inquiry_free(Inquiry *q) {
        if (!q)
                return NULL;
        DL_DELETE(q->m->inquiries, q);
        inquiry_reset(q);
        strv_free(q->avoid);
        request_clear(&q->question);
        safe_close(q->pidfd);
        free(q);
        return NULL;
}

static Inquiry *inquiry_new(Manager *m, bool force, void *userdata) {
        Inquiry *q = calloc(1, sizeof(Inquiry));

        if (!q)
                return NULL;
        *q = (Inquiry){ .m = m,
                        .lifeline = -EBADF,
                        .question = REQUEST_NULL,
                        .pidfd = -EBADF,
                        .force = force,
                        .userdata = userdata };
        DL_APPEND(m->inquiries, q);
        return q;
}

void manager_answer_all(Manager *m) {
        _cleanup_fault_ Fault why = FAULT_NULL;

        (void)fault_set(&why, ERROR_TIMED_OUT,
                        "the daemon was stopped before it could answer; ask again");
        while (m->inquiries) {
                Inquiry *q = m->inquiries;

                if (q->acquired)
                        q->acquired(NULL, -EBADF, &why, q->userdata);
                else if (!q->queued)
                        q->explained(NULL, &why, q->userdata);
                /* for the store a lease that was queued is queued still */
                inquiry_free(q);
        }
}

/* Adds what the group needs to the plan. */
/* Also those to which nothing is done, and also with force: what is seen now is what is recorded, and what a
 * record has wrong is put back one day. */
static int inquiry_add_devices(Inquiry *q, const Group *g) {
        for (const Device *d = g->devices; d; d = d->next)
                if (!strv_contains(q->devices, d->facts.name) &&
                    strv_extend(&q->devices, d->facts.name) < 0)
                        return -ENOMEM;
        return 0;
}

static int inquiry_add_group(Inquiry *q, Group *g, const Owner *owner, const Terms *terms,
                             uid_t uid) {
        _cleanup_plan_ Plan plan = PLAN_NULL;
        Step *longer;
        int r;

        r = manager_plan_claim(q->m, g, owner, terms, uid, q->force, &plan, &q->obstacles);
        if (r == 0)
                r = inquiry_add_devices(q, g);
        if (r < 0 || plan.n == 0)
                return r;
        longer = realloc(q->plan.steps, (q->plan.n + plan.n) * sizeof(Step));
        if (!longer)
                return -ENOMEM;
        memcpy(longer + q->plan.n, plan.steps, plan.n * sizeof(Step));
        q->plan.steps = longer;
        q->plan.n += plan.n;
        plan.n = 0; /* moved */
        return 0;
}

/* answers */

static void fault_of_obstacles(const Obstacles *o, ErrorCode code, Fault *f) {
        _cleanup_free_ char *text = obstacles_describe(o, true);

        if (text)
                fault_set(f, code, "%s", text);
        else
                fault_set_oom(f);
}

static bool has_obstacle(const Inquiry *q, const Group *g) {
        for (size_t i = 0; i < q->obstacles.n; i++) {
                const Device *d = registry_device(q->m->registry, q->obstacles.items[i].device);

                if (d && d->group == g)
                        return true;
        }
        return false;
}

/* Groups whose steps wait for this answer are free again at once: nothing was begun. */
static int drop_group(Inquiry *q, Group *g, Changes *c) {
        Registry *registry = q->m->registry;
        _cleanup_fault_ Fault why = FAULT_NULL;
        int r = 0;

        /* somebody has joined the claim meanwhile: what was found stands in his way, too */
        if (g->state == GROUP_CLAIMING && has_obstacle(q, g)) {
                fault_of_obstacles(&q->obstacles, ERROR_IN_USE, &why);
                r = registry_group_claim_failed(registry, g, &why, c);
        }
        if (r < 0 || g->state != GROUP_DRAINING)
                return r;
        switch_drop(g);
        r = registry_group_drained(registry, g, c);
        if (r == 0 && g->requarantine)
                return registry_group_quarantined(registry, g, c);
        return r < 0 ? r : registry_group_restored(registry, g, c);
}

/* What could not be taken back at once goes the way of a lease that ends. */
static void abandon_reservation(Inquiry *q) {
        Lease *l = registry_lease(q->m->registry, q->lease);

        if (l && !lease_state_is_over(l->state))
                manager_surely_end_lease(q->m, l, "refused");
        for (size_t i = 0; i < q->n_held; i++) {
                Group *g = registry_group(q->m->registry, q->held[i]);

                if (g)
                        switch_unhold(g, q);
        }
        catch_up_later(q->m);
}

/* Whoever has joined the claim of a lease that is no more has it for himself. */
static void go_on_without(Inquiry *q) {
        for (size_t i = 0; i < q->n_held; i++) {
                Group *g = registry_group(q->m->registry, q->held[i]);

                if (g && g->state == GROUP_CLAIMING)
                        switch_go(q->m, g, q);
        }
}

static int drop_reservation(Inquiry *q, const Fault *why) {
        Lease *l = registry_lease(q->m->registry, q->lease);
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r = 0;

        if (l && !lease_state_is_over(l->state))
                r = q->queued ? registry_lease_fail(q->m->registry, l, why, &c)
                              : registry_lease_end(q->m->registry, l, LEASE_ENDED, "refused", &c);
        for (size_t i = 0; r == 0 && i < q->n_held; i++) {
                Group *g = registry_group(q->m->registry, q->held[i]);

                if (g && switch_is_held(g, q))
                        r = drop_group(q, g, &c);
        }
        (void)manager_commit(q->m, &c); /* a failed write is logged */
        if (r < 0)
                abandon_reservation(q);
        else
                go_on_without(q);
        return r;
}

/* The reservation ends as if it had never been. */
static void refuse_acquire(Inquiry *q, const Fault *why) {
        int r = q->lease ? drop_reservation(q, why) : 0;

        if (r < 0)
                log_error("Lease %s cannot be taken back: %s", q->lease, strerror(-r));
        if (!q->queued)
                q->acquired(NULL, -EBADF, why, q->userdata);
        inquiry_free(q);
}

static int inquiry_begin(Inquiry *q, Request *request, int *pidfd, Fault *why);

/* Are there other devices, now that some are known to be in use? */
static bool has_alternatives(const Inquiry *q) {
        return q->question.n_choices > 0 && q->avoid && q->obstacles.n > 0;
}

/* What cannot be planned is no better than what is in use. */
static int avoid_obstacles(Inquiry *q) {
        for (size_t i = 0; i < q->obstacles.n; i++)
                if (!strv_contains(q->avoid, q->obstacles.items[i].device) &&
                    strv_extend(&q->avoid, q->obstacles.items[i].device) < 0)
                        return -ENOMEM;
        return 0;
}

/* Tries what is left, as long as it can be planned. */
static void acquire_others(Inquiry *q, const Fault *why) {
        while (has_alternatives(q)) {
                _cleanup_request_ Request request = REQUEST_NULL;
                _cleanup_close_ int pidfd = -EBADF;
                _cleanup_fault_ Fault more = FAULT_NULL;
                int r = drop_reservation(q, why);

                if (r < 0)
                        log_error("Lease %s cannot be taken back: %s", q->lease, strerror(-r));
                inquiry_reset(q);
                if (q->pidfd >= 0)
                        pidfd = fcntl(q->pidfd, F_DUPFD_CLOEXEC, 3);
                if ((q->pidfd >= 0 && pidfd < 0) || request_copy(&request, &q->question) < 0)
                        break;
                if (inquiry_begin(q, &request, &pidfd, &more) == 0)
                        return;
                if (!q->lease || avoid_obstacles(q) < 0)
                        break;
        }
        refuse_acquire(q, why);
}

static void answer_acquire(Inquiry *q) {
        Lease *l = registry_lease(q->m->registry, q->lease);
        _cleanup_fault_ Fault why = FAULT_NULL;
        int r;

        if (!l)
                fault_set(&why, ERROR_NO_SUCH_LEASE,
                          "it has ended before it was granted: released, expired, revoked, or its "
                          "holder is gone");
        else if (fault_is_set(&l->failure))
                (void)fault_copy(&why, &l->failure);
        else if (q->obstacles.n > 0 && !q->force)
                fault_of_obstacles(&q->obstacles, ERROR_IN_USE, &why);
        if (fault_is_set(&why)) {
                acquire_others(q, &why);
                return;
        }
        l->answered = true;
        l->asking = false;
        r = store_save_lease(q->m->store, l);
        if (r < 0 && !q->queued) {
                fault_set(&why, ERROR_QUOTA_EXCEEDED, "the lease cannot be recorded: %s",
                          strerror(-r));
                refuse_acquire(q, &why);
                return;
        }
        if (r < 0) {
                l->behind = true;
                catch_up_later(q->m);
        }
        audit_granted(q->m->audit, l);
        if (q->obstacles.n > 0)
                audit_forced(q->m->audit, l, &q->obstacles);
        if (!q->queued)
                q->acquired(l, TAKE_FD(q->lifeline), NULL, q->userdata);
        for (size_t i = 0; i < q->n_held; i++) { /* the lease may not have survived the answer */
                Group *g = registry_group(q->m->registry, q->held[i]);

                if (g)
                        switch_go(q->m, g, q);
        }
        inquiry_free(q);
}

static int explain(Inquiry *q, Fault *why);

static int plan_groups(Inquiry *q, Group **groups, size_t n) {
        const Terms terms = request_terms(&q->question);
        int r = 0;

        for (size_t i = 0; r == 0 && i < n; i++)
                if (groups[i]->count == 0)
                        r = inquiry_add_group(q, groups[i], &q->question.owner, &terms,
                                              q->question.uid);
        return r;
}

/* The inspection has read what no event tells, such as overrides: Acquire would plan with that, too. */
static int plan_again(Inquiry *q) {
        _cleanup_free_ Group **groups = NULL;
        size_t n;

        if (q->obstacles.n > 0 ||
            registry_check(q->m->registry, &q->question, &groups, &n, NULL) < 0)
                return 0;
        plan_clear(&q->plan);
        return plan_groups(q, groups, n);
}

static void refuse_explain(Inquiry *q, const Fault *why) {
        q->explained(NULL, why, q->userdata);
        inquiry_free(q);
}

static void answer_explain(Inquiry *q) {
        const Explanation answer = { &q->plan, &q->obstacles, q->question.devices };
        _cleanup_fault_ Fault why = FAULT_NULL;
        int r;

        if (has_alternatives(q) &&
            registry_choose(q->m->registry, &q->question, q->avoid, NULL) == 0) {
                inquiry_reset(q);
                if (explain(q, &why) < 0)
                        refuse_explain(q, &why);
                return;
        }
        r = plan_again(q);
        if (r < 0) {
                fault_set_oom(&why);
                refuse_explain(q, &why);
                return;
        }
        q->explained(&answer, NULL, q->userdata);
        inquiry_free(q);
}

static void inquiry_answer(Inquiry *q) {
        if (q->acquired || q->queued)
                answer_acquire(q);
        else
                answer_explain(q);
}

/* inspecting */

static int inquiry_ask(Inquiry *q);

/* It cannot be answered: it is refused, whatever came of it. */
static void inquiry_give_up(Inquiry *q) {
        _cleanup_fault_ Fault why = FAULT_NULL;

        (void)fault_set_oom(&why);
        if (q->acquired || q->queued)
                refuse_acquire(q, &why);
        else
                refuse_explain(q, &why);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        Inquiry *q = userdata;

        if (inquiry_ask(q) < 0)
                inquiry_give_up(q);
        return 0;
}

/* All that could be asked has been. A group that another step was working on, or another
 * inspection, is asked again. */
static int inquiry_next(Inquiry *q) {
        bool all = true;

        for (size_t i = 0; i < q->n; i++)
                all = all && q->answered[i];
        if (all) {
                inquiry_answer(q);
                return 0;
        }
        q->retries++;
        q->retry = sd_event_source_disable_unref(q->retry);
        return sd_event_add_time_relative(q->m->event, &q->retry, CLOCK_BOOTTIME, RETRY_USEC, 0,
                                          on_retry, q);
}

static int take_answer(Inquiry *q, size_t n, const StepResult *result) {
        const char *device = q->devices[n];
        int r = 0;

        if (result->error == EAGAIN && q->retries < RETRIES)
                return 0;
        q->answered[n] = true;
        if (!plan_disturbs(&q->plan, device))
                return 0; /* it is only looked at */
        if ((result->error != 0 || result->obstacles.n > 0) && strv_extend(&q->avoid, device) < 0)
                return -ENOMEM;
        for (size_t i = 0; r == 0 && i < result->obstacles.n; i++) {
                const Obstacle *o = &result->obstacles.items[i];

                r = obstacles_add(&q->obstacles, o->code, o->device, "%s", o->text);
        }
        /* not knowing is no permission */
        if (r == 0 && result->error != 0)
                r = obstacles_add(&q->obstacles, "unknown-use", device,
                                  "%s: whether the host needs it cannot be told: %s%s%s", device,
                                  strerror(result->error), result->text ? ": " : "",
                                  result->text ? result->text : "");
        return r;
}

static void on_inspected(KernelOp *op, StepResult *result, void *userdata) {
        Inquiry *q = userdata;
        int r = 0;

        for (size_t i = 0; r == 0 && i < q->n; i++)
                if (q->ops[i] == op) {
                        q->ops[i] = NULL;
                        r = take_answer(q, i, result);
                }
        q->pending--;
        if (r == 0 && q->pending == 0)
                r = inquiry_next(q);
        if (r < 0)
                inquiry_give_up(q);
}

/* Asks about each device that has not been answered for. */
static int inquiry_ask(Inquiry *q) {
        for (size_t i = 0; i < q->n; i++) {
                Device *d = registry_device(q->m->registry, q->devices[i]);
                Step step = { .kind = STEP_INSPECT, .device = q->devices[i] };
                int r;

                if (q->answered[i])
                        continue;
                if (!d || !d->group) { /* gone meanwhile: the lease knows */
                        q->answered[i] = true;
                        continue;
                }
                step.group = d->group->id;
                r = q->m->kernel->ops->run(q->m->kernel, &step, NULL, INSPECT_DEADLINE_USEC,
                                           on_inspected, q, &q->ops[i]);
                if (r < 0)
                        return r;
                q->pending++;
        }
        return q->pending > 0 ? 0 : inquiry_next(q);
}

static int inquiry_inspect(Inquiry *q) {
        q->n = strv_length(q->devices);
        q->ops = calloc(q->n + 1, sizeof(KernelOp *));
        q->answered = calloc(q->n + 1, sizeof(bool));
        if (!q->ops || !q->answered)
                return -ENOMEM;
        return inquiry_ask(q);
}

/* Acquire */

/* Plans what has to be done to the groups of the lease, and keeps it from being begun. */
static int hold_groups(Inquiry *q, Lease *l, Fault *why) {
        int r = 0;

        q->held = calloc(l->n_groups + 1, sizeof(unsigned));
        if (!q->held)
                return -ENOMEM;
        for (size_t i = 0; r == 0 && i < l->n_groups; i++) {
                Group *g = l->groups[i];

                if (g->state != GROUP_CLAIMING || g->count > 1)
                        continue;
                r = switch_hold(q->m, g, q);
                if (r == 0) {
                        q->held[q->n_held++] = g->id;
                        r = inquiry_add_group(q, g, &g->owner, &g->terms, l->request.uid);
                }
        }
        if (r < 0)
                return r;
        if (q->obstacles.n > 0) {
                fault_of_obstacles(&q->obstacles, ERROR_NOT_VIABLE, why);
                return -ECANCELED;
        }
        return 0;
}

/* A lease that cannot be written would not be restored. */
static int commit_lease(Inquiry *q, Changes *c, Fault *why) {
        int r = manager_commit(q->m, c);

        return r < 0 && r != -ENOMEM ? fault_set(why, ERROR_QUOTA_EXCEEDED,
                                                 "the lease cannot be recorded: %s", strerror(-r))
                                     : r;
}

/* Messages bring descriptors, which have to fit in before they can be refused: without room for them the
 * bus ends our connection. */
static int check_room(int fd) {
        struct rlimit limit;

        if (fd < 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
                return 0;
        return (rlim_t)fd + SPARE_FDS < limit.rlim_cur ? 0 : -EMFILE;
}

/* Everything that needs the lease but not the kernel: lifeline, holder, state files, plans. */
static int prepare_lease(Inquiry *q, Lease *l, int *pidfd, Changes *c, Fault *why) {
        _cleanup_close_ int watched = TAKE_FD(*pidfd);
        int r;

        r = hold_groups(q, l, why);
        if (r < 0)
                return r;
        if (l->request.holder == HOLDER_LIFELINE)
                r = store_create_lifeline(q->m->store, l->id, &watched, &q->lifeline);
        if (r == 0)
                r = check_room(watched);
        if (r == 0)
                r = holder_new(q->m, l, watched);
        if (r == 0)
                TAKE_FD(watched);
        if (r < 0 && r != -ENOMEM)
                return fault_set(why, ERROR_QUOTA_EXCEEDED, "the lease cannot be recorded: %s",
                                 strerror(-r));
        return r < 0 ? r : commit_lease(q, c, why);
}

/* If it fails, q->lease tells whether there is a reservation to drop. */
static int inquiry_begin(Inquiry *q, Request *request, int *pidfd, Fault *why) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        Lease *l = NULL;
        int r;

        r = registry_request(q->m->registry, request, q->avoid, &l, &c, why);
        if (r == 0) {
                q->lease = strdup(l->id);
                r = q->lease ? prepare_lease(q, l, pidfd, &c, why) : -ENOMEM;
        }
        if (r == 0)
                r = inquiry_inspect(q);
        if (r < 0 && r != -ECANCELED)
                fault_set_oom(why);
        return r; /* what was reserved in vain never became known */
}

/* What another try would need. */
static int remember_question(Inquiry *q, const Request *request, int pidfd) {
        if (request->n_choices == 0)
                return 0;
        if (pidfd >= 0) {
                q->pidfd = fcntl(pidfd, F_DUPFD_CLOEXEC, 3);
                if (q->pidfd < 0)
                        return -errno;
        }
        return request_copy(&q->question, request);
}

void manager_acquire(Manager *m, Request *request, int pidfd, AcquireDone done, void *userdata) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        _cleanup_close_ int holder = pidfd;
        Inquiry *q = inquiry_new(m, request->force, userdata);

        if (!q) {
                fault_set_oom(&why);
                done(NULL, -EBADF, &why, userdata);
                return;
        }
        q->acquired = done;
        if (remember_question(q, request, holder) < 0) {
                fault_set_oom(&why);
                refuse_acquire(q, &why);
        } else if (inquiry_begin(q, request, &holder, &why) < 0) {
                if (q->lease && avoid_obstacles(q) == 0)
                        acquire_others(q, &why);
                else
                        refuse_acquire(q, &why);
        }
}

int manager_grant(Manager *m, Lease *l) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        _cleanup_fault_ Fault why = FAULT_NULL;
        Inquiry *q = inquiry_new(m, l->request.force, NULL);
        int r = -ENOMEM;

        if (!q)
                return r;
        q->queued = true;
        q->lease = strdup(l->id);
        if (q->lease)
                r = registry_queue_grant(m->registry, l, manager_now(m), &c);
        if (r < 0) {
                inquiry_free(q);
                return r;
        }
        l->asking = true;
        holder_set_expiry(l);
        r = hold_groups(q, l, &why);
        if (r >= 0)
                r = commit_lease(q, &c, &why);
        if (r >= 0)
                r = inquiry_inspect(q);
        if (r < 0) {
                if (r != -ECANCELED)
                        fault_set_oom(&why);
                refuse_acquire(q, &why);
        }
        return 0;
}

/* Explain */

/* What is a refusal of Acquire is an obstacle here, unless the question itself makes no sense. */
static const char *obstacle_code(ErrorCode code) {
        switch (code) {
        case ERROR_BUSY:
                return "busy";
        case ERROR_QUARANTINED:
                return "quarantined";
        case ERROR_LOST:
                return "lost";
        case ERROR_NOT_VIABLE:
                return "not-viable";
        case ERROR_NO_IOMMU:
                return "no-iommu";
        case ERROR_UNSUPPORTED:
                return "unsupported";
        case ERROR_IN_USE: /* known beforehand, of what a selector matches */
                return "in-use";
        case ERROR_ACCESS_DENIED: /* to everybody */
                return "protected";
        case ERROR_INVALID_ARGS:
        case ERROR_NO_SUCH_DEVICE:
        case ERROR_NO_SUCH_GROUP:
        case ERROR_NO_SUCH_LEASE:
        case ERROR_KERNEL_REFUSED:
        case ERROR_TIMED_OUT:
        case ERROR_QUOTA_EXCEEDED:
        case ERROR_BAD_POLICY:
        case ERROR_NO_MEMORY:
        case ERROR_MAY_NOT:
        case ERROR_MUST_ASK:
        case _ERROR_CODE_MAX:
        case _ERROR_CODE_INVALID:
                break;
        }
        return NULL;
}

static int explain_refusal(Inquiry *q, const Fault *why) {
        char *const *asked = q->question.n_choices > 0 ? q->question.choices[0]
                                                       : q->question.devices;
        const char *code = obstacle_code(why->code);

        return code ? obstacles_add(&q->obstacles, code, asked[0], "%s", why->message) : -ECANCELED;
}

static int explain(Inquiry *q, Fault *why) {
        _cleanup_free_ Group **groups = NULL;
        Request *request = &q->question;
        size_t n = 0;
        int r;

        r = registry_choose(q->m->registry, request, q->avoid, why);
        if (r == 0)
                r = registry_check(q->m->registry, request, &groups, &n, why);
        if (r == -ECANCELED)
                r = explain_refusal(q, why);
        if (r == 0)
                r = plan_groups(q, groups, n);
        if (r == 0)
                r = inquiry_inspect(q);
        if (r < 0 && r != -ECANCELED)
                fault_set_oom(why);
        return r;
}

void manager_explain(Manager *m, const Request *request, ExplainDone done, void *userdata) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        Inquiry *q = inquiry_new(m, false, userdata);

        if (!q) {
                fault_set_oom(&why);
                done(NULL, &why, userdata);
                return;
        }
        q->explained = done;
        if (request_copy(&q->question, request) < 0) {
                fault_set_oom(&why);
                refuse_explain(q, &why);
        } else if (explain(q, &why) < 0)
                refuse_explain(q, &why);
}
