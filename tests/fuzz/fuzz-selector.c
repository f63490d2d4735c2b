/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A selector that is understood matches the device that it describes, and none that differs from it in
 * what it says; written anew it says the same. */
#include "fuzz.h"

#include "core/selector.h"

#define GIVES(s, key) (((s)->given & (1U << (key))) != 0)

/* as Selector.given has them */
enum {
        VENDOR,
        MODEL,
        CLASS,
        PF,
        NUMA,
        DRIVER,
};

static Device describe(const Selector *s) {
        return (Device){ .facts = {
                                 .vendor = (uint16_t)s->vendor,
                                 .model = (uint16_t)s->model,
                                 .class_code = s->class_code,
                                 .numa_node = (int)s->numa_node,
                                 .physfn = s->physfn,
                                 .driver = str_eq(s->driver, "none") ? NULL : s->driver,
                         } };
}

static void check_matches(const Selector *s) {
        Device d = describe(s);

        assert(selector_matches(s, &d));
        d.facts.vendor ^= 1;
        assert(selector_matches(s, &d) == !GIVES(s, VENDOR));
        d = describe(s);
        d.facts.model ^= 0x8000;
        assert(selector_matches(s, &d) == !GIVES(s, MODEL));
        d = describe(s);
        d.facts.class_code ^= 0x800000;
        assert(selector_matches(s, &d) == !GIVES(s, CLASS));
        d = describe(s);
        d.facts.numa_node = -1;
        assert(selector_matches(s, &d) == !GIVES(s, NUMA));
        /* these have no letters that a selector may have */
        d = describe(s);
        d.facts.physfn = (char *)" ";
        assert(selector_matches(s, &d) == !GIVES(s, PF));
        d = describe(s);
        d.facts.driver = (char *)" ";
        assert(selector_matches(s, &d) == !GIVES(s, DRIVER));
        /* leased: it is the host's driver that counts */
        d.record = (HostRecord){ .valid = true, .driver = describe(s).facts.driver };
        assert(selector_matches(s, &d));
}

static char *write_anew(const Selector *s) {
        static const int class_digits[] = { 2, 4, 6 };
        char *text = NULL;
        int digits = 0;

        assert(str_append(&text, "%s", "") == 0);
        if (GIVES(s, DRIVER))
                assert(str_append(&text, ",driver=%s", s->driver) == 0);
        if (GIVES(s, NUMA))
                assert(str_append(&text, ",numa=%u", s->numa_node) == 0);
        if (GIVES(s, PF))
                assert(str_append(&text, ",pf=%s", s->physfn) == 0);
        if (GIVES(s, CLASS)) {
                for (size_t i = 0; i < sizeof(class_digits) / sizeof(*class_digits); i++)
                        if (s->class_mask & (0xffU << (16 - 8 * i)))
                                digits = class_digits[i];
                assert(digits > 0 && str_append(&text, ",class=%0*x", digits,
                                                s->class_code >> (24 - 4 * digits)) == 0);
        }
        if (GIVES(s, MODEL))
                assert(str_append(&text, ",device=%x", s->model) == 0);
        if (GIVES(s, VENDOR))
                assert(str_append(&text, ",vendor=%x", s->vendor) == 0);
        if (s->count > 1) /* a text of the greatest length has no room for a "*1" */
                assert(str_append(&text, "*%u", s->count) == 0);
        return text;
}

static void check_same(const Selector *a, const Selector *b) {
        assert(a->given == b->given && a->vendor == b->vendor && a->model == b->model &&
               a->numa_node == b->numa_node && a->class_code == b->class_code &&
               a->class_mask == b->class_mask && a->count == b->count &&
               str_eq(a->physfn, b->physfn) && str_eq(a->driver, b->driver));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size), *anew = NULL;
        _cleanup_selector_ Selector s = SELECTOR_NULL, again = SELECTOR_NULL;
        _cleanup_fault_ Fault fault = FAULT_NULL;

        if (selector_parse(text, &s, &fault) < 0) {
                assert(fault.code == ERROR_INVALID_ARGS && !str_empty(fault.message));
                return 0;
        }
        assert(!fault_is_set(&fault) && name_is_selector(text) && s.text == text);
        assert(s.given != 0 && s.count >= 1 && s.count <= SELECTOR_COUNT_MAX);
        check_matches(&s);
        anew = write_anew(&s);
        assert(selector_parse(anew + 1, &again, &fault) == 0);
        check_same(&s, &again);
        return 0;
}
