/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/registry-private.h" /* first: it sets uthash up */

#include <limits.h>
#include <stdint.h>

#include "core/choice.h"
#include "core/planner-private.h"
#include "core/pool.h"
#include "core/selector.h"
#include "core/vfs.h"
#include "util/strings.h"

#define NONE  SIZE_MAX
#define NAMED (SIZE_MAX - 1) /* taken by a device that the request names */

/* A device that may be had. */
typedef struct Candidate {
        const Device *device;
        unsigned cost;
        size_t place;  /* of its group: the same number for the same group */
        uint64_t fits; /* the searches that it matches, as bits */
} Candidate;

_Static_assert(SELECTORS_MAX <= 64, "a bit for each of them");

/* What became of one selector. */
typedef struct Search {
        Selector selector;
        size_t n_matching;
        size_t n_usable;
        Fault why;     /* why one that matches is not usable; Busy, if that is a reason */
        bool tried;    /* while one slot is being filled: others gave it nothing */
        bool hopeless; /* while all are: one of its slots stays empty, so the rest will, too */
} Search;

/* One list of a request: its selectors, and the slots that they want filled. */
typedef struct Choice {
        Registry *r;
        const Request *request;
        char *const *avoid;
        unsigned long long seq;
        char **names; /* that are named, not selected */
        Search *searches;
        size_t n_searches;
        Candidate *candidates; /* the best first */
        size_t n_candidates;
        size_t *slots;  /* which search each is of */
        size_t *filled; /* by which candidate */
        size_t n_slots;
        size_t *taken; /* by which slot: a candidate, or a group if by_group */
        bool by_group;
        bool quiet; /* nobody reads why it cannot be had */
} Choice;

static void choice_clear(Choice *c) {
        for (size_t i = 0; i < c->n_searches; i++) {
                selector_clear(&c->searches[i].selector);
                fault_clear(&c->searches[i].why);
        }
        (void)strv_free(c->names);
        free(c->searches);
        free(c->candidates);
        free(c->slots);
        free(c->filled);
        free(c->taken);
}

/* judging one group or device */

/* Stands for the same request for these devices. */
static Request request_for(const Request *request, char **devices) {
        Request one = *request;

        one.devices = devices;
        one.terms.pf = one.terms.vfs > 0 ? devices[0] : NULL; /* of VFs that are to be made */
        return one;
}

static const Device *find_avoided(const Group *g, const Plan *plan, const Request *request,
                                  char *const *avoid) {
        for (const Device *d = g->devices; d; d = d->next) {
                if (avoid && strv_contains(avoid, d->facts.name))
                        return d;
                if (request->force || str_empty(d->in_use))
                        continue;
                if (plan_disturbs(plan, d->facts.name))
                        return d;
        }
        return NULL;
}

/* Would a claim of this free group go through, as far as is known? */
static int check_group(const Group *g, const Request *request, char *const *avoid,
                       unsigned *ret_cost, Fault *fault) {
        _cleanup_obstacles_ Obstacles obstacles = OBSTACLES_NULL;
        const Terms terms = request_terms(request);
        _cleanup_plan_ Plan plan = PLAN_NULL;
        const Device *d;

        if (plan_claim(g, &request->owner, &terms, request->uid, request->force, &plan,
                       &obstacles) < 0)
                return fault_set_oom(fault);
        if (obstacles.n > 0)
                return fault_set(fault, ERROR_NOT_VIABLE, "%s", obstacles.items[0].text);
        d = find_avoided(g, &plan, request, avoid);
        if (d)
                return fault_set(fault, ERROR_IN_USE, "%s is in use by the host%s%s", d->facts.name,
                                 str_empty(d->in_use) ? "" : ": ",
                                 str_empty(d->in_use) ? "" : d->in_use);
        *ret_cost = 0;
        for (size_t i = 0; i < plan.n; i++)
                if (plan.steps[i].kind == STEP_UNBIND && driver_is_in_the_way(plan.steps[i].value))
                        *ret_cost = 1;
        return 0;
}

