/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/linux.h"

#include <limits.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <utlist.h>

#include "kernel/linux-executor.h"
#include "shared/step-json.h"
#include "util/strings.h"

/* Steps that the executor is given at once: more only make each other slower. One that takes long
 * is not counted any more, so that a kernel that hangs holds nobody else up. */
#define STEPS_AT_ONCE 8U
#define LONG_USEC     (1000U * 1000U)

/* A deadline may be late by this. */
#define ACCURACY_USEC (10U * 1000U)
#define ERRNO_MAX     4095U

typedef struct LinuxKernel LinuxKernel;

typedef struct LinuxOp {
        KernelOp base;
        LinuxKernel *kernel;
        Step step;
        VfioFiles files; /* copies, until they are sent */
        uint64_t seq;
        uint64_t deadline_usec;
        sd_event_source *deadline;
        sd_event_source *later; /* its result is certain: STEP_RELEASE, no executor, ... */
        StepResult result;      /* for later */
        char *waits_for;        /* as last heard */
        bool finishing, cancelled;
        bool queued;           /* until it is its turn */
        sd_event_source *turn; /* while it counts as one of STEPS_AT_ONCE */
        struct LinuxOp *prev, *next;
} LinuxOp;

/* The lock of a group, as the executor is asked for it. */
typedef struct Lock {
        unsigned group;
        enum {
                LOCK_WANTED,
                LOCK_ASKED,
                LOCK_FREE,
                LOCK_HELD
        } state;
        struct Lock *prev, *next;
} Lock;

struct LinuxKernel {
        Kernel base;
        sd_event *event;
        char *socket;
        Discovery *discovery;
        Executor *executor;
        LinuxOp *ops; /* oldest first */
        unsigned counted;
        uint64_t seq;
        Lock *locks;
};

static LinuxOp *op_free(LinuxOp *op) {
        if (!op)
                return NULL;
        (void)sd_event_source_disable_unref(op->deadline);
        (void)sd_event_source_disable_unref(op->later);
        (void)sd_event_source_disable_unref(op->turn);
        step_clear(&op->step);
        vfio_files_clear(&op->files);
        step_result_clear(&op->result);
        free(op->waits_for);
        free(op);
        return NULL;
}
DEFINE_CLEANUP(LinuxOp *, op_free);

static int op_start(LinuxOp *op);
static int op_finish_later(LinuxOp *op, int error, char *text);

/* The next one in the queue begins. */
static void op_leave_turn(LinuxOp *op) {
        LinuxKernel *k = op->kernel;
        LinuxOp *next;
        int r;

        if (!op->turn)
                return;
        op->turn = sd_event_source_disable_unref(op->turn);
        k->counted--;
        DL_FOREACH(k->ops, next) {
                if (next->queued)
                        break;
        }
        if (!next)
                return;
        next->queued = false;
        r = op_start(next);
        if (r < 0)
                (void)op_finish_later(next, -r, NULL);
}

/* What the step did is told first; a receiver of that may cancel the operation. */
static void op_finish(LinuxOp *op, StepResult *result) {
        op->finishing = true;
        DL_DELETE(op->kernel->ops, op);
        op_leave_turn(op);
        discovery_after_step(op->kernel->discovery, &op->step, result->error == 0, result->value);
        if (!op->cancelled)
                op->base.done(&op->base, result, op->base.userdata);
        (void)op_free(op);
}

static int on_later(sd_event_source *source, void *userdata) {
        LinuxOp *op = userdata;
        _cleanup_step_result_ StepResult result = op->result;

        op->result = STEP_RESULT_NULL;
        op_finish(op, &result);
        return 0;
}

/* Finishes from the event loop. text is consumed. The first reason stays. */
static int op_finish_later(LinuxOp *op, int error, char *text) {
        int r;

        if (op->later) {
                free(text);
                return 0;
        }
        op->queued = false;
        op->deadline = sd_event_source_disable_unref(op->deadline);
        op->result.error = error;
        op->result.text = text;
        r = sd_event_add_defer(op->kernel->event, &op->later, on_later, op);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(op->later, SD_EVENT_ONESHOT);
}

