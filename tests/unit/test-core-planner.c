/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plans: what they say, and that from any point half-way they lead to the end and back again. */
#include "core-fixture.h"

#define A       "0000:01:00.0"
#define BRIDGE  "0000:00:1e.0"
#define B       "0000:02:01.0"
#define C       "0000:02:02.0"
#define USER    .kind = OWNER_KIND_USER
#define DMA_API .kind = OWNER_KIND_DMA_API
#define PRIVATE .kind = OWNER_KIND_PRIVATE_DOMAIN

typedef struct Scenario {
        const char *what;
        DeviceSpec host[4];
        RequestSpec want;
        const char *claim[12];
        const char *restore[16];
        bool repeats; /* a claim can be planned again even when it is done */
        bool owes;    /* the type stays DMA-FQ */
} Scenario;

static const Scenario scenarios[] = {
        { "user, one device",
          { { A, 1, "e1000e" } },
          { { A }, USER, .node_uid = 1000 },
          { "load module vfio_pci", "set driver_override of " A " to vfio-pci",
            "unbind " A " from e1000e", "bind " A " to vfio-pci", "wait for /dev/vfio/1",
            "grant /dev/vfio/1 to uid 1000" },
          { "take /dev/vfio/1 from uid 1000", "claim group 1 once /dev/vfio/1 is closed",
            "reset " A " (auto)", "unbind " A " from vfio-pci", "release group 1",
            "clear driver_override of " A, "bind " A " to e1000e" } },
        { "user, descriptors, reset method",
          { { A, 1, "e1000e" } },
          { { A }, USER, .access = ACCESS_FD, .reset = "flr" },
          { "load module vfio_pci", "set driver_override of " A " to vfio-pci",
            "unbind " A " from e1000e", "bind " A " to vfio-pci",
            "open the VFIO files of group 1 (auto) to lend them" },
          { "remove all mappings made through lent files of group 1",
            "claim group 1 once /dev/vfio/1 is closed", "reset " A " (flr)",
            "unbind " A " from vfio-pci", "release group 1", "clear driver_override of " A,
            "bind " A " to e1000e" } },
        { "user, no driver before, override before, no reset",
          { { A, 1, .driver_override = "mine" } },
          { { A }, USER, .access = ACCESS_FD, .reset = "none" },
          { "load module vfio_pci", "set driver_override of " A " to vfio-pci",
            "bind " A " to vfio-pci", "open the VFIO files of group 1 (auto) to lend them" },
          { "remove all mappings made through lent files of group 1",
            "claim group 1 once /dev/vfio/1 is closed", "unbind " A " from vfio-pci",
            "release group 1", "set driver_override of " A " to mine" } },
        { "user, an override that names another driver",
          { { A, 1, "e1000e", .driver_override = "later" } },
          { { A }, USER, .access = ACCESS_FD },
          { "load module vfio_pci", "set driver_override of " A " to vfio-pci",
            "unbind " A " from e1000e", "bind " A " to vfio-pci",
            "open the VFIO files of group 1 (auto) to lend them" },
          { "remove all mappings made through lent files of group 1",
            "claim group 1 once /dev/vfio/1 is closed", "reset " A " (auto)",
            "unbind " A " from vfio-pci", "release group 1",
            "set driver_override of " A " to e1000e", "bind " A " to e1000e",
            "set driver_override of " A " to later" } },
        { "dma-api, an override that names another driver",
          { { A, 1, "e1000e", .driver_override = "later" } },
          { { A }, DMA_API, .type = "identity" },
          { "set driver_override of " A " to e1000e", "unbind " A " from e1000e",
            "set default domain type of group 1 to identity", "bind " A " to e1000e" },
          { "unbind " A " from e1000e", "set default domain type of group 1 to DMA",
            "bind " A " to e1000e", "set driver_override of " A " to later" } },
        { "user, identity",
          { { A, 1, "e1000e", .type = "identity" } },
          { { A }, USER, .access = ACCESS_FD },
          { "load module vfio_pci", "set driver_override of " A " to vfio-pci",
            "unbind " A " from e1000e", "set default domain type of group 1 to DMA",
            "bind " A " to vfio-pci", "open the VFIO files of group 1 (auto) to lend them" },
          { "remove all mappings made through lent files of group 1",
            "claim group 1 once /dev/vfio/1 is closed", "reset " A " (auto)",
            "unbind " A " from vfio-pci", "release group 1",
            "set default domain type of group 1 to identity", "clear driver_override of " A,
            "bind " A " to e1000e" } },
        { "user, bridge with shpchp",
          { { BRIDGE, 2, "shpchp", .bridge = true }, { B, 2, "e1000" }, { C, 2, "e1000" } },
          { { B }, USER },
          { "load module vfio_pci", "set driver_override of " BRIDGE " to none",
            "set driver_override of " B " to vfio-pci", "set driver_override of " C " to vfio-pci",
            "unbind " BRIDGE " from shpchp", "unbind " B " from e1000", "unbind " C " from e1000",
            "bind " B " to vfio-pci", "bind " C " to vfio-pci", "wait for /dev/vfio/2",
            "grant /dev/vfio/2 to uid 0" },
          { "take /dev/vfio/2 from uid 0", "claim group 2 once /dev/vfio/2 is closed",
            "reset " B " (auto)", "reset " C " (auto)", "unbind " B " from vfio-pci",
            "unbind " C " from vfio-pci", "release group 2", "clear driver_override of " BRIDGE,
            "clear driver_override of " B, "clear driver_override of " C,
            "bind " BRIDGE " to shpchp", "bind " B " to e1000", "bind " C " to e1000" } },
        { "user, harmless neighbours stay",
          { { BRIDGE, 2, "pcieport", .bridge = true }, { B, 2, "e1000" } },
          { { B }, USER, .access = ACCESS_FD },
          { "load module vfio_pci", "set driver_override of " B " to vfio-pci",
            "unbind " B " from e1000", "bind " B " to vfio-pci",
            "open the VFIO files of group 2 (auto) to lend them" },
          { "remove all mappings made through lent files of group 2",
            "claim group 2 once /dev/vfio/2 is closed", "reset " B " (auto)",
            "unbind " B " from vfio-pci", "release group 2", "clear driver_override of " B,
            "bind " B " to e1000" } },
        { "user, variant drivers",
          { { B, 2, "mlx5_core", .vfio_driver = "mlx5_vfio_pci" }, { C, 2, "e1000" } },
          { { B }, USER, .access = ACCESS_FD },
          { "load module mlx5_vfio_pci", "load module vfio_pci",
            "set driver_override of " B " to mlx5_vfio_pci",
            "set driver_override of " C " to vfio-pci", "unbind " B " from mlx5_core",
            "unbind " C " from e1000", "bind " B " to mlx5_vfio_pci", "bind " C " to vfio-pci",
            "open the VFIO files of group 2 (auto) to lend them" },
          {} },
        { "user, VFIO driver that is part of the kernel",
          { { A, 1, "e1000e", .vfio_built_in = true } },
          { { A }, USER, .access = ACCESS_FD },
          { "set driver_override of " A " to vfio-pci", "unbind " A " from e1000e",
            "bind " A " to vfio-pci", "open the VFIO files of group 1 (auto) to lend them" },
          {} },
        { "user, plain VFIO driver wished",
          { { A, 1, "mlx5_core", .vfio_driver = "mlx5_vfio_pci" } },
          { { A }, USER, .access = ACCESS_FD, .driver = "vfio-pci" },
          { "load module vfio_pci", "set driver_override of " A " to vfio-pci",
            "unbind " A " from mlx5_core", "bind " A " to vfio-pci",
            "open the VFIO files of group 1 (auto) to lend them" },
          {} },
        { "user, on VFIO before",
          { { A, 1, "vfio-pci", .driver_override = "vfio-pci" } },
          { { A }, USER },
          { "wait until /dev/vfio/1 is closed", "unbind " A " from vfio-pci",
            "bind " A " to vfio-pci", "wait for /dev/vfio/1", "grant /dev/vfio/1 to uid 0" },
          { "take /dev/vfio/1 from uid 0", "claim group 1 once /dev/vfio/1 is closed",
            "reset " A " (auto)", "unbind " A " from vfio-pci", "release group 1",
            "bind " A " to vfio-pci" },
          .repeats = true },
        { "user, a neighbour on VFIO before",
          { { B, 2, "vfio-pci" }, { C, 2, "e1000" } },
          { { C }, USER, .access = ACCESS_FD },
          { "set driver_override of " B " to vfio-pci", "set driver_override of " C " to vfio-pci",
            "wait until /dev/vfio/2 is closed", "unbind " B " from vfio-pci",
            "unbind " C " from e1000", "bind " B " to vfio-pci", "bind " C " to vfio-pci",
            "open the VFIO files of group 2 (auto) to lend them" },
          {},
          .repeats = true },
        { "dma-api, nothing wished", { { A, 1, "e1000e" } }, { { A }, DMA_API }, {}, {} },
        { "dma-api, as it is",
          { { A, 1, "e1000e" } },
          { { A }, DMA_API, .driver = "e1000e", .type = "DMA" },
          {},
          {} },
        { "dma-api, live",
          { { A, 1, "e1000e" } },
          { { A }, DMA_API, .type = "DMA-FQ" },
          { "set default domain type of group 1 to DMA-FQ" },
          {},
          .owes = true },
        { "dma-api, from DMA-FQ",
          { { A, 1, "e1000e", .type = "DMA-FQ" } },
          { { A }, DMA_API, .type = "DMA" },
          { "unbind " A " from e1000e", "set default domain type of group 1 to DMA",
            "bind " A " to e1000e" },
          { "set default domain type of group 1 to DMA-FQ" } },
        { "dma-api, identity, all kernel owners leave",
          { { BRIDGE, 2, "shpchp", .bridge = true }, { B, 2, "e1000" }, { C, 2, NULL } },
          { { B }, DMA_API, .type = "identity" },
          { "unbind " BRIDGE " from shpchp", "unbind " B " from e1000",
            "set default domain type of group 2 to identity", "bind " BRIDGE " to shpchp",
            "bind " B " to e1000" },
          { "unbind " BRIDGE " from shpchp", "unbind " B " from e1000",
            "set default domain type of group 2 to DMA", "bind " BRIDGE " to shpchp",
            "bind " B " to e1000" } },
        { "dma-api, auto",
          { { A, 1, "e1000e", .type = "identity" } },
          { { A }, DMA_API, .type = "auto" },
          { "unbind " A " from e1000e", "set default domain type of group 1 to auto",
            "bind " A " to e1000e" },
          {},
          .repeats = true },
        { "dma-api, another driver and type",
          { { A, 1, "e1000e" } },
          { { A }, DMA_API, .driver = "other", .type = "DMA-FQ" },
          { "set driver_override of " A " to other", "unbind " A " from e1000e",
            "set default domain type of group 1 to DMA-FQ", "bind " A " to other" },
          { "unbind " A " from other", "set default domain type of group 1 to DMA",
            "clear driver_override of " A, "bind " A " to e1000e" } },
        { "private-domain",
          { { A, 1, "e1000e" } },
          { { A }, PRIVATE, .driver = "host1x" },
          { "set driver_override of " A " to host1x", "unbind " A " from e1000e",
            "bind " A " to host1x" },
          { "unbind " A " from host1x", "clear driver_override of " A, "bind " A " to e1000e" } },
};

