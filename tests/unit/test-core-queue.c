/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The queue and revocation, rule by rule (docs/states.md). */
#include "core-fixture.h"

#define A    "0000:01:00.0" /* group 1 */
#define B    "0000:02:00.0" /* group 2 */
#define C    "0000:03:00.0" /* group 3 */
#define D    "0000:03:00.1" /* group 3, too */
#define USER .kind = OWNER_KIND_USER
#define DMA  .kind = OWNER_KIND_DMA_API
#define WAIT .wait_until = UINT64_MAX

static void host_init(World *w) {
        world_init(w);
        world_plug(w, (DeviceSpec){ A, 1, "e1000e" });
        world_plug(w, (DeviceSpec){ B, 2, "igb" });
        world_plug(w, (DeviceSpec){ C, 3, "igb" });
        world_plug(w, (DeviceSpec){ D, 3, "igb" });
        changes_clear(&w->c);
}

static Lease *ask(World *w, RequestSpec spec, LeaseState state) {
        _cleanup_fault_ Fault fault = FAULT_NULL;
        Lease *l = NULL;

        if (world_ask(w, spec, &l, &fault) < 0)
                fail_msg("%s", fault.message);
        assert_int_equal(l->state, state);
        return l;
}

static void refused(World *w, RequestSpec spec, ErrorCode code, const char *message) {
        _cleanup_fault_ Fault fault = FAULT_NULL;

        changes_clear(&w->c);
        assert_int_equal(world_ask(w, spec, NULL, &fault), -ECANCELED);
        assert_int_equal(fault.code, code);
        assert_non_null(strstr(fault.message, message));
        assert_int_equal(w->c.n_groups + w->c.n_leases, 0);
}

static void release(World *w, Lease *l) {
        assert_int_equal(registry_lease_end(w->r, l, LEASE_ENDED, "released", &w->c), 0);
}

static void restore(World *w, unsigned id) {
        world_restore(w, registry_group(w->r, id));
}

/* Grants the next, which has to be this one; NULL: nobody can be granted. */
static void served(World *w, Lease *l) {
        assert_ptr_equal(registry_queue_next(w->r), l);
        if (l)
                assert_int_equal(registry_queue_grant(w->r, l, 1000, &w->c), 0);
}

static void test_waits_and_is_served(void **state) {
        _cleanup_world_ World w;
        Lease *l, *q;
        Group *g;

        host_init(&w);
        g = registry_group(w.r, 1);
        l = world_acquire(&w, (RequestSpec){ { A }, USER });
        changes_clear(&w.c);
        q = ask(&w, (RequestSpec){ { A }, USER, .owner = "spdk", WAIT, .ttl = 50 }, LEASE_QUEUED);
        assert_int_equal(w.c.n_groups, 1); /* its queue changed */
        assert_int_equal(w.c.n_leases, 1);
        assert_int_equal(q->n_groups, 0);
        assert_int_equal(g->count, 1);
        assert_ptr_equal(g->queue[0], q);
        assert_false(lease_state_is_alive(q->state));
        assert_false(lease_state_is_over(q->state));
        registry_forget_lease(w.r, q);
        assert_ptr_equal(registry_lease(w.r, q->id), q);
        served(&w, NULL);
        assert_int_equal(registry_queue_grant(w.r, q, 0, &w.c), -EINVAL);
        release(&w, l);
        served(&w, NULL); /* draining */
        assert_int_equal(g->state, GROUP_DRAINING);
        restore(&w, 1);
        assert_true(q->request.expires == UINT64_MAX);
        changes_clear(&w.c);
        served(&w, q);
        assert_int_equal(w.c.n_groups, 1);
        assert_int_equal(w.c.n_leases, 1);
        assert_int_equal(q->state, LEASE_ACTIVATING);
        assert_int_equal(g->state, GROUP_CLAIMING);
        assert_int_equal(g->n_queue, 0);
        assert_true(q->request.expires == 1050); /* time to live begins with the right */
        assert_int_equal(registry_queue_grant(w.r, q, 0, &w.c), -EINVAL);
        served(&w, NULL);
}

