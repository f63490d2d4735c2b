/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/state-json.h"

#include "core/queue.h"
#include "util/strings.h"

#define STATE_VERSION 1

/* writing: a builder that remembers the first failure, so that callers check once */

typedef struct Builder {
        json_object *o;
        bool failed;
} Builder;

static Builder builder_new(void) {
        Builder b = { .o = json_object_new_object() };

        b.failed = !b.o;
        return b;
}

static void put(Builder *b, const char *name, json_object *value) {
        if (!value || b->failed || json_object_object_add(b->o, name, value) < 0) {
                b->failed = true;
                if (value)
                        json_object_put(value);
        }
}

/* Nothing at all stands for NULL. */
static void put_string(Builder *b, const char *name, const char *value) {
        if (value)
                put(b, name, json_object_new_string(value));
}

static void put_uint(Builder *b, const char *name, uint64_t value) {
        put(b, name, json_object_new_uint64(value));
}

static json_object *builder_finish(Builder *b) {
        if (b->failed) {
                json_object_put(b->o);
                return NULL;
        }
        return b->o;
}

static void put_owner(Builder *b, const Owner *owner) {
        put_uint(b, "owner-uid", owner->uid);
        put_string(b, "owner", owner->name);
}

static json_object *names_to_json(char *const *names) {
        json_object *list = json_object_new_array();

        for (; list && names && *names; names++) {
                json_object *name = json_object_new_string(*names);

                if (!name || json_object_array_add(list, name) < 0) {
                        json_object_put(name);
                        json_object_put(list);
                        return NULL;
                }
        }
        return list;
}

static json_object *lease_ids_to_json(const Group *g) {
        json_object *list = json_object_new_array();

        for (size_t i = 0; list && i < g->n_leases; i++) {
                json_object *id = json_object_new_string(g->leases[i]->id);

                if (!id || json_object_array_add(list, id) < 0) {
                        json_object_put(id);
                        json_object_put(list);
                        return NULL;
                }
        }
        return list;
}

static json_object *choices_to_json(const Request *q) {
        json_object *lists = json_object_new_array();

        for (size_t i = 0; lists && i < q->n_choices; i++) {
                json_object *list = names_to_json(q->choices[i]);

                if (!list || json_object_array_add(lists, list) < 0) {
                        json_object_put(list);
                        json_object_put(lists);
                        return NULL;
                }
        }
        return lists;
}

static json_object *terms_to_json(const Terms *t) {
        Builder b = builder_new();

        put_string(&b, "kind", owner_kind_to_string(t->kind));
        put_string(&b, "access", access_to_string(t->access));
        put_string(&b, "interface", vfio_interface_to_string(t->interface));
        put_string(&b, "driver", t->driver);
        if (t->devices)
                put(&b, "devices", names_to_json(t->devices));
        put_string(&b, "default-domain-type", t->default_domain_type);
        put_string(&b, "reset", t->reset);
        if (t->vfs > 0)
                put_uint(&b, "vfs", t->vfs);
        put_string(&b, "pf", t->pf);
        if (t->pool)
                put_uint(&b, "pool", t->pool);
        return builder_finish(&b);
}

static json_object *revocation_to_json(const Revocation *v) {
        Builder b = builder_new();

        put_string(&b, "reason", v->reason);
        put_uint(&b, "deadline", v->deadline);
        put_uint(&b, "by-queue", v->by_queue);
        put_string(&b, "former", lease_state_to_string(v->former));
        return builder_finish(&b);
}

static json_object *gids_to_json(const Caller *c) {
        json_object *list = json_object_new_array();

        for (size_t i = 0; list && i < c->n_gids; i++) {
                json_object *gid = json_object_new_int64(c->gids[i]);

                if (!gid || json_object_array_add(list, gid) < 0) {
                        json_object_put(gid);
                        json_object_put(list);
                        return NULL;
                }
        }
        return list;
}

static json_object *caller_to_json(const Caller *c) {
        Builder b = builder_new();

        put_uint(&b, "uid", c->uid);
        put(&b, "gids", gids_to_json(c));
        put_string(&b, "unit", c->unit);
        put_uint(&b, "privileged", c->privileged);
        put_uint(&b, "member", c->member);
        return builder_finish(&b);
}

