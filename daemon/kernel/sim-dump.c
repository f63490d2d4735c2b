/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes the host in the form in which a topology is read, and the operations that were done. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kernel/sim.h"
#include "shared/step-json.h"
#include "util/strings.h"

/* More than a test on 16,384 groups does; what is older is dropped. */
#define DONE_MAX 131072u

/* Adds to an object, or to an array if name is NULL. Takes value over; NULL is a lack of memory. */
static bool put(json_object *to, const char *name, json_object *value) {
        if (!value)
                return false;
        if ((name ? json_object_object_add(to, name, value) : json_object_array_add(to, value)) <
            0) {
                (void)json_object_put(value);
                return false;
        }
        return true;
}

/* What is empty is left out. */
static bool put_string(json_object *to, const char *name, const char *s) {
        return str_empty(s) || put(to, name, json_object_new_string(s));
}

static bool put_int(json_object *to, const char *name, int64_t v) {
        return put(to, name, json_object_new_int64(v));
}

static bool put_true(json_object *to, const char *name, bool v) {
        return !v || put(to, name, json_object_new_boolean(true));
}

static bool put_hex(json_object *to, const char *name, int digits, uint32_t v) {
        char text[16];

        (void)snprintf(text, sizeof(text), "%0*" PRIx32, digits, v);
        return put(to, name, json_object_new_string(text));
}

/* A new array or object in "to"; NULL: no memory. Owned by "to". */
static json_object *put_array(json_object *to, const char *name) {
        json_object *o = json_object_new_array();

        return put(to, name, o) ? o : NULL;
}

static json_object *put_object(json_object *to, const char *name) {
        json_object *o = json_object_new_object();

        return put(to, name, o) ? o : NULL;
}

static bool put_strings(json_object *to, const char *name, char *const *v) {
        json_object *list = put_array(to, name);

        for (; list && v && *v; v++)
                if (!put(list, NULL, json_object_new_string(*v)))
                        return false;
        return list;
}

static bool put_driver(json_object *to, const SimDriver *driver) {
        json_object *o = put_object(to, NULL);

        return o && put_string(o, "name", driver->name) &&
               /* without one it would get the usual one */
               put(o, "module", json_object_new_string(driver->module ? driver->module : "")) &&
               put(o, "loaded", json_object_new_boolean(driver->loaded)) &&
               put_true(o, "keeps_vfs", driver->keeps_vfs) &&
               put_string(o, "fails", driver->fails ? strerrorname_np(driver->fails) : NULL);
}

static bool put_in_use(json_object *to, const Obstacles *in_use) {
        json_object *list;

        if (in_use->n == 0)
                return true;
        list = put_array(to, "in_use");
        for (size_t i = 0; list && i < in_use->n; i++) {
                json_object *o = put_object(list, NULL);

                if (!o || !put_string(o, "code", in_use->items[i].code) ||
                    !put_string(o, "text", in_use->items[i].text))
                        return false;
        }
        return list;
}

static bool put_sriov(json_object *o, const SimDevice *d) {
        return put_int(o, "total_vfs", d->facts.total_vfs) &&
               put_hex(o, "vf_device", 4, d->facts.vf_model) &&
               put(o, "vf_autoprobe", json_object_new_boolean(d->facts.vf_autoprobe));
}

static bool put_device(json_object *to, const SimDevice *d) {
        const DeviceFacts *f = &d->facts;
        json_object *o = put_object(to, NULL);

        return o && put_string(o, "name", f->name) && put_string(o, "bus", f->bus) &&
               put_hex(o, "vendor", 4, f->vendor) && put_hex(o, "device", 4, f->model) &&
               put_hex(o, "class", 6, f->class_code) &&
               put_string(o, "vendor_name", f->vendor_name) &&
               put_string(o, "model_name", f->model_name) && put_int(o, "group", f->group) &&
               put_int(o, "numa", f->numa_node) && put_string(o, "driver", f->driver) &&
               put_string(o, "driver_override", f->driver_override) &&
               put_strings(o, "matches", d->matches) &&
               put(o, "vfio_driver", json_object_new_string(f->vfio_driver ? f->vfio_driver : "")) &&
               put_string(o, "physfn", f->physfn) && put_string(o, "vf_settings", d->vf_settings) &&
               put_string(o, "vf_remembered", d->vf_remembered) &&
               (f->total_vfs == 0 || put_sriov(o, d)) &&
               put(o, "bridge", json_object_new_boolean(f->bridge)) &&
               put_strings(o, "reset", d->reset) &&
               (!d->remembered || put_strings(o, "remembered", d->remembered)) &&
               put_in_use(o, &d->in_use);
}

