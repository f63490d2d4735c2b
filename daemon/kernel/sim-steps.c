/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What each step does to the simulated host, its answer, and what it waits for: the executor's part
 * of the model. What it checks before it acts is checked here, and refused with the same errno.
 */
#include <string.h>

#include "kernel/sim.h"
#include "util/strings.h"

typedef int (*StepRun)(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret);
typedef int (*FilesRun)(SimGroup *g, const Step *step, VfioFiles *files, StepResult *ret);

static int answer(char **p, char *text) {
        if (!text)
                return -ENOMEM;
        free(*p);
        *p = text;
        return 0;
}

/* Refuses; text is freed with the result. */
static int refuse(StepResult *ret, int error, char *text) {
        int r = answer(&ret->text, text);

        return r < 0 ? r : -error;
}

/* Programs that have files of the group open, as a scan of /proc finds them. */
static int visible_openers(const SimGroup *g, char **ret) {
        char *who = sim_group_openers(g, false);

        if (!who)
                return -ENOMEM;
        *ret = who;
        return 0;
}

static int add_vf_obstacles(const SimDevice *vf, const char *device, Obstacles *o) {
        _cleanup_free_ char *who = NULL;
        int r;

        if (!vf->facts.driver)
                return 0;
        if (vf->group) {
                r = visible_openers(vf->group, &who);
                if (r < 0)
                        return r;
        }
        if (!str_empty(who))
                return obstacles_add(o, "vf-open", device,
                                     "its virtual function %s is open in %s: removing it would hang "
                                     "all hot plugging of PCI",
                                     vf->facts.name, who);
        return obstacles_add(o, "vfs-in-use", device, "its virtual function %s is bound to %s",
                             vf->facts.name, vf->facts.driver);
}

static int add_vfs_obstacles(Sim *sim, const SimDevice *d, Obstacles *o) {
        int r = 0;

        for (const SimDevice *vf = d->facts.num_vfs > 0 ? sim->devices : NULL; vf && r >= 0;
             vf = vf->hh.next)
                if (str_eq(vf->facts.physfn, d->facts.name))
                        r = add_vf_obstacles(vf, d->facts.name, o);
        return r;
}

/* What stands in the way of taking the driver away. */
static int inspect(Sim *sim, const SimDevice *d, Obstacles *ret) {
        int r;

        if (!d->facts.driver)
                return 0;
        r = add_vfs_obstacles(sim, d, ret);
        if (r >= 0 && d->facts.num_vfs > 0)
                r = obstacles_add(ret, "vfs-enabled", d->facts.name,
                                  "it has %u virtual functions, which would go away",
                                  d->facts.num_vfs);
        for (size_t i = 0; i < d->in_use.n && r >= 0; i++)
                r = obstacles_add(ret, d->in_use.items[i].code, d->facts.name, "%s",
                                  d->in_use.items[i].text);
        return r;
}

static int run_inspect(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        _cleanup_free_ char *who = NULL;
        int r;

        r = inspect(sim, d, &ret->obstacles);
        if (r < 0 || !driver_is_vfio(d->facts.driver))
                return r;
        r = visible_openers(g, &who);
        if (r < 0 || str_empty(who))
                return r;
        return obstacles_add(&ret->obstacles, "vfio-open", d->facts.name,
                             "IOMMU group %u is open in %s", g->id, who);
}

/* Is a driver of the module for that device? */
static bool module_lists(Sim *sim, const SimDevice *d, const char *module) {
        for (char **name = d ? d->matches : NULL; name && *name; name++) {
                const SimDriver *driver = sim_driver(sim, *name);

                if (driver && str_eq(driver->module, module))
                        return true;
        }
        return false;
}

static int run_load_module(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        if (!driver_is_vfio(step->value) && !module_lists(sim, d, step->value))
                return refuse(ret, EPERM,
                              str_format("the module \"%.40s\" is neither VFIO's nor for the "
                                         "device of this step",
                                         step->value));
        return sim_module_load(sim, step->value, &ret->value);
}

