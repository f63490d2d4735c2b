/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What somebody else has changed about a group that is owned, in words. */
#include "core-fixture.h"

#define A       "0000:01:00.0"
#define B       "0000:02:01.0"
#define C       "0000:02:02.0"
#define USER    .kind = OWNER_KIND_USER
#define DMA_API .kind = OWNER_KIND_DMA_API
#define PRIVATE .kind = OWNER_KIND_PRIVATE_DOMAIN

static void says(const Group *g, const char *expected) {
        _cleanup_free_ char *text = NULL;

        assert_int_equal(group_deviation(g, &text), 0);
        if (!str_eq(text, expected))
                fail_msg("'%s' instead of '%s'", text ? text : "-", expected ? expected : "-");
}

static Group *owned(World *w, DeviceSpec host, RequestSpec want) {
        Group *g;

        world_init(w);
        world_plug(w, host);
        g = world_acquire(w, want)->groups[0];
        says(g, NULL);
        return g;
}

static void see(World *w, HostDevice *d) {
        assert_int_equal(registry_device_seen(w->r, &d->facts, &w->c), 0);
}

static void set_override(World *w, const char *device, const char *driver) {
        HostDevice *d = world_device(w, device);

        assert_int_equal(str_set(&d->facts.driver_override, driver), 0);
        see(w, d);
}

static void set_type(World *w, const char *device, const char *type) {
        HostDevice *d = world_device(w, device);

        assert_int_equal(str_set(&d->facts.default_domain_type, type), 0);
        see(w, d);
}

static void test_user(void **state) {
        _cleanup_world_ World w;
        Group *g = owned(&w, (DeviceSpec){ A, 1, "e1000e" }, (RequestSpec){ { A }, USER });

        world_rebind(&w, A, "e1000e");
        says(g, "the driver of " A " was vfio-pci and is e1000e now");
        world_rebind(&w, A, NULL);
        says(g, "the driver of " A " was vfio-pci and is none now");
        world_rebind(&w, A, "vfio-pci");
        set_override(&w, A, NULL);
        says(g, "the driver_override of " A " was vfio-pci and is none now");
        set_override(&w, A, "vfio-pci");
        set_type(&w, A, "DMA-FQ");
        says(g, NULL);
        set_type(&w, A, "identity");
        says(g, "the default domain type of IOMMU group 1 was DMA and is identity now");
}

static void test_a_device_that_joins(void **state) {
        _cleanup_world_ World w;
        Group *g = owned(&w, (DeviceSpec){ B, 2, "e1000" }, (RequestSpec){ { B }, USER });

        world_plug(&w, (DeviceSpec){ C, 2 });
        says(g, NULL);
        world_rebind(&w, C, "e1000");
        says(g, C " has joined IOMMU group 2 and is used by the driver e1000");
}

static void test_dma_api(void **state) {
        _cleanup_world_ World w;
        Group *g = owned(&w, (DeviceSpec){ A, 1, "e1000e" },
                         (RequestSpec){ { A }, DMA_API, .type = "DMA" });

        set_override(&w, A, "other");
        says(g, NULL);
        set_type(&w, A, "DMA-FQ");
        says(g, "the default domain type of IOMMU group 1 was DMA and is DMA-FQ now");
        world_rebind(&w, A, NULL);
        says(g, "the driver of " A " was e1000e and is none now");
}

static void test_auto_is_whatever_it_gave(void **state) {
        _cleanup_world_ World w;
        Group *g = owned(&w, (DeviceSpec){ A, 1, "e1000e", .type = "identity" },
                         (RequestSpec){ { A }, DMA_API, .type = "auto" });

        set_type(&w, A, "DMA");
        says(g, NULL);
}

static void test_a_named_driver(void **state) {
        _cleanup_world_ World w;
        Group *g = owned(&w, (DeviceSpec){ A, 1, "virtio-pci" },
                         (RequestSpec){ { A }, PRIVATE, .driver = "vp-vdpa" });

        set_override(&w, A, "virtio-pci");
        says(g, "the driver_override of " A " was vp-vdpa and is virtio-pci now");
        /* as it is where the kernel alone knew whether the driver fits */
        set_override(&w, A, NULL);
        says(g, NULL);
        world_rebind(&w, A, "virtio-pci");
        says(g, "the driver of " A " was vp-vdpa and is virtio-pci now");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_user),
                cmocka_unit_test(test_a_device_that_joins),
                cmocka_unit_test(test_dma_api),
                cmocka_unit_test(test_auto_is_whatever_it_gave),
                cmocka_unit_test(test_a_named_driver),
        };

        return cmocka_run_group_tests_name("core-deviation", tests, NULL, NULL);
}