/* What can be had at once is had at once, and what nobody can get is not waited for. */
static void test_wait_is_no_excuse(void **state) {
        _cleanup_world_ World w;

        host_init(&w);
        (void)ask(&w, (RequestSpec){ { A }, USER, WAIT }, LEASE_ACTIVATING);
        refused(&w, (RequestSpec){ { "0000:99:00.0" }, USER, WAIT }, ERROR_NO_SUCH_DEVICE, "99");
        refused(&w, (RequestSpec){ { B, B }, USER, WAIT }, ERROR_INVALID_ARGS, "twice");
        refused(&w, (RequestSpec){ { B }, USER, WAIT, .priority = 101 }, ERROR_INVALID_ARGS,
                "-100 to 100");
        refused(&w, (RequestSpec){ { B }, USER, WAIT, .priority = -101 }, ERROR_INVALID_ARGS,
                "-100 to 100");
        /* 0 is not to wait */
        refused(&w, (RequestSpec){ { A }, USER, .owner = "spdk" }, ERROR_BUSY, "lease l1");
}

/* Whatever keeps a group is waited for. */
static void test_waits_for_every_state(void **state) {
        _cleanup_world_ World w;
        Lease *l, *q;
        Group *g;

        host_init(&w);
        g = registry_group(w.r, 1);
        l = ask(&w, (RequestSpec){ { A }, USER }, LEASE_ACTIVATING);
        q = ask(&w, (RequestSpec){ { A }, USER, .owner = "spdk", WAIT }, LEASE_QUEUED);
        release(&w, l);
        (void)ask(&w, (RequestSpec){ { A }, USER, .owner = "spdk", WAIT }, LEASE_QUEUED);
        assert_int_equal(registry_group_failed(w.r, g, "test", &w.c), 0);
        (void)ask(&w, (RequestSpec){ { A }, USER, .owner = "spdk", WAIT }, LEASE_QUEUED);
        assert_int_equal(registry_group_retry(w.r, g, &w.c), 0);
        assert_int_equal(registry_group_lost(w.r, g, "test", &w.c), 0);
        (void)ask(&w, (RequestSpec){ { A }, USER, .owner = "spdk", WAIT }, LEASE_QUEUED);
        served(&w, NULL);
        assert_int_equal(g->n_queue, 4);
        world_accept(&w, g);
        served(&w, q);
}

static void test_order(void **state) {
        _cleanup_world_ World w;
        Lease *l, *first, *second, *high, *low;

        host_init(&w);
        l = world_acquire(&w, (RequestSpec){ { A }, USER });
        low = ask(&w, (RequestSpec){ { A }, USER, .owner = "a", WAIT, .priority = -1 },
                  LEASE_QUEUED);
        first = ask(&w, (RequestSpec){ { A }, USER, .owner = "b", WAIT }, LEASE_QUEUED);
        second = ask(&w, (RequestSpec){ { A }, USER, .owner = "c", WAIT }, LEASE_QUEUED);
        high = ask(&w, (RequestSpec){ { A }, USER, .owner = "d", WAIT, .priority = 7 },
                   LEASE_QUEUED);
        assert_ptr_equal(l->groups[0]->queue[0], high);
        assert_ptr_equal(l->groups[0]->queue[1], first);
        assert_ptr_equal(l->groups[0]->queue[2], second);
        assert_ptr_equal(l->groups[0]->queue[3], low);
        for (size_t i = 0; i < 4; i++) {
                Lease *next = (Lease *[]){ high, first, second, low }[i];

                release(&w, l);
                restore(&w, 1);
                served(&w, next);
                served(&w, NULL);
                l = next;
        }
}