/* Which drivers a device may be given: VFIO's, those that know it, those that it had. */
static int check_driver(Sim *sim, const SimDevice *d, const char *name, StepResult *ret) {
        const SimDriver *driver = sim_driver(sim, name);

        if (str_eq(name, "vfio-pci") || strv_contains(d->remembered, name))
                return 0;
        if (driver && driver->loaded &&
            (strv_contains(d->matches, name) || str_eq(d->facts.vfio_driver, name)))
                return 0;
        return refuse(ret, EPERM,
                      str_format("%s may not have the driver %s: its module is not loaded or not "
                                 "listed for that device, and it did not have it before",
                                 d->facts.name, name));
}

static int remember(SimDevice *d, const char *driver) {
        if (str_empty(driver) || str_eq(driver, "vfio-pci") || strv_contains(d->remembered, driver))
                return 0;
        return strv_extend(&d->remembered, driver);
}

static int remember_host(SimDevice *d) {
        int r = remember(d, d->facts.driver);

        return r < 0 ? r : remember(d, d->facts.driver_override);
}

static int run_set_override(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        int r = 0;

        if (!str_empty(step->value) && !str_eq(step->value, "none"))
                r = check_driver(sim, d, step->value, ret);
        if (r == 0)
                r = remember_host(d);
        if (r == 0)
                r = sim_device_set_override(sim, d, step->value);
        return r != 0 ? r : str_set(&ret->value, d->facts.driver_override);
}

static int check_unbind(Sim *sim, const SimDevice *d, const SimGroup *g, const Step *step,
                        StepResult *ret) {
        _cleanup_free_ char *who = NULL;
        int r;

        if (!str_eq(d->facts.driver, step->value))
                return refuse(ret, ESTALE,
                              str_format("%s is bound to %s, not to %s", d->facts.name,
                                         d->facts.driver, step->value));
        if (driver_is_vfio(d->facts.driver)) {
                r = visible_openers(g, &who);
                if (r < 0)
                        return r;
                if (!str_empty(who))
                        return refuse(ret, EBUSY,
                                      str_format("%s is open in %s: unbinding it would hang until "
                                                 "that is closed",
                                                 d->facts.name, who));
        }
        r = inspect(sim, d, &ret->obstacles);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ret->obstacles.n; i++)
                if (!step->force || str_eq(ret->obstacles.items[i].code, "vf-open"))
                        return refuse(ret, EBUSY,
                                      str_format("%s is in use: %s", d->facts.name,
                                                 ret->obstacles.items[0].text));
        return 0;
}

static int run_unbind(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        int r;

        if (d->pending != SIM_PENDING_NONE)
                return SIM_HANGS; /* behind somebody else, or still */
        if (!d->facts.driver)
                return 0; /* is what it shall be */
        r = check_unbind(sim, d, g, step, ret);
        if (r == 0)
                r = remember_host(d);
        return r != 0 ? r : sim_device_unbind(sim, d, step->value);
}

static int check_evict(Sim *sim, const SimDevice *d, const Step *step, StepResult *ret) {
        _cleanup_obstacles_ Obstacles obstacles = OBSTACLES_NULL;
        int r;

        if (!str_eq(d->facts.driver, step->value))
                return refuse(ret, ESTALE,
                              str_format("%s is bound to %s, not to %s", d->facts.name,
                                         d->facts.driver, step->value));
        if (!driver_is_vfio(d->facts.driver))
                return refuse(ret, EPERM,
                              str_format("%s is bound to %s, which nobody in user space can be "
                                         "evicted from",
                                         d->facts.name, d->facts.driver));
        r = inspect(sim, d, &obstacles);
        for (size_t i = 0; r == 0 && i < obstacles.n; i++)
                if (str_eq(obstacles.items[i].code, "vf-open"))
                        r = refuse(ret, EBUSY,
                                   str_format("%s is in use: %s", d->facts.name,
                                              obstacles.items[i].text));
        return r;
}

