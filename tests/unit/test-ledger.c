/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "store/ledger.h"
#include "util/strings.h"

static char folder[64];
static Ledger *ledger;

static int setup(void **state) {
        (void)snprintf(folder, sizeof(folder), "%s/ledger-XXXXXX",
                       getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
        return mkdtemp(folder) ? ledger_open(folder, &ledger) : -1;
}

static int teardown(void **state) {
        _cleanup_free_ char *command = str_format("rm -rf %s", folder);

        ledger = ledger_free(ledger);
        return system(command);
}

static Device device_make(const char *owner) {
        Device d = { .facts = { .name = (char *)"0000:3b:00.0",
                                .vendor = 0x144d,
                                .model = 0xa808,
                                .group = -1 } };

        if (owner)
                d.use = (DeviceUse){ .valid = true,
                                     .owner = { .uid = 1000, .name = strdup(owner) } };
        return d;
}

static void damage(const char *text) {
        _cleanup_free_ char *path = str_format("%s/used/0000:3b:00.0.json", folder);
        FILE *f = fopen(path, "w");

        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static void test_round_trip(void **state) {
        Device was = device_make("dpdk \"x\""), is = device_make(NULL);

        assert_int_equal(ledger_load(ledger, &is, NULL), 0);
        assert_false(is.use.valid);
        was.use.reset = true;
        was.use.scrubbing = true; /* nothing is at work after a restart */
        assert_int_equal(ledger_save(ledger, &was), 0);
        assert_int_equal(ledger_load(ledger, &is, NULL), 0);
        assert_true(is.use.valid && is.use.reset && !is.use.scrubbing);
        assert_int_equal(is.use.owner.uid, 1000);
        assert_string_equal(is.use.owner.name, "dpdk \"x\"");
        device_use_clear(&is.use);
        device_use_clear(&was.use);
        /* nothing to remember is no file */
        assert_int_equal(ledger_save(ledger, &was), 0);
        assert_int_equal(ledger_save(ledger, &was), 0);
        assert_int_equal(ledger_load(ledger, &is, NULL), 0);
        assert_false(is.use.valid);
}

static void test_another_device_at_the_same_address(void **state) {
        Device was = device_make("dpdk"), is = device_make(NULL);

        assert_int_equal(ledger_save(ledger, &was), 0);
        is.facts.model = 0xa809;
        assert_int_equal(ledger_load(ledger, &is, NULL), 0);
        assert_false(is.use.valid);
        device_use_clear(&was.use);
}

/* Nobody's, and so it stays. */
static void assert_is_unknown(Device *d, char **messages) {
        _cleanup_(strv_freep) char **more = NULL;
        Device again = device_make(NULL);

        assert_true(d->use.valid && !d->use.reset);
        assert_int_equal(d->use.owner.uid, UINT32_MAX);
        assert_non_null(messages);
        assert_non_null(strstr(messages[strv_length(messages) - 1], "set aside as damaged/"));
        assert_int_equal(ledger_load(ledger, &again, &more), 0);
        assert_true(again.use.valid);
        assert_int_equal(again.use.owner.uid, UINT32_MAX);
        assert_null(more);
        device_use_clear(&again.use);
}

static void test_damaged(void **state) {
        static const char *const texts[] = {
                "",
                "{",
                "[]",
                "{}",
                "{\"version\":2,\"id\":\"144d:a808\",\"owner-uid\":1,\"owner\":\"x\",\"reset\":0}",
                "{\"version\":1,\"id\":\"144d:a808\",\"owner-uid\":-1,\"owner\":\"x\",\"reset\":0}",
                "{\"version\":1,\"id\":\"144d:a808\",\"owner-uid\":1,\"reset\":0}",
                "{\"version\":1,\"id\":\"144d:a808\",\"owner-uid\":1,\"owner\":\"x\",\"reset\":2}",
                "{\"version\":1,\"owner-uid\":1,\"owner\":\"x\",\"reset\":0}",
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
                _cleanup_(strv_freep) char **messages = NULL;
                Device is = device_make(NULL);

                damage(texts[i]);
                assert_int_equal(ledger_load(ledger, &is, &messages), 0);
                assert_is_unknown(&is, messages);
                device_use_clear(&is.use);
        }
}

/* Setting aside and writing anew is one act; and what is in the way of it goes, too. */
static void test_no_regular_file(void **state) {
        static const char *const commands[] = { "mkdir -p", "mkfifo", "ln -s /nowhere",
                                                "ln -s /dev/zero" };

        for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
                _cleanup_(strv_freep) char **messages = NULL;
                _cleanup_free_ char *command = NULL;
                Device is = device_make(NULL);

                command = str_format("cd %s/used && %s 0000:3b:00.0.json && mkdir -p "
                                     "0000:3b:00.0.json.new/x",
                                     folder, commands[i]);
                assert_int_equal(system(command), 0);
                assert_int_equal(ledger_load(ledger, &is, &messages), 0);
                assert_is_unknown(&is, messages);
                assert_int_equal(ledger_save(ledger, &is), 0);
                device_use_clear(&is.use);
                assert_int_equal(ledger_save(ledger, &is), 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
                cmocka_unit_test_setup_teardown(test_another_device_at_the_same_address, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_regular_file, setup, teardown),
        };

        return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
