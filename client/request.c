/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/request.h"

#include "client/names.h"
#include "client/units.h"
#include "util/strings.h"

static int add_device(dmaowner_request *q, const char *typed) {
        _cleanup_free_ char *name = device_name_normalise(typed);

        return name ? dmaowner_request_add_device(q, name) : -ENOMEM;
}

/* devices: with blanks between */
static int add_alternative(dmaowner_request *q, const char *devices) {
        _cleanup_free_ char *copy = strdup(devices);
        char *rest = copy, *device;
        int r;

        if (!copy)
                return -ENOMEM;
        r = dmaowner_request_begin_alternative(q);
        while (r == 0 && (device = strsep(&rest, " ")))
                r = *device ? add_device(q, device) : 0;
        return r;
}

static int add_devices(dmaowner_request *q, const Options *o) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < o->n_operands; i++)
                r = add_device(q, o->operands[i]);
        for (size_t i = 0; r == 0 && i < o->n_alternatives; i++)
                r = add_alternative(q, o->alternatives[i]);
        return r;
}

static int set_strings(dmaowner_request *q, const Options *o, const char *owner,
                       const char *holder) {
        const struct {
                const char *name, *value;
        } strings[] = {
                { "owner", o->owner ? o->owner : owner },
                { "holder", holder },
                { "label", o->label },
                { "driver", o->driver },
                { "default-domain-type", o->default_domain_type },
                { "access", o->access },
                { "interface", o->interface },
                { "reset", o->reset },
        };
        int r = 0;

        for (size_t i = 0; r == 0 && i < sizeof(strings) / sizeof(*strings); i++)
                if (strings[i].value)
                        r = dmaowner_request_set(q, strings[i].name, "s", strings[i].value);
        return r;
}

static int set_numbers(dmaowner_request *q, const Options *o) {
        int r = 0;

        if (o->force)
                r = dmaowner_request_set(q, "force", "b", 1);
        if (r == 0 && o->vfs > 0)
                r = dmaowner_request_set(q, "vfs", "u", (uint32_t)o->vfs);
        if (r == 0 && o->has_uid)
                r = dmaowner_request_set(q, "uid", "u", (uint32_t)o->uid);
        if (r == 0 && o->wait != 0)
                r = dmaowner_request_set(q, "wait", "t", o->wait);
        if (r == 0 && o->priority != 0)
                r = dmaowner_request_set(q, "priority", "i", (int32_t)o->priority);
        if (r == 0 && o->ttl != 0 && o->ttl != TIME_INFINITY) /* for ever is the default */
                r = dmaowner_request_set(q, "ttl", "t", o->ttl);
        return r;
}

int request_from_options(const Options *o, const char *owner, const char *holder,
                         dmaowner_request **ret) {
        _cleanup_(dmaowner_request_freep) dmaowner_request *q = NULL;
        int r;

        r = dmaowner_request_new(&q, o->kind ? o->kind : "user");
        if (r == 0)
                r = add_devices(q, o);
        if (r == 0)
                r = set_strings(q, o, owner, holder);
        if (r == 0)
                r = set_numbers(q, o);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(q);
        return 0;
}

int request_append_options(sd_bus_message *m, const Options *o) {
        _cleanup_(dmaowner_request_freep) dmaowner_request *q = NULL;
        int r = request_from_options(o, NULL, NULL, &q);

        return r < 0 ? r : dmaowner_request_append(q, m);
}
