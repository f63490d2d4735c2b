/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/vf.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#include "executor/vf-link.h"
#include "util/strings.h"

/* A device's name is checked before its step runs. */
static void memory_path(const Run *run, char path[static 64]) {
        (void)snprintf(path, 64, "vfs/%s", run->step->device);
}

/* What set-vf may put back: only what was read. */
static int remember(Run *run, const char *text) {
        _cleanup_close_ int fd = -EBADF;
        char path[64];
        ssize_t n;

        memory_path(run, path);
        fd = run_open_memory(run, path, O_WRONLY | O_CREAT | O_TRUNC);
        if (fd < 0)
                return fd;
        n = write(fd, text, strlen(text));
        if (n < 0)
                return -errno;
        return (size_t)n == strlen(text) ? 0 : -ENOSPC;
}

/* 1, 0 or negative errno */
static int is_remembered(Run *run, const char *text) {
        _cleanup_close_ int fd = -EBADF;
        char path[64], known[512];
        ssize_t n;

        memory_path(run, path);
        fd = run_open_memory(run, path, O_RDONLY);
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        n = read(fd, known, sizeof(known) - 1);
        if (n < 0)
                return -errno;
        known[n] = '\0';
        return strcmp(known, text) == 0;
}

static int find_pf(Run *run, char **ret) {
        int r = sysfs_link_namef(&run->sysfs, ret, "sys/bus/pci/devices/%s/physfn",
                                 run->step->device);

        return r == -ENOENT ? answer_fail(&run->answer, ENOTTY, "%s is no virtual function",
                                          run->step->device)
                            : r;
}

/* Its number among the VFs of the PF. */
static int find_number(Run *run, const char *pf, unsigned *ret) {
        _cleanup_(strv_freep) char **entries = NULL;
        unsigned long long number;
        int r;

        r = sysfs_listf(&run->sysfs, &entries, "sys/bus/pci/devices/%s", pf);
        if (r < 0)
                return r;
        for (char **e = entries; *e; e++) {
                _cleanup_free_ char *vf = NULL;

                if (!str_starts(*e, "virtfn") || parse_u64(*e + strlen("virtfn"), 10, &number) < 0)
                        continue;
                r = sysfs_link_namef(&run->sysfs, &vf, "sys/bus/pci/devices/%s/%s", pf, *e);
                if (r < 0)
                        return r;
                if (str_eq(vf, run->step->device)) {
                        *ret = (unsigned)number;
                        return 0;
                }
        }
        return answer_fail(&run->answer, ENODEV, "%s is going away: %s does not list it any more",
                           run->step->device, pf);
}

/* 1: the interface reports the VF; 0: it does not. */
static int try_interface(Run *run, const char *pf, const char *name, unsigned vf, VfLink *ret,
                         VfSettings *settings) {
        VfLink link = { .run = run, .vf = vf };
        _cleanup_free_ char *text = NULL;
        unsigned long long index;
        int r;

        r = sysfs_readf(&run->sysfs, &text, "sys/bus/pci/devices/%s/net/%s/ifindex", pf, name);
        if (r == 0)
                r = parse_u64(text, 10, &index);
        if (r == 0 && index > INT_MAX)
                r = -ERANGE;
        if (r == 0) {
                link.interface = (unsigned)index;
                r = vf_link_read(&link, settings);
        }
        if (r <= 0) /* it may just have gone, or gone to another network namespace */
                return r == -ENOENT || r == -ENODEV ? 0 : r;
        *ret = link;
        return 1;
}

/* 1; 0: nobody could be asked, and the answer says so; or negative errno. A PF may have an interface
 * for each of its ports, or one that stands for each of its VFs: the first that knows the VF. */
