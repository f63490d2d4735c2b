/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Between two owners: keeps the ledger of who had which device last, and has the units run that scrub
 * them (core/use.h says when). Nothing here delays a way back to the host; what is not clean is only
 * not given to somebody else.
 */

#include <string.h>
#include <utlist.h>

#include "core/use.h"
#include "kernel/alarm.h"
#include "manager/manager-internal.h"
#include "util/log.h"
#include "util/strings.h"

#define RETRY_USEC 5000000ULL

/* One unit that is at work. */
typedef struct Scrub {
        Manager *m;
        char *device;
        KernelOp *op;
        struct Scrub *prev, *next;
} Scrub;

struct Gate {
        Ledger *ledger; /* not ours */
        Scrub *scrubs;  /* utlist, doubly linked */
        sd_event_source *look;
};

static int on_look(sd_event_source *source, uint64_t usec, void *userdata);

int gate_new(Manager *m, Ledger *ledger, Gate **ret) {
        Gate *gate = calloc(1, sizeof(Gate));
        int r;

        if (!gate)
                return -ENOMEM;
        gate->ledger = ledger;
        r = alarm_new(m->event, on_look, m, &gate->look);
        if (r < 0) {
                (void)gate_free(gate);
                return r;
        }
        *ret = gate;
        return 0;
}

static void scrub_free(Scrub *s) {
        DL_DELETE(s->m->gate->scrubs, s);
        free(s->device);
        free(s);
}

Gate *gate_free(Gate *gate) {
        if (!gate)
                return NULL;
        while (gate->scrubs) {
                Scrub *s = gate->scrubs;

                /* the unit goes on, and is joined by the next run */
                s->m->kernel->ops->cancel(s->op);
                scrub_free(s);
        }
        sd_event_source_disable_unref(gate->look);
        free(gate);
        return NULL;
}

static int save(Manager *m, const Device *d) {
        int r = ledger_save(m->gate->ledger, d);

        if (r < 0)
                log_error("Who had %s last cannot be written: %s", d->facts.name, strerror(-r));
        return r;
}

/* noted: what a device_note_...() said */
static int finish(Manager *m, const Device *d, int noted, Changes *c) {
        int r = noted;

        if (noted > 0)
                r = save(m, d);
        else if (noted < 0)
                log_error("Out of memory");
        (void)manager_commit(m, c); /* a failed write is logged */
        return r;
}

void gate_apply_policy(Manager *m) {
        _cleanup_changes_ Changes c = CHANGES_NULL;

        for (Device *d = registry_devices(m->registry); d; d = d->hh.next) {
                int noted = device_apply_policy(d, m->policy, &c);

                /* who has it now counts, too */
                if (noted == 0)
                        noted = device_note_use(d, &c);
                if (noted < 0)
                        log_error("Out of memory");
                else if (noted > 0)
                        (void)save(m, d);
        }
        (void)manager_commit(m, &c); /* a failed write is logged */
        gate_look(m);
}

static int load(Manager *m, Device *d) {
        _cleanup_(strv_freep) char **messages = NULL;
        int r = ledger_load(m->gate->ledger, d, &messages);

        for (char **message = messages; message && *message; message++)
                log_warning("%s", *message);
        if (messages)
                log_warning("Who had %s last is not known any more: if policy wants it clean it is held "
                            "back until an administrator marks it clean",
                            d->facts.name);
        return r;
}

void gate_device_seen(Manager *m, Device *d, bool new_device) {
        int r = 0;

        if (new_device)
                r = load(m, d);
        if (r < 0 && r != -ENOMEM) {
                log_error("Who had %s last cannot be read (%s): it is held back until an "
                          "administrator marks it clean",
                          d->facts.name, strerror(-r));
                d->use.owner.uid = UINT32_MAX;
                d->use.valid = true;
                r = str_set(&d->use.owner.name, "an unknown owner");
        }
        if (r == 0)
                r = device_apply_policy(d, m->policy, NULL);
        if (r < 0)
                log_error("Device %s: %s", d->facts.name, strerror(-r));
}

int gate_claim(Manager *m, Group *g) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r = 0;

        for (Device *d = g->devices; r == 0 && d; d = d->next) {
                int noted = device_note_use(d, &c);

                r = noted > 0 ? save(m, d) : noted;
        }
        (void)manager_commit(m, &c); /* a failed write is logged */
        return r;
}

void gate_reset_done(Manager *m, const char *device) {
        Device *d = registry_device(m->registry, device);
        _cleanup_changes_ Changes c = CHANGES_NULL;

        if (d)
                (void)finish(m, d, device_note_reset(d, &c), &c);
}

/* scrubbing */

static void look_after(Manager *m, uint64_t delay);

