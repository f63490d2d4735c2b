/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The program itself, on a folder in place of a host: what a daemon that was taken over cannot do,
 * and that a step holds its lock and heeds its permit. An attribute that is a FIFO makes a step
 * hang as long as the test likes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <acl/libacl.h>
#include <cmocka.h>
#include <json-c/json.h>
#include <signal.h>
#include <sys/acl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "executor-fixture.h"

static bool is_locked(const Fixture *f) {
        json_object *o, *locked;
        size_t n;

        put(f, "{\"locks\":[11,12,13]}");
        o = take(f);
        assert_non_null(o);
        assert_true(json_object_object_get_ex(o, "locked", &locked));
        n = json_object_array_length(locked);
        assert_true(n <= 1);
        if (n == 1)
                assert_int_equal(json_object_get_int(json_object_array_get_idx(locked, 0)), 12);
        (void)json_object_put(o);
        return n == 1;
}

static void wait_for_lock(const Fixture *f, bool wanted) {
        for (int i = 0; i < TIMEOUT_MSEC / 10; i++) {
                if (is_locked(f) == wanted)
                        return;
                (void)usleep(10000);
        }
        fail_msg("the group is %s", wanted ? "not locked" : "still locked");
}

static void make_fifo(const Fixture *f, const char *path) {
        (void)unlink(host_path(&f->host, path));
        assert_int_equal(mkfifo(host_path(&f->host, path), 0600), 0);
}

