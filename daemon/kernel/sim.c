/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The simulated host behind kernel.h: runs operations from the event loop, one after the other,
 * and tells what changed. Everything else about the host is in the other sim-*.c.
 *
 * An operation stands for a process of the executor. It takes the lock of its group, or fails;
 * takes its latency; acts; answers. One that is given up (cancelled, or past its deadline) while
 * it is in a system call stays, keeps the lock and still takes effect, as in the kernel.
 */
#include "kernel/sim.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "util/log.h"
#include "util/strings.h"

typedef enum OpState {
        OP_QUEUED,   /* its turn comes */
        OP_SLEEPING, /* takes its time */
        OP_HANGING,  /* stuck in the kernel */
        OP_WAITING,  /* waits in user space */
        OP_RUNNING,  /* it is its turn now */
} OpState;

struct SimOp {
        KernelOp op; /* done is NULL once the operation was given up */
        Step step;
        VfioFiles files; /* that it works on */
        OpState state;
        bool begun; /* has its lock, its fault is decided */
        SimGroup *locked;
        sd_event_source *latency, *deadline;
        uint64_t deadline_usec;
        int error; /* by a fault */
        bool hang, crash;
        SimKill kill;
        char *who;          /* for whom it waits, as last told */
        SimOp *prev, *next; /* Sim.queued or Sim.begun */
};

static Sim *op_sim(const SimOp *o) {
        return (Sim *)o->op.kernel;
}

/* In a system call: what it does cannot be stopped any more. */
static bool op_is_in_kernel(const SimOp *o) {
        return o->begun && sim_step_is_in_kernel(o->step.kind);
}

static void op_unlock(SimOp *o) {
        SimGroup *g = TAKE_PTR(o->locked);

        if (g) {
                g->lock = NULL;
                sim_group_drop_if_empty(g);
        }
}

/* Of an operation that is in no list any more. */
static SimOp *op_free(SimOp *o) {
        if (!o)
                return NULL;
        sd_event_source_disable_unref(o->latency);
        sd_event_source_disable_unref(o->deadline);
        op_unlock(o);
        step_clear(&o->step);
        vfio_files_clear(&o->files);
        free(o->who);
        free(o);
        return NULL;
}
DEFINE_CLEANUP(SimOp *, op_free);

static void op_unlink(SimOp *o) {
        Sim *sim = op_sim(o);

        if (o->state == OP_QUEUED)
                DL_DELETE(sim->queued, o);
        else if (o->state != OP_RUNNING)
                DL_DELETE(sim->begun, o);
}

static void op_set_state(SimOp *o, OpState state) {
        Sim *sim = op_sim(o);

        op_unlink(o);
        o->state = state;
        if (state == OP_QUEUED) {
                DL_APPEND(sim->queued, o);
                sim_wake(sim);
        } else if (state != OP_RUNNING)
                DL_APPEND(sim->begun, o);
}

void sim_wake(Sim *sim) {
        if (sim->wake && sd_event_source_set_enabled(sim->wake, SD_EVENT_ONESHOT) < 0)
                log_error("Simulated host: cannot go on, no memory for the event loop.");
}

void sim_save(Sim *sim) {
        _cleanup_json_ json_object *o = NULL;
        _cleanup_free_ char *temporary = NULL;

        if (!sim->persist)
                return;
        temporary = str_format("%s.tmp", sim->persist);
        o = sim_to_json(sim);
        if (!temporary || !o)
                log_error("Simulated host: no memory to remember it in %s.", sim->persist);
        else if (json_object_to_file_ext(temporary, o, JSON_C_TO_STRING_PLAIN) < 0)
                log_error("Simulated host: cannot remember it: %s", json_util_get_last_err());
        else if (rename(temporary, sim->persist) < 0)
                log_error("Simulated host: cannot remember it in %s: %m", sim->persist);
}

void sim_group_retry(SimGroup *g) {
        SimOp *o = g->lock;

        if (o && (o->state == OP_WAITING || (o->state == OP_HANGING && !o->hang)))
                op_set_state(o, OP_QUEUED);
}

void sim_release_hung(Sim *sim) {
        SimOp *o, *next;

        DL_FOREACH_SAFE(sim->begun, o, next) {
                if (!o->hang || o->state != OP_HANGING)
                        continue;
                o->hang = false;
                op_set_state(o, OP_QUEUED);
        }
}