static Lease *scenario_init(World *w, const Scenario *s) {
        Lease *l = NULL;

        world_init(w);
        for (size_t i = 0; s->host[i].name; i++)
                world_plug(w, s->host[i]);
        /* VFIO before means that its module is loaded */
        if (s->repeats)
                assert_int_equal(strv_extend(&w->modules, "vfio_pci"), 0);
        assert_int_equal(world_ask(w, s->want, &l, NULL), 0);
        return l;
}

static void plan_for(const Group *g, Plan *p) {
        _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;

        assert_int_equal(plan_claim(g, &g->owner, &g->terms, g->node_uid, false, p, &o), 0);
        if (o.n > 0)
                fail_msg("%s", o.items[0].text);
}

static void check_plan(const char *what, const Plan *p, const char *const *expected) {
        for (size_t i = 0; i < p->n || expected[i]; i++) {
                _cleanup_free_ char *text = i < p->n ? step_describe(&p->steps[i]) : NULL;

                if (!str_eq(text, expected[i])) {
                        plan_print(p);
                        fail_msg("%s: step %zu is '%s', not '%s'", what, i, text ? text : "-",
                                 expected[i] ? expected[i] : "-");
                }
        }
}

/* The host is as it was; but for a type that is owed. */
static void check_host(World *w, const Scenario *s) {
        for (size_t i = 0; s->host[i].name; i++) {
                const DeviceSpec *was = &s->host[i];
                const DeviceFacts *now = &world_device(w, was->name)->facts;
                const char *type = was->type ? was->type : "DMA";
                bool same = str_eq(now->driver, was->driver) &&
                            str_eq(now->driver_override, was->driver_override) &&
                            (s->owes || str_eq(now->default_domain_type, type));

                if (!same)
                        fail_msg("%s: %s ended up with driver %s, override %s, type %s", s->what,
                                 was->name, now->driver, now->driver_override,
                                 now->default_domain_type);
                assert_false(w->claimed[now->group]);
                assert_false(w->granted[now->group]);
        }
}