/* Lets a step that hangs on the FIFO go on, and says what it wrote. */
static void release_fifo(const Fixture *f, const char *path, const char *expected) {
        char text[64] = "";
        int fd = open(host_path(&f->host, path), O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_true(read(fd, text, sizeof(text) - 1) >= 0);
        assert_string_equal(text, expected);
        safe_close(fd);
}

static void assert_nobody_writes(const Fixture *f, const char *path) {
        char c;
        int fd = open(host_path(&f->host, path), O_RDONLY | O_NONBLOCK | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(read(fd, &c, 1), 0);
        safe_close(fd);
}

static void test_checks_the_device(void **state) {
        Fixture *f = *state;

        host_write(&f->host, "sys/bus/pci/devices/0000:00:00.0/vendor", "0x8086\n");
        assert_step(f, STEP("inspect", ""), 0, NULL);
        assert_step(f, "{\"seq\":1,\"step\":\"inspect\",\"device\":\"../../../etc\",\"group\":12}",
                    EINVAL, "no name of a PCI device");
        assert_step(f,
                    "{\"seq\":1,\"step\":\"inspect\",\"device\":\"" DEVICE "/../x\",\"group\":12}",
                    EINVAL, "no name of a PCI device");
        assert_step(f, "{\"seq\":1,\"step\":\"inspect\",\"device\":\"0000:3b:00.1\",\"group\":12}",
                    ENODEV, "there is no device");
        assert_step(f, "{\"seq\":1,\"step\":\"inspect\",\"device\":\"0000:00:00.0\",\"group\":12}",
                    ENODEV, "has no IOMMU group");
        assert_step(f, "{\"seq\":1,\"step\":\"inspect\",\"device\":\"" DEVICE "\",\"group\":13}",
                    ESTALE, "is in IOMMU group 12, not in 13");
}

static void test_checks_the_driver(void **state) {
        Fixture *f = *state;

        assert_step(f, STEP("set-override", ",\"value\":\"no-such-driver\""), EPERM, "may not have");
        assert_step(f, STEP("set-override", ",\"value\":\"builtin\""), EPERM, "may not have");
        assert_step(f, STEP("set-override", ",\"value\":\"../x\""), EINVAL, "no name of a driver");
        assert_step(f, STEP("bind", ",\"value\":\"nvme\""), EPERM, "may not have");
        assert_step(f, STEP("bind", ",\"value\":\"my_vfio_pci\""), EPERM, "may not have");
        assert_file(f, NODE "driver_override", "(null)\n");
        assert_file(f, "sys/bus/pci/drivers/nvme/bind", "");
        /* one that is listed for the device, VFIO's, and none at all */
        assert_step(f, STEP("set-override", ",\"value\":\"e1000e\""), 0, NULL);
        assert_file(f, NODE "driver_override", "e1000e");
        assert_step(f, STEP("set-override", ",\"value\":\"vfio-pci\""), 0, NULL);
        assert_file(f, NODE "driver_override", "vfio-pci");
        assert_step(f, STEP("set-override", ",\"value\":\"none\""), 0, NULL);
        assert_step(f, STEP("set-override", ""), 0, NULL);
        assert_file(f, NODE "driver_override", "\n");
}

static void test_the_way_back_is_allowed(void **state) {
        Fixture *f = *state;

        host_set_driver(&f->host, DEVICE, "builtin");
        host_write(&f->host, NODE "driver_override", "by-hand\n");
        assert_step(f, STEP("set-override", ",\"value\":\"vfio-pci\""), 0, NULL);
        host_remove(&f->host, NODE "driver");
        /* another process remembers too */
        executor_stop(f);
        executor_start(f);
        assert_step(f, STEP("set-override", ",\"value\":\"by-hand\""), 0, NULL);
        assert_file(f, NODE "driver_override", "by-hand");
        /* the write does nothing here, and that is noticed */
        assert_step(f, STEP("bind", ",\"value\":\"builtin\""), ENODEV,
                    "is unbound instead of bound to builtin");
        assert_file(f, "sys/bus/pci/drivers/builtin/bind", DEVICE);
        assert_step(f, STEP("bind", ",\"value\":\"nvme\""), EPERM, "may not have");
}

static void test_unbind(void **state) {
        Fixture *f = *state;

        make_fifo(f, "sys/bus/pci/drivers/e1000e/unbind");
        assert_step(f, STEP("unbind", ",\"value\":\"nvme\""), ESTALE,
                    "is bound to e1000e, not to nvme");
        host_write(&f->host, NODE "boot_vga", "1\n");
        put(f, STEP("unbind", ",\"value\":\"e1000e\""));
        for (json_object *o = take(f); o; o = (json_object_put(o), NULL)) {
                json_object *list;

                assert_int_equal(json_object_get_int(json_object_object_get(o, "errno")), EBUSY);
                assert_true(json_object_object_get_ex(o, "obstacles", &list));
                assert_int_equal(json_object_array_length(list), 1);
                assert_string_equal(json_get_string(json_object_array_get_idx(list, 0), "code"),
                                    "console-gpu");
        }
        put(f, STEP("unbind", ",\"value\":\"e1000e\",\"force\":true"));
        wait_for_lock(f, true);
        host_remove(&f->host, NODE "driver");
        release_fifo(f, "sys/bus/pci/drivers/e1000e/unbind", DEVICE);
        assert_done(f, 0, NULL);
        /* what is done already stays done */
        assert_step(f, STEP("unbind", ",\"value\":\"e1000e\""), 0, NULL);
}

static void test_unbind_of_an_open_device(void **state) {
        Fixture *f = *state;
        char own[64];

        host_set_driver(&f->host, DEVICE, "vfio-pci");
        host_write(&f->host, "sys/bus/pci/drivers/vfio-pci/unbind", "");
        host_add_holder(&f->host, "4711", "evil\x01\xff\"name\n", "/dev/vfio/12");
        put(f, STEP("inspect", ""));
        for (json_object *o = take(f); o; o = (json_object_put(o), NULL))
                assert_non_null(strstr(json_object_to_json_string(o), "evil??\\\"name (pid 4711)"));
        /* the daemon's own descriptors keep a group claimed and are no obstacle */
        host_remove(&f->host, "proc/4711/fd/7");
        (void)snprintf(own, sizeof(own), "proc/%d/fd/3", (int)getpid());
        host_link(&f->host, own, "/dev/vfio/12");
        put(f, STEP("inspect", ""));
        for (json_object *o = take(f); o; o = (json_object_put(o), NULL))
                assert_null(json_object_object_get(o, "obstacles"));
}

static void test_lock_and_cancel(void **state) {
        Fixture *f = *state;

        make_fifo(f, "sys/bus/pci/drivers_probe");
        assert_false(is_locked(f));
        put(f, STEP("probe", ""));
        wait_for_lock(f, true);
        assert_step(f, "{\"seq\":2,\"step\":\"inspect\",\"device\":\"" DEVICE "\",\"group\":12}",
                    EWOULDBLOCK, "a step of an earlier run still works on IOMMU group 12");
        put(f, "{\"cancel\":1}");
        wait_for_lock(f, false);
        assert_nobody_writes(f, "sys/bus/pci/drivers_probe");
        /* nothing more was said about it, and its number is free */
        put(f, "{\"cancel\":1}");
        assert_step(f, STEP("inspect", ""), 0, NULL);
}

#define SET_TYPE "{\"seq\":1,\"step\":\"set-type\",\"group\":12,\"value\":\"identity\"}"

/* The executor reads the policy itself, again for each step. */
static void test_policy(void **state) {
        Fixture *f = *state;

        host_write(&f->host, NODE "vendor", "0x8086\n");
        host_write(&f->host, NODE "device", "0x10d3\n");
        host_write(&f->host, "etc/dmaownerd.json",
                   "{\"rules\":[{\"match\":{\"with\":\"" DEVICE "\"},\"protect\":true}]}");
        assert_step(f, STEP("set-override", ",\"value\":\"vfio-pci\""), EPERM,
                    "protected: the rule at");
        assert_step(f, STEP("set-override", ",\"value\":\"none\""), EPERM, "protected");
        assert_step(f, STEP("unbind", ",\"value\":\"e1000e\""), EPERM, "protected");
        assert_step(f, STEP("bind", ",\"value\":\"vfio-pci\""), EPERM, "protected");
        assert_step(f, STEP("scrub", ""), EPERM, "no rule says");
        assert_step(f, SET_TYPE, EPERM, "protected");
        assert_step(f, "{\"seq\":1,\"step\":\"claim\",\"group\":12}", EPERM, "protected");
        /* that takes nothing, so it does not make the device one that was taken */
        assert_step(f, STEP("set-override", ""), 0, NULL);
        assert_step(f, "{\"seq\":1,\"step\":\"lend\",\"group\":12,\"value\":\"auto\"}", EPERM,
                    "protected");
        host_write(&f->host, NODE "driver_override", "builtin\n");
        assert_step(f, STEP("set-override", ""), EPERM, "protected");
        host_write(&f->host, NODE "driver_override", "(null)\n");
        /* a file that is wrong changes nothing */
        host_write(&f->host, "etc/dmaownerd.json", "{");
        assert_step(f, STEP("unbind", ",\"value\":\"e1000e\""), EPERM, "protected");
        host_write(&f->host, "etc/dmaownerd.json",
                   "{\"rules\":[{\"match\":{\"id\":\"8086:10d3\",\"driver\":\"e1000e\"},"
                   "\"drivers\":\"builtin\"}]}");
        assert_step(f, STEP("set-override", ",\"value\":\"builtin\""), 0, NULL);
        host_write(&f->host, "etc/dmaownerd.json",
                   "{\"rules\":[{\"match\":{\"driver\":\"none\"},\"drivers\":\"builtin\"}]}");
        assert_step(f, STEP("set-override", ",\"value\":\"builtin\""), EPERM, "no rule lists it");
        host_remove(&f->host, "etc/dmaownerd.json");
        assert_step(f, STEP("set-override", ",\"value\":\"vfio-pci\""), 0, NULL);
        /* it was taken once, but the host has it: protected again; without a driver it is on its way */
        host_write(&f->host, "etc/dmaownerd.json",
                   "{\"rules\":[{\"match\":{\"with\":\"" DEVICE "\"},\"protect\":true}]}");
        assert_step(f, SET_TYPE, EPERM, "protected");
        host_remove(&f->host, NODE "driver");
        assert_step(f, SET_TYPE, 0, NULL);
}

/* The process of the step that was begun last; 0 if the kernel does not tell. */
static pid_t step_process(const Fixture *f) {
        char path[64], text[128] = "", *last;
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)f->pid, (int)f->pid);
        file = fopen(path, "r");
        if (!file)
                return 0;
        assert_non_null(fgets(text, sizeof(text), file));
        assert_int_equal(fclose(file), 0);
        /* "12 13 ": one before it may not have been waited for yet */
        text[strcspn(text, "\n")] = '\0';
        for (size_t n = strlen(text); n > 0 && text[n - 1] == ' '; n--)
                text[n - 1] = '\0';
        last = strrchr(text, ' ');
        assert_true(atoi(last ? last : text) > 1);
        return atoi(last ? last : text);
}

