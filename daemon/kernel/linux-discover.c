/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define HASH_NONFATAL_OOM 1 /* a lack of memory leaves hh.tbl NULL instead of ending the process */

#include "kernel/linux-discover.h"

#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <time.h>
#include <uthash.h>

#include "kernel/alarm.h"
#include "kernel/linux-facts.h"
#include "kernel/linux-override.h"
#include "shared/driver-table.h"
#include "shared/vfio-place.h"
#include "util/strings.h"

/* Room for the events of a few thousand VFs at once; as much of it as the host allows is had. */
#define RECEIVE_BUFFER (16 * 1024 * 1024)
#define CATCH_UP_USEC  1000000U

typedef struct KnownDevice {
        char *name;
        DeviceFacts facts;
        bool told; /* device_seen was called */
        UT_hash_handle hh;
} KnownDevice;

/* A node of VFIO. The same name stands for one binding after the other, and what udev's database
 * says of the old one stays there for a moment. */
typedef struct Node {
        char *path;           /* below sys/class: "vfio/12", "vfio-dev/vfio3" */
        uint64_t initialized; /* CLOCK_MONOTONIC; 0: not known to be */
        uint64_t gone;        /* when it was last seen to be away after a step of ours */
        UT_hash_handle hh;
} Node;

struct Discovery {
        sd_event *event;
        const KernelEvents *events;
        void (*node)(void *userdata);
        void *userdata;
        struct udev *udev;
        struct udev_monitor *monitor;
        sd_event_source *io;
        sd_event_source *again;
        int shortage; /* errno: what happened could not all be read, for want of memory or files */
        FactsReader facts;
        OverrideReader *overrides;
        KnownDevice *devices;
        Node *nodes;
};

static uint64_t now_monotonic(void) {
        struct timespec t = {};

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000U + (uint64_t)t.tv_nsec / 1000U;
}

static KnownDevice *find_device(const Discovery *d, const char *name) {
        KnownDevice *device;

        HASH_FIND_STR(d->devices, name, device);
        return device;
}

/* What cannot be read for another reason is not known; the next event of it tries again. */
static bool is_shortage(int error) {
        return error == -ENOMEM || error == -EMFILE || error == -ENFILE;
}

/* No event will tell of it. */
static void read_again(Discovery *d, int shortage) {
        d->shortage = shortage;
        alarm_set_relative(d->again, CATCH_UP_USEC);
}

static void tell(Discovery *d, KnownDevice *device) {
        device->told = true;
        d->events->device_seen(&device->facts, d->events->userdata);
}

static KnownDevice *device_free(KnownDevice *device) {
        if (!device)
                return NULL;
        device_facts_clear(&device->facts);
        free(device->name);
        free(device);
        return NULL;
}
DEFINE_CLEANUP(KnownDevice *, device_free);

static void forget_device(Discovery *d, KnownDevice *device) {
        HASH_DEL(d->devices, device);
        if (device->told)
                d->events->device_gone(device->name, d->events->userdata);
        (void)device_free(device);
}

/* The last step of making a new device known: it is told once its override is read. */
static void on_override(const char *name, int error, const char *value, void *userdata) {
        Discovery *d = userdata;
        KnownDevice *device = find_device(d, name);
        bool changed;

        if (!device)
                return;
        if (str_empty(value) || str_eq(value, "(null)"))
                value = NULL;
        changed = error >= 0 && !str_eq(device->facts.driver_override, value);
        if (is_shortage(error) || (changed && str_set(&device->facts.driver_override, value) < 0)) {
                read_again(d, is_shortage(error) ? error : -ENOMEM);
                return;
        }
        if (changed || !device->told)
                tell(d, device);
}

static int add_device(Discovery *d, const char *name, KnownDevice **ret) {
        _cleanup_(device_freep) KnownDevice *device = NULL;

        device = calloc(1, sizeof(*device));
        if (!device)
                return -ENOMEM;
        device->facts = DEVICE_FACTS_NULL;
        if (str_set(&device->name, name) < 0)
                return -ENOMEM;
        HASH_ADD_KEYPTR(hh, d->devices, device->name, strlen(device->name), device);
        if (!device->hh.tbl)
                return -ENOMEM;
        *ret = TAKE_PTR(device);
        return 0;
}