static void test_steps(void **state) {
        for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
                const Scenario *s = &scenarios[i];
                _cleanup_world_ World w;
                _cleanup_plan_ Plan claim = PLAN_NULL, again = PLAN_NULL, restore = PLAN_NULL;
                _cleanup_plan_ Plan left = PLAN_NULL;
                Lease *l = scenario_init(&w, s);
                Group *g = l->groups[0];

                plan_for(g, &claim);
                check_plan(s->what, &claim, s->claim);
                assert_true(claim.n == 0 || s->repeats || !group_is_switched(g, &g->terms));
                world_run_plan(&w, &claim, 0, claim.n);
                assert_true(group_is_switched(g, &g->terms));
                assert_int_equal(registry_group_claimed(w.r, g, &w.c), 0);
                plan_for(g, &again);
                assert_int_equal(again.n, 0);
                assert_int_equal(registry_lease_end(w.r, l, LEASE_ENDED, "released", &w.c), 0);
                assert_int_equal(plan_restore(g, NULL, &restore), 0);
                if (s->restore[0])
                        check_plan(s->what, &restore, s->restore);
                world_run_plan(&w, &restore, 0, restore.n);
                check_host(&w, s);
                assert_int_equal(registry_group_drained(w.r, g, &w.c), 0);
                assert_int_equal(plan_restore(g, NULL, &left), 0);
                assert_int_equal(left.n, 0);
                assert_int_equal(registry_group_restored(w.r, g, &w.c), 0);
                assert_true(str_eq(g->owed_type, s->owes ? "DMA" : NULL));
                assert_false(g->recorded);
        }
}