/* A step sleeps nowhere but in what it writes. */
static void wait_for_sleep(pid_t pid) {
        char path[32], text[128] = "";

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        for (int i = 0; i < TIMEOUT_MSEC / 10 && !strstr(text, ") S "); i++) {
                FILE *file = fopen(path, "r");

                assert_non_null(file);
                assert_non_null(fgets(text, sizeof(text), file));
                assert_int_equal(fclose(file), 0);
                (void)usleep(10000);
        }
        assert_non_null(strstr(text, ") S "));
}

static void test_cancelled_reset_puts_back(void **state) {
        Fixture *f = *state;
        pid_t pid;

        host_remove(&f->host, NODE "driver");
        assert_step(f, STEP("reset", ",\"value\":\"auto\""), ENOTTY, "no reset method");
        host_write(&f->host, NODE "reset_method", "flr bus\n");
        make_fifo(f, NODE "reset");
        assert_step(f, STEP("reset", ",\"value\":\"fl\""), EINVAL, "it has: flr bus");
        put(f, STEP("reset", ",\"value\":\"bus\""));
        wait_for_lock(f, true);
        for (int i = 0; i < TIMEOUT_MSEC / 10; i++) {
                struct stat st;

                if (stat(host_path(&f->host, NODE "reset_method"), &st) == 0 && st.st_size == 3)
                        break;
                (void)usleep(10000);
        }
        assert_file(f, NODE "reset_method", "bus");
        pid = step_process(f);
        if (pid == 0)
                skip();
        wait_for_sleep(pid);
        put(f, "{\"cancel\":1}");
        assert_true(is_locked(f));
        release_fifo(f, NODE "reset", "1");
        wait_for_lock(f, false);
        assert_file(f, NODE "reset_method", "flr bus");
        /* a host driver would be disturbed */
        host_set_driver(&f->host, DEVICE, "e1000e");
        assert_step(f, STEP("reset", ",\"value\":\"auto\""), EBUSY, "is bound to e1000e");
}

