/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager/manager-internal.h"
#include "util/strings.h"

/* What is known of the drivers that the terms name is asked for anew with every plan: modules come and
 * go. */
static int learn_drivers(Manager *m, Group *g, const Terms *t) {
        for (Device *d = g->devices; d; d = d->next) {
                const char *driver = terms_driver(t, d);
                int r;

                if (t->kind == OWNER_KIND_USER || !driver)
                        continue;
                driver_wish_clear(&d->wish);
                r = m->kernel->ops->find_driver(m->kernel, d->facts.name, driver, &d->wish);
                if (r < 0 && r != -ENODEV) /* that it has gone will be told */
                        return r;
                if (d->wish.match == DRIVER_MATCH_OTHER && policy_lists_driver(m->policy, d, driver))
                        d->wish.match = DRIVER_MATCH_LISTED;
        }
        return 0;
}

int manager_plan_claim(Manager *m, Group *g, const Owner *owner, const Terms *t, uid_t uid,
                       bool force, Plan *ret, Obstacles *obstacles) {
        int r = learn_drivers(m, g, t);

        return r < 0 ? r : plan_claim(g, owner, t, uid, force, ret, obstacles);
}
