/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How operations run on the simulated host: latency, deadlines, locks, faults, who waits for whom,
 * what others do, and what is remembered over a restart. */
#include "sim-fixture.h"

#include <time.h>

#define NIC  "0000:00:03.0"
#define NIC2 "0000:01:00.0"
#define VF   "0000:01:00.1"
#define NIC3 "0000:04:00.0"

#define DEVICES                                                                        \
        "'devices': ["                                                                 \
        "{'name': '" NIC "', 'group': 1, 'driver': 'vfio-pci', 'matches': ['e1000e']," \
        " 'reset': ['flr']},"                                                          \
        "{'name': '" NIC2 "', 'group': 2, 'driver': 'igb'},"                           \
        "{'name': '" VF "', 'group': 3, 'driver': 'vfio-pci', 'matches': ['igbvf'],"   \
        " 'physfn': '" NIC2 "'},"                                                      \
        "{'name': '" NIC3 "', 'group': 4, 'driver': 'igb'}]"
#define HOST    "{" DEVICES "}"
#define MEMORY  "{'persist': '$DIR/host.json', " DEVICES "}"
#define TESTPMD "{'event': 'open', 'device': '" NIC "', 'pid': 4711, 'comm': 'dpdk-testpmd'}"

/* a file that no scan of /proc finds */
#define HIDDEN "{'event': 'open', 'device': '" NIC "', 'pid': 4711, 'hidden': true}"

static const Step unbind = {
        .kind = STEP_UNBIND, .device = (char *)NIC, .group = 1, .value = (char *)"vfio-pci"
};
static const Step wait_closed = { .kind = STEP_WAIT_CLOSED, .group = 1 };
static const Step claim = { .kind = STEP_CLAIM, .group = 1 };

static bool is_locked(Host *h, unsigned group) {
        return h->kernel->ops->group_is_locked(h->kernel, group) > 0;
}

static void test_sim_starts_with_all_devices(void **state) {
        _cleanup_host_ Host h = {};

        host_new(&h, HOST);
        assert_string_equal(h.heard, "seen " NIC " driver=vfio-pci; seen " NIC2 " driver=igb; "
                                     "seen " VF " driver=vfio-pci; seen " NIC3 " driver=igb; ");
        host_settle(&h);
        assert_non_null(strstr(h.heard, "ready yes; "));
}

static void test_sim_tells_before_done(void **state) {
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {};

        host_new(&h, HOST);
        host_settle(&h);
        free(TAKE_PTR(h.heard));
        run_begin(&h, &r, &unbind, 0);
        assert_null(h.heard);
        run_finish(&r);
        assert_string_equal(h.heard, "seen " NIC " driver=; ");
}

