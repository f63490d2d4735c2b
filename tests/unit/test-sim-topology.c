/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading topologies: what is refused and with which words, what is shipped, how long it takes. */
#include "sim-fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define A "'name': '0000:00:01.0'"

static void test_sim_topology_refused(void **state) {
        static const struct {
                const char *topology, *message; /* after the file's name */
        } table[] = {
                { "", "line 1: the text ends too early" },
                { "{\n'devices': [\n{]}", "line 3: quoted object property name expected" },
                { "{'devices': []} x", "line 1: unexpected character" },
                { "[]", "expected an object {...}, found array" },
                { "{'devise': []}", "unknown key \"devise\"" },
                { "{'devices': {}}", "devices: expected array, found object" },
                { "{'devices': [1]}", "devices[0]: expected object, found int" },
                { "{'devices': [{}]}", "devices[0]: expected the device's \"name\"" },
                { "{'devices': [{'name': 'eth0'}]}",
                  "devices[0].name: expected an address like \"0000:3b:00.0\", found \"eth0\"" },
                { "{'devices': [{" A "}, {" A "}]}",
                  "devices[1].name: there is a device \"0000:00:01.0\" already" },
                { "{'devices': [{" A ", 'group': '12'}]}",
                  "devices[0].group: expected int, found string" },
                { "{'devices': [{" A ", 'group': -2}]}",
                  "devices[0].group: expected a number from -1 to 2147483647, found -2" },
                { "{'devices': [{" A ", 'vendor': '80867'}]}",
                  "devices[0].vendor: expected hexadecimal digits up to \"ffff\", found \"80867\"" },
                { "{'devices': [{" A ", 'vendor': '-1'}]}",
                  "devices[0].vendor: expected hexadecimal digits up to \"ffff\", found \"-1\"" },
                { "{'devices': [{" A ", 'driver': 1}]}",
                  "devices[0].driver: expected string, found int" },
                { "{'devices': [{" A ", 'driver': 'a\\u0000b'}]}",
                  "devices[0].driver: expected a string without \\u0000" },
                { "{'devices': [{" A ", 'driver': 'vfio-pci'}]}",
                  "devices[0].driver: vfio-pci does not bind a device without a group" },
                { "{'devices': [{" A ", 'vfio_driver': 'e1000'}]}",
                  "devices[0].vfio_driver: \"e1000\" is not the name of a VFIO driver" },
                { "{'devices': [{" A ", 'physfn': '0000:00:02.0'}]}",
                  "devices[0].physfn: there is no device \"0000:00:02.0\" before this one" },
                { "{'devices': [{" A ", 'reset': ['flr', 2]}]}",
                  "devices[0].reset[1]: expected string, found int" },
                { "{'devices': [{" A ", 'in_use': [{'code': 'x'}]}]}",
                  "devices[0].in_use[0]: expected a \"code\" and a \"text\"" },
                { "{'devices': [{" A ", 'colour': 'red'}]}", "devices[0]: unknown key \"colour\"" },
                { "{'iommu': false, 'devices': [{" A ", 'group': 1}]}",
                  "devices[0].group: there are no groups with \"iommu\": false" },
                { "{'kernel': 'new'}",
                  "kernel: expected a kernel version like \"6.12\", found \"new\"" },
                { "{'kernel': '6.12x'}",
                  "kernel: expected a kernel version like \"6.12\", found \"6.12x\"" },
                { "{'kernel': {'version': '6'}}",
                  "kernel.version: expected a kernel version like \"6.12\", found \"6\"" },
                { "{'kernel': {'strict_type': 1}}",
                  "kernel.strict_type: expected boolean, found int" },
                { "{'kernel': {'strict': true}}", "kernel: unknown key \"strict\"" },
                { "{'default_domain_type': 'blocked'}",
                  "default_domain_type: expected \"DMA\", \"DMA-FQ\" or \"identity\", found "
                  "\"blocked\"" },
                { "{'latency_us': {'bend': 1}}", "latency_us: unknown key \"bend\"" },
                { "{'latency_us': {'bind': -1}}",
                  "latency_us.bind: expected a number from 0 to 3600000000, found -1" },
                { "{'drivers': [{'name': 'a'}, {'name': 'a'}]}",
                  "drivers[1]: the driver \"a\" stands here twice" },
                { "{'drivers': [{'name': 'a', 'fails': 'EFOO'}]}",
                  "drivers[0].fails: expected the name of an errno like \"EBUSY\", found \"EFOO\"" },
                { "{'groups': [{'group': 3}]}",
                  "groups[0].group: expected the number of a group that a device is in" },
                { "{'devices': [{" A ", 'group': 3}], 'groups': [{'group': 3, 'claimed': true}]}",
                  "groups[0]: no device of the group is bound to a VFIO driver" },
                { "{'devices': [{" A ", 'group': 3}], 'open': [{'group': 3, 'pid': 1}]}",
                  "open[0]: group 3 could not be opened" },
                { "{'devices': [{" A ", 'group': 3}], 'groups': [{'group': 3, 'cdevs': "
                  "[{'device': '0000:00:01.0'}]}]}",
                  "groups[0].cdevs[0]: expected a \"device\" of the group that is bound to a VFIO "
                  "driver" },
                { "{'devices': [{" A ", 'group': 3, 'driver': 'vfio-pci'}], 'open': "
                  "[{'device': '0000:00:01.0', 'pid': 1, 'cdev': true}]}",
                  "open[0]: no such \"device\" is among the \"cdevs\" of its group" },
                { "{'faults': [{'op': 'bend', 'errno': 'EIO'}]}",
                  "faults[0].op: expected the name of a step like \"bind\"" },
                { "{'faults': [{'op': 'bind'}]}",
                  "faults[0]: expected what happens: \"errno\", \"hang\", \"crash\", \"kill\" or "
                  "\"delay_us\"" },
                { "{'faults': [{'op': 'bind', 'kill': 'never'}]}",
                  "faults[0].kill: expected \"before\", \"during\" or \"after\"" },
                { "{'faults': [{'op': 'bind', 'hang': true, 'nth': 0}]}",
                  "faults[0].nth: expected a number from 1 to 2147483647, found 0" },
                { "{'left_behind': [{'step': 'bend', 'group': 1}]}",
                  "left_behind[0]: there is no step \"bend\"" },
                { "{'persist': 'host.json'}",
                  "persist: expected an absolute path, found \"host.json\"" },
        };

        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
                _cleanup_free_ char *message = host_refused(table[i].topology);
                const char *what = strstr(message, ".json: ");

                assert_non_null(what);
                assert_string_equal(what + strlen(".json: "), table[i].message);
        }
}