/* Who wants few groups does not starve who wants many; who wants others is not held up. */
static void test_no_overtaking(void **state) {
        _cleanup_world_ World w;
        Lease *l, *wide, *narrow;

        host_init(&w);
        l = world_acquire(&w, (RequestSpec){ { A }, USER });
        wide = ask(&w, (RequestSpec){ { A, B }, USER, .owner = "wide", WAIT }, LEASE_QUEUED);
        refused(&w, (RequestSpec){ { B }, USER, .owner = "x" }, ERROR_BUSY, "queued ahead");
        refused(&w, (RequestSpec){ { B }, USER, .owner = "x", .priority = -3 }, ERROR_BUSY, "l2");
        narrow = ask(&w, (RequestSpec){ { B, C }, USER, .owner = "x", WAIT }, LEASE_QUEUED);
        /* held back by the second waiter, which is held back by the first */
        refused(&w, (RequestSpec){ { C }, USER, .owner = "y" }, ERROR_BUSY, "reserved");
        served(&w, NULL);
        release(&w, wide); /* a waiter may go at any time */
        assert_string_equal(wide->ended, "released");
        assert_null(wide->wanted);
        served(&w, narrow);
        served(&w, NULL);
        assert_int_equal(l->state, LEASE_ACTIVE);
}

static void test_higher_priority_overtakes(void **state) {
        _cleanup_world_ World w;

        host_init(&w);
        (void)world_acquire(&w, (RequestSpec){ { A }, USER });
        (void)ask(&w, (RequestSpec){ { A, B }, USER, .owner = "wide", WAIT }, LEASE_QUEUED);
        (void)ask(&w, (RequestSpec){ { B }, USER, .owner = "x", .priority = 1 }, LEASE_ACTIVATING);
}

/* Joining what is held overtakes a waiter only if that costs him nothing. */
static void test_joining(void **state) {
        _cleanup_world_ World w;
        Lease *l;

        host_init(&w);
        l = world_acquire(&w, (RequestSpec){ { C }, DMA, .owner = "a" });
        (void)world_acquire(&w, (RequestSpec){ { A }, USER, .owner = "a" });
        (void)ask(&w, (RequestSpec){ { C }, USER, .owner = "b", WAIT }, LEASE_QUEUED);
        /* it would wait for one more owner */
        refused(&w, (RequestSpec){ { D }, DMA, .owner = "c" }, ERROR_BUSY, "reserved");
        /* it has to wait for that owner anyway */
        (void)ask(&w, (RequestSpec){ { D }, DMA, .owner = "a" }, LEASE_ACTIVE);
        release(&w, l);
        /* of two that can join, the later one need not wait for what the first one waits for */
        (void)ask(&w, (RequestSpec){ { A, B }, USER, .owner = "b", WAIT }, LEASE_QUEUED);
        assert_int_equal(registry_group(w.r, 2)->n_queue, 1);
        refused(&w, (RequestSpec){ { B }, USER, .owner = "a" }, ERROR_BUSY, "reserved");
}

static void test_joining_beside_one_who_can(void **state) {
        _cleanup_world_ World w;
        Lease *l;

        host_init(&w);
        l = world_acquire(&w, (RequestSpec){ { A }, USER, .owner = "x" });
        (void)world_acquire(&w, (RequestSpec){ { C }, DMA, .owner = "a" });
        (void)ask(&w, (RequestSpec){ { A, C }, DMA, .owner = "b", WAIT }, LEASE_QUEUED);
        (void)ask(&w, (RequestSpec){ { C }, DMA, .owner = "c" }, LEASE_ACTIVE);
        release(&w, l);
}

/* An owner who is asked to leave does not stay by asking again. */
static void test_joining_against_priority(void **state) {
        _cleanup_world_ World w;

        host_init(&w);
        (void)world_acquire(&w, (RequestSpec){ { A }, USER, .owner = "a" });
        (void)ask(&w, (RequestSpec){ { A }, USER, .owner = "b", WAIT, .priority = 1 }, LEASE_QUEUED);
        refused(&w, (RequestSpec){ { A }, USER, .owner = "a" }, ERROR_BUSY, "reserved");
}