static int check_device(const Choice *c, const Device *d, unsigned *ret_cost, Fault *fault) {
        char *names[] = { d->facts.name, NULL };
        Request one = request_for(c->request, names);
        _cleanup_free_ Group **groups = NULL;
        _cleanup_free_ char *who = NULL;
        size_t n;
        int r;

        r = registry_check_at(c->r, &one, c->seq, &groups, &n, fault);
        if (r < 0)
                return r;
        if (d->group->count == 0)
                return check_group(d->group, &one, c->avoid, ret_cost, fault);
        if (!fault)
                return -ECANCELED;
        /* also one that could be shared: what is asked for is a free one */
        who = group_describe_owner(d->group, &c->request->caller);
        if (!who)
                return fault_set_oom(fault);
        return fault_set(fault, ERROR_BUSY, "%s is held by %s", d->facts.name, who);
}

/* collecting */

/* Of several reasons, the one that leads furthest: what an administrator may grant at once, then what time
 * heals. */
static unsigned hope(ErrorCode code) {
        return code == ERROR_MUST_ASK ? 2 : code == ERROR_BUSY;
}

static int note_unusable(Search *s, Fault *why) {
        if (fault_is_set(&s->why) && hope(why->code) <= hope(s->why.code))
                return 0;
        return fault_copy(&s->why, why);
}

static int judge_device(Choice *c, const Device *d) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        uint64_t matches = 0;
        unsigned cost = 0;
        int r;

        /* what nobody can lease counts as not there */
        if (!str_eq(d->facts.bus, "pci") || !d->group || d->facts.bridge ||
            strv_contains(c->names, d->facts.name))
                return 0;
        for (size_t i = 0; i < c->n_searches; i++)
                if (selector_matches(&c->searches[i].selector, d))
                        matches |= UINT64_C(1) << i;
        if (!matches)
                return 0;
        r = check_device(c, d, &cost, c->quiet ? NULL : &why);
        if (r == -ENOMEM)
                return r;
        for (size_t i = 0; i < c->n_searches; i++) {
                Search *s = &c->searches[i];

                if (!(matches & (UINT64_C(1) << i)))
                        continue;
                s->n_matching++;
                s->n_usable += r == 0;
                if (r < 0 && !c->quiet && note_unusable(s, &why) < 0)
                        return -ENOMEM;
        }
        if (r == 0)
                c->candidates[c->n_candidates++] =
                        (Candidate){ .device = d, .cost = cost, .fits = matches };
        return 0;
}

static int candidate_compare(const void *a, const void *b) {
        const Candidate *x = a, *y = b;
        size_t m = x->device->group->n_devices, n = y->device->group->n_devices;

        if (x->cost != y->cost)
                return x->cost < y->cost ? -1 : 1;
        if (m != n)
                return m < n ? -1 : 1;
        return device_name_compare(x->device->facts.name, y->device->facts.name);
}

static int place_compare(const void *a, const void *b) {
        const Candidate *x = *(Candidate *const *)a, *y = *(Candidate *const *)b;
        unsigned m = x->device->group->id, n = y->device->group->id;

        return (m > n) - (m < n);
}

/* Numbers the groups of the candidates. */
static int number_groups(Choice *c) {
        _cleanup_free_ Candidate **sorted = calloc(c->n_candidates + 1, sizeof(Candidate *));

        if (!sorted)
                return -ENOMEM;
        for (size_t i = 0; i < c->n_candidates; i++)
                sorted[i] = &c->candidates[i];
        qsort(sorted, c->n_candidates, sizeof(Candidate *), place_compare);
        for (size_t i = 1; i < c->n_candidates; i++)
                sorted[i]->place = sorted[i - 1]->place +
                                   (place_compare(&sorted[i - 1], &sorted[i]) != 0);
        return 0;
}

