/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/names.h"

#include <ctype.h>
#include <limits.h>

#include <systemd/sd-bus.h>

#include "util/strings.h"

/* pattern: 'x' stands for a hexadecimal digit, all else for itself. */
static bool name_has_shape(const char *name, const char *pattern) {
        for (; *pattern; name++, pattern++)
                if (*pattern == 'x' ? !isxdigit((unsigned char)*name) : *name != *pattern)
                        return false;
        return *name == '\0';
}

char *device_name_normalise(const char *typed) {
        char *name;

        if (name_has_shape(typed, "xx:xx.x"))
                name = str_format("0000:%s", typed);
        else
                name = strdup(typed);
        if (name && name_has_shape(name, "xxxx:xx:xx.x"))
                for (char *c = name; *c; c++)
                        *c = (char)tolower((unsigned char)*c);
        return name;
}

bool group_name_parse(const char *typed, unsigned *ret_id) {
        unsigned long long id;

        if (!str_starts(typed, "group:") || parse_u64(typed + strlen("group:"), 10, &id) < 0 ||
            id > UINT_MAX)
                return false;
        *ret_id = (unsigned)id;
        return true;
}

bool lease_name_valid(const char *typed) {
        unsigned long long number;

        return *typed == 'l' && parse_u64(typed + 1, 10, &number) == 0;
}

char *object_path_describe(const char *path) {
        static const char *const kinds[] = { "group", "device", "lease" };

        for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
                _cleanup_free_ char *prefix = str_format("/org/dmaowner1/%s", kinds[i]);
                _cleanup_free_ char *name = NULL;
                int r;

                if (!prefix)
                        return NULL;
                r = sd_bus_path_decode(path, prefix, &name);
                if (r < 0)
                        return NULL;
                if (r > 0)
                        return str_format("%s %s", kinds[i], name);
        }
        return strdup(path);
}
