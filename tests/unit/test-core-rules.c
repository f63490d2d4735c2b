/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may own what: one case per row of the ownership table, and everything that is refused. */
#include "core-fixture.h"

#define A           "0000:01:00.0" /* group 1 */
#define B           "0000:02:00.0" /* group 2, with C */
#define C           "0000:02:00.1"
#define BRIDGE      "0000:00:1c.0" /* group 2 too */
#define NO_IOMMU    "0000:03:00.0"
#define FOREIGN_BUS "fd000000.ethernet"

static void host_init(World *w) {
        world_init(w);
        world_plug(w, (DeviceSpec){ .name = A, .group = 1, .driver = "e1000e" });
        world_plug(w, (DeviceSpec){ .name = C, .group = 2, .driver = "nvme" });
        world_plug(w, (DeviceSpec){
                              .name = BRIDGE, .group = 2, .driver = "pcieport", .bridge = true });
        world_plug(w, (DeviceSpec){ .name = B, .group = 2, .driver = "igb" });
        world_plug(w, (DeviceSpec){ .name = NO_IOMMU, .group = -1, .driver = "ahci" });
        world_plug(w, (DeviceSpec){ .name = FOREIGN_BUS, .group = 3, .bus = "platform" });
        changes_clear(&w->c);
}

typedef struct Row {
        const char *what;
        RequestSpec have, want;
        bool shared;
        const char *says; /* in the message of a refusal */
} Row;

#define USER    .kind = OWNER_KIND_USER
#define DMA_API .kind = OWNER_KIND_DMA_API
#define PRIVATE .kind = OWNER_KIND_PRIVATE_DOMAIN

static const Row rows[] = {
        { "dma-api, none wished",
          { { A }, DMA_API },
          { { A }, DMA_API, .owner = "x", .uid = 7 },
          true },
        { "dma-api, same type",
          { { A }, DMA_API, .type = "DMA-FQ" },
          { { A }, DMA_API, .type = "DMA-FQ", .owner = "x" },
          true },
        { "dma-api, the type that it is anyway",
          { { A }, DMA_API },
          { { A }, DMA_API, .type = "DMA" },
          true },
        { "dma-api, no type wished", { { A }, DMA_API, .type = "DMA-FQ" }, { { A }, DMA_API }, true },
        { "dma-api, another type",
          { { A }, DMA_API },
          { { A }, DMA_API, .type = "identity" },
          false,
          "another default domain type" },
        { "dma-api, another wished type",
          { { A }, DMA_API, .type = "DMA-FQ" },
          { { A }, DMA_API, .type = "DMA" },
          false,
          "another default domain type" },
        { "dma-api, same driver", { { A }, DMA_API }, { { A }, DMA_API, .driver = "e1000e" }, true },
        { "dma-api, another driver",
          { { A }, DMA_API },
          { { A }, DMA_API, .driver = "other" },
          false,
          "another driver" },
        { "dma-api, the driver of one device only",
          { { B }, DMA_API },
          { { B, C }, DMA_API, .driver = "igb" },
          false,
          "another driver" },
        { "dma-api and user", { { A }, DMA_API }, { { A }, USER }, false, "another kind" },
        { "dma-api and private-domain",
          { { A }, DMA_API },
          { { A }, PRIVATE, .driver = "host1x" },
          false,
          "another kind" },
        { "private-domain, same",
          { { A }, PRIVATE, .driver = "host1x" },
          { { A }, PRIVATE, .driver = "host1x" },
          true },
        { "private-domain, another driver",
          { { A }, PRIVATE, .driver = "host1x" },
          { { A }, PRIVATE, .driver = "tegra" },
          false,
          "another driver" },
        { "private-domain, another owner",
          { { A }, PRIVATE, .driver = "host1x" },
          { { A }, PRIVATE, .driver = "host1x", .owner = "x" },
          false,
          "another owner" },
        { "private-domain and dma-api",
          { { A }, PRIVATE, .driver = "host1x" },
          { { A }, DMA_API },
          false,
          "another kind" },
        { "user, same", { { A }, USER, .uid = 7 }, { { A }, USER, .uid = 7 }, true },
        { "user, same group, other device", { { B }, USER }, { { C }, USER }, true },
        { "user, same name of another uid",
          { { A }, USER, .uid = 7 },
          { { A }, USER, .uid = 8 },
          false,
          "another owner" },
        { "user, another name of the same uid",
          { { A }, USER },
          { { A }, USER, .owner = "spdk" },
          false,
          "another owner" },
        { "user, another owner by another device of the group",
          { { B }, USER },
          { { C }, USER, .owner = "spdk" },
          false,
          "another owner" },
        { "user, another access",
          { { A }, USER },
          { { A }, USER, .access = ACCESS_FD },
          false,
          "another access" },
        { "user, another driver",
          { { A }, USER },
          { { A }, USER, .driver = "vfio-pci" },
          false,
          "another driver" },
        { "user, nodes for another uid",
          { { A }, USER },
          { { A }, USER, .node_uid = 9 },
          false,
          "another uid" },
        { "user and dma-api", { { A }, USER }, { { A }, DMA_API }, false, "another kind" },
};

