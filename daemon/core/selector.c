/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/selector.h"

#include <string.h>

#include "util/strings.h"

#define TEXT_MAX 256

typedef enum Key {
        KEY_VENDOR,
        KEY_DEVICE,
        KEY_CLASS,
        KEY_PF,
        KEY_NUMA,
        KEY_DRIVER,
        _KEY_MAX,
} Key;

static const struct {
        const char *name;
        const char *wants;
} keys[_KEY_MAX] = {
        [KEY_VENDOR] = { "vendor", "one to four hexadecimal digits" },
        [KEY_DEVICE] = { "device", "one to four hexadecimal digits" },
        [KEY_CLASS] = { "class", "two, four or six hexadecimal digits" },
        [KEY_PF] = { "pf", "a PCI address such as 0000:3b:00.0" },
        [KEY_NUMA] = { "numa", "the number of a NUMA node" },
        [KEY_DRIVER] = { "driver", "the name of a driver, or none for a device without one" },
};

void selector_clear(Selector *s) {
        free(s->physfn);
        free(s->driver);
        *s = SELECTOR_NULL;
}

bool name_is_selector(const char *name) {
        return strchr(name, '=');
}

static int parse_hex(const char *value, size_t digits, unsigned *ret) {
        unsigned long long number;

        if (strspn(value, "0123456789abcdefABCDEF") != strlen(value) || strlen(value) > digits ||
            parse_u64(value, 16, &number) < 0)
                return -EINVAL;
        *ret = (unsigned)number;
        return 0;
}

/* "02" stands for all of the base class. */
static int parse_class(const char *value, Selector *s) {
        size_t digits = strlen(value);
        unsigned shift, number;

        if (digits != 2 && digits != 4 && digits != 6)
                return -EINVAL;
        if (parse_hex(value, digits, &number) < 0)
                return -EINVAL;
        shift = 4 * (6 - (unsigned)digits);
        s->class_code = number << shift;
        s->class_mask = (0xffffffU << shift) & 0xffffffU;
        return 0;
}

static int parse_decimal(const char *value, unsigned max, unsigned *ret) {
        unsigned long long number;

        if (parse_u64(value, 10, &number) < 0 || number > max)
                return -EINVAL;
        *ret = (unsigned)number;
        return 0;
}

/* -EINVAL if the value is not what the key wants. */
static int set_key(Selector *s, Key key, const char *value) {
        switch (key) {
        case KEY_VENDOR:
                return parse_hex(value, 4, &s->vendor);
        case KEY_DEVICE:
                return parse_hex(value, 4, &s->model);
        case KEY_CLASS:
                return parse_class(value, s);
        case KEY_PF:
                return device_name_is_pci(value) ? str_set(&s->physfn, value) : -EINVAL;
        case KEY_NUMA:
                return parse_decimal(value, 0xffff, &s->numa_node);
        case KEY_DRIVER:
                return *value ? str_set(&s->driver, value) : -EINVAL;
        case _KEY_MAX:
                break;
        }
        return -EINVAL;
}

static int refuse(const char *text, Fault *fault, const char *why, const char *more) {
        return fault_set(fault, ERROR_INVALID_ARGS, "The selector '%s' %s%s", text, why, more);
}

static int parse_term(const char *term, const char *text, Selector *s, Fault *fault) {
        const char *value = strchr(term, '=');
        int r;

        if (!value)
                return refuse(text, fault, "has a part that is not KEY=VALUE: ", term);
        for (Key key = 0; key < _KEY_MAX; key++) {
                size_t n = strlen(keys[key].name);

                if ((size_t)(value - term) != n || strncmp(term, keys[key].name, n) != 0)
                        continue;
                if (s->given & (1U << key))
                        return refuse(text, fault, "has a key twice: ", keys[key].name);
                s->given |= 1U << key;
                r = set_key(s, key, value + 1);
                if (r != -EINVAL)
                        return r < 0 ? fault_set_oom(fault) : 0;
                return fault_set(fault, ERROR_INVALID_ARGS, "The selector '%s': %s= wants %s", text,
                                 keys[key].name, keys[key].wants);
        }
        return refuse(text, fault,
                      "has a key that is none of vendor, device, class, pf, numa, driver: ", term);
}

static int check_text(const char *text, Fault *fault) {
        size_t n = strlen(text);
        bool printable = n <= TEXT_MAX;

        for (size_t i = 0; printable && i < n; i++)
                printable = text[i] > ' ' && text[i] <= '~';
        if (printable)
                return 0;
        /* not worth repeating */
        return fault_set(fault, ERROR_INVALID_ARGS,
                         "A selector has up to %d printable characters and no blanks", TEXT_MAX);
}

int selector_parse(const char *text, Selector *ret, Fault *fault) {
        _cleanup_selector_ Selector s = { .text = text, .count = 1 };
        _cleanup_free_ char *copy = NULL;
        char *rest, *term, *count;
        int r;

        r = check_text(text, fault);
        if (r < 0)
                return r;
        copy = rest = strdup(text);
        if (!copy)
                return fault_set_oom(fault);
        count = strchr(copy, '*');
        if (count) {
                *count++ = '\0';
                if (parse_decimal(count, SELECTOR_COUNT_MAX, &s.count) < 0 || s.count == 0)
                        return fault_set(fault, ERROR_INVALID_ARGS,
                                         "The selector '%s': after '*' stands a number of devices "
                                         "from 1 to %d",
                                         text, SELECTOR_COUNT_MAX);
        }
        while ((term = strsep(&rest, ","))) {
                r = parse_term(term, text, &s, fault);
                if (r < 0)
                        return r;
        }
        *ret = s;
        s = SELECTOR_NULL;
        return 0;
}

/* A lease changes the driver, not what the device is. */
static const char *host_driver(const Device *d) {
        const char *driver = d->record.valid ? d->record.driver : d->facts.driver;

        return str_empty(driver) ? "none" : driver;
}

bool selector_matches(const Selector *s, const Device *d) {
        const DeviceFacts *f = &d->facts;
        unsigned given = s->given;

        return (!(given & (1U << KEY_VENDOR)) || f->vendor == s->vendor) &&
               (!(given & (1U << KEY_DEVICE)) || f->model == s->model) &&
               (f->class_code & s->class_mask) == s->class_code &&
               (!(given & (1U << KEY_NUMA)) || f->numa_node == (int)s->numa_node) &&
               (!(given & (1U << KEY_PF)) || str_eq(f->physfn, s->physfn)) &&
               (!(given & (1U << KEY_DRIVER)) || str_eq(host_driver(d), s->driver));
}
