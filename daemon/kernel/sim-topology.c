/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads a host: a topology that a person wrote, or one that the simulation remembered. */
#include <limits.h>
#include <stdio.h>

#include "kernel/sim.h"
#include "shared/step-json.h"
#include "shared/vf-settings.h"
#include "util/strings.h"

#define GROUP_MAX   INT_MAX
#define LATENCY_MAX INT64_C(3600000000) /* an hour */

static bool version_is_older(unsigned major, unsigned minor, unsigned than_major,
                             unsigned than_minor) {
        return major != than_major ? major < than_major : minor < than_minor;
}

static void read_version(Reader *rd, const Place *at, Sim *sim, json_object *o, const char *key) {
        const Place here = { .up = at, .key = key };
        unsigned major = 0, minor = 0;
        int end = 0;

        reader_string(rd, at, o, key, &sim->version);
        if (rd->error != 0)
                return;
        if (sscanf(sim->version, "%3u.%3u%n", &major, &minor, &end) != 2 ||
            (sim->version[end] != '\0' && sim->version[end] != '.'))
                reader_fail(rd, &here, "expected a kernel version like \"6.12\", found \"%s\"",
                            sim->version);
        sim->strict_type = version_is_older(major, minor, 6, 4);
        sim->override_locks = version_is_older(major, minor, 6, 12);
}

/* A version, or an object with it and what else the kernel differs in. */
static void read_kernel(Reader *rd, Sim *sim, json_object *o) {
        _cleanup_json_ json_object *table = NULL;
        const Place here = { .key = "kernel" };
        json_object *value;

        if (str_set(&sim->version, "6.12") < 0)
                reader_oom(rd);
        if (!json_object_object_get_ex(o, "kernel", &value) ||
            !json_object_is_type(value, json_type_object)) {
                read_version(rd, NULL, sim, o, "kernel");
                return;
        }
        table = reader_take(rd, NULL, o, "kernel", json_type_object);
        if (!table)
                return;
        read_version(rd, &here, sim, table, "version");
        reader_bool(rd, &here, table, "strict_type", &sim->strict_type);
        reader_bool(rd, &here, table, "override_locks", &sim->override_locks);
        reader_bool(rd, &here, table, "iommufd", &sim->iommufd);
        if (rd->error == 0)
                reader_end(rd, &here, table);
}

static void read_type(Reader *rd, const Place *at, json_object *o, const char *key, char **p) {
        const Place here = { .up = at, .key = key };

        reader_string(rd, at, o, key, p);
        if (rd->error == 0 && *p && !sim_type_is_known(*p))
                reader_fail(rd, &here, "expected \"DMA\", \"DMA-FQ\" or \"identity\", found \"%s\"",
                            *p);
}

static void read_usec(Reader *rd, const Place *at, json_object *o, const char *key, uint64_t *p) {
        int64_t v;

        if (reader_int(rd, at, o, key, 0, LATENCY_MAX, &v))
                *p = (uint64_t)v;
}

static void read_latencies(Reader *rd, Sim *sim, json_object *o) {
        _cleanup_json_ json_object *table = reader_take(rd, NULL, o, "latency_us", json_type_object);
        const Place here = { .key = "latency_us" };

        if (!table)
                return;
        for (int kind = 0; kind < _STEP_KIND_MAX; kind++)
                read_usec(rd, &here, table, step_kind_to_string((StepKind)kind),
                          &sim->latency_usec[kind]);
        read_usec(rd, &here, table, "udev", &sim->udev_usec);
        if (rd->error == 0)
                reader_end(rd, &here, table);
}

