/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Runs the plan of one group, a step after the other. A plan is made from what is now, so after
 * anything unclear - a step left behind, the executor gone, a restart - it is made again and the
 * rest is done. Towards a lease, a step that fails ends the lease and the way back begins. On
 * the way back nothing gives up early: what cannot be done now waits, what fails is remembered
 * and the other devices are put back all the same.
 */

#include <string.h>

#include "core/refusal.h"
#include "core/vfs.h"
#include "kernel/alarm.h"
#include "manager/switch-internal.h"
#include "util/log.h"
#include "util/strings.h"

#define SECOND        1000000ULL
#define CLAIM_TRIES   20
#define RESTORE_TRIES 2

static int switch_run(Switch *s);
static int switch_next(Switch *s);
static int switch_sync(Switch *s);
static int switch_retry_later(Switch *s, const char *why);
static int on_retry(sd_event_source *source, uint64_t usec, void *userdata);

Switch *switch_free(Switch *s) {
        if (!s)
                return NULL;
        if (s->op)
                s->m->kernel->ops->cancel(s->op);
        sd_event_source_disable_unref(s->retry);
        fd_store_sync_free(s->sync);
        plan_clear(&s->plan);
        keep_close(&s->keep);
        fault_clear(&s->first);
        step_clear(&s->left_behind);
        free(s);
        return NULL;
}

Switch *switch_get(Manager *m, Group *g) {
        Switch *s = g->userdata;

        if (s)
                return s;
        s = calloc(1, sizeof(Switch));
        if (!s)
                return NULL;
        *s = (Switch){
                .m = m,
                .g = g,
                .keep = KEEP_NULL,
                .first = FAULT_NULL,
                .left_behind = { .kind = _STEP_KIND_INVALID },
        };
        if (alarm_new(m->event, on_retry, s, &s->retry) < 0)
                return switch_free(s);
        g->userdata = s;
        return s;
}

bool switch_is_busy(const Group *g) {
        const Switch *s = g->userdata;

        return s && (s->running || s->held);
}

bool switch_is_held(const Group *g, const Inquiry *q) {
        const Switch *s = g->userdata;

        return s && s->held == q;
}

void switch_forget(Manager *m, Group *g) {
        Switch *s = g->userdata;
        _cleanup_changes_ Changes c = CHANGES_NULL;

        if (s)
                (void)keep_drop(&s->keep, m->fd_store, g, &c);
        g->userdata = switch_free(s);
}

/* How long the kernel may take before the step is left behind: on a host that has no time for anybody,
 * too, what is short otherwise takes seconds. 0: for ever; these wait for people's programs. */
static uint64_t step_deadline(StepKind kind) {
        switch (kind) {
        case STEP_WAIT_CLOSED:
        case STEP_CLAIM:
        case STEP_EVICT:
        case STEP_SCRUB: /* no plan has it */
                return 0;
        case STEP_SET_NUM_VFS: /* a second for each of hundreds is not unheard of */
        case STEP_RESET:
        case STEP_RECLAIM:   /* unpinning a terabyte takes a while */
        case STEP_WAIT_NODE: /* udev may have many other events to handle first */
                return 90 * SECOND;
        case STEP_UNBIND:
        case STEP_BIND:
        case STEP_PROBE:
        case STEP_LOAD_MODULE:
        case STEP_SET_VF_AUTOPROBE:
        case STEP_READ_VF:
        case STEP_SET_VF:
        case STEP_INSPECT:
        case STEP_SET_OVERRIDE:
        case STEP_SET_TYPE:
        case STEP_GRANT_NODE:
        case STEP_REVOKE_NODE:
        case STEP_LEND:
        case STEP_RELEASE:
        case _STEP_KIND_MAX:
        case _STEP_KIND_INVALID:
                break;
        }
        return 30 * SECOND;
}

/* The step, or another one before it, may still be at work, or may have been done. */
static bool is_unclear(int error) {
        return error == EAGAIN || error == ECONNRESET || error == ETIMEDOUT || error == EIO;
}

