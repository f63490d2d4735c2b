/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "core/registry-private.h"
#include "util/strings.h"

int registry_new(Registry **ret) {
        Registry *r = calloc(1, sizeof(Registry));

        if (!r)
                return -ENOMEM;
        *ret = r;
        return 0;
}

static Device *device_free(Device *d) {
        if (!d)
                return NULL;
        device_facts_clear(&d->facts);
        free(d->record.driver);
        free(d->record.driver_override);
        free(d->record.vf_settings);
        driver_wish_clear(&d->wish);
        free(d->rules.protect);
        device_use_clear(&d->use);
        free(d->in_use);
        free(d);
        return NULL;
}

DEFINE_CLEANUP(Device *, device_free);

Registry *registry_free(Registry *r) {
        Device *d, *next_device;
        Group *g, *next_group;
        Lease *l, *next_lease;

        if (!r)
                return NULL;
        HASH_ITER(hh, r->leases, l, next_lease) {
                HASH_DEL(r->leases, l);
                (void)lease_free(l);
        }
        HASH_ITER(hh, r->devices, d, next_device) {
                HASH_DEL(r->devices, d);
                (void)device_free(d);
        }
        HASH_ITER(hh, r->groups, g, next_group) {
                HASH_DEL(r->groups, g);
                (void)group_free(g);
        }
        while ((g = r->vanished)) {
                r->vanished = g->next_vanished;
                (void)group_free(g);
        }
        free(r->queue);
        free(r);
        return NULL;
}

Device *registry_device(Registry *r, const char *name) {
        Device *d;

        HASH_FIND_STR(r->devices, name, d);
        return d;
}

Group *registry_group(Registry *r, unsigned id) {
        Group *g;

        HASH_FIND_INT(r->groups, &id, g);
        return g;
}

Lease *registry_lease(Registry *r, const char *id) {
        Lease *l;

        HASH_FIND_STR(r->leases, id, l);
        return l;
}

static int device_compare(const Device *a, const Device *b) {
        return device_name_compare(a->facts.name, b->facts.name);
}

static int group_compare(const Group *a, const Group *b) {
        return (a->id > b->id) - (a->id < b->id);
}

static int lease_compare(const Lease *a, const Lease *b) {
        return (a->seq > b->seq) - (a->seq < b->seq);
}

Device *registry_devices(Registry *r) {
        if (r->devices_unsorted)
                HASH_SORT(r->devices, device_compare);
        r->devices_unsorted = false;
        return r->devices;
}

Group *registry_groups(Registry *r) {
        if (r->groups_unsorted)
                HASH_SORT(r->groups, group_compare);
        r->groups_unsorted = false;
        return r->groups;
}

Lease *registry_leases(Registry *r) {
        if (r->leases_unsorted)
                HASH_SORT(r->leases, lease_compare);
        r->leases_unsorted = false;
        return r->leases;
}

Group *registry_next_group(Registry *r, long long after) {
        Group *g = registry_groups(r), *last = NULL;

        if (after >= 0 && after <= UINT32_MAX)
                last = registry_group(r, (unsigned)after);
        if (last)
                return last->hh.next;
        while (g && (long long)g->id <= after)
                g = g->hh.next;
        return g;
}

Lease *registry_next_lease(Registry *r, unsigned long long after) {
        Lease *l = registry_leases(r), *last;
        char id[32];

        (void)snprintf(id, sizeof(id), "l%llu", after);
        last = registry_lease(r, id);
        if (last)
                return last->hh.next;
        while (l && l->seq <= after)
                l = l->hh.next;
        return l;
}

void registry_set_last_seq(Registry *r, unsigned long long seq) {
        if (seq > r->last_seq)
                r->last_seq = seq;
}

int registry_add_lease(Registry *r, Lease *l) {
        Lease *previous;

        HASH_ADD_KEYPTR(hh, r->leases, l->id, strlen(l->id), l);
        if (!l->hh.tbl)
                return -ENOMEM;
        previous = l->hh.prev;
        if (previous && previous->seq > l->seq)
                r->leases_unsorted = true;
        registry_set_last_seq(r, l->seq);
        return 0;
}

static int registry_add_device(Registry *r, Device *d) {
        Device *previous;

        HASH_ADD_KEYPTR(hh, r->devices, d->facts.name, strlen(d->facts.name), d);
        if (!d->hh.tbl)
                return -ENOMEM;
        previous = d->hh.prev;
        if (previous && device_compare(previous, d) > 0)
                r->devices_unsorted = true;
        return 0;
}

static int registry_add_group(Registry *r, unsigned id, Group **ret) {
        Group *g = calloc(1, sizeof(Group)), *previous;

        if (!g)
                return -ENOMEM;
        g->id = id;
        g->terms.kind = _OWNER_KIND_INVALID;
        HASH_ADD_INT(r->groups, id, g);
        if (!g->hh.tbl) {
                free(g);
                return -ENOMEM;
        }
        previous = g->hh.prev;
        if (previous && previous->id > id)
                r->groups_unsorted = true;
        *ret = g;
        return 0;
}

