/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which devices a request with selectors or alternatives gets. */
#include "core-fixture.h"

#include <stdio.h>
#include <time.h>

#include "core/choice.h"
#include "core/queue.h"

#define NIC_A    "0000:01:00.0" /* group 1, node 0, e1000e */
#define NIC_B    "0000:02:00.0" /* group 2, node 1, no driver */
#define DISK_C   "0000:03:00.0" /* group 3 with NIC_C */
#define NIC_C    "0000:03:00.1"
#define NIC_D    "0000:04:00.0" /* group 4, node 0, e1000e */
#define BRIDGE   "0000:00:1c.0"
#define NO_IOMMU "0000:05:00.0"
#define NO_VFIO  "0000:06:00.0"
#define SETS     4
#define MANY     680

static void plug(World *w, DeviceSpec spec, uint16_t vendor, uint32_t class_code, int numa) {
        DeviceFacts *f;

        world_plug(w, spec);
        f = &world_device(w, spec.name)->facts;
        f->vendor = vendor;
        f->class_code = class_code;
        f->numa_node = numa;
        assert_int_equal(registry_device_seen(w->r, f, &w->c), 0);
}

static void host_init(World *w) {
        world_init(w);
        plug(w, (DeviceSpec){ .name = NIC_A, .group = 1, .driver = "e1000e" }, 0x8086, 0x020000, 0);
        plug(w, (DeviceSpec){ .name = NIC_B, .group = 2 }, 0x8086, 0x020000, 1);
        plug(w, (DeviceSpec){ .name = DISK_C, .group = 3, .driver = "nvme" }, 0x144d, 0x010802, 0);
        plug(w, (DeviceSpec){ .name = NIC_C, .group = 3, .driver = "igb" }, 0x15b3, 0x020000, 0);
        plug(w, (DeviceSpec){ .name = NIC_D, .group = 4, .driver = "e1000e" }, 0x8086, 0x020000, 0);
        plug(w, (DeviceSpec){ .name = BRIDGE, .group = 5, .driver = "pcieport", .bridge = true },
             0x8086, 0x060400, 0);
        plug(w, (DeviceSpec){ .name = NO_IOMMU, .group = -1, .driver = "ahci" }, 0x8086, 0x010600,
             0);
        plug(w,
             (DeviceSpec){ .name = NO_VFIO, .group = 6, .driver = "xhci_hcd", .vfio_driver = "" },
             0x1912, 0x0c0330, 0);
        changes_clear(&w->c);
}

typedef struct Ask {
        const char *lists[SETS][8];
        OwnerKind kind;
        bool force;
        char *const *avoid;
} Ask;

/* The names that are chosen, or NULL and a fault. */
static char *choose(World *w, Ask ask, Fault *why) {
        _cleanup_request_ Request q = request_make((RequestSpec){ .kind = ask.kind });
        int k;

        q.force = ask.force;
        for (size_t i = 0; i < SETS && (i == 0 || ask.lists[i][0]); i++)
                assert_int_equal(request_add_choice(&q, (char *const *)ask.lists[i]), 0);
        k = registry_choose(w->r, &q, ask.avoid, why);
        assert_true(k == 0 || (k == -ECANCELED && !q.devices));
        return k == 0 ? strv_join(q.devices, " ") : NULL;
}

static void gets(World *w, Ask ask, const char *names) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        _cleanup_free_ char *got = choose(w, ask, &why);

        if (!got)
                fail_msg("instead of %s: %s", names, why.message);
        assert_string_equal(got, names);
}

static void refused(World *w, Ask ask, ErrorCode code, const char *says) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        _cleanup_free_ char *got = choose(w, ask, &why);

        if (got)
                fail_msg("got %s, instead of: %s", got, says);
        if (why.code != code || !strstr(why.message, says))
                fail_msg("%s: %s", error_code_to_string(why.code), why.message);
}

#define USER    .kind = OWNER_KIND_USER
#define DMA_API .kind = OWNER_KIND_DMA_API

static void test_order(void **state) {
        _cleanup_world_ World w;

        host_init(&w);
        /* no driver has to leave; then the smaller group; then by name */
        gets(&w, (Ask){ { { "class=02" } }, USER }, NIC_B);
        gets(&w, (Ask){ { { "class=02*2" } }, USER }, NIC_B " " NIC_A);
        gets(&w, (Ask){ { { "class=02*4" } }, USER }, NIC_B " " NIC_A " " NIC_D " " NIC_C);
        gets(&w, (Ask){ { { "class=02,numa=0" } }, USER }, NIC_A);
        gets(&w, (Ask){ { { "driver=igb" } }, USER }, NIC_C);
        /* with nothing to do for the kernel a bound device is as good as any */
        gets(&w, (Ask){ { { "class=02" } }, DMA_API }, NIC_A);
}