/* Steps that may be done again, because facts do not tell that they were done. */
static bool step_is_idempotent(const Step *s) {
        return s->kind == STEP_LOAD_MODULE || s->kind == STEP_WAIT_CLOSED ||
               s->kind == STEP_WAIT_NODE || s->kind == STEP_GRANT_NODE;
}

static void check_rest(const Plan *whole, size_t done, const Plan *rest) {
        size_t k = 0;

        for (size_t i = done; i < whole->n; i++) {
                _cleanup_free_ char *expected = NULL, *found = NULL;

                if (step_is_idempotent(&whole->steps[i]))
                        continue;
                while (k < rest->n && step_is_idempotent(&rest->steps[k]))
                        k++;
                assert_true(k < rest->n);
                expected = step_describe(&whole->steps[i]);
                found = step_describe(&rest->steps[k++]);
                assert_string_equal(found, expected);
        }
        while (k < rest->n)
                assert_true(step_is_idempotent(&rest->steps[k++]));
}

/* After each number of steps of a claim: the plan made from there is the rest of the way. */
static void test_claim_again(void **state) {
        for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
                const Scenario *s = &scenarios[i];
                size_t n = 0;

                for (size_t done = 0; done <= n; done++) {
                        _cleanup_world_ World w;
                        _cleanup_plan_ Plan whole = PLAN_NULL, rest = PLAN_NULL;
                        Group *g = scenario_init(&w, s)->groups[0];

                        plan_for(g, &whole);
                        n = whole.n;
                        world_run_plan(&w, &whole, 0, done);
                        plan_for(g, &rest);
                        if (!s->repeats)
                                check_rest(&whole, done, &rest);
                        world_run_plan(&w, &rest, 0, rest.n);
                        assert_true(group_is_switched(g, &g->terms));
                }
        }
}