static json_object *json_with_number(const char *name, uint64_t value) {
        json_object *o = json_object_new_object();

        if (o && json_object_object_add(o, name, json_object_new_uint64(value)) < 0) {
                (void)json_object_put(o);
                return NULL;
        }
        return o;
}

/* Nobody waits for the step any more. What cannot be sent is said by the connection's end. */
static void withdraw(LinuxOp *op) {
        json_object *o;

        if (op->queued || op->later || op->step.kind == STEP_WAIT_NODE ||
            executor_unqueue(op->kernel->executor, op->seq))
                return;
        o = json_with_number("cancel", op->seq);
        if (o)
                (void)executor_send(op->kernel->executor, 0, o, NULL);
        (void)json_object_put(o);
}

static char *describe_timeout(const LinuxOp *op) {
        double seconds = (double)op->deadline_usec / 1e6;

        if (op->step.kind == STEP_WAIT_NODE)
                return str_format("udev has not finished with /dev/vfio/%u within %gs; is "
                                  "systemd-udevd running?",
                                  op->step.group, seconds);
        if (op->waits_for)
                return str_format("after %gs it still waits for %s", seconds, op->waits_for);
        return str_format("the kernel has not come back within %gs", seconds);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        LinuxOp *op = userdata;
        _cleanup_step_result_ StepResult result = STEP_RESULT_NULL;

        withdraw(op);
        result.error = ETIMEDOUT;
        result.text = describe_timeout(op);
        op_finish(op, &result);
        return 0;
}

/* A node of VFIO came or changed. */
static void on_node(void *userdata) {
        LinuxKernel *k = userdata;
        LinuxOp *op;

        DL_FOREACH(k->ops, op) {
                if (op->step.kind == STEP_WAIT_NODE &&
                    discovery_nodes_ready(k->discovery, op->step.group) > 0)
                        (void)op_finish_later(op, 0, NULL);
        }
}

static void forget_lock(LinuxKernel *k, Lock *lock) {
        DL_DELETE(k->locks, lock);
        free(lock);
}

static void forget_locks(LinuxKernel *k) {
        Lock *lock, *next;

        DL_FOREACH_SAFE(k->locks, lock, next) {
                forget_lock(k, lock);
        }
}

static void on_ready(bool ready, void *userdata) {
        LinuxKernel *k = userdata;

        k->base.events.ready(ready, k->base.events.userdata);
}

static void on_lost(void *userdata) {
        LinuxKernel *k = userdata;
        LinuxOp *op;

        DL_FOREACH(k->ops, op) {
                if (op->step.kind == STEP_WAIT_NODE)
                        continue;
                if (op->queued || executor_unqueue(k->executor, op->seq))
                        (void)op_finish_later(
                                op, ENOTCONN,
                                strdup("the executor went away before the step was sent"));
                else
                        (void)op_finish_later(op, ECONNRESET,
                                              strdup("the executor went away during the step"));
        }
        /* to be asked again once there is somebody to ask */
        forget_locks(k);
}

static int take_string(json_object *o, const char *name, char **ret) {
        json_object *member;

        if (!json_object_object_get_ex(o, name, &member) || !member)
                return 0;
        if (!json_get_string(o, name))
                return -EBADMSG;
        return str_set(ret, json_get_string(o, name));
}

/* Steps whose answer brings files. */
static bool opens_files(StepKind kind) {
        return kind == STEP_LEND || kind == STEP_CLAIM;
}

static int on_done(LinuxOp *op, json_object *o, Descriptors *fds) {
        _cleanup_step_result_ StepResult result = STEP_RESULT_NULL;
        unsigned long long error;
        json_object *obstacles, *files;
        int r;

        if (json_get_uint(o, "errno", ERRNO_MAX, &error) < 0)
                return -EBADMSG;
        if ((r = take_string(o, "value", &result.value)) < 0 ||
            (r = take_string(o, "text", &result.text)) < 0)
                return r;
        if (json_object_object_get_ex(o, "obstacles", &obstacles)) {
                r = obstacles_from_json(obstacles, &result.obstacles);
                if (r < 0)
                        return r;
        }
        result.error = (int)error;
        if (opens_files(op->step.kind) && error == 0) {
                if (!json_object_object_get_ex(o, "files", &files))
                        return -EBADMSG;
                r = vfio_files_from_json(files, fds, &result.files);
                if (r < 0)
                        return r;
        }
        op_finish(op, &result);
        return 0;
}

