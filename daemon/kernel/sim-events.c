/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What others do to the host while the daemon looks on. */
#include <limits.h>
#include <string.h>

#include "kernel/sim.h"
#include "util/strings.h"

/* Refuses in the kernel's place. */
static void refuse(Reader *rd, int error, char *message) {
        if (rd->error != 0) {
                free(message);
                return;
        }
        rd->message = message;
        rd->error = message ? error : -ENOMEM;
}

/* What an operation of the model came to. A process that hangs is no error: the event happened. */
static void result(Reader *rd, int r, const char *what, const SimDevice *d) {
        if (r < 0)
                refuse(rd, r, str_format("%s %s: %s", what, d->facts.name, strerror(-r)));
}

/* Somebody who would hang behind another one is refused: there is only one foreign process. */
static void result_or_stuck(Reader *rd, int r, const char *what, const SimDevice *d) {
        result(rd, r == SIM_HANGS ? -EBUSY : r, what, d);
}

static SimDevice *take_device(Reader *rd, Sim *sim, json_object *o) {
        const Place here = { .key = "device" };
        _cleanup_free_ char *name = NULL;
        SimDevice *d;

        reader_string(rd, NULL, o, "device", &name);
        d = name ? sim_device(sim, name) : NULL;
        if (!name)
                reader_fail(rd, &here, "expected the name of a device");
        else if (!d)
                reader_fail(rd, &here, "there is no device \"%s\"", name);
        return d;
}

static char *take_word(Reader *rd, json_object *o, const char *key) {
        const Place here = { .key = key };
        char *word = NULL;

        reader_string(rd, NULL, o, key, &word);
        if (str_empty(word))
                reader_fail(rd, &here, "expected a name");
        return word;
}

static void event_hotplug(Reader *rd, Sim *sim, json_object *o) {
        _cleanup_json_ json_object *device = reader_take(rd, NULL, o, "device", json_type_object);
        _cleanup_(sim_device_freep) SimDevice *d = NULL;
        const Place here = { .key = "device" };
        _cleanup_free_ char *driver = NULL;
        SimDevice *added, *physfn;

        if (!device) {
                reader_fail(rd, &here, "expected a device as in a topology");
                return;
        }
        d = sim_topology_device(rd, &here, sim, device, &driver);
        if (rd->error == 0)
                reader_end(rd, NULL, o);
        if (rd->error != 0)
                return;
        if (sim_device_add(sim, d) < 0) {
                reader_oom(rd);
                return;
        }
        added = TAKE_PTR(d);
        physfn = added->facts.physfn ? sim_device(sim, added->facts.physfn) : NULL;
        if (physfn) {
                physfn->facts.num_vfs++;
                sim_device_news(sim, physfn, SIM_SEEN);
        }
        /* a driver that cannot bind, because the group is taken, fails silently */
        if (sim_device_probe(sim, added) == -ENOMEM)
                reader_oom(rd);
}

static void event_unplug(Reader *rd, Sim *sim, json_object *o) {
        SimDevice *d = take_device(rd, sim, o);

        if (rd->error == 0)
                reader_end(rd, NULL, o);
        if (rd->error == 0)
                sim_device_unplug(sim, d);
}

static void event_bind(Reader *rd, Sim *sim, json_object *o) {
        SimDevice *d = take_device(rd, sim, o);
        _cleanup_free_ char *driver = take_word(rd, o, "driver");

        if (rd->error == 0)
                reader_end(rd, NULL, o);
        if (rd->error == 0)
                result_or_stuck(rd, sim_device_bind(sim, d, driver), "bind", d);
}

static void event_unbind(Reader *rd, Sim *sim, json_object *o) {
        SimDevice *d = take_device(rd, sim, o);
        _cleanup_free_ char *driver = NULL;

        reader_string(rd, NULL, o, "driver", &driver);
        if (rd->error == 0)
                reader_end(rd, NULL, o);
        if (rd->error != 0)
                return;
        if (d->pending != SIM_PENDING_NONE)
                result(rd, -EBUSY, "unbind", d);
        else
                result(rd, sim_device_unbind(sim, d, driver ? driver : d->facts.driver), "unbind",
                       d);
}