static bool put_node(json_object *to, const char *name, const SimNode *node) {
        json_object *o = put_object(to, name);
        char mode[16];

        (void)snprintf(mode, sizeof(mode), "%04o", (unsigned)node->mode);
        return o && put_int(o, "uid", node->owner) && put_string(o, "mode", mode) &&
               (node->granted == SIM_NOBODY || put_int(o, "granted", node->granted));
}

static bool put_cdevs(json_object *to, const SimGroup *g) {
        json_object *list;

        if (!sim_group_has_cdev(g))
                return true;
        list = put_array(to, "cdevs");
        for (const SimDevice *d = g->devices; list && d; d = d->next) {
                json_object *o;

                if (d->cdev == SIM_CDEV_CLOSED)
                        continue;
                o = put_object(list, NULL);
                if (!o || !put_string(o, "device", d->facts.name) ||
                    !put_true(o, "bound", d->cdev == SIM_CDEV_BOUND))
                        return false;
        }
        return list;
}

static bool put_group(json_object *to, const SimGroup *g) {
        json_object *o = put_object(to, NULL);

        return o && put_int(o, "group", g->id) && put_string(o, "type", g->type) &&
               put_string(o, "forced_type", g->forced_type) &&
               put_int(o, "owner_count", sim_group_owner_count(g)) &&
               put_true(o, "claimed", g->claimed) && put_cdevs(o, g) &&
               (g->mapped == 0 || put_int(o, "mapped", (int64_t)g->mapped)) &&
               (g->vfio_users == 0 || put_node(o, "node", &g->node)) &&
               (!g->node_granted || put_node(o, "node_former", &g->node_former));
}

/* Oldest first, so that reading, which puts each in front, gives the same order. */
static bool put_files(json_object *to, const SimGroup *g, const SimFile *f) {
        json_object *o;

        if (!f)
                return true;
        if (!put_files(to, g, f->next))
                return false;
        o = put_object(to, NULL);
        return o &&
               (f->device ? put_string(o, "device", f->device->facts.name)
                          : put_int(o, "group", g->id)) &&
               put_int(o, "pid", f->pid) && put_string(o, "comm", f->comm) &&
               put_int(o, "uid", f->uid) && put_true(o, "hidden", f->hidden) &&
               put_true(o, "cdev", f->cdev);
}

static bool put_fault(json_object *to, const SimFault *f) {
        json_object *o = put_object(to, NULL);

        return o && put_string(o, "op", step_kind_to_string(f->op)) &&
               put_string(o, "device", f->device) && (f->nth == 0 || put_int(o, "nth", f->nth)) &&
               put_int(o, "seen", f->seen) &&
               put_string(o, "errno", f->error ? strerrorname_np(f->error) : NULL) &&
               put_true(o, "hang", f->hang) && put_true(o, "crash", f->crash) &&
               put_string(o, "kill", sim_kill_to_string(f->kill)) &&
               (f->delay_usec == 0 || put_int(o, "delay_us", (int64_t)f->delay_usec));
}

static bool put_left_behind(const Step *step, bool hangs, void *userdata) {
        json_object *o = step_to_json(step);

        return put(userdata, NULL, o) && put_true(o, "hang", hangs);
}

static bool put_pending(json_object *to, const SimDevice *d) {
        json_object *o = put_object(to, NULL);

        return o && put_string(o, "device", d->facts.name) &&
               put_string(o, "event", d->pending == SIM_PENDING_UNBIND ? "unbind" : "unplug");
}

static bool put_latencies(json_object *to, const Sim *sim) {
        json_object *o = put_object(to, "latency_us");

        for (int kind = 0; o && kind < _STEP_KIND_MAX; kind++)
                if (sim->latency_usec[kind] > 0 && !put_int(o, step_kind_to_string((StepKind)kind),
                                                            (int64_t)sim->latency_usec[kind]))
                        return false;
        return o && put_int(o, "udev", (int64_t)sim->udev_usec);
}