static int collect(Choice *c) {
        size_t n = 0;

        for (const Device *d = registry_devices(c->r); d; d = d->hh.next)
                n++;
        c->candidates = calloc(n + 1, sizeof(Candidate));
        c->taken = calloc(n + 1, sizeof(size_t));
        if (!c->candidates || !c->taken)
                return -ENOMEM;
        for (const Device *d = registry_devices(c->r); d; d = d->hh.next)
                if (judge_device(c, d) < 0)
                        return -ENOMEM;
        qsort(c->candidates, c->n_candidates, sizeof(Candidate), candidate_compare);
        return number_groups(c);
}

/* filling: a matching in a bipartite graph, so that no selector goes without because another one took
 * what it could have done without. What one slot of a selector can have any other one of it can, so
 * while a slot is filled each selector is looked at once: a request for much costs what one for little does. */

static bool fits(const Choice *c, size_t slot, size_t candidate) {
        return c->candidates[candidate].fits & (UINT64_C(1) << c->slots[slot]);
}

static size_t place_of(const Choice *c, size_t candidate) {
        return c->by_group ? c->candidates[candidate].place : candidate;
}

static void fill(Choice *c, size_t slot, size_t candidate) {
        c->taken[place_of(c, candidate)] = slot;
        c->filled[slot] = candidate;
}

static bool fill_slot(Choice *c, size_t slot) {
        Search *s = &c->searches[c->slots[slot]];

        if (s->tried)
                return false;
        s->tried = true;
        for (size_t i = 0; i < c->n_candidates; i++)
                if (c->taken[place_of(c, i)] == NONE && fits(c, slot, i)) {
                        fill(c, slot, i);
                        return true;
                }
        for (size_t i = 0; i < c->n_candidates; i++) {
                size_t place = place_of(c, i);

                if (c->taken[place] == NAMED || !fits(c, slot, i))
                        continue;
                if (fill_slot(c, c->taken[place])) {
                        fill(c, slot, i);
                        return true;
                }
        }
        return false;
}

static bool group_is_named(const Choice *c, const Group *g) {
        for (const Device *d = g->devices; d; d = d->next)
                if (strv_contains(c->names, d->facts.name))
                        return true;
        return false;
}

/* NONE, or the slot that stays empty. */
static size_t fill_slots(Choice *c, bool by_group) {
        size_t empty = NONE;

        c->by_group = by_group;
        for (size_t i = 0; i < c->n_candidates; i++)
                c->taken[i] = NONE;
        for (size_t i = 0; by_group && i < c->n_candidates; i++)
                if (group_is_named(c, c->candidates[i].device->group))
                        c->taken[place_of(c, i)] = NAMED;
        for (size_t i = 0; i < c->n_slots; i++)
                if (c->filled[i] != NONE)
                        fill(c, i, c->filled[i]);
        for (size_t i = 0; i < c->n_searches; i++)
                c->searches[i].hopeless = false;
        for (size_t i = 0; i < c->n_slots; i++) {
                Search *s = &c->searches[c->slots[i]];

                if (c->filled[i] != NONE || s->hopeless)
                        continue;
                for (size_t k = 0; k < c->n_searches; k++)
                        c->searches[k].tried = false;
                s->hopeless = !fill_slot(c, i);
                if (s->hopeless && empty == NONE)
                        empty = i;
        }
        return empty;
}

static int refuse_slot(const Choice *c, size_t slot, Fault *fault) {
        const Search *s = &c->searches[c->slots[slot]];
        const char *text = s->selector.text;

        if (s->n_matching == 0)
                return fault_set(fault, ERROR_NO_SUCH_DEVICE,
                                 "No device of this host that can be leased matches '%s'", text);
        if (s->n_matching < s->selector.count)
                return fault_set(fault, ERROR_NO_SUCH_DEVICE,
                                 "Only %zu devices of this host match '%s'", s->n_matching, text);
        if (s->n_usable >= s->selector.count)
                return fault_set(fault, fault_is_set(&s->why) ? s->why.code : ERROR_NO_SUCH_DEVICE,
                                 "What matches '%s' is wanted for other selectors of the request "
                                 "too, and there are not enough devices for all%s%s",
                                 text, fault_is_set(&s->why) ? ": " : "",
                                 fault_is_set(&s->why) ? s->why.message : "");
        return fault_set(fault, s->why.code, "Of %zu devices that match '%s' %zu can be had: %s",
                         s->n_matching, text, s->n_usable, s->why.message);
}

