/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the Linux kernel layer tells of devices, on a root of our own. */
#include "linux-host.h"

#include <sys/resource.h>
#include <time.h>

#include "kernel/linux-facts.h"
#include "kernel/linux.h"

#define NIC   "0000:3b:00.0"
#define OTHER "0000:3b:00.1"

/* Everything told so far, as "seen NAME override;", "gone NAME;", "use NAME;". */
typedef struct Fixture {
        Host host;
        sd_event *event;
        Kernel *kernel;
        Discovery *discovery;
        char *told;
        DeviceFacts last;
} Fixture;

static void on_seen(const DeviceFacts *facts, void *userdata) {
        Fixture *f = userdata;

        assert_int_equal(str_append(&f->told, "seen %s %s;", facts->name,
                                    facts->driver_override ? facts->driver_override : "-"),
                         0);
        device_facts_clear(&f->last);
        assert_int_equal(device_facts_copy(&f->last, facts), 0);
}

static void on_gone(const char *name, void *userdata) {
        assert_int_equal(str_append(&((Fixture *)userdata)->told, "gone %s;", name), 0);
}

static void on_use(const char *name, void *userdata) {
        assert_int_equal(str_append(&((Fixture *)userdata)->told, "use %s;", name), 0);
}

static void on_ready(bool ready, void *userdata) {
}

static void assert_told(Fixture *f, const char *expected) {
        assert_string_equal(f->told ? f->told : "", expected);
        free(f->told);
        f->told = NULL;
}

/* Runs the loop until something was told, or nothing is for a while. */
static void run(Fixture *f, uint64_t usec) {
        while (!f->told && sd_event_run(f->event, usec) > 0)
                ;
}

static int setup(void **state) {
        static Fixture f;

        f = (Fixture){ .last = DEVICE_FACTS_NULL };
        host_init(&f.host);
        host_add_device(&f.host, NIC, "0x020000\n");
        host_set_group(&f.host, NIC, "12", "DMA\n");
        host_set_driver(&f.host, NIC, "e1000e");
        host_write_aliases(&f.host, "");
        assert_true(sd_event_new(&f.event) >= 0);
        *state = &f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        (void)kernel_free(f->kernel);
        (void)sd_event_unref(f->event);
        device_facts_clear(&f->last);
        free(f->told);
        host_destroy(&f->host);
        return 0;
}

static void make_kernel(Fixture *f) {
        KernelEvents events = {
                .device_seen = on_seen,
                .device_gone = on_gone,
                .node_changed = host_ignore_node,
                .device_use_changed = on_use,
                .ready = on_ready,
                .userdata = f,
        };

        assert_int_equal(linux_kernel_new_at(f->event, f->host.root, "/nowhere", &events,
                                             &f->kernel),
                         0);
        f->discovery = linux_kernel_discovery(f->kernel);
}

static void start(Fixture *f) {
        make_kernel(f);
        assert_int_equal(f->kernel->ops->start(f->kernel), 0);
}

static void event_at(Fixture *f, const char *action, const char *subsystem, const char *name,
                     const char *path, uint64_t initialized) {
        discovery_event(f->discovery, &(DeviceEvent){
                                              .action = action,
                                              .subsystem = subsystem,
                                              .name = name,
                                              .path = path,
                                              .initialized = initialized,
                                      });
}

static void event(Fixture *f, const char *action, const char *subsystem, const char *name,
                  const char *path) {
        event_at(f, action, subsystem, name, path, 0);
}

static DeviceFacts read_facts(Fixture *f, const char *name) {
        DeviceFacts facts = DEVICE_FACTS_NULL;
        FactsReader reader = FACTS_READER_NULL;
        struct udev *udev = udev_new();

        assert_int_equal(facts_reader_init(&reader, f->host.root, udev), 0);
        assert_int_equal(facts_reader_read(&reader, name, NULL, &facts), 0);
        facts_reader_clear(&reader);
        (void)udev_unref(udev);
        return facts;
}