static void test_names_and_selectors_differ(void **state) {
        _cleanup_world_ World w;

        host_init(&w);
        gets(&w, (Ask){ { { "class=02", NIC_B } }, USER }, NIC_B " " NIC_A);
        gets(&w, (Ask){ { { "class=02", "class=02" } }, USER }, NIC_B " " NIC_A);
        /* the second one can be served by one device only */
        gets(&w, (Ask){ { { "class=02", "class=02,numa=1" } }, USER }, NIC_A " " NIC_B);
        gets(&w, (Ask){ { { "class=02", "vendor=8086,class=02*2", "numa=1" } }, USER },
             NIC_C " " NIC_A " " NIC_D " " NIC_B);
}

static void test_groups_differ_while_there_are_enough(void **state) {
        _cleanup_world_ World w;

        host_init(&w);
        gets(&w, (Ask){ { { DISK_C, "class=02,numa=0" } }, USER }, DISK_C " " NIC_A);
        gets(&w, (Ask){ { { DISK_C, "vendor=15b3" } }, USER }, DISK_C " " NIC_C);
        gets(&w, (Ask){ { { "numa=0*4" } }, USER }, NIC_A " " NIC_D " " DISK_C " " NIC_C);
        gets(&w, (Ask){ { { "class=01", "numa=0" } }, USER }, DISK_C " " NIC_A);
        gets(&w, (Ask){ { { "numa=0*3", "class=01" } }, USER },
             NIC_A " " NIC_D " " NIC_C " " DISK_C);
}

static void test_held_ones_are_left_out(void **state) {
        _cleanup_world_ World w;

        host_init(&w);
        world_acquire(&w, (RequestSpec){ .devices = { NIC_B }, USER });
        gets(&w, (Ask){ { { "class=02" } }, USER }, NIC_A);
        /* even by the same owner on the same terms: it is not free */
        refused(&w, (Ask){ { { "numa=1" } }, USER }, ERROR_BUSY, NIC_B);
        refused(&w, (Ask){ { { "class=02*4" } }, USER }, ERROR_BUSY, "Of 4 devices");
        refused(&w, (Ask){ { { "class=02", NIC_B } }, .kind = OWNER_KIND_DMA_API }, ERROR_BUSY,
                NIC_B);
}

static void test_used_ones_are_left_out(void **state) {
        static char *const found[] = { (char *)NIC_D, NULL };
        _cleanup_world_ World w;

        host_init(&w);
        assert_int_equal(registry_device_set_in_use(registry_device(w.r, NIC_A), "has an address",
                                                    &w.c),
                         0);
        gets(&w, (Ask){ { { "driver=e1000e" } }, USER }, NIC_D);
        gets(&w, (Ask){ { { "driver=e1000e" } }, DMA_API }, NIC_A);
        gets(&w, (Ask){ { { "driver=e1000e" } }, USER, .force = true }, NIC_A);
        refused(&w, (Ask){ { { "driver=e1000e*2" } }, USER }, ERROR_IN_USE, "has an address");
        refused(&w, (Ask){ { { "driver=e1000e" } }, USER, .avoid = found }, ERROR_IN_USE,
                "Of 2 devices that match 'driver=e1000e' 0");
        /* a device of the same group is enough */
        assert_int_equal(registry_device_set_in_use(registry_device(w.r, DISK_C), "is mounted",
                                                    &w.c),
                         0);
        refused(&w, (Ask){ { { "vendor=15b3" } }, USER }, ERROR_IN_USE, "is mounted");
}

static void test_what_cannot_be_leased(void **state) {
        _cleanup_world_ World w;

        host_init(&w);
        refused(&w, (Ask){ { { "class=06" } }, USER }, ERROR_NO_SUCH_DEVICE, "class=06");
        refused(&w, (Ask){ { { "class=0106" } }, USER }, ERROR_NO_SUCH_DEVICE, "class=0106");
        refused(&w, (Ask){ { { "vendor=dead" } }, USER }, ERROR_NO_SUCH_DEVICE, "vendor=dead");
        refused(&w, (Ask){ { { "class=02*5" } }, USER }, ERROR_NO_SUCH_DEVICE, "Only 4");
        refused(&w, (Ask){ { { "class=0c" } }, USER }, ERROR_NOT_VIABLE, "No VFIO driver");
        refused(&w, (Ask){ { { "numa=1", "numa=1" } }, USER }, ERROR_NO_SUCH_DEVICE, "other");
}

