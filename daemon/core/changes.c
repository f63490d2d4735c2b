/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/registry-private.h"

void changes_clear(Changes *c) {
        free(c->groups);
        free(c->leases);
        free(c->devices);
        *c = CHANGES_NULL;
}

/* Room for n pointers; NULL on lack of memory, with array and *size untouched. */
static void *grow(void *array, size_t *size, size_t n) {
        size_t larger = *size < 4 ? 4 : *size;
        void *p;

        if (array && n <= *size)
                return array;
        while (larger < n)
                larger *= 2;
        p = reallocarray(array, larger, sizeof(void *));
        if (p)
                *size = larger;
        return p;
}

int changes_reserve(Changes *c, size_t groups, size_t leases, size_t devices) {
        void *p;

        p = grow(c->groups, &c->groups_size, c->n_groups + groups);
        if (!p)
                return -ENOMEM;
        c->groups = p;
        p = grow(c->leases, &c->leases_size, c->n_leases + leases);
        if (!p)
                return -ENOMEM;
        c->leases = p;
        p = grow(c->devices, &c->devices_size, c->n_devices + devices);
        if (!p)
                return -ENOMEM;
        c->devices = p;
        return 0;
}

/* An object is in the array exactly if it stands where its slot says. */
void changes_add_group(Changes *c, Group *g) {
        if (g->change_slot < c->n_groups && c->groups[g->change_slot] == g)
                return;
        g->change_slot = c->n_groups;
        c->groups[c->n_groups++] = g;
}

void changes_add_lease(Changes *c, Lease *l) {
        if (l->change_slot < c->n_leases && c->leases[l->change_slot] == l)
                return;
        l->change_slot = c->n_leases;
        c->leases[c->n_leases++] = l;
}

void changes_add_device(Changes *c, Device *d) {
        if (d->change_slot < c->n_devices && c->devices[d->change_slot] == d)
                return;
        d->change_slot = c->n_devices;
        c->devices[c->n_devices++] = d;
}

void changes_drop_device(Changes *c, Device *d) {
        if (d->change_slot >= c->n_devices || c->devices[d->change_slot] != d)
                return;
        c->devices[d->change_slot] = c->devices[--c->n_devices];
        c->devices[d->change_slot]->change_slot = d->change_slot;
}

int registry_take_behind(Registry *r, Changes *c) {
        if (changes_reserve(c, HASH_COUNT(r->groups), HASH_COUNT(r->leases),
                            HASH_COUNT(r->devices)) < 0)
                return -ENOMEM;
        for (Group *g = r->groups; g; g = g->hh.next)
                if (g->behind) {
                        g->behind = false;
                        changes_add_group(c, g);
                }
        for (Lease *l = r->leases; l; l = l->hh.next)
                if (l->behind) {
                        l->behind = false;
                        changes_add_lease(c, l);
                }
        for (Device *d = r->devices; d; d = d->hh.next)
                if (d->behind) {
                        d->behind = false;
                        changes_add_device(c, d);
                }
        return 0;
}