static void add_sriov(Fixture *f) {
        host_write(&f->host, host_device_file(NIC, "sriov_totalvfs"), "8\n");
        host_write(&f->host, host_device_file(NIC, "sriov_drivers_autoprobe"), "1\n");
        host_write(&f->host, host_device_file(NIC, "sriov_vf_device"), "10ca\n");
}

static void test_facts_of_an_endpoint(void **state) {
        Fixture *f = *state;
        _cleanup_device_facts_ DeviceFacts facts = DEVICE_FACTS_NULL;

        host_write(&f->host, host_device_file(NIC, "numa_node"), "1\n");
        host_write(&f->host, host_device_file(NIC, "driver_override"), "vfio-pci\n");
        add_sriov(f);
        host_link(&f->host, host_device_file(NIC, "virtfn0"), "../0000:3b:10.0");
        host_link(&f->host, host_device_file(NIC, "virtfn1"), "../0000:3b:10.1");
        host_write_aliases(&f->host,
                           "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n"
                           "alias vfio_pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e_vfio_pci\n");
        facts = read_facts(f, NIC);
        assert_string_equal(facts.name, NIC);
        assert_string_equal(facts.bus, "pci");
        assert_int_equal(facts.vendor, 0x8086);
        assert_int_equal(facts.model, 0x10d3);
        assert_int_equal(facts.class_code, 0x020000);
        assert_int_equal(facts.group, 12);
        assert_int_equal(facts.numa_node, 1);
        assert_int_equal(facts.vf_model, 0x10ca);
        assert_string_equal(facts.driver, "e1000e");
        assert_null(facts.driver_override); /* is read elsewhere: it can block */
        assert_string_equal(facts.vfio_module, "e1000e_vfio_pci");
        assert_string_equal(facts.vfio_driver, "e1000e_vfio_pci");
        assert_int_equal(facts.num_vfs, 2);
        assert_int_equal(facts.total_vfs, 8);
        assert_true(facts.vf_autoprobe);
        assert_null(facts.physfn);
        assert_false(facts.bridge);
        assert_string_equal(facts.default_domain_type, "DMA");
}

static void test_facts_that_are_missing(void **state) {
        Fixture *f = *state;
        _cleanup_device_facts_ DeviceFacts facts = DEVICE_FACTS_NULL;

        host_add_device(&f->host, OTHER, "0x060400\n");
        host_link(&f->host, host_device_file(OTHER, "physfn"), "../" NIC);
        facts = read_facts(f, OTHER);
        assert_int_equal(facts.group, -1);
        assert_int_equal(facts.numa_node, -1);
        assert_null(facts.driver);
        assert_null(facts.vfio_module);
        assert_null(facts.vfio_driver);
        assert_null(facts.default_domain_type);
        assert_string_equal(facts.physfn, NIC);
        assert_true(facts.bridge);
}

/* Group 4294967308 is not group 12. */
static void test_numbers_that_do_not_fit(void **state) {
        static const struct {
                const char *file, *text;
        } table[] = {
                { "vendor", "0x18086" },        { "device", "0x110d3" },
                { "class", "0x1020000" },       { "sriov_totalvfs", "65536" },
                { "sriov_vf_device", "110ca" },
        };
        Fixture *f = *state;
        DeviceFacts facts = DEVICE_FACTS_NULL;
        FactsReader reader = FACTS_READER_NULL;
        struct udev *udev = udev_new();

        add_sriov(f);
        host_write(&f->host, host_device_file(NIC, "numa_node"), "4294967297");
        assert_int_equal(facts_reader_init(&reader, f->host.root, udev), 0);
        assert_int_equal(facts_reader_read(&reader, NIC, NULL, &facts), 0);
        assert_int_equal(facts.numa_node, -1);
        device_facts_clear(&facts);
        for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
                _cleanup_free_ char *right = NULL;

                assert_int_equal(sysfs_readf(&reader.sysfs, &right, "sys/bus/pci/devices/%s/%s",
                                             NIC, table[i].file),
                                 0);
                host_write(&f->host, host_device_file(NIC, table[i].file), table[i].text);
                assert_int_equal(facts_reader_read(&reader, NIC, NULL, &facts), -ERANGE);
                host_write(&f->host, host_device_file(NIC, table[i].file), right);
        }
        host_link(&f->host, host_device_file(NIC, "iommu_group"),
                  "../../../kernel/iommu_groups/4294967308");
        assert_int_equal(facts_reader_read(&reader, NIC, NULL, &facts), -ERANGE);
        facts_reader_clear(&reader);
        (void)udev_unref(udev);
}

