/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "client/describe.h"
#include "client/message-json.h"
#include "client/output.h"
#include "client/text.h"
#include "client/tree.h"
#include "util/strings.h"

static void check_clean(const char *text, const char *expected) {
        _cleanup_free_ char *clean = text_clean(text);

        assert_string_equal(clean, expected);
}

static void test_clean(void **state) {
        check_clean("plain", "plain");
        check_clean("Größe ✓", "Größe ✓");
        check_clean("a\x1b[31mred\n\tb", "a?[31mred??b");
        check_clean("bad \xff\xc3", "bad ??");
        check_clean("\xc2\x9b"
                    "1m",
                    "?"
                    "?1m"); /* a terminal takes U+009B for ESC [ */
        check_clean("", "");
}

static void check_cut(const char *text, size_t width, bool unicode, const char *expected) {
        _cleanup_free_ char *cut = text_cut(text, width, unicode);

        assert_string_equal(cut, expected);
        assert_true(text_width(cut) <= width);
}

static void test_cut(void **state) {
        check_cut("0123456789", 10, true, "0123456789");
        check_cut("0123456789", 9, true, "01234567…");
        check_cut("0123456789", 9, false, "0123456..");
        check_cut("0123456789", 1, false, "0");
        check_cut("0123456789", 0, true, "");
        check_cut("ÄÖÜäöü", 4, true, "ÄÖÜ…");
        check_cut("漢字漢字", 6, true, "漢字…");
}

static void test_width(void **state) {
        assert_int_equal(text_width(""), 0);
        assert_int_equal(text_width("Größe"), 5);
        assert_int_equal(text_width("漢字"), 4);
}

static void test_columns_fit(void **state) {
        static const Column columns[] = {
                { "A" },
                { "B", .min = 4, .rank = 2 },
                { "C", .min = 3, .rank = 1 },
        };
        size_t widths[] = { 6, 10, 8 };

        columns_fit(columns, 3, 28, widths); /* 6 + 2 + 10 + 2 + 8 */
        assert_true(widths[0] == 6 && widths[1] == 10 && widths[2] == 8);
        columns_fit(columns, 3, 27, widths);
        assert_true(widths[0] == 6 && widths[1] == 9 && widths[2] == 8);
        columns_fit(columns, 3, 17, widths);
        assert_true(widths[0] == 6 && widths[1] == 4 && widths[2] == 3);
        columns_fit(columns, 3, 16, widths);
        assert_true(widths[0] == 6 && widths[1] == 0 && widths[2] == 3);
        columns_fit(columns, 3, 10, widths);
        assert_true(widths[0] == 6 && widths[1] == 0 && widths[2] == 0);
        columns_fit(columns, 3, 5, widths); /* no less than that */
        assert_true(widths[0] == 6);
}

static char *print_table(const Table *t, const Look *look) {
        size_t size;
        char *text = NULL;
        FILE *f = open_memstream(&text, &size);

        assert_non_null(f);
        assert_int_equal(table_print(t, look, f), 0);
        assert_int_equal(fclose(f), 0);
        return text;
}

static void test_table(void **state) {
        static const Column columns[] = { { "NAME" }, { "EMPTY" }, { "LAST" } };
        _cleanup_table_ Table t = TABLE_INIT(columns);
        Look look = { .legend = true };
        _cleanup_free_ char *plain = NULL, *coloured = NULL;

        assert_int_equal(table_add(&t, COLOUR_NONE, "a"), 0);
        assert_int_equal(table_add(&t, COLOUR_NONE, ""), 0);
        assert_int_equal(table_add(&t, COLOUR_BAD, "lost\n"), 0);
        assert_int_equal(table_add(&t, COLOUR_NONE, "longer"), 0);
        assert_int_equal(table_add(&t, COLOUR_NONE, NULL), 0);
        assert_int_equal(table_add(&t, COLOUR_NONE, NULL), 0);
        plain = print_table(&t, &look);
        assert_string_equal(plain, "NAME    LAST\n"
                                   "a       lost?\n"
                                   "longer\n");
        look = (Look){ .colour = true };
        coloured = print_table(&t, &look);
        assert_string_equal(coloured, "a       \x1b[1;31mlost?\x1b[0m\n"
                                      "longer\n");
}

static const char *const groups_text =
        "[{'Id':9,'State':'owned','OwnerKind':'user','Owner':[4294967295,''],'Leases':['l3','l7'],"
        "  'WaitsFor':'','DeviceList':["
        "  {'Name':'0000:05:00.0','Vendor':'8086','Model':'244e','Driver':'','HostDriver':''},"
        "  {'Name':'0000:06:01.0','Vendor':'8086 Intel','Model':'100e 82540EM',"
        "   'Driver':'vfio-pci','HostDriver':'e1000','InUse':''},"
        "  {'Name':'0000:06:02.0','Vendor':'8086 Intel','Model':'100e 82540EM',"
        "   'Driver':'vfio-pci','HostDriver':'','InUse':''}]},"
        " {'Id':12,'State':'draining','OwnerKind':'user','Owner':[4294967295,''],'Leases':[],"
        "  'WaitsFor':'testpmd\\u001b (pid 4711)','DeviceList':["
        "  {'Name':'0000:08:00.0','Vendor':'144d Samsung','Model':'a808 SM981','Driver':'nvme',"
        "   'HostDriver':'nvme','InUse':'mounted at /srv'}]},"
        " {'Id':13,'State':'lost','OwnerKind':'','Owner':[0,''],'Leases':[],"
        "  'WaitsFor':'drivers were changed','DeviceList':[]}]";