/* What sysfs shows: the driver's link goes first, whatever keeps the driver then. */
static void tell_seen(const Sim *sim, const SimDevice *d) {
        DeviceFacts shown = d->facts;

        if (d->pending != SIM_PENDING_NONE)
                shown.driver = NULL;
        sim->kernel.events.device_seen(&shown, sim->kernel.events.userdata);
}

static void tell_news(Sim *sim) {
        const KernelEvents *events = &sim->kernel.events;

        while (sim->news) {
                SimDevice *d = sim->news;
                unsigned news = d->news;

                d->news = 0;
                sim->news = d->news_next;
                if (!sim->news)
                        sim->news_tail = &sim->news;
                if (news & SIM_GONE) {
                        events->device_gone(d->facts.name, events->userdata);
                        sim_device_free(d);
                        continue;
                }
                if (news & SIM_SETTLE) {
                        sim_device_settle(sim, d); /* it is in the list again if that changed it */
                        sim_save(sim);
                }
                if (news & SIM_SEEN)
                        tell_seen(sim, d);
                if (news & SIM_USE_CHANGED)
                        events->device_use_changed(d->facts.name, events->userdata);
        }
}

/* What a step may have changed is read again. */
static void step_news(Sim *sim, const Step *step) {
        SimDevice *d = step->device ? sim_device(sim, step->device) : NULL;
        const SimGroup *g = d ? NULL : sim_step_group(sim, step);

        if (d)
                sim_device_news(sim, d, SIM_SEEN);
        for (d = g ? g->devices : NULL; d; d = d->next)
                sim_device_news(sim, d, SIM_SEEN);
}

/* The host is saved: what is in the kernel goes on without us, and the fault is over. */
static void op_kill(const SimOp *o, SimKill moment) {
        if (o->kill == moment)
                (void)raise(SIGKILL);
}

/* Tells the result, if anybody waits for it. The operation's last act: its receiver may do
 * anything, even free the host. */
static void op_finish(SimOp *op, StepResult *result) {
        _cleanup_(op_freep) SimOp *o = op;
        Sim *sim = op_sim(o);

        if (sim_done_add(sim, &o->step, result->error) < 0)
                log_warning("Simulated host: no memory to note an operation for the dump.");
        o->deadline = sd_event_source_disable_unref(o->deadline);
        op_unlock(o);
        sim_save(sim);
        op_kill(o, SIM_KILL_AFTER);
        step_news(sim, &o->step);
        tell_news(sim);
        if (o->op.done)
                o->op.done(&o->op, result, o->op.userdata);
}

static void op_wait(SimOp *o, OpState state, StepResult *result) {
        const KernelEvents *events = &o->op.kernel->events;
        _cleanup_free_ char *before = TAKE_PTR(o->who);

        op_set_state(o, state);
        o->who = TAKE_PTR(result->text);
        if (o->op.done && !str_empty(o->who) && !str_eq(before, o->who))
                events->waiting(&o->op, o->who, events->userdata);
}

/* What a fault says in place of the kernel; false: nothing. */
static bool op_fault(const SimOp *o, StepResult *result) {
        if (!o->crash && o->error == 0)
                return false;
        result->error = o->crash ? EIO : o->error;
        result->text = strdup(o->crash ? "the step's process died (injected fault)"
                                       : "injected fault");
        return true;
}

/* The operation's moment: running. */
static void op_act(SimOp *o) {
        _cleanup_step_result_ StepResult result = STEP_RESULT_NULL;
        int r;

        if (o->kill == SIM_KILL_BEFORE || o->kill == SIM_KILL_DURING) {
                if (o->kill == SIM_KILL_DURING)
                        op_set_state(o, OP_HANGING);
                sim_save(op_sim(o));
                op_kill(o, o->kill);
        }
        if (o->hang) {
                op_set_state(o, OP_HANGING);
                sim_save(op_sim(o));
                return;
        }
        if (!op_fault(o, &result)) {
                r = sim_step_run(op_sim(o), &o->step, &o->files, &result);
                if (r == SIM_WAITS) {
                        op_wait(o, OP_WAITING, &result);
                        return;
                }
                if (r == SIM_HANGS) {
                        op_wait(o, OP_HANGING, &result);
                        sim_save(op_sim(o));
                        return;
                }
                result.error = -r;
        }
        op_finish(o, &result);
}