static int on_waiting(LinuxOp *op, json_object *o) {
        const char *who = json_get_string(o, "text");
        KernelEvents *events = &op->kernel->base.events;
        int r;

        if (!who)
                return -EBADMSG;
        r = str_set(&op->waits_for, who);
        if (r < 0)
                return r;
        events->waiting(&op->base, who, events->userdata);
        return 0;
}

/* Asks for all locks that are wanted, unless an answer is due. */
static int ask_locks(LinuxKernel *k) {
        json_object *o, *groups;
        bool wanted = false;
        Lock *lock;
        int r;

        DL_FOREACH(k->locks, lock) {
                if (lock->state == LOCK_ASKED)
                        return 0;
                wanted |= lock->state == LOCK_WANTED;
        }
        if (!wanted)
                return 0;
        o = json_object_new_object();
        groups = json_object_new_array();
        if (!o || !groups || json_object_object_add(o, "locks", groups) < 0) {
                (void)json_object_put(groups);
                (void)json_object_put(o);
                return -ENOMEM;
        }
        DL_FOREACH(k->locks, lock) {
                if (lock->state != LOCK_WANTED)
                        continue;
                lock->state = LOCK_ASKED;
                /* without its number it would count as free */
                if (json_object_array_add(groups, json_object_new_uint64(lock->group)) < 0)
                        lock->state = LOCK_WANTED;
        }
        r = executor_send(k->executor, 0, o, NULL);
        (void)json_object_put(o);
        return r;
}

/* The answer is for all that were asked: named is locked, not named is free. */
static int on_locked(LinuxKernel *k, json_object *locked) {
        Lock *lock;

        if (!json_object_is_type(locked, json_type_array))
                return -EBADMSG;
        DL_FOREACH(k->locks, lock) {
                if (lock->state == LOCK_ASKED)
                        lock->state = LOCK_FREE;
        }
        for (size_t i = 0; i < json_object_array_length(locked); i++) {
                json_object *group = json_object_array_get_idx(locked, i);

                if (!json_object_is_type(group, json_type_int))
                        return -EBADMSG;
                DL_FOREACH(k->locks, lock) {
                        if (lock->group == json_object_get_uint64(group))
                                lock->state = LOCK_HELD;
                }
        }
        return ask_locks(k);
}

static int on_packet(json_object *o, Descriptors *fds, void *userdata) {
        LinuxKernel *k = userdata;
        unsigned long long seq;
        json_object *locked;
        const char *event;
        LinuxOp *op;

        if (json_object_object_get_ex(o, "locked", &locked))
                return on_locked(k, locked);
        event = json_get_string(o, "event");
        if (!event || json_get_uint(o, "seq", ULLONG_MAX, &seq) < 0)
                return -EBADMSG;
        DL_FOREACH(k->ops, op) {
                if (op->seq == seq)
                        break;
        }
        if (!op || op->later)
                return 0; /* was cancelled */
        if (str_eq(event, "done"))
                return on_done(op, o, fds);
        if (str_eq(event, "waiting"))
                return on_waiting(op, o);
        return -EBADMSG;
}

