/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Long random histories of requests that wait: granted, released, timed out, revoked, unplugged,
 * with groups that take their time, fail and come back, and with crashes. After every event: no
 * group has two owners, nobody waits who could be served, nobody was overtaken, and nobody was
 * told of anything that did not change. In the end everybody who still waits is served.
 *
 * With an argument: only the history of that seed.
 */
#include <stdio.h>
#include <time.h>

#include "core-fixture.h"

enum {
        N_GROUPS = 8,
        N_EVENTS = 2000,
        N_SEEDS = 100,
        MAX_SHOWN = 4096,
        NOTICE = 30
};

/* What was last reported of a lease. */
typedef struct Shown {
        bool known;
        LeaseState state;
        uint64_t deadline;
        char reason[80];
} Shown;

typedef struct History {
        World w;
        uint64_t random, now;
        Shown shown[MAX_SHOWN];
        unsigned granted, timed_out, revoked, taken_back, evicted, crashes, waited;
} History;

static unsigned pick(History *h, unsigned n) {
        h->random ^= h->random << 13;
        h->random ^= h->random >> 7;
        h->random ^= h->random << 17;
        return (unsigned)((h->random >> 32) % n);
}

static const char *device_name(unsigned group, unsigned function) {
        static char names[N_GROUPS][2][16];

        (void)snprintf(names[group][function], sizeof(names[group][function]), "0000:%02x:00.%u",
                       (group + 1) & 0xff, function & 1);
        return names[group][function];
}

static void plug(History *h, unsigned group, unsigned function) {
        DeviceFacts f = DEVICE_FACTS_NULL;
        char bus[] = "pci", type[] = "DMA";

        f.name = (char *)device_name(group, function);
        f.bus = bus;
        f.default_domain_type = type;
        f.group = (int)group;
        assert_int_equal(registry_device_seen(h->w.r, &f, &h->w.c), 0);
}

/* the rules once more, in other words */

static bool agree(const Group *g, const Request *q) {
        if (g->state == GROUP_FREE)
                return true;
        if ((g->state != GROUP_CLAIMING && g->state != GROUP_OWNED) ||
            g->terms.kind != q->terms.kind)
                return false;
        if (q->terms.kind == OWNER_KIND_DMA_API)
                return !q->terms.default_domain_type ||
                       str_eq(q->terms.default_domain_type,
                              g->terms.default_domain_type ? g->terms.default_domain_type : "DMA");
        return g->owner.uid == q->owner.uid && str_eq(g->owner.name, q->owner.name);
}

static bool is_before(const Lease *a, const Lease *b) {
        if (a->request.priority != b->request.priority)
                return a->request.priority > b->request.priority;
        return a->seq < b->seq;
}

static bool wants(const Lease *l, const Group *g) {
        for (size_t i = 0; i < l->n_wanted; i++)
                if (l->wanted[i] == g)
                        return true;
        return false;
}

static bool holds(const Group *g, const Owner *o) {
        for (size_t i = 0; i < g->n_leases; i++)
                if (g->leases[i]->request.owner.uid == o->uid &&
                    str_eq(g->leases[i]->request.owner.name, o->name))
                        return true;
        return false;
}

/* Has the waiter `first` a reason to complain if `second` gets the group? */
static bool minds(const Group *g, const Lease *first, const Lease *second) {
        if (!is_before(first, second) || !wants(first, g))
                return false;
        if (g->state == GROUP_FREE)
                return true;
        return !agree(g, &first->request) && (first->request.priority != second->request.priority ||
                                              !holds(g, &second->request.owner));
}

static bool could_be_served(Registry *r, const Lease *l) {
        for (size_t i = 0; i < l->n_wanted; i++) {
                if (!agree(l->wanted[i], &l->request))
                        return false;
                for (Lease *o = registry_leases(r); o; o = o->hh.next)
                        if (o->state == LEASE_QUEUED && minds(l->wanted[i], o, l))
                                return false;
        }
        return true;
}

/* checks */