static void read_driver(Reader *rd, const Place *at, json_object *o, void *userdata) {
        _cleanup_free_ char *name = NULL;
        Sim *sim = userdata;
        SimDriver *driver;

        reader_string(rd, at, o, "name", &name);
        if (str_empty(name)) {
                reader_fail(rd, at, "expected the driver's \"name\"");
                return;
        }
        if (sim_driver(sim, name)) {
                reader_fail(rd, at, "the driver \"%s\" stands here twice", name);
                return;
        }
        driver = sim_driver_get(sim, name);
        if (!driver) {
                reader_oom(rd);
                return;
        }
        reader_string(rd, at, o, "module", &driver->module);
        if (str_empty(driver->module)) /* part of the kernel */
                driver->loaded = true;
        reader_bool(rd, at, o, "loaded", &driver->loaded);
        reader_bool(rd, at, o, "keeps_vfs", &driver->keeps_vfs);
        reader_errno(rd, at, o, "fails", &driver->fails);
        if (rd->error == 0)
                reader_end(rd, at, o);
}

typedef struct ObstacleList {
        const char *device;
        Obstacles *list;
} ObstacleList;

static void read_obstacle(Reader *rd, const Place *at, json_object *o, void *userdata) {
        _cleanup_free_ char *code = NULL, *text = NULL;
        ObstacleList *to = userdata;

        reader_string(rd, at, o, "code", &code);
        reader_string(rd, at, o, "text", &text);
        if (str_empty(code) || str_empty(text))
                reader_fail(rd, at, "expected a \"code\" and a \"text\"");
        if (rd->error != 0)
                return;
        reader_end(rd, at, o);
        if (obstacles_add(to->list, code, to->device, "%s", text) < 0)
                reader_oom(rd);
}

void sim_topology_obstacles(Reader *rd, const Place *at, json_object *o, const char *key,
                            const char *device, Obstacles *ret) {
        ObstacleList to = { .device = device, .list = ret };

        reader_each(rd, at, o, key, read_obstacle, &to);
}

static void read_ids(Reader *rd, const Place *at, json_object *o, DeviceFacts *f) {
        int64_t number = -1;
        uint64_t id = 0;

        if (reader_digits(rd, at, o, "vendor", 16, UINT16_MAX, &id))
                f->vendor = (uint16_t)id;
        if (reader_digits(rd, at, o, "device", 16, UINT16_MAX, &id))
                f->model = (uint16_t)id;
        if (reader_digits(rd, at, o, "class", 16, 0xffffff, &id))
                f->class_code = (uint32_t)id;
        reader_string(rd, at, o, "vendor_name", &f->vendor_name);
        reader_string(rd, at, o, "model_name", &f->model_name);
        if (reader_int(rd, at, o, "numa", -1, INT_MAX, &number))
                f->numa_node = (int)number;
        if (reader_int(rd, at, o, "group", -1, GROUP_MAX, &number))
                f->group = (int)number;
        /* a PCI-to-PCI bridge has a header of its own type */
        f->bridge = f->class_code >> 8 == 0x0604;
        reader_bool(rd, at, o, "bridge", &f->bridge);
}

static void read_sriov(Reader *rd, const Place *at, json_object *o, SimDevice *d) {
        const Place here = { .up = at, .key = "total_vfs" };
        int64_t total = 0;
        uint64_t id = 0;

        d->facts.vf_model = d->facts.model;
        if (reader_int(rd, at, o, "total_vfs", 0, UINT16_MAX, &total))
                d->facts.total_vfs = (unsigned)total;
        if (reader_digits(rd, at, o, "vf_device", 16, UINT16_MAX, &id))
                d->facts.vf_model = (uint16_t)id;
        d->facts.vf_autoprobe = d->facts.total_vfs > 0;
        reader_bool(rd, at, o, "vf_autoprobe", &d->facts.vf_autoprobe);
        if (rd->error == 0 && d->facts.total_vfs > 0 && d->facts.physfn)
                reader_fail(rd, &here, "a VF has no VFs of its own");
}