/* These find nothing to do when the node went with the driver. */
static bool is_about_node(StepKind kind) {
        return kind == STEP_CLAIM || kind == STEP_WAIT_CLOSED || kind == STEP_REVOKE_NODE ||
               kind == STEP_RECLAIM;
}

/* Not an answer of the kernel to the step, but "not now". */
static bool is_transient(int error) {
        return error == EAGAIN || error == ECONNRESET || error == ENOTCONN;
}

static void fault_of_step(Fault *f, const Group *g, const Step *step, const StepResult *result) {
        _cleanup_free_ char *what = step_describe(step), *why = NULL;
        ErrorCode code = result->error == ETIMEDOUT    ? ERROR_TIMED_OUT
                         : result->obstacles.n > 0     ? ERROR_IN_USE
                         : is_transient(result->error) ? ERROR_TIMED_OUT
                                                       : ERROR_KERNEL_REFUSED;
        const char *more = result->obstacles.n > 0 ? result->obstacles.items[0].text : result->text;

        /* the executor's own words know more than what the number means in general */
        if (str_empty(more) && refusal_explain(g, step, result->error, &why) == 0)
                more = why;
        fault_set(f, code, "%s: %s%s%s", what ? what : step_kind_to_string(step->kind),
                  strerror(result->error), str_empty(more) ? "" : ": ",
                  str_empty(more) ? "" : more);
}

static void switch_stop(Switch *s) {
        s->running = false;
        s->tries = 0;
        s->replans = 0;
        plan_clear(&s->plan);
        fault_clear(&s->first);
        alarm_stop(s->retry);
}

static int switch_fail_claim(Switch *s, const Fault *why) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r;

        switch_stop(s);
        r = registry_group_claim_failed(s->m->registry, s->g, why, &c);
        if (r < 0)
                return r;
        (void)manager_commit(s->m, &c); /* a failed write is logged; the way back goes on */
        return 0;
}

static bool group_is_forced(const Group *g) {
        for (size_t i = 0; i < g->n_leases; i++)
                if (g->leases[i]->request.force)
                        return true;
        return false;
}

/* A plan that makes the facts of every member true again; no event tells of an override. */
static int plan_look(const Group *g, Plan *ret) {
        _cleanup_plan_ Plan p = PLAN_NULL;

        for (const Device *d = g->devices; d; d = d->next) {
                Step step = { .kind = STEP_INSPECT, .device = d->facts.name, .group = g->id };

                if (plan_add(&p, &step) < 0)
                        return -ENOMEM;
        }
        *ret = p;
        p = PLAN_NULL;
        return 0;
}

int switch_note_left_behind(Manager *m, Group *g, const Step *step) {
        Switch *s = switch_get(m, g);

        return s ? step_copy(&s->left_behind, step) : -ENOMEM;
}

const Step *switch_step(const Group *g) {
        const Switch *s = g->userdata;

        if (s && s->op && !s->looking)
                return &s->plan.steps[s->next];
        return s && s->left_behind.kind >= 0 ? &s->left_behind : NULL;
}

/* The step, or one before it, may be at work in the kernel still. */
static void switch_doubt(Switch *s, const Step *step, int error) {
        s->unclear = is_unclear(error);
        if (s->unclear && error != EAGAIN)
                (void)step_copy(&s->left_behind, step); /* for lack of memory: without its name */
}

static int switch_wait_for_lock(Switch *s) {
        _cleanup_free_ char *what = NULL, *why = NULL;

        /* an eviction goes on in the kernel; who keeps it waiting is known from before */
        if (s->g->evict && !str_empty(s->g->waits_for))
                return switch_retry_later(s, s->g->waits_for);
        what = s->left_behind.kind >= 0 ? step_describe(&s->left_behind) : NULL;
        why = str_format("a step that was left behind in the kernel%s%s", what ? ": " : "",
                         what ? what : "");
        return why ? switch_retry_later(s, why) : -ENOMEM;
}