static void check_group(Group *g) {
        for (size_t i = 1; i < g->n_leases; i++) {
                const Request *a = &g->leases[0]->request, *b = &g->leases[i]->request;

                assert_int_equal(a->terms.kind, b->terms.kind);
                if (a->terms.kind == OWNER_KIND_USER) {
                        assert_int_equal(a->owner.uid, b->owner.uid);
                        assert_string_equal(a->owner.name, b->owner.name);
                }
        }
        for (size_t i = 0; i < g->n_queue; i++) {
                assert_int_equal(g->queue[i]->state, LEASE_QUEUED);
                assert_true(wants(g->queue[i], g));
                assert_true(i == 0 || is_before(g->queue[i - 1], g->queue[i]));
        }
        assert_int_equal(g->count > 0, g->state == GROUP_CLAIMING || g->state == GROUP_OWNED);
        assert_true(!g->evict || g->count == 0);
}

static void check_lease(History *h, Lease *l) {
        Shown *shown = &h->shown[l->seq];
        const char *reason = l->revocation.reason ? l->revocation.reason : "";
        bool reported = false, changed = !shown->known || l->state != shown->state ||
                                         l->revocation.deadline != shown->deadline ||
                                         !str_eq(reason, shown->reason);

        for (size_t i = 0; i < h->w.c.n_leases; i++)
                reported = reported || h->w.c.leases[i] == l;
        assert_int_equal(reported, changed);
        *shown = (Shown){ true, l->state, l->revocation.deadline, "" };
        (void)snprintf(shown->reason, sizeof(shown->reason), "%s", reason);
        assert_int_equal(l->n_groups > 0, lease_state_is_alive(l->state));
        assert_int_equal(l->n_wanted > 0, l->state == LEASE_QUEUED);
        assert_int_equal(l->revocation.deadline > 0 && !lease_state_is_over(l->state),
                         l->state == LEASE_REVOKING);
        if (l->state != LEASE_QUEUED)
                return;
        assert_false(could_be_served(h->w.r, l));
        assert_true(l->request.wait_until > h->now);
        for (size_t i = 0; i < l->n_wanted; i++)
                assert_ptr_equal(registry_group(h->w.r, l->wanted[i]->id), l->wanted[i]);
}

static void check_all(History *h) {
        for (Group *g = registry_groups(h->w.r); g; g = g->hh.next)
                check_group(g);
        for (Lease *l = registry_leases(h->w.r); l; l = l->hh.next)
                check_lease(h, l);
}

static void settle(History *h) {
        for (size_t i = 0; i < h->w.c.n_leases; i++)
                if (lease_state_is_over(h->w.c.leases[i]->state))
                        registry_forget_lease(h->w.r, h->w.c.leases[i]);
        for (size_t i = 0; i < h->w.c.n_groups; i++)
                if (h->w.c.groups[i]->n_devices == 0)
                        registry_forget_group(h->w.r, h->w.c.groups[i]);
        changes_clear(&h->w.c);
}

/* what the manager does after every change */

static void serve(History *h) {
        Lease *l;

        while ((l = registry_queue_next(h->w.r))) {
                assert_true(could_be_served(h->w.r, l));
                assert_int_equal(registry_queue_grant(h->w.r, l, h->now, &h->w.c), 0);
                h->granted++;
        }
        assert_int_equal(registry_queue_expire(h->w.r, h->now, &h->w.c), 0);
        while ((l = registry_queue_next(h->w.r))) /* those that waited behind */
                assert_int_equal(registry_queue_grant(h->w.r, l, h->now, &h->w.c), 0);
        for (l = registry_leases(h->w.r); l; l = l->hh.next)
                if (l->state == LEASE_REVOKING && l->revocation.deadline <= h->now) {
                        assert_int_equal(registry_revoke_due(h->w.r, l, &h->w.c), 0);
                        h->evicted++;
                }
        assert_int_equal(registry_queue_revoke(h->w.r, h->now + NOTICE, &h->w.c), 0);
}

/* events */