/* What has the group for a moment only, like an inspection beside a plan, is waited for. */
static void test_lock_is_waited_for(void **state) {
        Fixture *f = *state;

        make_fifo(f, "sys/bus/pci/drivers_probe");
        put(f, STEP("probe", ""));
        wait_for_lock(f, true);
        put(f, "{\"seq\":2,\"step\":\"inspect\",\"device\":\"" DEVICE "\",\"group\":12}");
        release_fifo(f, "sys/bus/pci/drivers_probe", DEVICE);
        assert_done(f, 0, NULL);
        assert_done(f, 0, NULL);
        /* no longer than it has the permit to */
        put(f, STEP("probe", ""));
        wait_for_lock(f, true);
        put(f, "{\"seq\":2,\"step\":\"inspect\",\"device\":\"" DEVICE "\",\"group\":12}");
        put(f, "{\"cancel\":2}");
        release_fifo(f, "sys/bus/pci/drivers_probe", DEVICE);
        assert_done(f, 0, NULL);
        assert_step(f, STEP("inspect", ""), 0, NULL);
}

static void test_lost_connection_withdraws_permits(void **state) {
        Fixture *f = *state;
        int old = f->fd;

        make_fifo(f, "sys/bus/pci/drivers_probe");
        put(f, STEP("probe", ""));
        wait_for_lock(f, true);
        /* a daemon that starts anew takes the place of the old one */
        f->fd = executor_dial(f);
        wait_for_lock(f, false);
        assert_int_equal(recv(old, (char[1]){}, 1, 0), 0);
        safe_close(old);
        put(f, STEP("probe", ""));
        wait_for_lock(f, true);
        safe_close(f->fd);
        f->fd = executor_dial(f);
        wait_for_lock(f, false);
        assert_nobody_writes(f, "sys/bus/pci/drivers_probe");
}

/* Nobody sends a signal when the executor itself is killed: only the permit tells the step, which was on its
 * way to its write. */