static int on_look_failed(Switch *s, const Step *step, const StepResult *result) {
        _cleanup_fault_ Fault why = FAULT_NULL;

        s->unclear = true;
        if (s->m->kernel->ops->group_is_locked(s->m->kernel, s->g->id) != 0)
                return switch_wait_for_lock(s);
        fault_of_step(&why, s->g, step, result);
        return switch_retry_later(s, why.message);
}

/* Makes the plan for what is now and begins it. */
static int switch_begin(Switch *s) {
        _cleanup_free_ char *vfs = NULL;
        _cleanup_obstacles_ Obstacles obstacles = OBSTACLES_NULL;
        _cleanup_fault_ Fault why = FAULT_NULL;
        int r;

        alarm_stop(s->retry);
        plan_clear(&s->plan);
        s->next = 0;
        s->claim = s->g->state == GROUP_CLAIMING;
        s->running = true;
        s->looking = false;
        s->unclear = s->unclear || s->stale;
        s->stale = false;
        if (s->unclear) {
                if (s->m->kernel->ops->group_is_locked(s->m->kernel, s->g->id) != 0)
                        return switch_wait_for_lock(s);
                s->unclear = false;
                step_clear(&s->left_behind);
                s->looking = true;
                r = plan_look(s->g, &s->plan);
                return r < 0 ? r : switch_run(s);
        }
        if (!s->claim && !s->g->accepted) {
                r = registry_vfs_in_use(s->m->registry, s->g, &vfs);
                if (r < 0)
                        return r;
                if (vfs)
                        return switch_retry_later(s, vfs);
        }
        if (!s->claim) {
                r = plan_restore(s->g, s->m->policy, &s->plan);
                return r < 0 ? r : switch_run(s);
        }
        r = manager_plan_claim(s->m, s->g, &s->g->owner, &s->g->terms, s->g->node_uid,
                               group_is_forced(s->g), &s->plan, &obstacles);
        if (r < 0)
                return r;
        if (obstacles.n == 0)
                return switch_run(s);
        fault_set(&why, ERROR_NOT_VIABLE, "%s", obstacles.items[0].text);
        return switch_fail_claim(s, &why);
}

static bool group_is_on_its_way(const Group *g) {
        return g->state == GROUP_CLAIMING || g->state == GROUP_DRAINING ||
               g->state == GROUP_RESTORING;
}

static uint64_t next_delay(Switch *s, uint64_t longest) {
        uint64_t delay = 100000ULL << (s->tries < 7 ? s->tries : 7);

        s->tries++;
        return delay < longest ? delay : longest;
}

/* For want of memory, mostly. Whatever was under way, the rest is planned again from what is then. */
static void switch_put_off(Switch *s, int error) {
        _cleanup_changes_ Changes c = CHANGES_NULL;

        if (s->tries == 0)
                log_error("Group %u: cannot go on now: %s", s->g->id, strerror(-error));
        s->running = true;
        s->unclear = true;
        if (registry_group_set_waits_for(s->g, strerror(-error), &c) == 0)
                (void)manager_commit(s->m, &c); /* a failed write is logged */
        alarm_set_relative(s->retry, next_delay(s, SECOND));
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        Switch *s = userdata;
        int r;

        if (!group_is_on_its_way(s->g)) {
                switch_stop(s);
                return 0;
        }
        r = switch_begin(s);
        if (r < 0)
                switch_put_off(s, r);
        return 0;
}

/* Tries again after a while that grows to ten seconds. */
static int switch_retry_later(Switch *s, const char *why) {
        _cleanup_changes_ Changes c = CHANGES_NULL;

        if (s->tries == 0)
                log_info("Group %u: has to try again: %s", s->g->id, why);
        if (registry_group_set_waits_for(s->g, why, &c) < 0)
                log_error("Group %u: out of memory", s->g->id);
        (void)manager_commit(s->m, &c);
        alarm_set_relative(s->retry, next_delay(s, 10 * SECOND));
        return 0;
}