static void test_sim_latency(void **state) {
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {};
        struct timespec a, b;

        host_new(&h, "{'latency_us': {'unbind': 30000}, " DEVICES "}");
        run_begin(&h, &r, &unbind, 0);
        clock_gettime(CLOCK_MONOTONIC, &a);
        host_settle(&h);
        assert_true(is_locked(&h, 1));
        assert_device(&h, NIC, "driver", "vfio-pci");
        /* another step of the group does not wait for the lock, one of another group goes on */
        assert_int_equal(step(&h, STEP_RESET, NIC, 1, "auto"), EWOULDBLOCK);
        assert_int_equal(step(&h, STEP_UNBIND, NIC3, 4, "igb"), 0);
        run_finish(&r);
        clock_gettime(CLOCK_MONOTONIC, &b);
        assert_true((b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000 >= 29000);
        assert_false(is_locked(&h, 1));
}

static void test_sim_unbind_refused_while_open(void **state) {
        _cleanup_host_ Host h = {};

        host_new(&h, HOST);
        event(&h, TESTPMD);
        assert_int_equal(step(&h, STEP_INSPECT, NIC, 1, NULL), 0);
        assert_string_equal(h.result.obstacles.items[0].code, "vfio-open");
        assert_int_equal(step(&h, STEP_UNBIND, NIC, 1, "vfio-pci"), EBUSY);
        assert_non_null(strstr(h.result.text, "dpdk-testpmd (pid 4711)"));
        assert_false(is_locked(&h, 1));
}

static void test_sim_unbind_hangs_while_open(void **state) {
        _cleanup_free_ char *message = NULL;
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {};

        host_new(&h, HOST);
        event(&h, HIDDEN);
        run_begin(&h, &r, &unbind, 0);
        host_settle(&h);
        assert_int_equal(r.done, 0);
        assert_true(is_locked(&h, 1));
        assert_int_equal(step(&h, STEP_RESET, NIC, 1, "auto"), EWOULDBLOCK);
        /* somebody else would be stuck behind it, and nobody can open it any more */
        assert_int_equal(event_error(&h, "{'event': 'unbind', 'device': '" NIC "'}", &message),
                         -EBUSY);
        event(&h, "{'event': 'close', 'device': '" NIC "'}");
        run_finish(&r);
        assert_int_equal(r.result.error, 0);
        assert_device(&h, NIC, "driver", "");
        assert_false(is_locked(&h, 1));
}

/* The kernel lets a group's file be, and ends the group with its last VFIO device. */
static void test_sim_group_file_does_not_block_unbind(void **state) {
        _cleanup_host_ Host h = {};

        host_new(&h, HOST);
        event(&h, "{'event': 'open', 'group': 1, 'pid': 1, 'hidden': true}");
        assert_group(&h, 1, "owner_count", "1");
        assert_int_equal(step(&h, STEP_UNBIND, NIC, 1, "vfio-pci"), 0);
        assert_group(&h, 1, "owner_count", "0");
}

/* A step past its deadline answers, keeps the lock, and still takes effect in the end. */
static void test_sim_deadline_of_hung_step(void **state) {
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {}, w = {};

        host_new(&h, HOST);
        event(&h, HIDDEN);
        run_begin(&h, &r, &unbind, 20000);
        run_finish(&r);
        assert_int_equal(r.result.error, ETIMEDOUT);
        assert_string_equal(r.result.text, "the kernel has not come back within 0.02s");
        assert_true(is_locked(&h, 1));
        assert_device(&h, NIC, "driver", "vfio-pci");
        event(&h, "{'event': 'close', 'pid': 4711}");
        assert_false(is_locked(&h, 1));
        assert_device(&h, NIC, "driver", "");
        assert_int_equal(r.done, 1);

        event(&h, "{'event': 'open', 'device': '" VF "', 'pid': 9, 'comm': 'vmm'}");
        run_begin(&h, &w, &(Step){ .kind = STEP_CLAIM, .group = 3 }, 20000);
        run_finish(&w);
        assert_int_equal(w.result.error, ETIMEDOUT);
        assert_string_equal(w.result.text, "after 0.02s it still waits for vmm (pid 9)");
        assert_false(is_locked(&h, 3));
}

static void test_sim_cancel(void **state) {
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run early = {}, hung = {}, waiting = {};

        host_new(&h, HOST);
        run_begin(&h, &early, &unbind, 1000);
        h.kernel->ops->cancel(early.op);
        host_settle(&h);
        assert_int_equal(early.done, 0);
        assert_device(&h, NIC, "driver", "vfio-pci"); /* not begun: not done */

        event(&h, HIDDEN);
        run_begin(&h, &waiting, &claim, 0);
        host_settle(&h);
        assert_true(is_locked(&h, 1));
        h.kernel->ops->cancel(waiting.op);
        assert_false(is_locked(&h, 1)); /* waits in user space: dies */

        run_begin(&h, &hung, &unbind, 0);
        host_settle(&h);
        h.kernel->ops->cancel(hung.op);
        assert_true(is_locked(&h, 1)); /* cannot die */
        event(&h, "{'event': 'close', 'pid': 4711}");
        assert_device(&h, NIC, "driver", "");
        assert_group(&h, 1, "claimed", "");
        assert_int_equal(hung.done + waiting.done, 0);
}

static void test_sim_cancel_in_latency(void **state) {
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {};

        host_new(&h, "{'latency_us': {'unbind': 20000}, " DEVICES "}");
        run_begin(&h, &r, &unbind, 0);
        host_settle(&h);
        h.kernel->ops->cancel(r.op);
        assert_true(is_locked(&h, 1));
        for (int i = 0; i < 100 && is_locked(&h, 1); i++)
                assert_true(sd_event_run(h.event, 100000) >= 0);
        assert_device(&h, NIC, "driver", "");
        assert_int_equal(r.done, 0);
}

static void test_sim_wait_closed_and_claim(void **state) {
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {}, c = {}, w = {};

        host_new(&h, HOST);
        assert_int_equal(step(&h, STEP_WAIT_CLOSED, NULL, 1, NULL), 0);
        event(&h, "{'event': 'open', 'group': 1, 'pid': 4711, 'comm': 'dpdk-testpmd'}");
        event(&h, TESTPMD);
        run_begin(&h, &r, &wait_closed, 0);
        host_settle(&h);
        assert_int_equal(r.done, 0);
        assert_non_null(strstr(h.heard, "waiting dpdk-testpmd (pid 4711); "));
        free(TAKE_PTR(h.heard));
        event(&h, "{'event': 'close', 'device': '" NIC "'}");
        assert_null(h.heard); /* the same one: not told again */
        assert_int_equal(r.done, 0);
        event(&h, "{'event': 'close', 'pid': 4711}");
        run_finish(&r);
        assert_group(&h, 1, "owner_count", "0");

        run_begin(&h, &c, &claim, 0);
        run_finish(&c);
        assert_int_equal(c.result.error, 0);
        assert_group(&h, 1, "owner_count", "1");
        /* our own descriptors keep it open, and those that use them by loan */
        run_begin(&h, &w, &wait_closed, 0);
        event(&h, "{'event': 'open', 'device': '" NIC "', 'pid': 9, 'comm': 'vmm', 'lent': true}");
        step_result_clear(&c.result);
        host_settle(&h);
        assert_int_equal(w.done, 0);
        assert_group(&h, 1, "owner_count", "1");
        assert_non_null(strstr(h.heard, "waiting vmm (pid 9); "));
        event(&h, "{'event': 'close', 'pid': 9}");
        run_finish(&w);
}

static void test_sim_faults(void **state) {
        _cleanup_free_ char *ops = NULL;
        _cleanup_host_ Host h = {};

        host_new(&h, "{'faults': [{'op': 'reset', 'nth': 2, 'errno': 'EIO'}], " DEVICES "}");
        assert_int_equal(step(&h, STEP_RESET, NIC, 1, "auto"), 0);
        assert_int_equal(step(&h, STEP_RESET, NIC, 1, "auto"), EIO);
        assert_int_equal(step(&h, STEP_RESET, NIC, 1, "auto"), 0);

        inject(&h, "{'op': 'unbind', 'device': '" NIC3 "', 'crash': true}");
        assert_int_equal(step(&h, STEP_UNBIND, NIC3, 4, "igb"), EIO); /* and is still bound: */
        assert_int_equal(step(&h, STEP_UNBIND, NIC, 1, "vfio-pci"), 0);
        sim_kernel_clear(h.kernel);
        assert_int_equal(step(&h, STEP_UNBIND, NIC3, 4, "igb"), 0);

        /* a device's fault hits the steps of its group */
        inject(&h, "{'op': 'set-type', 'device': '" NIC "', 'errno': 'ENOMEM'}");
        assert_int_equal(step(&h, STEP_SET_TYPE, NULL, 4, "identity"), 0);
        assert_int_equal(step(&h, STEP_SET_TYPE, NULL, 1, "identity"), ENOMEM);

        ops = host_operations(&h);
        assert_string_equal(ops, "reset " NIC " ; reset " NIC " EIO; reset " NIC " ; "
                                 "unbind " NIC3 " EIO; unbind " NIC " ; unbind " NIC3 " ; "
                                 "set-type 4 ; set-type 1 ENOMEM; ");
        free(TAKE_PTR(ops));
        ops = host_operations(&h);
        assert_string_equal(ops, "");
}

static void test_sim_fault_hang_and_delay(void **state) {
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {}, slow = {};

        host_new(&h, HOST);
        inject(&h, "{'op': 'unbind', 'nth': 1, 'hang': true}");
        run_begin(&h, &r, &unbind, 10000);
        run_finish(&r);
        assert_int_equal(r.result.error, ETIMEDOUT);
        assert_true(is_locked(&h, 1));
        event(&h, "{'event': 'release-hang'}");
        assert_false(is_locked(&h, 1));
        assert_device(&h, NIC, "driver", "");

        inject(&h, "{'op': 'probe', 'delay_us': 20000}");
        run_begin(&h, &slow, &(Step){ .kind = STEP_PROBE, .device = (char *)NIC, .group = 1 }, 0);
        host_settle(&h);
        assert_int_equal(slow.done, 0);
        run_finish(&slow);
        assert_string_equal(slow.result.value, "e1000e");
}

static void test_sim_hotplug_into_claimed_group(void **state) {
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run c = {};

        host_new(&h, HOST);
        run_begin(&h, &c, &claim, 0);
        run_finish(&c);
        event(&h, "{'event': 'hotplug', 'device': {'name': '0000:00:03.1', 'group': 1,"
                  " 'driver': 'e1000e'}}");
        assert_non_null(strstr(h.heard, "seen 0000:00:03.1 driver=; "));
        event(&h, "{'event': 'hotplug', 'device': {'name': '0000:00:04.0', 'group': 40,"
                  " 'driver': 'e1000e'}}");
        assert_non_null(strstr(h.heard, "seen 0000:00:04.0 driver=e1000e; "));
        event(&h, "{'event': 'unplug', 'device': '0000:00:04.0'}");
        assert_non_null(strstr(h.heard, "gone 0000:00:04.0; "));
        assert_group(&h, 40, "type", "(none)");
}

static void test_sim_unplug_waits_for_files_and_vfs(void **state) {
        _cleanup_free_ char *message = NULL;
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {};

        host_new(&h, HOST);
        event(&h, "{'event': 'open', 'device': '" VF "', 'pid': 5, 'comm': 'vmm'}");
        event(&h, "{'event': 'unplug', 'device': '" NIC2 "'}");
        assert_null(strstr(h.heard, "gone"));
        /* whoever writes there meanwhile is stuck with it */
        assert_int_equal(event_error(&h, "{'event': 'unbind', 'device': '" VF "'}", &message),
                         -EBUSY);
        run_begin(&h, &r,
                  &(Step){ .kind = STEP_UNBIND,
                           .device = (char *)VF,
                           .group = 3,
                           .value = (char *)"vfio-pci" },
                  0);
        host_settle(&h);
        assert_int_equal(r.done, 0);
        event(&h, "{'event': 'close', 'pid': 5}");
        run_finish(&r);
        assert_int_equal(r.result.error, ENODEV);
        assert_non_null(strstr(h.heard, "gone " VF "; "));
        assert_non_null(strstr(h.heard, "gone " NIC2 "; "));
}

static void test_sim_foreign_changes(void **state) {
        _cleanup_free_ char *message = NULL;
        _cleanup_host_ Host h = {};

        host_new(&h, HOST);
        event(&h, "{'event': 'in-use', 'device': '" NIC3 "',"
                  " 'obstacles': [{'code': 'mounted', 'text': 'on /'}]}");
        assert_non_null(strstr(h.heard, "use " NIC3 "; "));
        assert_int_equal(step(&h, STEP_INSPECT, NIC3, 4, NULL), 0);
        assert_string_equal(h.result.obstacles.items[0].code, "mounted");
        event(&h, "{'event': 'unbind', 'device': '" NIC3 "'}"); /* asks nobody */
        assert_non_null(strstr(h.heard, "seen " NIC3 " driver=; "));
        event(&h, "{'event': 'override', 'device': '" NIC3 "', 'driver': 'vfio-pci'}");
        assert_int_equal(event_error(&h, "{'event': 'bind', 'device': '" NIC3 "', 'driver': 'igb'}",
                                     &message),
                         -ENODEV);
        assert_non_null(strstr(message, NIC3));
        event(&h, "{'event': 'type', 'group': 1, 'type': 'identity'}");
        assert_group(&h, 1, "type", "identity");

        /* somebody else's unbind of an open device asks nobody, and hangs */
        event(&h, TESTPMD);
        event(&h, "{'event': 'unbind', 'device': '" NIC "'}");
        assert_device(&h, NIC, "driver", "vfio-pci");
        event(&h, "{'event': 'close', 'pid': 4711}");
        assert_device(&h, NIC, "driver", "");
}

static void test_sim_events_not_understood(void **state) {
        static const struct {
                const char *json, *message;
        } table[] = {
                { "{'event': 'explode'}", "event: event: there is no event \"explode\"" },
                { "{}", "event: event: expected a name" },
                { "[]", "event: expected an object {...}, found array" },
                { "{", "event: line 1: the text ends too early" },
                { "{'event': 'unplug', 'device': '0000:77:00.0'}",
                  "event: device: there is no device \"0000:77:00.0\"" },
                { "{'event': 'unplug'}", "event: device: expected the name of a device" },
                { "{'event': 'unplug', 'device': '" NIC "', 'x': 1}", "event: unknown key \"x\"" },
                { "{'event': 'open', 'group': 77, 'pid': 1}",
                  "event: expected the \"group\" or \"device\" of an open file" },
                { "{'event': 'open', 'group': 1, 'pid': 0}",
                  "event: pid: expected a number from 1 to 2147483647, found 0" },
                { "{'event': 'close'}",
                  "event: expected the \"device\", \"group\" or \"pid\" of open files" },
                { "{'event': 'hotplug', 'device': {'name': '" NIC "'}}",
                  "event: device.name: there is a device \"" NIC "\" already" },
                { "{'event': 'type', 'group': 1}", "event: type: expected a name" },
        };
        _cleanup_host_ Host h = {};

        host_new(&h, HOST);
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
                _cleanup_free_ char *message = NULL;

                assert_int_equal(event_error(&h, table[i].json, &message), -EINVAL);
                assert_string_equal(message, table[i].message);
        }
}