static void test_killed_executor_withdraws_permits(void **state) {
        static char text[] = "alias pci:* e1000e\n";
        _cleanup_free_ char *aliases = NULL;
        Fixture *f = *state;
        struct utsname u;
        int status, fd;

        assert_int_equal(uname(&u), 0);
        aliases = str_format("lib/modules/%s/modules.alias", u.release);
        assert_non_null(aliases);
        make_fifo(f, aliases);
        put(f, STEP("set-override", ",\"value\":\"e1000e\""));
        wait_for_lock(f, true);
        assert_int_equal(kill(f->pid, SIGKILL), 0);
        assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
        safe_close(f->fd);
        /* the step reads on */
        fd = open(host_path(&f->host, aliases), O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_true(write(fd, text, strlen(text)) > 0);
        safe_close(fd);
        host_remove(&f->host, "socket");
        executor_start(f);
        wait_for_lock(f, false);
        assert_file(f, NODE "driver_override", "(null)\n");
}

static void test_death_of_a_step_is_told(void **state) {
        Fixture *f = *state;
        pid_t pid;

        make_fifo(f, "sys/bus/pci/drivers_probe");
        put(f, STEP("probe", ""));
        wait_for_lock(f, true);
        pid = step_process(f);
        if (pid == 0)
                skip();
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_done(f, EIO, "the process of the step died (signal 9)");
        assert_false(is_locked(f));
}

static void test_steps_that_are_none(void **state) {
        Fixture *f = *state;

        assert_step(f, "{\"seq\":7}", EINVAL, "\"step\"");
        assert_step(f, STEP("explode", ""), EINVAL, "explode");
        assert_step(f, STEP("inspect", ",\"uid\":\"root\""), EINVAL, "\"uid\"");
        assert_step(f, STEP("release", ""), EOPNOTSUPP, "the executor has no step \"release\"");
        assert_step(f, "{\"seq\":7,\"step\":\"load-module\",\"value\":\"nvme\"}", EPERM,
                    "neither VFIO's nor");
        assert_step(f, "{\"seq\":7,\"step\":\"load-module\",\"value\":\"vfio_pci\"}", 0, NULL);
        assert_step(f, "{\"seq\":7,\"step\":\"set-type\",\"group\":12,\"value\":\"blocked\"}",
                    EINVAL, "no default domain type");
        assert_step(f, "{\"seq\":7,\"step\":\"set-type\",\"group\":13,\"value\":\"DMA\"}", ENOENT,
                    "no IOMMU group 13");
        assert_step(f, "{\"seq\":7,\"step\":\"set-type\",\"group\":12,\"value\":\"DMA-FQ\"}", 0,
                    NULL);
        assert_file(f, "sys/kernel/iommu_groups/12/type", "DMA-FQ");
}

static void test_malformed_packets_end_the_connection(void **state) {
        static const char *const packets[] = {
                "",
                "x",
                "[]",
                "{}",
                "{\"seq\":1",
                "{\"seq\":1,\"step\":\"inspect\"} x",
                "{'a':1}",
                "{\"locks\":5}",
                "{\"locks\":[-1]}",
                "{\"locks\":[\"../x\"]}",
                "{\"cancel\":\"1\"}",
                "{\"a\":[[[[[[[[[[[[1]]]]]]]]]]]]}",
        };
        Fixture *f = *state;
        _cleanup_free_ char *big = malloc(70000);

        for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
                put(f, packets[i]);
                assert_null(take(f));
                safe_close(f->fd);
                f->fd = executor_dial(f);
        }
        assert_non_null(big);
        memset(big, ' ', 69999);
        big[69999] = '\0';
        memcpy(big, "{\"locks\":[]}", strlen("{\"locks\":[]}"));
        put(f, big);
        assert_null(take(f));
        safe_close(f->fd);
        f->fd = executor_dial(f);
        assert_step(f, STEP("inspect", ""), 0, NULL);
}

