/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which drivers a device may be given by name, by the tables of a host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "linux-host.h"
#include "shared/driver-table.h"

#define RELEASE "6.1.0-test"
#define DEVICE  "0000:3b:00.0"

static const char aliases[] = "alias pci:v00001AF4d00001041sv*sd*bc*sc*i* vp_vdpa\n"
                              "alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e\n"
                              "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n";

typedef struct Fixture {
        Host host;
        Sysfs s;
} Fixture;

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));

        assert_non_null(f);
        host_init(&f->host);
        host_write(&f->host, "lib/modules/" RELEASE "/modules.alias", aliases);
        host_write(&f->host, "sys/bus/pci/devices/" DEVICE "/modalias",
                   "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00\n");
        assert_int_equal(sysfs_open(f->host.root, &f->s), 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        sysfs_close(&f->s);
        host_destroy(&f->host);
        free(f);
        return 0;
}

/* The driver is registered; module: NULL in a kernel that has none. */
static void add_driver(const Fixture *f, const char *driver, const char *module) {
        char path[128], target[128];

        (void)snprintf(path, sizeof(path), "sys/bus/pci/drivers/%s/bind", driver);
        host_write(&f->host, path, "");
        if (!module)
                return;
        (void)snprintf(path, sizeof(path), "sys/module/%s/uevent", module);
        host_write(&f->host, path, "");
        (void)snprintf(path, sizeof(path), "sys/bus/pci/drivers/%s/module", driver);
        (void)snprintf(target, sizeof(target), "../../../../module/%s", module);
        host_link(&f->host, path, target);
}

static void add_built_in(const Fixture *f, const char *info, size_t size) {
        FILE *file = fopen(host_path(&f->host, "lib/modules/" RELEASE "/modules.builtin.modinfo"),
                           "w");

        assert_non_null(file);
        assert_int_equal(fwrite(info, 1, size, file), size);
        assert_int_equal(fclose(file), 0);
}

static void finds(const Fixture *f, const char *driver, DriverMatch match, const char *module) {
        _cleanup_driver_wish_ DriverWish w = {};

        assert_int_equal(driver_table_find(&f->s, RELEASE, DEVICE, driver, &w), 0);
        assert_string_equal(w.name, driver);
        if (w.match != match || !str_eq(w.module, module))
                fail_msg("%s: %d, module %s", driver, (int)w.match, w.module ? w.module : "-");
}

static void test_modules_that_are_not_loaded(void **state) {
        Fixture *f = *state;

        finds(f, "vp-vdpa", DRIVER_MATCH_LISTED, "vp_vdpa");
        finds(f, "vp_vdpa", DRIVER_MATCH_LISTED, "vp_vdpa");
        finds(f, "e1000e", DRIVER_MATCH_OTHER, NULL);
        finds(f, "vp-vdp", DRIVER_MATCH_MISSING, NULL);
        finds(f, "no-such-driver", DRIVER_MATCH_MISSING, NULL);
}

static void test_modules_that_are_loaded(void **state) {
        Fixture *f = *state;

        add_driver(f, "vp-vdpa", "vp_vdpa");
        add_driver(f, "e1000e", "e1000e");
        /* it lists no device at all */
        add_driver(f, "pci-stub", "pci_stub");
        host_write(&f->host, "sys/module/pci_stub/initstate", "live\n");
        finds(f, "vp-vdpa", DRIVER_MATCH_LISTED, NULL);
        finds(f, "e1000e", DRIVER_MATCH_OTHER, NULL);
        finds(f, "pci-stub", DRIVER_MATCH_OTHER, NULL);
}

static void test_drivers_that_are_built_in(void **state) {
        static const char info[] = "virtio_pci.license=GPL\0"
                                   "virtio_pci.alias=pci:v00001AF4d*sv*sd*bc*sc*i*\0"
                                   "nvme.alias=pci:v*d*sv*sd*bc01sc08i02*\0"
                                   "usbcore.alias=usb:v*";
        Fixture *f = *state;

        add_driver(f, "virtio-pci", "virtio_pci");
        add_driver(f, "nvme", "nvme");
        add_driver(f, "serial", "8250_pci");
        /* without their table only the kernel can tell */
        finds(f, "virtio-pci", DRIVER_MATCH_UNKNOWN, NULL);
        add_built_in(f, info, sizeof(info));
        finds(f, "virtio-pci", DRIVER_MATCH_LISTED, NULL);
        finds(f, "nvme", DRIVER_MATCH_OTHER, NULL);
        finds(f, "serial", DRIVER_MATCH_OTHER, NULL);
}

static void test_a_kernel_without_modules(void **state) {
        Fixture *f = *state;

        host_remove(&f->host, "lib/modules/" RELEASE "/modules.alias");
        add_driver(f, "vp-vdpa", NULL);
        finds(f, "vp-vdpa", DRIVER_MATCH_UNKNOWN, NULL);
        finds(f, "e1000e", DRIVER_MATCH_MISSING, NULL);
}

static void test_what_may_be_loaded_for_a_device(void **state) {
        Fixture *f = *state;

        assert_int_equal(driver_table_has_module(&f->s, RELEASE, DEVICE, "vp_vdpa"), 1);
        assert_int_equal(driver_table_has_module(&f->s, RELEASE, DEVICE, "e1000e"), 0);
        assert_int_equal(driver_table_has_module(&f->s, RELEASE, DEVICE, "vfio_pci"), 0);
        assert_int_equal(driver_table_has_module(&f->s, RELEASE, "0000:3b:00.1", "vp_vdpa"),
                         -ENODEV);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_modules_that_are_not_loaded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_modules_that_are_loaded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_drivers_that_are_built_in, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_kernel_without_modules, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_may_be_loaded_for_a_device, setup,
                                                teardown),
        };

        return cmocka_run_group_tests_name("driver-table", tests, NULL, NULL);
}