/* Reads a device again, but for its override, and tells it if anything changed. */
static int read_facts(Discovery *d, const char *name) {
        _cleanup_device_facts_ DeviceFacts facts = DEVICE_FACTS_NULL;
        KnownDevice *device = find_device(d, name);
        bool changed;
        int r;

        r = facts_reader_read(&d->facts, name, device ? &device->facts : NULL, &facts);
        if (r == -ENODEV && device)
                forget_device(d, device);
        if (r < 0)
                return r;
        if (!device) {
                r = add_device(d, name, &device);
                if (r < 0)
                        return r;
        }
        r = str_set(&facts.driver_override, device->facts.driver_override);
        if (r < 0)
                return r;
        changed = device->told && !device_facts_equal(&device->facts, &facts);
        device_facts_clear(&device->facts);
        device->facts = facts;
        facts = DEVICE_FACTS_NULL;
        if (changed)
                tell(d, device);
        return 0;
}

/* The same with the override, which is told later. */
static void read_device(Discovery *d, const char *name) {
        int r;

        r = read_facts(d, name);
        if (r == 0)
                r = override_reader_ask(d->overrides, name);
        if (is_shortage(r))
                read_again(d, r);
}

/* All devices anew: at the start, and after events were lost. */
static int read_devices(Discovery *d) {
        _cleanup_(strv_freep) char **names = NULL;
        KnownDevice *device, *next;
        int r;

        r = sysfs_list(&d->facts.sysfs, "sys/bus/pci/devices", &names);
        if (r < 0 && r != -ENOENT) /* a host without PCI */
                return r;
        HASH_ITER(hh, d->devices, device, next) {
                if (!strv_contains(names, device->name))
                        forget_device(d, device);
        }
        for (char **i = names; i && *i; i++)
                read_device(d, *i);
        return 0;
}

static void tell_use_changed(Discovery *d, const char *name) {
        KnownDevice *device = find_device(d, name);

        if (device && device->told)
                d->events->device_use_changed(device->name, d->events->userdata);
}

/* With native multipath a namespace hangs below a subsystem, not below a device: all controllers
 * of the subsystem are concerned. */
static void use_of_subsystem_changed(Discovery *d, const char *subsystem) {
        _cleanup_(strv_freep) char **entries = NULL;

        if (sysfs_listf(&d->facts.sysfs, &entries, "sys/devices/virtual/nvme-subsystem/%s",
                        subsystem) < 0)
                return;
        for (char **i = entries; *i; i++) {
                _cleanup_free_ char *device = NULL;

                if (sysfs_link_namef(&d->facts.sysfs, &device, "sys/class/nvme/%s/device", *i) >= 0)
                        tell_use_changed(d, device);
        }
}

/* Something below a device changed: the device is the last one on the path. */
static void use_changed(Discovery *d, const char *path) {
        _cleanup_free_ char *rest = strdup(path);
        char *part;

        if (!rest) {
                read_again(d, -ENOMEM);
                return;
        }
        while ((part = strrchr(rest, '/'))) {
                if (find_device(d, part + 1)) {
                        tell_use_changed(d, part + 1);
                        return;
                }
                *part = '\0';
                if (rest[0] != '\0' && str_eq(strrchr(rest, '/'), "/nvme-subsystem")) {
                        use_of_subsystem_changed(d, part + 1);
                        return;
                }
        }
}

static Node *node_free(Node *node) {
        free(node->path);
        free(node);
        return NULL;
}
DEFINE_CLEANUP(Node *, node_free);

static Node *find_node(Discovery *d, const char *subsystem, const char *name) {
        _cleanup_free_ char *path = str_format("%s/%s", subsystem, name);
        _cleanup_(node_freep) Node *added = NULL;
        Node *node = NULL;

        if (!path)
                return NULL;
        HASH_FIND_STR(d->nodes, path, node);
        if (node)
                return node;
        added = calloc(1, sizeof(*added));
        if (!added)
                return NULL;
        added->path = TAKE_PTR(path);
        HASH_ADD_KEYPTR(hh, d->nodes, added->path, strlen(added->path), added);
        return added->hh.tbl ? TAKE_PTR(added) : NULL;
}

