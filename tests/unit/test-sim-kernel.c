/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Each rule of the kernel that the simulated host models. */
#include "sim-fixture.h"

#define NIC    "0000:00:03.0"
#define BRIDGE "0000:00:06.0"
#define A      "0000:03:01.0"
#define B      "0000:03:02.0"
#define PF     "0000:02:00.0"
#define VF     "0000:02:00.1"

#define DEVICES                                                                              \
        "'devices': ["                                                                       \
        "{'name': '" NIC "', 'group': 1, 'driver': 'e1000e', 'reset': ['flr', 'bus']},"      \
        "{'name': '" BRIDGE "', 'group': 4, 'class': '060400', 'matches': ['shpchp']},"      \
        "{'name': '" A "', 'group': 4, 'driver': 'e1000'},"                                  \
        "{'name': '" B "', 'group': 4, 'driver': 'e1000', 'in_use':"                         \
        "  [{'code': 'default-route', 'text': 'eth1 has the default route'}]},"              \
        "{'name': '" PF "', 'group': 9, 'driver': 'nvme'},"                                  \
        "{'name': '" VF "', 'group': 10, 'physfn': '" PF "', 'matches': ['nvme', 'other']}," \
        "{'name': '0000:00:1f.0', 'driver': 'lpc'}]"
#define DRIVERS                                                                                                                    \
        "'drivers': [{'name': 'vfio-pci', 'loaded': true}, {'name': 'broken', 'fails': 'EIO'}, {'name': 'other', 'fails': 'EIO'}," \
        "{'name': 'late', 'loaded': false}]"
#define HOST  "{'default_domain_type': 'DMA', " DRIVERS ", " DEVICES "}"
#define HOST6 "{'kernel': '6.1.192', 'default_domain_type': 'DMA', " DRIVERS ", " DEVICES "}"

static void to_vfio(Host *h, const char *device, unsigned group, const char *driver) {
        assert_int_equal(step(h, STEP_SET_OVERRIDE, device, group, "vfio-pci"), 0);
        if (driver)
                assert_int_equal(step(h, STEP_UNBIND, device, group, driver), 0);
        assert_int_equal(step(h, STEP_BIND, device, group, "vfio-pci"), 0);
        assert_string_equal(h->result.value, "vfio-pci");
}

/* The group of three, all but B, which is driverless, on vfio-pci. */
static void bridge_to_vfio(Host *h) {
        to_vfio(h, A, 4, "e1000");
        event(h, "{'event': 'unbind', 'device': '" B "'}");
}

static int claim(Host *h, unsigned group, int fds[2]) {
        int r = step(h, STEP_CLAIM, NULL, group, NULL);

        fds[0] = fds[1] = -EBADF;
        if (r == 0) {
                assert_int_equal(h->result.files.n, 2);
                fds[0] = TAKE_FD(h->result.files.items[0].fd);
                fds[1] = TAKE_FD(h->result.files.items[1].fd);
        }
        return r;
}

static void close_fds(int fds[2]) {
        fds[0] = safe_close(fds[0]);
        fds[1] = safe_close(fds[1]);
}