/* Each row twice: while the first lease's claim is under way, and when it owns the group. */
static void test_table(void **state) {
        for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
                const Row *row = &rows[i / 2];
                bool owned = i % 2;
                _cleanup_world_ World w;
                _cleanup_fault_ Fault fault = FAULT_NULL;
                Lease *first = NULL, *second = NULL;
                Group *g;
                int k;

                host_init(&w);
                if (owned)
                        first = world_acquire(&w, row->have);
                else
                        assert_int_equal(world_ask(&w, row->have, &first, NULL), 0);
                g = first->groups[0];
                assert_int_equal(g->count, 1);
                changes_clear(&w.c);
                k = world_ask(&w, row->want, &second, &fault);
                if (row->shared != (k == 0))
                        fail_msg("%s: %s", row->what, k == 0 ? "granted" : fault.message);
                assert_int_equal(g->state, owned ? GROUP_OWNED : GROUP_CLAIMING);
                if (row->shared) {
                        assert_int_equal(g->count, 2);
                        assert_int_equal(g->n_leases, 2);
                        assert_int_equal(second->state, owned ? LEASE_ACTIVE : LEASE_ACTIVATING);
                        continue;
                }
                assert_int_equal(k, -ECANCELED);
                assert_int_equal(fault.code, ERROR_BUSY);
                assert_int_equal(g->count, 1);
                assert_int_equal(w.c.n_groups + w.c.n_leases + w.c.n_devices, 0);
                assert_non_null(strstr(fault.message, row->says));
                assert_non_null(strstr(fault.message, row->have.devices[0]));
                assert_non_null(strstr(fault.message, first->id));
                assert_non_null(strstr(fault.message, "dpdk"));
        }
}

static void test_free_group(void **state) {
        _cleanup_world_ World w;
        Lease *l = NULL;
        Group *g;

        host_init(&w);
        assert_int_equal(world_ask(&w, (RequestSpec){ { B }, USER, .uid = 7, .node_uid = 8 }, &l,
                                   NULL),
                         0);
        assert_string_equal(l->id, "l1");
        assert_int_equal(l->state, LEASE_ACTIVATING);
        assert_int_equal(l->n_groups, 1);
        g = l->groups[0];
        assert_int_equal(g->id, 2);
        assert_int_equal(g->count, 1);
        assert_int_equal(g->owner.uid, 7);
        assert_int_equal(g->node_uid, 8);
        assert_string_equal(g->owner.name, "dpdk");
        assert_true(g->recorded);
        assert_string_equal(g->recorded_type, "DMA");
        /* the whole group is recorded, in the order of names */
        assert_string_equal(g->devices->facts.name, BRIDGE);
        assert_string_equal(g->devices->record.driver, "pcieport");
        assert_string_equal(g->devices->next->record.driver, "igb");
        assert_string_equal(g->devices->next->next->record.driver, "nvme");
        assert_null(g->devices->record.driver_override);
        assert_int_equal(w.c.n_groups, 1);
        assert_ptr_equal(w.c.groups[0], g);
        assert_int_equal(w.c.n_leases, 1);
        assert_ptr_equal(w.c.leases[0], l);
}

static void test_all_or_nothing(void **state) {
        _cleanup_world_ World w;
        _cleanup_fault_ Fault fault = FAULT_NULL;
        Lease *l = NULL;

        host_init(&w);
        (void)world_acquire(&w, (RequestSpec){ { B }, USER });
        changes_clear(&w.c);
        assert_int_equal(world_ask(&w, (RequestSpec){ { A, C }, USER, .owner = "spdk" }, &l, &fault),
                         -ECANCELED);
        assert_int_equal(registry_group(w.r, 1)->state, GROUP_FREE);
        assert_false(registry_group(w.r, 1)->recorded);
        assert_int_equal(registry_group(w.r, 1)->count, 0);
        assert_int_equal(w.c.n_groups, 0);
        /* one lease over an owned and a free group; several devices of one group count once */
        assert_int_equal(world_ask(&w, (RequestSpec){ { C, A, B }, USER }, &l, NULL), 0);
        assert_int_equal(l->state, LEASE_ACTIVATING);
        assert_int_equal(l->n_groups, 2);
        assert_int_equal(l->groups[0]->id, 1);
        assert_int_equal(l->groups[1]->id, 2);
        assert_int_equal(l->groups[1]->count, 2);
        assert_string_equal(l->request.devices[0], A);
        assert_string_equal(l->request.devices[1], B);
        assert_string_equal(l->request.devices[2], C);
        assert_int_equal(registry_group_claimed(w.r, l->groups[0], &w.c), 0);
        assert_int_equal(l->state, LEASE_ACTIVE);
}