static int find_link(Run *run, VfLink *ret, VfSettings *settings) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_free_ char *pf = NULL;
        unsigned vf;
        int r;

        r = find_pf(run, &pf);
        if (r == 0)
                r = find_number(run, pf, &vf);
        if (r == 0)
                r = sysfs_listf(&run->sysfs, &names, "sys/bus/pci/devices/%s/net", pf);
        if (r < 0 && r != -ENOENT)
                return r;
        for (char **name = names; name && *name; name++) {
                r = try_interface(run, pf, *name, vf, ret, settings);
                if (r != 0)
                        return r;
        }
        run->answer.text =
                names && *names
                        ? str_format("%s of %s reports no settings of virtual function %u", *names,
                                     pf, vf)
                        : str_format("%s has no network interface here: its driver makes none, or "
                                     "it is in another network namespace",
                                     pf);
        return run->answer.text ? 0 : -ENOMEM;
}

int step_read_vf(Run *run) {
        VfSettings settings = VF_SETTINGS_NULL;
        VfLink link;
        int r;

        r = find_link(run, &link, &settings);
        if (r <= 0)
                return r;
        run->answer.value = vf_settings_format(&settings);
        if (!run->answer.value)
                return -ENOMEM;
        return remember(run, run->answer.value);
}

/* Some drivers take no such MAC, though it is what a VF has that was never given one. */
static bool is_unset_mac(const VfSettings *v, VfSetting s) {
        static const uint8_t zeros[sizeof(v->mac)];

        return s == VF_SETTING_MAC && memcmp(v->mac, zeros, sizeof(zeros)) == 0;
}

static int put_back(Run *run, const VfLink *link, const VfSettings *wanted, VfSettings *now) {
        for (int i = 0; i < _VF_SETTING_MAX; i++) {
                VfSetting s = (VfSetting)i;
                int r;

                if (vf_settings_agree(wanted, now, s))
                        continue;
                r = vf_link_write(link, wanted, s);
                if (r == -ECANCELED) /* it looks at the permit */
                        return r;
                if (r < 0 && !(is_unset_mac(wanted, s) && (r == -EINVAL || r == -EADDRNOTAVAIL)))
                        return answer_fail(&run->answer, -r,
                                           "the driver of its physical function refuses to set %s "
                                           "of %s back: %s",
                                           vf_setting_to_string(s), run->step->device,
                                           strerror(-r));
                r = vf_link_read(link, now); /* some are set together */
                if (r <= 0)
                        return r < 0 ? r : -ENODEV;
        }
        return 0;
}

static int verify(Run *run, const VfSettings *wanted, const VfSettings *now) {
        for (int i = 0; i < _VF_SETTING_MAX; i++) {
                VfSetting s = (VfSetting)i;

                if (vf_settings_agree(wanted, now, s))
                        continue;
                if (!is_unset_mac(wanted, s))
                        return answer_fail(&run->answer, EIO,
                                           "%s of %s does not stay as it was set: it has %s",
                                           vf_setting_to_string(s), run->step->device,
                                           run->answer.value);
                run->answer.text = str_format("%s keeps its MAC: the driver of its physical "
                                              "function does not take that of a VF without one",
                                              run->step->device);
                if (!run->answer.text)
                        return -ENOMEM;
        }
        return 0;
}

int step_set_vf(Run *run) {
        VfSettings wanted = VF_SETTINGS_NULL, now = VF_SETTINGS_NULL;
        VfLink link;
        int r;

        r = vf_settings_parse(run->step->value, &wanted);
        if (r < 0)
                return r;
        r = is_remembered(run, run->step->value);
        if (r == 0)
                return answer_fail(&run->answer, EPERM,
                                   "%s may get only the settings that were read of it",
                                   run->step->device);
        if (r > 0)
                r = find_link(run, &link, &now);
        if (r <= 0)
                return r;
        r = put_back(run, &link, &wanted, &now);
        if (r < 0)
                return r;
        run->answer.value = vf_settings_format(&now);
        return run->answer.value ? verify(run, &wanted, &now) : -ENOMEM;
}