json_object *lease_to_json(const Lease *l) {
        const Request *q = &l->request;
        Builder b = builder_new();

        put_uint(&b, "version", STATE_VERSION);
        put_string(&b, "id", l->id);
        put_string(&b, "state", lease_state_to_string(l->asking ? LEASE_QUEUED : l->state));
        /* what was chosen in the queue is chosen anew */
        put(&b, "devices", names_to_json(l->asking && q->n_choices > 0 ? NULL : q->devices));
        if (q->n_choices > 0)
                put(&b, "choices", choices_to_json(q));
        put(&b, "terms", terms_to_json(&q->terms));
        put_owner(&b, &q->owner);
        put_uint(&b, "uid", q->uid);
        put(&b, "caller", caller_to_json(&q->caller));
        put_uint(&b, "authorised", q->authorised);
        put_string(&b, "label", q->label);
        put_string(&b, "holder", holder_type_to_string(q->holder));
        put_uint(&b, "holder-pid", (uint64_t)q->holder_pid);
        put_uint(&b, "holder-start", q->holder_start);
        put_string(&b, "holder-name", q->holder_name);
        put_uint(&b, "grace", q->grace);
        put_uint(&b, "created", q->created);
        put_uint(&b, "expires", q->expires);
        put_uint(&b, "ttl", q->ttl);
        put_uint(&b, "wait-until", q->wait_until);
        put(&b, "priority", json_object_new_int(q->priority));
        if (l->revocation.reason)
                put(&b, "revocation", revocation_to_json(&l->revocation));
        put_uint(&b, "force", q->force);
        put_uint(&b, "answered", l->answered);
        return builder_finish(&b);
}

static json_object *record_to_json(const Device *d) {
        Builder b = builder_new();

        put_string(&b, "name", d->facts.name);
        if (d->record.unknown)
                put_uint(&b, "unknown", 1);
        put_string(&b, "driver", d->record.driver);
        put_string(&b, "driver-override", d->record.driver_override);
        if (d->facts.total_vfs > 0) {
                put_uint(&b, "num-vfs", d->record.num_vfs);
                put_uint(&b, "vf-autoprobe", d->record.vf_autoprobe);
        }
        put_string(&b, "vf-settings", d->record.vf_settings);
        return builder_finish(&b);
}

/* What a free group keeps. */
static json_object *owed_to_json(const Group *g) {
        json_object *devices = json_object_new_array();
        Builder b = builder_new();

        for (const Device *d = g->devices; devices && d; d = d->next) {
                json_object *record = record_to_json(d);

                if (!record || json_object_array_add(devices, record) < 0)
                        b.failed = true;
        }
        put_uint(&b, "version", STATE_VERSION);
        put_string(&b, "key", store_group_key(g));
        put_uint(&b, "group", g->id);
        put_string(&b, "state", group_state_to_string(g->state));
        put_string(&b, "owed-type", g->owed_type);
        put(&b, "devices", devices);
        return builder_finish(&b);
}

json_object *group_to_json(const Group *g, const Step *step) {
        json_object *devices;
        Builder b;

        if (g->state == GROUP_FREE)
                return owed_to_json(g);
        devices = json_object_new_array();
        b = builder_new();
        for (const Device *d = g->devices; devices && d; d = d->next) {
                json_object *record;

                if (!d->record.valid)
                        continue;
                record = record_to_json(d);
                if (!record || json_object_array_add(devices, record) < 0)
                        b.failed = true;
        }
        put_uint(&b, "version", STATE_VERSION);
        put_string(&b, "key", store_group_key(g));
        put_uint(&b, "group", g->id);
        put_string(&b, "state", group_state_to_string(g->state));
        put_owner(&b, &g->owner);
        put(&b, "terms", terms_to_json(&g->terms));
        put_uint(&b, "node-uid", g->node_uid);
        put_uint(&b, "give-back", g->give_back);
        put_uint(&b, "requarantine", g->requarantine);
        put_uint(&b, "rebind", g->rebind);
        put_uint(&b, "guess", g->guess);
        put_uint(&b, "accepted", g->accepted);
        put_uint(&b, "untouched", group_is_untouched(g));
        put_string(&b, "default-domain-type", g->recorded_type);
        put_string(&b, "waits-for", g->waits_for);
        put_uint(&b, "evict", g->evict);
        put(&b, "devices", devices);
        put(&b, "leases", lease_ids_to_json(g));
        if (step)
                put(&b, "step", step_to_json(step));
        return builder_finish(&b);
}

/* reading */

