/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that the daemon opens, lends and takes back, on both interfaces of VFIO. */
#include "sim-fixture.h"

#include <sys/stat.h>

#define NIC  "0000:00:03.0"
#define A    "0000:03:01.0"
#define B    "0000:03:02.0"
#define HOST "0000:00:1f.0"

#define DEVICES                                                                        \
        "'devices': ["                                                                 \
        "{'name': '" NIC "', 'group': 1, 'driver': 'vfio-pci', 'matches': ['e1000e']," \
        " 'reset': ['flr']},"                                                          \
        "{'name': '" A "', 'group': 4, 'driver': 'vfio-pci'},"                         \
        "{'name': '" B "', 'group': 4, 'driver': 'vfio-pci', 'matches': ['e1000']},"   \
        "{'name': '" HOST "', 'group': 7, 'driver': 'ahci'}]"
#define IOMMUFD "'kernel': {'version': '6.12', 'iommufd': true}"
#define OLD     "{'default_domain_type': 'DMA', " DEVICES "}"
#define NEW     "{'default_domain_type': 'DMA', " IOMMUFD ", " DEVICES "}"
#define MEMORY  "{'persist': '$DIR/host.json', " IOMMUFD ", " DEVICES "}"
#define LENT(pid) \
        "{'event': 'open', 'device': '" NIC "', 'lent': true, 'pid': " pid ", 'comm': 'vmm'}"

static VfioFiles take(Host *h) {
        return TAKE_VFIO_FILES(h->result.files);
}

static VfioFiles lend(Host *h, unsigned group, const char *interface) {
        if (step(h, STEP_LEND, NULL, group, interface) != 0)
                fail_msg("%s", h->result.text);
        return take(h);
}

static void refused(Host *h, const char *json, int error, const char *text) {
        _cleanup_free_ char *message = NULL;

        assert_int_equal(event_error(h, json, &message), error);
        assert_non_null(strstr(message, text));
}

static void test_sim_lend_interface(void **state) {
        static const struct {
                const char *topology, *asked, *got;
                int error;
                const char *text;
        } table[] = {
                { OLD, "auto", "container", 0, NULL },
                { OLD, "container", "container", 0, NULL },
                { OLD, "iommufd", NULL, EOPNOTSUPP, "ask for the interface container" },
                { NEW, "auto", "iommufd", 0, NULL },
                { NEW, "iommufd", "iommufd", 0, NULL },
                { NEW, "container", "container", 0, NULL },
                { NEW, "node", NULL, EINVAL, NULL },
                { NEW, NULL, "iommufd", 0, NULL },
        };

        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
                _cleanup_vfio_files_ VfioFiles files = VFIO_FILES_NULL;
                _cleanup_host_ Host h = {};

                host_new(&h, table[i].topology);
                if (step(&h, STEP_LEND, NULL, 4, table[i].asked) != table[i].error)
                        fail_msg("row %zu: %s", i, h.result.text);
                files = take(&h);
                assert_int_equal(files.n, table[i].error                    ? 0
                                          : str_eq(table[i].got, "iommufd") ? 3
                                                                            : 2);
                if (table[i].got)
                        assert_string_equal(h.result.value, table[i].got);
                if (table[i].text)
                        assert_non_null(strstr(h.result.text, table[i].text));
        }
}