/* A claim stops after some steps, its undo too, and another undo from there reaches the host as
 * it was; by way of a crash, after which the group is draining or restoring as it was stored. */
static void undo_half_way(const Scenario *s, size_t claimed, size_t *n_claim, size_t undone,
                          size_t *n_undo, bool drained) {
        _cleanup_world_ World w;
        _cleanup_plan_ Plan claim = PLAN_NULL, first = PLAN_NULL, second = PLAN_NULL;
        _cleanup_plan_ Plan third = PLAN_NULL;
        Lease *l = scenario_init(&w, s);
        Group *g = l->groups[0];

        plan_for(g, &claim);
        *n_claim = claim.n;
        world_run_plan(&w, &claim, 0, claimed);
        if (claimed == claim.n)
                for (size_t i = 0; i < w.n_devices; i++)
                        w.devices[i].dirty = g->terms.kind == OWNER_KIND_USER &&
                                             !str_eq(g->terms.reset, "none") &&
                                             driver_is_vfio(w.devices[i].facts.driver);
        assert_int_equal(registry_lease_end(w.r, l, LEASE_FAILED, "test", &w.c), 0);
        assert_int_equal(plan_restore(g, NULL, &first), 0);
        *n_undo = first.n;
        for (size_t i = undone; drained && i < first.n; i++)
                if (first.steps[i].kind == STEP_CLAIM)
                        return; /* not drained yet */
        world_run_plan(&w, &first, 0, undone);
        if (drained)
                assert_int_equal(registry_group_drained(w.r, g, &w.c), 0);
        world_drop_kept(&w, g->id);
        assert_int_equal(plan_restore(g, NULL, &second), 0);
        world_run_plan(&w, &second, 0, second.n);
        if (!drained)
                assert_int_equal(registry_group_drained(w.r, g, &w.c), 0);
        check_host(&w, s);
        assert_int_equal(plan_restore(g, NULL, &third), 0);
        assert_int_equal(third.n, 0);
}

static void test_undo_half_way(void **state) {
        for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
                for (size_t claimed = 0, n_claim = 0; claimed <= n_claim; claimed++)
                        for (size_t undone = 0, n_undo = 0; undone <= n_undo; undone++) {
                                undo_half_way(&scenarios[i], claimed, &n_claim, undone, &n_undo,
                                              false);
                                undo_half_way(&scenarios[i], claimed, &n_claim, undone, &n_undo,
                                              true);
                        }
}

static void test_explain(void **state) {
        _cleanup_world_ World w;
        _cleanup_plan_ Plan p = PLAN_NULL;
        _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
        _cleanup_request_ Request q = request_make((RequestSpec){ { B }, USER });
        const Scenario *s = &scenarios[6];
        Group *g;

        world_init(&w);
        for (size_t i = 0; s->host[i].name; i++)
                world_plug(&w, s->host[i]);
        g = registry_group(w.r, 2);
        assert_int_equal(plan_claim(g, &q.owner, &q.terms, 0, true, &p, &o), 0);
        check_plan("explain", &p, s->claim);
        for (size_t i = 0; i < p.n; i++) {
                assert_int_equal(p.steps[i].group, 2);
                assert_int_equal(p.steps[i].force, p.steps[i].kind == STEP_UNBIND);
                if (p.steps[i].kind == STEP_UNBIND)
                        assert_string_equal(p.steps[i].former, p.steps[i].value);
        }
        assert_int_equal(g->state, GROUP_FREE);
}