/* The kernel asks those who have it open; here they do as events say. */
static int run_evict(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        int r = SIM_HANGS, k;

        if (d->pending == SIM_PENDING_NONE) {
                if (!d->facts.driver)
                        return 0; /* is what it shall be */
                r = check_evict(sim, d, step, ret);
                if (r == 0)
                        r = remember_host(d);
                if (r == 0)
                        r = sim_device_unbind(sim, d, step->value);
        }
        if (r != SIM_HANGS)
                return r;
        k = answer(&ret->text, sim_group_openers(g, true));
        return k < 0 ? k : SIM_HANGS;
}

static int run_bind(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        int r;

        r = check_driver(sim, d, step->value, ret);
        if (r < 0)
                return r;
        /* one that is just being taken away shows no driver, and keeps whoever binds it waiting */
        if (!str_eq(d->facts.driver, step->value) || d->pending != SIM_PENDING_NONE)
                r = sim_device_bind(sim, d, step->value);
        if (r == -ENOENT)
                return refuse(ret, ENOENT,
                              str_format("the driver %s is not there: is its module loaded?",
                                         step->value));
        if (r == -EBUSY && d->facts.driver)
                return refuse(ret, ENODEV,
                              str_format("%s is bound to %s instead of bound to %s", d->facts.name,
                                         d->facts.driver, step->value));
        return r != 0 ? r : str_set(&ret->value, d->facts.driver);
}

static int run_probe(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        int r = sim_device_probe(sim, d);
        int k = str_set(&ret->value, d->facts.driver);

        return k < 0 ? k : r;
}

static int run_set_type(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        int r = sim_group_set_type(sim, g, step->value);

        return r != 0 ? r : str_set(&ret->value, g->type);
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
        if (g->node_granted)
                g->node = g->node_former;
        g->node_granted = false;
        return answer(&ret->value, sim_node_to_string(&g->node));
}

static int wait_for_openers(const SimGroup *g, StepResult *ret) {
        int r = answer(&ret->text, sim_group_openers(g, true));

        return r < 0 ? r : SIM_WAITS;
}

static int run_wait_closed(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        _cleanup_free_ char *others = NULL;

        if (g->vfio_users == 0)
                return -ENOENT;
        if (!str_eq(step->value, "lent"))
                return sim_group_is_claimed(g) ? wait_for_openers(g, ret) : 0;
        others = sim_group_openers(g, false);
        if (!others)
                return -ENOMEM;
        return str_empty(others) ? 0 : wait_for_openers(g, ret);
}

static int no_node(const SimGroup *g, StepResult *ret) {
        return refuse(ret, ENOENT,
                      str_format("IOMMU group %u has no VFIO node: no device of it is bound "
                                 "to a VFIO driver",
                                 g->id));
}

static int not_viable(const SimGroup *g, const SimDevice *owner, StepResult *ret) {
        return refuse(ret, EPERM,
                      str_format("IOMMU group %u is not viable: %s is bound to %s", g->id,
                                 owner->facts.name, owner->facts.driver));
}

static int no_iommufd(StepResult *ret) {
        return refuse(ret, EOPNOTSUPP,
                      strdup("this kernel has no /dev/iommu or no /dev/vfio/devices: ask for the "
                             "interface container"));
}

/* Only the container's own node keeps a second one out; for the others there is a scan. */
static int check_closed(const SimGroup *g, VfioInterface interface, StepResult *ret) {
        bool claimed = interface == VFIO_INTERFACE_CONTAINER && sim_group_is_claimed(g);
        _cleanup_free_ char *who = sim_group_openers(g, true);

        if (!who)
                return -ENOMEM;
        if (!claimed && str_empty(who))
                return 0;
        return refuse(ret, EBUSY,
                      str_format("IOMMU group %u is open in %s: it can be lent once that is closed",
                                 g->id,
                                 str_empty(who) ? "a process that /proc does not show" : who));
}

static int lend_container(SimGroup *g, StepResult *ret) {
        const SimDevice *owner = sim_group_kernel_owner(g);

        return owner ? not_viable(g, owner, ret) : sim_group_claim(g, &ret->files);
}