static bool put_head(json_object *o, const Sim *sim) {
        json_object *kernel = put_object(o, "kernel");

        return kernel && put_string(kernel, "version", sim->version) &&
               put(kernel, "strict_type", json_object_new_boolean(sim->strict_type)) &&
               put(kernel, "override_locks", json_object_new_boolean(sim->override_locks)) &&
               put(kernel, "iommufd", json_object_new_boolean(sim->iommufd)) &&
               put(o, "iommu", json_object_new_boolean(sim->iommu)) &&
               put_string(o, "default_domain_type", sim->default_type) &&
               put_string(o, "persist", sim->persist) && put_latencies(o, sim);
}

static bool put_devices(json_object *o, Sim *sim) {
        json_object *drivers = put_array(o, "drivers"), *devices = put_array(o, "devices"),
                    *pending = put_array(o, "pending");

        if (!drivers || !devices || !pending)
                return false;
        for (const SimDriver *driver = sim->drivers; driver; driver = driver->hh.next)
                if (!put_driver(drivers, driver))
                        return false;
        for (const SimDevice *d = sim->devices; d; d = d->hh.next)
                if (!put_device(devices, d) ||
                    (d->pending != SIM_PENDING_NONE && !put_pending(pending, d)))
                        return false;
        return true;
}

static bool put_groups(json_object *o, Sim *sim) {
        json_object *groups = put_array(o, "groups"), *open = put_array(o, "open");

        if (!groups || !open)
                return false;
        for (const SimGroup *g = sim->groups; g; g = g->hh.next)
                if (!put_files(open, g, g->files) || (g->n_devices > 0 && !put_group(groups, g)))
                        return false;
        return true;
}

static bool put_operations(json_object *o, Sim *sim) {
        json_object *faults = put_array(o, "faults"), *left = put_array(o, "left_behind");

        if (!faults || !left)
                return false;
        for (const SimFault *f = sim->faults; f; f = f->next)
                if (!put_fault(faults, f))
                        return false;
        return sim_each_in_kernel(sim, put_left_behind, left);
}

json_object *sim_to_json(Sim *sim) {
        _cleanup_json_ json_object *o = json_object_new_object();

        if (!o || !put_head(o, sim) || !put_devices(o, sim) || !put_groups(o, sim) ||
            !put_operations(o, sim))
                return NULL;
        return TAKE_PTR(o);
}

static void done_free(SimDone *done) {
        free(done->device);
        free(done->value);
}

static void drop_older_half(Sim *sim) {
        size_t half = sim->n_done / 2;

        for (size_t i = 0; i < half; i++)
                done_free(&sim->done[i]);
        memmove(sim->done, sim->done + half, (sim->n_done - half) * sizeof(SimDone));
        sim->n_done -= half;
        sim->n_done_dropped += half;
}

int sim_done_add(Sim *sim, const Step *step, int error) {
        SimDone done = { .kind = step->kind, .group = step->group, .error = error };

        if (sim->n_done == DONE_MAX)
                drop_older_half(sim);
        if (sim->n_done == sim->n_done_allocated) {
                size_t n = sim->n_done_allocated ? 2 * sim->n_done_allocated : 64;
                SimDone *more = reallocarray(sim->done, n, sizeof(SimDone));

                if (!more)
                        return -ENOMEM;
                sim->done = more;
                sim->n_done_allocated = n;
        }
        if (str_set(&done.device, step->device) < 0 || str_set(&done.value, step->value) < 0) {
                done_free(&done);
                return -ENOMEM;
        }
        sim->done[sim->n_done++] = done;
        return 0;
}

static bool put_done(json_object *to, const SimDone *done) {
        json_object *o = put_object(to, NULL);

        return o && put_string(o, "op", step_kind_to_string(done->kind)) &&
               (done->device ? put_string(o, "device", done->device)
                             : put_int(o, "group", done->group)) &&
               put_string(o, "value", done->value) &&
               put_string(o, "errno", done->error ? strerrorname_np(done->error) : NULL);
}

int sim_done_to_json(const Sim *sim, json_object *o) {
        json_object *list = put_array(o, "operations");

        if (!list || !put_int(o, "operations_dropped", (int64_t)sim->n_done_dropped))
                return -ENOMEM;
        for (size_t i = 0; i < sim->n_done; i++)
                if (!put_done(list, &sim->done[i]))
                        return -ENOMEM;
        return 0;
}

void sim_done_clear(Sim *sim) {
        for (size_t i = 0; i < sim->n_done; i++)
                done_free(&sim->done[i]);
        free(sim->done);
        sim->done = NULL;
        sim->n_done = sim->n_done_allocated = sim->n_done_dropped = 0;
}