static void test_sim_lend_refused(void **state) {
        _cleanup_vfio_files_ VfioFiles files = VFIO_FILES_NULL;
        _cleanup_host_ Host h = {};

        host_new(&h, NEW);
        assert_int_equal(step(&h, STEP_LEND, NULL, 7, "auto"), ENOENT);
        assert_int_equal(step(&h, STEP_LEND, NULL, 99, "auto"), ENOENT);
        event(&h, "{'event': 'unbind', 'device': '" B "'}");
        event(&h, "{'event': 'bind', 'device': '" B "', 'driver': 'e1000'}");
        assert_int_equal(step(&h, STEP_LEND, NULL, 4, "container"), EPERM);
        assert_non_null(strstr(h.result.text, B " is bound to e1000"));
        event(&h, "{'event': 'open', 'group': 1, 'pid': 7, 'comm': 'dpdk'}");
        assert_int_equal(step(&h, STEP_LEND, NULL, 1, "auto"), EBUSY);
        assert_non_null(strstr(h.result.text, "dpdk (pid 7)"));
        event(&h, "{'event': 'close', 'pid': 7}");
        inject(&h, "{'op': 'lend', 'errno': 'ENOMEM', 'nth': 1}");
        assert_int_equal(step(&h, STEP_LEND, NULL, 1, "auto"), ENOMEM);
        files = lend(&h, 1, "auto");
}

/* Claimed from the start; what the requester mapped outlives him until it is taken back. */
static void test_sim_lend_container(void **state) {
        _cleanup_vfio_files_ VfioFiles files = VFIO_FILES_NULL, fresh = VFIO_FILES_NULL;
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {};

        host_new(&h, NEW);
        files = lend(&h, 1, "container");
        assert_group(&h, 1, "claimed", "true");
        assert_group(&h, 1, "owner_count", "1");
        event(&h, LENT("4711"));
        event(&h, "{'event': 'map', 'pid': 4711, 'bytes': 4096}");
        event(&h, "{'event': 'map', 'pid': 4711, 'group': 1, 'bytes': 4096}");
        assert_group(&h, 1, "mapped", "8192");
        /* with a device open, the group stays in its container */
        run_begin_files(&h, &r, &(Step){ .kind = STEP_CLAIM, .group = 1 }, &files, 0);
        host_settle(&h);
        assert_int_equal(r.done, 0);
        assert_non_null(strstr(h.heard, "waiting vmm (pid 4711)"));
        h.kernel->ops->cancel(r.op);
        event(&h, "{'event': 'close', 'pid': 4711}");
        assert_group(&h, 1, "mapped", "8192");
        refused(&h, "{'event': 'map', 'pid': 4711, 'bytes': 1}", -EBADF, "process 4711");
        assert_int_equal(step_files(&h, STEP_RECLAIM, 1, NULL, &files), 0);
        assert_group(&h, 1, "mapped", "");
        /* into a fresh container, without the group file ever having been closed */
        assert_int_equal(step_files(&h, STEP_CLAIM, 1, "container", &files), 0);
        fresh = take(&h);
        assert_int_equal(fresh.n, 2);
        assert_true(vfio_files_get(&fresh, FILE_CONTAINER, NULL) >= 0);
        vfio_files_clear(&files);
        host_settle(&h);
        assert_group(&h, 1, "claimed", "true");
        assert_int_equal(step_files(&h, STEP_CLAIM, 1, NULL, &fresh), 0);
        step_result_clear(&h.result);
        vfio_files_clear(&fresh);
        host_settle(&h);
        assert_group(&h, 1, "owner_count", "0");
}

/* Duplicates that nobody finds keep a device open. */
static void test_sim_lend_container_hidden(void **state) {
        _cleanup_vfio_files_ VfioFiles files = VFIO_FILES_NULL;
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {};

        host_new(&h, OLD);
        files = lend(&h, 1, "container");
        event(&h, "{'event': 'open', 'device': '" NIC "', 'lent': true, 'pid': 8, 'hidden': true}");
        run_begin_files(&h, &r, &(Step){ .kind = STEP_CLAIM, .group = 1 }, &files, 0);
        host_settle(&h);
        assert_int_equal(r.done, 0);
        event(&h, "{'event': 'close', 'pid': 8}");
        run_finish(&r);
        assert_int_equal(r.result.error, 0);
}