static int run_lend(SimGroup *g, const Step *step, VfioFiles *files, StepResult *ret) {
        VfioInterface interface = step->value ? vfio_interface_from_string(step->value)
                                              : VFIO_INTERFACE_AUTO;
        int r;

        if ((int)interface < 0)
                return -EINVAL;
        if (interface == VFIO_INTERFACE_AUTO)
                interface = g->sim->iommufd ? VFIO_INTERFACE_IOMMUFD : VFIO_INTERFACE_CONTAINER;
        if (g->vfio_users == 0)
                return no_node(g, ret);
        if (interface == VFIO_INTERFACE_IOMMUFD && !g->sim->iommufd)
                return no_iommufd(ret);
        r = check_closed(g, interface, ret);
        if (r == 0)
                r = interface == VFIO_INTERFACE_IOMMUFD
                            ? sim_group_open_cdevs(g, SIM_CDEV_OPEN, &ret->files)
                            : lend_container(g, ret);
        return r < 0 ? r : str_set(&ret->value, vfio_interface_to_string(interface));
}

/* The interface that the files are of, or -EINVAL. */
static VfioInterface find_interface(const VfioFiles *files) {
        bool container = vfio_files_get(files, FILE_CONTAINER, NULL) >= 0;
        bool group = vfio_files_get(files, FILE_GROUP, NULL) >= 0;
        bool iommufd = vfio_files_get(files, FILE_IOMMUFD, NULL) >= 0;

        if (container && group && files->n == 2)
                return VFIO_INTERFACE_CONTAINER;
        return iommufd && !container && !group ? VFIO_INTERFACE_IOMMUFD : _VFIO_INTERFACE_INVALID;
}

static int not_kept(const SimGroup *g, StepResult *ret) {
        return refuse(ret, EPERM,
                      str_format("these are not the files that were opened of IOMMU group %u",
                                 g->id));
}

static int run_reclaim(SimGroup *g, const Step *step, VfioFiles *files, StepResult *ret) {
        if ((int)find_interface(files) < 0)
                return -EINVAL;
        if (g->vfio_users == 0)
                return 0; /* what was mapped went with the last device */
        if (!sim_group_kept_are(g, files))
                return not_kept(g, ret);
        g->mapped = 0;
        return 0;
}

/* The group never leaves its blocking domain: it goes from one container into another. */
static int change_container(SimGroup *g, const VfioFiles *files, StepResult *ret) {
        if (g->vfio_users == 0)
                return refuse(ret, ESTALE,
                              str_format("IOMMU group %u has no VFIO node any more", g->id));
        if (!sim_group_kept_are(g, files))
                return not_kept(g, ret);
        for (const SimFile *f = g->files; f; f = f->next)
                if (f->device)
                        return wait_for_openers(g, ret);
        return sim_group_renew_claim(g, files, &ret->files);
}

static int claim_container(SimGroup *g, StepResult *ret) {
        const SimDevice *owner = sim_group_kernel_owner(g);

        if (g->vfio_users == 0)
                return no_node(g, ret);
        if (sim_group_is_claimed(g))
                return wait_for_openers(g, ret);
        return owner ? not_viable(g, owner, ret) : sim_group_claim(g, &ret->files);
}

static int claim_cdevs(SimGroup *g, VfioFiles *files, StepResult *ret) {
        const SimDevice *owner = sim_group_kernel_owner(g);

        if (g->vfio_users == 0)
                return no_node(g, ret);
        if (!g->sim->iommufd)
                return no_iommufd(ret);
        vfio_files_clear(files); /* or we would wait for ourselves */
        if (sim_group_is_claimed(g) || sim_group_has_cdev(g))
                return wait_for_openers(g, ret);
        return owner ? not_viable(g, owner, ret)
                     : sim_group_open_cdevs(g, SIM_CDEV_BOUND, &ret->files);
}

static int run_claim(SimGroup *g, const Step *step, VfioFiles *files, StepResult *ret) {
        VfioInterface interface = step->value ? vfio_interface_from_string(step->value)
                                              : VFIO_INTERFACE_CONTAINER;

        if (interface != VFIO_INTERFACE_IOMMUFD && interface != VFIO_INTERFACE_CONTAINER)
                return -EINVAL;
        /* closed by an earlier turn of the same step, if it waits */
        if (files->n > 0 && find_interface(files) != interface)
                return -EINVAL;
        if (interface == VFIO_INTERFACE_IOMMUFD)
                return claim_cdevs(g, files, ret);
        return files->n > 0 ? change_container(g, files, ret) : claim_container(g, ret);
}

