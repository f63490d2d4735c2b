/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/linux-facts.h"

#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "util/strings.h"

/* When modules.alias was changed; a missing file never was. */
static struct timespec aliases_changed(const FactsReader *f) {
        _cleanup_close_ int fd = modalias_open(&f->sysfs, f->release, "modules.alias", O_PATH);
        struct stat st;

        return fd >= 0 && fstat(fd, &st) >= 0 ? st.st_mtim : (struct timespec){};
}

static int load_aliases(FactsReader *f) {
        _cleanup_modalias_ Modalias m = MODALIAS_NULL;
        /* before reading: what changes meanwhile is then read again */
        struct timespec changed = aliases_changed(f);
        int r;

        r = modalias_load(&f->sysfs, f->release, "vfio_", &m);
        if (r < 0)
                return r;
        modalias_clear(&f->vfio);
        f->vfio = m;
        m = MODALIAS_NULL;
        f->vfio_changed = changed;
        return 0;
}

/* Before 6.4; nothing but the version tells. */
static bool release_is_strict(const char *release) {
        unsigned major = 0, minor = 0;

        return sscanf(release, "%u.%u", &major, &minor) == 2 &&
               (major < 6 || (major == 6 && minor < 4));
}

int facts_reader_init(FactsReader *f, const char *root, struct udev *udev) {
        struct utsname u;
        int r;

        r = sysfs_open(root, &f->sysfs);
        if (r < 0)
                return r;
        if (uname(&u) < 0)
                return -errno;
        r = str_set(&f->release, u.release);
        if (r < 0)
                return r;
        f->strict_type = release_is_strict(f->release);
        f->hwdb = udev_hwdb_new(udev);
        return load_aliases(f);
}

void facts_reader_clear(FactsReader *f) {
        modalias_clear(&f->vfio);
        free(f->release);
        sysfs_close(&f->sysfs);
        f->hwdb = udev_hwdb_unref(f->hwdb);
        *f = FACTS_READER_NULL;
}

/* A number that is cut to what fits would be that of something else. */
static int parse_number(const char *text, int base, unsigned max, unsigned *ret) {
        unsigned long long number;
        int r = parse_u64(text, base, &number);

        if (r < 0)
                return r;
        if (number > max)
                return -ERANGE;
        *ret = (unsigned)number;
        return 0;
}

static int read_hex(const Sysfs *s, const char *name, const char *file, unsigned max,
                    unsigned *ret) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = sysfs_readf(s, &text, "sys/bus/pci/devices/%s/%s", name, file);
        if (r < 0)
                return r;
        return parse_number(text, 16, max, ret);
}

/* A link that need not be there. */
static int read_link(const Sysfs *s, const char *name, const char *link, char **ret) {
        int r;

        r = sysfs_link_namef(s, ret, "sys/bus/pci/devices/%s/%s", name, link);
        return r == -ENOENT ? 0 : r;
}

static int read_group(const Sysfs *s, DeviceFacts *facts) {
        _cleanup_free_ char *group = NULL, *type = NULL;
        unsigned id;
        int r;

        r = read_link(s, facts->name, "iommu_group", &group);
        if (r < 0 || !group)
                return r;
        r = parse_number(group, 10, INT_MAX, &id);
        if (r < 0)
                return r;
        facts->group = (int)id;
        r = sysfs_readf(s, &type, "sys/kernel/iommu_groups/%s/type", group);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        /* what the kernel says of a group without a default domain */
        if (!str_eq(type, "unknown"))
                facts->default_domain_type = TAKE_PTR(type);
        return 0;
}

static int count_vfs(const Sysfs *s, DeviceFacts *facts) {
        _cleanup_(strv_freep) char **files = NULL;
        int r;

        r = sysfs_listf(s, &files, "sys/bus/pci/devices/%s", facts->name);
        if (r < 0)
                return r;
        for (char **i = files; i && *i; i++)
                if (str_starts(*i, "virtfn"))
                        facts->num_vfs++;
        return 0;
}

/* Neither file is there without SR-IOV. */
static int read_sriov(const Sysfs *s, DeviceFacts *facts) {
        _cleanup_free_ char *total = NULL, *autoprobe = NULL;
        unsigned n = 0, model = 0;
        int r;

        r = sysfs_readf(s, &total, "sys/bus/pci/devices/%s/sriov_totalvfs", facts->name);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        r = sysfs_readf(s, &autoprobe, "sys/bus/pci/devices/%s/sriov_drivers_autoprobe",
                        facts->name);
        if (r == 0)
                r = read_hex(s, facts->name, "sriov_vf_device", UINT16_MAX, &model);
        if (r == 0)
                r = parse_number(total, 10, UINT16_MAX, &n);
        if (r < 0)
                return r;
        facts->total_vfs = n;
        facts->vf_model = (uint16_t)model;
        facts->vf_autoprobe = str_eq(autoprobe, "1");
        return n > 0 ? count_vfs(s, facts) : 0;
}

/* By modules.alias, which is read again if modules were installed since. */
static int find_vfio_module(FactsReader *f, const char *modalias, const char **ret) {
        struct timespec changed;
        int r;

        *ret = modalias_best_vfio(&f->vfio, modalias);
        if (*ret)
                return 0;
        changed = aliases_changed(f);
        if (changed.tv_sec == f->vfio_changed.tv_sec && changed.tv_nsec == f->vfio_changed.tv_nsec)
                return 0;
        r = load_aliases(f);
        if (r < 0)
                return r;
        *ret = modalias_best_vfio(&f->vfio, modalias);
        return 0;
}