static void test_sim_kept_files_are_checked(void **state) {
        _cleanup_vfio_files_ VfioFiles one = VFIO_FILES_NULL, four = VFIO_FILES_NULL,
                                       container = VFIO_FILES_NULL;
        _cleanup_host_ Host h = {};

        host_new(&h, NEW);
        one = lend(&h, 1, "container");
        four = lend(&h, 4, "iommufd");
        assert_int_equal(step_files(&h, STEP_RECLAIM, 1, NULL, &four), EPERM);
        assert_int_equal(step_files(&h, STEP_RECLAIM, 4, NULL, &one), EPERM);
        assert_int_equal(step_files(&h, STEP_RECLAIM, 1, NULL, NULL), EINVAL);
        assert_int_equal(step_files(&h, STEP_CLAIM, 1, "iommufd", &one), EINVAL);
        assert_int_equal(step_files(&h, STEP_CLAIM, 1, "auto", &one), EINVAL);
        assert_int_equal(step_files(&h, STEP_RECLAIM, 4, NULL, &four), 0);
        vfio_files_clear(&four);
        host_settle(&h);
        container = lend(&h, 4, "container");
        assert_int_equal(step_files(&h, STEP_CLAIM, 4, NULL, &one), EPERM);
        /* a device that was taken away takes all with it */
        event(&h, "{'event': 'unplug', 'device': '" NIC "'}");
        assert_int_equal(step_files(&h, STEP_RECLAIM, 1, NULL, &one), ENOENT);
        event(&h, "{'event': 'unbind', 'device': '" A "'}");
        event(&h, "{'event': 'unbind', 'device': '" B "'}");
        assert_int_equal(step_files(&h, STEP_RECLAIM, 4, NULL, &container), 0);
        assert_int_equal(step_files(&h, STEP_CLAIM, 4, NULL, &container), ESTALE);
}

/* Claimed once the requester binds, by any file of it that is left. */
static void test_sim_lend_iommufd(void **state) {
        _cleanup_vfio_files_ VfioFiles files = VFIO_FILES_NULL, quarantine = VFIO_FILES_NULL;
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {};

        host_new(&h, NEW);
        files = lend(&h, 1, "auto");
        assert_group(&h, 1, "owner_count", "0");
        assert_group(&h, 1, "cdevs", "[ { \"device\": \"" NIC "\" } ]");
        event(&h, LENT("4711"));
        assert_group(&h, 1, "owner_count", "1");
        event(&h, LENT("4712")); /* a duplicate that he passed on */
        event(&h, "{'event': 'map', 'pid': 4712, 'bytes': 4096}");
        event(&h, "{'event': 'close', 'pid': 4711}");
        event(&h, "{'event': 'close', 'pid': 4712}");
        assert_group(&h, 1, "owner_count", "1");
        assert_group(&h, 1, "mapped", "4096");
        refused(&h, LENT("4713"), -EINVAL, "was bound to an iommufd before");
        assert_int_equal(step_files(&h, STEP_RECLAIM, 1, NULL, &files), 0);
        assert_group(&h, 1, "mapped", "");
        assert_group(&h, 1, "owner_count", "1");
        /* bound anew, to a file that the requester never had; not while one is left of those */
        run_begin(&h, &r, &(Step){ .kind = STEP_CLAIM, .group = 1, .value = (char *)"iommufd" }, 0);
        host_settle(&h);
        assert_int_equal(r.done, 0);
        assert_non_null(strstr(h.heard, "waiting whoever has files that were lent"));
        vfio_files_clear(&files);
        run_finish(&r);
        assert_int_equal(r.result.error, 0);
        quarantine = TAKE_VFIO_FILES(r.result.files);
        assert_int_equal(quarantine.n, 2);
        assert_true(vfio_files_have_device(&quarantine));
        assert_group(&h, 1, "owner_count", "1");
        refused(&h, LENT("4713"), -EINVAL, "was bound to an iommufd before");
        refused(&h, "{'event': 'open', 'group': 1, 'pid': 9}", -EBUSY, "is open by");
        vfio_files_clear(&quarantine);
        host_settle(&h);
        assert_group(&h, 1, "owner_count", "0");
}

