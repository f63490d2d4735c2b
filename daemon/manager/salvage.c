/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Groups and leases whose files were damaged. What is known of them all the same - a lease and its groups
 * know each other, and a file has a name - keeps them from counting as free, or as ended. Nothing is
 * undone, and nothing is given to anybody, on the strength of a record that is not there.
 */

#include <string.h>

#include "manager/manager-internal.h"
#include "util/log.h"
#include "util/strings.h"

/* Of whom nothing is known. */
#define UNKNOWN_UID UINT32_MAX

static bool group_is_recorded(const Group *g) {
        return g->state != GROUP_FREE;
}

int salvage_groups(Manager *m, const Request *request, Changes *c) {
        const Terms terms = request_terms(request);

        /* what is made for it is no group of the host's */
        if (request->terms.pf || request->terms.vfs > 0)
                return 0;
        for (char **name = request->devices; name && *name; name++) {
                Device *d = registry_device(m->registry, *name);
                Group *g = d ? d->group : NULL;
                int r;

                if (!g || group_is_recorded(g) || !group_is_switched(g, &terms))
                        continue;
                log_warning("Group %u has no record, but a lease has it: what the host had is not "
                            "known any more",
                            g->id);
                r = registry_adopt_unrecorded(m->registry, g, request, NULL, c);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Those that a driver was named for, or all that can be leased. */
static int add_devices(Manager *m, const StoredGroup *g, Request *ret) {
        int r = 0;

        for (char **name = g->terms.devices; r == 0 && name && *name; name++)
                if (!strv_contains(ret->devices, *name))
                        r = strv_extend(&ret->devices, *name);
        for (size_t i = 0; r == 0 && !g->terms.devices && i < g->n_devices; i++) {
                const Device *d = registry_device(m->registry, g->devices[i].name);

                if (d && !d->facts.bridge)
                        r = strv_extend(&ret->devices, d->facts.name);
        }
        return r;
}

/* The groups that the lease counted on, as far as they have a record that could tell. */
static int find_request(Manager *m, const char *id, const StoredState *state, Request *ret) {
        for (size_t i = 0; i < state->n_groups; i++) {
                const StoredGroup *g = &state->groups[i];
                int r;

                if (!strv_contains(g->leases, id))
                        continue;
                r = add_devices(m, g, ret);
                if (r == 0)
                        r = request_take_terms(ret, &g->owner, &g->terms);
                if (r < 0)
                        return r;
                ret->uid = g->node_uid;
        }
        return 0;
}

int salvage_lease(Manager *m, const char *id, const StoredState *state, Changes *c) {
        _cleanup_request_ Request request = REQUEST_NULL;
        Lease *l;
        int r;

        r = find_request(m, id, state, &request);
        /* a lease of VFs is more than its groups know */
        if (r < 0 || !request.devices || request.terms.pf || request.terms.vfs > 0)
                return r;
        request.holder = HOLDER_LIFELINE;
        request.created = manager_now(m);
        r = registry_adopt_lease(m->registry, id, LEASE_ACTIVE, &request, &l, c);
        if (r == -EINVAL || r == -EEXIST)
                return 0; /* what is called like that was no lease */
        if (r < 0)
                return r;
        l->answered = true;
        log_warning("Lease %s goes on as what is known of it by its groups: of %s (uid %lu)", id,
                    l->request.owner.name, (unsigned long)l->request.owner.uid);
        return holder_restore(m, l);
}

static bool group_is_on_vfio(const Group *g) {
        for (const Device *d = g->devices; d; d = d->next)
                if (driver_is_vfio(d->facts.driver))
                        return true;
        return false;
}

static int lose_group(Manager *m, Group *g, Changes *c) {
        static char nobody[] = "an unknown owner";
        static const char why[] =
                "its record was damaged, and with it is lost whose it is and what the host had: Retry "
                "takes it back and gives its devices to the drivers that the kernel chooses, Accept "
                "leaves them as they are";
        Request request = REQUEST_NULL;

        if (group_is_recorded(g))
                return 0;
        request.owner = (Owner){ .uid = UNKNOWN_UID, .name = nobody };
        request.uid = UNKNOWN_UID;
        request.terms.kind = group_is_on_vfio(g) ? OWNER_KIND_USER : OWNER_KIND_DMA_API;
        log_warning("Group %u: %s", g->id, why);
        return registry_adopt_unrecorded(m->registry, g, &request, why, c);
}

int salvage_group(Manager *m, const char *device, Changes *c) {
        Device *d = registry_device(m->registry, device);

        return d && d->group ? lose_group(m, d->group, c) : 0;
}

int salvage_kept(Manager *m, Group *g, Changes *c) {
        return group_is_on_vfio(g) ? lose_group(m, g, c) : 0;
}