static const struct {
        const char *code, *says;
        DeviceSpec host[2];
        RequestSpec want;
} blocked[] = {
        { "no-vfio-driver", "vfio_pci", { { A, 1, "e1000e", .vfio_driver = "" } }, { { A }, USER } },
        { "driver-not-vfio",
          "e1000e is no VFIO driver",
          { { A, 1, "e1000e" } },
          { { A }, USER, .driver = "e1000e" } },
        { "driver-not-vfio",
          "mlx5_vfio_pci",
          { { A, 1, "e1000e" } },
          { { A }, USER, .driver = "mlx5_vfio_pci" } },
        { "on-vfio-driver", "name the kernel driver", { { A, 1, "vfio-pci" } }, { { A }, DMA_API } },
        { "vfs-enabled", "has 4 virtual", { { A, 1, "igb", .num_vfs = 4 } }, { { A }, USER } },
        { "vfs-enabled",
          "has 4 virtual",
          { { A, 1, "igb", .num_vfs = 4 } },
          { { A }, DMA_API, .type = "identity" } },
        { "vfs-enabled",
          "has 4 virtual",
          { { A, 1, "igb", .num_vfs = 4 } },
          { { A }, PRIVATE, .driver = "host1x" } },
};

static void test_obstacles(void **state) {
        for (size_t i = 0; i < sizeof(blocked) / sizeof(blocked[0]); i++) {
                _cleanup_world_ World w;
                _cleanup_plan_ Plan p = PLAN_NULL;
                _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
                Lease *l = NULL;

                world_init(&w);
                world_plug(&w, blocked[i].host[0]);
                assert_int_equal(world_ask(&w, blocked[i].want, &l, NULL), 0);
                assert_int_equal(plan_claim(l->groups[0], &l->request.owner, &l->request.terms, 0,
                                            false, &p, &o),
                                 0);
                assert_int_equal(p.n, 0);
                assert_int_equal(o.n, 1);
                assert_string_equal(o.items[0].code, blocked[i].code);
                assert_string_equal(o.items[0].device, A);
                assert_non_null(strstr(o.items[0].text, blocked[i].says));
                assert_non_null(strstr(o.items[0].text, A));
        }
}

/* VFs are no obstacle to a lease that leaves their PF alone. */
static void test_vfs_stay(void **state) {
        _cleanup_world_ World w;

        world_init(&w);
        world_plug(&w, (DeviceSpec){ A, 1, "igb", .num_vfs = 4 });
        (void)world_acquire(&w, (RequestSpec){ { A }, DMA_API, .type = "DMA-FQ" });
}

