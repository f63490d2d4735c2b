/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that are lent, as far as that goes without VFIO: what is refused, and that no ioctl reaches
 * a file which is not what it was said to be. The rest is tested in the guests. */
#include "executor-fixture.h"

#include <dirent.h>
#include <sys/sysmacros.h>

#include "shared/packet.h"

/* A step of the group. */
#define LEND(kind, more) "{\"seq\":1,\"step\":\"" kind "\",\"group\":12" more "}"

static void put_files(const Fixture *f, const char *packet, const char *const *paths) {
        _cleanup_descriptors_ Descriptors d = {};

        for (; *paths; paths++) {
                d.items[d.n] = open(*paths, O_RDWR | O_CLOEXEC);
                assert_true(d.items[d.n] >= 0);
                d.n++;
        }
        assert_int_equal(packet_send(f->fd, packet, &d), 0);
}

static void assert_files(const Fixture *f, const char *packet, const char *const *paths, int error,
                         const char *text_part) {
        put_files(f, packet, paths);
        assert_done(f, error, text_part);
}

#define CONTAINER ",\"files\":[{\"role\":\"container\"},{\"role\":\"group\"}]"
#define IOMMUFD   ",\"files\":[{\"role\":\"iommufd\"},{\"role\":\"cdev\",\"device\":\"" DEVICE "\"}]"

static const char *const null_twice[] = { "/dev/null", "/dev/null", NULL };

/* The numbers of /dev/null stand for VFIO's. */
static void add_nodes(const Fixture *f) {
        host_write(&f->host, "sys/class/misc/vfio/dev", "1:3\n");
        host_write(&f->host, "sys/class/misc/iommu/dev", "1:3\n");
        host_write(&f->host, "sys/class/vfio/12/dev", "1:3\n");
        host_write(&f->host, NODE "vfio-dev/vfio0/dev", "1:3\n");
        host_set_driver(&f->host, DEVICE, "vfio-pci");
}

static void test_nothing_to_lend(void **state) {
        Fixture *f = *state;

        assert_step(f, LEND("lend", ",\"value\":\"auto\""), ENOENT, "has no VFIO node");
        assert_step(f, LEND("lend", ",\"value\":\"container\""), ENOENT, "has no VFIO node");
        assert_step(f, LEND("lend", ",\"value\":\"noiommu\""), EINVAL, "no interface \"noiommu\"");
        assert_step(f, LEND("claim", ",\"value\":\"auto\""), EINVAL, "with one interface");
        assert_step(f, LEND("claim", ",\"value\":\"iommufd\""), ENOENT, "has no VFIO node");
        /* a kernel with VFIO's groups alone */
        host_set_driver(&f->host, DEVICE, "vfio-pci");
        host_write(&f->host, NODE "vfio-dev/vfio0/uevent", "");
        assert_step(f, LEND("lend", ",\"value\":\"iommufd\""), EOPNOTSUPP, "interface container");
        assert_step(f, LEND("lend", ",\"value\":\"auto\""), ENOENT, "has no VFIO node");
}

static void test_who_has_it_open(void **state) {
        Fixture *f = *state;

        add_nodes(f);
        host_add_holder(&f->host, "4711", "dpdk\n", "/dev/vfio/devices/vfio0");
        assert_step(f, LEND("lend", ",\"value\":\"iommufd\""), EBUSY, "dpdk (pid 4711)");
}

/* What the daemon keeps itself is no use of the device. */
static void test_waits_for_borrowers(void **state) {
        Fixture *f = *state;
        char own[64];

        add_nodes(f);
        (void)snprintf(own, sizeof(own), "proc/%d/fd/3", (int)getpid());
        host_link(&f->host, own, "/dev/vfio/12");
        assert_step(f, LEND("wait-closed", ",\"value\":\"lent\""), 0, NULL);
        host_add_holder(&f->host, "4711", "vmm\n", "/dev/vfio/12");
        put(f, LEND("wait-closed", ",\"value\":\"lent\""));
        for (json_object *o = take(f); o; o = (json_object_put(o), NULL)) {
                assert_string_equal(json_get_string(o, "event"), "waiting");
                assert_string_equal(json_get_string(o, "text"), "vmm (pid 4711)");
        }
        put(f, "{\"cancel\":1}");
}

static void test_nodes_that_are_none(void **state) {
        Fixture *f = *state;

        if (geteuid() != 0)
                skip();
        add_nodes(f);
        host_write(&f->host, "dev/iommu", "");
        assert_step(f, LEND("lend", ",\"value\":\"iommufd\""), EPERM, "is not the node that");
        host_remove(&f->host, "dev/iommu");
        if (mknod(host_path(&f->host, "dev/iommu"), S_IFCHR | 0600, makedev(1, 3)) < 0)
                skip();
        /* it opens, but is no iommufd */
        assert_step(f, LEND("lend", ""), ENOTTY, "count pinned memory");
        assert_int_equal(mknod(host_path(&f->host, "dev/vfio/devices/vfio0"), S_IFCHR | 0600,
                               makedev(1, 5)),
                         0);
        assert_step(f, LEND("claim", ",\"value\":\"iommufd\""), EPERM, "vfio0 is not the node that");
}

