/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "shared/vf-settings.h"

#define ALL                                                                            \
        "mac=52:54:00:12:34:56 vlan=100 qos=3 proto=802.1ad trust=on spoof-check=off " \
        "link-state=disable min-rate=10 max-rate=1000"

static void test_as_text(void **state) {
        static const char *const texts[] = { ALL, "", "trust=off", "mac=00:00:00:00:00:00 vlan=0" };

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                VfSettings v = VF_SETTINGS_NULL;
                _cleanup_free_ char *text = NULL;

                assert_int_equal(vf_settings_parse(texts[i], &v), 0);
                text = vf_settings_format(&v);
                assert_string_equal(text, texts[i]);
        }
}

static void test_bad_text(void **state) {
        static const char *const texts[] = {
                "mac",
                "mac=",
                "mac=52:54:00:12:34",
                "mac=52:54:00:12:34:5x",
                "vlan=4096",
                "vlan=-1",
                "qos=8",
                "proto=0x8100",
                "trust=maybe",
                "spoof-check=1",
                "link-state=up",
                "min-rate=fast",
                "max-rate=4e9",
                "colour=red",
                "trust=on,spoof-check=on",
                "mac=52:54:00:12:34:567",
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                VfSettings v = VF_SETTINGS_NULL;
                const VfSettings before = v;

                if (vf_settings_parse(texts[i], &v) != -EINVAL)
                        fail_msg("%s", texts[i]);
                assert_memory_equal(&v, &before, sizeof(v));
        }
}

static void test_some_are_changed(void **state) {
        VfSettings was = VF_SETTINGS_NULL, now;
        _cleanup_free_ char *text = NULL;

        assert_int_equal(vf_settings_parse("mac=52:54:00:12:34:56 vlan=1 trust=off", &was), 0);
        now = was;
        assert_int_equal(vf_settings_parse("trust=on max-rate=5 mac=52:54:00:12:34:57", &now), 0);
        text = vf_settings_format(&now);
        assert_string_equal(text, "mac=52:54:00:12:34:57 vlan=1 trust=on max-rate=5");
        assert_false(vf_settings_agree(&was, &now, VF_SETTING_MAC));
        assert_false(vf_settings_agree(&was, &now, VF_SETTING_TRUST));
        assert_true(vf_settings_agree(&was, &now, VF_SETTING_VLAN));
        /* what the one has not, the other may have as it likes */
        assert_true(vf_settings_agree(&was, &now, VF_SETTING_MAX_RATE));
        assert_false(vf_settings_agree(&now, &was, VF_SETTING_MAX_RATE));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_as_text),
                cmocka_unit_test(test_bad_text),
                cmocka_unit_test(test_some_are_changed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