/* All its groups are owned already: there is nothing to switch. */
static void test_turn_that_joins(void **state) {
        _cleanup_world_ World w;
        Lease *other, *q;

        host_init(&w);
        (void)world_acquire(&w, (RequestSpec){ { A, C }, DMA, .owner = "a" });
        other = ask(&w, (RequestSpec){ { C }, USER, .owner = "b", WAIT }, LEASE_QUEUED);
        q = ask(&w, (RequestSpec){ { A, C }, DMA, .owner = "c", WAIT }, LEASE_QUEUED);
        release(&w, other);
        served(&w, q);
        assert_int_equal(q->state, LEASE_ACTIVE);
        assert_int_equal(registry_group(w.r, 1)->count, 2);
}

/* What is found in the way when its turn comes. */
static void test_turn_that_fails(void **state) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        _cleanup_world_ World w;
        Lease *l, *q, *behind;

        host_init(&w);
        l = world_acquire(&w, (RequestSpec){ { A }, USER });
        q = ask(&w, (RequestSpec){ { A, B }, USER, .owner = "b", WAIT }, LEASE_QUEUED);
        behind = ask(&w, (RequestSpec){ { B }, USER, .owner = "c", WAIT }, LEASE_QUEUED);
        release(&w, l);
        restore(&w, 1);
        served(&w, q);
        (void)fault_set(&why, ERROR_IN_USE, "%s is mounted", B);
        changes_clear(&w.c);
        assert_int_equal(registry_lease_fail(w.r, q, &why, &w.c), 0);
        assert_int_equal(w.c.n_leases, 1);
        assert_int_equal(w.c.n_groups, 2);
        assert_int_equal(q->state, LEASE_FAILED);
        assert_int_equal(q->failure.code, ERROR_IN_USE);
        assert_string_equal(q->failure.message, B " is mounted");
        assert_int_equal(registry_lease_fail(w.r, q, &why, &w.c), -EINVAL);
        served(&w, NULL);
        restore(&w, 2);
        served(&w, behind);
}

static void test_time_out(void **state) {
        _cleanup_world_ World w;
        Lease *l, *soon, *late;

        host_init(&w);
        assert_true(registry_queue_deadline(w.r) == UINT64_MAX);
        l = world_acquire(&w, (RequestSpec){ { A }, USER });
        soon = ask(&w, (RequestSpec){ { A, B }, USER, .owner = "a", .wait_until = 100 },
                   LEASE_QUEUED);
        late = ask(&w, (RequestSpec){ { B }, USER, .owner = "b", .wait_until = 200 }, LEASE_QUEUED);
        assert_true(registry_queue_deadline(w.r) == 100);
        assert_int_equal(registry_queue_expire(w.r, 99, &w.c), 0);
        assert_int_equal(soon->state, LEASE_QUEUED);
        changes_clear(&w.c);
        assert_int_equal(registry_queue_expire(w.r, 100, &w.c), 0);
        assert_int_equal(w.c.n_groups, 2);
        assert_int_equal(w.c.n_leases, 1);
        assert_int_equal(soon->state, LEASE_FAILED);
        assert_int_equal(soon->failure.code, ERROR_TIMED_OUT);
        assert_string_equal(soon->failure.message,
                            "the wait is over: IOMMU group 1 (" A ") is held (user) by lease l1");
        assert_true(registry_queue_deadline(w.r) == 200);
        served(&w, late);
        assert_int_equal(l->state, LEASE_ACTIVE);
}

