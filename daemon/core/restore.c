/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/planner-private.h"
#include "core/vfs.h"
#include "util/strings.h"

/* Going from DMA-FQ back to DMA needs a moment without a driver, which a live host driver is not
 * made to give: the type is owed (Group.owed_type) until the plan of another lease has one. */
static bool type_is_owed(const Group *g, const Moves *m) {
        if (!str_eq(group_type(g), "DMA-FQ") || !str_eq(g->recorded_type, "DMA"))
                return false;
        for (size_t i = 0; i < m->n; i++)
                if (!m->items[i].unbind && device_bars_type(m->items[i].device))
                        return true;
        return false;
}

/* The lease's wish, else the policy's. Where a reset is required "none" is no answer. */
static const char *reset_method(const Group *g, const Device *d, const Policy *policy) {
        DevicePolicy said = policy_for_device(policy, d);
        const char *method = str_empty(g->terms.reset) ? said.reset : g->terms.reset;

        if (said.reset_required && str_eq(method, "none"))
                method = "auto";
        /* what it does not have is the same as no wish */
        if (!str_eq(method, "none") && !device_has_reset(&d->facts, method))
                method = "auto";
        return str_eq(method, "none") ? NULL : method;
}

bool group_awaits_person(const Group *g) {
        for (const Device *d = g->devices; !g->guess && d; d = d->next)
                if (d->record.unknown)
                        return true;
        return false;
}

/* The kernel chooses, once, among the drivers that are not the lease's. */
static void move_unknown(const Group *g, const Device *d, const Policy *policy, Move *m) {
        const DeviceFacts *f = &d->facts;
        bool leased = driver_is_vfio(f->driver) ||
                      (f->driver && str_eq(f->driver, terms_driver(&g->terms, d)));

        m->device = d;
        m->set_override = !str_empty(f->driver_override);
        m->unbind = leased && !d->probed;
        m->probe = (m->unbind || str_empty(f->driver)) && !d->probed;
        if (m->unbind && driver_is_vfio(f->driver))
                m->reset = reset_method(g, d, policy);
}

static void move_back(const Group *g, const Device *d, const Policy *policy, Move *m) {
        const DeviceFacts *f = &d->facts;
        const HostRecord *was = &d->record;
        const char *driver = was->valid ? was->driver : f->driver;
        bool unbound = g->terms.kind == OWNER_KIND_USER && !f->bridge &&
                       policy_for_device(policy, d).release == RELEASE_UNBOUND;
        /* where the host had it on VFIO too, or it came on VFIO: the last owner's descriptors
         * have to die */
        bool rebind = d->lent && driver_is_vfio(f->driver);
        bool moves;

        if (unbound)
                driver = NULL;
        moves = rebind || !str_eq(f->driver, driver);
        m->device = d;
        /* once: what a probe was tried on in vain is nothing that is left to do */
        m->probe = !was->valid && !unbound && !f->bridge && str_empty(f->driver) && !d->probed;
        m->set_override = was->valid && !str_eq(f->driver_override, was->driver_override);
        m->override = was->driver_override;
        m->unbind = moves && !str_empty(f->driver);
        m->bind = moves && !str_empty(driver) ? driver : NULL;
        if (m->unbind && driver_is_vfio(f->driver))
                m->reset = reset_method(g, d, policy);
}

/* All kernel owners have to leave while the type is written. */
static void move_aside(Moves *moves) {
        for (size_t i = 0; i < moves->n; i++) {
                Move *m = &moves->items[i];

                if (m->unbind || !device_bars_type(m->device))
                        continue;
                m->unbind = true;
                m->bind = m->device->facts.driver;
        }
}

/* The host may have had a driver and an override that names another one. */
static void bind_before_override(Moves *moves) {
        for (size_t i = 0; i < moves->n; i++) {
                Move *m = &moves->items[i];
                const DeviceFacts *f = &m->device->facts;
                const char *last = m->set_override ? m->override : f->driver_override;

                if (!m->bind || str_empty(last) || str_eq(last, m->bind))
                        continue;
                m->override_last = true;
                m->override = m->bind;
                m->set_override = !str_empty(f->driver_override) &&
                                  !str_eq(f->driver_override, m->bind);
        }
}