static void test_unavailable(void **state) {
        static const struct {
                GroupState state;
                ErrorCode code;
                const char *says;
        } cases[] = {
                { GROUP_DRAINING, ERROR_BUSY, "waits for qemu (pid 47)" },
                { GROUP_RESTORING, ERROR_BUSY, "given back to the host" },
                { GROUP_FAILED, ERROR_BUSY, "Retry or Accept" },
                { GROUP_LOST, ERROR_LOST, "Retry or Accept" },
                { GROUP_QUARANTINED, ERROR_QUARANTINED, "Restore gives it back" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                _cleanup_world_ World w;
                _cleanup_fault_ Fault fault = FAULT_NULL;
                _cleanup_request_ Request had = request_make((RequestSpec){ { A }, USER });
                Group *g;

                host_init(&w);
                g = registry_group(w.r, 1);
                assert_int_equal(registry_adopt_group(w.r, g, cases[i].state, &had.owner,
                                                      &had.terms, 0, "DMA", &w.c),
                                 0);
                assert_int_equal(registry_group_set_waits_for(g, "qemu (pid 47)", &w.c), 0);
                assert_int_equal(world_ask(&w, (RequestSpec){ { A }, DMA_API }, NULL, &fault),
                                 -ECANCELED);
                assert_int_equal(fault.code, cases[i].code);
                assert_non_null(strstr(fault.message, cases[i].says));
                assert_non_null(strstr(fault.message, A));
        }
}

static const struct {
        RequestSpec want;
        ErrorCode code;
        const char *says;
} refusals[] = {
        { { { NULL }, USER }, ERROR_INVALID_ARGS, "No device" },
        { { { A, B, A }, USER }, ERROR_INVALID_ARGS, A " is named twice" },
        { { { "eth0" }, USER }, ERROR_INVALID_ARGS, "eth0 is not a PCI address" },
        { { { "" }, USER }, ERROR_INVALID_ARGS, "is not a PCI address" },
        { { { "\xff\n" }, USER }, ERROR_INVALID_ARGS, "What was given is not a PCI address" },
        { { { A, "0000:99:00.0" }, USER }, ERROR_NO_SUCH_DEVICE, "0000:99:00.0" },
        { { { NO_IOMMU }, USER }, ERROR_NO_IOMMU, NO_IOMMU },
        { { { NO_IOMMU }, DMA_API }, ERROR_NO_IOMMU, "firmware" },
        { { { FOREIGN_BUS }, USER }, ERROR_UNSUPPORTED, "platform" },
        { { { BRIDGE }, USER }, ERROR_NOT_VIABLE, "is a bridge" },
        { { { A }, PRIVATE }, ERROR_INVALID_ARGS, "needs the name of a driver" },
        { { { A }, PRIVATE, .driver = "" }, ERROR_INVALID_ARGS, "needs the name of a driver" },
        { { { A }, PRIVATE, .driver = "vfio-pci" }, ERROR_INVALID_ARGS, "VFIO driver" },
        { { { A }, DMA_API, .driver = "mlx5_vfio_pci" }, ERROR_INVALID_ARGS, "VFIO driver" },
        { { { A }, DMA_API, .driver = "../e1000e" }, ERROR_INVALID_ARGS, "driver's name" },
        { { { A }, DMA_API, .driver = "e1000e\n" }, ERROR_INVALID_ARGS, "driver's name" },
        { { { A }, DMA_API, .driver = "e 1" }, ERROR_INVALID_ARGS, "driver's name" },
        { { { A }, DMA_API, .access = ACCESS_FD }, ERROR_INVALID_ARGS, "Access fd" },
        { { { A }, PRIVATE, .driver = "x", .access = ACCESS_FD }, ERROR_INVALID_ARGS, "Access fd" },
        { { { A }, USER, .access = _ACCESS_MAX }, ERROR_INVALID_ARGS, "access" },
        { { { A }, USER, .access = _ACCESS_INVALID }, ERROR_INVALID_ARGS, "access" },
        { { { A }, .kind = _OWNER_KIND_INVALID }, ERROR_INVALID_ARGS, "kind" },
        { { { A }, .kind = _OWNER_KIND_MAX }, ERROR_INVALID_ARGS, "kind" },
        { { { A }, DMA_API, .type = "dma" }, ERROR_INVALID_ARGS, "default domain type" },
        { { { A }, DMA_API, .type = "blocked" }, ERROR_INVALID_ARGS, "default domain type" },
        { { { A }, USER, .type = "identity" }, ERROR_INVALID_ARGS, "dma-api only" },
        { { { A }, USER, .reset = "hard" }, ERROR_INVALID_ARGS, "reset" },
        { { { A }, DMA_API, .reset = "flr" }, ERROR_INVALID_ARGS, "reset" },
};

static void test_refusals(void **state) {
        _cleanup_world_ World w;

        host_init(&w);
        for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
                _cleanup_fault_ Fault fault = FAULT_NULL;

                assert_int_equal(world_ask(&w, refusals[i].want, NULL, &fault), -ECANCELED);
                if (fault.code != refusals[i].code || !strstr(fault.message, refusals[i].says))
                        fail_msg("case %zu: %s: %s", i, error_code_to_string(fault.code),
                                 fault.message);
        }
        assert_null(registry_leases(w.r));
        assert_int_equal(w.c.n_groups + w.c.n_leases + w.c.n_devices, 0);
}