static int read_file(const char *path, const KernelEvents *events, Kernel **ret, char **message) {
        return sim_kernel_new(NULL, path, events, ret, message);
}

static void test_sim_topology_no_file(void **state) {
        _cleanup_free_ char *message = NULL, *folder = NULL, *big = NULL;
        char path[] = "/tmp/test-sim-big-XXXXXX";
        const KernelEvents events = {};
        Kernel *k = NULL;
        int fd;

        assert_int_equal(read_file("/nonexistent", &events, &k, &message), -ENOENT);
        assert_string_equal(message, "/nonexistent: cannot read it: No such file or directory");
        assert_int_equal(read_file("/tmp", &events, &k, &folder), -EINVAL);
        assert_string_equal(folder, "/tmp: expected a regular file");
        fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (64 << 20) + 1), 0);
        assert_int_equal(read_file(path, &events, &k, &big), -EINVAL);
        assert_non_null(strstr(big, "too big: at most 64 MiB"));
        assert_null(k);
        assert_int_equal(unlink(path), 0);
        safe_close(fd);
}

static void test_sim_topology_defaults(void **state) {
        _cleanup_host_ Host h = {};

        host_new(&h, "{'devices': [{" A ", 'group': 3, 'driver': 'igb'},"
                     "{'name': '0000:00:02.0', 'class': '060400', 'vfio_driver': ''},"
                     "{'name': '0000:00:03.0', 'class': '060000'}]}");
        assert_device(&h, "0000:00:01.0", "matches", "[ \"igb\" ]");
        assert_device(&h, "0000:00:01.0", "vfio_driver", "vfio-pci");
        assert_device(&h, "0000:00:01.0", "numa", "-1");
        assert_device(&h, "0000:00:02.0", "group", "-1");
        assert_device(&h, "0000:00:02.0", "bridge", "true");
        assert_device(&h, "0000:00:02.0", "vfio_driver", "");
        assert_device(&h, "0000:00:03.0", "bridge", "false");
        assert_group(&h, 3, "type", "DMA-FQ");
}