static void test_sim_remembers(void **state) {
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {}, c = {};
        int kept;

        host_new(&h, MEMORY);
        event(&h, HIDDEN);
        inject(&h, "{'op': 'reset', 'nth': 2, 'errno': 'EIO'}");
        assert_int_equal(step(&h, STEP_RESET, NIC, 1, "auto"), 0);
        assert_int_equal(step(&h, STEP_SET_OVERRIDE, NIC2, 2, "none"), 0);
        run_begin(&h, &r, &unbind, 0);
        run_begin(&h, &c, &(Step){ .kind = STEP_CLAIM, .group = 3 }, 0);
        run_finish(&c);
        assert_int_equal(c.result.error, 0);
        kept = dup(vfio_files_get(&c.result.files, FILE_GROUP, NULL));
        step_result_clear(&c.result);

        host_restart(&h);
        assert_device(&h, NIC2, "driver_override", "none");
        /* the step that hangs is still there, nobody hears of its end; its group is open */
        assert_true(is_locked(&h, 1));
        assert_int_equal(r.done, 0);
        event(&h, "{'event': 'close', 'pid': 4711}");
        assert_device(&h, NIC, "driver", "");
        assert_false(is_locked(&h, 1));
        assert_int_equal(step(&h, STEP_RESET, NIC, 1, "auto"), EIO); /* the second */
        assert_int_equal(step(&h, STEP_UNBIND, NIC, 1, "vfio-pci"), 0);

        /* a claim lives as long as its descriptors, wherever they are */
        assert_group(&h, 3, "claimed", "true");
        host_restart(&h);
        assert_group(&h, 3, "claimed", "true");
        safe_close(kept);
        host_settle(&h);
        assert_group(&h, 3, "claimed", "");
        host_restart(&h);
        assert_group(&h, 3, "claimed", "");
}

