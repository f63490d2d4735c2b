/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/registry-private.h"
#include "core/vfs.h"
#include "util/strings.h"

/* Owner and terms of a claim that has not begun. */
struct Claim {
        Owner owner;
        Terms terms;
        uid_t node_uid;
        bool rebind;
};

static struct Claim *claim_free(struct Claim *claim) {
        if (!claim)
                return NULL;
        owner_clear(&claim->owner);
        terms_clear(&claim->terms);
        free(claim);
        return NULL;
}

Group *group_free(Group *g) {
        if (!g)
                return NULL;
        owner_clear(&g->owner);
        terms_clear(&g->terms);
        free(g->recorded_type);
        free(g->owed_type);
        free(g->waits_for);
        free(g->leases);
        free(g->queue);
        (void)claim_free(g->pending);
        free(g);
        return NULL;
}

const char *group_type(const Group *g) {
        for (const Device *d = g->devices; d; d = d->next)
                if (!str_empty(d->facts.default_domain_type))
                        return d->facts.default_domain_type;
        return NULL;
}

char *group_device_names(const Group *g) {
        char *names = strdup("");

        for (const Device *d = g->devices; names && d; d = d->next)
                if (str_append(&names, "%s%s", d == g->devices ? "" : ", ", d->facts.name) < 0) {
                        free(names);
                        return NULL;
                }
        return names;
}

/* "guest (uid 1000, "label")", or nobody's name */
static char *describe_owner(const Owner *owner, const char *label, const Caller *asks) {
        bool labelled = !str_empty(label);

        if (!caller_may_see(asks, owner->uid))
                return strdup("another user");
        return str_format("%s (uid %lu%s%s%s)", owner->name ? owner->name : "",
                          (unsigned long)owner->uid, labelled ? ", \"" : "", labelled ? label : "",
                          labelled ? "\"" : "");
}

char *lease_describe_owner(const Lease *l, const Caller *asks) {
        _cleanup_free_ char *who = describe_owner(&l->request.owner, l->request.label, asks);

        return who ? str_format("lease %s of %s", l->id, who) : NULL;
}

char *group_describe_owner(const Group *g, const Caller *asks) {
        char *text;

        if (g->n_leases == 0)
                return g->owner.name ? describe_owner(&g->owner, NULL, asks) : strdup("nobody");
        text = lease_describe_owner(g->leases[0], asks);
        if (text && g->n_leases > 1 && str_append(&text, " and %zu more", g->n_leases - 1) < 0) {
                free(text);
                return NULL;
        }
        return text;
}

int device_set_record(Device *d, const char *driver, const char *driver_override) {
        if (str_set(&d->record.driver, driver) < 0 ||
            str_set(&d->record.driver_override, driver_override) < 0)
                return -ENOMEM;
        d->record.valid = true;
        return 0;
}

/* The virtual functions stay as they are. */
void device_lose_record(Device *d) {
        (void)str_set(&d->record.driver, NULL); /* cannot fail */
        (void)str_set(&d->record.driver_override, NULL);
        (void)str_set(&d->record.vf_settings, NULL);
        device_set_vf_record(d, d->facts.num_vfs, d->facts.vf_autoprobe);
        d->record.valid = d->record.unknown = true;
}

void device_set_vf_record(Device *d, unsigned num_vfs, bool vf_autoprobe) {
        d->record.num_vfs = num_vfs;
        d->record.vf_autoprobe = vf_autoprobe;
}

int device_set_vf_settings(Device *d, const char *settings) {
        return str_set(&d->record.vf_settings, settings);
}

bool group_owner_may_open(const Group *g) {
        return g->recorded && g->terms.kind == OWNER_KIND_USER && g->terms.access == ACCESS_NODE;
}

bool group_may_be_claimed(const Group *g, OwnerKind kind) {
        return g->state == GROUP_FREE || (g->state == GROUP_QUARANTINED && kind == OWNER_KIND_USER);
}

bool group_needs_new_binding(const Group *g, const Owner *owner, uid_t uid, const char *driver) {
        if (g->rebind || g->state != GROUP_QUARANTINED)
                return g->rebind;
        return g->kept != KEPT_CLAIM || !owner_equal(&g->owner, owner) || g->node_uid != uid ||
               !str_eq(g->terms.driver, driver);
}

