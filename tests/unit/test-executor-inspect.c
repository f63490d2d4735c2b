/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>

#include "executor/holders.h"
#include "executor/inspect.h"
#include "executor/netlink.h"
#include "linux-host.h"

#define DEVICE "0000:3b:00.0"
#define NODE   "sys/bus/pci/devices/" DEVICE "/"

typedef struct Fixture {
        Host host;
        Step step;
        Run run;
        Obstacles obstacles;
} Fixture;

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));

        assert_non_null(f);
        host_init(&f->host);
        f->step = (Step){ .kind = STEP_INSPECT, .device = (char *)DEVICE, .group = 12 };
        f->run = (Run){ .step = &f->step, .answer = ANSWER_NULL };
        assert_int_equal(sysfs_open(f->host.root, &f->run.sysfs), 0);
        f->run.runtime = open(f->host.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(f->run.runtime >= 0);
        assert_int_equal(mkdirat(f->run.runtime, "locks", 0700), 0);
        assert_int_equal(netlink_open(&f->run.netlink), 0);
        host_add_device(&f->host, DEVICE, "0x010802\n");
        host_set_group(&f->host, DEVICE, "12", "DMA\n");
        host_link(&f->host, "sys/kernel/iommu_groups/12/devices/" DEVICE, "x");
        host_set_driver(&f->host, DEVICE, "some-driver");
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        answer_clear(&f->run.answer);
        obstacles_clear(&f->obstacles);
        sysfs_close(&f->run.sysfs);
        safe_close(f->run.runtime);
        safe_close(f->run.netlink);
        host_destroy(&f->host);
        free(f);
        return 0;
}