static int get_string(json_object *o, const char *name, bool required, char **ret,
                      const char **ret_why) {
        const char *s = json_get_string(o, name);

        if (!s && required) {
                *ret_why = "a member is missing";
                return -EINVAL;
        }
        return str_set(ret, s);
}

static int get_uint(json_object *o, const char *name, uint64_t max, uint64_t *ret,
                    const char **ret_why) {
        unsigned long long value;

        if (json_get_uint(o, name, max, &value) < 0) {
                *ret_why = "a number is missing or out of range";
                return -EINVAL;
        }
        *ret = value;
        return 0;
}

static int get_uid(json_object *o, const char *name, uid_t *ret, const char **ret_why) {
        uint64_t value;
        int r = get_uint(o, name, UINT32_MAX, &value, ret_why);

        if (r == 0)
                *ret = (uid_t)value;
        return r;
}

static int get_flag(json_object *o, const char *name, bool *ret, const char **ret_why) {
        uint64_t value;
        int r = get_uint(o, name, 1, &value, ret_why);

        if (r == 0)
                *ret = value;
        return r;
}

/* One that files of earlier versions do not have. */
static int get_later_flag(json_object *o, const char *name, bool *ret, const char **ret_why) {
        return json_object_object_get_ex(o, name, NULL) ? get_flag(o, name, ret, ret_why) : 0;
}

static int check_version(json_object *o, const char **ret_why) {
        uint64_t version;
        int r;

        if (!json_object_is_type(o, json_type_object)) {
                *ret_why = "is not an object";
                return -EINVAL;
        }
        r = get_uint(o, "version", UINT64_MAX, &version, ret_why);
        if (r < 0)
                return r;
        if (version != STATE_VERSION) {
                *ret_why = "is of another version";
                return -EINVAL;
        }
        return 0;
}