/* What the kernel answers to anybody who writes "bind", and the executor to the daemon. */
static void test_sim_bind_errors(void **state) {
        static const struct {
                const char *device;
                unsigned group;
                const char *override, *driver;
                int foreign, ours;
        } table[] = {
                { NIC, 1, NULL, "e1000e", EBUSY, 0 },              /* bound already */
                { NIC, 1, NULL, "nvme", ENODEV, EPERM },           /* no match */
                { NIC, 1, "vfio-pci", "e1000e", ENODEV, 0 },       /* the override decides */
                { NIC, 1, "vfio-pci", "vfio-pci", EBUSY, ENODEV }, /* bound to another */
                { NIC, 1, NULL, "nothing", ENOENT, EPERM },        /* no such driver */
                { VF, 10, NULL, "vfio-pci", ENODEV, ENODEV }, /* VFIO matches by override only */
                { VF, 10, "broken", "broken", EIO, EPERM },   /* what its probe() says */
                { VF, 10, NULL, "other", EIO, EIO },
                { VF, 10, "late", "late", ENOENT, EPERM }, /* not registered */
                { VF, 10, "vfio-pci", "nvme", ENODEV, ENODEV },
                { BRIDGE, 4, "vfio-pci", "vfio-pci", EINVAL, EINVAL }, /* VFIO binds no bridges */
                { VF, 10, NULL, "nvme", 0, 0 },
        };
        _cleanup_host_ Host h = {};

        host_new(&h, HOST);
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
                _cleanup_free_ char *message = NULL, *override = NULL, *bind = NULL;

                override = str_format("{'event': 'override', 'device': '%s', 'driver': '%s'}",
                                      table[i].device, table[i].override ? table[i].override : "");
                bind = str_format("{'event': 'bind', 'device': '%s', 'driver': '%s'}",
                                  table[i].device, table[i].driver);
                event(&h, override);
                if (event_error(&h, bind, &message) != -table[i].foreign)
                        fail_msg("row %zu: %s", i, message);
                if (table[i].foreign == 0)
                        event(&h, "{'event': 'unbind', 'device': '" VF "'}");
                if (step(&h, STEP_BIND, table[i].device, table[i].group, table[i].driver) !=
                    table[i].ours)
                        fail_msg("row %zu: %s", i, h.result.text);
        }
        assert_device(&h, VF, "driver", "nvme");
}

static void test_sim_steps_check_their_place(void **state) {
        _cleanup_host_ Host h = {};

        host_new(&h, HOST);
        assert_int_equal(step(&h, STEP_PROBE, "0000:00:09.0", 1, NULL), ENODEV);
        assert_int_equal(step(&h, STEP_PROBE, "0000:00:1f.0", 0, NULL), ENODEV);
        assert_int_equal(step(&h, STEP_PROBE, NIC, 2, NULL), ESTALE);
        assert_non_null(strstr(h.result.text, NIC " is in IOMMU group 1, not in 2"));
        assert_int_equal(step(&h, STEP_CLAIM, NULL, 77, NULL), ENOENT);
        assert_int_equal(step(&h, STEP_RELEASE, NULL, 1, NULL), EINVAL);
}

static void test_sim_vfio_needs_group(void **state) {
        _cleanup_free_ char *message = NULL;
        _cleanup_host_ Host h = {};

        host_new(&h, HOST);
        event(&h, "{'event': 'unbind', 'device': '0000:00:1f.0'}");
        event(&h, "{'event': 'override', 'device': '0000:00:1f.0', 'driver': 'vfio-pci'}");
        assert_int_equal(event_error(&h,
                                     "{'event': 'bind', 'device': '0000:00:1f.0',"
                                     " 'driver': 'vfio-pci'}",
                                     &message),
                         -EINVAL);
}

/* The PF's driver takes its VFs with it, or VFIO does not take the PF. */
static void test_sim_vfs(void **state) {
        static const char *const drivers[] = {
                "{'drivers': [{'name': 'vfio-pci', 'loaded': true}]," DEVICES "}",
                "{'drivers': [{'name': 'vfio-pci', 'loaded': true},"
                "{'name': 'nvme', 'keeps_vfs': true}]," DEVICES "}",
        };
        Step unbind = { .kind = STEP_UNBIND,
                        .device = (char *)PF,
                        .group = 9,
                        .value = (char *)"nvme",
                        .force = 1 };

        for (int keeps = 0; keeps < 2; keeps++) {
                _cleanup_host_ Host h = {};
                _cleanup_run_ Run r = {};

                host_new(&h, drivers[keeps]);
                event(&h, "{'event': 'probe', 'device': '" VF "'}");
                assert_int_equal(step(&h, STEP_SET_OVERRIDE, PF, 9, "vfio-pci"), 0);
                assert_int_equal(step(&h, STEP_UNBIND, PF, 9, "nvme"), EBUSY);
                assert_int_equal(h.result.obstacles.n, 2);
                assert_string_equal(h.result.obstacles.items[0].code, "vfs-in-use");
                assert_string_equal(h.result.obstacles.items[1].code, "vfs-enabled");
                run_begin(&h, &r, &unbind, 0);
                run_finish(&r);
                assert_int_equal(r.result.error, 0);
                assert_device(&h, VF, "driver", keeps ? "nvme" : "(none)");
                assert_int_equal(step(&h, STEP_BIND, PF, 9, "vfio-pci"), keeps ? EBUSY : 0);
        }
}

