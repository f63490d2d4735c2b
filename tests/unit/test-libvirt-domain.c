/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "client/libvirt/domain.h"
#include "util/strings.h"

#define UUID  "0d1a37c5-9a34-4a4c-9e05-3c3d2e0f7a11"
#define UPPER "0D1A37C5-9A34-4A4C-9E05-3C3D2E0F7A11"
#define HEAD  "<domain type='qemu'><name>a</name><uuid>" UUID "</uuid><devices>"
#define TAIL  "</devices></domain>"
#define ADDRESS(bus, slot, function)                                                            \
        "<address type='pci' domain='0x0000' bus='" bus "' slot='" slot "' function='" function \
        "'/>"
#define HOSTDEV(address)                                                           \
        "<hostdev mode='subsystem' type='pci' managed='yes'><driver name='vfio'/>" \
        "<source>" address "</source>" ADDRESS("0x09", "0x00", "0x0") "</hostdev>"
#define PORT(plug)                                                                          \
        "<hookData><network><name>pool</name><uuid>" UPPER "</uuid></network><networkport>" \
        "<uuid>11111111-2222-3333-4444-555555555555</uuid><owner><name>a</name><uuid>" UUID \
        "</uuid></owner>" plug "</networkport></hookData>"

static void test_devices(void **state) {
        static const struct {
                const char *xml, *devices;
                bool is_port;
        } rows[] = {
                { HEAD TAIL, "" },
                { HEAD HOSTDEV(ADDRESS("0x3b", "0x1f", "0x7")) TAIL, "0000:3b:1f.7" },
                /* the domain may be left out, and numbers need no 0x */
                { HEAD HOSTDEV("<address bus='03' slot='0a' function='0'/>") TAIL, "0000:03:0a.0" },
                { HEAD HOSTDEV("<address domain='0x10000' bus='0x1' slot='0' function='0'/>") TAIL,
                  "10000:01:00.0" },
                { HEAD "<interface type='hostdev'><source>" ADDRESS(
                          "0x03", "0x10",
                          "0x0") "</source></interface>"
                                 "<interface type='network'><source network='pool'/>" ADDRESS(
                                         "1", "2", "3") "</interface>" TAIL,
                  "0000:03:10.0" },
                /* two namespaces of one controller, one of another as a backing file */
                { HEAD
                  "<disk type='nvme'><source type='pci' managed='yes' namespace='1'>" ADDRESS("1", "0", "0") "</source><backingStore type='nvme'><source type='pci' namespace='1'>" ADDRESS(
                          "2", "0",
                          "0") "</source></backingStore></disk>"
                               "<disk type='nvme'><source type='pci' namespace='2'>" ADDRESS(
                                       "1", "0",
                                       "0") "</source></disk>"
                                            "<disk type='file'><source file='/x'/>" ADDRESS(
                                                    "7", "0", "0") "</disk>" TAIL,
                  "0000:01:00.0 0000:02:00.0" },
                { HEAD
                  "<hostdev mode='subsystem' type='usb'><source><address bus='1' device='2'/></source></hostdev>"
                  "<hostdev mode='subsystem' type='mdev'><source><address uuid='" UUID
                  "'/></source></hostdev>" TAIL,
                  "" },
                { "<domain><name>a</name><uuid>" UPPER "</uuid></domain>", "" },
                { PORT("<plug type='hostdev-pci' managed='yes'><driver name='vfio'/>" ADDRESS(
                          "3", "10", "1") "</plug>"),
                  "0000:03:10.1", true },
                { PORT("<plug type='bridge' bridge='virbr0'/>"), "", true },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                _cleanup_free_ char *why = NULL, *devices = NULL, *owner = NULL;
                _cleanup_domain_ Domain d = DOMAIN_NULL;
                int r = domain_from_xml(rows[i].xml, strlen(rows[i].xml), &d, &why);

                if (why)
                        fail_msg("%s: %s", rows[i].xml, why);
                assert_int_equal(r, 0);
                devices = strv_join(d.devices, " ");
                assert_string_equal(devices ? devices : "", rows[i].devices);
                assert_int_equal(d.is_port, rows[i].is_port);
                assert_string_equal(d.name, "a");
                owner = domain_owner(&d);
                assert_string_equal(owner, "libvirt:" UUID);
        }
}