static void event_probe(Reader *rd, Sim *sim, json_object *o) {
        SimDevice *d = take_device(rd, sim, o);

        if (rd->error == 0)
                reader_end(rd, NULL, o);
        if (rd->error == 0)
                result_or_stuck(rd, sim_device_probe(sim, d), "probe", d);
}

static void event_override(Reader *rd, Sim *sim, json_object *o) {
        SimDevice *d = take_device(rd, sim, o);
        _cleanup_free_ char *driver = NULL;

        reader_string(rd, NULL, o, "driver", &driver);
        if (rd->error == 0)
                reader_end(rd, NULL, o);
        if (rd->error == 0)
                result_or_stuck(rd, sim_device_set_override(sim, d, driver), "override", d);
}

static SimGroup *take_group(Reader *rd, Sim *sim, json_object *o) {
        const Place here = { .key = "group" };
        SimGroup *g = NULL;
        int64_t id = 0;

        if (reader_int(rd, NULL, o, "group", 0, INT_MAX, &id))
                g = sim_group(sim, (unsigned)id);
        if (!g)
                reader_fail(rd, &here, "expected the number of a group");
        return g;
}

static void event_type(Reader *rd, Sim *sim, json_object *o) {
        SimGroup *g = take_group(rd, sim, o);
        _cleanup_free_ char *type = take_word(rd, o, "type");
        int r;

        if (rd->error == 0)
                reader_end(rd, NULL, o);
        if (rd->error != 0)
                return;
        r = sim_group_set_type(sim, g, type);
        if (r == SIM_HANGS)
                r = -EBUSY;
        if (r < 0)
                refuse(rd, r, str_format("set type %s of group %u: %s", type, g->id, strerror(-r)));
}

static void event_open(Reader *rd, Sim *sim, json_object *o) {
        _cleanup_(sim_file_freep) SimFile *f = NULL;
        _cleanup_free_ char *message = NULL;
        SimGroup *g = NULL;
        bool lent = false;
        int r;

        reader_bool(rd, NULL, o, "lent", &lent);
        sim_topology_file(rd, NULL, sim, o, &g, &f);
        if (rd->error == 0)
                reader_end(rd, NULL, o);
        if (rd->error != 0)
                return;
        r = sim_group_open(g, f, lent, &message);
        if (r < 0)
                refuse(rd, r, TAKE_PTR(message));
        else
                f = NULL;
}

static void event_close(Reader *rd, Sim *sim, json_object *o) {
        bool whole = !json_object_object_get_ex(o, "device", NULL);
        SimDevice *d = whole ? NULL : take_device(rd, sim, o);
        int64_t pid = 0, id = -1;
        unsigned closed = 0;

        (void)reader_int(rd, NULL, o, "group", 0, INT_MAX, &id);
        (void)reader_int(rd, NULL, o, "pid", 1, INT_MAX, &pid);
        if (whole && id < 0 && pid == 0)
                reader_fail(rd, NULL, "expected the \"device\", \"group\" or \"pid\" of open files");
        if (rd->error == 0)
                reader_end(rd, NULL, o);
        if (rd->error != 0)
                return;
        for (SimGroup *g = sim->groups; g; g = g->hh.next)
                if (d ? d->group == g : id < 0 || g->id == (unsigned)id)
                        closed += sim_group_close(g, d, (pid_t)pid);
        if (closed == 0)
                refuse(rd, -ENOENT, strdup("close: nobody has it open"));
}

static void event_map(Reader *rd, Sim *sim, json_object *o) {
        int64_t pid = 0, id = -1, bytes = 0;
        unsigned mapped = 0;

        (void)reader_int(rd, NULL, o, "group", 0, INT_MAX, &id);
        if (!reader_int(rd, NULL, o, "pid", 1, INT_MAX, &pid) ||
            !reader_int(rd, NULL, o, "bytes", 1, INT64_C(1) << 40, &bytes))
                reader_fail(rd, NULL, "expected the \"pid\" of a process and how many \"bytes\"");
        if (rd->error == 0)
                reader_end(rd, NULL, o);
        if (rd->error != 0)
                return;
        for (SimGroup *g = sim->groups; g; g = g->hh.next)
                if ((id < 0 || g->id == (unsigned)id) &&
                    sim_group_map(g, (pid_t)pid, (uint64_t)bytes))
                        mapped++;
        if (mapped == 0)
                refuse(rd, -EBADF,
                       str_format("map: process %d has no file to do that with", (int)pid));
}