/* What the former owner's binding and the records say stays until the claim begins. */
static int group_prepare_successor(Group *g, const Request *request) {
        struct Claim *claim = calloc(1, sizeof(struct Claim));

        if (!claim)
                return -ENOMEM;
        if (owner_copy(&claim->owner, &request->owner) < 0 ||
            terms_copy(&claim->terms, &request->terms) < 0) {
                (void)claim_free(claim);
                return -ENOMEM;
        }
        claim->node_uid = request->uid;
        claim->rebind = group_needs_new_binding(g, &request->owner, request->uid,
                                                request->terms.driver);
        g->pending = claim;
        return 0;
}

int group_record_devices(Group *g) {
        for (Device *d = g->devices; d; d = d->next) {
                if (device_set_record(d, d->facts.driver, d->facts.driver_override) < 0)
                        return -ENOMEM;
                device_set_vf_record(d, d->facts.num_vfs, d->facts.vf_autoprobe);
        }
        return 0;
}

int group_prepare_claim(Group *g, const Request *request) {
        const char *type = group_type(g);
        const Terms terms = request_terms(request);

        if (g->state == GROUP_QUARANTINED)
                return group_prepare_successor(g, request);

        /* still as the last lease left it: what was before that is what the host had */
        if (!str_empty(g->owed_type) && str_eq(type, "DMA-FQ"))
                type = g->owed_type;
        if (owner_copy(&g->owner, &request->owner) < 0 || terms_copy(&g->terms, &terms) < 0 ||
            str_set(&g->recorded_type, type) < 0 || group_record_devices(g) < 0)
                return -ENOMEM;
        g->node_uid = request->uid;
        return 0;
}

void group_drop_prepared(Group *g) {
        g->pending = claim_free(g->pending);
        if (g->state == GROUP_FREE)
                group_forget_claim(g);
}

bool group_is_untouched(const Group *g) {
        return g->state == GROUP_CLAIMING && !g->begun;
}

int group_record_again(Group *g, const DeviceFacts *facts) {
        Device *d;

        if (!group_is_untouched(g))
                return 0;
        for (d = g->devices; d && !str_eq(d->facts.name, facts->name);)
                d = d->next;
        if (!d || !d->record.valid)
                return 0;
        if (!str_eq(d->facts.default_domain_type, facts->default_domain_type) &&
            str_set(&g->recorded_type, facts->default_domain_type) < 0)
                return -ENOMEM;
        device_set_vf_record(d, facts->num_vfs, facts->vf_autoprobe);
        return device_set_record(d, facts->driver, facts->driver_override);
}

void registry_group_begin(Group *g) {
        g->begun = true;
}

void group_set_state(Group *g, GroupState state, char *waits_for, Changes *c) {
        g->state = state;
        free(g->waits_for);
        g->waits_for = waits_for;
        changes_add_group(c, g);
}

/* The successor of a quarantined group's owner. The records stay those of the host. */
static void group_succeed(Group *g) {
        struct Claim *claim = g->pending;

        owner_clear(&g->owner);
        terms_clear(&g->terms);
        g->owner = claim->owner;
        g->terms = claim->terms;
        g->node_uid = claim->node_uid;
        g->rebind = claim->rebind;
        g->requarantine = true;
        free(claim);
        g->pending = NULL;
}

void group_begin_claim(Group *g, Changes *c) {
        free(g->owed_type);
        g->owed_type = NULL;
        g->recorded = true;
        g->begun = g->state == GROUP_QUARANTINED;
        g->evict = false;
        if (g->pending)
                group_succeed(g);
        group_set_state(g, GROUP_CLAIMING, NULL, c);
        for (Device *d = g->devices; d; d = d->next) {
                device_note_lent(d);
                /* in quarantine, that there was nothing to read is of the last claim */
                if (str_empty(d->record.vf_settings))
                        (void)device_set_vf_settings(d, NULL);
        }
}

void device_note_lent(Device *d) {
        const Group *g = d->group;

        if (!g || g->state == GROUP_FREE || g->terms.kind != OWNER_KIND_USER)
                d->lent = false;
        else if (g->state == GROUP_CLAIMING || g->state == GROUP_OWNED)
                d->lent = true;
        else
                /* once the binding has ended, another is nobody's */
                d->lent = d->lent && driver_is_vfio(d->facts.driver);
}