/* Not an answer of the unit's. */
static bool is_transient(int error) {
        return error == EAGAIN || error == ECONNRESET || error == ENOTCONN || error == ETIMEDOUT ||
               error == EIO;
}

static void on_scrubbed(KernelOp *op, StepResult *result, void *userdata) {
        Scrub *s = userdata;
        Manager *m = s->m;
        Device *d = registry_device(m->registry, s->device);
        _cleanup_changes_ Changes c = CHANGES_NULL;

        if (d && result->error == 0) {
                log_info("Device %s is clean", d->facts.name);
                (void)finish(m, d, device_note_clean(d, &c), &c);
        } else if (d) {
                bool again = is_transient(result->error);
                const char *why = result->text ? result->text : strerror(result->error);

                if (!again)
                        log_warning("Device %s is not clean: %s", d->facts.name, why);
                (void)finish(m, d, device_note_not_scrubbed(d, again ? NULL : why, &c), &c);
                if (again)
                        look_after(m, RETRY_USEC);
        }
        scrub_free(s);
}

static int scrub_begin(Manager *m, Device *d, Changes *c) {
        _cleanup_free_ char *unit = device_scrub_unit(d);
        Step step = { .kind = STEP_SCRUB, .device = d->facts.name, .group = d->group->id };
        Scrub *s = calloc(1, sizeof(Scrub));
        int r;

        if (!s || !unit) {
                free(s);
                return -ENOMEM;
        }
        s->m = m;
        DL_APPEND(m->gate->scrubs, s);
        s->device = strdup(d->facts.name);
        /* how long it takes is the unit's to say */
        r = s->device ? device_note_scrubbing(d, c) : -ENOMEM;
        if (r >= 0)
                r = m->kernel->ops->run(m->kernel, &step, NULL, 0, on_scrubbed, s, &s->op);
        if (r < 0) {
                scrub_free(s);
                if (d->use.scrubbing && device_note_not_scrubbed(d, NULL, c) < 0)
                        log_error("Device %s is not scrubbed: out of memory", d->facts.name);
                look_after(m, RETRY_USEC);
        } else
                log_info("Device %s is cleaned by %s", d->facts.name, unit);
        return r;
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        Manager *m = userdata;

        for (Device *d = registry_devices(m->registry); d; d = d->hh.next) {
                int r = device_wants_scrub(d) ? scrub_begin(m, d, &c) : 0;

                if (r < 0)
                        log_error("Device %s cannot be scrubbed: %s", d->facts.name, strerror(-r));
        }
        (void)manager_commit(m, &c); /* a failed write is logged */
        return 0;
}

static void look_after(Manager *m, uint64_t delay) {
        if (delay == 0 || !alarm_is_set(m->gate->look))
                alarm_set_relative(m->gate->look, delay);
}

void gate_look(Manager *m) {
        for (Device *d = registry_devices(m->registry); m->started && d; d = d->hh.next)
                if (device_wants_scrub(d)) {
                        look_after(m, 0);
                        return;
                }
}

void gate_look_at(Manager *m, const Group *g) {
        for (const Device *d = g->devices; d; d = d->next)
                if (device_wants_scrub(d))
                        look_after(m, 0);
}

int gate_retry(Manager *m, Group *g) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        bool any = false;

        for (Device *d = g->devices; d; d = d->next)
                if (d->use.valid && d->use.trouble) {
                        any = true;
                        if (device_note_not_scrubbed(d, NULL, &c) < 0)
                                return -ENOMEM;
                }
        (void)manager_commit(m, &c); /* a failed write is logged */
        gate_look_at(m, g);
        return any;
}

/* A device in use is nobody's to call clean. */
static int check_clean(Manager *m, const char *name, Fault *fault) {
        const Device *d = registry_device(m->registry, name);

        if (!d)
                return fault_set(fault, ERROR_NO_SUCH_DEVICE, "there is no device %s on this host",
                                 name);
        if (d->group && d->group->count > 0)
                return fault_set(fault, ERROR_BUSY,
                                 "%s is leased; it can be marked clean after that", name);
        if (d->use.scrubbing)
                return fault_set(fault, ERROR_BUSY, "%s is being cleaned by its unit", name);
        return 0;
}

int manager_mark_clean(Manager *m, char *const *devices, Fault *fault) {
        int r = 0;

        for (char *const *name = devices; r == 0 && name && *name; name++)
                r = check_clean(m, *name, fault);
        for (char *const *name = devices; r == 0 && name && *name; name++) {
                Device *d = registry_device(m->registry, *name);
                _cleanup_changes_ Changes c = CHANGES_NULL;

                r = finish(m, d, device_note_clean(d, &c), &c);
                if (r < 0)
                        return fault_set(fault, ERROR_KERNEL_REFUSED,
                                         "%s is clean now, but that cannot be written: %s", *name,
                                         strerror(-r));
        }
        return r;
}