/* A name of any length gives a message of bounded length. */
static void test_long_name(void **state) {
        _cleanup_world_ World w;
        _cleanup_fault_ Fault fault = FAULT_NULL;
        static char name[100001];

        host_init(&w);
        memset(name, 'a', sizeof(name) - 1);
        assert_int_equal(world_ask(&w, (RequestSpec){ { name }, USER }, NULL, &fault), -ECANCELED);
        assert_true(strlen(fault.message) < 200);
}

static void test_check_changes_nothing(void **state) {
        _cleanup_world_ World w;
        _cleanup_request_ Request q = request_make((RequestSpec){ { C, A }, USER });
        _cleanup_fault_ Fault fault = FAULT_NULL;
        _cleanup_free_ Group **groups = NULL;
        size_t n;

        host_init(&w);
        assert_int_equal(registry_check(w.r, &q, &groups, &n, &fault), 0);
        assert_int_equal(n, 2);
        assert_int_equal(groups[0]->id, 1);
        assert_int_equal(groups[1]->id, 2);
        assert_int_equal(groups[0]->state, GROUP_FREE);
        assert_false(groups[0]->recorded);
        assert_string_equal(q.devices[0], C);
        assert_null(registry_leases(w.r));
}

static void test_messages(void **state) {
        _cleanup_world_ World w;
        _cleanup_fault_ Fault fault = FAULT_NULL;
        _cleanup_free_ char *names = NULL, *one = NULL, *two = NULL, *former = NULL;
        RequestSpec spec = { { B }, USER, .uid = 1000, .expires = 5 };
        const Caller owner = { .uid = 1000 }, other = { .uid = 1001 },
                     sees = { .uid = 1001, .sees = true };
        _cleanup_free_ char *hidden = NULL, *hidden_former = NULL;
        Lease *l, *second;
        Group *g;

        host_init(&w);
        l = world_acquire(&w, spec);
        assert_int_equal(str_set(&l->request.label, "testpmd"), 0);
        g = l->groups[0];
        names = group_device_names(g);
        assert_string_equal(names, BRIDGE ", " B ", " C);
        one = group_describe_owner(g, &sees);
        assert_string_equal(one, "lease l1 of dpdk (uid 1000, \"testpmd\")");
        assert_int_equal(world_ask(&w, (RequestSpec){ { B }, USER }, NULL, &fault), -ECANCELED);
        assert_non_null(strstr(fault.message, "or expires"));
        second = world_acquire(&w, spec);
        two = group_describe_owner(g, &owner);
        assert_string_equal(two, "lease l1 of dpdk (uid 1000, \"testpmd\") and 1 more");
        hidden = group_describe_owner(g, &other);
        assert_string_equal(hidden, "lease l1 of another user and 1 more");
        assert_int_equal(registry_lease_end(w.r, l, LEASE_ENDED, "released", &w.c), 0);
        assert_int_equal(registry_lease_end(w.r, second, LEASE_ENDED, "released", &w.c), 0);
        former = group_describe_owner(g, &owner);
        assert_string_equal(former, "dpdk (uid 1000)");
        hidden_former = group_describe_owner(g, &other);
        assert_string_equal(hidden_former, "another user");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_table),
                cmocka_unit_test(test_free_group),
                cmocka_unit_test(test_all_or_nothing),
                cmocka_unit_test(test_unavailable),
                cmocka_unit_test(test_refusals),
                cmocka_unit_test(test_long_name),
                cmocka_unit_test(test_check_changes_nothing),
                cmocka_unit_test(test_messages),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
