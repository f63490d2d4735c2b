/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "store/store.h"
#include "util/strings.h"

typedef struct Fixture {
        char dir[64];
        Store *store;
        Registry *registry;
        Lease *lease;
} Fixture;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
        return remove(path);
}

static void path_of(const Fixture *f, const char *name, char *ret, size_t size) {
        (void)snprintf(ret, size, "%s/%s", f->dir, name);
}

static void write_file(const Fixture *f, const char *name, const char *text) {
        char path[256];
        FILE *file;

        path_of(f, name, path, sizeof(path));
        file = fopen(path, "w");
        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static bool file_exists(const Fixture *f, const char *name) {
        char path[256];

        path_of(f, name, path, sizeof(path));
        return access(path, F_OK) == 0;
}

static void see_device(Registry *r, const char *name) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        DeviceFacts facts = DEVICE_FACTS_NULL;

        facts.name = (char *)name;
        facts.bus = (char *)"pci";
        facts.group = 7;
        facts.driver = (char *)"e1000e";
        facts.driver_override = (char *)"e1000e";
        facts.vfio_driver = (char *)"vfio-pci";
        facts.default_domain_type = (char *)"identity";
        facts.total_vfs = 8;
        facts.num_vfs = 3;
        facts.vf_autoprobe = true;
        assert_int_equal(registry_device_seen(r, &facts, &c), 0);
}