/* What a kernel differs in follows from its version, unless it is said. */
static void test_sim_topology_kernel(void **state) {
        static const struct {
                const char *topology, *expected;
        } table[] = {
                { "{}",
                  "{'version':'6.12','strict_type':false,'override_locks':false,'iommufd':false}" },
                { "{'kernel': '6.6'}",
                  "{'version':'6.6','strict_type':false,'override_locks':true,'iommufd':false}" },
                { "{'kernel': {'version': '6.1'}}",
                  "{'version':'6.1','strict_type':true,'override_locks':true,'iommufd':false}" },
                { "{'kernel': {'version': '6.1', 'override_locks': false}}",
                  "{'version':'6.1','strict_type':true,'override_locks':false,'iommufd':false}" },
                { "{'kernel': {'strict_type': true}}",
                  "{'version':'6.12','strict_type':true,'override_locks':false,'iommufd':false}" },
                { "{'kernel': {'iommufd': true}}",
                  "{'version':'6.12','strict_type':false,'override_locks':false,'iommufd':true}" },
        };

        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
                _cleanup_free_ char *dump = NULL;
                _cleanup_host_ Host h = {};

                host_new(&h, table[i].topology);
                assert_int_equal(sim_kernel_dump(h.kernel, &dump), 0);
                for (char *c = dump; *c; c++)
                        if (*c == '"')
                                *c = '\'';
                assert_non_null(strstr(dump, table[i].expected));
        }
}

/* A driver that a device is bound to is loaded, and so is what is part of the kernel; VFIO's are
 * not otherwise. */
static void test_sim_topology_loaded_drivers(void **state) {
        static const struct {
                const char *topology;
                int error;
        } table[] = {
                { "{'devices': [{" A ", 'group': 3, 'driver_override': 'vfio-pci'}]}", ENOENT },
                { "{'devices': [{" A ", 'group': 3, 'driver_override': 'vfio-pci'},"
                  "{'name': '0000:00:02.0', 'group': 4, 'driver': 'vfio-pci'}]}",
                  0 },
                { "{'drivers': [{'name': 'vfio-pci', 'module': ''}],"
                  "'devices': [{" A ", 'group': 3, 'driver_override': 'vfio-pci'}]}",
                  0 },
        };

        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
                _cleanup_host_ Host h = {};

                host_new(&h, table[i].topology);
                assert_int_equal(step(&h, STEP_BIND, "0000:00:01.0", 3, "vfio-pci"), table[i].error);
        }
}