static void test_another_user_is_refused(void **state) {
        Fixture *f = *state;
        int status;
        pid_t pid;

        if (geteuid() != 0)
                skip();
        assert_int_equal(chmod(f->host.root, 0755), 0);
        assert_int_equal(chmod(host_path(&f->host, "socket"), 0666), 0);
        pid = fork();
        if (pid == 0) {
                int fd;

                if (setresuid(65534, 65534, 65534) < 0)
                        _exit(1);
                fd = executor_dial(f);
                (void)send(fd, "{\"locks\":[]}", strlen("{\"locks\":[]}"), MSG_NOSIGNAL);
                /* the end, or a reset because the packet was never read */
                _exit(recv(fd, (char[64]){}, 64, 0) > 0 ? 2 : 0);
        }
        assert_true(pid > 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        /* and did not push the rightful one out */
        assert_false(is_locked(f));
}

static void assert_node_at(const Fixture *f, const char *name, uid_t uid, mode_t mode,
                           const char *expected) {
        const char *path = host_path(&f->host, name);
        acl_t acl, wanted;
        struct stat st;

        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_uid, uid);
        assert_int_equal(st.st_mode & 0777, mode);
        acl = acl_get_file(path, ACL_TYPE_ACCESS);
        wanted = acl_from_text(expected);
        assert_true(acl && wanted);
        assert_int_equal(acl_cmp(acl, wanted), 0);
        (void)acl_free(acl);
        (void)acl_free(wanted);
}

static void assert_node(const Fixture *f, uid_t uid, mode_t mode, const char *expected) {
        assert_node_at(f, "dev/vfio/12", uid, mode, expected);
}

static void make_node(const Fixture *f, const char *name, const char *number, const char *content) {
        host_write(&f->host, number, content);
        if (mknod(host_path(&f->host, name), S_IFCHR | 0600, makedev(1, 3)) < 0)
                skip();
        assert_int_equal(chmod(host_path(&f->host, name), 0600), 0);
}

/* Kernels with nodes of single devices: all or none of them are given. */
static void test_nodes_of_devices(void **state) {
        static const char cdev[] = "dev/vfio/devices/vfio3";
        Fixture *f = *state;

        if (geteuid() != 0)
                skip();
        make_node(f, "dev/vfio/12", "sys/class/vfio/12/dev", "1:3\n");
        make_node(f, cdev, NODE "vfio-dev/vfio3/dev", "1:3\n");
        assert_int_equal(chown(host_path(&f->host, cdev), 77, 78), 0);
        assert_step(f, "{\"seq\":1,\"step\":\"grant-node\",\"group\":12,\"uid\":1000}", 0, NULL);
        assert_node(f, 0, 0660, "u::rw,u:1000:rw,g::-,m::rw,o::-");
        assert_node_at(f, cdev, 0, 0660, "u::rw,u:1000:rw,g::-,m::rw,o::-");
        assert_step(f, "{\"seq\":1,\"step\":\"revoke-node\",\"group\":12,\"uid\":1000}", 0, NULL);
        assert_node(f, 0, 0600, "u::rw,g::-,o::-");
        assert_node_at(f, cdev, 77, 0600, "u::rw,g::-,o::-");
        host_write(&f->host, "sys/class/vfio/12/dev", "1:5\n");
        assert_step(f, "{\"seq\":1,\"step\":\"grant-node\",\"group\":12,\"uid\":1000}", EPERM,
                    "is not the node that VFIO made");
        assert_node_at(f, cdev, 77, 0600, "u::rw,g::-,o::-");
        host_write(&f->host, "sys/class/vfio/12/dev", "1:3\n");
        host_write(&f->host, NODE "vfio-dev/vfio3/dev", "1:5\n");
        assert_step(f, "{\"seq\":1,\"step\":\"grant-node\",\"group\":12,\"uid\":1000}", EPERM,
                    "is not the node that VFIO made");
        assert_node(f, 0, 0600, "u::rw,g::-,o::-");
}