static void test_malformed(void **state) {
        _cleanup_world_ World w;

        host_init(&w);
        refused(&w, (Ask){ { { "class=02*0" } }, USER }, ERROR_INVALID_ARGS, "class=02*0");
        refused(&w, (Ask){ { { "class=02" }, { "colour=red" } }, USER }, ERROR_INVALID_ARGS,
                "colour");
        refused(&w, (Ask){ { {} }, USER }, ERROR_INVALID_ARGS, "No device");
        refused(&w, (Ask){ { { "class=02", "nonsense" } }, USER }, ERROR_INVALID_ARGS, "nonsense");
        refused(&w, (Ask){ { { NIC_A, NIC_A, "class=02" } }, USER }, ERROR_INVALID_ARGS, "twice");
        refused(&w, (Ask){ { { "class=02*1000", "class=02*25" } }, USER }, ERROR_INVALID_ARGS,
                "1025");
        refused(&w, (Ask){ { { "class=02" } }, .kind = OWNER_KIND_PRIVATE_DOMAIN },
                ERROR_INVALID_ARGS, "driver");
}

static void test_alternatives(void **state) {
        _cleanup_world_ World w;

        host_init(&w);
        gets(&w, (Ask){ { { NIC_A }, { NIC_D } }, USER }, NIC_A);
        gets(&w, (Ask){ { { "vendor=dead" }, { "class=02,numa=1" } }, USER }, NIC_B);
        gets(&w, (Ask){ { { NO_VFIO }, { "class=02*9" }, { NIC_D, "class=01" } }, USER },
             NIC_D " " DISK_C);
        world_acquire(&w, (RequestSpec){ .devices = { NIC_A }, USER, .owner = "other" });
        gets(&w, (Ask){ { { NIC_A }, { NIC_D } }, USER }, NIC_D);
        refused(&w, (Ask){ { { "vendor=dead" }, { NIC_A }, { NO_VFIO } }, USER }, ERROR_BUSY,
                "; or: ");
        refused(&w, (Ask){ { { "vendor=dead" }, { NO_VFIO } }, USER }, ERROR_NO_SUCH_DEVICE,
                "No VFIO driver");
}

static void test_named_devices_are_let_alone(void **state) {
        _cleanup_request_ Request q = request_make((RequestSpec){ { NIC_A }, USER });
        _cleanup_world_ World w;

        host_init(&w);
        assert_int_equal(registry_choose(w.r, &q, NULL, NULL), 0);
        assert_int_equal(strv_length(q.devices), 1);
}

/* Asks for a NIC of node 1, and waits if there is none. */
static Lease *ask_openly(World *w, const char *owner, int priority) {
        static char *const list[] = { (char *)"numa=1", NULL };
        _cleanup_request_ Request q = request_make((RequestSpec){ USER, .owner = owner });
        _cleanup_fault_ Fault why = FAULT_NULL;
        Lease *l = NULL;

        q.wait_until = UINT64_MAX;
        q.priority = priority;
        assert_int_equal(request_add_choice(&q, list), 0);
        if (registry_request(w->r, &q, NULL, &l, &w->c, &why) < 0)
                fail_msg("%s", why.message);
        return l;
}

static void test_open_requests_wait(void **state) {
        Lease *holder, *low, *high, *gone;
        _cleanup_free_ char *what = NULL;
        _cleanup_world_ World w;

        host_init(&w);
        holder = ask_openly(&w, "a", 0);
        assert_int_equal(holder->state, LEASE_ACTIVATING);
        assert_string_equal(holder->request.devices[0], NIC_B);
        low = ask_openly(&w, "b", 0);
        gone = ask_openly(&w, "c", 0);
        high = ask_openly(&w, "d", 5);
        assert_int_equal(low->state, LEASE_QUEUED);
        assert_true(request_is_open(&low->request));
        assert_int_equal(low->n_wanted, 0);
        assert_int_equal(lease_waits_for(low, &what), 0);
        assert_string_equal(what, "free devices for numa=1");
        assert_null(registry_queue_next(w.r));
        assert_int_equal(registry_queue_grant(w.r, low, 1, &w.c), -EINVAL);
        assert_int_equal(registry_lease_end(w.r, gone, LEASE_ENDED, "released", &w.c), 0);

        assert_int_equal(registry_lease_end(w.r, holder, LEASE_ENDED, "released", &w.c), 0);
        assert_null(registry_queue_next(w.r)); /* it is on its way back */
        world_restore(&w, registry_device(w.r, NIC_B)->group);
        assert_ptr_equal(registry_queue_next(w.r), high);
        assert_int_equal(registry_queue_grant(w.r, high, 1, &w.c), 0);
        assert_int_equal(high->state, LEASE_ACTIVATING);
        assert_string_equal(high->request.devices[0], NIC_B);
        assert_int_equal(high->n_groups, 1);
        assert_null(registry_queue_next(w.r));
        assert_true(request_is_open(&low->request));
}

