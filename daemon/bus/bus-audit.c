/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What callers asked for stands in the journal: who they are, what it was about. */

#include <string.h>

#include "bus/bus-internal.h"
#include "manager/audit.h"
#include "util/strings.h"

#define GROUP_PREFIX BUS_ROOT "/group/"
#define LEASE_PREFIX BUS_ROOT "/lease/"

/* So many of those that a refused request has named are kept: it may have been made up. */
#define DEVICES_KEPT 32
#define DEVICE_KEPT  64 /* bytes */

/* The first argument, where it is a list of devices. */
static int read_devices(sd_bus_message *call, char ***ret) {
        const char *device;
        int r;

        if (!str_starts(sd_bus_message_get_signature(call, true), "as"))
                return 0;
        r = sd_bus_message_rewind(call, true);
        if (r >= 0)
                r = sd_bus_message_enter_container(call, 'a', "s");
        while (r >= 0 && strv_length(*ret) < DEVICES_KEPT &&
               (r = sd_bus_message_read(call, "s", &device)) > 0) {
                char kept[DEVICE_KEPT];

                r = strv_extend(ret, audit_text(kept, sizeof(kept), device));
        }
        return r;
}

static void describe(BusServer *s, sd_bus_message *call, const Caller *caller, char *const *devices,
                     AuditCall *ret) {
        const char *path = sd_bus_message_get_path(call);
        unsigned long long id;

        *ret = (AuditCall){
                .uid = caller->uid,
                .method = sd_bus_message_get_member(call),
                .devices = devices,
        };
        if (str_starts(path, LEASE_PREFIX))
                ret->lease = registry_lease(manager_registry(s->m), path + strlen(LEASE_PREFIX));
        if (str_starts(path, GROUP_PREFIX) &&
            parse_u64(path + strlen(GROUP_PREFIX), 10, &id) == 0 && id <= UINT32_MAX)
                ret->group = registry_group(manager_registry(s->m), (unsigned)id);
}

static void record_refusal(BusServer *s, sd_bus_message *call, const Caller *caller,
                           const Fault *fault) {
        _cleanup_(strv_freep) char **devices = NULL;
        AuditCall about;

        /* what cannot be read, or for want of memory, is not in the record */
        (void)read_devices(call, &devices);
        describe(s, call, caller, devices, &about);
        audit_refused(manager_audit(s->m), &about, error_code_to_string(fault->code),
                      fault->message);
}

int bus_refuse(BusServer *s, sd_bus_message *call, int r, const Fault *fault) {
        const Caller *caller;

        /* without a fault nothing was decided; of one who has left nothing can be told */
        if (fault_is_set(fault) && bus_caller(s, call, &caller) >= 0)
                record_refusal(s, call, caller, fault);
        return bus_reply_fault(call, r, fault);
}

void bus_audit_asked(BusServer *s, sd_bus_message *call, const Caller *caller) {
        _cleanup_(strv_freep) char **devices = NULL;
        AuditCall about;

        (void)read_devices(call, &devices);
        describe(s, call, caller, devices, &about);
        audit_asked(manager_audit(s->m), &about);
}