static void read_vf_settings(Reader *rd, const Place *at, json_object *o, const char *key,
                             bool allowed, char **p) {
        const Place here = { .up = at, .key = key };
        VfSettings settings = VF_SETTINGS_NULL;

        reader_string(rd, at, o, key, p);
        if (rd->error != 0 || !*p)
                return;
        if (!allowed || vf_settings_parse(*p, &settings) < 0) {
                reader_fail(rd, &here,
                            "expected settings of a VF like \"mac=52:54:00:12:34:56 trust=off\", "
                            "found \"%s\"",
                            *p);
                return;
        }
        free(*p);
        *p = vf_settings_format(&settings); /* in the order that steps have them */
        if (!*p)
                reader_oom(rd);
}

/* The best VFIO driver, "" for none, and the module that it is in. */
static void read_vfio_driver(Reader *rd, const Place *at, Sim *sim, json_object *o, DeviceFacts *f) {
        const Place here = { .up = at, .key = "vfio_driver" };
        const SimDriver *driver;

        if (str_set(&f->vfio_driver, "vfio-pci") < 0)
                reader_oom(rd);
        reader_string(rd, at, o, "vfio_driver", &f->vfio_driver);
        if (rd->error != 0)
                return;
        if (str_empty(f->vfio_driver)) {
                (void)str_set(&f->vfio_driver, NULL);
                return;
        }
        if (!driver_is_vfio(f->vfio_driver)) {
                reader_fail(rd, &here, "\"%s\" is not the name of a VFIO driver", f->vfio_driver);
                return;
        }
        driver = sim_driver_get(sim, f->vfio_driver);
        if (!driver ||
            str_set(&f->vfio_module, str_empty(driver->module) ? NULL : driver->module) < 0)
                reader_oom(rd);
}

/* Drivers that are named here exist; the bound one matches unless "matches" says otherwise. */
static void read_drivers_of_device(Reader *rd, const Place *at, Sim *sim, json_object *o,
                                   SimDevice *d, char **ret_driver) {
        _cleanup_free_ char *name = NULL;
        SimDriver *driver;

        reader_string(rd, at, o, "driver", &name);
        reader_string(rd, at, o, "driver_override", &d->facts.driver_override);
        reader_strings(rd, at, o, "matches", &d->matches);
        if (rd->error != 0)
                return;
        if (str_empty(name))
                (void)str_set(&name, NULL);
        if (name && !d->matches && !driver_is_vfio(name) && strv_extend(&d->matches, name) < 0)
                reader_oom(rd);
        for (char **m = d->matches; m && *m; m++)
                if (!sim_driver_get(sim, *m))
                        reader_oom(rd);
        if (name) {
                driver = sim_driver_get(sim, name);
                if (!driver)
                        reader_oom(rd);
                else
                        driver->loaded = true;
        }
        *ret_driver = TAKE_PTR(name);
}

static void check_name(Reader *rd, const Place *at, Sim *sim, const DeviceFacts *f) {
        const Place here = { .up = at, .key = "name" };

        if (rd->error != 0)
                return;
        if (str_empty(f->name))
                reader_fail(rd, at, "expected the device's \"name\"");
        else if (str_eq(f->bus, "pci") && !device_name_is_pci(f->name))
                reader_fail(rd, &here, "expected an address like \"0000:3b:00.0\", found \"%s\"",
                            f->name);
        else if (sim_device(sim, f->name))
                reader_fail(rd, &here, "there is a device \"%s\" already", f->name);
}