/* What a unit does to a device is nothing that the simulated host has. */
static int run_scrub(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        return 0;
}

static int run_reset(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        if (d->facts.driver && !driver_is_vfio(d->facts.driver))
                return refuse(ret, EBUSY,
                              str_format("%s is bound to %s: a reset would disturb the host",
                                         d->facts.name, d->facts.driver));
        if (strv_length(d->reset) == 0)
                return refuse(ret, ENOTTY, str_format("%s has no reset method", d->facts.name));
        if (!str_eq(step->value, "auto") && !strv_contains(d->reset, step->value))
                return -EINVAL;
        return d->pending != SIM_PENDING_NONE ? SIM_HANGS : 0;
}

static int check_sriov(const SimDevice *d, const Step *step, unsigned long long max,
                       unsigned long long *value, StepResult *ret) {
        int r;

        if (d->facts.total_vfs == 0)
                return refuse(ret, ENOTTY,
                              str_format("%s has no virtual functions (SR-IOV)", d->facts.name));
        r = parse_u64(step->value, 10, value);
        if (r < 0 || *value > max)
                return refuse(ret, r < 0 ? EINVAL : ERANGE,
                              str_format("\"%.40s\" is no number from 0 to %llu", step->value, max));
        return 0;
}

static int run_set_vf_autoprobe(Sim *sim, SimDevice *d, SimGroup *g, const Step *step,
                                StepResult *ret) {
        unsigned long long value;
        int r = check_sriov(d, step, 1, &value, ret);

        if (r < 0)
                return r;
        d->facts.vf_autoprobe = value;
        sim_device_news(sim, d, SIM_SEEN);
        return str_set(&ret->value, step->value);
}

static int run_set_num_vfs(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        unsigned long long value;
        int r = check_sriov(d, step, d->facts.total_vfs, &value, ret);

        if (r < 0 || d->facts.num_vfs == value)
                return r < 0 ? r : str_set(&ret->value, step->value);
        r = add_vfs_obstacles(sim, d, &ret->obstacles);
        if (r < 0)
                return r;
        if (ret->obstacles.n > 0)
                return refuse(ret, EBUSY,
                              str_format("%s is in use: %s", d->facts.name,
                                         ret->obstacles.items[0].text));
        if (d->facts.num_vfs > 0 && value > 0)
                return refuse(ret, EBUSY,
                              str_format("%s has %u virtual functions already", d->facts.name,
                                         d->facts.num_vfs));
        if (!d->facts.driver || driver_is_vfio(d->facts.driver))
                return refuse(ret, EPERM,
                              str_format("virtual functions are the business of the host's driver of "
                                         "%s, which has %s",
                                         d->facts.name, d->facts.driver ? d->facts.driver : "none"));
        r = sim_device_set_num_vfs(sim, d, (unsigned)value);
        return r != 0 ? r : str_set(&ret->value, step->value);
}

/* Nobody can be asked for the settings of the VF: no error. */
static int no_vf_link(const SimDevice *d, StepResult *ret) {
        return answer(&ret->text, str_format("%s has no network interface here, or that reports no "
                                             "settings of %s",
                                             d->facts.physfn, d->facts.name));
}

static int check_vf(const SimDevice *d, StepResult *ret) {
        return d->facts.physfn ? 0
                               : refuse(ret, ENOTTY,
                                        str_format("%s is no virtual function", d->facts.name));
}

static int run_read_vf(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        int r = check_vf(d, ret);

        if (r == 0 && !sim_device_has_vf_link(sim, d))
                return no_vf_link(d, ret);
        if (r == 0)
                r = str_set(&d->vf_remembered, d->vf_settings);
        return r < 0 ? r : str_set(&ret->value, d->vf_settings);
}