void group_begin_draining(Group *g) {
        /* what nobody was served with goes back to where it came from */
        g->give_back = g->state == GROUP_CLAIMING && !g->requarantine;
        g->cleaned = false;
        g->state = GROUP_DRAINING;
        free(g->waits_for);
        g->waits_for = NULL;
        for (Device *d = g->devices; d; d = d->next)
                device_note_lent(d);
}

void group_forget_claim(Group *g) {
        owner_clear(&g->owner);
        terms_clear(&g->terms);
        free(g->recorded_type);
        g->recorded_type = NULL;
        g->recorded = false;
        g->evict = false;
        g->give_back = g->cleaned = g->requarantine = g->rebind = g->bound = g->guess = false;
        g->accepted = false;
        for (Device *d = g->devices; d; d = d->next) {
                free(d->record.driver);
                free(d->record.driver_override);
                free(d->record.vf_settings);
                d->record = (HostRecord){};
                d->lent = d->probed = false;
        }
}

int group_drop_leases(Registry *r, Group *g, LeaseState state, const Fault *why, Changes *c) {
        size_t n = g->n_leases, n_groups = 1;
        Fault *copies;
        int k = 0;

        copies = calloc(n + 1, sizeof(Fault));
        if (!copies)
                return -ENOMEM;
        for (size_t i = 0; i < n && k == 0; i++) {
                n_groups += g->leases[i]->n_groups;
                k = fault_copy(&copies[i], why);
        }
        if (k == 0)
                k = changes_reserve(c, n_groups, n, 0);
        if (k == 0)
                for (size_t i = 0; i < n; i++)
                        lease_leave_groups(r, g->leases[0], state, &copies[i], NULL, c);
        for (size_t i = 0; i < n; i++)
                fault_clear(&copies[i]);
        free(copies);
        return k;
}

static bool lease_is_switched(const Lease *l) {
        if (lease_awaits_vfs(l))
                return false;
        for (size_t i = 0; i < l->n_groups; i++)
                if (l->groups[i]->state != GROUP_OWNED)
                        return false;
        return true;
}

int registry_group_claimed(Registry *r, Group *g, Changes *c) {
        if (g->state != GROUP_CLAIMING)
                return -EINVAL;
        if (changes_reserve(c, 1, g->n_leases, 0) < 0)
                return -ENOMEM;
        group_set_state(g, GROUP_OWNED, NULL, c);
        g->requarantine = g->rebind = false;
        for (size_t i = 0; i < g->n_leases; i++) {
                Lease *l = g->leases[i];

                if (l->state == LEASE_ACTIVATING && lease_is_switched(l)) {
                        l->state = LEASE_ACTIVE;
                        changes_add_lease(c, l);
                }
        }
        return 0;
}

int registry_group_claim_failed(Registry *r, Group *g, const Fault *why, Changes *c) {
        if (g->state != GROUP_CLAIMING)
                return -EINVAL;
        return group_drop_leases(r, g, LEASE_FAILED, why, c);
}

int registry_group_set_waits_for(Group *g, const char *who, Changes *c) {
        if (g->state == GROUP_FREE)
                return -EINVAL;
        if (str_eq(g->waits_for, who))
                return 0;
        if (changes_reserve(c, 1, 0, 0) < 0 || str_set(&g->waits_for, who) < 0)
                return -ENOMEM;
        changes_add_group(c, g);
        return 0;
}

int registry_group_set_kept(Group *g, Kept kept, VfioInterface interface, Changes *c) {
        if (changes_reserve(c, 1, 0, 0) < 0)
                return -ENOMEM;
        g->kept = kept;
        g->kept_interface = interface;
        g->bound = false;
        if (kept == KEPT_LENT)
                g->terms.interface = interface;
        changes_add_group(c, g);
        return 0;
}

int registry_group_set_bound(Group *g, bool bound, Changes *c) {
        if (g->bound == bound)
                return 0;
        if (changes_reserve(c, 1, 0, 0) < 0)
                return -ENOMEM;
        g->bound = bound;
        changes_add_group(c, g);
        return 0;
}

