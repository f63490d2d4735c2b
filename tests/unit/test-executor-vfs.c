/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making and removing virtual functions: what the executor refuses, and what it writes. */
#include "executor-fixture.h"

static void test_virtual_functions(void **state) {
        const Fixture *f = *state;

        assert_step(f, STEP("set-num-vfs", ",\"value\":\"2\""), ENOTTY, "SR-IOV");
        assert_step(f, STEP("set-vf-autoprobe", ",\"value\":\"0\""), ENOTTY, "SR-IOV");
        assert_step(f, STEP("set-num-vfs", ""), EINVAL, "\"value\"");
        host_write(&f->host, NODE "sriov_totalvfs", "4\n");
        host_write(&f->host, NODE "sriov_numvfs", "");
        host_write(&f->host, NODE "sriov_drivers_autoprobe", "1\n");
        assert_step(f, STEP("set-vf-autoprobe", ",\"value\":\"2\""), ERANGE, "from 0 to 1");
        assert_step(f, STEP("set-vf-autoprobe", ",\"value\":\"no\""), EINVAL, "no number");
        assert_step(f, STEP("set-vf-autoprobe", ",\"value\":\"0\""), 0, NULL);
        assert_step(f, STEP("set-num-vfs", ",\"value\":\"5\""), ERANGE, "from 0 to 4");
        assert_step(f, STEP("set-num-vfs", ",\"value\":\"-1\""), EINVAL, "no number");
        assert_step(f, STEP("set-num-vfs", ",\"value\":\"0\""), 0, NULL);
        assert_file(f, NODE "sriov_numvfs", "");
        /* it is written, and then there are no links to be found */
        assert_step(f, STEP("set-num-vfs", ",\"value\":\"2\""), EIO, "0 virtual functions instead");
        assert_file(f, NODE "sriov_numvfs", "2");
        host_remove(&f->host, NODE "driver");
        assert_step(f, STEP("set-num-vfs", ",\"value\":\"2\""), EPERM, "has none");
        host_set_driver(&f->host, DEVICE, "vfio-pci");
        assert_step(f, STEP("set-num-vfs", ",\"value\":\"2\""), EPERM, "has vfio-pci");
}

/* The kernel would wait for them, and let nobody plug anything meanwhile. */
static void test_virtual_functions_in_use_stay(void **state) {
        const Fixture *f = *state;

        host_write(&f->host, NODE "sriov_totalvfs", "4\n");
        host_write(&f->host, NODE "sriov_numvfs", "");
        host_link(&f->host, NODE "virtfn0", "../0000:3b:02.0");
        host_link(&f->host, NODE "virtfn1", "../0000:3b:02.1");
        host_write(&f->host, "sys/bus/pci/devices/0000:3b:02.0/class", "0x010802\n");
        host_set_driver(&f->host, "0000:3b:02.1", "nvme");
        assert_step(f, STEP("set-num-vfs", ",\"value\":\"2\""), 0, NULL); /* there are so many */
        assert_step(f, STEP("set-num-vfs", ",\"value\":\"0\""), EBUSY, "0000:3b:02.1 is bound to");
        assert_step(f, STEP("set-num-vfs", ",\"value\":\"0\",\"force\":true"), EBUSY,
                    "0000:3b:02.1");
        host_remove(&f->host, "sys/bus/pci/devices/0000:3b:02.1/driver");
        assert_step(f, STEP("set-num-vfs", ",\"value\":\"3\""), EBUSY, "has 2 virtual functions");
        assert_file(f, NODE "sriov_numvfs", "");
        assert_step(f, STEP("set-num-vfs", ",\"value\":\"0\""), EIO, "has 2");
        assert_file(f, NODE "sriov_numvfs", "0");
}

static void test_settings(void **state) {
        const Fixture *f = *state;

        assert_step(f, STEP("read-vf", ""), ENOTTY, "no virtual function");
        assert_step(f, STEP("set-vf", ""), EINVAL, "\"value\"");
        assert_step(f, STEP("set-vf", ",\"value\":\"trust\""), EINVAL, NULL);
        assert_step(f, STEP("set-vf", ",\"value\":\"trust=on\""), EPERM, "only the settings that");
        host_link(&f->host, NODE "physfn", "../0000:3b:10.0");
        host_write(&f->host, "sys/bus/pci/devices/0000:3b:10.0/class", "0x020000\n");
        assert_step(f, STEP("read-vf", ""), ENODEV, "does not list it");
        host_link(&f->host, "sys/bus/pci/devices/0000:3b:10.0/virtfn3", "../" DEVICE);
        /* nobody to ask is no failure; what was not read is not put back */
        assert_step(f, STEP("read-vf", ""), 0, "no network interface here");
        host_write(&f->host, "sys/bus/pci/devices/0000:3b:10.0/net/gone/ifindex", "2147483647\n");
        assert_step(f, STEP("read-vf", ""), 0, "gone of 0000:3b:10.0 reports no settings");
        host_write(&f->host, "sys/bus/pci/devices/0000:3b:10.0/net/gone/ifindex", "1\n"); /* lo */
        assert_step(f, STEP("read-vf", ""), 0, "reports no settings of virtual function 3");
        assert_step(f, STEP("set-vf", ",\"value\":\"trust=on\""), EPERM, "only the settings that");
        host_write(&f->host, "runtime/vfs/" DEVICE, "trust=on");
        assert_step(f, STEP("set-vf", ",\"value\":\"trust=off\""), EPERM, "only the settings that");
        assert_step(f, STEP("set-vf", ",\"value\":\"trust=on\""), 0, "reports no settings");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_virtual_functions, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_virtual_functions_in_use_stay, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_settings, executor_setup, executor_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
