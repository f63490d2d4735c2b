/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/steps.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "core/device.h"
#include "executor/check.h"
#include "executor/group.h"
#include "executor/holders.h"
#include "executor/inspect.h"
#include "executor/rules.h"
#include "shared/driver-table.h"
#include "shared/modalias.h"
#include "util/strings.h"

/* The driver now, into the answer; 0 if it is the wanted one (NULL: none). */
static int verify_driver(Run *run, const char *wanted) {
        _cleanup_free_ char *driver = NULL;
        int r;

        r = device_driver(&run->sysfs, run->step->device, &driver);
        if (r < 0)
                return r;
        if (!str_eq(driver, wanted))
                return answer_fail(&run->answer, ENODEV, "%s is %s%s instead of %s%s",
                                   run->step->device, driver ? "bound to " : "unbound",
                                   driver ? driver : "", wanted ? "bound to " : "unbound",
                                   wanted ? wanted : "");
        run->answer.value = TAKE_PTR(driver);
        return 0;
}

/* An override goes on the way back. From a device that was not taken it goes like a driver, and what is
 * protected does not come to be one that was taken. */
static int check_clear(Run *run, const char *before) {
        int r = before ? check_was_taken(run, run->step->device) : 1;

        if (r != 0 || str_eq(before, "vfio-pci"))
                return r < 0 ? r : 0;
        return rules_check_device(run, run->step->device);
}

int step_set_override(Run *run) {
        const char *device = run->step->device, *wanted = run->step->value;
        _cleanup_free_ char *before = NULL, *after = NULL;
        int r;

        r = device_override(&run->sysfs, device, &before);
        if (r < 0)
                return r;
        /* "none" is no driver: it keeps a device without one */
        if (str_empty(wanted))
                r = check_clear(run, before);
        else
                r = strcmp(wanted, "none") == 0 ? rules_check_device(run, device)
                                                : check_driver(run);
        /* where nothing is changed nothing is taken */
        if (r == 0 && !str_eq(before, wanted))
                r = check_remember_host(run);
        if (r < 0)
                return r;
        if (!str_eq(before, wanted)) {
                r = run_write(run, str_empty(wanted) ? "\n" : wanted,
                              "sys/bus/pci/devices/%s/driver_override", device);
                if (r < 0)
                        return r;
        }
        r = device_override(&run->sysfs, device, &after);
        if (r < 0)
                return r;
        if (!str_eq(after, wanted))
                return answer_fail(&run->answer, EIO,
                                   "driver_override of %s reads \"%s\" instead of \"%s\"", device,
                                   after ? after : "", wanted ? wanted : "");
        run->answer.value = TAKE_PTR(after);
        return 0;
}

static bool has_obstacle(const Obstacles *o, const char *code) {
        for (size_t i = 0; i < o->n; i++)
                if (strcmp(o->items[i].code, code) == 0)
                        return true;
        return false;
}

int step_unbind(Run *run) {
        const char *device = run->step->device, *driver = run->step->value;
        _cleanup_free_ char *now = NULL;
        _cleanup_disks_ Disks disks = DISKS_NULL;
        int r;

        r = device_driver(&run->sysfs, device, &now);
        if (r < 0 || !now)
                return r; /* without a driver it is what it shall be */
        if (!str_eq(now, driver))
                return answer_fail(&run->answer, ESTALE, "%s is bound to %s, not to %s", device,
                                   now, driver);
        r = driver_is_vfio(now) ? group_check_unbind(run) : rules_check_device(run, device);
        if (r < 0)
                return r;
        r = inspect_device(run, &run->answer.obstacles, &disks);
        if (r < 0)
                return r;
        if (run->answer.obstacles.n > 0 &&
            (!run->step->force || has_obstacle(&run->answer.obstacles, OBSTACLE_VF_OPEN) ||
             has_obstacle(&run->answer.obstacles, OBSTACLE_VDPA_OPEN)))
                return answer_fail(&run->answer, EBUSY, "%s is in use: %s", device,
                                   run->answer.obstacles.items[0].text);
        r = check_remember_host(run);
        if (r < 0)
                return r;
        r = run_check_permit(run);
        if (r < 0)
                return r;
        /* the write waits for every opener, us too */
        disks_close(&disks);
        r = run_write(run, device, "sys/bus/pci/drivers/%s/unbind", driver);
        if (r < 0)
                return r;
        return verify_driver(run, NULL);
}

