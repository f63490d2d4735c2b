/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the Linux kernel layer does when more happens than it is told of: a real overflow of its socket. */
#include "linux-host.h"

#include <linux/netlink.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kernel/linux.h"

#define NIC "0000:3b:00.0"

typedef struct Fixture {
        Host host;
        sd_event *event;
        char *driver; /* as it was told last */
        unsigned n_seen;
} Fixture;

static void on_seen(const DeviceFacts *facts, void *userdata) {
        Fixture *f = userdata;

        f->n_seen++;
        assert_int_equal(str_set(&f->driver, facts->driver), 0);
}

static void on_name(const char *name, void *userdata) {
}

static void on_ready(bool ready, void *userdata) {
}

/* A network of its own, so that no other listener of this host hears what is sent, and a udev that seems to
 * run there. */
static bool enter_own_world(void) {
        return unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 &&
               mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
               mount("none", "/run", "tmpfs", 0, NULL) == 0 && mkdir("/run/udev", 0755) == 0 &&
               mknod("/run/udev/control", S_IFREG | 0600, 0) == 0;
}

/* More events than anybody has room for; udev's group of listeners. */
static void flood(void) {
        struct sockaddr_nl to = { .nl_family = AF_NETLINK, .nl_groups = 2 };
        int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
        static char text[8192] = "change@/x";

        assert_true(fd >= 0);
        for (size_t i = 0; i < 40u << 20; i += sizeof(text))
                (void)sendto(fd, text, sizeof(text), 0, (struct sockaddr *)&to, sizeof(to));
        (void)close(fd);
}

static void test_lost_events(void **state) {
        Fixture f = {};
        const KernelEvents events = {
                .device_seen = on_seen,
                .device_gone = on_name,
                .node_changed = host_ignore_node,
                .device_use_changed = on_name,
                .ready = on_ready,
                .userdata = &f,
        };
        Kernel *kernel;

        host_init(&f.host);
        host_add_device(&f.host, NIC, "0x020000\n");
        host_set_group(&f.host, NIC, "12", "DMA\n");
        host_set_driver(&f.host, NIC, "e1000e");
        host_write_aliases(&f.host, "");
        assert_true(sd_event_new(&f.event) >= 0);
        assert_int_equal(linux_kernel_new_at(f.event, f.host.root, "/nowhere", &events, &kernel), 0);
        assert_int_equal(kernel->ops->start(kernel), 0);
        assert_string_equal(f.driver, "e1000e");
        host_set_driver(&f.host, NIC, "vfio-pci");
        flood();
        f.n_seen = 0;
        while (f.n_seen == 0 && sd_event_run(f.event, 5000000) > 0)
                ;
        assert_string_equal(f.driver, "vfio-pci");
        (void)kernel_free(kernel);
        (void)sd_event_unref(f.event);
        free(f.driver);
        host_destroy(&f.host);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lost_events),
        };

        if (!enter_own_world()) {
                /* cmocka's own way of skipping is told as a failure */
                (void)printf("1..0 # SKIP no network and mount namespace of its own: %m\n");
                return 0;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