static int on_latency(sd_event_source *s, uint64_t usec, void *userdata) {
        SimOp *o = userdata;

        op_set_state(o, OP_RUNNING);
        op_act(o);
        return 0;
}

static int op_sleep(SimOp *o, uint64_t usec) {
        int r = sd_event_add_time_relative(op_sim(o)->event, &o->latency, CLOCK_MONOTONIC, usec, 1,
                                           on_latency, o);

        if (r < 0)
                return r;
        op_set_state(o, OP_SLEEPING);
        sim_save(op_sim(o));
        return 0;
}

static void op_fail(SimOp *o, int error, char *text) {
        _cleanup_step_result_ StepResult result = STEP_RESULT_NULL;

        result.error = error;
        result.text = text;
        op_finish(o, &result);
}

/* Takes the lock of its group without waiting, and its time. */
static void op_begin(SimOp *o) {
        Sim *sim = op_sim(o);
        SimGroup *g = sim_step_group(sim, &o->step);
        uint64_t usec = sim->latency_usec[o->step.kind];
        const SimFault *fault;
        int r;

        if (g && g->lock) {
                op_fail(o, EWOULDBLOCK, str_format("another step still works on group %u", g->id));
                return;
        }
        if (g)
                g->lock = o;
        o->locked = g;
        o->begun = true;
        fault = sim_fault_for(sim, &o->step);
        if (fault) {
                o->error = fault->error;
                o->hang = fault->hang;
                o->crash = fault->crash;
                o->kill = fault->kill;
                usec += fault->delay_usec;
        }
        r = usec > 0 ? op_sleep(o, usec) : 0;
        if (r < 0)
                op_fail(o, -r, NULL);
        else if (usec == 0)
                op_act(o);
}

static int on_wake(sd_event_source *s, void *userdata) {
        Sim *sim = userdata;
        SimOp *o;

        if (!sim->told_ready) {
                sim->told_ready = true;
                sim->kernel.events.ready(true, sim->kernel.events.userdata);
        }
        tell_news(sim);
        o = sim->queued;
        if (!o)
                return 0;
        op_set_state(o, OP_RUNNING);
        if (sim->queued)
                sim_wake(sim);
        if (o->begun)
                op_act(o);
        else
                op_begin(o);
        return 0;
}

/* Nobody waits for it any more. What is in the kernel stays, the rest of it dies. */
static void op_give_up(SimOp *o) {
        o->op.done = NULL;
        o->deadline = sd_event_source_disable_unref(o->deadline);
        if (op_is_in_kernel(o) || o->state == OP_RUNNING)
                return;
        op_unlink(o);
        op_free(o);
}

static char *describe_timeout(const SimOp *o) {
        _cleanup_free_ char *who = o->locked ? sim_group_openers(o->locked, true) : NULL;
        double seconds = (double)o->deadline_usec / 1e6;

        if (!str_empty(who))
                return str_format("after %gs it still waits for %s", seconds, who);
        return str_format("the kernel has not come back within %gs", seconds);
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *userdata) {
        SimOp *o = userdata;
        _cleanup_step_result_ StepResult result = STEP_RESULT_NULL;
        KernelDone done = o->op.done;
        void *receiver = o->op.userdata;
        bool stays = op_is_in_kernel(o);
        KernelOp *op = &o->op;

        result.error = ETIMEDOUT;
        result.text = describe_timeout(o);
        o->op.done = NULL;
        o->deadline = sd_event_source_disable_unref(o->deadline);
        if (!stays)
                op_unlink(o);
        done(op, &result, receiver);
        if (!stays)
                op_free(o);
        return 0;
}