/* What stands where VFs of a PF would, of a device that can have none. */
static void test_vfs_without_sriov(void **state) {
        Fixture *f = *state;
        _cleanup_device_facts_ DeviceFacts facts = DEVICE_FACTS_NULL;
        FactsReader reader = FACTS_READER_NULL;
        struct udev *udev = udev_new();

        host_link(&f->host, host_device_file(NIC, "virtfn0"), "../" OTHER);
        assert_int_equal(facts_reader_init(&reader, f->host.root, udev), 0);
        assert_int_equal(facts_reader_read(&reader, NIC, NULL, &facts), 0);
        assert_int_equal(facts.num_vfs, 0);
        assert_false(facts_reader_is_stale(&reader, &facts));
        facts_reader_clear(&reader);
        (void)udev_unref(udev);
}

static void test_vfio_driver_that_is_part_of_the_kernel(void **state) {
        Fixture *f = *state;
        _cleanup_device_facts_ DeviceFacts plain = DEVICE_FACTS_NULL, variant = DEVICE_FACTS_NULL;

        host_write(&f->host, "sys/bus/pci/drivers/vfio-pci/bind", "");
        plain = read_facts(f, NIC);
        assert_null(plain.vfio_module);
        assert_string_equal(plain.vfio_driver, "vfio-pci");

        /* a better one may still be a module */
        host_write_aliases(&f->host,
                           "alias vfio_pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e_vfio_pci\n");
        variant = read_facts(f, NIC);
        assert_string_equal(variant.vfio_module, "e1000e_vfio_pci");
        assert_string_equal(variant.vfio_driver, "e1000e_vfio_pci");
}

static void test_type_unknown_is_none(void **state) {
        Fixture *f = *state;
        _cleanup_device_facts_ DeviceFacts facts = DEVICE_FACTS_NULL;

        host_set_group(&f->host, NIC, "12", "unknown\n");
        facts = read_facts(f, NIC);
        assert_int_equal(facts.group, 12);
        assert_null(facts.default_domain_type);
}

static void test_no_such_device(void **state) {
        Fixture *f = *state;
        DeviceFacts facts = { .group = 77 };
        FactsReader reader = FACTS_READER_NULL;
        struct udev *udev = udev_new();

        assert_int_equal(facts_reader_init(&reader, f->host.root, udev), 0);
        assert_int_equal(facts_reader_read(&reader, OTHER, NULL, &facts), -ENODEV);
        assert_int_equal(facts.group, 77);
        facts_reader_clear(&reader);
        (void)udev_unref(udev);
}

/* Leaves so many descriptors; returns the limit to be set again. */
static struct rlimit leave_descriptors(unsigned n) {
        int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
        struct rlimit before, now;