int registry_group_drained(Registry *r, Group *g, Changes *c) {
        if (g->state != GROUP_DRAINING)
                return -EINVAL;
        if (changes_reserve(c, 1, 0, 0) < 0)
                return -ENOMEM;
        group_set_state(g, GROUP_RESTORING, NULL, c);
        return 0;
}

int registry_group_quarantined(Registry *r, Group *g, Changes *c) {
        if (g->state != GROUP_RESTORING || g->kept != KEPT_CLAIM)
                return -EINVAL;
        if (changes_reserve(c, 1, 0, 0) < 0)
                return -ENOMEM;
        group_set_state(g, GROUP_QUARANTINED, NULL, c);
        return 0;
}

int registry_group_give_back(Registry *r, Group *g, Changes *c) {
        if (g->state != GROUP_QUARANTINED)
                return -EINVAL;
        if (changes_reserve(c, 1, 0, 0) < 0)
                return -ENOMEM;
        group_begin_draining(g);
        g->give_back = true;
        changes_add_group(c, g);
        return 0;
}

/* Frees the group; what its devices show as their host driver changes with it. */
static int group_set_free(Group *g, char *owed_type, Changes *c) {
        if (changes_reserve(c, 1, 0, g->n_devices) < 0)
                return -ENOMEM;
        for (Device *d = g->devices; d; d = d->next)
                changes_add_device(c, d);
        group_forget_claim(g);
        g->owed_type = owed_type;
        group_set_state(g, GROUP_FREE, NULL, c);
        return 0;
}

int registry_group_restored(Registry *r, Group *g, Changes *c) {
        _cleanup_free_ char *owed = NULL;
        const char *type = group_type(g);

        if (g->state != GROUP_RESTORING)
                return -EINVAL;
        if (!g->accepted && !str_empty(g->recorded_type) && !str_empty(type) &&
            !str_eq(type, g->recorded_type))
                if (str_set(&owed, g->recorded_type) < 0)
                        return -ENOMEM;
        if (group_set_free(g, owed, c) < 0)
                return -ENOMEM;
        (void)TAKE_PTR(owed);
        return 0;
}

/* To a state that a person has to look at. */
static int group_give_up(Registry *r, Group *g, GroupState state, const char *why, Changes *c) {
        _cleanup_fault_ Fault lost = FAULT_NULL;
        _cleanup_free_ char *text = NULL;

        (void)fault_set(&lost, ERROR_LOST, "%s", why);
        if (str_set(&text, why) < 0 || group_drop_leases(r, g, LEASE_LOST, &lost, c) < 0)
                return -ENOMEM;
        group_set_state(g, state, TAKE_PTR(text), c);
        return 0;
}

int registry_group_failed(Registry *r, Group *g, const char *why, Changes *c) {
        if (g->state != GROUP_DRAINING && g->state != GROUP_RESTORING)
                return -EINVAL;
        return group_give_up(r, g, GROUP_FAILED, why, c);
}

int registry_group_lost(Registry *r, Group *g, const char *why, Changes *c) {
        if (g->state == GROUP_FREE || g->state == GROUP_FAILED || g->state == GROUP_LOST)
                return -EINVAL;
        return group_give_up(r, g, GROUP_LOST, why, c);
}

int registry_group_retry(Registry *r, Group *g, Changes *c) {
        if (g->state != GROUP_FAILED && g->state != GROUP_LOST)
                return -EINVAL;
        if (changes_reserve(c, 1, 0, 0) < 0)
                return -ENOMEM;
        g->guess = true;
        g->accepted = false;
        /* not restoring: the former owner may still have files open, or a right on the node */
        group_set_state(g, GROUP_DRAINING, NULL, c);
        return 0;
}

int registry_group_accept(Registry *r, Group *g, Changes *c) {
        if (g->state != GROUP_FAILED && g->state != GROUP_LOST)
                return -EINVAL;
        if (!group_owner_may_open(g))
                return group_set_free(g, NULL, c);
        if (changes_reserve(c, 1, 0, 0) < 0)
                return -ENOMEM;
        g->accepted = true;
        g->evict = false;
        group_set_state(g, GROUP_DRAINING, NULL, c);
        return 0;
}