SimDevice *sim_topology_device(Reader *rd, const Place *at, Sim *sim, json_object *o,
                               char **ret_driver) {
        _cleanup_(sim_device_freep) SimDevice *d = calloc(1, sizeof(SimDevice));
        const Place physfn = { .up = at, .key = "physfn" }, group = { .up = at, .key = "group" };
        DeviceFacts *f;

        if (!d) {
                reader_oom(rd);
                return NULL;
        }
        f = &d->facts;
        *f = DEVICE_FACTS_NULL;
        d->cdev_file = SIM_PIPE_NULL;
        if (str_set(&f->bus, "pci") < 0)
                reader_oom(rd);
        reader_string(rd, at, o, "name", &f->name);
        reader_string(rd, at, o, "bus", &f->bus);
        check_name(rd, at, sim, f);
        read_ids(rd, at, o, f);
        if (rd->error == 0 && !sim->iommu && f->group >= 0)
                reader_fail(rd, &group, "there are no groups with \"iommu\": false");
        read_vfio_driver(rd, at, sim, o, f);
        read_drivers_of_device(rd, at, sim, o, d, ret_driver);
        reader_string(rd, at, o, "physfn", &f->physfn);
        read_sriov(rd, at, o, d);
        reader_strings(rd, at, o, "reset", &d->reset);
        f->reset_methods = d->reset ? strv_join(d->reset, " ") : strdup("");
        if (!f->reset_methods)
                reader_oom(rd);
        reader_strings(rd, at, o, "remembered", &d->remembered);
        read_vf_settings(rd, at, o, "vf_settings", d->facts.physfn || d->facts.total_vfs > 0,
                         &d->vf_settings);
        read_vf_settings(rd, at, o, "vf_remembered", d->facts.physfn, &d->vf_remembered);
        sim_topology_obstacles(rd, at, o, "in_use", f->name, &d->in_use);
        if (rd->error == 0 && f->physfn && !sim_device(sim, f->physfn))
                reader_fail(rd, &physfn, "there is no device \"%s\" before this one", f->physfn);
        if (rd->error == 0)
                reader_end(rd, at, o);
        return rd->error == 0 ? TAKE_PTR(d) : NULL;
}

/* What cannot be a driver's place: the host would have refused it. */
static void check_driver(Reader *rd, const Place *at, const SimDevice *d, const char *driver) {
        const Place here = { .up = at, .key = "driver" };

        if (driver_is_vfio(driver) && (!d->group || d->facts.bridge))
                reader_fail(rd, &here, "%s does not bind %s", driver,
                            d->group ? "a bridge" : "a device without a group");
}

static void read_device(Reader *rd, const Place *at, json_object *o, void *userdata) {
        _cleanup_(sim_device_freep) SimDevice *new = NULL;
        _cleanup_free_ char *driver = NULL;
        Sim *sim = userdata;
        SimDevice *d, *physfn;

        new = sim_topology_device(rd, at, sim, o, &driver);
        if (!new)
                return;
        if (sim_device_add(sim, new) < 0) {
                reader_oom(rd);
                return;
        }
        d = TAKE_PTR(new);
        physfn = d->facts.physfn ? sim_device(sim, d->facts.physfn) : NULL;
        if (physfn)
                physfn->facts.num_vfs++;
        if (!driver)
                return;
        check_driver(rd, at, d, driver);
        if (rd->error == 0 && sim_device_attach(sim, d, sim_driver(sim, driver)) < 0)
                reader_oom(rd);
}

static void read_node(Reader *rd, const Place *at, json_object *o, const char *key, SimNode *ret,
                      bool *ret_there) {
        _cleanup_json_ json_object *node = reader_take(rd, at, o, key, json_type_object);
        const Place here = { .up = at, .key = key };
        uint64_t mode = 0;
        int64_t uid = 0;

        if (!node)
                return;
        *ret = SIM_NODE_NEW;
        if (reader_int(rd, &here, node, "uid", 0, UINT32_MAX - 1, &uid))
                ret->owner = (uid_t)uid;
        if (reader_digits(rd, &here, node, "mode", 8, 0777, &mode))
                ret->mode = (mode_t)mode;
        if (reader_int(rd, &here, node, "granted", 0, UINT32_MAX - 1, &uid))
                ret->granted = (uid_t)uid;
        if (rd->error == 0)
                reader_end(rd, &here, node);
        *ret_there = true;
}

static void set_group_type(Reader *rd, SimGroup *g, const char *type) {
        if (str_set(&g->type, type) < 0)
                reader_oom(rd);
        for (SimDevice *d = g->devices; d; d = d->next)
                if (str_set(&d->facts.default_domain_type, type) < 0)
                        reader_oom(rd);
}