/* Why the kernel said EBUSY to a bind: who owns the group's DMA. */
static int explain_busy(Run *run) {
        _cleanup_free_ char *siblings = NULL, *holders = NULL;
        int r;

        r = group_describe_drivers(run, run->step->device, false, &siblings);
        if (r < 0)
                return r;
        r = holders_describe(&run->sysfs, run->step->group, HOLDERS_OF_ANY, NULL, false, &holders);
        if (r < 0)
                return r;
        return answer_fail(&run->answer, EBUSY,
                           "the kernel refuses to bind %s to %s: the DMA of IOMMU group %u is owned "
                           "by somebody else (%s%s%s)",
                           run->step->device, run->step->value, run->step->group,
                           siblings ? siblings : "no other device has a driver",
                           holders ? "; open in " : "", holders ? holders : "");
}

int step_bind(Run *run) {
        const char *device = run->step->device, *driver = run->step->value;
        _cleanup_free_ char *now = NULL;
        int r;

        r = check_driver(run);
        if (r < 0)
                return r;
        r = sysfs_existsf(&run->sysfs, "sys/bus/pci/drivers/%s", driver);
        if (r < 0)
                return r;
        if (r == 0)
                return answer_fail(&run->answer, ENOENT,
                                   "the driver %s is not there: is its module loaded?", driver);
        r = device_driver(&run->sysfs, device, &now);
        if (r < 0)
                return r;
        if (!str_eq(now, driver)) {
                r = run_write(run, device, "sys/bus/pci/drivers/%s/bind", driver);
                if (r == -EBUSY && !now)
                        return explain_busy(run);
                if (r < 0 && r != -EBUSY)
                        return r;
        }
        return verify_driver(run, driver);
}

int step_probe(Run *run) {
        int r;

        r = run_write(run, run->step->device, "sys/bus/pci/drivers_probe");
        if (r < 0)
                return r;
        return device_driver(&run->sysfs, run->step->device, &run->answer.value);
}

int step_set_type(Run *run) {
        static const char *const types[] = { "DMA", "DMA-FQ", "identity", "auto", NULL };
        const char *wanted = run->step->value;
        _cleanup_free_ char *now = NULL;
        int r;

        if (!strv_contains((char *const *)types, wanted))
                return answer_fail(&run->answer, EINVAL,
                                   "\"%.40s\" is no default domain type; there are DMA, DMA-FQ, "
                                   "identity and auto",
                                   wanted);
        r = check_group(run);
        if (r < 0)
                return r;
        r = run_write(run, wanted, "sys/kernel/iommu_groups/%u/type", run->step->group);
        if (r < 0)
                return r;
        r = sysfs_readf(&run->sysfs, &now, "sys/kernel/iommu_groups/%u/type", run->step->group);
        if (r < 0)
                return r;
        if (strcmp(wanted, "auto") != 0 && strcmp(wanted, now) != 0)
                return answer_fail(&run->answer, EIO,
                                   "the default domain type of IOMMU group %u is %s instead of %s",
                                   run->step->group, now, wanted);
        run->answer.value = TAKE_PTR(now);
        return 0;
}

/* 1, 0 or negative errno */
static int module_is_vfio(Run *run, const char *module) {
        _cleanup_modalias_ Modalias table = MODALIAS_NULL;
        struct utsname uts;
        int r;

        if (strcmp(module, "vfio_pci") == 0)
                return 1;
        if (uname(&uts) < 0)
                return -errno;
        r = modalias_load(&run->sysfs, uts.release, "vfio_pci:", &table);
        if (r < 0)
                return r;
        for (size_t i = 0; i < table.n; i++)
                if (strcmp(table.modules[i], module) == 0)
                        return 1;
        return 0;
}

/* 1, 0 or negative errno */
static int module_may_load(Run *run, const char *module) {
        struct utsname uts;
        int r;

        r = module_is_vfio(run, module);
        if (r != 0 || !run->step->device)
                return r;
        if (uname(&uts) < 0)
                return -errno;
        return driver_table_has_module(&run->sysfs, uts.release, run->step->device, module);
}

/* Runs a program and waits for it. Returns its exit status or negative errno. */
static int run_program(char *const *argv) {
        static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        char *const environment[] = { path, NULL };
        int status;
        pid_t pid;

        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                execvpe(argv[0], argv, environment);
                _exit(127);
        }
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

