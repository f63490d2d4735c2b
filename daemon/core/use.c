/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/registry-private.h"
#include "core/vfs.h"
#include "util/strings.h"

void device_use_clear(DeviceUse *u) {
        owner_clear(&u->owner);
        free(u->trouble);
        *u = (DeviceUse){};
}

/* Those who wait for the group have to look again, too. */
static int reserve_changes(const Device *d, Changes *c) {
        return changes_reserve(c, d->group ? 1 : 0, 0, 1);
}

static void add_changes(Device *d, Changes *c) {
        changes_add_device(c, d);
        if (d->group)
                changes_add_group(c, d->group);
}

int device_apply_policy(Device *d, const Policy *p, Changes *c) {
        DevicePolicy said = policy_for_device(p, d);
        const char *protect = said.protect ? said.protect->origin : NULL;

        if (str_eq(d->rules.protect, protect) && d->rules.reset_required == said.reset_required &&
            d->rules.scrub == said.scrub && d->rules.vfs == said.vfs)
                return 0;
        if ((c && reserve_changes(d, c) < 0) || str_set(&d->rules.protect, protect) < 0)
                return -ENOMEM;
        d->rules.reset_required = said.reset_required;
        d->rules.scrub = said.scrub;
        d->rules.vfs = said.vfs;
        if (c)
                add_changes(d, c);
        return 0;
}

static bool device_is_gated(const Device *d) {
        return !d->facts.bridge && (d->rules.reset_required || d->rules.scrub != SCRUB_NONE);
}

int device_note_use(Device *d, Changes *c) {
        const Group *g = d->group;

        if (!g || (g->state != GROUP_CLAIMING && g->state != GROUP_OWNED) ||
            g->terms.kind != OWNER_KIND_USER || !device_is_gated(d))
                return 0;
        if (d->use.valid && !d->use.reset && owner_equal(&d->use.owner, &g->owner))
                return 0;
        if (changes_reserve(c, 0, 0, 1) < 0 || owner_copy(&d->use.owner, &g->owner) < 0)
                return -ENOMEM;
        d->use.valid = true;
        d->use.reset = false;
        (void)str_set(&d->use.trouble, NULL);
        changes_add_device(c, d);
        return 1;
}

static int note(Device *d, Changes *c) {
        if (!d->use.valid)
                return 0;
        if (reserve_changes(d, c) < 0)
                return -ENOMEM;
        add_changes(d, c);
        return 1;
}

int device_note_reset(Device *d, Changes *c) {
        int r = note(d, c);

        if (r <= 0)
                return r;
        d->use.reset = true;
        if (d->rules.scrub == SCRUB_NONE)
                device_use_clear(&d->use);
        return 1;
}

int device_note_clean(Device *d, Changes *c) {
        int r = note(d, c);

        if (r > 0)
                device_use_clear(&d->use);
        return r;
}

int device_note_scrubbing(Device *d, Changes *c) {
        int r = note(d, c);

        if (r <= 0)
                return r;
        d->use.scrubbing = true;
        (void)str_set(&d->use.trouble, NULL);
        return 1;
}

int device_note_not_scrubbed(Device *d, const char *why, Changes *c) {
        int r = note(d, c);

        if (r <= 0)
                return r;
        d->use.scrubbing = false;
        return str_set(&d->use.trouble, why) < 0 ? -ENOMEM : 1;
}

bool device_wants_scrub(const Device *d) {
        return d->use.valid && !d->use.scrubbing && !d->use.trouble && d->group &&
               d->rules.scrub == SCRUB_UNIT &&
               (d->group->state == GROUP_FREE || d->group->state == GROUP_QUARANTINED);
}

char *device_scrub_unit(const Device *d) {
        return str_format("dmaowner-scrub@%s.service", d->facts.name);
}

static bool lacks_reset(const Device *d) {
        return d->rules.reset_required && !d->use.reset;
}

