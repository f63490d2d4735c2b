/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/planner-private.h"
#include "core/vfs.h"
#include "util/strings.h"

void obstacles_clear(Obstacles *o) {
        for (size_t i = 0; i < o->n; i++) {
                free(o->items[i].code);
                free(o->items[i].device);
                free(o->items[i].text);
        }
        free(o->items);
        *o = OBSTACLES_NULL;
}

int obstacles_add(Obstacles *o, const char *code, const char *device, const char *fmt, ...) {
        Obstacle *longer = reallocarray(o->items, o->n + 1, sizeof(Obstacle)), added = {};
        va_list ap;
        int r;

        if (!longer)
                return -ENOMEM;
        o->items = longer;
        va_start(ap, fmt);
        r = vasprintf(&added.text, fmt, ap);
        va_end(ap);
        if (r < 0)
                return -ENOMEM;
        if (str_set(&added.code, code) < 0 || str_set(&added.device, device) < 0) {
                free(added.code);
                free(added.text);
                return -ENOMEM;
        }
        o->items[o->n++] = added;
        return 0;
}

char *obstacles_describe(const Obstacles *o, bool named) {
        _cleanup_free_ char *text = NULL;
        size_t most = 3, n = o->n <= most + 1 ? o->n : most;

        for (size_t i = 0; i < n; i++) {
                const Obstacle *one = &o->items[i];
                bool prefix = named && !strstr(one->text, one->device);

                if (str_append(&text, "%s%s%s%s", i > 0 ? "; " : "", prefix ? one->device : "",
                               prefix ? ": " : "", one->text) < 0)
                        return NULL;
        }
        if (n < o->n && str_append(&text, "; and %zu more", o->n - n) < 0)
                return NULL;
        return TAKE_PTR(text);
}

int moves_init(Moves *m, const Group *g) {
        m->items = calloc(g->n_devices + 1, sizeof(Move));
        return m->items ? 0 : -ENOMEM;
}

void moves_clear(Moves *m) {
        free(m->items);
        *m = (Moves){};
}

int plan_group_step(Plan *p, const Group *g, StepKind kind, const char *value, const char *former) {
        return plan_add(p, &(Step){ .kind = kind,
                                    .group = g->id,
                                    .value = (char *)value,
                                    .former = (char *)former });
}

int plan_node_right(Plan *p, const Group *g, StepKind kind, uid_t uid) {
        return plan_add(p, &(Step){ .kind = kind, .group = g->id, .uid = uid });
}

/* Does the move have a step of this kind, and which? */
static bool move_step(const Move *m, StepKind kind, Step *s) {
        const DeviceFacts *f = &m->device->facts;

        *s = (Step){ .kind = kind, .device = f->name, .group = m->device->group->id };
        if (kind == STEP_SET_OVERRIDE) {
                s->value = (char *)m->override;
                s->former = f->driver_override;
                return m->set_override;
        }
        if (kind == STEP_UNBIND) {
                s->value = s->former = f->driver;
                s->force = m->force;
                return m->unbind;
        }
        if (kind == STEP_BIND)
                s->value = (char *)m->bind;
        if (kind == STEP_RESET)
                s->value = (char *)m->reset;
        return kind == STEP_PROBE ? m->probe : s->value != NULL;
}

int plan_moves(Plan *p, const Moves *m, StepKind kind) {
        Step s;

        for (size_t i = 0; i < m->n; i++)
                if (move_step(&m->items[i], kind, &s) && plan_add(p, &s) < 0)
                        return -ENOMEM;
        return 0;
}

/* A device that came after the records were taken is not touched: what to put back is not known. */
bool device_is_ours(const Group *g, const Device *d) {
        return !g->recorded || d->record.valid;
}

/* The driver that a device is to have. */
const char *goal_driver(const Device *d, const Terms *t) {
        const char *wished = terms_driver(t, d);

        if (wished)
                return wished;
        if (t->kind == OWNER_KIND_USER)
                return d->facts.vfio_driver;
        return d->record.valid && !str_empty(d->record.driver) ? d->record.driver : d->facts.driver;
}

/* The default domain type that has to be written; NULL: none. What "auto" gave cannot be told
 * from what is there, so that one is written whenever a claim is under way. */