/* To those who gave somebody a right on it. */
static void tell_node_changed(Discovery *d, const Node *node) {
        _cleanup_free_ char *link = NULL;
        const char *name = strchr(node->path, '/') + 1;
        unsigned long long group;

        if (str_starts(node->path, "vfio-dev/")) {
                if (sysfs_link_namef(&d->facts.sysfs, &link, "sys/class/%s/device/iommu_group",
                                     node->path) < 0)
                        return; /* gone, and its right with it */
                name = link;
        }
        /* there is also "noiommu-0" */
        if (parse_u64(name, 10, &group) == 0 && group <= INT_MAX)
                d->events->node_changed((unsigned)group, d->events->userdata);
}

static void node_event(Discovery *d, const DeviceEvent *e) {
        Node *node = find_node(d, e->subsystem, e->name);

        if (!node) {
                read_again(d, -ENOMEM);
                return;
        }
        node->initialized = str_eq(e->action, "remove") ? 0 : e->initialized;
        d->node(d->userdata);
        if (str_eq(e->action, "change"))
                tell_node_changed(d, node);
}

/* Of VFs that go nothing is told with their PF. */
static void device_removed(Discovery *d, const char *name) {
        KnownDevice *device = find_device(d, name);
        _cleanup_free_ char *physfn = NULL;

        if (!device)
                return;
        physfn = TAKE_PTR(device->facts.physfn);
        forget_device(d, device);
        if (physfn && find_device(d, physfn))
                read_device(d, physfn);
}

void discovery_event(Discovery *d, const DeviceEvent *e) {
        if (str_eq(e->subsystem, "vfio") || str_eq(e->subsystem, "vfio-dev")) {
                node_event(d, e);
        } else if (!str_eq(e->subsystem, "pci")) {
                use_changed(d, e->path);
        } else if (str_eq(e->action, "remove")) {
                device_removed(d, e->name);
        } else {
                read_device(d, e->name);
        }
}

/* Events were lost: everything may have changed. */
static int catch_up(Discovery *d) {
        KnownDevice *device, *next;
        Node *node, *next_node;
        int r;

        r = read_devices(d);
        if (r < 0)
                return r;
        HASH_ITER(hh, d->devices, device, next) {
                tell_use_changed(d, device->name);
        }
        HASH_ITER(hh, d->nodes, node, next_node) {
                node->initialized = 0;
                tell_node_changed(d, node);
        }
        d->node(d->userdata);
        return 0;
}

/* What could not be read now is read a moment later. */
static void catch_up_for_sure(Discovery *d) {
        int r;

        alarm_stop(d->again);
        d->shortage = 0;
        r = catch_up(d);
        if (r < 0)
                read_again(d, r);
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata) {
        catch_up_for_sure(userdata);
        return 0;
}

static uint64_t initialized_usec(struct udev_device *device) {
        uint64_t since = udev_device_get_usec_since_initialized(device);

        return since > 0 ? now_monotonic() - since : 0;
}

static int on_monitor(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Discovery *d = userdata;
        struct udev_device *device;

        device = udev_monitor_receive_device(d->monitor);
        if (!device) {
                if (errno == ENOBUFS)
                        catch_up_for_sure(d);
                return 0;
        }
        discovery_event(d, &(DeviceEvent){
                                   .action = udev_device_get_action(device),
                                   .subsystem = udev_device_get_subsystem(device),
                                   .name = udev_device_get_sysname(device),
                                   .path = udev_device_get_syspath(device),
                                   .initialized = initialized_usec(device),
                           });
        (void)udev_device_unref(device);
        return 0;
}

