/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <string.h>

#include "bus/bus-internal.h"
#include "util/strings.h"

int bus_property_get(BusServer *s, const BusProperty *table, const char *name,
                     sd_bus_message *reply, const void *object) {
        sd_bus_message *call = s->signalling ? NULL : sd_bus_get_current_message(s->bus);
        const Caller *caller = NULL;

        if (call && sd_bus_message_get_sender(call) && bus_caller(s, call, &caller) < 0)
                caller = NULL;
        for (; table->name; table++)
                if (strcmp(table->name, name) == 0)
                        return table->append(reply, object, caller);
        return -EINVAL;
}

int bus_property_append_all(sd_bus_message *reply, const BusProperty *table, const void *object,
                            const Caller *caller) {
        int r = 0;

        for (; r >= 0 && table->name; table++) {
                r = sd_bus_message_open_container(reply, 'e', "sv");
                if (r >= 0)
                        r = sd_bus_message_append(reply, "s", table->name);
                if (r >= 0)
                        r = sd_bus_message_open_container(reply, 'v', table->signature);
                if (r >= 0)
                        r = table->append(reply, object, caller);
                if (r >= 0)
                        r = sd_bus_message_close_container(reply);
                if (r >= 0)
                        r = sd_bus_message_close_container(reply);
        }
        return r;
}

int bus_append_entry(sd_bus_message *reply, const char *name, const char *type, ...) {
        va_list ap;
        int r;

        r = sd_bus_message_open_container(reply, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(reply, "s", name);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'v', type);
        if (r >= 0) {
                va_start(ap, type);
                r = sd_bus_message_appendv(reply, type, ap);
                va_end(ap);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

int bus_append_owner(sd_bus_message *reply, const Owner *owner, const Caller *caller) {
        bool shown = owner->name && caller && caller_may_see(caller, owner->uid);

        return sd_bus_message_append(reply, "(us)", shown ? (uint32_t)owner->uid : UINT32_MAX,
                                     shown ? owner->name : "");
}

int bus_reply_fault(sd_bus_message *call, int r, const Fault *fault) {
        if (fault_is_set(fault))
                return sd_bus_reply_method_errorf(call, error_code_to_string(fault->code), "%s",
                                                  fault->message);
        return sd_bus_reply_method_errno(call, r, NULL);
}