        assert_true(next >= 0);
        safe_close(next);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        now = (struct rlimit){ .rlim_cur = (rlim_t)next + n, .rlim_max = before.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
        return before;
}

/* A device that is left out would count as unplugged. */
static void test_no_start_without_all_devices(void **state) {
        Fixture *f = *state;
        unsigned failed = 0;
        int r;

        do {
                struct rlimit before;

                make_kernel(f);
                before = leave_descriptors(failed);
                r = f->kernel->ops->start(f->kernel);
                assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
                if (r < 0) {
                        assert_int_equal(r, -EMFILE);
                        f->kernel = kernel_free(f->kernel);
                        failed++;
                }
        } while (r < 0);
        assert_told(f, "seen " NIC " -;");
        assert_true(failed > 2); /* the monitor, a reader and its pipe */
}

static void test_what_could_not_be_read_is_read_later(void **state) {
        Fixture *f = *state;
        struct rlimit before;

        start(f);
        assert_told(f, "seen " NIC " -;");
        host_add_device(&f->host, OTHER, "0x020000\n");
        before = leave_descriptors(0);
        event(f, "add", "pci", OTHER, "/devices/" OTHER);
        assert_told(f, "");
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        run(f, 5000000);
        assert_told(f, "use " NIC ";"); /* may have changed as well */
        run(f, 5000000);
        assert_told(f, "seen " OTHER " -;");
}

static void test_aliases_are_read_again_when_changed(void **state) {
        Fixture *f = *state;
        DeviceFacts before = DEVICE_FACTS_NULL, after = DEVICE_FACTS_NULL;
        FactsReader reader = FACTS_READER_NULL;
        struct udev *udev = udev_new();

        assert_int_equal(facts_reader_init(&reader, f->host.root, udev), 0);
        assert_int_equal(facts_reader_read(&reader, NIC, NULL, &before), 0);
        assert_null(before.vfio_module);
        reader.vfio_changed.tv_sec--; /* the clock of the file system may not have moved on */
        host_write_aliases(&f->host, "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n");
        assert_int_equal(facts_reader_read(&reader, NIC, &before, &after), 0);
        assert_string_equal(after.vfio_module, "vfio_pci");
        assert_string_equal(after.vfio_driver, "vfio-pci");
        device_facts_clear(&before);
        device_facts_clear(&after);
        facts_reader_clear(&reader);
        (void)udev_unref(udev);
}

static void test_start_tells_all_with_overrides(void **state) {
        Fixture *f = *state;

        host_add_device(&f->host, OTHER, "0x020000\n");
        host_write(&f->host, host_device_file(OTHER, "driver_override"), "vfio-pci\n");
        start(f);
        assert_told(f, "seen " NIC " -;seen " OTHER " vfio-pci;");
        assert_int_equal(f->last.group, -1);
}

static void test_start_without_pci(void **state) {
        Fixture *f = *state;
        Host full = f->host;

        host_init(&f->host);
        start(f);
        assert_told(f, "");
        host_destroy(&full);
}

static void test_only_changes_are_told(void **state) {
        Fixture *f = *state;

        start(f);
        assert_told(f, "seen " NIC " -;");
        event(f, "change", "pci", NIC, "/sys/devices/pci0000:3a/" NIC);
        run(f, 100000);
        assert_told(f, "");
        host_set_driver(&f->host, NIC, "vfio-pci");
        event(f, "bind", "pci", NIC, "/sys/devices/pci0000:3a/" NIC);
        assert_told(f, "seen " NIC " -;");
        assert_string_equal(f->last.driver, "vfio-pci");
        host_write(&f->host, host_device_file(NIC, "driver_override"), "vfio-pci\n");
        event(f, "change", "pci", NIC, "/sys/devices/pci0000:3a/" NIC);
        run(f, 1000000);
        assert_told(f, "seen " NIC " vfio-pci;");
}

/* What no event tells of is found by looking; nothing is told where nothing changed. */
static void test_look(void **state) {
        Fixture *f = *state;

        add_sriov(f);
        start(f);
        assert_told(f, "seen " NIC " -;");
        discovery_look(f->discovery, NIC);
        run(f, 100000);
        assert_told(f, "");
        host_set_driver(&f->host, NIC, "vfio-pci");
        discovery_look(f->discovery, NIC);
        assert_told(f, "seen " NIC " -;");
        assert_string_equal(f->last.driver, "vfio-pci");
        host_write(&f->host, "sys/kernel/iommu_groups/12/type", "identity\n");
        discovery_look(f->discovery, NIC);
        assert_told(f, "seen " NIC " -;");
        assert_string_equal(f->last.default_domain_type, "identity");
        host_link(&f->host, host_device_file(NIC, "virtfn0"), "../0000:3b:10.0");
        discovery_look(f->discovery, NIC);
        assert_told(f, "seen " NIC " -;");
        assert_int_equal(f->last.num_vfs, 1);
        run(f, 100000);
        host_write(&f->host, host_device_file(NIC, "driver_override"), "vfio-pci\n");
        discovery_look(f->discovery, NIC);
        run(f, 100000);
        assert_told(f, "seen " NIC " vfio-pci;");
        host_remove(&f->host, host_device_file(NIC, "driver"));
        host_remove(&f->host, host_device_file(NIC, "vendor"));
        discovery_look(f->discovery, NIC);
        assert_told(f, "gone " NIC ";");
}

static void test_new_device_is_told_once_complete(void **state) {
        Fixture *f = *state;

        start(f);
        assert_told(f, "seen " NIC " -;");
        host_add_device(&f->host, OTHER, "0x020000\n");
        host_write(&f->host, host_device_file(OTHER, "driver_override"), "none\n");
        event(f, "add", "pci", OTHER, "/sys/devices/pci0000:3a/" OTHER);
        assert_told(f, "");
        run(f, 1000000);
        assert_told(f, "seen " OTHER " none;");
}

static void test_removed_device_is_told(void **state) {
        Fixture *f = *state;

        start(f);
        assert_told(f, "seen " NIC " -;");
        event(f, "remove", "pci", NIC, "/sys/devices/pci0000:3a/" NIC);
        assert_told(f, "gone " NIC ";");
        event(f, "remove", "pci", NIC, "/sys/devices/pci0000:3a/" NIC);
        event(f, "change", "net", "eth0", "/sys/devices/pci0000:3a/" NIC "/net/eth0");
        assert_told(f, "");
}

static void test_a_vf_that_goes_changes_its_pf(void **state) {
        Fixture *f = *state;

        add_sriov(f);
        host_add_device(&f->host, OTHER, "0x020000\n");
        host_link(&f->host, host_device_file(OTHER, "physfn"), "../" NIC);
        host_link(&f->host, host_device_file(NIC, "virtfn0"), "../" OTHER);
        start(f);
        assert_told(f, "seen " NIC " -;seen " OTHER " -;");
        host_remove(&f->host, host_device_file(NIC, "virtfn0"));
        event(f, "remove", "pci", OTHER, "/sys/devices/pci0000:3a/" OTHER);
        assert_told(f, "gone " OTHER ";seen " NIC " -;");
}

static void test_device_that_vanished_before_its_event(void **state) {
        Fixture *f = *state;

        start(f);
        assert_told(f, "seen " NIC " -;");
        host_remove(&f->host, host_device_file(NIC, "vendor"));
        event(f, "unbind", "pci", NIC, "/sys/devices/pci0000:3a/" NIC);
        assert_told(f, "gone " NIC ";");
}

static void test_use_is_of_the_nearest_device(void **state) {
        Fixture *f = *state;

        host_add_device(&f->host, OTHER, "0x060400\n");
        start(f);
        assert_told(f, "seen " NIC " -;seen " OTHER " -;");
        event(f, "add", "net", "eth0", "/sys/devices/pci0000:3a/" OTHER "/" NIC "/virtio0/net/eth0");
        assert_told(f, "use " NIC ";");
        event(f, "add", "block", "loop0", "/sys/devices/virtual/block/loop0");
        assert_told(f, "");
}

static void test_use_below_an_nvme_subsystem(void **state) {
        Fixture *f = *state;

        host_write(&f->host, "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0", "");
        host_write(&f->host, "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "");
        host_link(&f->host, "sys/class/nvme/nvme0/device", "../../../" NIC);
        start(f);
        assert_told(f, "seen " NIC " -;");
        event(f, "change", "block", "nvme0n1p1",
              "/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/nvme0n1p1");
        assert_told(f, "use " NIC ";");
}

/* A FIFO that nobody writes hangs its reader, as a pending unbind does on old kernels. */
static void make_override_hang(Fixture *f, const char *name) {
        host_remove(&f->host, host_device_file(name, "driver_override"));
        assert_int_equal(mkfifo(host_path(&f->host, host_device_file(name, "driver_override")),
                                0600),
                         0);
}

static void release_override(Fixture *f, const char *name, const char *value) {
        int fd = open(host_path(&f->host, host_device_file(name, "driver_override")),
                      O_WRONLY | O_NONBLOCK | O_CLOEXEC);

        assert_true(fd >= 0); /* ENXIO: nobody reads */
        assert_int_equal(write(fd, value, strlen(value)), (ssize_t)strlen(value));
        (void)close(fd);
}

static void test_hanging_override_holds_nothing_up(void **state) {
        Fixture *f = *state;

        host_add_device(&f->host, OTHER, "0x020000\n");
        host_write(&f->host, host_device_file(OTHER, "driver_override"), "none\n");
        make_override_hang(f, NIC);
        start(f);
        assert_told(f, "seen " NIC " -;seen " OTHER " none;");
        /* others are served on, and no second reader is left at the one that hangs */
        host_write(&f->host, host_device_file(OTHER, "driver_override"), "vfio-pci\n");
        event(f, "change", "pci", NIC, "/sys/devices/pci0000:3a/" NIC);
        event(f, "change", "pci", OTHER, "/sys/devices/pci0000:3a/" OTHER);
        run(f, 300000);
        assert_told(f, "seen " OTHER " vfio-pci;");
        /* and it is told when it comes back */
        release_override(f, NIC, "vfio-pci\n");
        host_remove(&f->host, host_device_file(NIC, "driver_override"));
        host_write(&f->host, host_device_file(NIC, "driver_override"), "vfio-pci\n");
        run(f, 1000000);
        assert_told(f, "seen " NIC " vfio-pci;");
}

static void test_answer_older_than_the_question_is_dropped(void **state) {
        Fixture *f = *state;

        make_override_hang(f, NIC);
        start(f);
        assert_told(f, "seen " NIC " -;");
        event(f, "change", "pci", NIC, "/sys/devices/pci0000:3a/" NIC);
        release_override(f, NIC, "stale\n");
        host_remove(&f->host, host_device_file(NIC, "driver_override"));
        host_write(&f->host, host_device_file(NIC, "driver_override"), "fresh\n");
        run(f, 1000000);
        assert_told(f, "seen " NIC " fresh;");
}

static void test_freed_while_an_override_hangs(void **state) {
        Fixture *f = *state;

        make_override_hang(f, NIC);
        start(f);
        assert_told(f, "seen " NIC " -;");
        f->kernel = kernel_free(f->kernel);
        release_override(f, NIC, "x"); /* lets the reader end */
}

/* Whatever this computer has: it must neither fail nor block. */
static void test_this_host(void **state) {
        Fixture *f = *state;
        KernelEvents events = {
                .device_seen = on_seen,
                .device_gone = on_gone,
                .node_changed = host_ignore_node,
                .device_use_changed = on_use,
                .ready = on_ready,
                .userdata = f,
        };

        assert_int_equal(linux_kernel_new(f->event, "/nowhere", &events, &f->kernel), 0);
        assert_int_equal(f->kernel->ops->start(f->kernel), 0);
        assert_string_equal(f->kernel->ops->name, "linux");
}

#define GROUP 4000000 /* no group of this computer's has that number */
#define CDEV  "vfio4000000"

/* A file is what the kernel's number for just that node says, whoever brought it. */
static void test_files_by_number(void **state) {
        Fixture *f = *state;
        int null = open("/dev/null", O_RDWR | O_CLOEXEC),
            zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
        int ends[2];
        const struct {
                FileRole role;
                int fd, is;
        } files[] = {
                { FILE_GROUP, null, 1 },     { FILE_GROUP, zero, 0 },   { FILE_CONTAINER, zero, 1 },
                { FILE_CONTAINER, null, 0 }, { FILE_IOMMUFD, null, 0 }, { FILE_CDEV, zero, 1 },
                { FILE_CDEV, null, 0 },
        };

        assert_true(null >= 0 && zero >= 0);
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        host_set_group(&f->host, NIC, "4000000", "DMA\n");
        host_write(&f->host, "sys/class/vfio/4000000/dev", "1:3\n");
        host_write(&f->host, "sys/class/misc/vfio/dev", "1:5\n");
        host_write(&f->host, host_device_file(NIC, "vfio-dev/" CDEV "/dev"), "1:5\n");
        start(f);
        for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
                assert_int_equal(discovery_is_file(f->discovery, GROUP, files[i].role, NIC,
                                                   files[i].fd),
                                 files[i].is);
                assert_int_not_equal(discovery_is_file(f->discovery, GROUP, files[i].role, NIC,
                                                       ends[1]),
                                     1);
        }
        assert_int_equal(discovery_is_file(f->discovery, GROUP + 1, FILE_GROUP, NULL, null), 0);
        (void)close(null);
        (void)close(zero);
        (void)close(ends[0]);
        (void)close(ends[1]);
}

/* A kernel with nodes of single devices: udev has to have finished with each. */
static void test_nodes_of_devices_are_waited_for(void **state) {
        Fixture *f = *state;
        const Step unbind = {
                .kind = STEP_UNBIND, .device = (char *)NIC, .group = GROUP, .value = (char *)"x"
        };
        struct timespec now;
        uint64_t usec;

        assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
        usec = (uint64_t)now.tv_sec * 1000000U;
        host_set_group(&f->host, NIC, "4000000", "DMA\n");
        start(f);
        assert_int_equal(discovery_nodes_ready(f->discovery, GROUP), 0);
        host_write(&f->host, "sys/class/vfio/4000000/dev", "510:0\n");
        host_write(&f->host, host_device_file(NIC, "vfio-dev/" CDEV "/uevent"), "");
        event_at(f, "add", "vfio", "4000000", "/x", usec);
        assert_int_equal(discovery_nodes_ready(f->discovery, GROUP), 1);
        host_write(&f->host, host_device_file(NIC, "vfio-dev/" CDEV "/dev"), "511:0\n");
        host_write(&f->host, "sys/class/vfio-dev/" CDEV "/dev", "511:0\n");
        assert_int_equal(discovery_nodes_ready(f->discovery, GROUP), 0);
        event_at(f, "add", "vfio-dev", CDEV, "/x", usec);
        assert_int_equal(discovery_nodes_ready(f->discovery, GROUP), 1);
        /* the next binding has the same names */
        host_remove(&f->host, "sys/class/vfio-dev/" CDEV "/dev");
        host_remove(&f->host, "sys/class/vfio-dev/" CDEV);
        discovery_after_step(f->discovery, &unbind, true, NULL);
        host_write(&f->host, "sys/class/vfio-dev/" CDEV "/dev", "511:0\n");
        assert_int_equal(discovery_nodes_ready(f->discovery, GROUP), 0);
        event_at(f, "add", "vfio-dev", CDEV, "/x", usec + 3600000000U);
        assert_int_equal(discovery_nodes_ready(f->discovery, GROUP), 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_facts_of_an_endpoint),
                TEST(test_facts_that_are_missing),
                TEST(test_numbers_that_do_not_fit),
                TEST(test_vfs_without_sriov),
                TEST(test_vfio_driver_that_is_part_of_the_kernel),
                TEST(test_type_unknown_is_none),
                TEST(test_no_such_device),
                TEST(test_no_start_without_all_devices),
                TEST(test_what_could_not_be_read_is_read_later),
                TEST(test_aliases_are_read_again_when_changed),
                TEST(test_start_tells_all_with_overrides),
                TEST(test_start_without_pci),
                TEST(test_only_changes_are_told),
                TEST(test_look),
                TEST(test_new_device_is_told_once_complete),
                TEST(test_removed_device_is_told),
                TEST(test_a_vf_that_goes_changes_its_pf),
                TEST(test_device_that_vanished_before_its_event),
                TEST(test_use_is_of_the_nearest_device),
                TEST(test_use_below_an_nvme_subsystem),
                TEST(test_hanging_override_holds_nothing_up),
                TEST(test_answer_older_than_the_question_is_dropped),
                TEST(test_freed_while_an_override_hangs),
                TEST(test_files_by_number),
                TEST(test_nodes_of_devices_are_waited_for),
                TEST(test_this_host),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
