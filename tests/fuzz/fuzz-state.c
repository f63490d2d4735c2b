/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A lease or a group that can be read from its file is the same when it is written and read again. */
#include "fuzz.h"

#include "shared/whole-json.h"
#include "store/state-json.h"

/* As the store reads a file. NULL: it is not JSON. */
static json_object *parse(const char *text) {
        json_tokener *tokener = json_tokener_new();
        json_object *o;

        assert(tokener);
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        o = json_tokener_parse_ex(tokener, text, -1);
        json_tokener_free(tokener);
        return o;
}

/* The text, as the store writes it, and what is read from that. */
static char *write_and_parse(json_object *o, json_object **ret) {
        const char *text = json_whole_text(o);
        char *copy;

        assert(text);
        copy = strdup(text);
        assert(copy);
        *ret = parse(copy);
        assert(*ret);
        return copy;
}

static json_object *lease_write(StoredLease *l) {
        const Lease lease = {
                .id = l->id,
                .state = l->state,
                .request = l->request,
                .revocation = l->revocation,
                .answered = l->answered,
        };

        return lease_to_json(&lease);
}

static void check_lease(json_object *o) {
        _cleanup_json_ json_object *first = NULL, *second = NULL, *third = NULL;
        _cleanup_free_ char *text = NULL, *again = NULL;
        const char *why = NULL;
        StoredLease l, m;

        if (stored_lease_from_json(o, &l, &why) < 0) {
                assert(why);
                return;
        }
        assert(l.id && l.request.owner.name);
        assert(l.request.n_choices > 0 || strv_length(l.request.devices) > 0);
        first = lease_write(&l);
        text = write_and_parse(first, &second);
        assert(stored_lease_from_json(second, &m, &why) == 0);
        third = lease_write(&m);
        again = strdup(json_whole_text(third));
        assert(again && strcmp(text, again) == 0);
        stored_lease_clear(&l);
        stored_lease_clear(&m);
}

/* The group that was written so; it has copies of nothing. */
static json_object *group_write(StoredGroup *g) {
        Device *devices = calloc(g->n_devices, sizeof(Device));
        size_t n_leases = strv_length(g->leases);
        Lease *leases = calloc(n_leases + 1, sizeof(Lease));
        Lease **counting = calloc(n_leases + 1, sizeof(Lease *));
        Group group = {
                .id = 7,
                .state = g->state,
                .owner = g->owner,
                .terms = g->terms,
                .node_uid = g->node_uid,
                .give_back = g->give_back,
                .requarantine = g->requarantine,
                .rebind = g->rebind,
                .guess = g->guess,
                .accepted = g->accepted,
                .recorded_type = g->recorded_type,
                .owed_type = g->owed_type,
                .waits_for = g->waits_for,
                .evict = g->evict,
                .devices = devices,
                .n_devices = g->n_devices,
                .leases = counting,
                .n_leases = n_leases,
        };
        json_object *o;

        assert(devices && leases && counting);
        for (size_t i = 0; i < g->n_devices; i++) {
                devices[i].facts.name = g->devices[i].name;
                devices[i].facts.total_vfs = 1;
                devices[i].record = g->devices[i].record;
                devices[i].next = i + 1 < g->n_devices ? &devices[i + 1] : NULL;
        }
        for (size_t i = 0; i < n_leases; i++) {
                leases[i].id = g->leases[i];
                counting[i] = &leases[i];
        }
        o = group_to_json(&group, g->step.kind < 0 ? NULL : &g->step);
        assert(o);
        free(devices);
        free(leases);
        free(counting);
        return o;
}

static void check_group(json_object *o) {
        _cleanup_json_ json_object *first = NULL, *second = NULL, *third = NULL;
        _cleanup_free_ char *text = NULL, *again = NULL;
        const char *why = NULL;
        StoredGroup g, h;

        if (stored_group_from_json(o, &g, &why) < 0) {
                assert(why);
                return;
        }
        assert(g.key && g.n_devices > 0);
        assert(g.state == GROUP_FREE ? g.owed_type != NULL : g.owner.name != NULL);
        first = group_write(&g);
        text = write_and_parse(first, &second);
        assert(stored_group_from_json(second, &h, &why) == 0);
        third = group_write(&h);
        again = strdup(json_whole_text(third));
        assert(again && strcmp(text, again) == 0);
        stored_group_clear(&g);
        stored_group_clear(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size);
        _cleanup_json_ json_object *o = parse(text);

        if (!o)
                return 0;
        check_lease(o);
        check_group(o);
        return 0;
}
