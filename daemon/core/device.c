/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/device.h"

#include <string.h>

#include "util/strings.h"

void device_facts_clear(DeviceFacts *f) {
        free(f->name);
        free(f->bus);
        free(f->vendor_name);
        free(f->model_name);
        free(f->driver);
        free(f->driver_override);
        free(f->vfio_module);
        free(f->vfio_driver);
        free(f->physfn);
        free(f->reset_methods);
        free(f->default_domain_type);
        *f = DEVICE_FACTS_NULL;
}

int device_facts_copy(DeviceFacts *to, const DeviceFacts *from) {
        _cleanup_device_facts_ DeviceFacts copy = {
                .vendor = from->vendor,
                .model = from->model,
                .class_code = from->class_code,
                .group = from->group,
                .numa_node = from->numa_node,
                .num_vfs = from->num_vfs,
                .total_vfs = from->total_vfs,
                .vf_autoprobe = from->vf_autoprobe,
                .vf_model = from->vf_model,
                .bridge = from->bridge,
                .strict_type = from->strict_type,
        };

        if (str_set(&copy.name, from->name) < 0 || str_set(&copy.bus, from->bus) < 0 ||
            str_set(&copy.vendor_name, from->vendor_name) < 0 ||
            str_set(&copy.model_name, from->model_name) < 0 ||
            str_set(&copy.driver, from->driver) < 0 ||
            str_set(&copy.driver_override, from->driver_override) < 0 ||
            str_set(&copy.vfio_module, from->vfio_module) < 0 ||
            str_set(&copy.vfio_driver, from->vfio_driver) < 0 ||
            str_set(&copy.physfn, from->physfn) < 0 ||
            str_set(&copy.reset_methods, from->reset_methods) < 0 ||
            str_set(&copy.default_domain_type, from->default_domain_type) < 0)
                return -ENOMEM;
        device_facts_clear(to);
        *to = copy;
        copy = DEVICE_FACTS_NULL;
        return 0;
}

bool device_facts_equal(const DeviceFacts *a, const DeviceFacts *b) {
        return str_eq(a->name, b->name) && str_eq(a->bus, b->bus) && a->vendor == b->vendor &&
               a->model == b->model && a->class_code == b->class_code &&
               str_eq(a->vendor_name, b->vendor_name) && str_eq(a->model_name, b->model_name) &&
               a->group == b->group && a->numa_node == b->numa_node &&
               str_eq(a->driver, b->driver) && str_eq(a->driver_override, b->driver_override) &&
               str_eq(a->vfio_module, b->vfio_module) && str_eq(a->vfio_driver, b->vfio_driver) &&
               a->num_vfs == b->num_vfs && a->total_vfs == b->total_vfs &&
               a->vf_autoprobe == b->vf_autoprobe && a->vf_model == b->vf_model &&
               str_eq(a->physfn, b->physfn) && a->bridge == b->bridge &&
               str_eq(a->reset_methods, b->reset_methods) &&
               str_eq(a->default_domain_type, b->default_domain_type) &&
               a->strict_type == b->strict_type;
}

bool driver_is_vfio(const char *driver) {
        static const char suffix[] = "vfio-pci";
        size_t n = str_empty(driver) ? 0 : strlen(driver), i;

        if (n < sizeof(suffix) - 1)
                return false;
        /* variant drivers are named after their module ("mlx5_vfio_pci") or not ("xe-vfio-pci") */
        for (i = 0; i < sizeof(suffix) - 1; i++) {
                char c = driver[n - (sizeof(suffix) - 1) + i];
                if (c != suffix[i] && !(c == '_' && suffix[i] == '-'))
                        return false;
        }
        return n == i || driver[n - i - 1] == '-' || driver[n - i - 1] == '_';
}

bool driver_is_harmless(const char *driver) {
        return str_eq(driver, "pcieport") || str_eq(driver, "pci-stub") || driver_is_vfio(driver);
}

bool device_name_is_pci(const char *name) {
        static const char hex[] = "0123456789abcdef";
        size_t domain;

        if (!name)
                return false;
        /* at least four digits; bridges such as VMD make domains beyond ffff */
        domain = strspn(name, hex);
        if (domain < 4 || domain > 8 || (domain > 4 && *name == '0'))
                return false;
        name += domain;
        return strlen(name) == strlen(":bb:dd.f") && name[0] == ':' && strspn(name + 1, hex) == 2 &&
               name[3] == ':' && (name[4] == '0' || name[4] == '1') && strspn(name + 5, hex) == 1 &&
               name[6] == '.' && name[7] >= '0' && name[7] <= '7';
}

int device_name_compare(const char *a, const char *b) {
        return strcmp(a, b);
}

bool device_has_reset(const DeviceFacts *f, const char *method) {
        const char *list = f->reset_methods;
        size_t wanted = strlen(method), length;

        if (!list)
                return true;
        for (; *list; list += length + strspn(list + length, " ")) {
                length = strcspn(list, " ");
                if (length == wanted && strncmp(list, method, length) == 0)
                        return true;
        }
        return false;
}
