/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command lines that QEMU and cloud-hypervisor get. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "client/vmm.h"
#include "util/strings.h"

#define A "0000:3b:00.0"
#define B "0001:00:04.1"

/* Numbers as a test wants them; nothing is opened. */
static const dmaowner_file files[] = {
        { .role = "iommufd", .device = A, .group = 1, .fd = 10 },
        { .role = "cdev", .device = A, .group = 1, .fd = 11 },
        { .role = "iommufd", .device = B, .group = 2, .fd = 12 },
        { .role = "cdev", .device = B, .group = 2, .fd = 13 },
};

static const LentFiles one = { files, 2 }, two = { files, 4 };

typedef struct Row {
        const char *command, *expected; /* with blanks between arguments */
} Row;

static void check(Vmm vmm, const LentFiles *lent, const Row *row) {
        _cleanup_(strv_freep) char **command = NULL, **made = NULL;
        _cleanup_free_ char *copy = strdup(row->command), *joined = NULL;
        char *rest = copy, *argument;

        while ((argument = strsep(&rest, " ")))
                assert_int_equal(strv_extend(&command, argument), 0);
        assert_int_equal(vmm_command(vmm, command, lent, &made), 0);
        joined = strv_join(made, " ");
        assert_string_equal(joined, row->expected);
}

#define OBJECT   " -object iommufd,id=dmaowner0,fd=10"
#define DEVICE_A " -device vfio-pci,iommufd=dmaowner0,fd=11,id=dmaowner-0000-3b-00.0"
#define DEVICE_B " -device vfio-pci,iommufd=dmaowner0,fd=13,id=dmaowner-0001-00-04.1"

static void test_vmm_qemu(void **state) {
        static const Row table[] = {
                { "qemu -m 1G", "qemu -m 1G" OBJECT DEVICE_A },
                /* as it stands in a command of somebody who used to open the nodes */
                { "qemu -device vfio-pci,host=3B:00.0,bus=rp0,id=nic -m 1G",
                  "qemu -device vfio-pci,iommufd=dmaowner0,fd=11,bus=rp0,id=nic -m 1G" OBJECT },
                { "qemu -device vfio-pci,bus=rp0,host=" A,
                  "qemu -device vfio-pci,bus=rp0,iommufd=dmaowner0,fd=11,id=dmaowner-0000-3b-00.0" OBJECT },
                { "qemu -device vfio-pci,sysfsdev=/sys/bus/pci/devices/" A "/,id=x",
                  "qemu -device vfio-pci,iommufd=dmaowner0,fd=11,id=x" OBJECT },
                { "qemu -device vfio-pci,host=" A ",iommufd=mine,id=x",
                  "qemu -device vfio-pci,iommufd=dmaowner0,fd=11,id=x" OBJECT },
                /* another device, and what only looks alike */
                { "qemu -device vfio-pci,host=0000:3b:00.1 -device e1000,host=" A,
                  "qemu -device vfio-pci,host=0000:3b:00.1 -device e1000,host=" A OBJECT DEVICE_A },
                { "qemu -name host=" A, "qemu -name host=" A OBJECT DEVICE_A },
        };
        static const Row both = {
                "qemu -device vfio-pci,host=" B ",id=b",
                "qemu -device vfio-pci,iommufd=dmaowner0,fd=13,id=b" OBJECT DEVICE_A
        };

        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
                check(VMM_QEMU, &one, &table[i]);
        check(VMM_QEMU, &two, &both);
}

static void test_vmm_cloud_hypervisor(void **state) {
        static const Row table[] = {
                { "ch --cpus boot=1",
                  "ch --cpus boot=1 --platform iommufd_fd=10 --device fd=11,id=dmaowner-0000-3b-00.0" },
                { "ch --platform vfio_p2p_dma=off --device path=/sys/bus/pci/devices/" A
                  "/,iommu=on",
                  "ch --platform vfio_p2p_dma=off,iommufd_fd=10 --device fd=11,iommu=on" },
                { "ch --platform=num_pci_segments=2 --device=id=nic,path=/sys/bus/pci/devices/" A,
                  "ch --platform=num_pci_segments=2,iommufd_fd=10 --device=id=nic,fd=11" },
                { "ch --device path=/sys/bus/pci/devices/0000:00:01.0 path=/sys/bus/pci/devices/" A,
                  "ch --device path=/sys/bus/pci/devices/0000:00:01.0 fd=11 --platform iommufd_fd=10" },
                { "ch --disk path=/srv/" A,
                  "ch --disk path=/srv/" A
                  " --platform iommufd_fd=10 --device fd=11,id=dmaowner-0000-3b-00.0" },
        };
        static const Row both = { "ch --device path=/sys/bus/pci/devices/" B,
                                  "ch --device fd=13 --platform iommufd_fd=10 --device "
                                  "fd=11,id=dmaowner-0000-3b-00.0" };

        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
                check(VMM_CLOUD_HYPERVISOR, &one, &table[i]);
        check(VMM_CLOUD_HYPERVISOR, &two, &both);
}

static void test_vmm_arguments(void **state) {
        _cleanup_free_ char *qemu = NULL, *hypervisor = NULL;

        assert_int_equal(vmm_arguments(VMM_QEMU, &two, &qemu), 0);
        assert_string_equal(qemu, &(OBJECT DEVICE_A DEVICE_B)[1]);
        assert_int_equal(vmm_arguments(VMM_CLOUD_HYPERVISOR, &one, &hypervisor), 0);
        assert_string_equal(hypervisor,
                            "--platform iommufd_fd=10 --device fd=11,id=dmaowner-0000-3b-00.0");
}

static void test_vmm_takes_no_container(void **state) {
        static const dmaowner_file container[] = { { .role = "container", .fd = 10 },
                                                   { .role = "group", .fd = 11 } };
        static char *const command[] = { (char *)"qemu", NULL };
        const LentFiles lent = { container, 2 };
        char **made;

        assert_int_equal(vmm_command(VMM_QEMU, command, &lent, &made), -ENOTSUP);
        assert_int_equal(vmm_command(VMM_CLOUD_HYPERVISOR, command, &lent, &made), -ENOTSUP);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_vmm_qemu),
                cmocka_unit_test(test_vmm_cloud_hypervisor),
                cmocka_unit_test(test_vmm_arguments),
                cmocka_unit_test(test_vmm_takes_no_container),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