static int run_set_vf(Sim *sim, SimDevice *d, SimGroup *g, const Step *step, StepResult *ret) {
        int r = check_vf(d, ret);

        if (r == 0 && !str_eq(d->vf_remembered, step->value))
                return refuse(ret, EPERM,
                              str_format("%s may get only the settings that were read of it",
                                         d->facts.name));
        if (r == 0 && !sim_device_has_vf_link(sim, d))
                return no_vf_link(d, ret);
        if (r == 0)
                r = sim_device_set_vf(sim, d, step->value);
        return r < 0 ? r : str_set(&ret->value, d->vf_settings);
}

static const struct {
        StepRun run;
        bool device;       /* of one device; otherwise of a group, or of neither */
        bool value;        /* cannot be without */
        bool in_kernel;    /* one system call, which goes on without its process */
        FilesRun on_files; /* in place of run */
} steps[_STEP_KIND_MAX] = {
        [STEP_INSPECT] = { run_inspect, .device = true },
        [STEP_LOAD_MODULE] = { run_load_module, .value = true, .in_kernel = true },
        [STEP_SET_OVERRIDE] = { run_set_override, .device = true, .in_kernel = true },
        [STEP_UNBIND] = { run_unbind, .device = true, .value = true, .in_kernel = true },
        [STEP_EVICT] = { run_evict, .device = true, .value = true, .in_kernel = true },
        [STEP_BIND] = { run_bind, .device = true, .value = true, .in_kernel = true },
        [STEP_PROBE] = { run_probe, .device = true, .in_kernel = true },
        [STEP_SET_TYPE] = { run_set_type, .value = true, .in_kernel = true },
        [STEP_WAIT_NODE] = { run_wait_node },
        [STEP_GRANT_NODE] = { run_grant_node, .in_kernel = true },
        [STEP_REVOKE_NODE] = { run_revoke_node, .in_kernel = true },
        [STEP_WAIT_CLOSED] = { run_wait_closed },
        [STEP_LEND] = { .on_files = run_lend },
        [STEP_RECLAIM] = { .on_files = run_reclaim },
        [STEP_CLAIM] = { .on_files = run_claim },
        [STEP_SCRUB] = { run_scrub, .device = true },
        [STEP_RESET] = { run_reset, .device = true, .value = true, .in_kernel = true },
        [STEP_SET_VF_AUTOPROBE] = { run_set_vf_autoprobe, .device = true, .value = true,
                                    .in_kernel = true },
        [STEP_SET_NUM_VFS] = { run_set_num_vfs, .device = true, .value = true, .in_kernel = true },
        [STEP_READ_VF] = { run_read_vf, .device = true, .in_kernel = true },
        [STEP_SET_VF] = { run_set_vf, .device = true, .value = true, .in_kernel = true },
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

/* There is such a device, in that group; there is such a group. */
static int check_place(const SimDevice *d, const SimGroup *g, const Step *step, StepResult *ret) {
        if (step->kind == STEP_LOAD_MODULE)
                return 0;
        if (!steps[step->kind].device)
                return g ? 0
                         : refuse(ret, ENOENT,
                                  str_format("there is no IOMMU group %u", step->group));
        if (!d || !g)
                return refuse(ret, ENODEV,
                              str_format(d ? "%s has no IOMMU group" : "there is no device %s",
                                         step->device ? step->device : ""));
        if (g->id != step->group)
                return refuse(ret, ESTALE,
                              str_format("%s is in IOMMU group %u, not in %u", step->device, g->id,
                                         step->group));
        return 0;
}

int sim_step_run(Sim *sim, const Step *step, VfioFiles *files, StepResult *ret) {
        SimDevice *d = step->device ? sim_device(sim, step->device) : NULL;
        SimGroup *g = sim_step_group(sim, step);
        int r;

        if ((!steps[step->kind].run && !steps[step->kind].on_files) ||
            (steps[step->kind].value && str_empty(step->value)))
                return -EINVAL;
        r = check_place(d, g, step, ret);
        if (r != 0)
                return r;
        return steps[step->kind].run ? steps[step->kind].run(sim, d, g, step, ret)
                                     : steps[step->kind].on_files(g, step, files, ret);
}