static void read_cdev(Reader *rd, const Place *at, json_object *o, void *userdata) {
        _cleanup_free_ char *name = NULL;
        const SimGroup *g = userdata;
        bool bound = false;
        SimDevice *d;

        reader_string(rd, at, o, "device", &name);
        reader_bool(rd, at, o, "bound", &bound);
        if (rd->error != 0)
                return;
        reader_end(rd, at, o);
        d = name ? sim_device(g->sim, name) : NULL;
        if (!d || d->group != g || !driver_is_vfio(d->facts.driver))
                reader_fail(rd, at,
                            "expected a \"device\" of the group that is bound to a VFIO driver");
        else
                d->cdev = bound ? SIM_CDEV_BOUND : SIM_CDEV_OPEN;
}

static void read_mapped(Reader *rd, const Place *at, json_object *o, SimGroup *g) {
        int64_t mapped = 0;

        if (reader_int(rd, at, o, "mapped", 0, INT64_MAX, &mapped))
                g->mapped = (uint64_t)mapped;
}

static void read_group(Reader *rd, const Place *at, json_object *o, void *userdata) {
        _cleanup_json_ json_object *owner_count = NULL;
        const Place here = { .up = at, .key = "group" };
        _cleanup_free_ char *type = NULL;
        Sim *sim = userdata;
        SimGroup *g = NULL;
        bool there = false;
        int64_t id = 0;

        if (reader_int(rd, at, o, "group", 0, GROUP_MAX, &id))
                g = sim_group(sim, (unsigned)id);
        if (!g) {
                reader_fail(rd, &here, "expected the number of a group that a device is in");
                return;
        }
        read_type(rd, at, o, "type", &type);
        read_type(rd, at, o, "forced_type", &g->forced_type);
        read_node(rd, at, o, "node", &g->node, &there);
        read_node(rd, at, o, "node_former", &g->node_former, &g->node_granted);
        reader_bool(rd, at, o, "claimed", &g->claimed);
        reader_each(rd, at, o, "cdevs", read_cdev, g);
        read_mapped(rd, at, o, g);
        owner_count = reader_take(rd, at, o, "owner_count", json_type_int); /* follows */
        if (rd->error != 0)
                return;
        if (type || g->forced_type)
                set_group_type(rd, g, type ? type : g->forced_type);
        if ((g->claimed || there || g->node_granted) && g->vfio_users == 0)
                reader_fail(rd, at, "no device of the group is bound to a VFIO driver");
        else if (g->claimed && g->kernel_users > 0)
                reader_fail(rd, at, "claimed, but %s is bound to %s",
                            sim_group_kernel_owner(g)->facts.name,
                            sim_group_kernel_owner(g)->facts.driver);
        reader_end(rd, at, o);
}

void sim_topology_file(Reader *rd, const Place *at, Sim *sim, json_object *o, SimGroup **ret_group,
                       SimFile **ret) {
        _cleanup_(sim_file_freep) SimFile *f = calloc(1, sizeof(SimFile));
        _cleanup_free_ char *device = NULL;
        int64_t number = 0, pid = 0;
        SimGroup *g = NULL;

        if (!f || str_set(&f->comm, "?") < 0) {
                reader_oom(rd);
                return;
        }
        reader_string(rd, at, o, "device", &device);
        if (reader_int(rd, at, o, "group", 0, GROUP_MAX, &number))
                g = sim_group(sim, (unsigned)number);
        f->device = device ? sim_device(sim, device) : NULL;
        if (f->device)
                g = f->device->group;
        if (!g || (device && !f->device))
                reader_fail(rd, at, "expected the \"group\" or \"device\" of an open file");
        if (!reader_int(rd, at, o, "pid", 1, INT_MAX, &pid))
                reader_fail(rd, at, "expected the \"pid\" of the process that has it open");
        f->pid = (pid_t)pid;
        reader_string(rd, at, o, "comm", &f->comm);
        reader_bool(rd, at, o, "hidden", &f->hidden);
        number = 0;
        if (reader_int(rd, at, o, "uid", 0, UINT32_MAX - 1, &number))
                f->uid = (uid_t)number;
        if (rd->error != 0)
                return;
        *ret_group = g;
        *ret = TAKE_PTR(f);
}