static int find_vfio_driver(FactsReader *f, const char *modalias, DeviceFacts *facts) {
        const char *module;
        int r;

        r = find_vfio_module(f, modalias, &module);
        if (r < 0)
                return r;
        if (module) {
                r = str_set(&facts->vfio_module, module);
                if (r < 0)
                        return r;
                return modalias_driver_of(&f->sysfs, module, "pci", &facts->vfio_driver);
        }
        /* one that is part of the kernel stands in no table; it takes any device */
        r = sysfs_exists(&f->sysfs, "sys/bus/pci/drivers/vfio-pci");
        if (r <= 0)
                return r;
        return str_set(&facts->vfio_driver, "vfio-pci");
}

static bool is_same_model(const DeviceFacts *a, const DeviceFacts *b) {
        return a->vendor == b->vendor && a->model == b->model && a->class_code == b->class_code;
}

/* The database takes longer than all the rest, and a device keeps its names. */
static int find_names(struct udev_hwdb *hwdb, const char *modalias, const DeviceFacts *before,
                      DeviceFacts *facts) {
        struct udev_list_entry *entry;
        int r = 0;

        if (before && is_same_model(before, facts)) {
                r = str_set(&facts->vendor_name, before->vendor_name);
                return r < 0 ? r : str_set(&facts->model_name, before->model_name);
        }
        if (!hwdb)
                return 0;
        udev_list_entry_foreach(entry, udev_hwdb_get_properties_list_entry(hwdb, modalias, 0)) {
                const char *key = udev_list_entry_get_name(entry);

                if (str_eq(key, "ID_VENDOR_FROM_DATABASE"))
                        r = str_set(&facts->vendor_name, udev_list_entry_get_value(entry));
                else if (str_eq(key, "ID_MODEL_FROM_DATABASE"))
                        r = str_set(&facts->model_name, udev_list_entry_get_value(entry));
                if (r < 0)
                        return r;
        }
        return 0;
}

/* There is a file for it if there is a method. */
static int read_resets(const Sysfs *s, DeviceFacts *facts) {
        int r = sysfs_readf(s, &facts->reset_methods, "sys/bus/pci/devices/%s/reset_method",
                            facts->name);

        return r == -ENOENT ? str_set(&facts->reset_methods, "") : r;
}

/* PCI-to-PCI, CardBus and semi-transparent bridges: those whose header is not an endpoint's. */
static bool class_is_bridge(uint32_t class_code) {
        uint32_t subclass = class_code >> 8;

        return subclass == 0x0604 || subclass == 0x0607 || subclass == 0x0609;
}

static int read_all(FactsReader *f, const DeviceFacts *before, DeviceFacts *facts) {
        _cleanup_free_ char *modalias = NULL, *numa = NULL;
        unsigned vendor, model, class_code, node;
        const Sysfs *s = &f->sysfs;
        const char *name = facts->name;
        int r;

        if ((r = read_hex(s, name, "vendor", UINT16_MAX, &vendor)) < 0 ||
            (r = read_hex(s, name, "device", UINT16_MAX, &model)) < 0 ||
            (r = read_hex(s, name, "class", 0xffffff, &class_code)) < 0 ||
            (r = sysfs_readf(s, &modalias, "sys/bus/pci/devices/%s/modalias", name)) < 0 ||
            (r = read_link(s, name, "driver", &facts->driver)) < 0 ||
            (r = read_link(s, name, "physfn", &facts->physfn)) < 0 ||
            (r = read_group(s, facts)) < 0 || (r = read_resets(s, facts)) < 0 ||
            (r = read_sriov(s, facts)) < 0)
                return r;
        facts->vendor = (uint16_t)vendor;
        facts->model = (uint16_t)model;
        facts->class_code = class_code;
        facts->bridge = class_is_bridge(facts->class_code);
        facts->strict_type = f->strict_type;
        /* without NUMA the file is missing or says -1 */
        if (sysfs_readf(s, &numa, "sys/bus/pci/devices/%s/numa_node", name) >= 0 &&
            parse_number(numa, 10, INT_MAX, &node) >= 0)
                facts->numa_node = (int)node;
        r = find_names(f->hwdb, modalias, before, facts);
        if (r < 0)
                return r;
        return find_vfio_driver(f, modalias, facts);
}

int facts_reader_read(FactsReader *f, const char *name, const DeviceFacts *before,
                      DeviceFacts *ret) {
        _cleanup_device_facts_ DeviceFacts facts = DEVICE_FACTS_NULL;
        int r;

        if (str_set(&facts.name, name) < 0 || str_set(&facts.bus, "pci") < 0)
                return -ENOMEM;
        r = read_all(f, before, &facts);
        /* a device that goes while it is read */
        if (r == -ENOENT || r == -ENXIO)
                return -ENODEV;
        if (r < 0)
                return r;
        *ret = facts;
        facts = DEVICE_FACTS_NULL;
        return 0;
}

bool facts_reader_is_stale(FactsReader *f, const DeviceFacts *known) {
        _cleanup_device_facts_ DeviceFacts now = DEVICE_FACTS_NULL;
        const Sysfs *s = &f->sysfs;

        if (str_set(&now.name, known->name) < 0 ||
            read_link(s, now.name, "driver", &now.driver) < 0 || read_group(s, &now) < 0 ||
            (known->total_vfs > 0 && count_vfs(s, &now) < 0))
                return true;
        return !str_eq(now.driver, known->driver) || now.group != known->group ||
               !str_eq(now.default_domain_type, known->default_domain_type) ||
               now.num_vfs != known->num_vfs;
}