static void test_wrong(void **state) {
        static const struct {
                const char *xml, *says;
        } rows[] = {
                { "", "line 0" },
                { "no XML", "line 1" },
                { HEAD, "line 1" }, /* cut off */
                { "<domain><name>a</name><devices/></domain>", "no UUID" },
                { "<domain><name>a</name><uuid>1</uuid></domain>", "no UUID" },
                { "<domain><name>a</name><uuid>" UUID "0</uuid></domain>", "no UUID" },
                { "<domain><name>a</name><uuid>0d1a37c5-9a34-4a4c-9e05-3c3d2e0f7a1;</uuid></domain>",
                  "no UUID" },
                { "<domain><uuid>" UUID "</uuid></domain>", "no name" },
                { "<network/>", "<network>" },
                { HEAD HOSTDEV("<address domain='0x0000' bus='0x03' slot='0x00'/>") TAIL,
                  "no function" },
                { HEAD HOSTDEV(ADDRESS("0x100", "0", "0")) TAIL, "bus '0x100'" },
                { HEAD HOSTDEV(ADDRESS("0x1", "0x20", "0")) TAIL, "slot '0x20'" },
                { HEAD HOSTDEV(ADDRESS("0x1", "0", "8")) TAIL, "function '8'" },
                { HEAD HOSTDEV(ADDRESS("0x1", "0", "-1")) TAIL, "function '-1'" },
                { HEAD HOSTDEV(ADDRESS("", "0", "0")) TAIL, "bus ''" },
                { HEAD HOSTDEV(ADDRESS("1", "0", "0")) HOSTDEV(ADDRESS("1", "0", "0")) TAIL,
                  "0000:01:00.0 twice" },
                { "<!DOCTYPE domain [<!ENTITY a 'b'>]><domain><name>&a;</name><uuid>" UUID
                  "</uuid></domain>",
                  "document type" },
                { "<hookData><networkport><owner><name>a</name></owner></networkport></hookData>",
                  "no UUID" },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                _cleanup_domain_ Domain d = DOMAIN_NULL;
                _cleanup_free_ char *why = NULL;

                assert_int_equal(domain_from_xml(rows[i].xml, strlen(rows[i].xml), &d, &why),
                                 -EINVAL);
                if (!strstr(why, rows[i].says))
                        fail_msg("%s: %s", rows[i].xml, why);
                assert_null(d.uuid);
        }
}

static void test_nobody(void **state) {
        static const char xml[] = "<hookData><network><name>pool</name></network></hookData>";
        _cleanup_domain_ Domain d = DOMAIN_NULL;
        _cleanup_free_ char *why = NULL;

        assert_int_equal(domain_from_xml(xml, strlen(xml), &d, &why), 0);
        assert_null(d.name);
        assert_false(d.is_port);
}

static void test_bounds(void **state) {
        _cleanup_free_ char *huge = malloc(DOMAIN_XML_MAX + 1), *deep = NULL, *why = NULL,
                            *why_deep = NULL;
        _cleanup_domain_ Domain d = DOMAIN_NULL;
        size_t n = 100000;

        assert_non_null(huge);
        memset(huge, ' ', DOMAIN_XML_MAX + 1);
        assert_int_equal(domain_from_xml(huge, DOMAIN_XML_MAX + 1, &d, &why), -EINVAL);
        assert_non_null(strstr(why, "8 MiB"));
        deep = malloc(3 * n);
        assert_non_null(deep);
        for (size_t i = 0; i < n; i++)
                memcpy(deep + 3 * i, "<a>", 3);
        assert_int_equal(domain_from_xml(deep, 3 * n, &d, &why_deep), -EINVAL);
        assert_non_null(strstr(why_deep, "depth"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_devices),
                cmocka_unit_test(test_wrong),
                cmocka_unit_test(test_nobody),
                cmocka_unit_test(test_bounds),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