static void read_open(Reader *rd, const Place *at, json_object *o, void *userdata) {
        _cleanup_(sim_file_freep) SimFile *f = NULL;
        SimGroup *g = NULL;
        bool cdev = false;

        reader_bool(rd, at, o, "cdev", &cdev);
        sim_topology_file(rd, at, userdata, o, &g, &f);
        if (rd->error != 0)
                return;
        f->cdev = cdev;
        if (cdev && (!f->device || f->device->cdev == SIM_CDEV_CLOSED)) {
                reader_fail(rd, at, "no such \"device\" is among the \"cdevs\" of its group");
                return;
        }
        reader_end(rd, at, o);
        if (g->vfio_users == 0 || g->kernel_users > 0) {
                reader_fail(rd, at, "group %u could not be opened", g->id);
                return;
        }
        f->next = g->files;
        g->files = TAKE_PTR(f);
}

static void read_left_behind(Reader *rd, const Place *at, json_object *o, void *userdata) {
        _cleanup_(step_clear) Step step = {};
        _cleanup_free_ char *message = NULL;
        bool hang = false;
        int r;

        reader_bool(rd, at, o, "hang", &hang);
        if (rd->error != 0)
                return;
        r = step_from_json(o, &step, &message);
        if (r >= 0)
                r = sim_adopt_left_behind(userdata, &step, hang);
        if (r == -ENOMEM)
                reader_oom(rd);
        else if (r < 0)
                reader_fail(rd, at, "%s", message ? message : "one step in a group at a time");
}

/* An unbind or unplug that somebody else is stuck with. */
static void read_pending(Reader *rd, const Place *at, json_object *o, void *userdata) {
        _cleanup_free_ char *name = NULL, *what = NULL;
        SimDevice *d;

        reader_string(rd, at, o, "device", &name);
        reader_string(rd, at, o, "event", &what);
        if (rd->error != 0)
                return;
        reader_end(rd, at, o);
        d = name ? sim_device(userdata, name) : NULL;
        if (d && str_eq(what, "unbind"))
                d->pending = SIM_PENDING_UNBIND;
        else if (d && str_eq(what, "unplug"))
                d->pending = SIM_PENDING_UNPLUG;
        else
                reader_fail(rd, at, "expected a \"device\" and the \"event\" unbind or unplug");
}

void sim_topology_read(Reader *rd, Sim *sim, json_object *o) {
        _cleanup_json_ json_object *operations = NULL, *dropped = NULL;
        _cleanup_free_ char *persist = NULL, *comment = NULL;

        if (rd->error != 0)
                return;
        /* a dump is a topology too */
        operations = reader_take(rd, NULL, o, "operations", json_type_array);
        dropped = reader_take(rd, NULL, o, "operations_dropped", json_type_int);
        reader_string(rd, NULL, o, "comment", &comment);
        reader_string(rd, NULL, o, "persist", &persist); /* known already */
        read_kernel(rd, sim, o);
        sim->iommu = true;
        reader_bool(rd, NULL, o, "iommu", &sim->iommu);
        if (str_set(&sim->default_type, "DMA-FQ") < 0)
                reader_oom(rd);
        read_type(rd, NULL, o, "default_domain_type", &sim->default_type);
        read_latencies(rd, sim, o);
        reader_each(rd, NULL, o, "drivers", read_driver, sim);
        reader_each(rd, NULL, o, "devices", read_device, sim);
        reader_each(rd, NULL, o, "groups", read_group, sim);
        reader_each(rd, NULL, o, "open", read_open, sim);
        reader_each(rd, NULL, o, "faults", sim_fault_read, sim);
        reader_each(rd, NULL, o, "left_behind", read_left_behind, sim);
        reader_each(rd, NULL, o, "pending", read_pending, sim);
        if (rd->error == 0)
                reader_end(rd, NULL, o);
}