/* Copies that come with the step are closed by it. */
static void test_sim_claim_closes_files(void **state) {
        _cleanup_vfio_files_ VfioFiles files = VFIO_FILES_NULL;
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {};

        host_new(&h, NEW);
        files = lend(&h, 4, "iommufd");
        event(&h, "{'event': 'open', 'device': '" A "', 'lent': true, 'pid': 5, 'comm': 'vmm'}");
        run_begin_files(&h, &r,
                        &(Step){ .kind = STEP_CLAIM, .group = 4, .value = (char *)"iommufd" },
                        &files, 0);
        vfio_files_clear(&files);
        host_settle(&h);
        assert_int_equal(r.done, 0);
        assert_non_null(strstr(h.heard, "waiting vmm (pid 5)"));
        event(&h, "{'event': 'close', 'pid': 5}");
        run_finish(&r);
        assert_int_equal(r.result.error, 0);
        assert_int_equal(r.result.files.n, 3);
}

static void test_sim_bind_of_lent_file(void **state) {
        _cleanup_vfio_files_ VfioFiles files = VFIO_FILES_NULL;
        _cleanup_host_ Host h = {};

        host_new(&h, NEW);
        refused(&h, LENT("1"), -EBADF, "no files of group 1 were opened to be lent");
        files = lend(&h, 4, "iommufd");
        /* the daemon keeps nobody out before that */
        event(&h, "{'event': 'open', 'group': 4, 'pid': 7, 'comm': 'dpdk'}");
        refused(&h, "{'event': 'open', 'device': '" A "', 'lent': true, 'pid': 1}", -EBUSY,
                "dpdk (pid 7)");
        event(&h, "{'event': 'close', 'pid': 7}");
        /* a duplicate that lies in a socket claims nothing, but the device is open */
        event(&h, "{'event': 'open', 'device': '" B "', 'lent': true, 'pid': 2, 'hidden': true}");
        assert_group(&h, 4, "owner_count", "0");
        refused(&h, "{'event': 'map', 'pid': 2, 'bytes': 1}", -EBADF, "process 2");
        vfio_files_clear(&files);
        host_settle(&h);
        assert_group(&h, 4, "cdevs", "[ { \"device\": \"" B "\" } ]");
        event(&h, "{'event': 'unbind', 'device': '" B "'}");
        assert_device(&h, B, "driver", "vfio-pci");
        event(&h, "{'event': 'close', 'pid': 2}");
        assert_device(&h, B, "driver", "");
        /* who comes first, wins */
        files = lend(&h, 4, "iommufd");
        event(&h, "{'event': 'bind', 'device': '" B "', 'driver': 'e1000'}");
        refused(&h, "{'event': 'open', 'device': '" A "', 'lent': true, 'pid': 1}", -EPERM,
                B " is bound to e1000");
}

/* Any file of a device keeps its unbind waiting, ours as well; a group's does not. */
static void test_sim_unbind_of_lent(void **state) {
        const Step unbind = {
                .kind = STEP_UNBIND, .device = (char *)NIC, .group = 1, .value = (char *)"vfio-pci"
        };
        _cleanup_vfio_files_ VfioFiles files = VFIO_FILES_NULL;
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {};

        host_new(&h, NEW);
        files = lend(&h, 1, "iommufd");
        run_begin(&h, &r, &unbind, 0);
        host_settle(&h);
        assert_int_equal(r.done, 0);
        assert_int_equal(h.kernel->ops->group_is_locked(h.kernel, 1), 1);
        refused(&h, LENT("1"), -EBUSY, "is open already");
        vfio_files_clear(&files);
        run_finish(&r);
        assert_int_equal(r.result.error, 0);

        assert_int_equal(step(&h, STEP_SET_OVERRIDE, NIC, 1, "vfio-pci"), 0);
        assert_int_equal(step(&h, STEP_BIND, NIC, 1, "vfio-pci"), 0);
        files = lend(&h, 1, "container");
        assert_int_equal(step(&h, STEP_UNBIND, NIC, 1, "vfio-pci"), 0);
        assert_group(&h, 1, "owner_count", "0");
}

