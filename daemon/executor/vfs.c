/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/vfs.h"

#include <limits.h>

#include "executor/check.h"
#include "executor/holders.h"
#include "executor/inspect.h"
#include "executor/rules.h"
#include "util/strings.h"

static int inspect_vf(const Sysfs *s, const char *device, const char *vf, Obstacles *obstacles) {
        _cleanup_free_ char *driver = NULL, *group = NULL, *holders = NULL;
        unsigned long long id;
        int r;

        r = device_driver(s, vf, &driver);
        if (r < 0 || !driver)
                return r;
        if (driver_is_vfio(driver)) {
                r = sysfs_link_namef(s, &group, "sys/bus/pci/devices/%s/iommu_group", vf);
                if (r >= 0)
                        r = parse_u64(group, 10, &id);
                if (r >= 0)
                        r = holders_describe(s, (unsigned)id, HOLDERS_OF_ANY, NULL, false, &holders);
                if (r < 0)
                        return r;
        }
        if (holders)
                return obstacles_add(obstacles, OBSTACLE_VF_OPEN, device,
                                     "its virtual function %s is open in %s: removing it would hang "
                                     "all hot plugging of PCI",
                                     vf, holders);
        return obstacles_add(obstacles, "vfs-in-use", device,
                             "its virtual function %s is bound to %s", vf, driver);
}

int vfs_inspect(const Sysfs *s, const char *device, Obstacles *obstacles, unsigned *ret_n) {
        _cleanup_(strv_freep) char **entries = NULL;
        unsigned n = 0;
        int r;

        r = sysfs_listf(s, &entries, "sys/bus/pci/devices/%s", device);
        if (r < 0)
                return r;
        for (char **e = entries; *e; e++) {
                _cleanup_free_ char *vf = NULL;

                if (!str_starts(*e, "virtfn"))
                        continue;
                n++;
                r = sysfs_link_namef(s, &vf, "sys/bus/pci/devices/%s/%s", device, *e);
                if (r >= 0)
                        r = inspect_vf(s, device, vf, obstacles);
                if (r < 0)
                        return r;
        }
        *ret_n = n;
        return 0;
}

/* How many VFs the step's device can have. */
static int read_total(Run *run, unsigned *ret) {
        const char *device = run->step->device;
        _cleanup_free_ char *text = NULL;
        unsigned long long total = 0;
        int r;

        r = sysfs_readf(&run->sysfs, &text, "sys/bus/pci/devices/%s/sriov_totalvfs", device);
        if (r < 0 && r != -ENOENT)
                return r;
        if (r == 0)
                r = parse_u64(text, 10, &total);
        if (total == 0 || total > UINT16_MAX)
                return answer_fail(&run->answer, ENOTTY, "%s has no virtual functions (SR-IOV)",
                                   device);
        *ret = (unsigned)total;
        return r;
}

static int parse_value(Run *run, unsigned max, unsigned *ret) {
        unsigned long long value;
        int r = parse_u64(run->step->value, 10, &value);

        if (r < 0 || value > max)
                return answer_fail(&run->answer, r < 0 ? EINVAL : ERANGE,
                                   "\"%.40s\" is no number from 0 to %u", run->step->value, max);
        *ret = (unsigned)value;
        return 0;
}

int step_set_vf_autoprobe(Run *run) {
        const char *device = run->step->device;
        unsigned total, wanted;
        int r;

        r = read_total(run, &total);
        if (r == 0)
                r = parse_value(run, 1, &wanted);
        if (r == 0)
                r = run_write(run, wanted ? "1" : "0",
                              "sys/bus/pci/devices/%s/sriov_drivers_autoprobe", device);
        if (r < 0)
                return r;
        r = sysfs_readf(&run->sysfs, &run->answer.value,
                        "sys/bus/pci/devices/%s/sriov_drivers_autoprobe", device);
        if (r < 0)
                return r;
        if (strcmp(run->answer.value, wanted ? "1" : "0") != 0)
                return answer_fail(&run->answer, EIO,
                                   "sriov_drivers_autoprobe of %s reads \"%s\" instead of %u",
                                   device, run->answer.value, wanted);
        return 0;
}

/* The kernel would wait for users of VFs that go, and hold a lock of all PCI meanwhile. */
static int check_number(Run *run, unsigned now, unsigned wanted) {
        const char *device = run->step->device;
        _cleanup_free_ char *driver = NULL;
        int r;

        if (run->answer.obstacles.n > 0)
                return answer_fail(&run->answer, EBUSY, "%s is in use: %s", device,
                                   run->answer.obstacles.items[0].text);
        if (now > 0 && wanted > 0)
                return answer_fail(&run->answer, EBUSY,
                                   "%s has %u virtual functions already, and the kernel makes %u "
                                   "only of none",
                                   device, now, wanted);
        r = device_driver(&run->sysfs, device, &driver);
        if (r < 0)
                return r;
        /* VFIO's would hand them all to whoever has the PF */
        if (!driver || driver_is_vfio(driver))
                return answer_fail(&run->answer, EPERM,
                                   "virtual functions are the business of the host's driver of %s, "
                                   "which has %s",
                                   device, driver ? driver : "none");
        return wanted > 0 ? rules_check_device(run, device) : 0;
}

int step_set_num_vfs(Run *run) {
        const char *device = run->step->device;
        _cleanup_free_ char *text = NULL;
        unsigned total, wanted, now;
        int r;

        r = read_total(run, &total);
        if (r == 0)
                r = parse_value(run, total, &wanted);
        if (r == 0)
                r = vfs_inspect(&run->sysfs, device, &run->answer.obstacles, &now);
        if (r < 0)
                return r;
        if (now != wanted) {
                r = check_number(run, now, wanted);
                text = str_format("%u", wanted);
                if (r == 0)
                        r = text ? run_write(run, text, "sys/bus/pci/devices/%s/sriov_numvfs",
                                             device)
                                 : -ENOMEM;
                if (r < 0)
                        return r;
        }
        obstacles_clear(&run->answer.obstacles);
        r = vfs_inspect(&run->sysfs, device, &run->answer.obstacles, &now);
        obstacles_clear(&run->answer.obstacles);
        if (r < 0)
                return r;
        if (now != wanted)
                return answer_fail(&run->answer, EIO, "%s has %u virtual functions instead of %u",
                                   device, now, wanted);
        run->answer.value = str_format("%u", now);
        return run->answer.value ? 0 : -ENOMEM;
}
