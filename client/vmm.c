/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/vmm.h"

#include "client/names.h"
#include "util/strings.h"

#define SYSFS_DEVICES "/sys/bus/pci/devices/"
#define IOMMUFD_ID    "dmaowner0"

/* ids have no colons, in QEMU */
static char *device_id(const char *device) {
        char *id = str_format("dmaowner-%s", device);

        for (char *c = id; c && *c; c++)
                if (*c == ':')
                        *c = '-';
        return id;
}

/* Is it the device's address, or its folder in sysfs? */
static bool names_device(const char *value, const char *device) {
        _cleanup_free_ char *name = NULL, *copy = strdup(value);
        size_t n;

        if (!copy)
                return false;
        for (n = strlen(copy); n > 0 && copy[n - 1] == '/'; n--)
                copy[n - 1] = '\0';
        name = device_name_normalise(str_starts(copy, SYSFS_DEVICES) ? copy + strlen(SYSFS_DEVICES)
                                                                     : copy);
        return name && str_eq(name, device);
}

/* The value of "key=value", or NULL. */
static const char *value_of(const char *part, const char *key) {
        size_t n = strlen(key);

        return strncmp(part, key, n) == 0 && part[n] == '=' ? part + n + 1 : NULL;
}

static bool has_key(char *const *parts, const char *key) {
        for (; *parts; parts++)
                if (value_of(*parts, key))
                        return true;
        return false;
}

/* Between commas; what stands between the first two may be empty. */
static char **split(const char *argument) {
        _cleanup_(strv_freep) char **parts = NULL;
        _cleanup_free_ char *copy = strdup(argument);
        char *rest = copy, *part;

        if (!copy)
                return NULL;
        while ((part = strsep(&rest, ",")))
                if (strv_extend(&parts, part) < 0)
                        return NULL;
        return TAKE_PTR(parts);
}

static int extend(char ***v, char *text) {
        _cleanup_free_ char *taken = text;

        return taken ? strv_extend(v, taken) : -ENOMEM;
}

static int add_id(char ***parts, const char *device) {
        _cleanup_free_ char *id = device_id(device);

        return id ? extend(parts, str_format("id=%s", id)) : -ENOMEM;
}

static int join(char *const *parts, char **ret) {
        char *joined = strv_join(parts, ",");

        if (!joined)
                return -ENOMEM;
        *ret = joined;
        return 0;
}

/* "vfio-pci,host=3b:00.0,bus=rp0" as "vfio-pci,iommufd=dmaowner0,fd=7,bus=rp0,id=...". 1: done; 0: it
 * names another device. */
static int qemu_replace(const char *argument, const dmaowner_file *f, char **ret) {
        _cleanup_(strv_freep) char **parts = split(argument), **out = NULL;
        bool found = false;
        int r = 0;

        if (!str_starts(argument, "vfio-pci"))
                return 0;
        if (!parts)
                return -ENOMEM;
        for (char **p = parts; *p && r == 0; p++) {
                const char *host = value_of(*p, "host"), *sysfs = value_of(*p, "sysfsdev");

                if ((host && names_device(host, f->device)) ||
                    (sysfs && names_device(sysfs, f->device))) {
                        found = true;
                        r = extend(&out, str_format("iommufd=" IOMMUFD_ID ",fd=%d", f->fd));
                } else if (!value_of(*p, "iommufd")) { /* it gets ours */
                        r = strv_extend(&out, *p);
                }
        }
        if (r < 0 || !found)
                return r;
        if (!has_key(parts, "id"))
                r = add_id(&out, f->device);
        if (r == 0)
                r = join(out, ret);
        return r < 0 ? r : 1;
}

static int qemu_add(char ***command, const dmaowner_file *f) {
        _cleanup_free_ char *id = device_id(f->device);
        int r;

        if (!id)
                return -ENOMEM;
        r = strv_extend(command, "-device");
        if (r < 0)
                return r;
        return extend(command, str_format("vfio-pci,iommufd=" IOMMUFD_ID ",fd=%d,id=%s", f->fd, id));
}

static int qemu_begin(char ***command, const dmaowner_file *iommufd) {
        int r = strv_extend(command, "-object");

        return r < 0 ? r
                     : extend(command, str_format("iommufd,id=" IOMMUFD_ID ",fd=%d", iommufd->fd));
}