/* Removing a VF that a program has open would hang; not even force does it. */
static void test_sim_open_vf(void **state) {
        Step unbind = { .kind = STEP_UNBIND,
                        .device = (char *)PF,
                        .group = 9,
                        .value = (char *)"nvme",
                        .force = 1 };
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {}, hidden = {};

        host_new(&h, HOST);
        assert_int_equal(step(&h, STEP_SET_OVERRIDE, VF, 10, "vfio-pci"), 0);
        assert_int_equal(step(&h, STEP_BIND, VF, 10, "vfio-pci"), 0);
        event(&h, "{'event': 'open', 'device': '" VF "', 'pid': 3, 'comm': 'vmm'}");
        run_begin(&h, &r, &unbind, 0);
        run_finish(&r);
        assert_int_equal(r.result.error, EBUSY);
        assert_string_equal(r.result.obstacles.items[0].code, "vf-open");
        event(&h, "{'event': 'close', 'pid': 3}");
        event(&h, "{'event': 'open', 'device': '" VF "', 'pid': 3, 'hidden': true}");
        run_begin(&h, &hidden, &unbind, 0);
        host_settle(&h);
        assert_int_equal(hidden.done, 0);
        event(&h, "{'event': 'close', 'pid': 3}");
        run_finish(&hidden);
        assert_int_equal(hidden.result.error, 0);
        assert_non_null(strstr(h.heard, "gone " VF "; "));
}

static void test_sim_unbind(void **state) {
        _cleanup_free_ char *message = NULL;
        _cleanup_host_ Host h = {};

        host_new(&h, HOST);
        assert_int_equal(event_error(&h, "{'event': 'unbind', 'device': '" NIC "', 'driver': 'x'}",
                                     &message),
                         -ENODEV);
        assert_int_equal(step(&h, STEP_UNBIND, NIC, 1, "nvme"), ESTALE);
        assert_int_equal(step(&h, STEP_UNBIND, NIC, 1, "e1000e"), 0);
        assert_null(h.result.value);
        assert_device(&h, NIC, "driver", "");
        assert_int_equal(step(&h, STEP_UNBIND, NIC, 1, "e1000e"), 0); /* is what it shall be */
}

static void test_sim_unbind_of_used_device(void **state) {
        Step unbind = { .kind = STEP_UNBIND,
                        .device = (char *)B,
                        .group = 4,
                        .value = (char *)"e1000",
                        .force = 1 };
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {};

        host_new(&h, HOST);
        assert_int_equal(step(&h, STEP_INSPECT, B, 4, NULL), 0);
        assert_int_equal(h.result.obstacles.n, 1);
        assert_string_equal(h.result.obstacles.items[0].code, "default-route");
        assert_string_equal(h.result.obstacles.items[0].device, B);
        assert_int_equal(step(&h, STEP_INSPECT, A, 4, NULL), 0);
        assert_int_equal(h.result.obstacles.n, 0);

        assert_int_equal(step(&h, STEP_UNBIND, B, 4, "e1000"), EBUSY);
        assert_int_equal(h.result.obstacles.n, 1);
        assert_non_null(strstr(h.result.text, "eth1 has the default route"));
        assert_device(&h, B, "driver", "e1000");

        run_begin(&h, &r, &unbind, 0);
        run_finish(&r);
        assert_int_equal(r.result.error, 0);
        assert_device(&h, B, "driver", "");
        assert_device(&h, B, "in_use", ""); /* went with its interface */
        assert_non_null(strstr(h.heard, "use " B));
}