const char *goal_type(const Group *g, const Terms *t) {
        const char *type = group_type(g);

        if (t->kind == OWNER_KIND_USER)
                return str_eq(type, "identity") ? "DMA" : NULL;
        if (str_empty(t->default_domain_type) || str_eq(t->default_domain_type, type))
                return NULL;
        return t->default_domain_type;
}

/* A binding to a VFIO driver from before the first lease, or of another owner: his descriptors
 * have to die. */
static bool needs_rebind(const Group *g, const Device *d, bool rebind) {
        if (g->state == GROUP_QUARANTINED || g->requarantine)
                return rebind && g->kept != KEPT_LENT;
        /* what is lent was opened after that */
        return g->state == GROUP_FREE || (g->state == GROUP_CLAIMING && g->kept != KEPT_LENT &&
                                          driver_is_vfio(d->record.driver));
}

static int check_user_endpoint(const Device *d, const Terms *t, Obstacles *o) {
        const DeviceFacts *f = &d->facts;
        const char *wished = terms_driver(t, d);

        if (str_empty(f->vfio_driver))
                return obstacles_add(o, "no-vfio-driver", f->name,
                                     "No VFIO driver is known for %s; is the module vfio_pci "
                                     "installed for this kernel?",
                                     f->name);
        if (wished && !str_eq(wished, f->vfio_driver) && !str_eq(wished, "vfio-pci"))
                return obstacles_add(o, "driver-not-vfio", f->name,
                                     "%s is no VFIO driver for %s; those are %s and vfio-pci",
                                     wished, f->name, f->vfio_driver);
        if (!str_empty(t->reset) && !str_eq(t->reset, "auto") && !str_eq(t->reset, "none") &&
            !device_has_reset(f, t->reset))
                return obstacles_add(o, "no-such-reset", f->name,
                                     "%s has no reset method %s; it has: %s", f->name, t->reset,
                                     str_empty(f->reset_methods) ? "none" : f->reset_methods);
        return 0;
}

static void move_user(const Group *g, const Device *d, const Terms *t, bool retype, bool rebind,
                      Move *m) {
        const DeviceFacts *f = &d->facts;
        const char *goal = goal_driver(d, t);
        bool moves;

        if (f->bridge) {
                if (!driver_is_in_the_way(f->driver))
                        return;
                /* a name that no driver has keeps all of them away */
                *m = (Move){ .override = "none", .unbind = true };
                m->set_override = !str_eq(f->driver_override, m->override);
                return;
        }
        moves = retype || !str_eq(f->driver, goal) || needs_rebind(g, d, rebind);
        m->set_override = !str_eq(f->driver_override, goal);
        m->override = goal;
        m->unbind = moves && !str_empty(f->driver);
        m->bind = moves ? goal : NULL;
}

static void move_kernel(const Device *d, const Terms *t, bool retype, Move *m) {
        const DeviceFacts *f = &d->facts;
        const DriverWish *wish = device_wish(d, t);
        const char *goal = goal_driver(d, t);
        bool moves = !str_eq(f->driver, goal) || (retype && device_bars_type(d));

        if (f->bridge && t->kind == OWNER_KIND_PRIVATE_DOMAIN)
                return;
        /* an override that names another driver would keep even the present one from coming back */
        m->set_override = moves && !str_eq(f->driver_override, goal) &&
                          (!str_empty(f->driver_override) || terms_driver(t, d));
        m->override = goal;
        /* without an override the kernel binds only what the driver's own table lists */
        if (wish && wish->match == DRIVER_MATCH_UNKNOWN) {
                m->override = NULL;
                m->set_override = moves && !str_empty(f->driver_override);
        }
        m->unbind = moves && !str_empty(f->driver);
        m->bind = moves ? goal : NULL;
}

static int check_move(const Group *g, const Move *m, const Terms *t, bool retype, Obstacles *o) {
        const DeviceFacts *f = &m->device->facts;

        if (!device_is_ours(g, m->device)) {
                if ((t->kind != OWNER_KIND_USER || !driver_is_in_the_way(f->driver)) &&
                    !(retype && device_bars_type(m->device)))
                        return 0;
                return obstacles_add(o, "joined-late", f->name,
                                     "%s joined IOMMU group %u while that was being switched and is "
                                     "used by the driver %s; unbind it or try again",
                                     f->name, g->id, f->driver);
        }
        if (f->num_vfs > 0 && (m->unbind || m->bind))
                return obstacles_add(o, "vfs-enabled", f->name,
                                     "%s has %u virtual functions enabled, which its driver would "
                                     "take away; disable them first",
                                     f->name, f->num_vfs);
        if (t->kind == OWNER_KIND_USER)
                return f->bridge ? 0 : check_user_endpoint(m->device, t, o);
        return check_wish(m->device, t, o);
}

