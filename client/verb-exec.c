/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/wait.h>

#include "client/bus.h"
#include "client/describe.h"
#include "client/hold.h"
#include "client/lent-files.h"
#include "client/memlock.h"
#include "client/message-json.h"
#include "client/report.h"
#include "client/verbs.h"
#include "client/vmm.h"
#include "util/strings.h"

/* As env(1) and all shells have it. */
#define EXIT_CANNOT_INVOKE 126
#define EXIT_NOT_FOUND     127

static int set_variable(const char *name, const char *value) {
        if (!value)
                return -ENOMEM;
        return setenv(name, value, 1) < 0 ? -errno : 0;
}

/* "-a 0000:00:03.0 -a 0000:00:04.0", as DPDK's EAL wants to be told its devices */
static char *eal_arguments(json_object *devices) {
        char *text = strdup("");

        for (size_t i = 0; text && i < json_object_array_length(devices); i++)
                if (str_append(&text, "%s-a %s", i == 0 ? "" : " ",
                               json_object_get_string(json_object_array_get_idx(devices, i))) < 0) {
                        free(text);
                        return NULL;
                }
        return text;
}

static int exec_set_environment(json_object *lease) {
        json_object *list = json_member(lease, "Devices");
        _cleanup_free_ char *devices = value_describe(list), *eal = eal_arguments(list),
                            *groups = value_describe(json_member(lease, "Groups"));
        int r;

        r = set_variable("DMAOWNER_LEASE", json_string(lease, "Id"));
        if (r < 0)
                return r;
        r = set_variable("DMAOWNER_DEVICES", devices);
        if (r < 0)
                return r;
        r = set_variable("DMAOWNER_GROUPS", groups);
        if (r < 0)
                return r;
        return set_variable("DMAOWNER_EAL_ARGS", eal);
}

/* The numbers of the files, and what VMMs want to be told of them, for scripts that run one. */
static int exec_set_files(const LentFiles *files) {
        _cleanup_free_ char *names = lent_files_describe(files), *qemu = NULL, *hypervisor = NULL;
        int r;

        if (files->n == 0)
                return 0;
        r = set_variable("DMAOWNER_FDS", names);
        if (r < 0 || !lent_files_first(files, "iommufd"))
                return r;
        r = vmm_arguments(VMM_QEMU, files, &qemu);
        if (r == 0)
                r = set_variable("DMAOWNER_QEMU_ARGS", qemu);
        if (r == 0)
                r = vmm_arguments(VMM_CLOUD_HYPERVISOR, files, &hypervisor);
        return r < 0 ? r : set_variable("DMAOWNER_CLOUD_HYPERVISOR_ARGS", hypervisor);
}

/* In the child: becomes the command. What it inherits on purpose are the lifeline and the files that
 * are lent. */
static int exec_become(const Hold *h, const LentFiles *files, char **command) {
        int r, lifeline = dmaowner_lease_get_lifeline(h->lease);

        memlock_prepare();
        r = lent_files_pass_on(files);
        if (r < 0)
                return report_errno(r, "lent files");
        if (fcntl(lifeline, F_SETFD, 0) < 0)
                return report_errno(-errno, "lifeline");
        (void)signal(SIGPIPE, SIG_DFL); /* main() ignores it */
        if (sigprocmask(SIG_SETMASK, &h->former_mask, NULL) < 0)
                return report_errno(-errno, "signals");
        (void)execvp(command[0], command);
        r = errno;
        (void)report(STATUS_ERROR, NULL, "cannot run %s: %s", command[0], strerror(r));
        return r == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_INVOKE;
}

static int on_child(sd_event_source *s, const siginfo_t *si, void *userdata) {
        int *status = userdata;

        *status = si->si_code == CLD_EXITED ? si->si_status : 128 + si->si_status;
        return 0;
}

/* The lease may go while the command runs; what then happens to the command is not for us to
 * decide. */
static int exec_wait(Hold *h) {
        bool was_alive = true;
        int r, status = -1;

        r = sd_event_add_child(h->event, NULL, h->child, WEXITED, on_child, &status);
        if (r < 0)
                return report_errno(r, "child");
        while (status < 0) {
                r = sd_event_run(h->event, UINT64_MAX);
                if (r < 0)
                        return report_errno(r, "event loop");
                if (was_alive && dmaowner_lease_is_over(h->lease)) {
                        was_alive = false;
                        (void)hold_report_end(h);
                }
        }
        return status;
}