static void test_sim_forgets_dead_claim(void **state) {
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run c = {};

        host_new(&h, MEMORY);
        run_begin(&h, &c, &claim, 0);
        run_finish(&c);
        h.kernel = kernel_free(h.kernel);
        step_result_clear(&c.result); /* they died with the daemon */
        host_restart(&h);
        assert_group(&h, 1, "claimed", "");
}

static void test_sim_late_effect_after_restart(void **state) {
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {};

        host_new(&h, "{'persist': '$DIR/host.json', 'latency_us': {'unbind': 3600000000}, " DEVICES
                     "}");
        run_begin(&h, &r, &unbind, 0);
        host_settle(&h);
        host_restart(&h);
        assert_true(is_locked(&h, 1));
        assert_device(&h, NIC, "driver", "vfio-pci");
        host_settle(&h);
        assert_device(&h, NIC, "driver", "");
        assert_false(is_locked(&h, 1));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sim_starts_with_all_devices),
                cmocka_unit_test(test_sim_tells_before_done),
                cmocka_unit_test(test_sim_latency),
                cmocka_unit_test(test_sim_unbind_refused_while_open),
                cmocka_unit_test(test_sim_unbind_hangs_while_open),
                cmocka_unit_test(test_sim_group_file_does_not_block_unbind),
                cmocka_unit_test(test_sim_deadline_of_hung_step),
                cmocka_unit_test(test_sim_cancel),
                cmocka_unit_test(test_sim_cancel_in_latency),
                cmocka_unit_test(test_sim_wait_closed_and_claim),
                cmocka_unit_test(test_sim_faults),
                cmocka_unit_test(test_sim_fault_hang_and_delay),
                cmocka_unit_test(test_sim_hotplug_into_claimed_group),
                cmocka_unit_test(test_sim_unplug_waits_for_files_and_vfs),
                cmocka_unit_test(test_sim_foreign_changes),
                cmocka_unit_test(test_sim_events_not_understood),
                cmocka_unit_test(test_sim_remembers),
                cmocka_unit_test(test_sim_forgets_dead_claim),
                cmocka_unit_test(test_sim_late_effect_after_restart),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