static void event_request(History *h, bool waits) {
        static const char *const owners[] = { "dpdk", "qemu", "spdk" };
        static const char *const types[] = { NULL, "DMA", "identity" };
        static const int priorities[] = { 0, 0, 0, 0, 0, -1, 1, 2 };
        RequestSpec s = { .kind = pick(h, 4) ? OWNER_KIND_USER : OWNER_KIND_DMA_API,
                          .owner = owners[pick(h, 3)],
                          .priority = priorities[pick(h, 8)] };
        _cleanup_fault_ Fault fault = FAULT_NULL;
        unsigned n = 1 + pick(h, 4), k = 0;
        Lease *l = NULL;
        int r;

        for (unsigned i = 0; i < n; i++) {
                const char *name = device_name(pick(h, N_GROUPS), pick(h, 2));
                bool twice = !registry_device(h->w.r, name);

                for (unsigned j = 0; j < k; j++)
                        twice = twice || str_eq(s.devices[j], name);
                if (!twice)
                        s.devices[k++] = name;
        }
        if (k == 0)
                return;
        if (s.kind == OWNER_KIND_DMA_API)
                s.type = types[pick(h, 3)];
        if (waits)
                s.wait_until = pick(h, 4) ? UINT64_MAX : h->now + 1 + pick(h, 60);
        r = world_ask(&h->w, s, &l, &fault);
        assert_true(r == 0 || (r == -ECANCELED && !waits && fault.code != ERROR_INVALID_ARGS));
        if (r == 0 && l->state == LEASE_QUEUED)
                h->waited++;
}

static Lease *random_lease(History *h) {
        unsigned n = HASH_COUNT(registry_leases(h->w.r));
        Lease *l = registry_leases(h->w.r);

        for (unsigned i = n ? pick(h, n) : 0; i > 0; i--)
                l = l->hh.next;
        return l;
}

static void event_end(History *h) {
        Lease *l = random_lease(h);

        if (l)
                assert_int_equal(registry_lease_end(h->w.r, l, LEASE_ENDED, "x", &h->w.c), 0);
}

static void event_revoke(History *h) {
        uint64_t deadline = h->now + 1 + pick(h, 50);
        Lease *l = random_lease(h);

        if (!l)
                return;
        if (l->revocation.deadline == deadline) /* asked twice for the same is told twice */
                deadline++;
        assert_int_equal(registry_revoke(h->w.r, l, "x", deadline, &h->w.c), 0);
}

static void advance(History *h, Group *g, bool may_fail) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        bool fails = may_fail && pick(h, 10) == 0;
        Changes *c = &h->w.c;
        int r = 0;

        (void)fault_set(&why, ERROR_KERNEL_REFUSED, "test");
        if (g->state == GROUP_CLAIMING)
                r = fails ? registry_group_claim_failed(h->w.r, g, &why, c)
                          : registry_group_claimed(h->w.r, g, c);
        else if (g->state == GROUP_DRAINING)
                r = fails ? registry_group_failed(h->w.r, g, "test", c)
                          : registry_group_drained(h->w.r, g, c);
        else if (g->state == GROUP_RESTORING)
                r = registry_group_restored(h->w.r, g, c);
        else if (g->state == GROUP_FAILED || g->state == GROUP_LOST)
                r = pick(h, 2) ? registry_group_retry(h->w.r, g, c)
                               : registry_group_accept(h->w.r, g, c);
        else if (g->state == GROUP_OWNED && fails)
                r = registry_group_lost(h->w.r, g, "test", c);
        assert_int_equal(r, 0);
}

static void event_plug(History *h) {
        unsigned group = pick(h, N_GROUPS), function = pick(h, 2);

        if (registry_device(h->w.r, device_name(group, function)) && pick(h, 8) == 0)
                assert_int_equal(registry_device_removed(h->w.r, device_name(group, function),
                                                         &h->w.c),
                                 0);
        else if (!registry_device(h->w.r, device_name(group, function)))
                plug(h, group, function);
}

static void event_crash(History *h) {
        Registry *old = h->w.r;
        Lease *l;

        assert_int_equal(registry_new(&h->w.r), 0);
        for (Device *d = registry_devices(old); d; d = d->hh.next)
                assert_int_equal(registry_device_seen(h->w.r, &d->facts, &h->w.c), 0);
        for (Group *g = registry_groups(old); g; g = g->hh.next)
                if (g->state != GROUP_FREE)
                        assert_int_equal(registry_adopt_group(h->w.r, registry_group(h->w.r, g->id),
                                                              g->state, &g->owner, &g->terms,
                                                              g->node_uid, g->recorded_type,
                                                              &h->w.c),
                                         0);
        for (Lease *was = registry_leases(old); was; was = was->hh.next) {
                LeaseState state = was->state;

                assert_int_equal(registry_adopt_lease(h->w.r, was->id, state, &was->request, &l,
                                                      &h->w.c),
                                 0);
                assert_int_equal(l->state, state);
                l->revocation = was->revocation;
                was->revocation = (Revocation){};
        }
        assert_int_equal(registry_adopt_done(h->w.r, &h->w.c), 0);
        (void)registry_free(old);
        changes_clear(&h->w.c);
        h->crashes++;
}

