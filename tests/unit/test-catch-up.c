/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager-fixture.h"

static void note_name(const char *name, void *userdata) {
        char **ret = userdata;

        assert_int_equal(str_set(ret, name), 0);
}

static int ignore_changes(const Changes *c, void *userdata) {
        return 0;
}

static void ignore_group(unsigned id, void *userdata) {
}

/* For want of memory it could not be forgotten when it went. */
static void test_a_device_that_went_before(void **state) {
        const Fixture *f = *state;
        Device *d = registry_device(manager_registry(f->manager), FIRST);
        _cleanup_free_ char *gone = NULL;

        assert_non_null(d);
        manager_set_events(f->manager, &(ManagerEvents){ .changed = ignore_changes,
                                                         .group_gone = ignore_group,
                                                         .device_gone = note_name,
                                                         .userdata = &gone });
        d->published = true;
        d->gone = true;
        catch_up_later(f->manager);
        run_until_gone(f, FIRST);
        assert_string_equal(gone, FIRST);
        assert_non_null(registry_device(manager_registry(f->manager), SECOND));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_a_device_that_went_before, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
