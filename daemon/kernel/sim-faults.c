/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Faults: which operation goes wrong, and how. */
#include <limits.h>
#include <string.h>

#include "kernel/sim.h"
#include "util/strings.h"

SimFault *sim_fault_free(SimFault *f) {
        if (!f)
                return NULL;
        free(f->device);
        free(f);
        return NULL;
}

static const char *const kills[_SIM_KILL_MAX] = {
        [SIM_KILL_BEFORE] = "before",
        [SIM_KILL_DURING] = "during",
        [SIM_KILL_AFTER] = "after",
};

const char *sim_kill_to_string(SimKill kill) {
        return kills[kill];
}

static void read_kill(Reader *rd, const Place *at, json_object *o, SimKill *ret) {
        const Place here = { .up = at, .key = "kill" };
        _cleanup_free_ char *moment = NULL;

        reader_string(rd, at, o, "kill", &moment);
        for (SimKill kill = SIM_KILL_NONE; moment && kill < _SIM_KILL_MAX; kill++)
                if (str_eq(kills[kill], moment))
                        *ret = kill;
        if (moment && *ret == SIM_KILL_NONE)
                reader_fail(rd, &here, "expected \"before\", \"during\" or \"after\"");
}

static void read_effects(Reader *rd, const Place *at, json_object *o, SimFault *f) {
        int64_t v = 0;

        reader_errno(rd, at, o, "errno", &f->error);
        reader_bool(rd, at, o, "hang", &f->hang);
        reader_bool(rd, at, o, "crash", &f->crash);
        read_kill(rd, at, o, &f->kill);
        if (reader_int(rd, at, o, "delay_us", 1, INT64_C(3600000000), &v))
                f->delay_usec = (uint64_t)v;
        if (f->error == 0 && !f->hang && !f->crash && f->kill == SIM_KILL_NONE && f->delay_usec == 0)
                reader_fail(rd, at,
                            "expected what happens: \"errno\", \"hang\", \"crash\", \"kill\" or "
                            "\"delay_us\"");
}

static void read_hits(Reader *rd, const Place *at, json_object *o, SimFault *f) {
        _cleanup_free_ char *op = NULL;
        const Place here = { .up = at, .key = "op" };
        int64_t v = 0;

        reader_string(rd, at, o, "op", &op);
        f->op = step_kind_from_string(op);
        if ((int)f->op < 0 || f->op == STEP_RELEASE)
                reader_fail(rd, &here, "expected the name of a step like \"bind\"");
        reader_string(rd, at, o, "device", &f->device);
        if (reader_int(rd, at, o, "nth", 1, INT_MAX, &v))
                f->nth = (unsigned)v;
        if (reader_int(rd, at, o, "seen", 0, INT_MAX, &v))
                f->seen = (unsigned)v;
}

void sim_fault_read(Reader *rd, const Place *at, json_object *o, void *userdata) {
        _cleanup_(sim_fault_freep) SimFault *f = calloc(1, sizeof(SimFault));
        Sim *sim = userdata;
        SimFault **end = &sim->faults;

        if (!f) {
                reader_oom(rd);
                return;
        }
        read_hits(rd, at, o, f);
        read_effects(rd, at, o, f);
        if (rd->error == 0)
                reader_end(rd, at, o);
        if (rd->error != 0)
                return;
        while (*end)
                end = &(*end)->next;
        *end = TAKE_PTR(f);
}

/* A fault of a device hits what is done to it, and what is done to its whole group. */
static bool fault_hits(Sim *sim, const SimFault *f, const Step *step) {
        const SimDevice *d;

        if (f->op != step->kind)
                return false;
        if (!f->device || str_eq(f->device, step->device))
                return true;
        d = step->device || step->kind == STEP_LOAD_MODULE ? NULL : sim_device(sim, f->device);
        return d && d->group && d->group->id == step->group;
}

const SimFault *sim_fault_for(Sim *sim, const Step *step) {
        const SimFault *first = NULL;

        for (SimFault *f = sim->faults; f; f = f->next) {
                if (!fault_hits(sim, f, step))
                        continue;
                f->seen++;
                if (!first && (f->nth == 0 || f->seen == f->nth))
                        first = f;
        }
        return first;
}

int sim_kernel_inject(Kernel *k, const char *fault_json, char **ret_message) {
        Sim *sim = (Sim *)k;
        Reader rd = { .file = "fault" };
        _cleanup_json_ json_object *o = reader_parse(&rd, fault_json, strlen(fault_json));

        if (o)
                sim_fault_read(&rd, NULL, o, sim);
        if (rd.error == 0)
                sim_save(sim);
        else if (rd.message)
                *ret_message = rd.message;
        return rd.error;
}

void sim_faults_clear(Sim *sim) {
        while (sim->faults) {
                SimFault *f = sim->faults;

                sim->faults = f->next;
                sim_fault_free(f);
        }
}

void sim_kernel_clear(Kernel *k) {
        Sim *sim = (Sim *)k;

        sim_faults_clear(sim);
        sim_save(sim);
}