static void test_late_devices(void **state) {
        _cleanup_world_ World w;
        _cleanup_plan_ Plan p = PLAN_NULL, restore = PLAN_NULL, left = PLAN_NULL;
        _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
        Lease *l = NULL;
        Group *g;

        world_init(&w);
        world_plug(&w, (DeviceSpec){ B, 2, "e1000" });
        assert_int_equal(world_ask(&w, (RequestSpec){ { B }, USER }, &l, NULL), 0);
        g = l->groups[0];
        world_plug(&w, (DeviceSpec){ C, 2, "e1000" });
        assert_int_equal(plan_claim(g, &g->owner, &g->terms, 0, false, &p, &o), 0);
        assert_int_equal(o.n, 1);
        assert_string_equal(o.items[0].code, "joined-late");
        assert_string_equal(o.items[0].device, C);
        /* without a driver it is not in the way, and nothing of it is changed */
        world_rebind(&w, C, NULL);
        plan_for(g, &p);
        for (size_t i = 0; i < p.n; i++)
                assert_true(str_empty(p.steps[i].device) || str_eq(p.steps[i].device, B));
        world_run_plan(&w, &p, 0, p.n);
        assert_true(group_is_switched(g, &g->terms));
        assert_int_equal(registry_group_claimed(w.r, g, &w.c), 0);
        world_rebind(&w, C, "e1000");
        assert_false(group_is_switched(g, &g->terms));
        world_rebind(&w, C, NULL);
        /* on the way back it gets a driver again */
        assert_int_equal(registry_lease_end(w.r, l, LEASE_ENDED, "released", &w.c), 0);
        assert_int_equal(plan_restore(g, NULL, &restore), 0);
        assert_int_equal(restore.steps[restore.n - 1].kind, STEP_PROBE);
        world_run_plan(&w, &restore, 0, restore.n - 1);
        /* also where the way back was interrupted just before that */
        assert_int_equal(registry_group_drained(w.r, g, &w.c), 0);
        assert_int_equal(plan_restore(g, NULL, &left), 0);
        assert_int_equal(left.n, 1);
        world_run_plan(&w, &left, 0, left.n);
        assert_string_equal(world_device(&w, C)->facts.driver, "e1000");
        assert_string_equal(world_device(&w, B)->facts.driver, "e1000");
        /* a probe in vain is not repeated for ever */
        world_rebind(&w, C, NULL);
        plan_clear(&left);
        assert_int_equal(plan_restore(g, NULL, &left), 0);
        assert_int_equal(left.n, 0);
}

static void test_vanished_device(void **state) {
        _cleanup_world_ World w;
        _cleanup_plan_ Plan p = PLAN_NULL;
        Lease *l;
        Group *g;

        world_init(&w);
        world_plug(&w, (DeviceSpec){ B, 2, "e1000" });
        world_plug(&w, (DeviceSpec){ C, 2, "e1000" });
        l = world_acquire(&w, (RequestSpec){ { B }, USER });
        g = l->groups[0];
        world_unplug(&w, B);
        assert_int_equal(g->state, GROUP_DRAINING);
        assert_int_equal(plan_restore(g, NULL, &p), 0);
        for (size_t i = 0; i < p.n; i++)
                assert_false(str_eq(p.steps[i].device, B));
        world_run_plan(&w, &p, 0, p.n);
        assert_string_equal(world_device(&w, C)->facts.driver, "e1000");
}

/* Somebody bound one of two devices to its host driver: the kernel grants no claim then. */
static void test_lost_group_retried(void **state) {
        _cleanup_world_ World w;
        _cleanup_plan_ Plan p = PLAN_NULL;
        Group *g;

        world_init(&w);
        world_plug(&w, (DeviceSpec){ B, 2, "e1000" });
        world_plug(&w, (DeviceSpec){ C, 2, "e1000" });
        g = world_acquire(&w, (RequestSpec){ { B }, USER })->groups[0];
        world_rebind(&w, B, "e1000");
        assert_false(group_is_switched(g, &g->terms));
        assert_int_equal(registry_group_lost(w.r, g, "bound by somebody", &w.c), 0);
        assert_int_equal(registry_group_retry(w.r, g, &w.c), 0);
        assert_int_equal(plan_restore(g, NULL, &p), 0);
        assert_int_equal(p.steps[0].kind, STEP_REVOKE_NODE);
        assert_int_equal(p.steps[1].kind, STEP_WAIT_CLOSED);
        w.open[2] = true;
        assert_int_equal(world_run(&w, &p.steps[1]), -EBUSY);
        w.open[2] = false;
        world_run_plan(&w, &p, 0, p.n);
        assert_string_equal(world_device(&w, B)->facts.driver, "e1000");
        assert_string_equal(world_device(&w, C)->facts.driver, "e1000");
        assert_null(world_device(&w, B)->facts.driver_override);
}

/* Where the host had it on VFIO too, nothing but the right on the node and the binding tell that
 * somebody had it meanwhile. */