/* No driver of the kernel gets in, no type is written, while a lent file is bound. */
static void test_sim_bound_keeps_kernel_out(void **state) {
        _cleanup_vfio_files_ VfioFiles files = VFIO_FILES_NULL;
        _cleanup_host_ Host h = {};

        host_new(&h, NEW);
        event(&h, "{'event': 'unbind', 'device': '" B "'}");
        files = lend(&h, 4, "iommufd");
        assert_int_equal(files.n, 2);
        assert_int_equal(step(&h, STEP_SET_TYPE, NULL, 4, "identity"), 0);
        event(&h, "{'event': 'open', 'device': '" A "', 'lent': true, 'pid': 5}");
        assert_int_equal(step(&h, STEP_SET_TYPE, NULL, 4, "DMA"), EPERM);
        refused(&h, "{'event': 'bind', 'device': '" B "', 'driver': 'e1000'}", -EBUSY, "bind " B);
        event(&h, "{'event': 'close', 'pid': 5}");
        refused(&h, "{'event': 'bind', 'device': '" B "', 'driver': 'e1000'}", -EBUSY, "bind " B);
        vfio_files_clear(&files);
        host_settle(&h);
        event(&h, "{'event': 'bind', 'device': '" B "', 'driver': 'e1000'}");
}

/* Over a restart of the daemon, files live as long as any duplicate of them. */
static void test_sim_lent_files_survive(void **state) {
        _cleanup_vfio_files_ VfioFiles files = VFIO_FILES_NULL;
        _cleanup_host_ Host h = {};

        host_new(&h, MEMORY);
        files = lend(&h, 1, "iommufd");
        event(&h, LENT("4711"));
        event(&h, "{'event': 'map', 'pid': 4711, 'bytes': 4096}");
        event(&h, "{'event': 'close', 'pid': 4711}");
        host_restart(&h);
        assert_group(&h, 1, "cdevs", "[ { \"device\": \"" NIC "\", \"bound\": true } ]");
        assert_group(&h, 1, "mapped", "4096");
        assert_int_equal(step_files(&h, STEP_RECLAIM, 1, NULL, &files), 0);
        assert_group(&h, 1, "mapped", "");
        vfio_files_clear(&files);
        host_settle(&h);
        assert_group(&h, 1, "cdevs", "");
        assert_group(&h, 1, "owner_count", "0");

        /* they died with the daemon */
        files = lend(&h, 4, "iommufd");
        h.kernel = kernel_free(h.kernel);
        vfio_files_clear(&files);
        host_restart(&h);
        assert_group(&h, 4, "cdevs", "");
        files = lend(&h, 4, "container");
        host_restart(&h);
        assert_group(&h, 4, "claimed", "true");
        assert_int_equal(step_files(&h, STEP_CLAIM, 4, NULL, &files), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sim_lend_interface),
                cmocka_unit_test(test_sim_lend_refused),
                cmocka_unit_test(test_sim_lend_container),
                cmocka_unit_test(test_sim_lend_container_hidden),
                cmocka_unit_test(test_sim_kept_files_are_checked),
                cmocka_unit_test(test_sim_lend_iommufd),
                cmocka_unit_test(test_sim_claim_closes_files),
                cmocka_unit_test(test_sim_bind_of_lent_file),
                cmocka_unit_test(test_sim_unbind_of_lent),
                cmocka_unit_test(test_sim_bound_keeps_kernel_out),
                cmocka_unit_test(test_sim_lent_files_survive),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