static void test_sim_probe(void **state) {
        _cleanup_host_ Host h = {};

        host_new(&h, HOST);
        assert_int_equal(step(&h, STEP_PROBE, VF, 10, NULL), 0);
        assert_string_equal(h.result.value, "nvme");
        assert_int_equal(step(&h, STEP_PROBE, VF, 10, NULL), 0); /* bound already */
        assert_int_equal(step(&h, STEP_UNBIND, VF, 10, "nvme"), 0);

        /* success though nothing was bound: no such driver, none registered, probe() failed */
        for (const char *const *o = (const char *const[]){ "none", "late", "broken", NULL }; *o;
             o++) {
                _cleanup_free_ char *override =
                        str_format("{'event': 'override', 'device': '" VF "', 'driver': '%s'}", *o);

                event(&h, override);
                assert_int_equal(step(&h, STEP_PROBE, VF, 10, NULL), 0);
                assert_null(h.result.value);
                assert_device(&h, VF, "driver", "");
        }
}

/* Only drivers that the device may have. */
static void test_sim_override(void **state) {
        static const struct {
                const char *driver;
                int error;
        } table[] = { { "vfio-pci", 0 }, { "none", 0 },     { "igb", EPERM },
                      { "nvme", 0 },     { "late", EPERM }, { NULL, 0 } };
        _cleanup_host_ Host h = {};

        host_new(&h, HOST);
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
                assert_int_equal(step(&h, STEP_SET_OVERRIDE, VF, 10, table[i].driver),
                                 table[i].error);
                if (table[i].error == 0)
                        assert_device(&h, VF, "driver_override",
                                      table[i].driver ? table[i].driver : "");
        }
        /* what somebody else had set may be put back */
        event(&h, "{'event': 'override', 'device': '" VF "', 'driver': 'private'}");
        assert_int_equal(step(&h, STEP_SET_OVERRIDE, VF, 10, NULL), 0);
        assert_int_equal(step(&h, STEP_SET_OVERRIDE, VF, 10, "private"), 0);
}

static void test_sim_module_grabs_driverless(void **state) {
        _cleanup_host_ Host h = {};

        host_new(&h, "{" DEVICES "}");
        assert_int_equal(step(&h, STEP_SET_OVERRIDE, VF, 10, "vfio-pci"), 0);
        assert_int_equal(step(&h, STEP_BIND, VF, 10, "vfio-pci"), ENOENT);
        assert_int_equal(step(&h, STEP_LOAD_MODULE, NULL, 0, "e1000"), EPERM);
        assert_int_equal(step(&h, STEP_LOAD_MODULE, NULL, 0, "x_vfio_pci"), ENOENT);
        assert_int_equal(step(&h, STEP_LOAD_MODULE, NULL, 0, "vfio_pci"), 0);
        assert_string_equal(h.result.value, "vfio-pci");
        assert_device(&h, VF, "driver", "vfio-pci");
        assert_device(&h, NIC, "driver", "e1000e");
}

static void test_sim_owner_count(void **state) {
        _cleanup_host_ Host h = {};
        int fds[2];

        host_new(&h, HOST);
        assert_group(&h, 4, "owner_count", "2");
        to_vfio(&h, A, 4, "e1000");
        assert_group(&h, 4, "owner_count", "1");
        assert_int_equal(claim(&h, 4, fds), EPERM);
        assert_non_null(strstr(h.result.text, B " is bound to e1000"));
        event(&h, "{'event': 'unbind', 'device': '" B "'}");
        assert_group(&h, 4, "owner_count", "0");

        /* a bridge's shpchp counts as an owner, too */
        event(&h, "{'event': 'bind', 'device': '" BRIDGE "', 'driver': 'shpchp'}");
        assert_int_equal(claim(&h, 4, fds), EPERM);
        event(&h, "{'event': 'unbind', 'device': '" BRIDGE "'}");
        assert_int_equal(claim(&h, 4, fds), 0);
        assert_group(&h, 4, "owner_count", "1");
        close_fds(fds);
        host_settle(&h);
        assert_group(&h, 4, "owner_count", "0");
}

