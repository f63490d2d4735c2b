/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/registry-private.h" /* first: it sets uthash up */

#include "core/planner.h"
#include "core/pool.h"
#include "core/selector.h"
#include "core/vfs.h"
#include "util/strings.h"

Device pool_vf(const Device *pf) {
        const DeviceFacts *f = &pf->facts;
        Device vf = { .facts = DEVICE_FACTS_NULL };

        vf.facts.name = (char *)""; /* nobody knows it yet */
        vf.facts.vendor = f->vendor;
        vf.facts.model = f->vf_model;
        vf.facts.class_code = f->class_code;
        vf.facts.numa_node = f->numa_node;
        vf.facts.physfn = f->name;
        return vf;
}

/* How many VFs the list asks for, if it asks for nothing else; 0: it does. */
static int count_vfs(char *const *list, const Device *pf, unsigned vfs, size_t *ret) {
        const Device vf = pool_vf(pf);
        size_t n = 0;

        *ret = 0;
        for (; *list; list++) {
                _cleanup_selector_ Selector s = SELECTOR_NULL;
                int r;

                if (!name_is_selector(*list))
                        return 0;
                r = selector_parse(*list, &s, NULL);
                if (r < 0)
                        return r == -ENOMEM ? r : 0;
                if (!selector_matches(&s, &vf))
                        return 0;
                n += s.count;
        }
        *ret = n <= vfs ? n : 0;
        return 0;
}

/* Those that somebody else has made are nobody's pool. */
static bool has_pool(const Device *pf) {
        return pf->rules.vfs > 0 && pf->facts.total_vfs > 0 && pf->group &&
               (pf->facts.num_vfs == 0 || pf->group->terms.pool);
}

/* The first reason is kept; what makes no sense of VFs that are made may make sense of other devices. */
static int note_reason(Fault *fault, const Fault *why) {
        return fault && !fault_is_set(fault) && why->code != ERROR_INVALID_ARGS
                       ? fault_copy(fault, why)
                       : 0;
}

/* 1: it can be had for this list; 0, -ENOMEM */
static int check_pool(Registry *r, const Device *pf, const Request *request, char *const *list,
                      unsigned long long seq, Fault *fault) {
        char *names[] = { pf->facts.name, NULL };
        _cleanup_obstacles_ Obstacles obstacles = OBSTACLES_NULL;
        _cleanup_free_ Group **groups = NULL;
        _cleanup_fault_ Fault why = FAULT_NULL;
        _cleanup_plan_ Plan plan = PLAN_NULL;
        Request one = *request;
        size_t n;
        Terms t;
        int k;

        k = count_vfs(list, pf, pf->rules.vfs, &n);
        if (k < 0 || n == 0)
                return k;
        one.devices = names;
        one.terms.vfs = pf->rules.vfs;
        one.terms.pf = names[0];
        one.terms.pool = true;
        k = registry_check_at(r, &one, seq, &groups, &n, fault ? &why : NULL);
        if (k < 0)
                return k == -ECANCELED ? note_reason(fault, &why) : k;
        t = request_terms(&one);
        if (plan_claim(pf->group, &one.owner, &t, one.uid, one.force, &plan, &obstacles) < 0)
                return -ENOMEM;
        if (obstacles.n == 0)
                return 1;
        (void)fault_set(&why, ERROR_NOT_VIABLE, "%s", obstacles.items[0].text);
        return note_reason(fault, &why);
}

int pool_choose(Registry *r, Request *request, char *const *list, char *const *avoid,
                unsigned long long seq, Fault *fault) {
        _cleanup_(strv_freep) char **names = NULL;
        const Device *pf = NULL;
        int k = 0;

        if (request->terms.vfs > 0)
                return 0;
        for (const Device *d = registry_devices(r); k == 0 && d; d = d->hh.next)
                if (has_pool(d) && !(avoid && strv_contains(avoid, d->facts.name))) {
                        pf = d;
                        k = check_pool(r, d, request, list, seq, fault);
                }
        if (k <= 0)
                return k;
        if (strv_extend(&names, pf->facts.name) < 0 ||
            str_set(&request->terms.pf, pf->facts.name) < 0)
                return -ENOMEM;
        request->terms.vfs = pf->rules.vfs;
        request->terms.pool = true;
        (void)strv_free(request->devices);
        request->devices = TAKE_PTR(names);
        return 1;
}

void pool_forget(Request *request) {
        if (!request->terms.pool)
                return;
        free(request->terms.pf);
        request->terms.pf = NULL;
        request->terms.pool = false;
        request->terms.vfs = 0;
}

int pool_count(const Request *request, const Device *pf, size_t *ret) {
        int r = 0;

        *ret = 0;
        for (size_t i = 0; r == 0 && *ret == 0 && i < request->n_choices; i++)
                r = count_vfs(request->choices[i], pf, request->terms.vfs, ret);
        return r;
}

Group *pool_group(Registry *r, const Device *vf) {
        const Device *pf = vf->facts.physfn ? registry_device(r, vf->facts.physfn) : NULL;
        Group *g = pf ? pf->group : NULL;

        return g && g->terms.pool && group_pf(g) == pf &&
                               (g->state == GROUP_CLAIMING || g->state == GROUP_OWNED)
                       ? g
                       : NULL;
}

static bool group_has_vf_of(const Group *g, const char *pf) {
        for (const Device *d = g->devices; d; d = d->next)
                if (str_eq(d->facts.physfn, pf))
                        return true;
        return false;
}

int pool_mark(Group **groups, size_t n) {
        for (size_t i = 0; i < n; i++) {
                const Group *pool = groups[i];

                if (!pool->terms.pool || !group_pf(pool) || pool->state == GROUP_FREE)
                        continue;
                for (size_t k = 0; k < n; k++) {
                        Group *g = groups[k];

                        if (g->state != GROUP_FREE || !group_has_vf_of(g, pool->terms.pf))
                                continue;
                        if (str_set(&g->terms.pf, pool->terms.pf) < 0)
                                return -ENOMEM;
                        g->terms.pool = true;
                }
        }
        return 0;
}