/* The plan is through: is it as it should be? */
static int switch_finish_claim(Switch *s) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        _cleanup_fault_ Fault why = FAULT_NULL;
        int r;

        if (!group_is_switched(s->g, &s->g->terms)) {
                _cleanup_free_ char *names = group_device_names(s->g);

                fault_set(&why, ERROR_KERNEL_REFUSED,
                          "every step succeeded, but group %u (%s) is not as it should be: somebody "
                          "else changes drivers at the same time",
                          s->g->id, names ? names : "?");
                return switch_fail_claim(s, &why);
        }
        r = switch_lend_claim(s, &c);
        if (r < 0) {
                fault_set(&why, ERROR_QUOTA_EXCEEDED, "its files cannot be kept: %s", strerror(-r));
                return switch_fail_claim(s, &why);
        }
        switch_stop(s);
        r = registry_group_claimed(s->m->registry, s->g, &c);
        if (r < 0)
                return r;
        (void)manager_commit(s->m, &c);
        return 0;
}

/* It is as clean as it can be, but where it belongs only a person can say. */
static int switch_halt(Switch *s) {
        static const char why[] =
                "what the host had is not known any more, as its record was damaged: Retry gives its "
                "devices to the drivers that the kernel chooses, Accept leaves them as they are";
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r = registry_group_failed(s->m->registry, s->g, why, &c);

        if (r < 0)
                return r;
        switch_stop(s);
        (void)manager_commit(s->m, &c); /* a failed write is logged */
        return 0;
}

/* left: what is still to be done, all tries notwithstanding. */
static int switch_fail_restore(Switch *s, const Step *left, Changes *c) {
        _cleanup_free_ char *step = NULL, *why = NULL;

        if (fault_is_set(&s->first))
                return registry_group_failed(s->m->registry, s->g, s->first.message, c);
        step = step_describe(left);
        why = str_format("it does not stay as it was before the lease: %s is to be done again and again; "
                         "does somebody else change it at the same time?",
                         step ? step : step_kind_to_string(left->kind));
        return why ? registry_group_failed(s->m->registry, s->g, why, c) : -ENOMEM;
}

static int switch_finish_restore(Switch *s) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        _cleanup_plan_ Plan left = PLAN_NULL;
        int r;

        if (s->g->accepted) {
                r = registry_group_restored(s->m->registry, s->g, &c);
                if (r < 0)
                        return r;
                switch_stop(s);
                (void)manager_commit(s->m, &c); /* a failed write is logged */
                return 0;
        }
        if (group_awaits_person(s->g) && !plan_keeps(s->g, s->m->policy))
                return switch_halt(s);
        s->g->cleaned = s->g->kept == KEPT_CLAIM;
        /* what is still to do, by what the kernel shows now */
        r = plan_restore(s->g, s->m->policy, &left);
        if (r < 0)
                return r;
        if (left.n == 0 && plan_keeps(s->g, s->m->policy))
                r = registry_group_quarantined(s->m->registry, s->g, &c);
        else if (left.n == 0)
                r = registry_group_restored(s->m->registry, s->g, &c);
        else if (++s->replans <= RESTORE_TRIES)
                return switch_begin(s);
        else
                r = switch_fail_restore(s, &left.steps[0], &c);
        if (r < 0)
                return r;
        switch_stop(s);
        (void)manager_commit(s->m, &c);
        return 0;
}

static int on_claim_step_failed(Switch *s, const Step *step, const StepResult *result) {
        _cleanup_fault_ Fault why = FAULT_NULL;

        switch_doubt(s, step, result->error);
        fault_of_step(&why, s->g, step, result);
        if (is_transient(result->error) && s->tries < CLAIM_TRIES)
                return switch_retry_later(s, why.message);
        return switch_fail_claim(s, &why);
}

/* A device that cannot be reset, or that somebody may still open, goes nowhere until a person has looked
 * at it: not to the host, and not to another owner. What claims it stays. */
static int switch_fail_back(Switch *s, const Fault *why) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r;

        log_warning("Group %u: %s", s->g->id, why->message);
        switch_stop(s);
        r = registry_group_failed(s->m->registry, s->g, why->message, &c);
        if (r < 0)
                return r;
        (void)manager_commit(s->m, &c); /* a failed write is logged */
        return 0;
}