static void test_sim_claimed_group_takes_no_kernel_driver(void **state) {
        _cleanup_host_ Host h = {};
        int fds[2];

        host_new(&h, HOST);
        bridge_to_vfio(&h);
        assert_int_equal(claim(&h, 4, fds), 0);
        assert_int_equal(step(&h, STEP_BIND, B, 4, "e1000"), EBUSY);
        assert_int_equal(step(&h, STEP_PROBE, B, 4, NULL), EINVAL);
        assert_device(&h, B, "driver", "");
        /* one that manages no DMA may come */
        assert_int_equal(step(&h, STEP_SET_OVERRIDE, B, 4, "vfio-pci"), 0);
        assert_int_equal(step(&h, STEP_BIND, B, 4, "vfio-pci"), 0);
        assert_int_equal(step(&h, STEP_UNBIND, B, 4, "vfio-pci"), 0);
        assert_int_equal(step(&h, STEP_SET_OVERRIDE, B, 4, NULL), 0);
        /* not retried when the claim ends: somebody has to probe */
        close_fds(fds);
        host_settle(&h);
        assert_device(&h, B, "driver", "");
        assert_int_equal(step(&h, STEP_PROBE, B, 4, NULL), 0);
        assert_device(&h, B, "driver", "e1000");
}

static void test_sim_claim_ends(void **state) {
        _cleanup_host_ Host h = {};
        int fds[2], dup_of_group;

        host_new(&h, HOST);
        to_vfio(&h, NIC, 1, "e1000e");
        assert_int_equal(claim(&h, 1, fds), 0);
        assert_true(fds[0] >= 0 && fds[1] >= 0);
        /* the container alone does not keep it, any duplicate of the group does */
        dup_of_group = dup(fds[1]);
        fds[1] = safe_close(fds[1]);
        host_settle(&h);
        assert_group(&h, 1, "claimed", "true");
        safe_close(dup_of_group);
        host_settle(&h);
        assert_group(&h, 1, "claimed", "");
        close_fds(fds);
        /* closing and the next step are seen in that order */
        assert_int_equal(claim(&h, 1, fds), 0);
        close_fds(fds);
        assert_int_equal(step(&h, STEP_SET_TYPE, NULL, 1, "identity"), 0);
        /* and so does the end of the group's last VFIO device */
        assert_int_equal(claim(&h, 1, fds), 0);
        assert_int_equal(step(&h, STEP_UNBIND, NIC, 1, "vfio-pci"), 0);
        assert_group(&h, 1, "owner_count", "0");
        assert_int_equal(claim(&h, 1, (int[2]){}), ENOENT);
        close_fds(fds);
}

