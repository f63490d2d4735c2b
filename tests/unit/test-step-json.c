/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shared/step-json.h"
#include "util/strings.h"

static void assert_round_trip(const Step *before) {
        _cleanup_(step_clear) Step after = {};
        json_object *o = step_to_json(before);

        assert_non_null(o);
        assert_int_equal(step_from_json(o, &after, NULL), 0);
        (void)json_object_put(o);
        assert_int_equal(after.kind, before->kind);
        assert_true(str_eq(after.device, before->device));
        assert_true(str_eq(after.value, before->value));
        assert_true(str_eq(after.former, before->former));
        assert_int_equal(after.group, before->group);
        assert_int_equal(after.uid, before->uid);
        assert_int_equal(after.force, before->force);
}

static void test_round_trip(void **state) {
        for (StepKind kind = 0; kind < _STEP_KIND_MAX; kind++)
                assert_round_trip(&(Step){
                        .kind = kind,
                        .device = (char *)"0000:3b:00.0",
                        .group = 12,
                        .value = (char *)"e1000e",
                        .former = (char *)"vfio-pci",
                        .uid = kind == STEP_GRANT_NODE || kind == STEP_REVOKE_NODE ? 1000 : 0,
                        .force = kind == STEP_UNBIND,
                });
        assert_round_trip(&(Step){ .kind = STEP_CLAIM, .group = INT_MAX });
        /* an override that is cleared has no value */
        assert_round_trip(&(Step){ .kind = STEP_SET_OVERRIDE, .device = (char *)"0000:00:01.0" });
}

static void assert_refused(const char *text, const char *message_part) {
        _cleanup_free_ char *message = NULL;
        json_object *o = json_tokener_parse(text);
        Step step = { .group = 4711 };

        assert_non_null(o);
        assert_int_equal(step_from_json(o, &step, &message), -EINVAL);
        assert_non_null(message);
        if (!strstr(message, message_part))
                fail_msg("%s: %s", text, message);
        assert_int_equal(step.group, 4711);
        assert_int_equal(step_from_json(o, &step, NULL), -EINVAL);
        (void)json_object_put(o);
}

static void test_refuses(void **state) {
        assert_refused("[]", "object");
        assert_refused("{}", "\"step\"");
        assert_refused("{\"step\":3}", "\"step\"");
        assert_refused("{\"step\":\"explode\"}", "explode");
        assert_refused("{\"step\":\"unbind\",\"group\":1,\"value\":\"x\"}", "\"device\"");
        assert_refused("{\"step\":\"unbind\",\"group\":1,\"device\":\"x\"}", "\"value\"");
        assert_refused("{\"step\":\"inspect\",\"device\":\"x\"}", "\"group\"");
        assert_refused("{\"step\":\"inspect\",\"device\":\"x\",\"group\":-1}", "\"group\"");
        assert_refused("{\"step\":\"inspect\",\"device\":\"x\",\"group\":\"1\"}", "\"group\"");
        assert_refused("{\"step\":\"inspect\",\"device\":\"x\",\"group\":2147483648}", "\"group\"");
        assert_refused("{\"step\":\"inspect\",\"device\":7,\"group\":1}", "\"device\"");
        assert_refused("{\"step\":\"inspect\",\"device\":\"x\\u0000y\",\"group\":1}", "\"device\"");
        assert_refused("{\"step\":\"grant-node\",\"group\":1}", "\"uid\"");
        assert_refused("{\"step\":\"grant-node\",\"group\":1,\"uid\":4294967295}", "\"uid\"");
        assert_refused("{\"step\":\"unbind\",\"group\":1,\"device\":\"x\",\"value\":\"y\",\"force\":1}",
                       "\"force\"");
}

static void test_members(void **state) {
        json_object *o = json_tokener_parse("{\"a\":\"text\",\"b\":5,\"c\":-1,\"d\":null,\"e\":1.5,"
                                            "\"f\":18446744073709551615}");
        unsigned long long value = 99;

        assert_string_equal(json_get_string(o, "a"), "text");
        assert_null(json_get_string(o, "b"));
        assert_null(json_get_string(o, "d"));
        assert_null(json_get_string(o, "none"));
        assert_int_equal(json_get_uint(o, "b", 5, &value), 0);
        assert_int_equal(value, 5);
        assert_int_equal(json_get_uint(o, "b", 4, &value), -EINVAL);
        for (const char *const *name = (const char *const[]){ "a", "c", "d", "e", "none", NULL };
             *name; name++)
                assert_int_equal(json_get_uint(o, *name, ULLONG_MAX, &value), -EINVAL);
        assert_int_equal(value, 5);
        assert_int_equal(json_get_uint(o, "f", ULLONG_MAX, &value), 0);
        assert_true(value == ULLONG_MAX);
        (void)json_object_put(o);
}

static void test_obstacles(void **state) {
        _cleanup_obstacles_ Obstacles before = OBSTACLES_NULL, after = OBSTACLES_NULL;
        json_object *o;

        assert_int_equal(obstacles_add(&before, "mounted", "0000:00:01.0", "/dev/%s", "sda"), 0);
        assert_int_equal(obstacles_add(&before, "swap", "0000:00:02.0", "100%%"), 0);
        o = obstacles_to_json(&before);
        assert_non_null(o);
        assert_int_equal(obstacles_from_json(o, &after), 0);
        (void)json_object_put(o);
        assert_int_equal(after.n, 2);
        assert_string_equal(after.items[0].code, "mounted");
        assert_string_equal(after.items[0].device, "0000:00:01.0");
        assert_string_equal(after.items[0].text, "/dev/sda");
        assert_string_equal(after.items[1].text, "100%");

        for (const char *const *text =
                     (const char *const[]){ "{}", "[{}]", "[\"x\"]",
                                            "[{\"code\":\"a\",\"device\":\"b\"}]", NULL };
             *text; text++) {
                o = json_tokener_parse(*text);
                assert_int_equal(obstacles_from_json(o, &after), -EINVAL);
                (void)json_object_put(o);
        }
        assert_int_equal(after.n, 2);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_refuses),
                cmocka_unit_test(test_members),
                cmocka_unit_test(test_obstacles),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
