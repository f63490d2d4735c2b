/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/device-match.h"

#include <stdio.h>

#include "util/strings.h"

void device_match_clear(DeviceMatch *m) {
        strv_free(m->devices);
        strv_free(m->ids);
        strv_free(m->classes);
        strv_free(m->drivers);
        strv_free(m->pfs);
        strv_free(m->with);
        strv_free(m->nodes);
        *m = DEVICE_MATCH_NULL;
}

bool pattern_matches(const char *pattern, const char *text) {
        const char *star = NULL, *again = NULL;

        while (*text)
                if (*pattern == '*') {
                        star = ++pattern;
                        again = text;
                } else if (*pattern == *text) {
                        pattern++;
                        text++;
                } else if (star) {
                        /* the star takes one more */
                        pattern = star;
                        text = ++again;
                } else
                        return false;
        while (*pattern == '*')
                pattern++;
        return !*pattern;
}

bool patterns_match(char *const *patterns, const char *text) {
        for (; patterns && *patterns; patterns++)
                if (pattern_matches(*patterns, text))
                        return true;
        return false;
}

static bool any_prefix(char *const *prefixes, const char *text) {
        for (; prefixes && *prefixes; prefixes++)
                if (str_starts(text, *prefixes))
                        return true;
        return false;
}

static bool any_member(char *const *patterns, const Group *g) {
        for (const Device *d = g ? g->devices : NULL; d; d = d->next)
                if (patterns_match(patterns, d->facts.name))
                        return true;
        return false;
}

/* Once its records are taken, what drives the device now is the lease's choice. */
static const char *host_driver(const Device *d) {
        const char *driver = d->record.valid ? d->record.driver : d->facts.driver;

        return str_empty(driver) ? "none" : driver;
}

bool device_match(const DeviceMatch *m, const Device *d) {
        const DeviceFacts *f = &d->facts;
        char id[10], class_code[9], node[12];

        (void)snprintf(id, sizeof(id), "%04x:%04x", f->vendor, f->model);
        (void)snprintf(class_code, sizeof(class_code), "%06x", f->class_code & 0xffffff);
        (void)snprintf(node, sizeof(node), "%d", f->numa_node);
        return (!m->devices || patterns_match(m->devices, f->name)) &&
               (!m->ids || patterns_match(m->ids, id)) &&
               (!m->classes || any_prefix(m->classes, class_code)) &&
               (!m->drivers || patterns_match(m->drivers, host_driver(d))) &&
               (!m->pfs || (!str_empty(f->physfn) && patterns_match(m->pfs, f->physfn))) &&
               (!m->with || any_member(m->with, d->group)) &&
               (!m->nodes || strv_contains(m->nodes, node));
}