/* Signals that came before there was a child are for us. */
static int exec_drain_signals(Hold *h) {
        int r;

        do
                r = sd_event_run(h->event, 0);
        while (r > 0);
        if (r < 0)
                return report_errno(r, "event loop");
        if (h->n_signals == 0)
                return 0;
        r = hold_release(h);
        return r != 0 ? r : 128 + h->signo;
}

static const struct {
        const char *option, *name, *otherwise;
} vmms[] = {
        [VMM_QEMU] = { "--qemu", "QEMU", "use --access=node and -device vfio-pci,host=ADDRESS" },
        [VMM_CLOUD_HYPERVISOR] = { "--cloud-hypervisor", "cloud-hypervisor",
                                   "use --access=node and --device path="
                                   "/sys/bus/pci/devices/ADDRESS" },
};

/* VMMs take nothing but iommufd from others, so that is what is meant. */
static int exec_choose_vmm(Options *o, Vmm *ret) {
        Vmm vmm = o->qemu ? VMM_QEMU : o->cloud_hypervisor ? VMM_CLOUD_HYPERVISOR : VMM_NONE;

        *ret = vmm;
        if (vmm == VMM_NONE)
                return 0;
        if (o->qemu && o->cloud_hypervisor)
                return report(STATUS_USAGE, NULL,
                              "--qemu and --cloud-hypervisor: it is one of them");
        if (o->access && strcmp(o->access, "fd") != 0)
                return report(STATUS_USAGE, vmms[vmm].otherwise, "%s goes with --access=fd",
                              vmms[vmm].option);
        if (o->interface && strcmp(o->interface, "container") == 0)
                return report(STATUS_USAGE, vmms[vmm].otherwise,
                              "%s takes no descriptors of the interface container", vmms[vmm].name);
        o->access = "fd";
        return 0;
}

static int exec_make_command(Vmm vmm, const Options *o, const LentFiles *files, char ***ret) {
        int r;

        if (vmm == VMM_NONE)
                return 0;
        r = vmm_command(vmm, o->command, files, ret);
        if (r == -ENOTSUP)
                return report(STATUS_ERROR, vmms[vmm].otherwise,
                              "%s takes descriptors only of iommufd, which this kernel does not have",
                              vmms[vmm].name);
        if (r < 0)
                return report_errno(r, "command");
        return 0;
}

/* The command has its own copies, and ours would keep a device busy. */
static int exec_fork(Hold *h, const LentFiles *files, char **command) {
        h->child = fork();
        if (h->child < 0)
                return report_errno(-errno, "fork");
        if (h->child == 0)
                _exit(exec_become(h, files, command));
        dmaowner_lease_close_files(h->lease);
        return exec_wait(h);
}

/* What the command is told, for the child to inherit. */
static int exec_tell(const Hold *h, const LentFiles *files) {
        _cleanup_json_ json_object *lease = NULL;
        int r;

        r = bus_get_properties(h->bus, dmaowner_lease_get_path(h->lease), INTERFACE_LEASE, &lease);
        if (r != 0)
                return r;
        r = exec_set_environment(lease);
        if (r == 0)
                r = exec_set_files(files);
        return r < 0 ? report_errno(r, "environment") : 0;
}

static int exec_prepare(Hold *h, const Options *o, const char *owner, LentFiles *files) {
        int r;

        r = hold_open(h, o);
        if (r == 0)
                r = hold_acquire(h, o, owner, "lifeline");
        if (r == 0 && str_eq(o->access, "fd"))
                r = hold_open_files(h);
        if (r != 0)
                return r;
        files->items = dmaowner_lease_get_files(h->lease, &files->n);
        return exec_tell(h, files);
}

int verb_exec(const Options *given) {
        _cleanup_free_ char *name = strdup(given->command[0]);
        _cleanup_(strv_freep) char **command = NULL;
        _cleanup_hold_ Hold h = HOLD_NULL;
        Options o = *given;
        LentFiles files;
        Vmm vmm;
        int r;

        if (!name)
                return report_errno(-ENOMEM, "exec");
        r = exec_choose_vmm(&o, &vmm);
        if (r == 0)
                r = exec_prepare(&h, &o, basename(name), &files);
        if (r == 0)
                r = exec_make_command(vmm, &o, &files, &command);
        if (r == 0)
                r = exec_drain_signals(&h);
        return r != 0 ? r : exec_fork(&h, &files, command ? command : o.command);
}