/* A scrub is of use only to a device that is reset as far as that is wanted. */
static char *describe_need(const Device *d) {
        _cleanup_free_ char *unit = device_scrub_unit(d);
        const char *name = d->facts.name;

        if (!unit)
                return NULL;
        if (d->use.scrubbing)
                return str_format("it is being cleaned by %s", unit);
        if (d->use.trouble)
                return str_format("%s; see \"journalctl -u %s\", then Retry its group or run "
                                  "\"dmaownerctl clean %s\"",
                                  d->use.trouble, unit, name);
        if (d->rules.scrub == SCRUB_UNIT)
                return str_format("it waits for %s", unit);
        if (d->rules.scrub == SCRUB_ADMINISTRATOR)
                return str_format("it waits for an administrator to clean it and to say so: "
                                  "\"dmaownerctl clean %s\"",
                                  name);
        return str_format("it was not reset since, which policy requires; an administrator who "
                          "knows it to be clean may say so: \"dmaownerctl clean %s\"",
                          name);
}

static bool device_is_held_back(const Device *d) {
        return d->use.valid && !d->facts.bridge &&
               (d->use.scrubbing || d->rules.scrub != SCRUB_NONE || lacks_reset(d));
}

static int describe_gate(const Device *d, bool named, char **ret) {
        _cleanup_free_ char *need = NULL, *who = NULL;
        char *text;

        need = describe_need(d);
        who = named ? str_format("%s (uid %lu)", d->use.owner.name, (unsigned long)d->use.owner.uid)
                    : strdup("somebody else");
        text = need && who ? str_format("%s was last had by %s: %s", d->facts.name, who, need)
                           : NULL;
        if (!text)
                return -ENOMEM;
        free(*ret);
        *ret = text;
        return 0;
}

int device_describe_gate(const Device *d, bool named, char **ret) {
        if (!device_is_held_back(d) || (d->group && d->group->count > 0))
                return str_set(ret, "");
        return describe_gate(d, named, ret);
}

static bool device_holds_back(const Device *d, const Owner *owner) {
        return device_is_held_back(d) && (d->use.scrubbing || !owner_equal(&d->use.owner, owner));
}

int group_check_gate(const Group *g, const Request *request, Fault *fault) {
        for (const Device *d = g->devices; d; d = d->next) {
                _cleanup_free_ char *text = NULL;

                if (!device_holds_back(d, &request->owner))
                        continue;
                if (!fault)
                        return -ECANCELED;
                return describe_gate(d, caller_may_see(&request->caller, d->use.owner.uid), &text) <
                                       0
                               ? fault_set_oom(fault)
                               : fault_set(fault, ERROR_QUARANTINED, "%s", text);
        }
        return 0;
}

int group_describe_gate(const Group *g, const Owner *owner, char **ret) {
        for (const Device *d = g->devices; d; d = d->next)
                if (device_holds_back(d, owner))
                        return describe_gate(d, false, ret);
        return str_set(ret, "");
}

int group_check_protected(const Group *g, Fault *fault) {
        for (const Device *d = g->devices; d; d = d->next)
                if (d->rules.protect)
                        return fault_set(fault, ERROR_ACCESS_DENIED,
                                         "%s is protected and leased to nobody: the rule at %s says so",
                                         d->facts.name, d->rules.protect);
        return 0;
}

int lease_describe_warning(const Lease *l, char **ret) {
        _cleanup_free_ char *text = strdup("");

        if (!text || (l->forbidden &&
                      str_append(&text, "it would not be granted any more: %s", l->forbidden) < 0))
                return -ENOMEM;
        for (size_t i = 0; l->request.terms.kind == OWNER_KIND_USER && i < l->n_groups; i++)
                for (const Device *d = l->groups[i]->devices; d; d = d->next) {
                        if (d->facts.bridge || !d->facts.reset_methods || *d->facts.reset_methods ||
                            group_pf(d->group))
                                continue;
                        if (str_append(&text, "%s%s has no reset method: %s", *text ? "; " : "",
                                       d->facts.name,
                                       d->rules.reset_required
                                               ? "nobody else gets it after this lease until an "
                                                 "administrator marks it clean"
                                               : "what is left in it after this lease, whoever has "
                                                 "it next finds") < 0)
                                return -ENOMEM;
                }
        free(*ret);
        *ret = TAKE_PTR(text);
        return 0;
}