/* one list */

static int parse_list(Choice *c, char *const *list, Fault *fault) {
        size_t n = strv_length(list);
        int r;

        c->searches = calloc(n + 1, sizeof(Search));
        c->names = calloc(1, sizeof(char *));
        if (!c->searches || !c->names)
                return fault_set_oom(fault);
        for (size_t i = 0; i < n; i++) {
                Search *s = &c->searches[c->n_searches];

                if (!name_is_selector(list[i])) {
                        if (strv_extend(&c->names, list[i]) < 0)
                                return fault_set_oom(fault);
                        continue;
                }
                *s = (Search){ .why = FAULT_NULL };
                r = selector_parse(list[i], &s->selector, fault);
                if (r < 0)
                        return r;
                c->n_searches++;
                c->n_slots += s->selector.count;
        }
        if (c->n_slots > SELECTOR_COUNT_MAX)
                return fault_set(fault, ERROR_INVALID_ARGS,
                                 "The selectors ask for %zu devices; one request gets at most %d",
                                 c->n_slots, SELECTOR_COUNT_MAX);
        return 0;
}

static int make_slots(Choice *c) {
        size_t n = 0;

        c->slots = calloc(c->n_slots + 1, sizeof(size_t));
        c->filled = calloc(c->n_slots + 1, sizeof(size_t));
        if (!c->slots || !c->filled)
                return -ENOMEM;
        for (size_t i = 0; i < c->n_searches; i++)
                for (unsigned k = 0; k < c->searches[i].selector.count; k++) {
                        c->filled[n] = NONE;
                        c->slots[n++] = i;
                }
        return 0;
}

/* The names of a list are judged like candidates, so that the next list is tried at once. */
static int check_names(const Choice *c, char **names, Fault *fault) {
        Request all = request_for(c->request, names);
        _cleanup_free_ Group **groups = NULL;
        unsigned cost;
        size_t n = 0;
        int r;

        r = registry_check_at(c->r, &all, c->seq, &groups, &n, fault);
        for (size_t i = 0; r == 0 && i < n; i++)
                if (groups[i]->count == 0)
                        r = check_group(groups[i], &all, c->avoid, &cost, fault);
        return r;
}

static int choose_list(Choice *c, char *const *list, char ***ret, Fault *fault) {
        _cleanup_(strv_freep) char **names = NULL;
        size_t empty;
        int r;

        r = parse_list(c, list, fault);
        if (r < 0)
                return r;
        if (make_slots(c) < 0 || collect(c) < 0)
                return fault_set_oom(fault);
        empty = fill_slots(c, true);
        if (empty != NONE)
                empty = fill_slots(c, false);
        if (empty != NONE)
                return refuse_slot(c, empty, fault);
        names = TAKE_PTR(c->names);
        for (size_t i = 0; i < c->n_slots; i++)
                if (strv_extend(&names, c->candidates[c->filled[i]].device->facts.name) < 0)
                        return fault_set_oom(fault);
        r = check_names(c, names, fault);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(names);
        return 0;
}

/* several lists */