static void test_lost_on_vfio_retried(void **state) {
        _cleanup_world_ World w;
        _cleanup_plan_ Plan p = PLAN_NULL;
        Group *g;

        world_init(&w);
        assert_int_equal(strv_extend(&w.modules, "vfio_pci"), 0);
        world_plug(&w, (DeviceSpec){ A, 1, "vfio-pci" });
        g = world_acquire(&w, (RequestSpec){ { A }, USER })->groups[0];
        assert_true(w.granted[1]);
        assert_int_equal(registry_group_lost(w.r, g, "somebody", &w.c), 0);
        assert_int_equal(registry_group_retry(w.r, g, &w.c), 0);
        assert_int_equal(plan_restore(g, NULL, &p), 0);
        assert_int_equal(p.steps[0].kind, STEP_REVOKE_NODE);
        world_run_plan(&w, &p, 0, p.n);
        assert_false(w.granted[1]);
        assert_null(world_device(&w, A)->facts.driver_override);
}

/* DMA-FQ goes back to DMA at the first free moment, not before. */
static void test_owed_type(void **state) {
        _cleanup_world_ World w;
        _cleanup_fault_ Fault fault = FAULT_NULL;
        Lease *l;
        Group *g;

        world_init(&w);
        world_plug(&w, (DeviceSpec){ A, 1, "e1000e" });
        l = world_acquire(&w, (RequestSpec){ { A }, DMA_API, .type = "DMA-FQ" });
        g = l->groups[0];
        assert_int_equal(registry_lease_end(w.r, l, LEASE_ENDED, "released", &w.c), 0);
        world_restore(&w, g);
        assert_string_equal(group_type(g), "DMA-FQ");
        assert_string_equal(g->owed_type, "DMA");
        /* still owed after a lease that leaves no free moment, which has the type that is there */
        l = world_acquire(&w, (RequestSpec){ { A }, DMA_API });
        assert_int_equal(world_ask(&w, (RequestSpec){ { A }, DMA_API, .type = "DMA" }, NULL, &fault),
                         -ECANCELED);
        (void)registry_lease_end(w.r, l, LEASE_ENDED, "released", &w.c);
        world_restore(&w, g);
        assert_string_equal(g->owed_type, "DMA");
        l = world_acquire(&w, (RequestSpec){ { A }, USER });
        assert_string_equal(g->recorded_type, "DMA");
        assert_null(g->owed_type);
        (void)registry_lease_end(w.r, l, LEASE_ENDED, "released", &w.c);
        world_restore(&w, g);
        assert_string_equal(group_type(g), "DMA");
        assert_null(g->owed_type);
}

static void test_obstacles_in_words(void **state) {
        _cleanup_obstacles_ Obstacles o = OBSTACLES_NULL;
        static const char *const named[] = { "a: is 0", "a: is 0; a is 1",
                                             "a: is 0; a is 1; a: is 2",
                                             "a: is 0; a is 1; a: is 2; a: is 3",
                                             "a: is 0; a is 1; a: is 2; and 2 more" };

        assert_null(obstacles_describe(&o, true));
        for (int i = 0; i < 5; i++) {
                _cleanup_free_ char *text = NULL;

                assert_int_equal(obstacles_add(&o, "code", "a", "%sis %d", i == 1 ? "a " : "", i),
                                 0);
                text = obstacles_describe(&o, true);
                assert_string_equal(text, named[i]);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_steps),
                cmocka_unit_test(test_claim_again),
                cmocka_unit_test(test_undo_half_way),
                cmocka_unit_test(test_explain),
                cmocka_unit_test(test_obstacles),
                cmocka_unit_test(test_obstacles_in_words),
                cmocka_unit_test(test_vfs_stay),
                cmocka_unit_test(test_late_devices),
                cmocka_unit_test(test_vanished_device),
                cmocka_unit_test(test_lost_group_retried),
                cmocka_unit_test(test_lost_on_vfio_retried),
                cmocka_unit_test(test_owed_type),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