/* A dump is a topology: it reads back to the same host. */
static void test_sim_topology_round_trip(void **state) {
        _cleanup_free_ char *first = NULL, *second = NULL;
        _cleanup_host_ Host a = {}, b = {};

        host_new(&a,
                 "{'kernel': {'version': '6.1', 'iommufd': true}, 'latency_us': {'bind': 5, 'udev': 7},"
                 "'drivers': [{'name': 'x', 'fails': 'EIO', 'keeps_vfs': true},"
                 "{'name': 'part-of-the-kernel', 'module': ''}],"
                 "'devices': [{" A ", 'group': 3, 'driver': 'vfio-pci', 'matches': ['igb'],"
                 " 'vendor': '8086', 'device': '10d3', 'class': '020000', 'numa': 1,"
                 " 'vendor_name': 'Intel', 'model_name': 'NIC', 'driver_override': 'vfio-pci',"
                 " 'reset': ['flr'], 'remembered': ['igb'], 'in_use': [{'code': 'c', 'text': 't'}]}],"
                 "'groups': [{'group': 3, 'type': 'identity',"
                 " 'node': {'uid': 0, 'mode': '0600', 'granted': 64055},"
                 " 'node_former': {'uid': 5, 'mode': '0660'}, 'mapped': 4096,"
                 " 'cdevs': [{'device': '0000:00:01.0', 'bound': true}]}],"
                 "'open': [{'group': 3, 'pid': 1, 'comm': 'a', 'uid': 64055},"
                 "{'device': '0000:00:01.0', 'pid': 1, 'comm': 'a', 'uid': 64055, 'cdev': true}],"
                 "'faults': [{'op': 'bind', 'nth': 2, 'errno': 'EBUSY', 'kill': 'after', 'delay_us': 9}],"
                 "'left_behind': [{'step': 'unbind', 'device': '0000:00:01.0', 'group': 3,"
                 " 'value': 'vfio-pci', 'hang': true}]}");
        assert_int_equal(sim_kernel_dump(a.kernel, &first), 0);
        host_new(&b, first);
        assert_int_equal(sim_kernel_dump(b.kernel, &second), 0);
        assert_string_equal(first, second);
        assert_non_null(strstr(first, "\"remembered\":[\"igb\"]"));
        assert_non_null(strstr(first, "\"keeps_vfs\":true"));
        assert_non_null(strstr(first, "{\"name\":\"part-of-the-kernel\",\"module\":\"\""));
        assert_non_null(strstr(first, "\"kill\":\"after\""));
        assert_non_null(strstr(first, "64055"));
        assert_non_null(strstr(first, "\"mapped\":4096"));
        assert_non_null(strstr(first, "\"bound\":true"));
        assert_non_null(strstr(first, "\"cdev\":true"));
        assert_non_null(strstr(first, "\"left_behind\":[{\"step\":\"unbind\""));
}

static void count_seen(const DeviceFacts *facts, void *userdata) {
        (*(unsigned *)userdata)++;
}

static void ignore_ready(bool ready, void *userdata) {
}

/* Reads a shipped topology, starts it, and how long that took. */
static uint64_t load(const char *path, unsigned *ret_devices) {
        const KernelEvents events = { .device_seen = count_seen,
                                      .ready = ignore_ready,
                                      .userdata = ret_devices };
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        struct timespec a, b;
        char *message = NULL;
        Kernel *k;

        *ret_devices = 0;
        assert_int_equal(sd_event_new(&event), 0);
        assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &a), 0);
        if (sim_kernel_new(event, path, &events, &k, &message) < 0)
                fail_msg("%s", message);
        assert_int_equal(k->ops->start(k), 0);
        assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &b), 0);
        kernel_free(k);
        return (uint64_t)(b.tv_sec - a.tv_sec) * 1000000 + (uint64_t)(b.tv_nsec / 1000) -
               (uint64_t)(a.tv_nsec / 1000);
}

static void test_sim_topology_shipped(void **state) {
        static const struct {
                const char *name;
                unsigned devices;
        } table[] = { { "laptop", 14 }, { "server", 39 }, { "vm", 96 } };
        const char *folder = getenv("TOPOLOGIES");

        assert_non_null(folder);
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
                _cleanup_free_ char *path = str_format("%s/%s.json", folder, table[i].name);
                unsigned n;

                (void)load(path, &n);
                assert_int_equal(n, table[i].devices);
        }
}

static void test_sim_topology_big(void **state) {
        const char *folder = getenv("TOPOLOGIES");
        char path[] = "/tmp/test-sim-16384-XXXXXX";
        _cleanup_free_ char *command = NULL;
        uint64_t usec;
        unsigned n;

        assert_non_null(folder);
        safe_close(mkstemp(path));
        command = str_format("%s/generate 16384 >%s", folder, path);
        assert_int_equal(system(command), 0);
        usec = load(path, &n);
        assert_int_equal(n, 16384);
        print_message("# 16384 groups in %llu us\n", (unsigned long long)usec);
        assert_true(usec < 30000000); /* far below a second; valgrind takes 5 s */
        assert_int_equal(unlink(path), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sim_topology_refused),
                cmocka_unit_test(test_sim_topology_no_file),
                cmocka_unit_test(test_sim_topology_defaults),
                cmocka_unit_test(test_sim_topology_kernel),
                cmocka_unit_test(test_sim_topology_loaded_drivers),
                cmocka_unit_test(test_sim_topology_round_trip),
                cmocka_unit_test(test_sim_topology_shipped),
                cmocka_unit_test(test_sim_topology_big),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