static void count(History *h) {
        for (size_t i = 0; i < h->w.c.n_leases; i++) {
                const Lease *l = h->w.c.leases[i];
                LeaseState was = h->shown[l->seq].state;

                h->timed_out += l->state == LEASE_FAILED && l->failure.code == ERROR_TIMED_OUT;
                h->revoked += l->state == LEASE_REVOKING && l->revocation.by_queue;
                h->taken_back += was == LEASE_REVOKING && lease_state_is_alive(l->state);
        }
}

static void finish_event(History *h) {
        serve(h);
        count(h);
        check_all(h);
        settle(h);
}

/* Holders leave one after the other, nothing fails any more: everybody gets what he waits for. */
static void run_dry(History *h) {
        unsigned left = 0;

        while (HASH_COUNT(registry_leases(h->w.r)) > 0) {
                assert_true(left++ < 100000);
                for (Group *g = registry_groups(h->w.r); g; g = g->hh.next) {
                        advance(h, g, false);
                        finish_event(h);
                }
                for (Lease *l = registry_leases(h->w.r); l; l = l->hh.next)
                        if (l->state == LEASE_ACTIVE || l->state == LEASE_REVOKING) {
                                assert_int_equal(registry_lease_end(h->w.r, l, LEASE_ENDED, "x",
                                                                    &h->w.c),
                                                 0);
                                break;
                        }
                finish_event(h);
        }
        for (Group *g = registry_groups(h->w.r); g; g = g->hh.next)
                assert_int_equal(g->n_queue, 0);
}

static void run_seed(uint64_t seed, History *h) {
        print_message("# seed %llu\n", (unsigned long long)seed);
        *h = (History){ .random = seed * 0x9e3779b97f4a7c15ULL + 1, .now = 1 };
        world_init(&h->w);
        for (unsigned i = 0; i < 2 * N_GROUPS; i++)
                plug(h, i / 2, i % 2);
        for (unsigned i = 0; i < N_EVENTS; i++) {
                unsigned what = pick(h, 100);
                Group *g = registry_group(h->w.r, pick(h, N_GROUPS));

                h->now += pick(h, 4);
                if (what < 18)
                        event_request(h, what < 14);
                else if (what < 34)
                        event_end(h);
                else if (what < 36)
                        event_revoke(h);
                else if (what < 37)
                        event_crash(h);
                else if (what < 40)
                        event_plug(h);
                else if (g)
                        advance(h, g, true);
                finish_event(h);
        }
        run_dry(h);
        world_clear(&h->w);
}

static uint64_t only_seed;

static void test_histories(void **state) {
        unsigned granted = 0, timed_out = 0, revoked = 0, taken_back = 0, evicted = 0, waited = 0;
        static History h;

        for (uint64_t i = 1; i <= N_SEEDS + 1; i++) {
                uint64_t seed = i <= N_SEEDS ? i : (uint64_t)time(NULL);

                if (only_seed && i > 1)
                        break;
                run_seed(only_seed ? only_seed : seed, &h);
                granted += h.granted;
                timed_out += h.timed_out;
                revoked += h.revoked;
                taken_back += h.taken_back;
                evicted += h.evicted;
                waited += h.waited;
        }
        print_message("# %u waited, %u granted, %u timed out, %u asked to leave, %u evicted, "
                      "%u taken back\n",
                      waited, granted, timed_out, revoked, evicted, taken_back);
        /* histories in which nothing happens would check nothing */
        assert_true(only_seed || (waited > 5000 && granted > 3000 && timed_out > 300 &&
                                  revoked > 200 && evicted > 100 && taken_back > 20));
}

int main(int argc, char *argv[]) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_histories) };
        unsigned long long seed = 0;

        if (argc > 1 && parse_u64(argv[1], 10, &seed) < 0)
                return EXIT_FAILURE;
        only_seed = seed;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