static void test_says_what_it_waits_for(void **state) {
        _cleanup_world_ World w;
        _cleanup_free_ char *held = NULL, *draining = NULL, *reserved = NULL, *nothing = NULL;
        Lease *l, *q, *behind;

        host_init(&w);
        l = world_acquire(&w, (RequestSpec){ { A }, USER, .owner = "secret" });
        (void)ask(&w, (RequestSpec){ { A }, USER, .owner = "secret" }, LEASE_ACTIVE);
        q = ask(&w, (RequestSpec){ { A, B }, USER, .owner = "hidden", WAIT }, LEASE_QUEUED);
        behind = ask(&w, (RequestSpec){ { B }, USER, .owner = "c", WAIT }, LEASE_QUEUED);
        assert_int_equal(lease_waits_for(q, &held), 0);
        assert_string_equal(held, "IOMMU group 1 (" A ") is held (user) by lease l1, lease l2");
        assert_int_equal(lease_waits_for(behind, &reserved), 0);
        assert_string_equal(reserved,
                            "IOMMU group 2 (" B ") is reserved for lease l3, which is ahead");
        release(&w, registry_lease(w.r, "l2"));
        release(&w, l);
        assert_int_equal(registry_group_set_waits_for(registry_group(w.r, 1), "qemu (pid 7)", &w.c),
                         0);
        assert_int_equal(lease_waits_for(q, &draining), 0);
        assert_string_equal(draining, "IOMMU group 1 (" A ") is draining: qemu (pid 7)");
        restore(&w, 1);
        assert_int_equal(lease_waits_for(q, &nothing), 0);
        assert_null(nothing);
}

static void test_unplugged(void **state) {
        _cleanup_world_ World w;
        Lease *l, *named, *other;

        host_init(&w);
        l = world_acquire(&w, (RequestSpec){ { C }, USER });
        named = ask(&w, (RequestSpec){ { A, D }, USER, .owner = "a", WAIT }, LEASE_QUEUED);
        other = ask(&w, (RequestSpec){ { C }, USER, .owner = "b", WAIT }, LEASE_QUEUED);
        world_unplug(&w, D);
        assert_int_equal(l->state, LEASE_LOST);
        assert_int_equal(named->state, LEASE_FAILED);
        assert_int_equal(named->failure.code, ERROR_NO_SUCH_DEVICE);
        assert_int_equal(registry_group(w.r, 1)->n_queue, 0);
        assert_int_equal(other->state, LEASE_QUEUED);
        restore(&w, 3);
        served(&w, other);
        world_unplug(&w, C);
        assert_null(registry_group(w.r, 3));
}

static void test_bounds(void **state) {
        static const char *const others[] = { B, C, "0000:04:00.0" };
        _cleanup_world_ World w;
        Lease *l = NULL;

        host_init(&w);
        world_plug(&w, (DeviceSpec){ "0000:04:00.0", 4, "igb" });
        world_plug(&w, (DeviceSpec){ "0000:05:00.0", 5, "igb" });
        (void)world_acquire(&w, (RequestSpec){ { A, B, C, "0000:04:00.0", "0000:05:00.0" }, USER });
        for (unsigned i = 0; i < QUEUE_GROUP_MAX; i++)
                l = ask(&w, (RequestSpec){ { A }, USER, .owner = "a", WAIT }, LEASE_QUEUED);
        refused(&w, (RequestSpec){ { A }, USER, .owner = "a", WAIT }, ERROR_QUOTA_EXCEEDED,
                "256 requests are queued for IOMMU group 1");
        release(&w, l);
        (void)ask(&w, (RequestSpec){ { A }, USER, .owner = "a", WAIT }, LEASE_QUEUED);
        for (unsigned i = QUEUE_GROUP_MAX; i < QUEUE_MAX; i++)
                (void)ask(&w,
                          (RequestSpec){
                                  { others[i / QUEUE_GROUP_MAX - 1] }, USER, .owner = "a", WAIT },
                          LEASE_QUEUED);
        refused(&w, (RequestSpec){ { "0000:05:00.0" }, USER, .owner = "a", WAIT },
                ERROR_QUOTA_EXCEEDED, "1024 requests are queued already");
}