/* What makes no sense is refused even if another list could be granted. */
static int check_lists(const Request *request, Fault *fault) {
        size_t n_selectors = 0;

        for (size_t i = 0; i < request->n_choices; i++) {
                Request one = request_for(request, request->choices[i]);
                int r = request_validate(&one, fault);

                for (char **name = one.devices; r == 0 && *name; name++) {
                        _cleanup_selector_ Selector s = SELECTOR_NULL;

                        if (!name_is_selector(*name))
                                continue;
                        n_selectors++;
                        r = selector_parse(*name, &s, fault);
                }
                if (r < 0)
                        return r;
        }
        /* each of them is held against every device, again and again while the request is queued */
        if (n_selectors > SELECTORS_MAX)
                return fault_set(fault, ERROR_INVALID_ARGS,
                                 "The request has %zu selectors; at most %d are allowed, in all its "
                                 "lists (one may ask for several devices: *COUNT)",
                                 n_selectors, SELECTORS_MAX);
        return 0;
}

static int note_refusal(Fault *all, const Fault *one) {
        _cleanup_free_ char *text = NULL;
        ErrorCode code = all->code;

        if (!fault_is_set(all))
                return fault_copy(all, one);
        if (hope(one->code) > hope(code))
                code = one->code;
        text = str_format("%s; or: %s", all->message, one->message);
        if (!text)
                return -ENOMEM;
        fault_clear(all);
        (void)fault_set(all, code, "%s", text);
        return 0;
}

static int choose(Registry *r, Request *request, char *const *avoid, unsigned long long seq,
                  Fault *fault) {
        _cleanup_fault_ Fault all = FAULT_NULL;
        int k;

        if (request->n_choices == 0)
                return 0;
        pool_forget(request);
        k = check_lists(request, fault);
        if (k < 0)
                return k;
        for (size_t i = 0; i < request->n_choices; i++) {
                _cleanup_(choice_clear) Choice c = {
                        .r = r, .request = request, .avoid = avoid, .seq = seq, .quiet = !fault
                };
                _cleanup_fault_ Fault one = FAULT_NULL, pool = FAULT_NULL;
                char **names;
                bool better;

                k = choose_list(&c, request->choices[i], &names, fault ? &one : NULL);
                if (k == 0) {
                        (void)strv_free(request->devices);
                        request->devices = names;
                        return 0;
                }
                if (k == -ENOMEM)
                        return fault_set_oom(fault);
                if (one.code == ERROR_INVALID_ARGS) /* a name that is none */
                        return fault_set(fault, one.code, "%s", one.message);
                k = pool_choose(r, request, request->choices[i], avoid, seq, fault ? &pool : NULL);
                if (k > 0)
                        return 0;
                /* that it is not there is not the whole truth */
                better = fault_is_set(&pool) && one.code == ERROR_NO_SUCH_DEVICE;
                if (k < 0 || (fault && note_refusal(&all, better ? &pool : &one) < 0))
                        return fault_set_oom(fault);
        }
        return fault_set(fault, all.code, "%s", all.message);
}

int registry_choose(Registry *r, Request *request, char *const *avoid, Fault *fault) {
        int k = choose(r, request, avoid, ULLONG_MAX, fault);

        return k < 0 ? k : registry_settle_vfs(r, request, fault);
}

int registry_choose_at(Registry *r, Request *request, unsigned long long seq, Fault *fault) {
        int k = choose(r, request, NULL, seq, fault);

        return k < 0 ? k : registry_settle_vfs(r, request, fault);
}

bool request_is_open(const Request *request) {
        return request->n_choices > 0 && !request->devices;
}

/* Reasons that may go by themselves. */
static bool may_pass(ErrorCode code) {
        return code == ERROR_BUSY || code == ERROR_QUARANTINED || code == ERROR_LOST;
}

int registry_request(Registry *r, Request *request, char *const *avoid, Lease **ret, Changes *c,
                     Fault *fault) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        Group **none = NULL;
        int k;

        k = registry_choose(r, request, avoid, &why);
        if (k == 0)
                return registry_reserve(r, request, ret, c, fault);
        if (k == -ECANCELED && request_is_open(request) && request->wait_until > 0 &&
            may_pass(why.code))
                return registry_enqueue(r, request, &none, 0, ret, c, fault);
        return fault_copy(fault, &why) < 0 ? fault_set_oom(fault) : k;
}