/* What a failed step on the way back means depends on which it was. */
static int on_restore_step_failed(Switch *s, const Step *step, const StepResult *result) {
        _cleanup_fault_ Fault why = FAULT_NULL;

        fault_of_step(&why, s->g, step, result);
        switch_doubt(s, step, result->error);
        if (is_transient(result->error) || result->error == ETIMEDOUT)
                return switch_retry_later(s, why.message);
        /* VFIO's file is still open somewhere: the kernel has it until it is closed */
        if ((step->kind == STEP_UNBIND || step->kind == STEP_EVICT ||
             step->kind == STEP_SET_NUM_VFS) &&
            result->error == EBUSY)
                return switch_retry_later(s, why.message);
        if (step->kind == STEP_RESET && result->error != ENOTTY && result->error != ENODEV)
                return switch_fail_back(s, &why);
        /* an unbind would end the right with the node; what stays on VFIO has that still */
        if (step->kind == STEP_REVOKE_NODE && result->error != ENOENT &&
            (s->g->accepted || plan_keeps(s->g, s->m->policy)))
                return switch_fail_back(s, &why);
        if (step->kind == STEP_RESET)
                log_info("Group %u: %s", s->g->id, why.message);
        else if (result->error != ENOENT || !is_about_node(step->kind)) {
                log_warning("Group %u: %s", s->g->id, why.message);
                fault_set(&s->first, why.code, "%s", why.message);
        }
        s->next++;
        return switch_run(s);
}

/* What was done to the kernel stands in the log, step by step. */
static void log_step(const Group *g, const Step *step) {
        _cleanup_free_ char *what = step_describe(step);

        log_info("Group %u: %s", g->id, what ? what : step_kind_to_string(step->kind));
}

/* Nobody waits for the end of a binding any more. */
static void switch_note_unbound(Switch *s) {
        _cleanup_changes_ Changes c = CHANGES_NULL;

        if (registry_group_set_bound(s->g, false, &c) < 0)
                log_error("Out of memory");
        (void)manager_commit(s->m, &c); /* nothing to write */
}

static void switch_note_probed(Switch *s, const char *device) {
        Device *d = registry_device(s->m->registry, device);

        if (d)
                registry_device_probed(d);
}

static void on_step_done(KernelOp *op, StepResult *result, void *userdata) {
        Switch *s = userdata;
        const Step *step = &s->plan.steps[s->next];
        int r;

        s->op = NULL;
        if (result->error == 0 && !s->looking)
                log_step(s->g, step);
        if (result->error == 0 && (step->kind == STEP_LEND || step->kind == STEP_CLAIM))
                switch_take_files(s, step->kind, result);
        if (result->error == 0 && step->kind == STEP_RESET)
                gate_reset_done(s->m, step->device);
        if (result->error != 0 && step->kind == STEP_CLAIM)
                switch_note_unbound(s);
        if (result->error == 0 && !s->looking &&
            (step->kind == STEP_READ_VF || step->kind == STEP_SET_VF))
                vfs_note_settings(s->m, step, result);
        /* whose process died has no answer of the kernel's */
        if (step->kind == STEP_PROBE && !is_transient(result->error) && !is_unclear(result->error))
                switch_note_probed(s, step->device);
        if (s->looking && (is_unclear(result->error) || is_transient(result->error)))
                r = on_look_failed(s, step, result);
        else if (s->looking) {
                s->next++; /* whatever was seen: the facts are what counts */
                r = s->next < s->plan.n ? switch_run(s) : switch_begin(s);
        } else if (s->claim && s->g->state != GROUP_CLAIMING) {
                switch_doubt(s, step, result->error);
                r = s->g->state == GROUP_DRAINING ? switch_begin(s) : (switch_stop(s), 0);
        } else if (result->error == 0)
                r = s->keep.stored && (step->kind == STEP_LEND || step->kind == STEP_CLAIM)
                            ? switch_sync(s)
                            : switch_next(s);
        else
                r = s->claim ? on_claim_step_failed(s, step, result)
                             : on_restore_step_failed(s, step, result);
        if (r < 0)
                switch_put_off(s, r);
}