static void test_adopt(void **state) {
        _cleanup_world_ World w;
        _cleanup_request_ Request
                first = request_make((RequestSpec){ { A }, USER, WAIT }),
                second = request_make((RequestSpec){ { A }, USER, WAIT }),
                high = request_make((RequestSpec){ { A }, USER, WAIT, .priority = 1 }),
                gone = request_make((RequestSpec){ { "0000:99:00.0" }, USER, WAIT });
        Lease *l1 = NULL, *l2 = NULL, *l3 = NULL, *l4 = NULL;

        host_init(&w);
        assert_int_equal(registry_adopt_lease(w.r, "l7", LEASE_QUEUED, &second, &l2, &w.c), 0);
        assert_int_equal(registry_adopt_lease(w.r, "l5", LEASE_QUEUED, &first, &l1, &w.c), 0);
        assert_int_equal(registry_adopt_lease(w.r, "l9", LEASE_QUEUED, &high, &l3, &w.c), 0);
        assert_int_equal(registry_adopt_lease(w.r, "l8", LEASE_QUEUED, &gone, &l4, &w.c), 0);
        assert_int_equal(registry_adopt_done(w.r, &w.c), 0);
        assert_int_equal(l4->state, LEASE_FAILED);
        assert_int_equal(l4->failure.code, ERROR_NO_SUCH_DEVICE);
        assert_ptr_equal(registry_group(w.r, 1)->queue[0], l3);
        assert_ptr_equal(registry_group(w.r, 1)->queue[1], l1);
        assert_ptr_equal(registry_group(w.r, 1)->queue[2], l2);
        served(&w, l3);
        served(&w, l1); /* the same owner joins */
        served(&w, l2);
}

/* revocation */

static void test_revoke(void **state) {
        _cleanup_world_ World w;
        Lease *l, *queued, *activating;
        Group *g;

        host_init(&w);
        l = world_acquire(&w, (RequestSpec){ { A, C }, USER });
        (void)ask(&w, (RequestSpec){ { A }, USER }, LEASE_ACTIVE);
        g = registry_group(w.r, 3);
        assert_int_equal(registry_revoke_due(w.r, l, &w.c), -EINVAL);
        changes_clear(&w.c);
        assert_int_equal(registry_revoke(w.r, l, "maintenance", 70, &w.c), 0);
        assert_int_equal(w.c.n_leases, 1);
        assert_int_equal(w.c.n_groups, 0);
        assert_int_equal(l->state, LEASE_REVOKING);
        assert_true(l->revocation.deadline == 70);
        assert_int_equal(g->count, 1);
        /* again, for another reason */
        assert_int_equal(registry_revoke(w.r, l, "now", 60, &w.c), 0);
        assert_string_equal(l->revocation.reason, "now");
        assert_int_equal(registry_revoke_due(w.r, l, &w.c), 0);
        assert_int_equal(l->state, LEASE_ENDED);
        assert_string_equal(l->ended, "revoked: now");
        assert_int_equal(g->state, GROUP_DRAINING);
        assert_true(g->evict);
        /* others count on that one */
        assert_int_equal(registry_group(w.r, 1)->state, GROUP_OWNED);
        assert_false(registry_group(w.r, 1)->evict);
        assert_int_equal(registry_revoke(w.r, l, "x", 1, &w.c), -EINVAL);
        restore(&w, 3);
        assert_false(g->evict);
        /* what nobody can have made use of ends at once */
        queued = ask(&w, (RequestSpec){ { A }, USER, .owner = "b", WAIT }, LEASE_QUEUED);
        activating = ask(&w, (RequestSpec){ { B }, USER }, LEASE_ACTIVATING);
        assert_int_equal(registry_revoke(w.r, queued, "x", 99, &w.c), 0);
        assert_int_equal(registry_revoke(w.r, activating, "x", 99, &w.c), 0);
        assert_string_equal(queued->ended, "revoked: x");
        assert_int_equal(activating->state, LEASE_ENDED);
        assert_false(registry_group(w.r, 2)->evict);
}