static const char *const leases_text =
        "[{'Id':'l3','Created':940000000},{'Id':'l7','Created':400000000}]";

static char *print_tree(const Look *look) {
        _cleanup_json_ json_object *groups = json_tokener_parse(groups_text);
        _cleanup_json_ json_object *leases = json_tokener_parse(leases_text);
        Clocks now = { .boottime = 1000000000 };
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        assert_non_null(groups);
        assert_non_null(leases);
        assert_non_null(f);
        assert_int_equal(tree_print(groups, leases, &now, look, f), 0);
        assert_int_equal(fclose(f), 0);
        return text;
}

static void check_tree(Look look, const char *expected) {
        _cleanup_free_ char *text = print_tree(&look);

        assert_string_equal(text, expected);
}

static void test_tree_in_a_pipe(void **state) {
        check_tree(
                (Look){ .legend = true },
                "GROUP               NAME             DRIVER            STATE     OWNER     LEASE  AGE    NOTE\n"
                " 9 +- 0000:05:00.0  8086:244e                          user      (hidden)  l3 l7  10min\n"
                "   |- 0000:06:01.0  82540EM (Intel)  vfio-pci (e1000)\n"
                "   `- 0000:06:02.0  82540EM (Intel)  vfio-pci\n"
                "12 -- 0000:08:00.0  SM981 (Samsung)  nvme              draining  (hidden)                "
                "waits for testpmd? (pid 4711); in use: mounted at /srv\n"
                "13 --                                                  lost                              drivers were changed\n"
                "\n3 groups, 2 leases\n");
}

static void test_tree_of_80_columns(void **state) {
        check_tree(
                (Look){ .width = 80, .unicode = true },
                " 9 ┬─ 0000:05:00.0  8086:244e               user      (hidden)  l3 …\n"
                "   ├─ 0000:06:01.0  82540EM (…  vfio-pci …\n"
                "   └─ 0000:06:02.0  82540EM (…  vfio-pci\n"
                "12 ── 0000:08:00.0  SM981 (Sa…  nvme        draining  (hidden)        waits for…\n"
                "13 ──                                       lost                      drivers w…\n");
}

static void test_tree_of_20_columns(void **state) {
        check_tree((Look){ .width = 20 }, " 9 +- 0000:05:00.0\n"
                                          "   |- 0000:06:01.0\n"
                                          "   `- 0000:06:02.0\n"
                                          "12 -- 0000:08:00.0\n"
                                          "13 --\n");
}

/* No line is wider than the terminal, however narrow it is. */
static void test_tree_of_any_width(void **state) {
        for (size_t width = 1; width <= 130; width++) {
                Look look = { .width = width, .unicode = width % 2, .legend = false };
                _cleanup_free_ char *text = print_tree(&look);
                char *save = NULL;

                for (char *line = strtok_r(text, "\n", &save); line;
                     line = strtok_r(NULL, "\n", &save))
                        assert_true(text_width(line) <= width);
        }
}

static void test_lease_times(void **state) {
        _cleanup_json_ json_object *o = json_tokener_parse(
                "{'Created':1000000,'Expires':18446744073709551615}");
        Clocks now = { .boottime = 3000000, .realtime = 1770091506000000 };

        assert_int_equal(lease_add_times(o, &now), 0);
        assert_string_equal(json_string(o, "created_at"), "2026-02-03T04:05:04.000000Z");
        assert_true(json_object_object_get_ex(o, "expires_at", NULL));
        assert_null(json_member(o, "expires_at"));
}

static void check_property(const char *object, const char *name, const char *expected) {
        _cleanup_json_ json_object *o = json_tokener_parse(object);
        Clocks now = { .boottime = 3000000, .realtime = 1770091506000000 };
        _cleanup_free_ char *text = NULL;

        assert_non_null(o);
        text = property_describe(o, name, json_member(o, name), &now);
        assert_string_equal(text, expected);
}

static void test_properties(void **state) {
        check_property("{'Owner':[0,'me']}", "Owner", "root:me");
        check_property("{'Owner':[4294967294,'me']}", "Owner", "4294967294:me");
        check_property("{'OwnerKind':'','Owner':[0,'']}", "Owner", "");
        check_property("{'Failure':['','']}", "Failure", "");
        check_property("{'Groups':[12,13]}", "Groups", "12 13");
        check_property("{'Claimed':true}", "Claimed", "yes");
        check_property("{'Expires':18446744073709551615}", "Expires", "never");
        check_property("{'Expires':8000000}", "Expires", "2026-02-03T04:05:11.000000Z (in 5s)");
        check_property("{'Created':1000000}", "Created", "2026-02-03T04:05:04.000000Z (2s ago)");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_clean),
                cmocka_unit_test(test_cut),
                cmocka_unit_test(test_width),
                cmocka_unit_test(test_columns_fit),
                cmocka_unit_test(test_table),
                cmocka_unit_test(test_tree_in_a_pipe),
                cmocka_unit_test(test_tree_of_80_columns),
                cmocka_unit_test(test_tree_of_20_columns),
                cmocka_unit_test(test_tree_of_any_width),
                cmocka_unit_test(test_lease_times),
                cmocka_unit_test(test_properties),
        };

        if (!setlocale(LC_CTYPE, "C.UTF-8"))
                return 77; /* skipped */
        return cmocka_run_group_tests(tests, NULL, NULL);
}