/* User space may have it open, or get it open at any time, and no kernel driver owns the group then. */
static int check_off_vfio(const Group *g, const Terms *t, Obstacles *o) {
        const Device *on_vfio = NULL;

        for (const Device *d = g->devices; t->kind == OWNER_KIND_DMA_API && d; d = d->next) {
                const char *goal = goal_driver(d, t);

                if (driver_is_in_the_way(goal))
                        return 0;
                if (driver_is_vfio(goal))
                        on_vfio = d;
        }
        if (!on_vfio)
                return 0;
        return obstacles_add(o, "on-vfio-driver", on_vfio->facts.name,
                             "%s is on %s, which leaves its DMA to user space: name the kernel driver "
                             "that kind dma-api shall bind it to",
                             on_vfio->facts.name, on_vfio->facts.driver);
}

static bool group_has_driver(const Group *g, const char *driver) {
        for (const Device *d = g->devices; d; d = d->next)
                if (str_eq(d->facts.driver, driver))
                        return true;
        return false;
}

/* The module of a driver that some device is on already is loaded. */
static const char *module_to_load(const Group *g, const Move *m, const Terms *t) {
        const DriverWish *wish = device_wish(m->device, t);
        const DeviceFacts *f = &m->device->facts;
        const char *module;

        if (!m->bind || group_has_driver(g, m->bind))
                return NULL;
        if (t->kind != OWNER_KIND_USER)
                return wish ? wish->module : NULL;
        module = str_eq(m->bind, f->vfio_driver) ? f->vfio_module : "vfio_pci";
        return str_empty(module) ? NULL : module;
}