static bool waits_for_eviction(const Switch *s) {
        for (size_t i = s->next; i < s->plan.n; i++)
                if (s->plan.steps[i].kind == STEP_EVICT)
                        return true;
        return false;
}

/* Once nobody has the files open any more the group is no longer draining. */
static int switch_note_drained(Switch *s, StepKind next) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r;

        if (s->claim || s->looking || s->g->state != GROUP_DRAINING || is_about_node(next) ||
            waits_for_eviction(s))
                return 0;
        r = registry_group_drained(s->m->registry, s->g, &c);
        if (r < 0)
                return r;
        (void)manager_commit(s->m, &c);
        return 0;
}

/* The step is done. The lease may have ended meanwhile. */
static int switch_next(Switch *s) {
        if (s->claim && s->g->state != GROUP_CLAIMING) {
                if (s->g->state == GROUP_DRAINING)
                        return switch_begin(s);
                switch_stop(s);
                return 0;
        }
        s->next++;
        return switch_run(s);
}

static void on_synced(bool in_time, void *userdata) {
        Switch *s = userdata;
        int r;

        s->sync = NULL;
        if (!in_time)
                log_warning("Group %u: the service manager does not answer; its files may not "
                            "outlive the daemon, or stay open in it",
                            s->g->id);
        r = switch_next(s);
        if (r < 0)
                switch_put_off(s, r);
}

/* Goes on once the service manager has what it was given, and has closed what it shall close. */
static int switch_sync(Switch *s) {
        return fd_store_sync(s->m->fd_store, on_synced, s, &s->sync);
}

/* 1: goes on later */
static int switch_release(Switch *s) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        bool stored;
        int r;

        stored = keep_drop(&s->keep, s->m->fd_store, s->g, &c);
        (void)manager_commit(s->m, &c); /* a failed write is logged */
        if (!stored)
                return 0;
        r = switch_sync(s);
        return r < 0 ? r : 1;
}

/* Files that a step works on. */
static const VfioFiles *step_files(const Switch *s, StepKind kind) {
        return kind == STEP_RECLAIM || kind == STEP_CLAIM ? &s->keep.files : NULL;
}

/* From here on its owner may have used the devices. */
static bool switch_gives_access(const Switch *s) {
        StepKind next = s->next < s->plan.n ? s->plan.steps[s->next].kind : _STEP_KIND_INVALID;

        return s->claim && !s->looking &&
               (next == _STEP_KIND_INVALID || next == STEP_GRANT_NODE || next == STEP_LEND);
}

static int switch_fail_gate(Switch *s, int error) {
        _cleanup_fault_ Fault why = FAULT_NULL;

        fault_set(&why, ERROR_KERNEL_REFUSED,
                  "who has the devices cannot be written, which policy wants: %s",
                  strerror(-error));
        return switch_fail_claim(s, &why);
}

/* Runs the next step, or finishes. */
static int switch_run(Switch *s) {
        Step *step;
        int r;

        while (s->next < s->plan.n && s->plan.steps[s->next].kind == STEP_RELEASE) {
                r = switch_release(s);
                if (r != 0)
                        return r < 0 ? r : 0;
                s->next++;
        }
        r = switch_note_drained(s, s->next < s->plan.n ? s->plan.steps[s->next].kind
                                                       : _STEP_KIND_INVALID);
        if (r < 0)
                return r;
        if (switch_gives_access(s)) {
                r = gate_claim(s->m, s->g);
                if (r < 0)
                        return switch_fail_gate(s, r);
        }
        if (s->next == s->plan.n && s->stale)
                return switch_begin(s);
        if (s->next == s->plan.n && !s->looking)
                return s->claim ? switch_finish_claim(s) : switch_finish_restore(s);
        step = &s->plan.steps[s->next];
        /* intent before act */
        r = store_save_group(s->m->store, s->g, step);
        if (r < 0) {
                _cleanup_fault_ Fault why = FAULT_NULL;

                fault_set(&why, ERROR_KERNEL_REFUSED, "cannot write the journal: %s", strerror(-r));
                return s->claim ? switch_fail_claim(s, &why) : switch_retry_later(s, why.message);
        }
        return s->m->kernel->ops->run(s->m->kernel, step, step_files(s, step->kind),
                                      step_deadline(step->kind), on_step_done, s, &s->op);
}