static void test_files_that_do_not_fit(void **state) {
        static const char *const packets[] = {
                LEND("reclaim", ",\"files\":[{\"role\":\"group\"},{\"role\":\"group\"}]"),
                LEND("reclaim", ",\"files\":[{\"role\":\"iommufd\"},{\"role\":\"container\"}]"),
                LEND("reclaim", ",\"files\":[{\"role\":\"container\"},{\"role\":\"cdev\",\"device\":"
                                "\"" DEVICE "\"}]"),
                LEND("reclaim", ",\"files\":[{\"role\":\"cdev\",\"device\":\"" DEVICE "\"},"
                                "{\"role\":\"cdev\",\"device\":\"" DEVICE "\"}]"),
                LEND("claim", ",\"files\":[{\"role\":\"group\"},{\"role\":\"group\"}]"),
        };
        static const char *const null_once[] = { "/dev/null", NULL };
        Fixture *f = *state;

        add_nodes(f);
        assert_step(f, LEND("reclaim", ""), EINVAL, "neither");
        for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++)
                assert_files(f, packets[i], null_twice, EINVAL, "neither");
        assert_files(f, LEND("claim", IOMMUFD), null_twice, EINVAL, "of the interface iommufd");
        assert_files(f, LEND("claim", CONTAINER ",\"value\":\"iommufd\""), null_twice, EINVAL,
                     "of the interface container");
        /* more or fewer descriptors than said */
        assert_files(f, LEND("reclaim", CONTAINER), null_once, EBADMSG, "do not fit");
        assert_step(f, LEND("reclaim", CONTAINER), EBADMSG, "do not fit");
        assert_files(f, LEND("reclaim", ",\"files\":[{\"role\":\"group\"}]"), null_twice, EBADMSG,
                     "do not fit");
        assert_files(f, LEND("reclaim", ",\"files\":[{\"role\":\"x\"},{\"role\":\"group\"}]"),
                     null_twice, EBADMSG, "do not fit");
}

/* /dev/null would answer ENOTTY to an ioctl, /dev/zero is never asked. */
static void test_files_that_are_something_else(void **state) {
        static const char *const wrong_first[] = { "/dev/zero", "/dev/null", NULL };
        static const char *const wrong_last[] = { "/dev/null", "/dev/zero", NULL };
        static const char *const no_device[] = { "/proc/self/mem", "/proc/self/mem", NULL };
        Fixture *f = *state;

        /* nothing of VFIO is there to compare with */
        assert_files(f, LEND("reclaim", CONTAINER), null_twice, ESTALE, "no node any more");
        assert_files(f, LEND("reclaim", IOMMUFD), null_twice, ESTALE, "no node any more");
        assert_files(f, LEND("claim", CONTAINER), null_twice, ESTALE, "no node any more");
        add_nodes(f);
        assert_files(f, LEND("reclaim", CONTAINER), null_twice, ENOTTY, NULL);
        assert_files(f, LEND("reclaim", CONTAINER), wrong_first, EPERM, "came as \"container\"");
        assert_files(f, LEND("reclaim", CONTAINER), no_device, EPERM, "came as \"container\"");
        assert_files(f, LEND("claim", CONTAINER), wrong_last, EPERM, "came as \"group\"");
        assert_files(f, LEND("reclaim", IOMMUFD), null_twice, ENOTTY, NULL);
        assert_files(f, LEND("reclaim", IOMMUFD), wrong_first, EPERM, "came as \"iommufd\"");
        assert_files(f, LEND("reclaim", IOMMUFD), wrong_last, EPERM, "came as \"cdev\"");
        assert_files(f,
                     LEND("reclaim", ",\"files\":[{\"role\":\"iommufd\"},{\"role\":\"cdev\","
                                     "\"device\":\"../" DEVICE "\"}]"),
                     null_twice, EINVAL, "no name of a PCI device");
        /* a device of another group, whatever its number is */
        host_write(&f->host, "sys/bus/pci/devices/0000:3b:00.1/vfio-dev/vfio1/dev", "1:3\n");
        host_set_group(&f->host, "0000:3b:00.1", "13", "DMA\n");
        assert_files(f,
                     LEND("reclaim", ",\"files\":[{\"role\":\"iommufd\"},{\"role\":\"cdev\","
                                     "\"device\":\"0000:3b:00.1\"}]"),
                     null_twice, ESTALE, "is in IOMMU group 13, not in 12");
        /* one that goes away is left alone, the others are not */
        host_remove(&f->host, NODE "vfio-dev/vfio0/dev");
        assert_files(f, LEND("reclaim", IOMMUFD), wrong_last, ENOTTY, NULL);
}

static size_t count_files(pid_t pid) {
        char path[64];
        DIR *folder;
        size_t n = 0;

        (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
        folder = opendir(path);
        assert_non_null(folder);
        while (readdir(folder))
                n++;
        assert_int_equal(closedir(folder), 0);
        return n;
}

static void test_no_file_stays_behind(void **state) {
        Fixture *f = *state;
        size_t before;

        add_nodes(f);
        assert_step(f, STEP("inspect", ""), 0, NULL);
        before = count_files(f->pid);
        for (int i = 0; i < 20; i++) {
                assert_files(f, LEND("reclaim", CONTAINER), null_twice, ENOTTY, NULL);
                assert_files(f, LEND("reclaim", ",\"files\":[]"), null_twice, EBADMSG, "fit");
                assert_files(f, LEND("explode", CONTAINER), null_twice, EINVAL, "explode");
                put_files(f, "{\"locks\":[]}", null_twice);
                (void)json_object_put(take(f));
        }
        /* the process of the last step may not have been waited for yet */
        for (int i = 0; count_files(f->pid) > before && i < TIMEOUT_MSEC / 10; i++)
                (void)usleep(10000);
        assert_true(count_files(f->pid) <= before);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_nothing_to_lend, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_waits_for_borrowers, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_who_has_it_open, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_nodes_that_are_none, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_files_that_do_not_fit, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_files_that_are_something_else, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_no_file_stays_behind, executor_setup,
                                                executor_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
