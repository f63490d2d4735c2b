/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager-fixture.h"

static void remove_device(const Host *h, const char *name) {
        static const char *const files[] = { "vendor",      "device",    "class",
                                             "modalias",    "numa_node", "driver_override",
                                             "iommu_group", "driver" };

        for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
                host_remove(h, host_device_file(name, files[i]));
        host_remove(h, host_device_file(name, ""));
}

/* A group that the patrol looks after. */
static void own_group(const Fixture *f) {
        const Owner owner = { .uid = 0, .name = (char *)"me" };
        const Terms terms = { .kind = OWNER_KIND_USER };
        Registry *registry = manager_registry(f->manager);
        _cleanup_changes_ Changes c = CHANGES_NULL;
        Group *g = registry_group(registry, 7);

        assert_non_null(g);
        assert_int_equal(g->n_devices, 2);
        assert_int_equal(registry_adopt_group(registry, g, GROUP_OWNED, &owner, &terms, 0, "DMA",
                                              &c),
                         0);
        patrol_note(f->manager->patrol, g);
}

/* The kernel has removed it, and udev has not said so yet: it is the patrol that finds out. */
static void test_one_of_a_group_goes(void **state) {
        const Fixture *f = *state;

        own_group(f);
        remove_device(&f->host, FIRST);
        run_until_gone(f, FIRST);
        assert_int_equal(registry_group(manager_registry(f->manager), 7)->n_devices, 1);
}

static void test_all_of_a_group_go(void **state) {
        const Fixture *f = *state;

        own_group(f);
        remove_device(&f->host, FIRST);
        remove_device(&f->host, SECOND);
        run_until_gone(f, SECOND);
        assert_null(registry_device(manager_registry(f->manager), FIRST));
        assert_null(registry_group(manager_registry(f->manager), 7));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_one_of_a_group_goes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_all_of_a_group_go, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