static int get_names(json_object *names, char ***ret, const char **ret_why) {
        if (!json_object_is_type(names, json_type_array)) {
                *ret_why = "lists names wrongly";
                return -EINVAL;
        }
        for (size_t i = 0; i < json_object_array_length(names); i++) {
                json_object *name = json_object_array_get_idx(names, i);
                int r;

                if (!json_object_is_type(name, json_type_string)) {
                        *ret_why = "has a name that is no text";
                        return -EINVAL;
                }
                r = strv_extend(ret, json_object_get_string(name));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int get_devices(json_object *o, char ***ret, const char **ret_why) {
        json_object *devices;

        if (!json_object_object_get_ex(o, "devices", &devices) ||
            !json_object_is_type(devices, json_type_array) ||
            json_object_array_length(devices) == 0) {
                *ret_why = "has no devices";
                return -EINVAL;
        }
        return get_names(devices, ret, ret_why);
}

/* Without choices the devices have to be named. */
static int get_choices(json_object *o, Request *q, const char **ret_why) {
        json_object *lists, *devices;

        if (!json_object_object_get_ex(o, "choices", &lists))
                return get_devices(o, &q->devices, ret_why);
        if (!json_object_is_type(lists, json_type_array) || json_object_array_length(lists) == 0) {
                *ret_why = "has no choices";
                return -EINVAL;
        }
        for (size_t i = 0; i < json_object_array_length(lists); i++) {
                _cleanup_(strv_freep) char **list = NULL;
                int r = get_names(json_object_array_get_idx(lists, i), &list, ret_why);

                if (r == 0 && !list) {
                        *ret_why = "has a choice of nothing";
                        r = -EINVAL;
                }
                if (r == 0)
                        r = request_add_choice(q, list);
                if (r < 0)
                        return r;
        }
        return json_object_object_get_ex(o, "devices", &devices)
                       ? get_names(devices, &q->devices, ret_why)
                       : 0;
}

static int get_terms(json_object *o, Terms *ret, const char **ret_why) {
        uint64_t vfs = 0;
        json_object *t;
        int r;

        if (!json_object_object_get_ex(o, "terms", &t)) {
                *ret_why = "has no terms";
                return -EINVAL;
        }
        ret->kind = owner_kind_from_string(json_get_string(t, "kind"));
        ret->access = access_from_string(json_get_string(t, "access"));
        if (json_object_object_get_ex(t, "interface", NULL))
                ret->interface = vfio_interface_from_string(json_get_string(t, "interface"));
        if (ret->kind < 0 || ret->access < 0 || ret->interface < 0) {
                *ret_why = "has an unknown kind, access or interface";
                return -EINVAL;
        }
        r = get_string(t, "driver", false, &ret->driver, ret_why);
        if (r == 0 && json_object_object_get_ex(t, "devices", NULL))
                r = get_devices(t, &ret->devices, ret_why);
        if (r == 0)
                r = get_string(t, "default-domain-type", false, &ret->default_domain_type, ret_why);
        if (r == 0)
                r = get_string(t, "reset", false, &ret->reset, ret_why);
        if (r == 0)
                r = get_string(t, "pf", false, &ret->pf, ret_why);
        if (r == 0)
                r = get_later_flag(t, "pool", &ret->pool, ret_why);
        if (r == 0 && json_object_object_get_ex(t, "vfs", NULL)) {
                r = get_uint(t, "vfs", UINT16_MAX, &vfs, ret_why);
                ret->vfs = (unsigned)vfs;
        }
        return r;
}

static int get_owner(json_object *o, Owner *ret, const char **ret_why) {
        int r = get_uid(o, "owner-uid", &ret->uid, ret_why);

        return r < 0 ? r : get_string(o, "owner", true, &ret->name, ret_why);
}

static int get_gids(json_object *o, Caller *ret, const char **ret_why) {
        json_object *gids;

        if (!json_object_object_get_ex(o, "gids", &gids) ||
            !json_object_is_type(gids, json_type_array)) {
                *ret_why = "does not say in which groups who asked is";
                return -EINVAL;
        }
        for (size_t i = 0; i < json_object_array_length(gids); i++) {
                json_object *gid = json_object_array_get_idx(gids, i);
                int64_t value = json_object_get_int64(gid);

                if (!json_object_is_type(gid, json_type_int) || value < 0 || value > UINT32_MAX) {
                        *ret_why = "has a group that is no number";
                        return -EINVAL;
                }
                if (caller_add_group(ret, (gid_t)value) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* Earlier versions did not write who asked: it was allowed to. */
static int get_caller(json_object *o, Request *q, const char **ret_why) {
        json_object *caller;
        int r;

        if (!json_object_object_get_ex(o, "caller", &caller)) {
                q->caller = (Caller){ .uid = q->owner.uid,
                                      .privileged = q->owner.uid == 0,
                                      .member = true };
                return 0;
        }
        r = get_uid(caller, "uid", &q->caller.uid, ret_why);
        if (r == 0)
                r = get_gids(caller, &q->caller, ret_why);
        if (r == 0)
                r = get_string(caller, "unit", false, &q->caller.unit, ret_why);
        if (r == 0)
                r = get_flag(caller, "privileged", &q->caller.privileged, ret_why);
        if (r == 0)
                r = get_flag(caller, "member", &q->caller.member, ret_why);
        return r;
}

static int get_holder(json_object *o, Request *q, const char **ret_why) {
        uint64_t pid = 0;
        int r;

        q->holder = holder_type_from_string(json_get_string(o, "holder"));
        if (q->holder < 0) {
                *ret_why = "has an unknown holder";
                return -EINVAL;
        }
        r = get_uint(o, "holder-pid", INT32_MAX, &pid, ret_why);
        if (r == 0)
                r = get_uint(o, "holder-start", UINT64_MAX, &q->holder_start, ret_why);
        if (r == 0)
                r = get_string(o, "holder-name", false, &q->holder_name, ret_why);
        q->holder_pid = (pid_t)pid;
        /* an older daemon did not know of it */
        if (r == 0 && json_object_object_get_ex(o, "grace", NULL))
                r = get_uint(o, "grace", UINT64_MAX, &q->grace, ret_why);
        if (r == 0 && q->holder == HOLDER_CONNECTION && str_empty(q->holder_name)) {
                *ret_why = "does not name the connection that holds it";
                return -EINVAL;
        }
        return r;
}

/* An older daemon did not know of waiting. */
static int get_waiting(json_object *o, Request *q, const char **ret_why) {
        json_object *priority;
        int r = 0;

        if (json_object_object_get_ex(o, "ttl", NULL))
                r = get_uint(o, "ttl", UINT64_MAX, &q->ttl, ret_why);
        if (r == 0 && json_object_object_get_ex(o, "wait-until", NULL))
                r = get_uint(o, "wait-until", UINT64_MAX, &q->wait_until, ret_why);
        if (r < 0 || !json_object_object_get_ex(o, "priority", &priority))
                return r;
        q->priority = json_object_get_int(priority);
        if (json_object_is_type(priority, json_type_int) && q->priority >= PRIORITY_MIN &&
            q->priority <= PRIORITY_MAX)
                return 0;
        *ret_why = "has a wrong priority";
        return -EINVAL;
}

static int get_revocation(json_object *o, Revocation *ret, const char **ret_why) {
        json_object *v;
        int r;

        if (!json_object_object_get_ex(o, "revocation", &v))
                return 0;
        r = get_string(v, "reason", true, &ret->reason, ret_why);
        if (r == 0)
                r = get_uint(v, "deadline", UINT64_MAX, &ret->deadline, ret_why);
        if (r == 0)
                r = get_flag(v, "by-queue", &ret->by_queue, ret_why);
        if (r < 0)
                return r;
        ret->told = true;
        ret->former = lease_state_from_string(json_get_string(v, "former"));
        if (ret->former == LEASE_ACTIVE || ret->former == LEASE_UNCONFIRMED)
                return 0;
        *ret_why = "is revoked in a wrong way";
        return -EINVAL;
}

int stored_lease_from_json(json_object *o, StoredLease *ret, const char **ret_why) {
        StoredLease l = { .request = REQUEST_NULL };
        int r = check_version(o, ret_why);

        if (r == 0)
                r = get_string(o, "id", true, &l.id, ret_why);
        if (r == 0) {
                l.state = lease_state_from_string(json_get_string(o, "state"));
                if (!lease_state_is_alive(l.state) && l.state != LEASE_QUEUED) {
                        *ret_why = "has a state that no lease is written in";
                        r = -EINVAL;
                }
        }
        if (r == 0)
                r = get_choices(o, &l.request, ret_why);
        if (r == 0)
                r = get_terms(o, &l.request.terms, ret_why);
        if (r == 0)
                r = get_owner(o, &l.request.owner, ret_why);
        if (r == 0)
                r = get_uid(o, "uid", &l.request.uid, ret_why);
        if (r == 0)
                r = get_caller(o, &l.request, ret_why);
        if (r == 0)
                r = get_later_flag(o, "authorised", &l.request.authorised, ret_why);
        if (r == 0)
                r = get_string(o, "label", false, &l.request.label, ret_why);
        if (r == 0)
                r = get_holder(o, &l.request, ret_why);
        if (r == 0)
                r = get_uint(o, "created", UINT64_MAX, &l.request.created, ret_why);
        if (r == 0)
                r = get_uint(o, "expires", UINT64_MAX, &l.request.expires, ret_why);
        if (r == 0)
                r = get_waiting(o, &l.request, ret_why);
        if (r == 0)
                r = get_revocation(o, &l.revocation, ret_why);
        if (r == 0 && l.state == LEASE_REVOKING && !l.revocation.reason) {
                *ret_why = "does not say why it is revoked";
                r = -EINVAL;
        }
        if (r == 0)
                r = get_flag(o, "force", &l.request.force, ret_why);
        if (r == 0)
                r = get_flag(o, "answered", &l.answered, ret_why);
        if (r < 0) {
                stored_lease_clear(&l);
                return r;
        }
        *ret = l;
        return 0;
}

void stored_lease_clear(StoredLease *l) {
        free(l->id);
        request_clear(&l->request);
        revocation_clear(&l->revocation);
}

static int get_record(json_object *o, StoredGroup *g, const char **ret_why) {
        StoredDevice *d = &g->devices[g->n_devices];
        uint64_t num_vfs = 0;
        int r;

        *d = (StoredDevice){ .record = { .valid = true } };
        g->n_devices++;
        r = get_string(o, "name", true, &d->name, ret_why);
        if (r == 0)
                r = get_later_flag(o, "unknown", &d->record.unknown, ret_why);
        if (r == 0)
                r = get_string(o, "driver", false, &d->record.driver, ret_why);
        if (r == 0)
                r = get_string(o, "driver-override", false, &d->record.driver_override, ret_why);
        if (r == 0)
                r = get_string(o, "vf-settings", false, &d->record.vf_settings, ret_why);
        if (r == 0 && json_object_object_get_ex(o, "num-vfs", NULL)) {
                r = get_uint(o, "num-vfs", UINT16_MAX, &num_vfs, ret_why);
                d->record.num_vfs = (unsigned)num_vfs;
                if (r == 0)
                        r = get_flag(o, "vf-autoprobe", &d->record.vf_autoprobe, ret_why);
        }
        return r;
}

static int get_records(json_object *o, StoredGroup *g, const char **ret_why) {
        json_object *devices;
        size_t n;
        int r = 0;

        if (!json_object_object_get_ex(o, "devices", &devices) ||
            !json_object_is_type(devices, json_type_array) ||
            json_object_array_length(devices) == 0) {
                *ret_why = "has no devices";
                return -EINVAL;
        }
        n = json_object_array_length(devices);
        g->devices = calloc(n + 1, sizeof(StoredDevice));
        if (!g->devices)
                return -ENOMEM;
        for (size_t i = 0; r == 0 && i < n; i++)
                r = get_record(json_object_array_get_idx(devices, i), g, ret_why);
        return r;
}

static int get_ownership(json_object *o, StoredGroup *g, const char **ret_why) {
        int r = get_owner(o, &g->owner, ret_why);

        if (r == 0)
                r = get_terms(o, &g->terms, ret_why);
        if (r == 0)
                r = get_uid(o, "node-uid", &g->node_uid, ret_why);
        if (r == 0)
                r = get_later_flag(o, "give-back", &g->give_back, ret_why);
        if (r == 0)
                r = get_later_flag(o, "requarantine", &g->requarantine, ret_why);
        if (r == 0)
                r = get_later_flag(o, "rebind", &g->rebind, ret_why);
        if (r == 0)
                r = get_later_flag(o, "guess", &g->guess, ret_why);
        if (r == 0)
                r = get_later_flag(o, "accepted", &g->accepted, ret_why);
        if (r == 0)
                r = get_later_flag(o, "untouched", &g->untouched, ret_why);
        if (r == 0)
                r = get_string(o, "default-domain-type", false, &g->recorded_type, ret_why);
        if (r == 0)
                r = get_string(o, "waits-for", false, &g->waits_for, ret_why);
        if (r == 0 && json_object_object_get_ex(o, "evict", NULL))
                r = get_flag(o, "evict", &g->evict, ret_why);
        return r;
}

/* What cannot be understood is left out: what is to be done follows from what there is. */
static int get_step(json_object *o, Step *ret) {
        _cleanup_free_ char *message = NULL;
        int r = step_from_json(o, ret, &message);

        if (r < 0)
                *ret = (Step){ .kind = _STEP_KIND_INVALID };
        return r == -ENOMEM ? r : 0;
}

int stored_group_from_json(json_object *o, StoredGroup *ret, const char **ret_why) {
        json_object *step, *leases;
        StoredGroup g = { .step = { .kind = _STEP_KIND_INVALID } };
        int r = check_version(o, ret_why);

        if (r == 0)
                r = get_string(o, "key", true, &g.key, ret_why);
        if (r == 0) {
                g.state = group_state_from_string(json_get_string(o, "state"));
                if (g.state < 0) {
                        *ret_why = "has an unknown state";
                        r = -EINVAL;
                }
        }
        if (r == 0)
                r = g.state == GROUP_FREE ? get_string(o, "owed-type", true, &g.owed_type, ret_why)
                                          : get_ownership(o, &g, ret_why);
        if (r == 0)
                r = get_records(o, &g, ret_why);
        if (r == 0 && json_object_object_get_ex(o, "leases", &leases))
                r = get_names(leases, &g.leases, ret_why);
        if (r == 0 && json_object_object_get_ex(o, "step", &step))
                r = get_step(step, &g.step);
        if (r < 0) {
                stored_group_clear(&g);
                return r;
        }
        *ret = g;
        return 0;
}

void stored_group_clear(StoredGroup *g) {
        for (size_t i = 0; i < g->n_devices; i++) {
                free(g->devices[i].name);
                free(g->devices[i].record.driver);
                free(g->devices[i].record.driver_override);
                free(g->devices[i].record.vf_settings);
        }
        free(g->devices);
        free(g->key);
        free(g->owner.name);
        free(g->terms.driver);
        (void)strv_free(g->terms.devices);
        free(g->terms.default_domain_type);
        free(g->terms.reset);
        free(g->terms.pf);
        free(g->recorded_type);
        free(g->owed_type);
        free(g->waits_for);
        (void)strv_free(g->leases);
        step_clear(&g->step);
}