/* A host driver is unbound by the way back itself: there is nothing to evict. */
static void test_revoke_dma_api(void **state) {
        _cleanup_world_ World w;
        Lease *l;

        host_init(&w);
        l = world_acquire(&w, (RequestSpec){ { A }, DMA });
        assert_int_equal(registry_revoke(w.r, l, "x", 1, &w.c), 0);
        assert_int_equal(registry_revoke_due(w.r, l, &w.c), 0);
        assert_int_equal(registry_group(w.r, 1)->state, GROUP_DRAINING);
        assert_false(registry_group(w.r, 1)->evict);
}

static void test_released_before_the_deadline(void **state) {
        _cleanup_world_ World w;
        Lease *l;

        host_init(&w);
        l = world_acquire(&w, (RequestSpec){ { A }, USER });
        assert_int_equal(registry_revoke(w.r, l, "x", 1, &w.c), 0);
        release(&w, l);
        assert_false(registry_group(w.r, 1)->evict);
        restore(&w, 1);
}

static void check_plan(const Group *g, const Policy *policy, const char *const *steps) {
        _cleanup_plan_ Plan p = PLAN_NULL;

        assert_int_equal(plan_restore(g, policy, &p), 0);
        for (size_t i = 0; i < p.n; i++) {
                _cleanup_free_ char *text = step_describe(&p.steps[i]);

                assert_non_null(steps[i]);
                assert_string_equal(text, steps[i]);
        }
        assert_null(steps[p.n]);
}

/* After the deadline nobody waits for files to be closed; then the way back is the usual one. */
static void test_way_back_of_an_evicted(void **state) {
        static const char *const evict[] = { "take /dev/vfio/1 from uid 0",
                                             "unbind " A " from vfio-pci as soon as it is closed",
                                             "reset " A " (auto)", NULL };
        static const char *const back[] = { "clear driver_override of " A, "bind " A " to e1000e",
                                            NULL };
        _cleanup_plan_ Plan p = PLAN_NULL;
        _cleanup_world_ World w;
        Lease *l;
        Group *g;

        host_init(&w);
        g = registry_group(w.r, 1);
        l = world_acquire(&w, (RequestSpec){ { A }, USER });
        w.open[1] = true;
        assert_int_equal(registry_revoke(w.r, l, "x", 1, &w.c), 0);
        assert_int_equal(registry_revoke_due(w.r, l, &w.c), 0);
        check_plan(g, NULL, evict);
        assert_int_equal(plan_restore(g, NULL, &p), 0);
        world_run_plan(&w, &p, 0, p.n);
        check_plan(g, NULL, back);
}

static void make_way(World *w, uint64_t deadline) {
        assert_int_equal(registry_queue_revoke(w->r, deadline, &w->c), 0);
}