static int op_new(Sim *sim, const Step *step, SimOp **ret) {
        _cleanup_(op_freep) SimOp *o = calloc(1, sizeof(SimOp));

        if (!o)
                return -ENOMEM;
        o->op = (KernelOp){ .kernel = &sim->kernel, .step = &o->step };
        o->state = OP_RUNNING;
        if (step_copy(&o->step, step) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(o);
        return 0;
}

static int sim_run(Kernel *k, const Step *step, const VfioFiles *files, uint64_t deadline_usec,
                   KernelDone done, void *userdata, KernelOp **ret) {
        _cleanup_(op_freep) SimOp *o = NULL;
        Sim *sim = (Sim *)k;
        int r;

        r = op_new(sim, step, &o);
        if (r < 0)
                return r;
        if (files) {
                r = vfio_files_copy(files, &o->files);
                if (r < 0)
                        return r;
        }
        o->op.done = done;
        o->op.userdata = userdata;
        o->deadline_usec = deadline_usec;
        if (deadline_usec > 0) {
                r = sd_event_add_time_relative(sim->event, &o->deadline, CLOCK_MONOTONIC,
                                               deadline_usec, 1, on_deadline, o);
                if (r < 0)
                        return r;
        }
        op_set_state(o, OP_QUEUED);
        if (ret)
                *ret = &o->op;
        TAKE_PTR(o);
        return 0;
}

static void sim_cancel(KernelOp *op) {
        op_give_up((SimOp *)op);
}

static int sim_group_is_locked(Kernel *k, unsigned group) {
        SimGroup *g = sim_group((Sim *)k, group);

        return g && g->lock;
}

static void sim_look(Kernel *k, const char *device) {
        SimDevice *d = sim_device((Sim *)k, device);

        if (d)
                sim_device_news((Sim *)k, d, SIM_SEEN);
}

static void sim_tell_again(Kernel *k) {
        Sim *sim = (Sim *)k;

        for (SimDevice *d = sim->devices; d; d = d->hh.next)
                sim_device_news(sim, d, SIM_SEEN);
}

static bool sim_is_bound(Kernel *k, const VfioFiles *files) {
        for (size_t i = 0; i < files->n; i++) {
                const SimDevice *d = files->items[i].role == FILE_CDEV
                                             ? sim_device((Sim *)k, files->items[i].device)
                                             : NULL;

                if (d && d->cdev == SIM_CDEV_BOUND)
                        return true;
        }
        return false;
}

static int sim_is_file(Kernel *k, unsigned group, FileRole role, const char *device, int fd) {
        const SimGroup *g = sim_group((Sim *)k, group);

        return g && sim_group_has_file(g, role, device, fd);
}

static int sim_find_driver(Kernel *k, const char *device, const char *driver, DriverWish *ret) {
        const SimDriver *known = sim_driver((Sim *)k, driver);
        const SimDevice *d = sim_device((Sim *)k, device);
        _cleanup_driver_wish_ DriverWish w = { .match = DRIVER_MATCH_MISSING };

        if (!d)
                return -ENODEV;
        if (str_set(&w.name, driver) < 0)
                return -ENOMEM;
        if (known)
                w.match = strv_contains(d->matches, driver) ? DRIVER_MATCH_LISTED
                                                            : DRIVER_MATCH_OTHER;
        if (w.match == DRIVER_MATCH_LISTED && !known->loaded &&
            str_set(&w.module, known->module) < 0)
                return -ENOMEM;
        *ret = w;
        w = (DriverWish){};
        return 0;
}

int sim_adopt_left_behind(Sim *sim, const Step *step, bool hangs) {
        SimGroup *g = sim_step_group(sim, step);
        SimOp *o;
        int r;

        if (g && g->lock)
                return -EEXIST;
        r = op_new(sim, step, &o);
        if (r < 0)
                return r;
        o->begun = true;
        o->hang = hangs;
        o->locked = g;
        if (g)
                g->lock = o;
        op_set_state(o, OP_QUEUED);
        return 0;
}

bool sim_each_in_kernel(Sim *sim, SimLeftBehind f, void *userdata) {
        SimOp *o;

        DL_FOREACH(sim->queued, o)
        if (op_is_in_kernel(o) && !f(&o->step, o->hang, userdata))
                return false;
        DL_FOREACH(sim->begun, o)
        if (op_is_in_kernel(o) && !f(&o->step, o->hang, userdata))
                return false;
        return true;
}

/* Enumerates here, so that the manager has it all before it recovers. */
static int sim_start(Kernel *k) {
        Sim *sim = (Sim *)k;
        SimGroup *g;
        int r;

        r = sd_event_add_defer(sim->event, &sim->wake, on_wake, sim);
        if (r < 0)
                return r;
        for (g = sim->groups; g; g = g->hh.next) {
                r = sim_group_adopt_kept(g);
                if (r < 0)
                        return r;
        }
        tell_news(sim);
        /* what an unbind or unplug waited for may have been closed with nobody there to see it */
        for (SimDevice *d = sim->devices; d; d = d->hh.next)
                if (d->pending != SIM_PENDING_NONE)
                        sim_device_news(sim, d, SIM_SETTLE);
        sim_save(sim);
        return 0;
}

static void free_ops(SimOp **list) {
        SimOp *o, *next;

        DL_FOREACH_SAFE(*list, o, next) {
                DL_DELETE(*list, o);
                op_free(o);
        }
}

static void free_hashes(Sim *sim) {
        SimDriver *driver, *next_driver;
        SimDevice *d, *next_device;
        SimGroup *g, *next_group;

        HASH_ITER(hh, sim->groups, g, next_group) {
                HASH_DEL(sim->groups, g);
                sim_group_free(g);
        }
        HASH_ITER(hh, sim->devices, d, next_device) {
                HASH_DEL(sim->devices, d);
                sim_device_free(d);
        }
        HASH_ITER(hh, sim->drivers, driver, next_driver) {
                HASH_DEL(sim->drivers, driver);
                sim_driver_free(driver);
        }
}

static Kernel *sim_free(Kernel *k) {
        Sim *sim = (Sim *)k;

        free_ops(&sim->queued);
        free_ops(&sim->begun);
        while (sim->news) {
                SimDevice *d = sim->news;

                sim->news = d->news_next;
                if (d->news & SIM_GONE)
                        sim_device_free(d); /* it is in no table any more */
        }
        free_hashes(sim);
        sim_faults_clear(sim);
        sim_done_clear(sim);
        sd_event_source_disable_unref(sim->wake);
        sd_event_unref(sim->event);
        free(sim->persist);
        free(sim->version);
        free(sim->default_type);
        free(sim);
        return NULL;
}

static const KernelOps sim_ops = {
        .name = "simulated",
        .start = sim_start,
        .run = sim_run,
        .cancel = sim_cancel,
        .look = sim_look,
        .tell_again = sim_tell_again,
        .is_bound = sim_is_bound,
        .find_driver = sim_find_driver,
        .is_file = sim_is_file,
        .group_is_locked = sim_group_is_locked,
        .free = sim_free,
};

/* Reads the file; what it remembers takes the place of what it says. */
static void read_host(Reader *rd, Sim *sim) {
        _cleanup_json_ json_object *topology = reader_parse_file(rd), *remembered = NULL;
        _cleanup_free_ char *persist = NULL;

        if (rd->error != 0)
                return;
        reader_string(rd, NULL, topology, "persist", &persist);
        if (persist && *persist != '/')
                reader_fail(rd, &(Place){ .key = "persist" },
                            "expected an absolute path, found \"%s\"", persist);
        if (rd->error == 0 && persist && access(persist, F_OK) >= 0) {
                rd->file = persist;
                remembered = reader_parse_file(rd);
        }
        sim_topology_read(rd, sim, remembered ? remembered : topology);
        if (rd->error == 0)
                sim->persist = TAKE_PTR(persist);
}

int sim_kernel_new(sd_event *event, const char *topology, const KernelEvents *events, Kernel **ret,
                   char **ret_message) {
        _cleanup_(kernel_freep) Kernel *k = NULL;
        Reader rd = { .file = topology };
        Sim *sim;

        sim = calloc(1, sizeof(Sim));
        if (!sim)
                return -ENOMEM;
        k = &sim->kernel;
        k->ops = &sim_ops;
        k->events = *events;
        sim->news_tail = &sim->news;
        sim->event = sd_event_ref(event);
        read_host(&rd, sim);
        if (rd.error < 0) {
                if (rd.message)
                        *ret_message = rd.message;
                return rd.error;
        }
        *ret = TAKE_PTR(k);
        return 0;
}

int sim_kernel_dump(Kernel *k, char **ret_json) {
        Sim *sim = (Sim *)k;
        _cleanup_json_ json_object *o = sim_to_json(sim);
        char *text;

        if (!o || sim_done_to_json(sim, o) < 0)
                return -ENOMEM;
        text = strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        if (!text)
                return -ENOMEM;
        sim_done_clear(sim);
        *ret_json = text;
        return 0;
}
