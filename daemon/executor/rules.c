/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/rules.h"

#include "executor/check.h"
#include "util/strings.h"

static int read_number(const Sysfs *s, const char *device, const char *file, int base,
                       unsigned long long *ret) {
        _cleanup_free_ char *text = NULL;
        int r = sysfs_readf(s, &text, "sys/bus/pci/devices/%s/%s", device, file);

        return r < 0 ? r : parse_u64(text, base, ret);
}

/* The driver that the host had, if VFIO has the device now. */
static int read_driver(Run *run, DeviceFacts *f) {
        int r = device_driver(&run->sysfs, f->name, &f->driver);

        if (r < 0 || !driver_is_vfio(f->driver))
                return r;
        return check_former_driver(run, f->name, &f->driver);
}

/* What rules match by. */
static int read_facts(Run *run, const char *device, DeviceFacts *f) {
        unsigned long long vendor, model, class_code, node;
        const Sysfs *s = &run->sysfs;
        int r;

        if ((r = str_set(&f->name, device)) < 0 ||
            (r = read_number(s, device, "vendor", 16, &vendor)) < 0 ||
            (r = read_number(s, device, "device", 16, &model)) < 0 ||
            (r = read_number(s, device, "class", 16, &class_code)) < 0 ||
            (r = read_driver(run, f)) < 0)
                return r;
        f->vendor = (uint16_t)vendor;
        f->model = (uint16_t)model;
        f->class_code = class_code & 0xffffff;
        /* without NUMA the file is missing or says -1, which is no such number */
        if (read_number(s, device, "numa_node", 10, &node) >= 0)
                f->numa_node = (int)node;
        r = sysfs_link_namef(s, &f->physfn, "sys/bus/pci/devices/%s/physfn", device);
        return r == -ENOENT ? 0 : r;
}

/* A group whose members have nothing but names: "with" asks for no more. */
static int read_group(Run *run, char ***ret_names, Device **ret_members) {
        _cleanup_(strv_freep) char **names = NULL;
        Device *members;
        int r;

        r = sysfs_listf(&run->sysfs, &names, "sys/kernel/iommu_groups/%u/devices", run->step->group);
        if (r < 0)
                return r;
        members = calloc(strv_length(names) + 1, sizeof(Device));
        if (!members)
                return -ENOMEM;
        for (size_t i = 0; names && names[i]; i++) {
                members[i].facts.name = names[i];
                members[i].next = names[i + 1] ? &members[i + 1] : NULL;
        }
        *ret_names = TAKE_PTR(names);
        *ret_members = members;
        return 0;
}

int rules_of_device(Run *run, const char *device, DevicePolicy *ret) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_free_ Device *members = NULL;
        Device d = { .facts = DEVICE_FACTS_NULL };
        Group g = {};
        int r;

        if (run->policy->closed)
                return answer_fail(&run->answer, EPERM, "the policy cannot be used: %s",
                                   run->policy->closed);
        if (run->policy->n == 0) { /* nothing to match */
                *ret = policy_for_device(NULL, &d);
                return 0;
        }
        r = read_group(run, &names, &members);
        if (r == 0)
                r = read_facts(run, device, &d.facts);
        if (r == 0) {
                g.devices = members;
                d.group = &g;
                *ret = policy_for_device(run->policy, &d);
        }
        device_facts_clear(&d.facts);
        return r;
}

int rules_check_device(Run *run, const char *device) {
        DevicePolicy said;
        int r = rules_of_device(run, device, &said);

        if (r < 0 || !said.protect)
                return r;
        return answer_fail(&run->answer, EPERM, "%s is protected: the rule at %s says so", device,
                           said.protect->origin);
}

/* What was taken has to be given back, whatever the rules have come to say since. On a driver of the
 * kernel it has been. 1, 0 or negative errno */
static int is_taken(Run *run, const char *device) {
        _cleanup_free_ char *driver = NULL;
        int r;

        if (!device_name_is_pci(device))
                return 1;
        r = device_driver(&run->sysfs, device, &driver);
        if (r < 0 || (driver && !driver_is_vfio(driver)))
                return r;
        return check_was_taken(run, device);
}

int rules_check_group(Run *run) {
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        r = sysfs_listf(&run->sysfs, &names, "sys/kernel/iommu_groups/%u/devices", run->step->group);
        if (r == -ENOENT)
                return 0; /* there is no such group: the step itself says so */
        for (char **name = names; r == 0 && name && *name; name++) {
                int taken = is_taken(run, *name);

                r = taken == 0 ? rules_check_device(run, *name) : taken < 0 ? taken : 0;
        }
        return r;
}

int rules_list_driver(Run *run, const char *device, const char *driver) {
        DevicePolicy said;
        int r = rules_of_device(run, device, &said);

        return r < 0 ? r : said.drivers && strv_contains(said.drivers, driver);
}