static int watch(Discovery *d) {
        static const char *const subsystems[] = { "pci", "net", "block", "vfio", "vfio-dev" };
        int r;

        d->monitor = udev_monitor_new_from_netlink(d->udev, "udev");
        if (!d->monitor)
                return errno > 0 ? -errno : -ENOMEM;
        for (size_t i = 0; i < sizeof(subsystems) / sizeof(subsystems[0]); i++) {
                r = udev_monitor_filter_add_match_subsystem_devtype(d->monitor, subsystems[i], NULL);
                if (r < 0)
                        return r;
        }
        /* fails without CAP_NET_ADMIN once it has set what is allowed without */
        (void)udev_monitor_set_receive_buffer_size(d->monitor, RECEIVE_BUFFER);
        r = udev_monitor_enable_receiving(d->monitor);
        if (r < 0)
                return r;
        return sd_event_add_io(d->event, &d->io, udev_monitor_get_fd(d->monitor), EPOLLIN,
                               on_monitor, d);
}

int discovery_new(sd_event *event, const char *root, const KernelEvents *events,
                  void (*node)(void *userdata), void *userdata, Discovery **ret) {
        _cleanup_(discovery_freep) Discovery *d = NULL;
        int r;

        d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        *d = (Discovery){
                .event = sd_event_ref(event),
                .events = events,
                .node = node,
                .userdata = userdata,
                .facts = FACTS_READER_NULL,
        };
        d->udev = udev_new();
        if (!d->udev)
                return -ENOMEM;
        r = facts_reader_init(&d->facts, root, d->udev);
        if (r < 0)
                return r;
        r = override_reader_new(event, &d->facts.sysfs, on_override, d, &d->overrides);
        if (r == 0)
                r = alarm_new(event, on_again, d, &d->again);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(d);
        return 0;
}

Discovery *discovery_free(Discovery *d) {
        KnownDevice *device, *next;
        Node *node, *next_node;

        if (!d)
                return NULL;
        (void)sd_event_source_disable_unref(d->io);
        (void)sd_event_source_disable_unref(d->again);
        (void)udev_monitor_unref(d->monitor);
        (void)override_reader_free(d->overrides);
        HASH_ITER(hh, d->devices, device, next) {
                HASH_DEL(d->devices, device);
                (void)device_free(device);
        }
        HASH_ITER(hh, d->nodes, node, next_node) {
                HASH_DEL(d->nodes, node);
                (void)node_free(node);
        }
        facts_reader_clear(&d->facts);
        (void)udev_unref(d->udev);
        (void)sd_event_unref(d->event);
        free(d);
        return NULL;
}

int discovery_start(Discovery *d) {
        int r;

        /* first, so that nothing falls between reading and watching */
        r = watch(d);
        if (r < 0)
                return r;
        r = read_devices(d);
        if (r < 0)
                return r;
        r = override_reader_drain(d->overrides);
        /* a device that is left out counts as unplugged, and what is owed to it as settled */
        return r < 0 ? r : d->shortage;
}

/* By sysfs, which knows the nodes that the kernel made also where /dev is a private one. */
static int node_exists(Discovery *d, const char *path) {
        return sysfs_existsf(&d->facts.sysfs, "sys/class/%s", path);
}

/* After an unbind: the group's own node may be among those that no event told of yet. */
static void note_nodes_gone(Discovery *d, unsigned group) {
        Node *node, *next;
        char name[16];

        (void)snprintf(name, sizeof(name), "%u", group);
        (void)find_node(d, "vfio", name);
        HASH_ITER(hh, d->nodes, node, next) {
                if (node_exists(d, node->path) == 0)
                        node->gone = now_monotonic();
        }
}

static bool step_concerns(const Step *step, const DeviceFacts *facts) {
        if (step->kind == STEP_LOAD_MODULE)
                return str_eq(facts->vfio_module, step->value);
        if (step->device)
                return str_eq(facts->name, step->device);
        return facts->group >= 0 && (unsigned)facts->group == step->group;
}

