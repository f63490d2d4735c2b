/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a selector may say, and what it matches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "core/selector.h"

static const Device vf = { .facts = {
                                   .name = (char *)"0000:01:00.2",
                                   .bus = (char *)"pci",
                                   .vendor = 0x8086,
                                   .model = 0x10ca,
                                   .class_code = 0x020000,
                                   .numa_node = 1,
                                   .driver = (char *)"igbvf",
                                   .physfn = (char *)"0000:01:00.0",
                           } };
static const Device nvme = { .facts = {
                                     .name = (char *)"0000:02:00.0",
                                     .vendor = 0x144d,
                                     .model = 0xa808,
                                     .class_code = 0x010802,
                                     .numa_node = -1,
                             } };
/* leased: the host has it on a driver of its own */
static const Device leased = {
        .facts = { .driver = (char *)"vfio-pci" },
        .record = { .valid = true, .driver = (char *)"e1000e" },
};

static bool matches(const char *text, const Device *d) {
        _cleanup_selector_ Selector s = SELECTOR_NULL;
        _cleanup_fault_ Fault why = FAULT_NULL;

        if (selector_parse(text, &s, &why) < 0)
                fail_msg("%s: %s", text, why.message);
        assert_ptr_equal(s.text, text);
        return selector_matches(&s, d);
}

static void test_matches(void **state) {
        static const char *const both[] = { "class=02",
                                            "class=0200",
                                            "class=020000",
                                            "vendor=8086",
                                            "vendor=8086,device=10ca",
                                            "vendor=8086,device=10CA",
                                            "pf=0000:01:00.0",
                                            "numa=1",
                                            "driver=igbvf",
                                            ("driver=igbvf,numa=1,pf=0000:01:00.0,class=02,"
                                             "device=10ca,vendor=8086*7") };
        static const char *const neither[] = { "class=03",
                                               "class=0201",
                                               "class=020001",
                                               "vendor=8087",
                                               "vendor=8086,device=10cb",
                                               "pf=0000:01:00.1",
                                               "numa=0",
                                               "driver=igb",
                                               "driver=none",
                                               "vendor=8086,numa=0" };

        for (size_t i = 0; i < sizeof(both) / sizeof(*both); i++)
                assert_true(matches(both[i], &vf));
        for (size_t i = 0; i < sizeof(neither) / sizeof(*neither); i++)
                assert_false(matches(neither[i], &vf));
        assert_true(matches("class=01", &nvme));
        assert_true(matches("driver=none", &nvme));
        assert_false(matches("pf=0000:01:00.0", &nvme));
        assert_false(matches("numa=0", &nvme));
        assert_false(matches("driver=nvme", &nvme));
        assert_true(matches("driver=e1000e", &leased));
        assert_false(matches("driver=vfio-pci", &leased));
}

static void test_counts(void **state) {
        static const struct {
                const char *text;
                unsigned count;
        } good[] = { { "class=02", 1 },
                     { "class=02*1", 1 },
                     { "class=02*16", 16 },
                     { "class=02*1024", 1024 } };

        for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
                _cleanup_selector_ Selector s = SELECTOR_NULL;

                assert_int_equal(selector_parse(good[i].text, &s, NULL), 0);
                assert_int_equal(s.count, good[i].count);
        }
}

static void test_malformed(void **state) {
        static const struct {
                const char *text, *says;
        } bad[] = {
                { "colour=red", "colour=red" },
                { "vendor=8086,", "KEY=VALUE" },
                { ",vendor=8086", "KEY=VALUE" },
                { "=8086", "none of" },
                { "vendo=8086", "none of" },
                { "vendors=8086", "none of" },
                { "vendor=8086,vendor=8086", "twice" },
                { "vendor=", "hexadecimal" },
                { "vendor=80867", "hexadecimal" },
                { "vendor=0x86", "hexadecimal" },
                { "vendor=xyz", "hexadecimal" },
                { "vendor=-1", "hexadecimal" },
                { "device=10d3f", "hexadecimal" },
                { "class=2", "hexadecimal" },
                { "class=020", "hexadecimal" },
                { "class=02000000", "hexadecimal" },
                { "class=zz", "hexadecimal" },
                { "pf=01:00.0", "PCI address" },
                { "pf=", "PCI address" },
                { "numa=-1", "NUMA" },
                { "numa=65536", "NUMA" },
                { "numa=one", "NUMA" },
                { "driver=", "driver" },
                { "class=02*0", "from 1" },
                { "class=02*", "from 1" },
                { "class=02*x", "from 1" },
                { "class=02*-1", "from 1" },
                { "class=02*1025", "from 1" },
                { "class=02*99999999999999999999", "from 1" },
                { "class=02*2*2", "from 1" },
                { "class=02*2,numa=0", "from 1" },
                { "class=02 ", "blanks" },
                { "class=02\n", "printable" },
        };
        char longer[400];

        for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
                _cleanup_selector_ Selector s = SELECTOR_NULL;
                _cleanup_fault_ Fault why = FAULT_NULL;

                assert_int_equal(selector_parse(bad[i].text, &s, &why), -ECANCELED);
                assert_int_equal(why.code, ERROR_INVALID_ARGS);
                if (!strstr(why.message, bad[i].says))
                        fail_msg("%s: %s", bad[i].text, why.message);
        }
        memset(longer, 'a', sizeof(longer) - 1);
        longer[sizeof(longer) - 1] = '\0';
        memcpy(longer, "driver=", 7);
        assert_int_equal(selector_parse(longer, &(Selector){}, NULL), -ECANCELED);
}

static void test_names_are_none(void **state) {
        assert_false(name_is_selector("0000:01:00.0"));
        assert_false(name_is_selector(""));
        assert_true(name_is_selector("class=02"));
        assert_true(name_is_selector("="));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_matches),
                cmocka_unit_test(test_counts),
                cmocka_unit_test(test_malformed),
                cmocka_unit_test(test_names_are_none),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