static int load_module(Run *run, const char *module) {
        _cleanup_free_ char *unit = NULL;
        int r;

        r = run_check_permit(run);
        if (r < 0)
                return r;
        unit = str_format("modprobe@%s.service", module);
        if (!unit)
                return -ENOMEM;
        r = sysfs_exists(&run->sysfs, "run/systemd/system");
        if (r < 0)
                return r;
        /* the service manager has the right to load modules, this unit need not have it */
        if (r > 0)
                return run_program((char *[]){ (char *)"systemctl", (char *)"--quiet",
                                               (char *)"--no-ask-password", (char *)"start", unit,
                                               NULL });
        return run_program(
                (char *[]){ (char *)"modprobe", (char *)"-q", (char *)"--", (char *)module, NULL });
}

int step_load_module(Run *run) {
        const char *module = run->step->value;
        _cleanup_free_ char *driver = NULL;
        int r;

        r = module_may_load(run, module);
        if (r < 0)
                return r;
        if (r == 0)
                return answer_fail(&run->answer, EPERM,
                                   "the module \"%.40s\" is neither VFIO's nor for the device of this "
                                   "step",
                                   module);
        for (bool tried = false;; tried = true) {
                int status;

                free(driver);
                driver = NULL;
                r = modalias_driver_of(&run->sysfs, module, "pci", &driver);
                if (r < 0)
                        return r;
                r = sysfs_existsf(&run->sysfs, "sys/bus/pci/drivers/%s", driver);
                if (r < 0)
                        return r;
                if (r > 0)
                        break;
                if (tried)
                        return answer_fail(&run->answer, ENOENT,
                                           "the module %s does not load, or registers no PCI "
                                           "driver; see the kernel's log",
                                           module);
                /* modprobe@.service hides what modprobe said: only the driver counts */
                status = load_module(run, module);
                if (status < 0)
                        return status;
        }
        run->answer.value = TAKE_PTR(driver);
        return 0;
}

static bool has_word(const char *list, const char *word) {
        size_t length, wanted = strlen(word);

        for (; *list; list += length + strspn(list + length, " ")) {
                length = strcspn(list, " ");
                if (length == wanted && strncmp(list, word, length) == 0)
                        return true;
        }
        return false;
}

/* Resets with one method in place of the usual ones, which are put back whatever happens. */
static int reset_with(Run *run, const char *method) {
        const char *device = run->step->device;
        _cleanup_free_ char *usual = NULL, *now = NULL;
        int r, back;

        r = sysfs_readf(&run->sysfs, &usual, "sys/bus/pci/devices/%s/reset_method", device);
        if (r < 0 && r != -ENOENT)
                return r;
        if (!usual || !has_word(usual, method))
                return answer_fail(&run->answer, EINVAL,
                                   "%s has no reset method \"%.40s\"; it has: %s", device, method,
                                   str_empty(usual) ? "none" : usual);
        r = run_write(run, method, "sys/bus/pci/devices/%s/reset_method", device);
        if (r < 0)
                return r;
        r = run_write(run, "1", "sys/bus/pci/devices/%s/reset", device);
        back = sysfs_writef(&run->sysfs, usual, "sys/bus/pci/devices/%s/reset_method", device);
        if (back >= 0)
                back = sysfs_readf(&run->sysfs, &now, "sys/bus/pci/devices/%s/reset_method", device);
        if (r < 0 || back < 0)
                return r < 0 ? r : back;
        if (!str_eq(now, usual))
                return answer_fail(&run->answer, EIO,
                                   "reset_method of %s reads \"%s\" instead of \"%s\"", device, now,
                                   usual);
        return 0;
}

int step_reset(Run *run) {
        const char *device = run->step->device, *method = run->step->value;
        _cleanup_free_ char *driver = NULL;
        sigset_t term;
        int r;

        r = device_driver(&run->sysfs, device, &driver);
        if (r < 0)
                return r;
        /* the kernel itself does not ask who uses the device */
        if (driver && !driver_is_vfio(driver))
                return answer_fail(&run->answer, EBUSY,
                                   "%s is bound to %s: a reset would disturb the host", device,
                                   driver);
        r = check_was_taken(run, device);
        if (r == 0)
                r = rules_check_device(run, device);
        if (r < 0)
                return r;
        r = sysfs_existsf(&run->sysfs, "sys/bus/pci/devices/%s/reset", device);
        if (r < 0)
                return r;
        if (r == 0)
                return answer_fail(&run->answer, ENOTTY, "%s has no reset method", device);
        if (strcmp(method, "auto") == 0)
                return run_write(run, "1", "sys/bus/pci/devices/%s/reset", device);
        /* a cancelled step is sent SIGTERM; that may not come in between */
        if (sigemptyset(&term) < 0 || sigaddset(&term, SIGTERM) < 0 ||
            sigprocmask(SIG_BLOCK, &term, NULL) < 0)
                return -errno;
        return reset_with(run, method);
}