static int plan_last_overrides(Plan *p, const Group *g, const Moves *moves) {
        for (size_t i = 0; i < moves->n; i++) {
                const Move *m = &moves->items[i];
                const Device *d = m->device;
                char *last = d->record.valid ? d->record.driver_override : d->facts.driver_override;
                char *former = m->set_override ? (char *)m->override : d->facts.driver_override;

                if (m->override_last && plan_add(p, &(Step){ .kind = STEP_SET_OVERRIDE,
                                                             .device = d->facts.name,
                                                             .group = g->id,
                                                             .value = last,
                                                             .former = former }) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static bool group_is_viable(const Group *g) {
        for (const Device *d = g->devices; d; d = d->next)
                if (driver_is_in_the_way(d->facts.driver))
                        return false;
        return true;
}

static VfioInterface claim_interface(const Group *g) {
        return g->terms.access == ACCESS_FD && g->terms.interface == VFIO_INTERFACE_IOMMUFD
                       ? VFIO_INTERFACE_IOMMUFD
                       : VFIO_INTERFACE_CONTAINER;
}

/* What the former owner could do: open the nodes, use memory that he mapped through lent files. */
static int plan_end_access(Plan *p, const Group *g, bool let_go) {
        if (group_owner_may_open(g) && plan_node_right(p, g, STEP_REVOKE_NODE, g->node_uid) < 0)
                return -ENOMEM;
        if (g->kept != KEPT_LENT)
                return 0;
        if (plan_group_step(p, g, STEP_RECLAIM, NULL, NULL) < 0)
                return -ENOMEM;
        return let_go ? plan_group_step(p, g, STEP_RELEASE, NULL, NULL) : 0;
}

/* Everybody has to close the group, and it is claimed. In a container it stays claimed all the time;
 * devices have to be let go of, as their files would keep us waiting for ourselves. */
static int plan_claim_back(Plan *p, const Group *g) {
        VfioInterface interface = claim_interface(g);

        if (plan_end_access(p, g, interface == VFIO_INTERFACE_IOMMUFD) < 0)
                return -ENOMEM;
        return plan_group_step(p, g, STEP_CLAIM, vfio_interface_to_string(interface), NULL);
}

/* Before a device is taken from VFIO everybody has to close it: the unbind would wait without end
 * otherwise. A claim bars newcomers too, but the kernel grants none beside kernel owners. */
static int plan_close(Plan *p, const Group *g, const Moves *moves, bool *ret_claimed) {
        if (!moves_leave_vfio(moves))
                return g->kept == KEPT_NOTHING ? 0
                                               : plan_group_step(p, g, STEP_RELEASE, NULL, NULL);
        *ret_claimed = g->kept == KEPT_CLAIM || group_is_viable(g);
        if (g->kept == KEPT_CLAIM)
                return 0;
        if (*ret_claimed)
                return plan_claim_back(p, g);
        if (plan_end_access(p, g, true) < 0)
                return -ENOMEM;
        return plan_group_step(p, g, STEP_WAIT_CLOSED, NULL, NULL);
}

/* What user space had, is on VFIO, and stands beside no kernel driver. */
static bool group_can_be_kept(const Group *g) {
        bool on_vfio = false;

        for (const Device *d = g->devices; d; d = d->next)
                on_vfio = on_vfio || driver_is_vfio(d->facts.driver);
        return g->recorded && g->terms.kind == OWNER_KIND_USER && on_vfio && group_is_viable(g);
}

/* A type that somebody else has made identity cannot be changed while drivers have the devices. */
bool plan_keeps(const Group *g, const Policy *policy) {
        return !g->give_back && !g->terms.pf /* VFs that go with their lease */ &&
               policy_for_group(policy, g).keep && group_can_be_kept(g) && !goal_type(g, &g->terms);
}

/* What is not as a claim makes it, because somebody else has changed it, would be lost again at once. */
static int plan_stay(Plan *p, const Group *g) {
        _cleanup_moves_ Moves moves = {};

        if (moves_init(&moves, g) < 0)
                return -ENOMEM;
        for (const Device *d = g->devices; d; d = d->next) {
                const char *driver = goal_driver(d, &g->terms);

                if (d->facts.bridge || !driver || !device_is_ours(g, d))
                        continue;
                moves.items[moves.n++] = (Move){
                        .device = d,
                        .set_override = !str_eq(d->facts.driver_override, driver),
                        .override = driver,
                        .bind = str_empty(d->facts.driver) ? driver : NULL,
                };
        }
        return plan_moves(p, &moves, STEP_SET_OVERRIDE) < 0 || plan_moves(p, &moves, STEP_BIND) < 0
                       ? -ENOMEM
                       : 0;
}

/* Claimed and clean, on VFIO: ready for the next owner in user space. */
static int plan_quarantine(Plan *p, const Group *g, const Policy *policy) {
        if ((g->kept != KEPT_CLAIM && plan_claim_back(p, g) < 0) ||
            (plan_keeps(g, policy) && plan_stay(p, g) < 0))
                return -ENOMEM;
        for (const Device *d = g->devices; !g->cleaned && d; d = d->next) {
                const char *reset = reset_method(g, d, policy);
                Step step = { .kind = STEP_RESET, .device = d->facts.name, .group = g->id };

                step.value = (char *)reset;
                if (reset && driver_is_vfio(d->facts.driver) && plan_add(p, &step) < 0)
                        return -ENOMEM;
        }
        return plan_set_vfs(g, p);
}

static bool has_to_be_evicted(const Group *g, const Device *d) {
        return g->evict && g->recorded && g->kept != KEPT_CLAIM && d->lent &&
               driver_is_vfio(d->facts.driver);
}

static int plan_evict_device(Plan *p, const Group *g, const Device *d, const Policy *policy) {
        const char *reset = reset_method(g, d, policy);
        Step step = { .device = d->facts.name, .group = g->id };

        step.kind = STEP_EVICT;
        step.value = step.former = d->facts.driver;
        if (plan_add(p, &step) < 0)
                return -ENOMEM;
        step.kind = STEP_RESET;
        step.value = (char *)reset;
        step.former = NULL;
        return reset ? plan_add(p, &step) : 0;
}

/* Whoever was asked to leave and did not is asked by VFIO now, and the kernel waits for him. What is
 * left to do after that is another plan: then nothing is lent any more. */
static int plan_evict(Plan *p, const Group *g, const Policy *policy) {
        if (plan_end_access(p, g, true) < 0)
                return -ENOMEM;
        for (const Device *d = g->devices; d; d = d->next)
                if (has_to_be_evicted(g, d) && plan_evict_device(p, g, d, policy) < 0)
                        return -ENOMEM;
        /* quarantine is on VFIO, in a binding of its own */
        for (const Device *d = g->devices; plan_keeps(g, policy) && d; d = d->next)
                if (has_to_be_evicted(g, d) && plan_add(p, &(Step){ .kind = STEP_BIND,
                                                                    .device = d->facts.name,
                                                                    .group = g->id,
                                                                    .value = d->facts.driver }) < 0)
                        return -ENOMEM;
        return 0;
}

/* As far as it goes without knowing what the host had: nobody has access, and what can be is claimed
 * and clean. */
static int plan_halt(Plan *p, const Group *g, const Policy *policy) {
        if (group_can_be_kept(g))
                return plan_quarantine(p, g, policy);
        return g->kept == KEPT_CLAIM ? 0 : plan_end_access(p, g, true);
}

int plan_restore(const Group *g, const Policy *policy, Plan *ret) {
        const char *now = group_type(g), *type = NULL;
        _cleanup_moves_ Moves moves = {};
        _cleanup_plan_ Plan p = PLAN_NULL;
        bool claimed = false;

        if (g->accepted) {
                if (plan_end_access(&p, g, true) < 0)
                        return -ENOMEM;
                *ret = p;
                p = PLAN_NULL;
                return 0;
        }
        for (const Device *d = g->devices; d; d = d->next) {
                if (!has_to_be_evicted(g, d))
                        continue;
                if (plan_evict(&p, g, policy) < 0)
                        return -ENOMEM;
                *ret = p;
                p = PLAN_NULL;
                return 0;
        }
        if (plan_keeps(g, policy) || group_awaits_person(g)) {
                if (plan_halt(&p, g, policy) < 0)
                        return -ENOMEM;
                *ret = p;
                p = PLAN_NULL;
                return 0;
        }
        if (moves_init(&moves, g) < 0)
                return -ENOMEM;
        for (const Device *d = g->devices; g->recorded && d; d = d->next)
                (d->record.unknown ? move_unknown : move_back)(g, d, policy,
                                                               &moves.items[moves.n++]);
        if (g->recorded && now && !str_empty(g->recorded_type) && !str_eq(now, g->recorded_type) &&
            !type_is_owed(g, &moves))
                type = g->recorded_type;
        if (type && !type_change_is_live(now, type))
                move_aside(&moves);
        bind_before_override(&moves);
        if (plan_close(&p, g, &moves, &claimed) < 0 || plan_moves(&p, &moves, STEP_RESET) < 0 ||
            plan_unbind(&p, g, &moves, claimed,
                        g->kept == KEPT_CLAIM ? g->kept_interface : claim_interface(g)) < 0 ||
            (type && plan_group_step(&p, g, STEP_SET_TYPE, type, now) < 0) ||
            plan_moves(&p, &moves, STEP_SET_OVERRIDE) < 0 ||
            plan_set_vfs(g, &p) < 0 /* its driver asks for its MAC once */ ||
            plan_moves(&p, &moves, STEP_BIND) < 0 || plan_last_overrides(&p, g, &moves) < 0 ||
            plan_remove_vfs(g, &p) < 0 || plan_moves(&p, &moves, STEP_PROBE) < 0)
                return -ENOMEM;
        *ret = p;
        p = PLAN_NULL;
        return 0;
}