static void test_node(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *old = NULL;

        if (geteuid() != 0)
                skip();
        assert_step(f, "{\"seq\":1,\"step\":\"grant-node\",\"group\":12,\"uid\":1000}", ENOENT,
                    NULL);
        host_write(&f->host, "dev/vfio/12", "");
        host_write(&f->host, "sys/class/vfio/12/dev", "1:3\n");
        assert_step(f, "{\"seq\":1,\"step\":\"grant-node\",\"group\":12,\"uid\":1000}", EPERM,
                    "is not the node that VFIO made");
        assert_step(f, "{\"seq\":1,\"step\":\"wait-closed\",\"group\":12}", EPERM,
                    "is not the node that VFIO made");
        host_remove(&f->host, "dev/vfio/12");
        if (mknod(host_path(&f->host, "dev/vfio/12"), S_IFCHR | 0600, makedev(1, 3)) < 0)
                skip();
        assert_int_equal(chmod(host_path(&f->host, "dev/vfio/12"), 0644), 0);
        assert_int_equal(chown(host_path(&f->host, "dev/vfio/12"), 77, 78), 0);
        host_write(&f->host, "sys/class/vfio/12/dev", "1:5\n");
        assert_step(f, "{\"seq\":1,\"step\":\"grant-node\",\"group\":12,\"uid\":1000}", EPERM,
                    "is not the node that VFIO made");
        host_write(&f->host, "sys/class/vfio/12/dev", "1:3\n");
        assert_step(f, "{\"seq\":1,\"step\":\"revoke-node\",\"group\":12,\"uid\":1000}", 0, NULL);
        assert_node(f, 77, 0644, "u::rw,g::r,o::r");

        assert_step(f, "{\"seq\":1,\"step\":\"grant-node\",\"group\":12,\"uid\":1000}", 0, NULL);
        assert_node(f, 0, 0660, "u::rw,u:1000:rw,g::-,m::rw,o::-");
        assert_step(f, "{\"seq\":1,\"step\":\"grant-node\",\"group\":12,\"uid\":0}", 0, NULL);
        assert_node(f, 0, 0600, "u::rw,g::-,o::-");
        /* what is put back is what was there before the first, also after a restart */
        executor_stop(f);
        executor_start(f);
        assert_step(f, "{\"seq\":1,\"step\":\"revoke-node\",\"group\":12,\"uid\":0}", 0, NULL);
        assert_node(f, 77, 0644, "u::rw,g::r,o::r");

        /* a node that was made anew has nothing to be put back */
        assert_step(f, "{\"seq\":1,\"step\":\"grant-node\",\"group\":12,\"uid\":1000}", 0, NULL);
        old = strdup(host_path(&f->host, "dev/old"));
        assert_non_null(old);
        /* moved, so that its inode cannot be used again */
        assert_int_equal(rename(host_path(&f->host, "dev/vfio/12"), old), 0);
        assert_int_equal(mknod(host_path(&f->host, "dev/vfio/12"), S_IFCHR | 0640, makedev(1, 3)),
                         0);
        assert_int_equal(chmod(host_path(&f->host, "dev/vfio/12"), 0640), 0);
        assert_step(f, "{\"seq\":1,\"step\":\"revoke-node\",\"group\":12,\"uid\":1000}", 0, NULL);
        assert_node(f, 0, 0640, "u::rw,g::r,o::-");
}

static void test_no_node_to_claim(void **state) {
        Fixture *f = *state;

        assert_step(f, "{\"seq\":1,\"step\":\"claim\",\"group\":12}", ENOENT, "has no VFIO node");
        assert_step(f, "{\"seq\":1,\"step\":\"wait-closed\",\"group\":12}", ENOENT,
                    "has no VFIO node");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_checks_the_device, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_checks_the_driver, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_the_way_back_is_allowed, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_unbind, executor_setup, executor_teardown),
                cmocka_unit_test_setup_teardown(test_unbind_of_an_open_device, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_lock_and_cancel, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_policy, executor_setup, executor_teardown),
                cmocka_unit_test_setup_teardown(test_cancelled_reset_puts_back, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_lock_is_waited_for, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_killed_executor_withdraws_permits,
                                                executor_setup, executor_teardown),
                cmocka_unit_test_setup_teardown(test_lost_connection_withdraws_permits,
                                                executor_setup, executor_teardown),
                cmocka_unit_test_setup_teardown(test_death_of_a_step_is_told, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_steps_that_are_none, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_malformed_packets_end_the_connection,
                                                executor_setup, executor_teardown),
                cmocka_unit_test_setup_teardown(test_another_user_is_refused, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_node, executor_setup, executor_teardown),
                cmocka_unit_test_setup_teardown(test_nodes_of_devices, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_no_node_to_claim, executor_setup,
                                                executor_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