static int find_moves(const Group *g, const Terms *t, bool retype, bool rebind, bool force,
                      Moves *moves, Obstacles *o) {
        if (moves_init(moves, g) < 0)
                return -ENOMEM;
        for (const Device *d = g->devices; d; d = d->next) {
                Move *m = &moves->items[moves->n++];

                if (device_is_ours(g, d)) {
                        if (t->kind == OWNER_KIND_USER)
                                move_user(g, d, t, retype, rebind, m);
                        else
                                move_kernel(d, t, retype, m);
                }
                m->device = d;
                m->force = force;
                m->module = module_to_load(g, m, t);
                if (check_move(g, m, t, retype, o) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* One load for each, before anything is touched. */
static int plan_modules(Plan *p, const Group *g, const Terms *t, const Moves *moves) {
        for (size_t i = 0; i < moves->n; i++) {
                const Move *m = &moves->items[i];
                Step step = { .kind = STEP_LOAD_MODULE, .group = g->id, .value = (char *)m->module };
                bool planned = false;

                if (!m->module)
                        continue;
                /* any VFIO module may be loaded, others only for a device that they list */
                if (t->kind != OWNER_KIND_USER)
                        step.device = m->device->facts.name;
                for (size_t k = 0; k < p->n; k++)
                        planned = planned || str_eq(p->steps[k].value, m->module);
                if (!planned && plan_add(p, &step) < 0)
                        return -ENOMEM;
        }
        return 0;
}

bool moves_leave_vfio(const Moves *moves) {
        for (size_t i = 0; i < moves->n; i++)
                if (moves->items[i].unbind && driver_is_vfio(moves->items[i].device->facts.driver))
                        return true;
        return false;
}

int plan_unbind(Plan *p, const Group *g, const Moves *moves, bool claimed, VfioInterface interface) {
        /* a device's file would keep the unbind waiting without end; a group's bars newcomers */
        bool first = claimed && interface == VFIO_INTERFACE_IOMMUFD;

        if ((first && plan_group_step(p, g, STEP_RELEASE, NULL, NULL) < 0) ||
            plan_moves(p, moves, STEP_UNBIND) < 0 ||
            (claimed && !first && plan_group_step(p, g, STEP_RELEASE, NULL, NULL) < 0))
                return -ENOMEM;
        return 0;
}

/* What is kept is of the binding before, also where the unbind was done by an earlier plan. */
static bool moves_bind_anew(const Moves *moves) {
        for (size_t i = 0; i < moves->n; i++)
                if (moves->items[i].bind)
                        return true;
        return moves_leave_vfio(moves);
}

static int plan_take_drivers(Plan *p, const Group *g, const Moves *moves) {
        bool leave = moves_leave_vfio(moves), claimed = g->kept == KEPT_CLAIM;

        /* one who came before the daemon may still have files open, for which an unbind would wait
         * without end */
        if (leave && !claimed && plan_group_step(p, g, STEP_WAIT_CLOSED, NULL, NULL) < 0)
                return -ENOMEM;
        return plan_unbind(p, g, moves, claimed && moves_bind_anew(moves), g->kept_interface);
}

/* The files that the requester opens, or is lent. */
static int plan_access(Plan *p, const Group *g, const Terms *t, uid_t node_uid, bool rebound) {
        bool claimed = g->kept == KEPT_CLAIM && !rebound;

        /* the same owner again: what keeps the group can be lent as it is */
        if (t->access == ACCESS_FD && claimed && g->kept_interface == VFIO_INTERFACE_CONTAINER &&
            t->interface != VFIO_INTERFACE_IOMMUFD)
                return 0;
        if (t->access == ACCESS_FD && g->kept == KEPT_LENT && !rebound)
                return 0;
        if (claimed && plan_group_step(p, g, STEP_RELEASE, NULL, NULL) < 0)
                return -ENOMEM;
        if (t->access == ACCESS_FD)
                return plan_group_step(p, g, STEP_LEND, vfio_interface_to_string(t->interface),
                                       NULL);
        if (plan_group_step(p, g, STEP_WAIT_NODE, NULL, NULL) < 0)
                return -ENOMEM;
        return plan_node_right(p, g, STEP_GRANT_NODE, node_uid);
}

int plan_claim(const Group *g, const Owner *owner, const Terms *terms, uid_t node_uid, bool force,
               Plan *ret, Obstacles *obstacles) {
        bool rebind = group_needs_new_binding(g, owner, node_uid, terms->driver);
        const char *type = goal_type(g, terms), *now = group_type(g);
        bool retype = type && !type_change_is_live(now, type);
        bool user = terms->kind == OWNER_KIND_USER;
        _cleanup_moves_ Moves moves = {};
        _cleanup_plan_ Plan p = PLAN_NULL;
        size_t known = obstacles->n;

        if (terms->vfs > 0)
                return plan_make_vfs(g, terms, ret, obstacles);
        if (g->state != GROUP_OWNED || !group_is_switched(g, terms)) {
                if ((type && check_type(g, type, obstacles) < 0) ||
                    check_alone(g, terms, obstacles) < 0 ||
                    check_off_vfio(g, terms, obstacles) < 0 ||
                    find_moves(g, terms, retype, rebind, force, &moves, obstacles) < 0)
                        return -ENOMEM;
                if (obstacles->n == known &&
                    (plan_read_vfs(g, terms, &p) < 0 || plan_modules(&p, g, terms, &moves) < 0 ||
                     plan_moves(&p, &moves, STEP_SET_OVERRIDE) < 0 ||
                     plan_take_drivers(&p, g, &moves) < 0 ||
                     (type && plan_group_step(&p, g, STEP_SET_TYPE, type, now) < 0) ||
                     plan_moves(&p, &moves, STEP_BIND) < 0 ||
                     (user && plan_access(&p, g, terms, node_uid, moves_bind_anew(&moves)) < 0)))
                        return -ENOMEM;
        }
        *ret = p;
        p = PLAN_NULL;
        return 0;
}

bool plan_disturbs(const Plan *plan, const char *device) {
        for (size_t i = 0; i < plan->n; i++)
                if (str_eq(plan->steps[i].device, device) &&
                    plan->steps[i].kind != STEP_SET_VF_AUTOPROBE &&
                    plan->steps[i].kind != STEP_SET_NUM_VFS && plan->steps[i].kind != STEP_READ_VF)
                        return true;
        return false;
}