/* Hands a step to the executor. */
static int send_step(LinuxOp *op) {
        json_object *o = step_to_json(&op->step), *files = NULL;
        int r;

        if (op->files.n > 0)
                files = vfio_files_to_json(&op->files);
        if (!o || (op->files.n > 0 && !files) ||
            json_object_object_add(o, "seq", json_object_new_uint64(op->seq)) < 0 ||
            (files && json_object_object_add(o, "files", files) < 0)) {
                (void)json_object_put(files);
                r = -ENOMEM;
        } else
                r = executor_send(op->kernel->executor, op->seq, o, &op->files);
        vfio_files_clear(&op->files);
        (void)json_object_put(o);
        if (r != -ENOTCONN)
                return r;
        return op_finish_later(op, ENOTCONN,
                               str_format("nobody answers at %s; see systemctl status "
                                          "dmaowner-executor.service",
                                          op->kernel->socket));
}

static int begin_step(LinuxOp *op) {
        if (op->step.kind == STEP_WAIT_NODE) {
                int r = discovery_nodes_ready(op->kernel->discovery, op->step.group);

                return r > 0 ? op_finish_later(op, 0, NULL) : r;
        }
        if (op->step.kind == STEP_RELEASE)
                return op_finish_later(op, EINVAL, NULL);
        return send_step(op);
}

static int on_long(sd_event_source *source, uint64_t usec, void *userdata) {
        op_leave_turn(userdata);
        return 0;
}

/* Steps that the kernel works on. The others only wait for somebody. */
static bool is_work(StepKind kind) {
        return kind != STEP_WAIT_NODE && kind != STEP_WAIT_CLOSED && kind != STEP_CLAIM &&
               kind != STEP_RELEASE;
}

/* It is its turn: the deadline counts from here. */
static int op_start(LinuxOp *op) {
        LinuxKernel *k = op->kernel;
        int r;

        if (is_work(op->step.kind)) {
                r = sd_event_add_time_relative(k->event, &op->turn, CLOCK_MONOTONIC, LONG_USEC,
                                               ACCURACY_USEC, on_long, op);
                if (r < 0)
                        return r;
                k->counted++;
        }
        if (op->deadline_usec > 0) {
                r = sd_event_add_time_relative(k->event, &op->deadline, CLOCK_MONOTONIC,
                                               op->deadline_usec, ACCURACY_USEC, on_deadline, op);
                if (r < 0)
                        return r;
        }
        return begin_step(op);
}

static int linux_run(Kernel *kernel, const Step *step, const VfioFiles *files,
                     uint64_t deadline_usec, KernelDone done, void *userdata, KernelOp **ret) {
        LinuxKernel *k = (LinuxKernel *)kernel;
        _cleanup_(op_freep) LinuxOp *op = NULL;
        int r;

        op = calloc(1, sizeof(*op));
        if (!op)
                return -ENOMEM;
        *op = (LinuxOp){
                .base = { .kernel = kernel, .done = done, .userdata = userdata, .step = &op->step },
                .kernel = k,
                .seq = ++k->seq,
                .deadline_usec = deadline_usec,
                .result = STEP_RESULT_NULL,
        };
        r = step_copy(&op->step, step);
        if (r == 0 && files)
                r = vfio_files_copy(files, &op->files);
        if (r < 0)
                return r;
        /* before it begins: a connection that ends meanwhile ends the step */
        DL_APPEND(k->ops, op);
        op->queued = is_work(step->kind) && k->counted >= STEPS_AT_ONCE;
        r = op->queued ? 0 : op_start(op);
        if (r < 0) {
                DL_DELETE(k->ops, op);
                op_leave_turn(op);
                return r;
        }
        if (ret)
                *ret = &op->base;
        TAKE_PTR(op);
        return 0;
}

static void linux_cancel(KernelOp *base) {
        LinuxOp *op = (LinuxOp *)base;

        if (op->finishing) {
                op->cancelled = true;
                return;
        }
        withdraw(op);
        DL_DELETE(op->kernel->ops, op);
        op_leave_turn(op);
        (void)op_free(op);
}

/* Each answer is given once: the next call asks again, so that no answer is older than the call
 * before it. */
