/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shared/driver-table.h"

#include <string.h>

#include "shared/modalias.h"
#include "util/strings.h"

/* Names of modules and drivers often differ in nothing else. */
static bool names_are_alike(const char *a, const char *b) {
        for (; *a && *b; a++, b++)
                if (*a != *b && !((*a == '-' || *a == '_') && (*b == '-' || *b == '_')))
                        return false;
        return *a == *b;
}

static int device_alias(const Sysfs *s, const char *device, char **ret) {
        int r = sysfs_readf(s, ret, "sys/bus/pci/devices/%s/modalias", device);

        return r == -ENOENT ? -ENODEV : r;
}

static bool table_knows(const Modalias *table, const char *module) {
        for (size_t i = 0; i < table->n; i++)
                if (strcmp(table->modules[i], module) == 0)
                        return true;
        return false;
}

static DriverMatch table_match(const Modalias *table, const char *alias, const char *module) {
        return modalias_matches(table, alias, module) ? DRIVER_MATCH_LISTED : DRIVER_MATCH_OTHER;
}

/* A driver that is part of the kernel; module: as it would be called. */
static int match_built_in(const Sysfs *s, const char *release, const char *alias,
                          const char *module, DriverMatch *ret) {
        _cleanup_modalias_ Modalias table = MODALIAS_NULL;
        int r;

        r = modalias_load_builtin(s, release, "pci:", &table);
        if (r < 0)
                return r;
        *ret = table.n > 0 ? table_match(&table, alias, module) : DRIVER_MATCH_UNKNOWN;
        return 0;
}

static int match_registered(const Sysfs *s, const char *release, const char *alias,
                            const Modalias *table, DriverWish *w) {
        _cleanup_free_ char *module = NULL;
        int r;

        r = sysfs_link_namef(s, &module, "sys/bus/pci/drivers/%s/module", w->name);
        if (r == -ENOENT) /* a kernel without modules */
                r = str_set(&module, w->name);
        if (r < 0)
                return r;
        /* what was loaded has a state of its initialisation */
        r = sysfs_existsf(s, "sys/module/%s/initstate", module);
        if (r < 0)
                return r;
        if (r > 0 || table_knows(table, module)) {
                w->match = table_match(table, alias, module);
                return 0;
        }
        return match_built_in(s, release, alias, module, &w->match);
}

/* By its name alone: a module has none but its own before it is loaded. */
static int match_module(const char *alias, const Modalias *table, DriverWish *w) {
        w->match = DRIVER_MATCH_MISSING;
        for (size_t i = 0; i < table->n; i++) {
                const char *module = table->modules[i];

                if (!names_are_alike(module, w->name))
                        continue;
                w->match = table_match(table, alias, module);
                return w->match == DRIVER_MATCH_LISTED ? str_set(&w->module, module) : 0;
        }
        return 0;
}

int driver_table_find(const Sysfs *s, const char *release, const char *device, const char *driver,
                      DriverWish *ret) {
        _cleanup_driver_wish_ DriverWish w = {};
        _cleanup_modalias_ Modalias table = MODALIAS_NULL;
        _cleanup_free_ char *alias = NULL;
        int r;

        r = device_alias(s, device, &alias);
        if (r == 0)
                r = modalias_load(s, release, "pci:", &table);
        if (r == 0)
                r = str_set(&w.name, driver);
        if (r < 0)
                return r;
        r = sysfs_existsf(s, "sys/bus/pci/drivers/%s", driver);
        if (r >= 0)
                r = r > 0 ? match_registered(s, release, alias, &table, &w)
                          : match_module(alias, &table, &w);
        if (r < 0)
                return r;
        *ret = w;
        w = (DriverWish){};
        return 0;
}

int driver_table_has_module(const Sysfs *s, const char *release, const char *device,
                            const char *module) {
        _cleanup_modalias_ Modalias table = MODALIAS_NULL;
        _cleanup_free_ char *alias = NULL;
        int r;

        r = device_alias(s, device, &alias);
        if (r == 0)
                r = modalias_load(s, release, "pci:", &table);
        return r < 0 ? r : modalias_matches(&table, alias, module);
}