/* What is bound and claimed, what is written, what the kernel answers. */
static void test_sim_type(void **state) {
        enum {
                BOUND,
                FREE,
                VFIO,
                CLAIMED
        };
        static const struct {
                bool old;
                int condition;
                const char *from, *to;
                int error;
                const char *after;
        } table[] = {
                { false, BOUND, "DMA", "identity", EPERM, "DMA" },
                { false, BOUND, "DMA", "DMA", EPERM, "DMA" },   /* even the same */
                { false, BOUND, "DMA", "DMA-FQ", 0, "DMA-FQ" }, /* live */
                { false, BOUND, "DMA-FQ", "DMA", EPERM, "DMA-FQ" },
                { false, BOUND, "DMA", "auto", EPERM, "DMA" },
                { false, BOUND, "DMA", "blocked", EINVAL, "DMA" },
                { false, FREE, "DMA", "identity", 0, "identity" },
                { false, FREE, "identity", "auto", 0, "DMA" },
                { false, FREE, "DMA", "", EINVAL, "DMA" },
                { false, VFIO, "DMA", "identity", 0, "identity" },
                { false, CLAIMED, "DMA", "identity", EPERM, "DMA" },
                { false, CLAIMED, "DMA", "DMA-FQ", 0, "DMA-FQ" },
                { true, BOUND, "DMA", "identity", EBUSY, "DMA" },
                { true, BOUND, "DMA", "DMA-FQ", 0, "DMA-FQ" },
                { true, FREE, "DMA", "identity", 0, "identity" },
                { true, FREE, "DMA", "x", EINVAL, "DMA" },
                { true, VFIO, "DMA", "identity", EBUSY, "DMA" },
                { true, CLAIMED, "DMA", "DMA-FQ", EBUSY, "DMA" },
        };

        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
                _cleanup_host_ Host h = {};
                int fds[2] = { -EBADF, -EBADF };

                host_new(&h, table[i].old ? HOST6 : HOST);
                if (!str_eq(table[i].from, "DMA")) {
                        event(&h, "{'event': 'unbind', 'device': '" NIC "'}");
                        assert_int_equal(step(&h, STEP_SET_TYPE, NULL, 1, table[i].from), 0);
                        event(&h, "{'event': 'probe', 'device': '" NIC "'}");
                }
                if (table[i].condition == FREE)
                        event(&h, "{'event': 'unbind', 'device': '" NIC "'}");
                else if (table[i].condition != BOUND)
                        to_vfio(&h, NIC, 1, "e1000e");
                if (table[i].condition == CLAIMED)
                        assert_int_equal(claim(&h, 1, fds), 0);
                if (step(&h, STEP_SET_TYPE, NULL, 1, table[i].to) != table[i].error)
                        fail_msg("row %zu: %s", i, strerrorname_np(h.result.error));
                assert_group(&h, 1, "type", table[i].after);
                close_fds(fds);
        }
}

static void test_sim_type_of_several_devices(void **state) {
        static const char *const kernels[] = { HOST, HOST6 };

        for (int old = 0; old < 2; old++) {
                _cleanup_host_ Host h = {};

                host_new(&h, kernels[old]);
                event(&h, "{'event': 'unbind', 'device': '" A "'}");
                event(&h, "{'event': 'unbind', 'device': '" B "'}");
                assert_int_equal(step(&h, STEP_SET_TYPE, NULL, 4, "identity"), old ? EINVAL : 0);
                assert_group(&h, 4, "type", old ? "DMA" : "identity");
        }
}

static void test_sim_forced_type(void **state) {
        _cleanup_host_ Host h = {};

        host_new(&h, "{" DEVICES ", 'groups': [{'group': 10, 'forced_type': 'identity'}]}");
        assert_int_equal(step(&h, STEP_SET_TYPE, NULL, 10, "DMA"), EINVAL);
        assert_int_equal(step(&h, STEP_SET_TYPE, NULL, 10, "auto"), 0);
        assert_string_equal(h.result.value, "identity");
}

