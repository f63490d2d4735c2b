/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/libdmaowner/properties.h"

#include "util/strings.h"

static int read_string(sd_bus_message *m, char **ret) {
        const char *s;
        int r = sd_bus_message_read_basic(m, 's', &s);

        return r < 0 ? r : str_set(ret, s);
}

static int read_id(Properties *p, sd_bus_message *m) {
        return read_string(m, &p->id);
}

static int read_state(Properties *p, sd_bus_message *m) {
        return read_string(m, &p->state);
}

static int read_waits_for(Properties *p, sd_bus_message *m) {
        return read_string(m, &p->waits_for);
}

static int read_warning(Properties *p, sd_bus_message *m) {
        return read_string(m, &p->warning);
}

static int read_expires(Properties *p, sd_bus_message *m) {
        return sd_bus_message_read_basic(m, 't', &p->expires);
}

static int read_failure(Properties *p, sd_bus_message *m) {
        const char *name, *message;
        int r = sd_bus_message_read(m, "(ss)", &name, &message);

        if (r >= 0)
                r = str_set(&p->failure_name, name);
        return r < 0 ? r : str_set(&p->failure_message, message);
}

static int read_revocation(Properties *p, sd_bus_message *m) {
        const char *reason;
        int r = sd_bus_message_read(m, "(st)", &reason, &p->revocation_at);

        return r < 0 ? r : str_set(&p->revocation, reason);
}

static int read_devices(Properties *p, sd_bus_message *m) {
        char **devices = NULL;
        int r = sd_bus_message_read_strv(m, &devices);

        if (r < 0)
                return r;
        strv_free(p->devices);
        p->devices = devices;
        return 0;
}

static const struct {
        const char *name, *type;
        int (*read)(Properties *p, sd_bus_message *m);
} known[] = {
        { "Id", "s", read_id },
        { "State", "s", read_state },
        { "WaitsFor", "s", read_waits_for },
        { "Warning", "s", read_warning },
        { "Expires", "t", read_expires },
        { "Failure", "(ss)", read_failure },
        { "Revocation", "(st)", read_revocation },
        { "Devices", "as", read_devices },
};

void properties_clear(Properties *p) {
        free(p->id);
        free(p->state);
        free(p->waits_for);
        free(p->warning);
        free(p->failure_name);
        free(p->failure_message);
        free(p->revocation);
        strv_free(p->devices);
        *p = (Properties){};
}

static int read_value(Properties *p, const char *name, sd_bus_message *m) {
        for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
                int r;

                if (!str_eq(known[i].name, name))
                        continue;
                r = sd_bus_message_enter_container(m, 'v', known[i].type);
                if (r < 0)
                        return r == -ENXIO ? -EBADMSG : r;
                r = known[i].read(p, m);
                return r < 0 ? r : sd_bus_message_exit_container(m);
        }
        return sd_bus_message_skip(m, "v");
}

int properties_read(Properties *p, sd_bus_message *m) {
        const char *name;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read_basic(m, 's', &name);
                if (r >= 0)
                        r = read_value(p, name, m);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        return r < 0 ? r : 0;
}