static void test_priority_asks_holders(void **state) {
        _cleanup_world_ World w;
        Lease *l, *same, *expired, *q;

        host_init(&w);
        l = world_acquire(&w, (RequestSpec){ { A }, USER });
        same = ask(&w, (RequestSpec){ { A }, USER, .priority = -5 }, LEASE_ACTIVE);
        expired = world_acquire(&w, (RequestSpec){ { B }, USER });
        assert_true(registry_lease_set_state(w.r, expired, LEASE_UNCONFIRMED, &w.c));
        (void)ask(&w, (RequestSpec){ { A }, USER, .owner = "b", WAIT }, LEASE_QUEUED);
        make_way(&w, 30);
        assert_int_equal(l->state, LEASE_ACTIVE); /* equal: it waits */
        q = ask(&w, (RequestSpec){ { A, B }, USER, .owner = "b", WAIT, .priority = 1 },
                LEASE_QUEUED);
        changes_clear(&w.c);
        make_way(&w, 30);
        assert_int_equal(w.c.n_leases, 3);
        assert_int_equal(l->state, LEASE_REVOKING);
        assert_int_equal(same->state, LEASE_REVOKING);
        assert_int_equal(expired->state, LEASE_REVOKING);
        assert_true(l->revocation.deadline == 30);
        assert_string_equal(l->revocation.reason, "lease l5 with priority 1 waits for it");
        changes_clear(&w.c);
        make_way(&w, 40); /* once */
        assert_int_equal(w.c.n_leases, 0);
        assert_true(l->revocation.deadline == 30);
        /* nobody waits any more, so nobody has to leave; but what a person said stands */
        assert_int_equal(registry_revoke(w.r, same, "person", 30, &w.c), 0);
        release(&w, q);
        changes_clear(&w.c);
        make_way(&w, 50);
        assert_int_equal(w.c.n_leases, 2);
        assert_int_equal(l->state, LEASE_ACTIVE);
        assert_null(l->revocation.reason);
        assert_int_equal(expired->state, LEASE_UNCONFIRMED);
        assert_int_equal(same->state, LEASE_REVOKING);
}

/* Nobody has to leave as long as that does not help. */
static void test_priority_asks_only_if_it_helps(void **state) {
        _cleanup_world_ World w;
        Lease *l, *equal, *activating;

        host_init(&w);
        l = world_acquire(&w, (RequestSpec){ { A }, USER });
        equal = world_acquire(&w, (RequestSpec){ { B }, USER, .priority = 1 });
        activating = ask(&w, (RequestSpec){ { C }, USER }, LEASE_ACTIVATING);
        (void)ask(&w, (RequestSpec){ { A, B, C }, USER, .owner = "b", WAIT, .priority = 1 },
                  LEASE_QUEUED);
        (void)ask(&w, (RequestSpec){ { A }, USER, .owner = "c", WAIT, .priority = 1 }, LEASE_QUEUED);
        make_way(&w, 30);
        assert_int_equal(l->state, LEASE_ACTIVE);
        release(&w, equal);
        make_way(&w, 30); /* draining is on its way */
        assert_int_equal(l->state, LEASE_REVOKING);
        assert_int_equal(activating->state, LEASE_ENDED);
        assert_int_equal(registry_group(w.r, 3)->state, GROUP_DRAINING);
        assert_int_equal(registry_group_lost(w.r, registry_group(w.r, 2), "x", &w.c), 0);
        make_way(&w, 30);
        assert_int_equal(l->state, LEASE_ACTIVE);
        world_accept(&w, registry_group(w.r, 2));
        make_way(&w, 80);
        assert_true(l->revocation.deadline == 80);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_waits_and_is_served),
                cmocka_unit_test(test_wait_is_no_excuse),
                cmocka_unit_test(test_waits_for_every_state),
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_no_overtaking),
                cmocka_unit_test(test_higher_priority_overtakes),
                cmocka_unit_test(test_joining),
                cmocka_unit_test(test_joining_beside_one_who_can),
                cmocka_unit_test(test_joining_against_priority),
                cmocka_unit_test(test_turn_that_joins),
                cmocka_unit_test(test_turn_that_fails),
                cmocka_unit_test(test_time_out),
                cmocka_unit_test(test_says_what_it_waits_for),
                cmocka_unit_test(test_unplugged),
                cmocka_unit_test(test_bounds),
                cmocka_unit_test(test_adopt),
                cmocka_unit_test(test_revoke),
                cmocka_unit_test(test_revoke_dma_api),
                cmocka_unit_test(test_released_before_the_deadline),
                cmocka_unit_test(test_way_back_of_an_evicted),
                cmocka_unit_test(test_priority_asks_holders),
                cmocka_unit_test(test_priority_asks_only_if_it_helps),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
