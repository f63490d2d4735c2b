/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "linux-host.h"
#include "shared/modalias.h"

#define RELEASE "6.1.0-test"

static const char aliases[] = "# Aliases extracted from modules themselves.\n"
                              "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n"
                              "alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n"
                              "alias pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core\n"
                              "alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e\n"
                              "alias pci:v00008086d000010D3sv*sd*bc02sc00i* other\n"
                              "alias broken\n"
                              "alias usb:v1234p* something\n";

static const char mlx5[] = "pci:v000015B3d0000101Esv000015B3sd00000001bc02sc00i00";
static const char e1000e[] = "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00";

typedef struct Fixture {
        Host host;
        Sysfs s;
} Fixture;

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));

        assert_non_null(f);
        host_init(&f->host);
        host_write(&f->host, "lib/modules/" RELEASE "/modules.alias", aliases);
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

static void test_only_the_prefix_is_read(void **state) {
        Fixture *f = *state;
        _cleanup_modalias_ Modalias vfio = MODALIAS_NULL, pci = MODALIAS_NULL, none = MODALIAS_NULL;

        assert_int_equal(modalias_load(&f->s, RELEASE, "vfio_", &vfio), 0);
        assert_int_equal(vfio.n, 2);
        assert_int_equal(modalias_load(&f->s, RELEASE, "pci:", &pci), 0);
        assert_int_equal(pci.n, 3);
        assert_int_equal(modalias_load(&f->s, "no-such-release", "pci:", &none), 0);
        assert_int_equal(none.n, 0);
}

static void test_fewest_wildcards_win(void **state) {
        Fixture *f = *state;
        _cleanup_modalias_ Modalias vfio = MODALIAS_NULL;

        assert_int_equal(modalias_load(&f->s, RELEASE, "vfio_", &vfio), 0);
        assert_string_equal(modalias_best_vfio(&vfio, mlx5), "mlx5_vfio_pci");
        assert_string_equal(modalias_best_vfio(&vfio, e1000e), "vfio_pci");
        assert_null(modalias_best_vfio(&vfio, "usb:v1234"));
}

static void test_matches(void **state) {
        Fixture *f = *state;
        _cleanup_modalias_ Modalias pci = MODALIAS_NULL;

        assert_int_equal(modalias_load(&f->s, RELEASE, "pci:", &pci), 0);
        assert_true(modalias_matches(&pci, e1000e, "e1000e"));
        assert_true(modalias_matches(&pci, e1000e, "other"));
        assert_false(modalias_matches(&pci, e1000e, "mlx5_core"));
        assert_false(modalias_matches(&pci, mlx5, "e1000e"));
        assert_false(modalias_matches(&pci, mlx5, "vfio_pci"));
}

static void assert_driver(const Fixture *f, const char *module, const char *expected) {
        _cleanup_free_ char *driver = NULL;

        assert_int_equal(modalias_driver_of(&f->s, module, "pci", &driver), 0);
        assert_string_equal(driver, expected);
}

static void test_driver_of(void **state) {
        Fixture *f = *state;

        assert_driver(f, "vfio_pci", "vfio-pci");
        assert_driver(f, "xe_vfio_pci", "xe-vfio-pci");
        assert_driver(f, "mlx5_vfio_pci", "mlx5_vfio_pci");
        /* what is loaded tells more */
        host_link(&f->host, "sys/module/mlx5_vfio_pci/drivers/platform:something", "x");
        host_link(&f->host, "sys/module/mlx5_vfio_pci/drivers/pci:mlx5-vfio-pci", "x");
        assert_driver(f, "mlx5_vfio_pci", "mlx5-vfio-pci");
}

/* A driver that adds many lines must not be slow or break. */
static void test_long_table(void **state) {
        Fixture *f = *state;
        _cleanup_modalias_ Modalias pci = MODALIAS_NULL;
        FILE *file = fopen(host_path(&f->host, "lib/modules/long/modules.alias"), "w");

        assert_non_null(file);
        for (unsigned i = 0; i < 20000; i++)
                (void)fprintf(file, "alias pci:v%08Xd*sv*sd*bc*sc*i* module%u\n", i, i);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(modalias_load(&f->s, "long", "pci:", &pci), 0);
        assert_int_equal(pci.n, 20000);
        assert_true(modalias_matches(&pci, "pci:v00004E1Fd1sv1sd1bc1sc1i1", "module19999"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_only_the_prefix_is_read, setup, teardown),
                cmocka_unit_test_setup_teardown(test_fewest_wildcards_win, setup, teardown),
                cmocka_unit_test_setup_teardown(test_matches, setup, teardown),
                cmocka_unit_test_setup_teardown(test_driver_of, setup, teardown),
                cmocka_unit_test_setup_teardown(test_long_table, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