/* The part of an argument that is the option's value; NULL: it is no such option. */
static const char *option_value(const char *former, const char *argument, const char *option) {
        size_t n = strlen(option);

        if (strncmp(argument, option, n) == 0 && argument[n] == '=')
                return argument + n + 1;
        return str_eq(former, option) ? argument : NULL;
}

/* "path=/sys/bus/pci/devices/0000:3b:00.0,iommu=on" as "fd=7,iommu=on", likewise. More than one may follow
 * "--device", or one stand in the same argument with it. */
static int cloud_hypervisor_replace(const char *argument, const dmaowner_file *f, char **ret) {
        const char *value = option_value(NULL, argument, "--device");
        _cleanup_(strv_freep) char **parts = split(value ? value : argument);
        _cleanup_free_ char *joined = NULL;
        bool found = false;
        int r;

        if (!parts)
                return -ENOMEM;
        for (char **p = parts; *p && !found; p++) {
                const char *path = value_of(*p, "path");

                if (!path || !names_device(path, f->device))
                        continue;
                found = true;
                free(*p);
                *p = str_format("fd=%d", f->fd);
                if (!*p)
                        return -ENOMEM;
        }
        if (!found)
                return 0;
        r = join(parts, &joined);
        if (r < 0)
                return r;
        *ret = str_format("%s%s", value ? "--device=" : "", joined);
        return *ret ? 1 : -ENOMEM;
}

static int cloud_hypervisor_add(char ***command, const dmaowner_file *f) {
        _cleanup_free_ char *id = device_id(f->device);
        int r;

        if (!id)
                return -ENOMEM;
        r = strv_extend(command, "--device");
        return r < 0 ? r : extend(command, str_format("fd=%d,id=%s", f->fd, id));
}

/* It can be given once, so that what is there is extended. */
static int cloud_hypervisor_begin(char ***command, const dmaowner_file *iommufd) {
        int r;

        for (char **a = *command; a && *a; a++) {
                const char *value = option_value(a == *command ? NULL : a[-1], *a, "--platform");

                if (value)
                        return str_append(a, ",iommufd_fd=%d", iommufd->fd);
        }
        r = strv_extend(command, "--platform");
        return r < 0 ? r : extend(command, str_format("iommufd_fd=%d", iommufd->fd));
}

static const struct {
        int (*begin)(char ***command, const dmaowner_file *iommufd);
        int (*replace)(const char *argument, const dmaowner_file *f, char **ret);
        int (*add)(char ***command, const dmaowner_file *f);
} vmms[] = {
        [VMM_QEMU] = { qemu_begin, qemu_replace, qemu_add },
        [VMM_CLOUD_HYPERVISOR] = { cloud_hypervisor_begin, cloud_hypervisor_replace,
                                   cloud_hypervisor_add },
};

/* Where the command names the device; otherwise at its end. */
static int name_device(Vmm vmm, char ***command, const dmaowner_file *f) {
        for (char **a = *command; a && *a; a++) {
                char *replaced;
                int r = vmms[vmm].replace(*a, f, &replaced);

                if (r < 0)
                        return r;
                if (r > 0) {
                        free(*a);
                        *a = replaced;
                        return 0;
                }
        }
        return vmms[vmm].add(command, f);
}

int vmm_command(Vmm vmm, char *const *command, const LentFiles *files, char ***ret) {
        const dmaowner_file *iommufd = lent_files_first(files, "iommufd");
        _cleanup_(strv_freep) char **copy = NULL;
        int r = 0;

        if (!iommufd)
                return -ENOTSUP;
        for (; *command && r == 0; command++)
                r = strv_extend(&copy, *command);
        if (r == 0)
                r = vmms[vmm].begin(&copy, iommufd);
        for (size_t i = 0; i < files->n && r == 0; i++)
                if (str_eq(files->items[i].role, "cdev"))
                        r = name_device(vmm, &copy, &files->items[i]);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(copy);
        return 0;
}

int vmm_arguments(Vmm vmm, const LentFiles *files, char **ret) {
        static char *const nothing[] = { NULL };
        _cleanup_(strv_freep) char **command = NULL;
        int r;

        r = vmm_command(vmm, nothing, files, &command);
        if (r < 0)
                return r;
        *ret = strv_join(command, " ");
        return *ret ? 0 : -ENOMEM;
}
