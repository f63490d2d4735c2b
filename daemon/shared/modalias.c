/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shared/modalias.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <stdint.h>

#include "util/strings.h"

static void stream_close(FILE **f) {
        if (*f)
                (void)fclose(*f);
}

void modalias_clear(Modalias *m) {
        for (size_t i = 0; i < m->n; i++) {
                free(m->patterns[i]);
                free(m->modules[i]);
        }
        free(m->patterns);
        free(m->modules);
        *m = MODALIAS_NULL;
}

static int modalias_grow(Modalias *m, size_t room) {
        char **patterns, **modules;

        patterns = reallocarray(m->patterns, room, sizeof(char *));
        if (!patterns)
                return -ENOMEM;
        m->patterns = patterns;
        modules = reallocarray(m->modules, room, sizeof(char *));
        if (!modules)
                return -ENOMEM;
        m->modules = modules;
        return 0;
}

static int modalias_add(Modalias *m, size_t *room, const char *pattern, const char *module) {
        _cleanup_free_ char *p = NULL, *name = NULL;

        if (m->n == *room) {
                size_t more = *room * 2 + 64;

                if (modalias_grow(m, more) < 0)
                        return -ENOMEM;
                *room = more;
        }
        p = strdup(pattern);
        name = strdup(module);
        if (!p || !name)
                return -ENOMEM;
        m->patterns[m->n] = TAKE_PTR(p);
        m->modules[m->n++] = TAKE_PTR(name);
        return 0;
}

int modalias_open(const Sysfs *s, const char *release, const char *file, int flags) {
        _cleanup_free_ char *name = str_format("%s/%s", release, file);

        return name ? sysfs_open_shown(s, "run/dmaowner/modules", "lib/modules", name, flags)
                    : -ENOMEM;
}

static int open_stream(const Sysfs *s, const char *release, const char *file, FILE **ret) {
        return sysfs_stream(modalias_open(s, release, file, O_RDONLY), ret);
}

int modalias_load(const Sysfs *s, const char *release, const char *prefix, Modalias *ret) {
        _cleanup_free_ char *line = NULL;
        _cleanup_(stream_close) FILE *f = NULL;
        _cleanup_modalias_ Modalias m = MODALIAS_NULL;
        size_t size = 0, room = 0;
        int r;

        r = open_stream(s, release, "modules.alias", &f);
        if (r < 0 && r != -ENOENT)
                return r;
        errno = 0;
        while (f && getline(&line, &size, f) > 0) {
                char *word, *pattern, *module, *rest;

                word = strtok_r(line, " \n", &rest);
                if (!word || strcmp(word, "alias") != 0)
                        continue; /* a comment */
                pattern = strtok_r(NULL, " \n", &rest);
                module = strtok_r(NULL, " \n", &rest);
                if (!pattern || !module || !str_starts(pattern, prefix))
                        continue;
                r = modalias_add(&m, &room, pattern, module);
                if (r < 0)
                        return r;
        }
        if (f && ferror(f))
                return errno > 0 ? -errno : -EIO;
        *ret = m;
        m = MODALIAS_NULL;
        return 0;
}

/* "e1000e.alias=pci:v..." */
static int modalias_add_info(Modalias *m, size_t *room, char *info, const char *prefix) {
        char *value = strstr(info, ".alias=");

        if (!value)
                return 0;
        *value = '\0';
        value += strlen(".alias=");
        return str_starts(value, prefix) ? modalias_add(m, room, value, info) : 0;
}

int modalias_load_builtin(const Sysfs *s, const char *release, const char *prefix, Modalias *ret) {
        _cleanup_free_ char *info = NULL;
        _cleanup_(stream_close) FILE *f = NULL;
        _cleanup_modalias_ Modalias m = MODALIAS_NULL;
        size_t size = 0, room = 0;
        int r;

        r = open_stream(s, release, "modules.builtin.modinfo", &f);
        if (r < 0 && r != -ENOENT)
                return r;
        errno = 0;
        while (f && getdelim(&info, &size, '\0', f) > 0) {
                r = modalias_add_info(&m, &room, info, prefix);
                if (r < 0)
                        return r;
        }
        if (f && ferror(f))
                return errno > 0 ? -errno : -EIO;
        *ret = m;
        m = MODALIAS_NULL;
        return 0;
}

static size_t count_wildcards(const char *pattern) {
        size_t n = 0;

        for (; *pattern; pattern++)
                n += *pattern == '*';
        return n;
}

const char *modalias_best_vfio(const Modalias *m, const char *modalias) {
        _cleanup_free_ char *wanted = NULL;
        size_t fewest = SIZE_MAX;
        const char *best = NULL;

        wanted = str_format("vfio_%s", modalias);
        if (!wanted)
                return NULL;
        for (size_t i = 0; i < m->n; i++) {
                size_t n = count_wildcards(m->patterns[i]);

                if (n < fewest && fnmatch(m->patterns[i], wanted, 0) == 0) {
                        fewest = n;
                        best = m->modules[i];
                }
        }
        return best;
}

bool modalias_matches(const Modalias *m, const char *modalias, const char *module) {
        for (size_t i = 0; i < m->n; i++)
                if (strcmp(m->modules[i], module) == 0 && fnmatch(m->patterns[i], modalias, 0) == 0)
                        return true;
        return false;
}

/* The name of a driver as its module's usually follows from it, where the module is not loaded. */
static char *usual_driver_name(const char *module) {
        static const char *const dashed[] = { "vfio_pci", "xe_vfio_pci" };
        char *name = strdup(module);

        for (size_t i = 0; name && i < sizeof(dashed) / sizeof(dashed[0]); i++)
                if (strcmp(module, dashed[i]) == 0)
                        for (char *c = name; *c; c++)
                                if (*c == '_')
                                        *c = '-';
        return name;
}

int modalias_driver_of(const Sysfs *s, const char *module, const char *bus, char **ret) {
        _cleanup_(strv_freep) char **drivers = NULL;
        size_t length = strlen(bus);
        char *name = NULL;
        int r;

        r = sysfs_listf(s, &drivers, "sys/module/%s/drivers", module);
        if (r < 0 && r != -ENOENT)
                return r;
        for (char **d = drivers; !name && d && *d; d++)
                if (strncmp(*d, bus, length) == 0 && (*d)[length] == ':') {
                        name = strdup(*d + length + 1);
                        if (!name)
                                return -ENOMEM;
                }
        if (!name)
                name = usual_driver_name(module);
        if (!name)
                return -ENOMEM;
        *ret = name;
        return 0;
}
