/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Taking up after a restart: what the kernel shows now, the records of the groups and the leases
 * come together. No leased device is touched. What was under way is planned again from what is
 * now: a claim goes on, a way back goes on. A lease whose holder died meanwhile ends.
 */

#include <string.h>

#include "manager/manager-internal.h"
#include "util/log.h"
#include "util/strings.h"

static Group *find_group(Manager *m, const StoredGroup *stored) {
        for (size_t i = 0; i < stored->n_devices; i++) {
                Device *d = registry_device(m->registry, stored->devices[i].name);

                if (d && d->group)
                        return d->group;
        }
        return NULL;
}

static int adopt_records(Manager *m, Group *g, StoredGroup *stored) {
        for (size_t i = 0; i < stored->n_devices; i++) {
                Device *d = registry_device(m->registry, stored->devices[i].name);
                HostRecord *record = &stored->devices[i].record;
                int r;

                if (!d || d->group != g)
                        continue;
                if (record->unknown) {
                        device_lose_record(d);
                        continue;
                }
                r = device_set_record(d, record->driver, record->driver_override);
                if (r == 0)
                        r = device_set_vf_settings(d, record->vf_settings);
                if (r < 0)
                        return r;
                device_set_vf_record(d, record->num_vfs, record->vf_autoprobe);
        }
        return 0;
}

/* A file that means nothing. That it cannot be removed now is no reason not to start. */
static int drop_file(Manager *m, int removed) {
        if (removed < 0)
                catch_up_files(m);
        return 0;
}

/* What somebody else has changed since is not owed any more. */
static int adopt_owed(Manager *m, Group *g, const StoredGroup *stored) {
        int r = registry_adopt_owed(g, stored->owed_type);

        return r == -EINVAL ? drop_file(m, store_remove_group(m->store, stored->key)) : r;
}

static int adopt_group(Manager *m, StoredGroup *stored, Changes *c) {
        Group *g = find_group(m, stored);
        int r;

        if (!g) {
                log_warning("The devices of group file %s are gone; dropped", stored->key);
                return drop_file(m, store_remove_group(m->store, stored->key));
        }
        if (g->state != GROUP_FREE) {
                log_warning("Two records for group %u; the one of %s is dropped", g->id,
                            stored->key);
                return drop_file(m, store_remove_group(m->store, stored->key));
        }
        if (stored->state == GROUP_FREE)
                return adopt_owed(m, g, stored);
        r = adopt_records(m, g, stored);
        if (r < 0)
                return r;
        if (stored->step.kind >= 0) {
                _cleanup_free_ char *step = step_describe(&stored->step);

                log_notice("Group %u was %s; the last step written down is: %s", g->id,
                           group_state_to_string(stored->state), step ? step : "?");
        }
        r = registry_adopt_group(m->registry, g, stored->state, &stored->owner, &stored->terms,
                                 stored->node_uid, stored->recorded_type, c);
        g->audited = stored->state;
        g->evict = stored->evict;
        g->give_back = stored->give_back;
        g->requarantine = stored->requarantine;
        g->rebind = stored->rebind;
        g->guess = stored->guess;
        g->accepted = stored->accepted;
        if (r == 0 && stored->untouched)
                r = registry_adopt_untouched(g);
        if (r == 0 && stored->waits_for)
                r = registry_group_set_waits_for(g, stored->waits_for, c);
        if (r == 0 && stored->step.kind >= 0)
                r = switch_note_left_behind(m, g, &stored->step);
        /* the device that the file is named after has gone: it is written under another name now */
        if (r == 0 && !str_eq(store_group_key(g), stored->key))
                catch_up_files(m);
        return r;
}

static int adopt_lease(Manager *m, StoredLease *stored, Changes *c) {
        Lease *l;
        int r;

        if (!stored->answered) {
                log_notice("Lease %s was asked for, but not granted before the daemon ended; dropped",
                           stored->id);
                (void)drop_file(m, store_remove_lifeline(m->store, stored->id));
                return drop_file(m, store_remove_lease(m->store, stored->id));
        }
        if (lease_state_is_alive(stored->state)) {
                r = salvage_groups(m, &stored->request, c);
                if (r < 0)
                        return r;
        }
        r = registry_adopt_lease(m->registry, stored->id, stored->state, &stored->request, &l, c);
        if (r == -EINVAL || r == -EEXIST) {
                log_warning("Lease file %s does not fit its name; dropped", stored->id);
                return drop_file(m, store_remove_lease(m->store, stored->id));
        }
        if (r < 0)
                return r;
        l->answered = true;
        if (l->state == LEASE_REVOKING) {
                l->revocation = stored->revocation;
                stored->revocation = (Revocation){};
        }
        return holder_restore(m, l);
}

/* What was under way may still be: a step that hangs has outlived the daemon. */
static int check_under_way(Manager *m, Group *g) {
        bool under_way = g->state == GROUP_CLAIMING || g->state == GROUP_DRAINING ||
                         g->state == GROUP_RESTORING;

        return under_way ? switch_distrust(m, g) : 0;
}

/* Somebody rebound a leased device while nobody looked? */
static int check_unchanged(Manager *m, Group *g, Changes *c) {
        _cleanup_free_ char *what = NULL, *why = NULL;
        int r;

        if (!group_has_to_stay(g))
                return 0;
        r = group_deviation(g, &what);
        if (r < 0 || !what)
                return r;
        why = str_format("%s; that was done while the daemon was not running", what);
        return why ? registry_group_lost(m->registry, g, why, c) : -ENOMEM;
}

int manager_recover(Manager *m) {
        _cleanup_stored_state_ StoredState state = {};
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r;

        r = store_load(m->store, &state);
        registry_set_last_seq(m->registry, state.last_seq);
        for (char **message = state.messages; r == 0 && message && *message; message++)
                log_warning("%s", *message);
        for (size_t i = 0; r == 0 && i < state.n_groups; i++)
                r = adopt_group(m, &state.groups[i], &c);
        for (size_t i = 0; r == 0 && i < state.n_leases; i++)
                r = adopt_lease(m, &state.leases[i], &c);
        for (char **id = state.damaged_leases; r == 0 && id && *id; id++)
                r = salvage_lease(m, *id, &state, &c);
        for (char **key = state.damaged_groups; r == 0 && key && *key; key++)
                r = salvage_group(m, *key, &c);
        if (r == 0)
                r = manager_adopt_files(m, &c);
        if (r == 0)
                r = registry_adopt_done(m->registry, &c);
        for (Group *g = registry_groups(m->registry); r == 0 && g; g = g->hh.next) {
                r = check_unchanged(m, g, &c);
                if (r == 0)
                        r = check_under_way(m, g);
        }
        if (r < 0) {
                log_error("Cannot take up the state of the last run: %s", strerror(-r));
                return r;
        }
        if (state.n_leases > 0 || state.n_groups > 0)
                log_info("Took up %zu leases and %zu groups of the last run", state.n_leases,
                         state.n_groups);
        m->started = true;
        audit_take_up(m->audit);
        (void)manager_commit(m, &c); /* a failed write is logged, and made again */
        return 0;
}