/* Each list is looked through at every change of anything. */
static void test_lists_that_are_queued_are_bounded(void **state) {
        static char *const list[] = { (char *)"numa=1", NULL };
        _cleanup_request_ Request q = request_make((RequestSpec){ {}, USER, .owner = "b" });
        _cleanup_fault_ Fault fault = FAULT_NULL;
        _cleanup_world_ World w;
        Lease *l = NULL;

        host_init(&w);
        (void)ask_openly(&w, "a", 0);
        for (unsigned i = 0; i < QUEUE_LISTS_MAX - 1; i++)
                l = ask_openly(&w, "b", 0);
        assert_int_equal(l->state, LEASE_QUEUED);
        q.devices = strv_free(q.devices);
        q.wait_until = UINT64_MAX;
        assert_int_equal(request_add_choice(&q, list), 0);
        assert_int_equal(request_add_choice(&q, list), 0);
        assert_int_equal(registry_request(w.r, &q, NULL, &l, &w.c, &fault), -ECANCELED);
        assert_int_equal(fault.code, ERROR_QUOTA_EXCEEDED);
        (void)ask_openly(&w, "b", 0);
}

/* Anybody may ask for more than there is, as often as he likes: the answer has to come at once. With slots that are
 * looked at one by one it takes seconds of a processor. */
static void test_what_cannot_be_filled_takes_no_time(void **state) {
        static const char *const lists[][3] = { { "class=02*1024" },
                                                { "class=02*600", "vendor=0*424" } };
        _cleanup_world_ World w;
        clock_t begin;

        world_init(&w);
        for (unsigned i = 0; i < MANY; i++) {
                char name[16];
                DeviceFacts facts = DEVICE_FACTS_NULL;

                (void)snprintf(name, sizeof(name), "0000:%02x:%02x.0", i / 32, i % 32);
                facts.name = name;
                facts.bus = (char *)"pci";
                facts.class_code = 0x020000;
                facts.group = (int)i;
                facts.vfio_driver = (char *)"vfio-pci";
                assert_int_equal(registry_device_seen(w.r, &facts, &w.c), 0);
        }
        begin = clock();
        for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
                _cleanup_request_ Request q = request_make((RequestSpec){ USER });
                _cleanup_fault_ Fault why = FAULT_NULL;

                assert_int_equal(request_add_choice(&q, (char *const *)lists[i]), 0);
                assert_int_equal(registry_choose(w.r, &q, NULL, &why), -ECANCELED);
                assert_int_equal(why.code, ERROR_NO_SUCH_DEVICE);
        }
        assert_true(clock() - begin < CLOCKS_PER_SEC);
}

static void test_copies(void **state) {
        _cleanup_request_ Request copy = REQUEST_NULL,
                                  q = request_make((RequestSpec){ { NIC_A, NIC_B },
                                                                  USER,
                                                                  .driver = "vfio-pci",
                                                                  .expires = 77 });
        static char *const list[] = { (char *)"class=02", (char *)"numa=0", NULL };

        assert_int_equal(request_add_choice(&q, list), 0);
        assert_int_equal(request_copy(&copy, &q), 0);
        assert_ptr_not_equal(copy.devices, q.devices);
        assert_string_equal(copy.devices[1], NIC_B);
        assert_string_equal(copy.choices[0][1], "numa=0");
        assert_string_equal(copy.terms.driver, "vfio-pci");
        assert_string_equal(copy.owner.name, "dpdk");
        assert_int_equal(copy.expires, 77);
        assert_int_equal(copy.n_choices, 1);
        request_drop_choices(&copy);
        assert_int_equal(copy.n_choices, 0);
        assert_int_equal(q.n_choices, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_names_and_selectors_differ),
                cmocka_unit_test(test_groups_differ_while_there_are_enough),
                cmocka_unit_test(test_held_ones_are_left_out),
                cmocka_unit_test(test_used_ones_are_left_out),
                cmocka_unit_test(test_what_cannot_be_leased),
                cmocka_unit_test(test_malformed),
                cmocka_unit_test(test_alternatives),
                cmocka_unit_test(test_named_devices_are_let_alone),
                cmocka_unit_test(test_open_requests_wait),
                cmocka_unit_test(test_lists_that_are_queued_are_bounded),
                cmocka_unit_test(test_what_cannot_be_filled_takes_no_time),
                cmocka_unit_test(test_copies),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
