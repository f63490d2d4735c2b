/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Words, names, faults and steps: everything of the core that has no state. */
#include "core-fixture.h"

/* every value has a string of its own, which leads back to it */
#define CHECK_TABLE(name, max, invalid)                                                    \
        do {                                                                               \
                for (int i = 0; i < (int)(max); i++) {                                     \
                        assert_non_null(name##_to_string(i));                              \
                        assert_int_equal((int)name##_from_string(name##_to_string(i)), i); \
                }                                                                          \
                assert_null(name##_to_string(max));                                        \
                assert_null(name##_to_string(invalid));                                    \
                assert_int_equal((int)name##_from_string("no such word"), (int)(invalid)); \
                assert_int_equal((int)name##_from_string(""), (int)(invalid));             \
                assert_int_equal((int)name##_from_string(NULL), (int)(invalid));           \
        } while (0)

static void test_tables(void **state) {
        CHECK_TABLE(owner_kind, _OWNER_KIND_MAX, _OWNER_KIND_INVALID);
        CHECK_TABLE(group_state, _GROUP_STATE_MAX, _GROUP_STATE_INVALID);
        CHECK_TABLE(lease_state, _LEASE_STATE_MAX, _LEASE_STATE_INVALID);
        CHECK_TABLE(holder_type, _HOLDER_TYPE_MAX, _HOLDER_TYPE_INVALID);
        CHECK_TABLE(access, _ACCESS_MAX, _ACCESS_INVALID);
        CHECK_TABLE(step_kind, _STEP_KIND_MAX, _STEP_KIND_INVALID);
        for (int i = 0; i < (int)_ERROR_CODE_MAX; i++) {
                ErrorCode back = error_code_from_string(error_code_to_string(i));

                /* the bus has one name for both */
                assert_int_equal(back, i == ERROR_MAY_NOT ? ERROR_ACCESS_DENIED : (ErrorCode)i);
        }
        assert_null(error_code_to_string(_ERROR_CODE_MAX));
        assert_int_equal(error_code_from_string("no such word"), _ERROR_CODE_INVALID);
        assert_string_equal(error_code_to_string(ERROR_BUSY), "org.dmaowner1.Error.Busy");
        assert_string_equal(error_code_to_string(ERROR_INVALID_ARGS),
                            "org.freedesktop.DBus.Error.InvalidArgs");
        assert_string_equal(owner_kind_to_string(OWNER_KIND_PRIVATE_DOMAIN), "private-domain");
}

static void test_names(void **state) {
        static const char *const good[] = { "0000:3b:00.0", "ffff:ff:1f.7", "10000:e1:00.0",
                                            "0000:00:10.5" };
        static const char *const bad[] = { "",
                                           "0000:3b:00",
                                           "3b:00.0",
                                           "0000:3B:00.0",
                                           "0000:3b:20.0",
                                           "0000:3b:00.8",
                                           "0000:3b:00.0 ",
                                           " 0000:3b:00.0",
                                           "0000:3b:00.00",
                                           "000:3b:00.0",
                                           "00000:3b:00.0",
                                           "123456789:3b:00.0",
                                           "0000:3b:00.0\n",
                                           "../../../etc",
                                           "0000:3b/00.0",
                                           "0000-3b:00.0",
                                           "0000:3b:00,0",
                                           "0000:b:00.0",
                                           "0000:3b:0g.0" };

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
                assert_true(device_name_is_pci(good[i]));
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_false(device_name_is_pci(bad[i]));
        assert_false(device_name_is_pci(NULL));
        assert_true(device_name_compare("0000:3b:00.0", "0000:3b:00.1") < 0);
        assert_true(device_name_compare("0000:3b:00.0", "0000:3b:00.0") == 0);
}

static void test_drivers(void **state) {
        static const char *const vfio[] = { "vfio-pci", "mlx5_vfio_pci", "xe-vfio-pci",
                                            "hisi_acc_vfio_pci" };
        static const char *const others[] = { "e1000e", "nvme",       "shpchp",       "pci-pf-stub",
                                              "uio",    "myvfio-pci", "vfio-pci-old", "vfio" };

        for (size_t i = 0; i < sizeof(vfio) / sizeof(vfio[0]); i++) {
                assert_true(driver_is_vfio(vfio[i]));
                assert_true(driver_is_harmless(vfio[i]));
        }
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
                assert_false(driver_is_vfio(others[i]));
                assert_false(driver_is_harmless(others[i]));
        }
        assert_true(driver_is_harmless("pcieport"));
        assert_true(driver_is_harmless("pci-stub"));
        assert_false(driver_is_vfio("pci-stub"));
        assert_false(driver_is_vfio(NULL));
        assert_false(driver_is_vfio(""));
}

static void test_facts(void **state) {
        _cleanup_world_ World w;
        _cleanup_device_facts_ DeviceFacts copy = DEVICE_FACTS_NULL;
        DeviceFacts *f;

        world_init(&w);
        world_plug(&w, (DeviceSpec){ .name = "0000:01:00.0", .group = 1, .driver = "e1000e" });
        f = &w.devices[0].facts;
        f->vendor = 0x8086;
        f->model = 0x10d3;
        f->class_code = 0x20000;
        assert_int_equal(device_facts_copy(&copy, f), 0);
        assert_true(device_facts_equal(&copy, f));
        assert_ptr_not_equal(copy.name, f->name);
#define CHECK_DIFFERS(member, value)                        \
        do {                                                \
                typeof(copy.member) kept = copy.member;     \
                copy.member = (value);                      \
                assert_false(device_facts_equal(&copy, f)); \
                copy.member = kept;                         \
        } while (0)
        CHECK_DIFFERS(vendor, 1);
        CHECK_DIFFERS(model, 1);
        CHECK_DIFFERS(class_code, 1);
        CHECK_DIFFERS(group, 7);
        CHECK_DIFFERS(numa_node, 3);
        CHECK_DIFFERS(num_vfs, 4);
        CHECK_DIFFERS(total_vfs, 4);
        CHECK_DIFFERS(vf_autoprobe, true);
        CHECK_DIFFERS(bridge, true);
        CHECK_DIFFERS(name, f->driver);
        CHECK_DIFFERS(bus, f->driver);
        CHECK_DIFFERS(vendor_name, f->driver);
        CHECK_DIFFERS(model_name, f->driver);
        CHECK_DIFFERS(driver, NULL);
        CHECK_DIFFERS(driver_override, f->driver);
        CHECK_DIFFERS(vfio_module, NULL);
        CHECK_DIFFERS(vfio_driver, NULL);
        CHECK_DIFFERS(physfn, f->driver);
        CHECK_DIFFERS(reset_methods, f->driver);
        CHECK_DIFFERS(default_domain_type, NULL);
        assert_true(device_facts_equal(&copy, f));
}

static void test_fault(void **state) {
        _cleanup_fault_ Fault f = FAULT_NULL, copy = FAULT_NULL, oom = FAULT_NULL;

        assert_false(fault_is_set(&f));
        assert_int_equal(fault_set(&f, ERROR_BUSY, "%s is held", "it"), -ECANCELED);
        assert_true(fault_is_set(&f));
        /* the first cause counts */
        assert_int_equal(fault_set(&f, ERROR_LOST, "later"), -ECANCELED);
        assert_int_equal(fault_set_oom(&f), -ENOMEM);
        assert_int_equal(f.code, ERROR_BUSY);
        assert_string_equal(f.message, "it is held");
        assert_int_equal(fault_set(NULL, ERROR_BUSY, "nobody listens"), -ECANCELED);
        assert_int_equal(fault_copy(&copy, &f), 0);
        assert_string_equal(copy.message, f.message);
        assert_int_equal(fault_set_oom(&oom), -ENOMEM);
        assert_int_equal(oom.code, ERROR_NO_MEMORY);
        assert_int_equal(fault_copy(&copy, &oom), 0);
        assert_int_equal(copy.code, ERROR_NO_MEMORY);
        fault_clear(&oom);
        assert_false(fault_is_set(&oom));
}

static void test_step(void **state) {
        _cleanup_plan_ Plan p = PLAN_NULL;
        char device[] = "0000:01:00.0", driver[] = "e1000e";
        Step s = { .device = device, .group = 5, .value = driver, .uid = 1000 };

        for (int k = 0; k < _STEP_KIND_MAX; k++) {
                s.kind = k;
                assert_int_equal(plan_add(&p, &s), 0);
        }
        assert_int_equal(p.n, _STEP_KIND_MAX);
        for (size_t i = 0; i < p.n; i++) {
                _cleanup_free_ char *text = step_describe(&p.steps[i]);

                assert_non_null(text);
                assert_string_not_equal(text, "unknown step");
                assert_ptr_not_equal(p.steps[i].device, device);
                assert_int_equal(p.steps[i].uid, 1000);
                if (i == STEP_UNBIND)
                        assert_string_equal(text, "unbind 0000:01:00.0 from e1000e");
                if (i == STEP_GRANT_NODE)
                        assert_string_equal(text, "grant /dev/vfio/5 to uid 1000");
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_tables),  cmocka_unit_test(test_names),
                cmocka_unit_test(test_drivers), cmocka_unit_test(test_facts),
                cmocka_unit_test(test_fault),   cmocka_unit_test(test_step),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