static void test_sim_node(void **state) {
        _cleanup_free_ char *message = NULL;
        _cleanup_host_ Host h = {};
        const char *open = "{'event': 'open', 'group': 1, 'pid': 7, 'comm': 'x', 'uid': 1000}";

        host_new(&h, HOST);
        assert_int_equal(step(&h, STEP_GRANT_NODE, NULL, 1, NULL), ENOENT);
        assert_int_equal(step(&h, STEP_REVOKE_NODE, NULL, 1, NULL), 0);
        assert_int_equal(event_error(&h, open, &message), -ENOENT);
        to_vfio(&h, NIC, 1, "e1000e");
        assert_int_equal(step(&h, STEP_WAIT_NODE, NULL, 1, NULL), 0);
        free(TAKE_PTR(message));
        assert_int_equal(event_error(&h, open, &message), -EACCES);
        assert_non_null(strstr(message, "does not let uid 1000 in"));
        assert_int_equal(step(&h, STEP_GRANT_NODE, NULL, 1, NULL), 0);
        assert_non_null(strstr(h.result.value, "user:1000:rw-"));
        event(&h, open);
        assert_group(&h, 1, "owner_count", "1");
        free(TAKE_PTR(message));
        assert_int_equal(event_error(&h, open, &message), -EBUSY);
        assert_non_null(strstr(message, "x (pid 7)"));
        assert_int_equal(step(&h, STEP_REVOKE_NODE, NULL, 1, NULL), 0);
        event(&h, "{'event': 'close', 'pid': 7}");
        free(TAKE_PTR(message));
        assert_int_equal(event_error(&h, open, &message), -EACCES);
        free(TAKE_PTR(message));
        assert_int_equal(event_error(&h, "{'event': 'close', 'pid': 7}", &message), -ENOENT);
        /* the ACL goes with the node */
        assert_int_equal(step(&h, STEP_GRANT_NODE, NULL, 1, NULL), 0);
        assert_int_equal(step(&h, STEP_UNBIND, NIC, 1, "vfio-pci"), 0);
        assert_int_equal(step(&h, STEP_BIND, NIC, 1, "vfio-pci"), 0);
        free(TAKE_PTR(message));
        assert_int_equal(event_error(&h, open, &message), -EACCES);
}

static void test_sim_open_needs_viable_group(void **state) {
        _cleanup_free_ char *message = NULL;
        _cleanup_host_ Host h = {};

        host_new(&h, HOST);
        to_vfio(&h, A, 4, "e1000");
        assert_int_equal(event_error(&h, "{'event': 'open', 'device': '" A "', 'pid': 7}", &message),
                         -EPERM);
        assert_non_null(strstr(message, B " is bound to e1000"));
}

static void test_sim_udev_is_late(void **state) {
        Step wait = { .kind = STEP_WAIT_NODE, .group = 1 };
        _cleanup_host_ Host h = {};
        _cleanup_run_ Run r = {};

        host_new(&h, "{'latency_us': {'udev': 1500000}, " DRIVERS "," DEVICES "}");
        to_vfio(&h, NIC, 1, "e1000e");
        /* what is granted before udev is done is lost */
        assert_int_equal(step(&h, STEP_GRANT_NODE, NULL, 1, NULL), 0);
        run_begin(&h, &r, &wait, 0);
        host_settle(&h);
        assert_int_equal(r.done, 0);
        run_finish(&r);
        assert_int_equal(r.result.error, 0);
        assert_group(&h, 1, "node", "{ \"uid\": 0, \"mode\": \"0600\" }");
}

static void test_sim_reset(void **state) {
        _cleanup_host_ Host h = {};

        host_new(&h, HOST);
        assert_int_equal(step(&h, STEP_RESET, NIC, 1, "auto"), EBUSY); /* the host's */
        to_vfio(&h, NIC, 1, "e1000e");
        assert_int_equal(step(&h, STEP_RESET, NIC, 1, "auto"), 0);
        assert_int_equal(step(&h, STEP_RESET, NIC, 1, "bus"), 0);
        assert_int_equal(step(&h, STEP_RESET, NIC, 1, "pm"), EINVAL);
        assert_int_equal(step(&h, STEP_UNBIND, A, 4, "e1000"), 0);
        assert_int_equal(step(&h, STEP_RESET, A, 4, "auto"), ENOTTY);
}