/* Inspects; the obstacles have to be exactly these "code: text", up to a NULL. */
static void assert_obstacles(Fixture *f, const char *const *expected) {
        _cleanup_disks_ Disks disks = DISKS_NULL;
        size_t i = 0;

        assert_int_equal(inspect_device(&f->run, &f->obstacles, &disks), 0);
        for (; i < f->obstacles.n && expected[i]; i++) {
                _cleanup_free_ char *line = str_format("%s: %s", f->obstacles.items[i].code,
                                                       f->obstacles.items[i].text);

                assert_string_equal(line, expected[i]);
                assert_string_equal(f->obstacles.items[i].device, DEVICE);
        }
        if (i < f->obstacles.n)
                fail_msg("unexpected: %s", f->obstacles.items[i].text);
        if (expected[i])
                fail_msg("missing: %s", expected[i]);
}
#define assert_obstacles_are(f, ...) \
        assert_obstacles(f, (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

/* A device below the PCI one. */
static void add_child(const Fixture *f, const char *path, const char *subsystem) {
        _cleanup_free_ char *link = str_format(NODE "%s/subsystem", path),
                            *target = str_format("x/%s", subsystem);

        host_link(&f->host, link, target);
}

static void test_idle_device(void **state) {
        Fixture *f = *state;

        host_write(&f->host, NODE "power/control", "auto\n");
        host_write(&f->host, NODE "boot_vga", "0\n");
        assert_obstacles_are(f);
}

static void test_nothing_without_a_driver(void **state) {
        Fixture *f = *state;

        add_child(f, "net/lo", "net");
        host_write(&f->host, NODE "boot_vga", "1\n");
        host_remove(&f->host, NODE "driver");
        assert_obstacles_are(f);
}

static void test_network_address(void **state) {
        Fixture *f = *state;

        /* the one interface that has an address wherever this runs */
        add_child(f, "net/lo", "net");
        host_write(&f->host, NODE "net/lo/ifindex", "1\n");
        host_write(&f->host, NODE "net/lo/flags", "0x8\n");
        assert_obstacles_are(f); /* it is down */
        host_write(&f->host, NODE "net/lo/flags", "0x49\n");
        assert_int_equal(inspect_device(&f->run, &f->obstacles, &DISKS_NULL), 0);
        assert_true(f->obstacles.n >= 1);
        assert_string_equal(f->obstacles.items[0].code, "network-address");
        assert_string_equal(f->obstacles.items[0].text, "lo is up with address 127.0.0.1/8");
}

static void test_network_below_virtio(void **state) {
        Fixture *f = *state;

        host_write(&f->host, NODE "class", "0x020000\n");
        add_child(f, "virtio0", "virtio");
        host_link(&f->host, NODE "virtio0/driver", "x/virtio_net");
        add_child(f, "virtio0/net/none7", "net");
        assert_obstacles_are(f);
        host_link(&f->host, NODE "virtio0/net/none7/upper_br0", "x");
        host_link(&f->host, NODE "virtio0/net/none7/master", "x/br0");
        host_write(&f->host, "proc/1/net/route",
                   "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n"
                   "none7\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n"
                   "other\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\n");
        host_write(&f->host, "proc/1/net/ipv6_route",
                   "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
                   "fe800000000000000000000000000001 00000400 00000001 00000000 00000003    none7\n");
        assert_obstacles_are(f, "network-upper: none7 is part of br0",
                             "default-route: none7 carries the default route");
}

static void test_default_route_ipv4(void **state) {
        Fixture *f = *state;

        add_child(f, "net/none7", "net");
        host_write(&f->host, "proc/1/net/route",
                   "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n"
                   "none7\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\n");
        assert_obstacles_are(f, "default-route: none7 carries the default route");
}

static void test_network_namespace(void **state) {
        Fixture *f = *state;

        host_write(&f->host, NODE "class", "0x020000\n");
        assert_obstacles_are(f, "network-namespace: it is bound to some-driver but no interface of "
                                "it is visible: that is in another network namespace, or a program "
                                "drives it");
        obstacles_clear(&f->obstacles);
        /* no driver for what virtio-pci offers: nobody can use it */
        add_child(f, "virtio0", "virtio");
        assert_obstacles_are(f);
        host_remove(&f->host, NODE "virtio0/subsystem");
        host_set_driver(&f->host, DEVICE, "pci-stub");
        assert_obstacles_are(f);
}

static void test_console(void **state) {
        Fixture *f = *state;

        host_write(&f->host, NODE "boot_vga", "1\n");
        add_child(f, "graphics/fb0", "graphics");
        add_child(f, "tty/ttyS3", "tty");
        add_child(f, "tty/ttyS4", "tty");
        host_write(&f->host, "sys/class/tty/console/active", "tty0 ttyS3\n");
        assert_obstacles_are(f,
                             "console-gpu: it is the graphics adapter that the firmware used as "
                             "console",
                             "console-gpu: fb0 is the frame buffer of a graphical console",
                             "serial-console: ttyS3 is a console of the kernel");
}

static void test_virtual_functions(void **state) {
        Fixture *f = *state;

        host_link(&f->host, NODE "virtfn0", "../0000:3b:02.0");
        host_link(&f->host, NODE "virtfn1", "../0000:3b:02.1");
        host_add_device(&f->host, "0000:3b:02.0", "0x020000\n");
        host_add_device(&f->host, "0000:3b:02.1", "0x020000\n");
        assert_obstacles_are(f, "vfs-enabled: it has 2 virtual functions, which would go away");
        obstacles_clear(&f->obstacles);
        host_set_driver(&f->host, "0000:3b:02.1", "iavf");
        assert_obstacles_are(f, "vfs-in-use: its virtual function 0000:3b:02.1 is bound to iavf",
                             "vfs-enabled: it has 2 virtual functions, which would go away");
}

static void test_open_virtual_function(void **state) {
        Fixture *f = *state;

        host_link(&f->host, NODE "virtfn0", "../0000:3b:02.0");
        host_add_device(&f->host, "0000:3b:02.0", "0x020000\n");
        host_set_group(&f->host, "0000:3b:02.0", "13", "DMA\n");
        host_link(&f->host, "sys/kernel/iommu_groups/13/devices/0000:3b:02.0", "x");
        host_set_driver(&f->host, "0000:3b:02.0", "vfio-pci");
        host_add_holder(&f->host, "4711", "qemu\n", "/dev/vfio/13");
        assert_int_equal(inspect_device(&f->run, &f->obstacles, &DISKS_NULL), 0);
        assert_int_equal(f->obstacles.n, 2);
        assert_string_equal(f->obstacles.items[0].code, OBSTACLE_VF_OPEN);
        assert_non_null(
                strstr(f->obstacles.items[0].text, "0000:3b:02.0 is open in qemu (pid 4711)"));
}

/* Its NICs have no interface, and programs open files of them. */
static void test_vdpa(void **state) {
        Fixture *f = *state;

        host_write(&f->host, NODE "class", "0x020000\n");
        host_set_driver(&f->host, DEVICE, "vp-vdpa");
        assert_obstacles_are(f);
        add_child(f, "vdpa0", "vdpa");
        host_write(&f->host, NODE "vdpa0/vhost-vdpa-3/dev", "511:3\n");
        host_add_holder(&f->host, "99", "other\n", "/dev/vhost-vdpa-33");
        assert_obstacles_are(f);
        host_add_holder(&f->host, "100", "vmm\n", "/dev/vhost-vdpa-3");
        assert_obstacles_are(f, "vdpa-open: its /dev/vhost-vdpa-3 is open in vmm (pid 100)");
}

static void test_usb(void **state) {
        Fixture *f = *state;

        add_child(f, "usb1", "usb");
        host_write(&f->host, NODE "usb1/bDeviceClass", "09\n");
        add_child(f, "usb1/1-0:1.0", "usb");
        host_link(&f->host, NODE "usb1/1-0:1.0/driver", "x/hub");
        add_child(f, "usb1/1-2", "usb");
        host_write(&f->host, NODE "usb1/1-2/bDeviceClass", "00\n");
        host_write(&f->host, NODE "usb1/1-2/product", "Keyboard\n");
        add_child(f, "usb1/1-2/1-2:1.0", "usb");
        assert_obstacles_are(f);
        host_link(&f->host, NODE "usb1/1-2/1-2:1.0/driver", "x/usbhid");
        assert_obstacles_are(f, "usb-in-use: the USB device Keyboard (1-2) is used by usbhid");
}

static void test_rdma(void **state) {
        Fixture *f = *state;

        add_child(f, "infiniband/mlx5_0", "infiniband");
        host_write(&f->host, NODE "infiniband/mlx5_0/ports/1/state", "4: ACTIVE\n");
        host_write(&f->host, NODE "infiniband/mlx5_0/ports/1/link_layer", "Ethernet\n");
        host_write(&f->host, NODE "infiniband/mlx5_0/ports/2/state", "1: DOWN\n");
        host_write(&f->host, NODE "infiniband/mlx5_0/ports/2/link_layer", "InfiniBand\n");
        assert_obstacles_are(f);
        host_write(&f->host, NODE "infiniband/mlx5_0/ports/2/state", "4: ACTIVE\n");
        assert_obstacles_are(f, "rdma-in-use: port 2 of the RDMA device mlx5_0 is active");
}

static void test_behind_a_bridge_is_another_device(void **state) {
        Fixture *f = *state;

        add_child(f, "0000:3c:00.0/net/lo", "net");
        add_child(f, "0000:3c:00.0", "pci");
        assert_obstacles_are(f);
}

static void test_endless_tree(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *path = strdup(NODE);
        _cleanup_disks_ Disks disks = DISKS_NULL;

        for (unsigned i = 0; i < 30; i++)
                assert_int_equal(str_append(&path, "a/"), 0);
        assert_int_equal(str_append(&path, "file"), 0);
        host_write(&f->host, path, "");
        assert_int_equal(inspect_device(&f->run, &f->obstacles, &disks), -EOVERFLOW);
        assert_non_null(strstr(f->run.answer.text, DEVICE));
}

static void test_spdk(void **state) {
        Fixture *f = *state;
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        _cleanup_free_ char *expected = NULL;
        int fd, ready[2];
        pid_t pid;
        char c;

        host_set_driver(&f->host, DEVICE, "uio_pci_generic");
        host_write(&f->host, "var/tmp/spdk_pci_lock_" DEVICE, "");
        assert_obstacles_are(f);
        /* a lock of one's own does not count */
        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                fd = open(host_path(&f->host, "var/tmp/spdk_pci_lock_" DEVICE), O_RDWR | O_CLOEXEC);
                if (fd < 0 || fcntl(fd, F_SETLK, &lock) < 0 || write(ready[1], "x", 1) != 1)
                        _exit(1);
                (void)pause();
                _exit(0);
        }
        assert_true(pid > 0);
        assert_int_equal(read(ready[0], &c, 1), 1);
        expected = str_format("spdk-lock: a program that uses SPDK (pid %d) drives it", (int)pid);
        assert_obstacles_are(f, expected);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        safe_close(ready[0]);
        safe_close(ready[1]);
}

static void test_disk_reasons(void **state) {
        Fixture *f = *state;
        static const char disk[] = NODE "nvme/nvme0/nvme0n1";

        host_write(&f->host, NODE "nvme/nvme0/nvme0n1/dev", "259:0\n");
        host_write(&f->host, NODE "nvme/nvme0/nvme0n1/nvme0n1p1/partition", "1\n");
        host_write(&f->host, NODE "nvme/nvme0/nvme0n1/nvme0n1p1/dev", "259:1\n");
        host_write(&f->host, NODE "nvme/nvme0/nvme0n1/nvme0n1p2/partition", "2\n");
        host_write(&f->host, NODE "nvme/nvme0/nvme0n1/nvme0n1p2/dev", "259:2\n");
        assert_int_equal(disk_explain(&f->run.sysfs, disk, DEVICE, &f->obstacles), 0);
        assert_int_equal(f->obstacles.n, 1);
        assert_string_equal(f->obstacles.items[0].text,
                            "/dev/nvme0n1 is opened exclusively by another program");
        obstacles_clear(&f->obstacles);

        host_write(&f->host, "proc/1/mountinfo",
                   "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
                   "garbage\n"
                   "36 22 259:1 / /mnt/my\\040disk rw,noatime master:1 - ext4 /dev/nvme0n1p1 rw\n"
                   "37 22 0:42 /@ /srv rw - btrfs /dev/nvme0n1p2 rw,subvol=/@\n");
        host_write(&f->host, "proc/swaps",
                   "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
                   "/dev/nvme0n1p2                          partition\t1000\t0\t-2\n"
                   "/dev/sda2                               partition\t1000\t0\t-3\n");
        host_write(&f->host, NODE "nvme/nvme0/nvme0n1/nvme0n1p1/holders/dm-3/dm/name", "vg-root\n");
        host_write(&f->host, NODE "nvme/nvme0/nvme0n1/holders/md0/x", "\n");
        assert_int_equal(disk_explain(&f->run.sysfs, disk, DEVICE, &f->obstacles), 0);
        for (size_t i = 0; i < 5; i++) {
                static const char *const expected[] = {
                        "/dev/nvme0n1p1 is mounted on /mnt/my disk",
                        "/dev/nvme0n1p2 is mounted on /srv",
                        "/dev/nvme0n1p2 is used as swap space",
                        "/dev/nvme0n1 is part of md0",
                        "/dev/nvme0n1p1 is part of dm-3 (vg-root)",
                };

                assert_true(i < f->obstacles.n);
                assert_string_equal(f->obstacles.items[i].text, expected[i]);
        }
        assert_int_equal(f->obstacles.n, 5);
}

/* The head of a multipath disk hangs elsewhere, what hangs here cannot be opened. */
static void test_nvme_multipath(void **state) {
        Fixture *f = *state;

        add_child(f, "nvme/nvme0", "nvme");
        add_child(f, "nvme/nvme0/nvme0c0n1", "block");
        host_write(&f->host, NODE "nvme/nvme0/nvme0c0n1/hidden", "1\n");
        host_write(&f->host, NODE "nvme/nvme0/nvme0c0n1/dev", "not looked at\n");
        host_link(&f->host, "sys/class/nvme-subsystem/nvme-subsys1/nvme1", "x");
        host_write(&f->host, "sys/class/nvme-subsystem/nvme-subsys1/nvme1n1/dev", "not ours\n");
        host_write(&f->host, "sys/class/nvme-subsystem/nvme-subsys1/nvme1n1/queue/x", "");
        assert_obstacles_are(f);
        host_write(&f->host, "sys/class/nvme-subsystem/nvme-subsys0/nvme0/x", "");
        host_write(&f->host, "sys/class/nvme-subsystem/nvme-subsys0/nvme0n1/queue/x", "");
        host_write(&f->host, "sys/class/nvme-subsystem/nvme-subsys0/nvme0n1/dev", "broken\n");
        assert_int_equal(inspect_device(&f->run, &f->obstacles, &DISKS_NULL), -EBADMSG);
}

static void assert_holders_of(const Fixture *f, HolderFiles which, const pid_t *skip, bool guess,
                              const char *expected) {
        _cleanup_free_ char *text = NULL;

        assert_int_equal(holders_describe(&f->run.sysfs, 12, which, skip, guess, &text), 0);
        if (expected)
                assert_string_equal(text, expected);
        else
                assert_null(text);
}

static void assert_holders(const Fixture *f, const pid_t *skip, bool guess, const char *expected) {
        assert_holders_of(f, HOLDERS_OF_ANY, skip, guess, expected);
}

static void test_holders(void **state) {
        Fixture *f = *state;
        const pid_t skip[] = { 4711, 0 };

        host_write(&f->host, "proc/cpuinfo", "");
        host_add_holder(&f->host, "99", "bash\n", "/dev/vfio/112");
        assert_holders(f, NULL, true, NULL);
        /* older kernels do not say which device it is */
        host_add_holder(&f->host, "100", "dpdk\n", "anon_inode:[vfio-device]");
        assert_holders(f, NULL, false, NULL);
        assert_holders(f, NULL, true, "dpdk (pid 100)");
        host_add_holder(&f->host, "4711", "qemu\n", "/dev/vfio/12");
        assert_holders(f, NULL, true, "qemu (pid 4711)");
        assert_holders(f, skip, false, NULL);
        host_write(&f->host, "proc/100/fdinfo/7",
                   "pos:\t0\nvfio-device-syspath: /sys/devices/pci0000:3a/" DEVICE "\n");
        assert_holders(f, NULL, false, "dpdk (pid 100), qemu (pid 4711)");
        host_write(&f->host, "proc/100/fdinfo/7",
                   "pos:\t0\nvfio-device-syspath: /sys/devices/pci0000:3a/0000:3b:00.1\n");
        assert_holders(f, skip, true, NULL);
        host_write(&f->host, NODE "vfio-dev/vfio3/dev", "510:3\n");
        host_add_holder(&f->host, "101", "vmm\n", "/dev/vfio/devices/vfio3");
        assert_holders(f, skip, false, "vmm (pid 101)");
        /* udev has it open, but not for use */
        host_add_holder(&f->host, "102", "(udev-worker)\n", "/dev/vfio/devices/vfio3");
        host_write(&f->host, "proc/102/fdinfo/7", "pos:\t0\nflags:\t012000000\nmnt_id:\t25\n");
        host_write(&f->host, "proc/101/fdinfo/7", "pos:\t0\nflags:\t0100002\nmnt_id:\t25\n");
        /* it was closed between two looks */
        host_link(&f->host, "proc/103/fd/7", "/dev/vfio/devices/vfio3");
        /* an unbind does not wait for those who have only the group */
        assert_holders_of(f, HOLDERS_OF_DEVICES, NULL, false, "vmm (pid 101)");
        assert_int_equal(holders_include(&f->run.sysfs, 12, (const pid_t[]){ 101, 4711, 0 }), 1);
        assert_int_equal(holders_include(&f->run.sysfs, 12, (const pid_t[]){ 101, 100, 0 }), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_idle_device, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nothing_without_a_driver, setup, teardown),
                cmocka_unit_test_setup_teardown(test_network_address, setup, teardown),
                cmocka_unit_test_setup_teardown(test_network_below_virtio, setup, teardown),
                cmocka_unit_test_setup_teardown(test_default_route_ipv4, setup, teardown),
                cmocka_unit_test_setup_teardown(test_network_namespace, setup, teardown),
                cmocka_unit_test_setup_teardown(test_console, setup, teardown),
                cmocka_unit_test_setup_teardown(test_virtual_functions, setup, teardown),
                cmocka_unit_test_setup_teardown(test_open_virtual_function, setup, teardown),
                cmocka_unit_test_setup_teardown(test_vdpa, setup, teardown),
                cmocka_unit_test_setup_teardown(test_usb, setup, teardown),
                cmocka_unit_test_setup_teardown(test_rdma, setup, teardown),
                cmocka_unit_test_setup_teardown(test_behind_a_bridge_is_another_device, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(test_endless_tree, setup, teardown),
                cmocka_unit_test_setup_teardown(test_spdk, setup, teardown),
                cmocka_unit_test_setup_teardown(test_disk_reasons, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nvme_multipath, setup, teardown),
                cmocka_unit_test_setup_teardown(test_holders, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