static int linux_group_is_locked(Kernel *kernel, unsigned group) {
        LinuxKernel *k = (LinuxKernel *)kernel;
        Lock *lock;
        int locked;

        DL_FOREACH(k->locks, lock) {
                if (lock->group == group)
                        break;
        }
        if (lock && (lock->state == LOCK_FREE || lock->state == LOCK_HELD)) {
                locked = lock->state == LOCK_HELD;
                forget_lock(k, lock);
                return locked;
        }
        if (!lock) {
                lock = calloc(1, sizeof(*lock));
                if (!lock)
                        return -1;
                lock->group = group;
                lock->state = LOCK_WANTED;
                DL_APPEND(k->locks, lock);
        }
        if (ask_locks(k) < 0)
                forget_locks(k);
        return -1;
}

static void linux_look(Kernel *kernel, const char *device) {
        discovery_look(((LinuxKernel *)kernel)->discovery, device);
}

static void linux_tell_again(Kernel *kernel) {
        discovery_tell_again(((LinuxKernel *)kernel)->discovery);
}

/* A device's own node answers nothing before it is bound. */
static bool linux_is_bound(Kernel *kernel, const VfioFiles *files) {
        for (size_t i = 0; i < files->n; i++) {
                struct vfio_device_info info = { .argsz = sizeof(info) };

                if (files->items[i].role == FILE_CDEV &&
                    ioctl(files->items[i].fd, VFIO_DEVICE_GET_INFO, &info) == 0)
                        return true;
        }
        return false;
}

static int linux_is_file(Kernel *kernel, unsigned group, FileRole role, const char *device, int fd) {
        return discovery_is_file(((LinuxKernel *)kernel)->discovery, group, role, device, fd);
}

static int linux_find_driver(Kernel *kernel, const char *device, const char *driver,
                             DriverWish *ret) {
        return discovery_find_driver(((LinuxKernel *)kernel)->discovery, device, driver, ret);
}

static int linux_start(Kernel *kernel) {
        LinuxKernel *k = (LinuxKernel *)kernel;
        int r;

        r = discovery_start(k->discovery);
        if (r < 0)
                return r;
        return executor_start(k->executor);
}

static Kernel *linux_free(Kernel *kernel) {
        LinuxKernel *k = (LinuxKernel *)kernel;
        LinuxOp *op, *next;

        DL_FOREACH_SAFE(k->ops, op, next) {
                (void)op_free(op);
        }
        forget_locks(k);
        (void)executor_free(k->executor);
        (void)discovery_free(k->discovery);
        (void)sd_event_unref(k->event);
        free(k->socket);
        free(k);
        return NULL;
}

static const KernelOps linux_ops = {
        .name = "linux",
        .start = linux_start,
        .run = linux_run,
        .cancel = linux_cancel,
        .look = linux_look,
        .tell_again = linux_tell_again,
        .is_bound = linux_is_bound,
        .find_driver = linux_find_driver,
        .is_file = linux_is_file,
        .group_is_locked = linux_group_is_locked,
        .free = linux_free,
};

int linux_kernel_new_at(sd_event *event, const char *root, const char *executor_socket,
                        const KernelEvents *events, Kernel **ret) {
        _cleanup_(kernel_freep) Kernel *kernel = NULL;
        LinuxKernel *k;
        int r;

        k = calloc(1, sizeof(*k));
        if (!k)
                return -ENOMEM;
        k->base = (Kernel){ .ops = &linux_ops, .events = *events };
        kernel = &k->base;
        k->event = sd_event_ref(event);
        r = str_set(&k->socket, executor_socket);
        if (r < 0)
                return r;
        r = discovery_new(event, root, &k->base.events, on_node, k, &k->discovery);
        if (r < 0)
                return r;
        r = executor_new(event, executor_socket,
                         &(ExecutorEvents){
                                 .ready = on_ready,
                                 .packet = on_packet,
                                 .lost = on_lost,
                                 .userdata = k,
                         },
                         &k->executor);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(kernel);
        return 0;
}

int linux_kernel_new(sd_event *event, const char *executor_socket, const KernelEvents *events,
                     Kernel **ret) {
        return linux_kernel_new_at(event, "/", executor_socket, events, ret);
}

Discovery *linux_kernel_discovery(Kernel *k) {
        return ((LinuxKernel *)k)->discovery;
}
