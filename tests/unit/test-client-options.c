/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "client/options.h"
#include "client/units.h"

static int run_nothing(const Options *o) {
        return 0;
}

static const Verb verbs[] = {
        { "list", "", "Lists", OPTIONS_LIST, 0, 0, .run = run_nothing },
        { "acquire", "DEVICE...", "Takes", OPTIONS_REQUEST | OPTIONS_HOLDER, 1, 9,
          .run = run_nothing },
        { "exec", "DEVICE... -- COMMAND", "Runs", OPTIONS_REQUEST, 1, 9, .command = true,
          .run = run_nothing },
        {},
};

#define ARGUMENTS_MAX 16

/* What options point to has to last as long as they. */
static char *arguments[ARGUMENTS_MAX];

static int parse(Options *ret, ...) {
        int argc = 1;
        va_list ap;
        char *s;

        arguments[0] = (char *)"dmaownerctl";
        va_start(ap, ret);
        while ((s = va_arg(ap, char *)))
                arguments[argc++] = s;
        va_end(ap);
        arguments[argc] = NULL;
        return options_parse(argc, arguments, verbs, ret);
}

static void test_default_verb(void **state) {
        Options o;

        assert_int_equal(parse(&o, NULL), 0);
        assert_string_equal(o.verb->name, "list");
        assert_string_equal(o.bus, "system");
        assert_int_equal(o.json, JSON_NONE);
}

static void test_order_is_free(void **state) {
        Options o;

        assert_int_equal(parse(&o, "--json=short", "acquire", "a", "--ttl=10min", "b", "--bus",
                               "user", "--force", "--uid=1000", NULL),
                         0);
        assert_string_equal(o.verb->name, "acquire");
        assert_int_equal(o.json, JSON_SHORT);
        assert_int_equal(o.n_operands, 2);
        assert_string_equal(o.operands[0], "a");
        assert_string_equal(o.operands[1], "b");
        assert_string_equal(o.bus, "user");
        assert_true(o.force && o.has_uid && o.uid == 1000);
        assert_true(o.ttl == 600000000);
        assert_null(o.command);
}

static void test_json_alone_is_pretty(void **state) {
        Options o;

        assert_int_equal(parse(&o, "list", "--json", "--no-legend", NULL), 0);
        assert_int_equal(o.json, JSON_PRETTY);
        assert_true(o.no_legend);
}

static void test_command(void **state) {
        Options o;

        assert_int_equal(parse(&o, "exec", "a", "--label=x", "--", "ls", "--json", "--", "-l", NULL),
                         0);
        assert_int_equal(o.n_operands, 1);
        assert_string_equal(o.label, "x");
        assert_int_equal(o.json, JSON_NONE);
        assert_string_equal(o.command[0], "ls");
        assert_string_equal(o.command[1], "--json");
        assert_string_equal(o.command[2], "--");
        assert_string_equal(o.command[3], "-l");
        assert_null(o.command[4]);
}

static void test_operands_after_dashes(void **state) {
        Options o;

        assert_int_equal(parse(&o, "acquire", "a", "--", "--b", "c", NULL), 0);
        assert_int_equal(o.n_operands, 3);
        assert_string_equal(o.operands[1], "--b");
        assert_string_equal(o.operands[2], "c");
}

static void test_help(void **state) {
        Options o;

        assert_int_equal(parse(&o, "--help", NULL), 0);
        assert_true(o.help);
        assert_null(o.verb);
        assert_int_equal(parse(&o, "acquire", "-h", NULL), 0);
        assert_true(o.help);
        assert_string_equal(o.verb->name, "acquire");
        assert_int_equal(parse(&o, "--version", NULL), 0);
        assert_true(o.version);
}

static void test_times(void **state) {
        Options o;

        assert_int_equal(parse(&o, "acquire", "a", "--ttl=infinity", NULL), 0);
        assert_true(o.ttl == TIME_INFINITY);
        assert_int_equal(parse(&o, "acquire", "a", "--ttl=0s", NULL), 2);
        assert_int_equal(parse(&o, "acquire", "a", "--ttl=soon", NULL), 2);
}

static void test_refusals(void **state) {
        Options o = { .bus = "untouched" };

        assert_int_equal(parse(&o, "dance", NULL), 2);
        assert_int_equal(parse(&o, "--colour", NULL), 2);
        assert_int_equal(parse(&o, "list", "-x", NULL), 2);
        assert_int_equal(parse(&o, "list", "a", NULL), 2);
        assert_int_equal(parse(&o, "list", "--ttl=3s", NULL), 2);
        assert_int_equal(parse(&o, "acquire", NULL), 2);
        assert_int_equal(parse(&o, "acquire", "a", "--no-legend", NULL), 2);
        assert_int_equal(parse(&o, "acquire", "a", "--owner", NULL), 2);
        assert_int_equal(parse(&o, "acquire", "a", "--json=long", NULL), 2);
        assert_int_equal(parse(&o, "acquire", "a", "--pid=0", NULL), 2);
        assert_int_equal(parse(&o, "acquire", "a", "--pid=-1", NULL), 2);
        assert_int_equal(parse(&o, "acquire", "a", "--uid=4294967295", NULL), 2);
        assert_int_equal(parse(&o, "acquire", "a", "--uid=no such user", NULL), 2);
        assert_int_equal(parse(&o, "exec", "a", NULL), 2);
        assert_int_equal(parse(&o, "exec", "a", "--", NULL), 2);
        assert_int_equal(parse(&o, "exec", "--", "ls", NULL), 2);
        assert_int_equal(parse(&o, "exec", "a", "--holder=none", "--", "ls", NULL), 2);
        assert_string_equal(o.bus, "untouched");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_default_verb),
                cmocka_unit_test(test_order_is_free),
                cmocka_unit_test(test_json_alone_is_pretty),
                cmocka_unit_test(test_command),
                cmocka_unit_test(test_operands_after_dashes),
                cmocka_unit_test(test_help),
                cmocka_unit_test(test_times),
                cmocka_unit_test(test_refusals),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