/* udev's rules are run again for the node of a group; what they say of owner and mode ends an ACL. */
static void event_node(Reader *rd, Sim *sim, json_object *o) {
        const Place here = { .key = "group" };
        SimGroup *g = take_group(rd, sim, o);
        int64_t uid = 0, mode = 0600;

        (void)reader_int(rd, NULL, o, "uid", 0, UINT32_MAX - 1, &uid);
        (void)reader_int(rd, NULL, o, "mode", 0, 0777, &mode);
        if (rd->error == 0)
                reader_end(rd, NULL, o);
        if (rd->error == 0 && g->vfio_users == 0)
                reader_fail(rd, &here, "the group has no VFIO node");
        if (rd->error != 0)
                return;
        g->node = (SimNode){ .owner = (uid_t)uid, .mode = (mode_t)mode, .granted = SIM_NOBODY };
        sim->kernel.events.node_changed(g->id, sim->kernel.events.userdata);
}

static void event_in_use(Reader *rd, Sim *sim, json_object *o) {
        _cleanup_obstacles_ Obstacles obstacles = OBSTACLES_NULL;
        SimDevice *d = take_device(rd, sim, o);

        if (rd->error != 0)
                return;
        sim_topology_obstacles(rd, NULL, o, "obstacles", d->facts.name, &obstacles);
        if (rd->error == 0)
                reader_end(rd, NULL, o);
        if (rd->error != 0)
                return;
        obstacles_clear(&d->in_use);
        d->in_use = obstacles;
        obstacles = OBSTACLES_NULL;
        sim_device_news(sim, d, SIM_USE_CHANGED);
}

/* Somebody has a PF's driver set something for a VF. */
static void event_vf(Reader *rd, Sim *sim, json_object *o) {
        SimDevice *d = take_device(rd, sim, o);
        _cleanup_free_ char *text = take_word(rd, o, "vf_settings");

        if (rd->error == 0)
                reader_end(rd, NULL, o);
        if (rd->error == 0)
                result(rd, sim_device_set_vf(sim, d, text), "set", d);
}

static void event_release_hang(Reader *rd, Sim *sim, json_object *o) {
        reader_end(rd, NULL, o);
        if (rd->error == 0)
                sim_release_hung(sim);
}

static const struct {
        const char *name;
        void (*run)(Reader *rd, Sim *sim, json_object *o);
} events[] = {
        { "hotplug", event_hotplug }, { "unplug", event_unplug },
        { "bind", event_bind },       { "unbind", event_unbind },
        { "probe", event_probe },     { "override", event_override },
        { "type", event_type },       { "open", event_open },
        { "close", event_close },     { "map", event_map },
        { "in-use", event_in_use },   { "node", event_node },
        { "vf", event_vf },           { "release-hang", event_release_hang },
};

static void run_event(Reader *rd, Sim *sim, json_object *o) {
        const Place here = { .key = "event" };
        _cleanup_free_ char *name = take_word(rd, o, "event");

        for (size_t i = 0; rd->error == 0 && i < sizeof(events) / sizeof(events[0]); i++)
                if (str_eq(events[i].name, name)) {
                        events[i].run(rd, sim, o);
                        return;
                }
        reader_fail(rd, &here, "there is no event \"%s\"", name ? name : "");
}

int sim_kernel_event(Kernel *k, const char *event_json, char **ret_message) {
        Sim *sim = (Sim *)k;
        Reader rd = { .file = "event" };
        _cleanup_json_ json_object *o = reader_parse(&rd, event_json, strlen(event_json));

        if (o)
                run_event(&rd, sim, o);
        sim_save(sim);
        if (rd.error < 0 && rd.message)
                *ret_message = rd.message;
        return rd.error;
}