void discovery_after_step(Discovery *d, const Step *step, bool succeeded, const char *override) {
        KnownDevice *device, *next;

        if (step->kind == STEP_UNBIND)
                note_nodes_gone(d, step->group);
        HASH_ITER(hh, d->devices, device, next) {
                if (!step_concerns(step, &device->facts))
                        continue;
                if ((step->kind == STEP_SET_OVERRIDE || step->kind == STEP_INSPECT) && succeeded)
                        on_override(device->name, 0, override, d);
                read_device(d, device->name);
        }
}

/* Often, and of many devices: so no more than has to be. */
void discovery_look(Discovery *d, const char *device) {
        const KnownDevice *known = find_device(d, device);

        if (!known)
                return;
        if (facts_reader_is_stale(&d->facts, &known->facts))
                read_device(d, device);
        else
                (void)override_reader_ask(d->overrides, device);
}

void discovery_tell_again(Discovery *d) {
        KnownDevice *device, *next;

        HASH_ITER(hh, d->devices, device, next) {
                if (device->told)
                        tell(d, device);
        }
}

int discovery_is_file(Discovery *d, unsigned group, FileRole role, const char *device, int fd) {
        _cleanup_vfio_place_ VfioPlace place = {};
        _cleanup_free_ char *number = NULL;
        int r;

        r = vfio_place_find(&d->facts.sysfs, group, role, device, &place);
        if (r == 0)
                r = vfio_place_matches(&d->facts.sysfs, &place, fd, &number);
        return r == -ENOENT ? 0 : r;
}

int discovery_find_driver(Discovery *d, const char *device, const char *driver, DriverWish *ret) {
        return driver_table_find(&d->facts.sysfs, d->facts.release, device, driver, ret);
}

static bool udev_is_idle(Discovery *d) {
        struct udev_queue *queue = udev_queue_new(d->udev);
        bool idle = queue && udev_queue_get_queue_is_empty(queue);

        (void)udev_queue_unref(queue);
        return idle;
}

/* What udev's database says, for who was not there at the event. It does not keep the time of a node of which there
 * is nothing else to say: that it knows the node may then be about one of the same name, which has gone, as long
 * as udev has something to do. */
static uint64_t read_initialized(Discovery *d, const Node *node, const char *subsystem,
                                 const char *name) {
        struct udev_device *device = udev_device_new_from_subsystem_sysname(d->udev, subsystem,
                                                                            name);
        uint64_t since;

        if (!device)
                return 0;
        since = initialized_usec(device);
        if (since == 0 && udev_device_get_is_initialized(device) > 0 &&
            (node->gone == 0 || udev_is_idle(d)))
                since = now_monotonic();
        (void)udev_device_unref(device);
        return since;
}

static int node_is_ready(Discovery *d, const char *subsystem, const char *name) {
        Node *node = find_node(d, subsystem, name);
        int r;

        if (!node)
                return -ENOMEM;
        r = node_exists(d, node->path);
        if (r <= 0)
                return r;
        if (node->initialized <= node->gone)
                node->initialized = read_initialized(d, node, subsystem, name);
        return node->initialized > node->gone;
}

/* Kernels that make no node for a single device have its folder, but without a number. */
static int device_node_is_ready(Discovery *d, const char *device) {
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        r = sysfs_listf(&d->facts.sysfs, &names, "sys/bus/pci/devices/%s/vfio-dev", device);
        if (r < 0)
                return r == -ENOENT ? 1 : r;
        if (!names || !*names)
                return 1;
        r = sysfs_existsf(&d->facts.sysfs, "sys/bus/pci/devices/%s/vfio-dev/%s/dev", device, *names);
        if (r < 0)
                return r;
        return r > 0 ? node_is_ready(d, "vfio-dev", *names) : 1;
}

int discovery_nodes_ready(Discovery *d, unsigned group) {
        KnownDevice *device, *next;
        char name[16];
        int r;

        (void)snprintf(name, sizeof(name), "%u", group);
        r = node_is_ready(d, "vfio", name);
        HASH_ITER(hh, d->devices, device, next) {
                if (r > 0 && device->facts.group >= 0 && (unsigned)device->facts.group == group)
                        r = device_node_is_ready(d, device->name);
        }
        return r;
}