static void test_sim_making_vfs(void **state) {
        _cleanup_host_ Host h = {};

        host_new(&h, "{'default_domain_type': 'DMA', 'persist': '$DIR/kernel', " DRIVERS
                     ", 'devices': ["
                     "{'name': '" PF "', 'group': 1, 'driver': 'igb', 'matches': ['igb', 'igbvf'],"
                     " 'vendor': '8086', 'total_vfs': 9, 'vf_device': '10ca', 'numa': 1},"
                     "{'name': '0000:02:01.1', 'group': 5, 'driver': 'nvme'}]}");
        assert_int_equal(step(&h, STEP_SET_NUM_VFS, PF, 1, "10"), ERANGE);
        assert_int_equal(step(&h, STEP_SET_NUM_VFS, PF, 1, "many"), EINVAL);
        assert_int_equal(step(&h, STEP_SET_NUM_VFS, PF, 1, "9"), EBUSY); /* an address is taken */
        assert_int_equal(step(&h, STEP_SET_NUM_VFS, "0000:02:01.1", 5, "1"), ENOTTY);
        assert_int_equal(step(&h, STEP_SET_VF_AUTOPROBE, PF, 1, "0"), 0);
        assert_int_equal(step(&h, STEP_SET_NUM_VFS, PF, 1, "8"), 0);
        assert_device(&h, VF, "driver", "");
        assert_device(&h, VF, "physfn", PF);
        assert_device(&h, VF, "device", "10ca");
        assert_device(&h, "0000:02:01.0", "group", "13");
        assert_int_equal(step(&h, STEP_SET_NUM_VFS, PF, 1, "8"), 0);
        assert_int_equal(step(&h, STEP_SET_NUM_VFS, PF, 1, "2"), EBUSY);
        host_restart(&h);
        assert_device(&h, VF, "physfn", PF);
        to_vfio(&h, VF, 6, NULL);
        assert_int_equal(step(&h, STEP_SET_NUM_VFS, PF, 1, "0"), EBUSY);
        assert_int_equal(h.result.obstacles.n, 1);
        assert_int_equal(step(&h, STEP_UNBIND, VF, 6, "vfio-pci"), 0);
        assert_int_equal(step(&h, STEP_SET_NUM_VFS, PF, 1, "0"), 0);
        assert_device(&h, VF, "physfn", "(none)");
        assert_int_equal(step(&h, STEP_SET_VF_AUTOPROBE, PF, 1, "1"), 0);
        assert_int_equal(step(&h, STEP_SET_NUM_VFS, PF, 1, "1"), 0);
        assert_device(&h, VF, "driver", "igb");
        event(&h, "{'event': 'unbind', 'device': '" VF "', 'driver': 'igb'}");
        event(&h, "{'event': 'unbind', 'device': '" PF "', 'driver': 'igb'}");
        assert_int_equal(step(&h, STEP_SET_NUM_VFS, PF, 1, "1"), EPERM);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sim_bind_errors),
                cmocka_unit_test(test_sim_steps_check_their_place),
                cmocka_unit_test(test_sim_vfio_needs_group),
                cmocka_unit_test(test_sim_vfs),
                cmocka_unit_test(test_sim_open_vf),
                cmocka_unit_test(test_sim_unbind),
                cmocka_unit_test(test_sim_unbind_of_used_device),
                cmocka_unit_test(test_sim_probe),
                cmocka_unit_test(test_sim_override),
                cmocka_unit_test(test_sim_module_grabs_driverless),
                cmocka_unit_test(test_sim_owner_count),
                cmocka_unit_test(test_sim_claimed_group_takes_no_kernel_driver),
                cmocka_unit_test(test_sim_claim_ends),
                cmocka_unit_test(test_sim_type),
                cmocka_unit_test(test_sim_type_of_several_devices),
                cmocka_unit_test(test_sim_forced_type),
                cmocka_unit_test(test_sim_node),
                cmocka_unit_test(test_sim_open_needs_viable_group),
                cmocka_unit_test(test_sim_udev_is_late),
                cmocka_unit_test(test_sim_reset),
                cmocka_unit_test(test_sim_making_vfs),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
