/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An unbind under those who have the device open. A FIFO in place of the attribute hangs as the
 * kernel does. */
#include "executor-fixture.h"

#include <sys/stat.h>

#define UNBIND "sys/bus/pci/drivers/vfio-pci/unbind"
#define EVICT  STEP("evict", ",\"value\":\"vfio-pci\"")

static void make_fifo(const Fixture *f) {
        host_set_driver(&f->host, DEVICE, "vfio-pci");
        host_write(&f->host, UNBIND, "");
        host_remove(&f->host, UNBIND);
        assert_int_equal(mkfifo(host_path(&f->host, UNBIND), 0600), 0);
}

static void holder_closes(const Fixture *f) {
        char text[64] = "";
        int fd = open(host_path(&f->host, UNBIND), O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_true(read(fd, text, sizeof(text) - 1) >= 0);
        assert_string_equal(text, DEVICE);
        safe_close(fd);
}

static bool is_locked(const Fixture *f) {
        json_object *o, *locked;
        bool found;

        put(f, "{\"locks\":[12]}");
        o = take(f);
        assert_true(json_object_object_get_ex(o, "locked", &locked));
        found = json_object_array_length(locked) > 0;
        (void)json_object_put(o);
        return found;
}

static pid_t child_of(pid_t pid) {
        char path[64];
        pid_t child = 0;
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
        file = fopen(path, "r");
        if (!file)
                return 0; /* gone */
        if (fscanf(file, "%d", &child) != 1)
                child = 0;
        assert_int_equal(fclose(file), 0);
        return child;
}

static bool is_asleep(pid_t pid) {
        char path[64], state = '?';
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        file = fopen(path, "r");
        if (!file)
                return false;
        if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
                state = '?';
        assert_int_equal(fclose(file), 0);
        return state == 'S';
}

/* The executor's process of the step, and that one's of the unbind. A step that is cancelled before writes nothing. */
static void wait_until_in_kernel(const Fixture *f) {
        pid_t step = 0, unbind = 0;

        for (int i = 0; unbind == 0 || !is_asleep(unbind); i++) {
                assert_true(i < TIMEOUT_MSEC / 10);
                (void)usleep(10000);
                step = child_of(f->pid);
                unbind = step > 0 ? child_of(step) : 0;
        }
}

static void assert_waits_for(const Fixture *f, const char *who) {
        json_object *o = take(f);

        assert_string_equal(json_get_string(o, "event"), "waiting");
        assert_string_equal(json_get_string(o, "text"), who);
        (void)json_object_put(o);
}

static void test_says_who_and_waits(void **state) {
        Fixture *f = *state;

        make_fifo(f);
        host_add_holder(&f->host, "4711", "dpdk-testpmd\n", "/dev/vfio/12");
        put(f, EVICT);
        assert_waits_for(f, "dpdk-testpmd (pid 4711)");
        assert_true(is_locked(f));
        host_remove(&f->host, NODE "driver");
        holder_closes(f);
        assert_done(f, 0, NULL);
        assert_false(is_locked(f));
        assert_step(f, EVICT, 0, NULL); /* done already */
}

static void test_nobody_is_seen(void **state) {
        Fixture *f = *state;

        make_fifo(f);
        put(f, EVICT);
        assert_waits_for(f, "a process that /proc does not show");
        holder_closes(f);
        assert_done(f, ENODEV, "is bound to vfio-pci instead of unbound");
}

/* What is in the kernel cannot be stopped: the lock says that it goes on. */
static void test_cancelled(void **state) {
        Fixture *f = *state;

        make_fifo(f);
        put(f, EVICT);
        assert_waits_for(f, "a process that /proc does not show");
        wait_until_in_kernel(f);
        put(f, "{\"cancel\":1}");
        assert_true(is_locked(f));
        assert_step(f, STEP("probe", ""), EAGAIN, "an earlier run still works");
        assert_true(is_locked(f));
        host_remove(&f->host, NODE "driver");
        holder_closes(f);
        for (int i = 0; is_locked(f); i++) {
                assert_true(i < TIMEOUT_MSEC / 10);
                (void)usleep(10000);
        }
        assert_step(f, EVICT, 0, NULL);
}

static void test_refused(void **state) {
        Fixture *f = *state;

        assert_step(f, STEP("evict", ""), EINVAL, "\"value\"");
        assert_step(f, EVICT, ESTALE, "is bound to e1000e, not to vfio-pci");
        /* a host driver is taken away by an unbind, which looks whether the host needs it */
        assert_step(f, STEP("evict", ",\"value\":\"e1000e\""), EPERM, "nobody in user space");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_says_who_and_waits, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_nobody_is_seen, executor_setup,
                                                executor_teardown),
                cmocka_unit_test_setup_teardown(test_cancelled, executor_setup, executor_teardown),
                cmocka_unit_test_setup_teardown(test_refused, executor_setup, executor_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