void switch_note_waiting(Group *g, Changes *c) {
        _cleanup_free_ char *what = NULL;
        Switch *s = g->userdata;

        if (g->state != GROUP_DRAINING || !s || !s->claim || !s->op)
                return;
        what = step_describe(&s->plan.steps[s->next]);
        if (!what || registry_group_set_waits_for(g, what, c) < 0)
                log_error("Out of memory");
}

void switch_kick(Manager *m, Group *g) {
        Switch *s = g->userdata;

        if (g->n_devices == 0)
                return; /* it has vanished */
        if (s && (s->running || s->held)) {
                /* given up while nothing runs for it yet, or between two tries; whoever is just dealing
                 * with a step's answer sees it by himself */
                if (g->state != GROUP_DRAINING || (!s->held && !alarm_is_set(s->retry)))
                        return;
                if (s->held)
                        s->held = NULL;
                else if (!s->claim)
                        return;
        }
        if (!group_is_on_its_way(g) || (g->state == GROUP_CLAIMING && !g->begun))
                return;
        s = switch_get(m, g);
        if (!s) {
                catch_up_later(m);
                return;
        }
        /* from the event loop, so that a commit never runs inside another one */
        s->running = true;
        s->claim = g->state == GROUP_CLAIMING;
        alarm_set_relative(s->retry, 0);
}

void switch_is_stale(Group *g) {
        Switch *s = g->userdata;

        if (s)
                s->stale = true;
}

int switch_distrust(Manager *m, Group *g) {
        Switch *s = switch_get(m, g);

        if (!s)
                return -ENOMEM;
        s->unclear = true;
        return 0;
}

void switch_wake(Manager *m, Group *g) {
        Switch *s = g->userdata;

        if (s && s->running && !s->held && alarm_is_set(s->retry))
                alarm_set_relative(s->retry, 0);
}

/* By iommufd a claim waits for nothing but devices that somebody has bound, or that it has bound itself. */
static bool waits_for_binding(const Switch *s) {
        const Step *step = &s->plan.steps[s->next];

        return step->kind == STEP_CLAIM &&
               vfio_interface_from_string(step->value) == VFIO_INTERFACE_IOMMUFD;
}

bool switch_waits(Manager *m, KernelOp *op, const char *who) {
        _cleanup_changes_ Changes c = CHANGES_NULL;

        for (Group *g = registry_groups(m->registry); g; g = g->hh.next) {
                Switch *s = g->userdata;

                if (!s || s->op != op)
                        continue;
                if (registry_group_set_waits_for(g, who, &c) < 0 ||
                    (waits_for_binding(s) && registry_group_set_bound(g, true, &c) < 0))
                        log_error("Out of memory");
                (void)manager_commit(m, &c);
                return true;
        }
        return false;
}

int switch_hold(Manager *m, Group *g, const Inquiry *q) {
        Switch *s = switch_get(m, g);

        if (!s)
                return -ENOMEM;
        s->held = q;
        return 0;
}

void switch_go(Manager *m, Group *g, const Inquiry *q) {
        Switch *s = g->userdata;

        if (!s || s->held != q)
                return;
        s->held = NULL;
        registry_group_begin(g);
        switch_kick(m, g);
}

void switch_unhold(Group *g, const Inquiry *q) {
        Switch *s = g->userdata;

        if (s && s->held == q)
                s->held = NULL;
}

void switch_drop(Group *g) {
        Switch *s = g->userdata;

        if (s && s->keep.files.n > 0)
                s->held = NULL; /* quarantined again */
        else
                g->userdata = switch_free(s);
}