static void group_add_device(Group *g, Device *d) {
        Device **place = &g->devices;

        while (*place && device_compare(*place, d) < 0)
                place = &(*place)->next;
        d->next = *place;
        *place = d;
        d->group = g;
        g->n_devices++;
}

static void group_remove_device(Registry *r, Group *g, Device *d) {
        Device **place = &g->devices;

        while (*place != d)
                place = &(*place)->next;
        *place = d->next;
        g->n_devices--;
        if (g->n_devices > 0)
                return;
        HASH_DEL(r->groups, g);
        g->next_vanished = r->vanished;
        r->vanished = g;
}

void registry_forget_group(Registry *r, Group *g) {
        Group **place = &r->vanished;

        while (*place && *place != g)
                place = &(*place)->next_vanished;
        if (!*place)
                return;
        *place = g->next_vanished;
        (void)group_free(g);
}

static int registry_device_new(Registry *r, const DeviceFacts *facts, Changes *c) {
        _cleanup_(device_freep) Device *d = calloc(1, sizeof(Device));
        Group *g = NULL, *added = NULL;

        if (!d)
                return -ENOMEM;
        d->facts = DEVICE_FACTS_NULL;
        if (device_facts_copy(&d->facts, facts) < 0 || changes_reserve(c, 1, 0, 1) < 0)
                return -ENOMEM;
        if (facts->group >= 0) {
                g = registry_group(r, (unsigned)facts->group);
                if (!g) {
                        if (registry_add_group(r, (unsigned)facts->group, &added) < 0)
                                return -ENOMEM;
                        g = added;
                }
        }
        if (registry_add_device(r, d) < 0) {
                if (added) {
                        HASH_DEL(r->groups, added);
                        (void)group_free(added);
                }
                return -ENOMEM;
        }
        if (g) {
                group_add_device(g, d);
                d->lent = true; /* if it is on VFIO its node is the owner's as well */
                device_note_lent(d);
                changes_add_group(c, g);
        }
        changes_add_device(c, d);
        (void)TAKE_PTR(d);
        return 0;
}

/* It is the whole group's: who is seen last knows it best, as no event tells of it, and those without a driver have no
 * events at all. */
static int group_share_type(Group *g, const char *type) {
        for (Device *d = g->devices; d && !str_empty(type); d = d->next)
                if (str_set(&d->facts.default_domain_type, type) < 0)
                        return -ENOMEM;
        return 0;
}

int registry_device_seen(Registry *r, const DeviceFacts *facts, Changes *c) {
        _cleanup_device_facts_ DeviceFacts copy = DEVICE_FACTS_NULL;
        Device *d = registry_device(r, facts->name);
        char *name;

        if (d && d->facts.group != facts->group) {
                if (registry_device_removed(r, facts->name, c) < 0)
                        return -ENOMEM;
                d = NULL;
        }
        if (!d)
                return registry_device_new(r, facts, c);
        if (device_facts_equal(&d->facts, facts))
                return 0;
        if (device_facts_copy(&copy, facts) < 0 || changes_reserve(c, 1, 0, 1) < 0 ||
            (d->group && (group_record_again(d->group, facts) < 0 ||
                          group_share_type(d->group, facts->default_domain_type) < 0)))
                return -ENOMEM;
        /* the hash table points to the name */
        name = TAKE_PTR(d->facts.name);
        free(copy.name);
        copy.name = NULL;
        device_facts_clear(&d->facts);
        d->facts = copy;
        d->facts.name = name;
        copy = DEVICE_FACTS_NULL;
        device_note_lent(d);
        changes_add_device(c, d);
        if (d->group)
                changes_add_group(c, d->group);
        return 0;
}

int registry_device_removed(Registry *r, const char *name, Changes *c) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        Device *d = registry_device(r, name);
        Group *g;

        if (!d)
                return 0;
        g = d->group;
        if (g) {
                (void)fault_set(&why, ERROR_LOST, "%s was removed from the host", name);
                if (group_drop_leases(r, g, LEASE_LOST, &why, c) < 0 ||
                    queue_drop_device(r, g, name, c) < 0)
                        return -ENOMEM;
                group_remove_device(r, g, d);
                changes_add_group(c, g);
        }
        changes_drop_device(c, d);
        HASH_DEL(r->devices, d);
        (void)device_free(d);
        return 0;
}

void registry_device_probed(Device *d) {
        d->probed = true;
}

int registry_device_set_in_use(Device *d, const char *why, Changes *c) {
        if (str_eq(d->in_use, why))
                return 0;
        if (changes_reserve(c, 0, 0, 1) < 0 || str_set(&d->in_use, why) < 0)
                return -ENOMEM;
        changes_add_device(c, d);
        return 0;
}
