/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What each step does to the simulated host, its answer, and what it waits for. Whatever the
 * executor checks before it acts is checked here too, in the same words where people read them.
 */
#include "kernel/sim.h"
#include "util/strings.h"

typedef int (*StepRun)(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret);

static int answer(char **p, char *text) {
        if (!text)
                return -ENOMEM;
        free(*p);
        *p = text;
        return 0;
}

static int copy_obstacles(const SimDevice *d, StepResult *ret) {
        for (size_t i = 0; i < d->in_use.n; i++) {
                const Obstacle *o = &d->in_use.items[i];

                if (obstacles_add(&ret->obstacles, o->code, o->device, "%s", o->text) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int run_inspect(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        return copy_obstacles(d, ret);
}

static int run_load_module(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        return sim_module_load(sim, step->value, &ret->value);
}

static int run_set_override(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        int r = sim_device_set_override(sim, d, step->value);

        return r != 0 ? r : str_set(&ret->value, d->facts.driver_override);
}

static int refuse_disturbing(const SimDevice *d, StepResult *ret) {
        int r = copy_obstacles(d, ret);

        if (r < 0)
                return r;
        r = answer(&ret->text,
                   str_format("%s is in use: %s", d->facts.name, d->in_use.items[0].text));
        return r < 0 ? r : -EBUSY;
}

static int run_unbind(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        if (d->in_use.n > 0 && !step->force && str_eq(d->facts.driver, step->value))
                return refuse_disturbing(d, ret);
        return sim_device_unbind(sim, d, step->value);
}

static int run_bind(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        int r = sim_device_bind(sim, d, step->value);
        int k = str_set(&ret->value, d->facts.driver);

        return k < 0 ? k : r;
}

static int run_probe(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        int r = sim_device_probe(sim, d);
        int k = str_set(&ret->value, d->facts.driver);

        return k < 0 ? k : r;
}

static int run_set_type(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        int r = sim_group_set_type(sim, g, step->value);
        int k = str_set(&ret->value, g->type);

        return k < 0 ? k : r;
}

static int run_wait_node(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        return g->node_ready ? 0 : SIM_WAITS;
}

static int run_grant_node(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        if (g->vfio_users == 0)
                return -ENOENT;
        if (!g->node_granted)
                g->node_former = g->node;
        g->node_granted = true;
        g->node = (SimNode){ .owner = 0, .mode = 0600, .granted = step->uid };
        return answer(&ret->value, sim_node_to_string(&g->node));
}

static int run_revoke_node(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        if (g->vfio_users == 0)
                return -ENOENT;
        if (g->node_granted)
                g->node = g->node_former;
        g->node_granted = false;
        return answer(&ret->value, sim_node_to_string(&g->node));
}

static int run_wait_closed(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        int r;

        if (g->vfio_users == 0)
                return -ENOENT;
        if (!sim_group_is_claimed(g))
                return 0;
        r = answer(&ret->text, sim_group_openers(g));
        return r < 0 ? r : SIM_WAITS;
}

static int run_claim(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        const SimDevice *owner = sim_group_kernel_owner(g);
        int r;

        r = run_wait_closed(sim, d, g, step, ret);
        if (r != 0)
                return r;
        if (owner) {
                r = answer(&ret->text, str_format("group %u is not viable: %s is bound to %s",
                                                  g->id, owner->facts.name, owner->facts.driver));
                return r < 0 ? r : -EPERM;
        }
        return sim_group_claim(g, ret->fds);
}

static int run_reset(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        if (strv_length(d->reset) == 0)
                return -ENOTTY;
        if (!str_eq(step->value, "auto") && !strv_contains(d->reset, step->value))
                return -EINVAL;
        return d->pending != SIM_PENDING_NONE ? SIM_HANGS : 0;
}

static const struct {
        StepRun run;
        bool device;    /* of one device; otherwise of a group, or of neither */
        bool value;     /* cannot be without */
        bool in_kernel; /* one system call, which goes on without its process */
} steps[_STEP_KIND_MAX] = {
        [STEP_INSPECT] = { run_inspect, .device = true },
        [STEP_LOAD_MODULE] = { run_load_module, .value = true, .in_kernel = true },
        [STEP_SET_OVERRIDE] = { run_set_override, .device = true, .in_kernel = true },
        [STEP_UNBIND] = { run_unbind, .device = true, .value = true, .in_kernel = true },
        [STEP_BIND] = { run_bind, .device = true, .value = true, .in_kernel = true },
        [STEP_PROBE] = { run_probe, .device = true, .in_kernel = true },
        [STEP_SET_TYPE] = { run_set_type, .value = true, .in_kernel = true },
        [STEP_WAIT_NODE] = { run_wait_node },
        [STEP_GRANT_NODE] = { run_grant_node, .in_kernel = true },
        [STEP_REVOKE_NODE] = { run_revoke_node, .in_kernel = true },
        [STEP_WAIT_CLOSED] = { run_wait_closed },
        [STEP_CLAIM] = { run_claim },
        [STEP_RESET] = { run_reset, .device = true, .value = true, .in_kernel = true },
        /* STEP_RELEASE: the daemon closes its descriptors, and we see it */
};

SimGroup *sim_step_group(Sim *sim, const Step *step) {
        SimDevice *d;

        if (step->kind == STEP_LOAD_MODULE)
                return NULL;
        if (!steps[step->kind].device)
                return sim_group(sim, step->group);
        d = step->device ? sim_device(sim, step->device) : NULL;
        return d ? d->group : NULL;
}

bool sim_step_is_in_kernel(StepKind kind) {
        return steps[kind].in_kernel;
}

int sim_step_run(Sim *sim, const Step *step, StepResult *ret) {
        SimDevice *d = step->device ? sim_device(sim, step->device) : NULL;
        SimGroup *g = sim_step_group(sim, step);

        if (!steps[step->kind].run || (steps[step->kind].value && str_empty(step->value)))
                return -EINVAL;
        if (steps[step->kind].device ? !d : step->kind != STEP_LOAD_MODULE && !g)
                return -ENODEV;
        return steps[step->kind].run(sim, d, g, step, ret);
}