static Lease *reserve(Registry *r) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        _cleanup_fault_ Fault fault = FAULT_NULL;
        _cleanup_request_ Request q = REQUEST_NULL;
        Lease *l = NULL;

        q.terms.kind = OWNER_KIND_USER;
        q.owner.uid = q.uid = 1000;
        assert_int_equal(strv_extend(&q.devices, "0000:00:03.0"), 0);
        assert_int_equal(str_set(&q.owner.name, "dpdk \"x\""), 0);
        assert_int_equal(str_set(&q.label, "caf\xc3\xa9"), 0);
        assert_int_equal(str_set(&q.terms.reset, "none"), 0);
        assert_int_equal(str_set(&q.terms.pf, "0000:00:02.0"), 0);
        q.holder = HOLDER_PROCESS;
        q.holder_pid = 4711;
        q.holder_start = 1234567890123ULL;
        q.grace = 60000000;
        q.created = 5;
        assert_int_equal(registry_reserve(r, &q, &l, &c, &fault), 0);
        return l;
}

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));

        assert_non_null(f);
        strcpy(f->dir, "/tmp/test-store-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        assert_int_equal(store_open(f->dir, &f->store), 0);
        assert_int_equal(registry_new(&f->registry), 0);
        see_device(f->registry, "0000:00:03.0");
        see_device(f->registry, "0000:00:03.1");
        f->lease = reserve(f->registry);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        store_free(f->store);
        registry_free(f->registry);
        assert_int_equal(nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
        free(f);
        return 0;
}

static void test_store_is_for_one_daemon(void **state) {
        Fixture *f = *state;
        Store *other = NULL;

        assert_int_equal(store_open(f->dir, &other), -EBUSY);
        assert_null(other);
}

static void test_store_gives_back_a_lease(void **state) {
        Fixture *f = *state;
        _cleanup_stored_state_ StoredState s = {};
        const Request *q;

        assert_int_equal(store_save_lease(f->store, f->lease), 0);
        assert_int_equal(store_load(f->store, &s), 0);
        assert_int_equal(s.n_leases, 1);
        assert_null(s.messages);
        assert_string_equal(s.leases[0].id, f->lease->id);
        assert_int_equal(s.leases[0].state, LEASE_ACTIVATING);
        q = &s.leases[0].request;
        assert_int_equal(strv_length(q->devices), 1);
        assert_string_equal(q->devices[0], "0000:00:03.0");
        assert_int_equal(q->terms.kind, OWNER_KIND_USER);
        assert_string_equal(q->terms.reset, "none");
        assert_null(q->terms.driver);
        assert_int_equal(q->owner.uid, 1000);
        assert_string_equal(q->owner.name, "dpdk \"x\"");
        assert_string_equal(q->label, "caf\xc3\xa9");
        assert_int_equal(q->holder, HOLDER_PROCESS);
        assert_int_equal(q->holder_pid, 4711);
        assert_true(q->holder_start == 1234567890123ULL);
        assert_true(q->grace == 60000000);
        assert_true(q->expires == UINT64_MAX);
        assert_int_equal(store_remove_lease(f->store, f->lease->id), 0);
        assert_false(file_exists(f, "leases/l1.json"));
}

static void test_store_gives_back_an_open_request(void **state) {
        static char *const first[] = { (char *)"class=02*3", (char *)"0000:00:03.1", NULL };
        static char *const second[] = { (char *)"numa=0", NULL };
        Fixture *f = *state;
        _cleanup_stored_state_ StoredState s = {};
        const Request *q;

        assert_int_equal(request_add_choice(&f->lease->request, first), 0);
        assert_int_equal(request_add_choice(&f->lease->request, second), 0);
        f->lease->asking = true; /* a choice was made, but nobody knows of it */
        assert_int_equal(store_save_lease(f->store, f->lease), 0);
        assert_int_equal(store_load(f->store, &s), 0);
        assert_null(s.messages);
        q = &s.leases[0].request;
        assert_int_equal(s.leases[0].state, LEASE_QUEUED);
        assert_null(q->devices);
        assert_int_equal(q->n_choices, 2);
        assert_string_equal(q->choices[0][1], "0000:00:03.1");
        assert_string_equal(q->choices[1][0], "numa=0");
}

static void test_store_gives_back_a_group(void **state) {
        Fixture *f = *state;
        _cleanup_stored_state_ StoredState s = {};
        Step step = { .kind = STEP_UNBIND,
                      .device = (char *)"0000:00:03.0",
                      .group = 7,
                      .value = (char *)"e1000e" };
        const StoredGroup *g;

        assert_int_equal(store_save_group(f->store, f->lease->groups[0], &step), 0);
        assert_int_equal(store_load(f->store, &s), 0);
        assert_int_equal(s.n_groups, 1);
        g = &s.groups[0];
        assert_string_equal(g->key, "0000:00:03.0");
        assert_int_equal(g->state, GROUP_CLAIMING);
        assert_string_equal(g->recorded_type, "identity");
        assert_int_equal(g->n_devices, 2);
        assert_string_equal(g->devices[1].name, "0000:00:03.1");
        assert_string_equal(g->devices[1].record.driver, "e1000e");
        assert_string_equal(g->devices[1].record.driver_override, "e1000e");
        assert_int_equal(g->devices[1].record.num_vfs, 3);
        assert_true(g->devices[1].record.vf_autoprobe);
        assert_int_equal(g->terms.vfs, 0);
        assert_string_equal(g->terms.pf, "0000:00:02.0");
        assert_int_equal(g->step.kind, STEP_UNBIND);
        assert_string_equal(g->step.value, "e1000e");
        assert_int_equal(strv_length(g->leases), 1);
        assert_string_equal(g->leases[0], f->lease->id);
}

/* Nothing but the type that it is owed and whose group it is. */
static void test_store_gives_back_an_owed_type(void **state) {
        _cleanup_(registry_freep) Registry *r = NULL;
        _cleanup_stored_state_ StoredState s = {};
        _cleanup_changes_ Changes c = CHANGES_NULL;
        DeviceFacts facts = DEVICE_FACTS_NULL;
        Fixture *f = *state;
        Group *g;

        facts.name = (char *)"0000:00:05.0";
        facts.default_domain_type = (char *)"DMA-FQ";
        facts.group = 5;
        assert_int_equal(registry_new(&r), 0);
        assert_int_equal(registry_device_seen(r, &facts, &c), 0);
        g = registry_group(r, 5);
        assert_int_equal(registry_adopt_owed(g, "DMA"), 0);
        assert_int_equal(store_save_group(f->store, g, NULL), 0);
        assert_int_equal(store_load(f->store, &s), 0);
        assert_int_equal(s.n_groups, 1);
        assert_int_equal(s.groups[0].state, GROUP_FREE);
        assert_string_equal(s.groups[0].owed_type, "DMA");
        assert_int_equal(s.groups[0].n_devices, 1);
        assert_string_equal(s.groups[0].devices[0].name, "0000:00:05.0");
}

static void test_store_orders_leases_by_age(void **state) {
        Fixture *f = *state;
        _cleanup_stored_state_ StoredState s = {};
        static const char *const ids[] = { "l10", "l9", "l100", "l2" };

        for (size_t i = 0; i < 4; i++) {
                assert_int_equal(str_set(&f->lease->id, ids[i]), 0);
                assert_int_equal(store_save_lease(f->store, f->lease), 0);
        }
        assert_int_equal(store_load(f->store, &s), 0);
        assert_int_equal(s.n_leases, 4);
        assert_string_equal(s.leases[0].id, "l2");
        assert_string_equal(s.leases[1].id, "l9");
        assert_string_equal(s.leases[2].id, "l10");
        assert_string_equal(s.leases[3].id, "l100");
}

/* Whatever somebody does to the files: said, set aside, and the rest is loaded. */
static void test_store_sets_damaged_files_aside(void **state) {
        static const char *const damaged[] = {
                "",
                "{\"version\":1,",
                "[]",
                "null",
                "{}",
                "{\"version\":2,\"id\":\"l5\"}",
                "{\"version\":\"1\"}",
                "{\"version\":1,\"id\":\"l5\",\"state\":\"happy\"}",
                "{\"version\":1,\"id\":\"l5\",\"state\":\"active\",\"devices\":[3]}",
                "{\"version\":1,\"id\":\"l5\",\"state\":\"active\",\"devices\":[\"0000:00:03.0\"],"
                "\"terms\":7}",
                "{\"version\":1,\"id\":\"l5\",\"state\":\"active\",\"devices\":[\"0000:00:03.0\"],"
                "\"terms\":{\"kind\":\"user\",\"access\":\"node\"},\"owner-uid\":-3}",
                "\x7f\x45\x4c\x46\x01",
        };
        Fixture *f = *state;

        assert_int_equal(store_save_lease(f->store, f->lease), 0);
        for (size_t i = 0; i < sizeof(damaged) / sizeof(*damaged); i++) {
                _cleanup_stored_state_ StoredState s = {};

                write_file(f, "leases/l5.json", damaged[i]);
                write_file(f, "groups/0000:00:09.0.json", damaged[i]);
                assert_int_equal(store_load(f->store, &s), 0);
                assert_int_equal(s.n_leases, 1);
                assert_int_equal(s.n_groups, 0);
                assert_int_equal(strv_length(s.messages), 2);
                assert_false(file_exists(f, "leases/l5.json"));
                assert_true(file_exists(f, "damaged/leases-l5.json"));
                assert_true(file_exists(f, "damaged/groups-0000:00:09.0.json"));
        }
}

static void test_store_drops_an_earlier_boot(void **state) {
        Fixture *f = *state;
        _cleanup_stored_state_ StoredState s = {};

        write_file(f, "leases/l5.json", "{\"version\":1,\"boot-id\":\"other\"}");
        assert_int_equal(store_load(f->store, &s), 0);
        assert_int_equal(s.n_leases, 0);
        assert_int_equal(strv_length(s.messages), 1);
        assert_non_null(strstr(s.messages[0], "earlier boot"));
        assert_false(file_exists(f, "leases/l5.json"));
        assert_false(file_exists(f, "damaged/leases-l5.json"));
}

static void test_store_removes_a_write_that_was_cut_off(void **state) {
        Fixture *f = *state;
        _cleanup_stored_state_ StoredState s = {};

        write_file(f, "leases/l5.json.new", "{\"vers");
        assert_int_equal(store_load(f->store, &s), 0);
        assert_int_equal(s.n_leases, 0);
        assert_false(file_exists(f, "leases/l5.json.new"));
}

static bool has_hung_up(int fd) {
        struct pollfd p = { .fd = fd };

        assert_true(poll(&p, 1, 0) >= 0);
        return p.revents & POLLHUP;
}

static void test_lifeline_hangs_up_when_its_last_holder_closes(void **state) {
        Fixture *f = *state;
        int reader, writer, copy;

        assert_int_equal(store_create_lifeline(f->store, "l1", &reader, &writer), 0);
        assert_false(has_hung_up(reader));
        copy = dup(writer);
        close(writer);
        assert_false(has_hung_up(reader));
        close(copy);
        assert_true(has_hung_up(reader));
        close(reader);
        assert_int_equal(store_remove_lifeline(f->store, "l1"), 0);
        assert_int_equal(store_remove_lifeline(f->store, "l1"), 0);
}

static void test_lifeline_is_found_again_after_a_restart(void **state) {
        Fixture *f = *state;
        int reader, writer;

        assert_int_equal(store_create_lifeline(f->store, "l1", &reader, &writer), 0);
        close(reader);
        assert_int_equal(store_reopen_lifeline(f->store, "l1", &reader), 0);
        assert_false(has_hung_up(reader));
        close(reader);
        /* it dies while nobody watches */
        close(writer);
        assert_int_equal(store_reopen_lifeline(f->store, "l1", &reader), 0);
        assert_true(has_hung_up(reader));
        close(reader);
        assert_int_equal(store_reopen_lifeline(f->store, "l2", &reader), -ENOENT);
        write_file(f, "lifelines/l3", "not a FIFO");
        assert_int_equal(store_reopen_lifeline(f->store, "l3", &reader), -ENOENT);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_store_is_for_one_daemon, setup, teardown),
                cmocka_unit_test_setup_teardown(test_store_gives_back_a_lease, setup, teardown),
                cmocka_unit_test_setup_teardown(test_store_gives_back_an_open_request, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(test_store_gives_back_a_group, setup, teardown),
                cmocka_unit_test_setup_teardown(test_store_gives_back_an_owed_type, setup, teardown),
                cmocka_unit_test_setup_teardown(test_store_orders_leases_by_age, setup, teardown),
                cmocka_unit_test_setup_teardown(test_store_sets_damaged_files_aside, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(test_store_drops_an_earlier_boot, setup, teardown),
                cmocka_unit_test_setup_teardown(test_store_removes_a_write_that_was_cut_off, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(test_lifeline_hangs_up_when_its_last_holder_closes,
                                                setup, teardown),
                cmocka_unit_test_setup_teardown(test_lifeline_is_found_again_after_a_restart, setup,
                                                teardown),
        };

        return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
