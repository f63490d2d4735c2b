/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "config/policy-file.h"
#include "util/strings.h"

typedef struct Folder {
        char path[64];
} Folder;

static int folder_make(void **state) {
        Folder *f = calloc(1, sizeof(Folder));

        (void)snprintf(f->path, sizeof(f->path), "%s/policy-XXXXXX",
                       getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
        if (!mkdtemp(f->path))
                return -1;
        *state = f;
        return 0;
}

static int folder_remove(void **state) {
        _cleanup_free_ Folder *f = *state;
        _cleanup_free_ char *command = str_format("rm -rf %s", f->path);

        return system(command);
}

static void write_file(const Folder *f, const char *name, const char *text) {
        _cleanup_free_ char *path = str_format("%s/%s", f->path, name);
        FILE *file = fopen(path, "w");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(chmod(path, 0644), 0);
}

static int read_text(const char *text, Policy **ret, char **ret_message) {
        _cleanup_(policy_freep) Policy *p = NULL;
        int r;

        assert_int_equal(policy_new(&p), 0);
        r = policy_read_text(p, "p.json", text, strlen(text), ret_message);
        if (r == 0)
                *ret = TAKE_PTR(p);
        return r;
}

static Device some_device(void) {
        return (Device){ .facts = { .name = (char *)"0000:3b:00.1",
                                    .bus = (char *)"pci",
                                    .vendor = 0x8086,
                                    .model = 0x10d3,
                                    .class_code = 0x020000,
                                    .group = 7,
                                    .numa_node = 1,
                                    .driver = (char *)"e1000e" } };
}

/* Does a rule with that "match" speak of the device? */
static bool speaks_of(const char *match, const Device *d) {
        _cleanup_free_ char *text =
                str_format("{\"rules\":[{\"match\":{%s},\"release\":\"keep\"}]}", match);
        _cleanup_(policy_freep) Policy *p = NULL;
        _cleanup_free_ char *message = NULL;

        if (read_text(text, &p, &message) < 0)
                fail_msg("%s", message);
        return policy_for_device(p, d).release == RELEASE_KEEP;
}

static void test_match(void **state) {
        static const struct {
                const char *match;
                bool yes;
        } cells[] = {
                { "", true },
                { "\"device\":\"0000:3b:00.1\"", true },
                { "\"device\":\"0000:3b:00.*\"", true },
                { "\"device\":\"*:00.1\"", true },
                { "\"device\":\"0000:3b:00.0\"", false },
                { "\"device\":[\"0000:01:00.0\",\"0000:3b:*\"]", true },
                { "\"id\":\"8086:10d3\"", true },
                { "\"id\":\"8086:*\"", true },
                { "\"id\":[\"15b3:*\",\"8086:10d4\"]", false },
                { "\"class\":\"02\"", true },
                { "\"class\":\"0200\"", true },
                { "\"class\":\"020001\"", false },
                { "\"driver\":\"e1000*\"", true },
                { "\"driver\":\"none\"", false },
                { "\"pf\":\"*\"", false },
                { "\"with\":\"0000:3b:00.0\"", false },
                { "\"numa\":1", true },
                { "\"numa\":[0,-1]", false },
                { "\"id\":\"8086:*\",\"class\":\"01\"", false },
                { "\"id\":\"8086:*\",\"class\":\"02\",\"numa\":1", true },
        };
        Device d = some_device();

        for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++)
                if (speaks_of(cells[i].match, &d) != cells[i].yes)
                        fail_msg("{%s}: %s expected", cells[i].match, cells[i].yes ? "yes" : "no");
        d.facts.physfn = (char *)"0000:3b:00.0";
        assert_true(speaks_of("\"pf\":\"0000:3b:00.0\"", &d));
        d.facts.driver = NULL;
        assert_true(speaks_of("\"driver\":\"none\"", &d));
        d.facts.driver = (char *)"vfio-pci";
        d.record = (HostRecord){ .valid = true, .driver = (char *)"e1000e" };
        assert_true(speaks_of("\"driver\":\"e1000e\"", &d));
        assert_false(speaks_of("\"driver\":\"vfio-pci\"", &d));
}

static void test_match_in_group(void **state) {
        Device first = some_device(), second = some_device();
        Group g = { .id = 7, .devices = &first, .n_devices = 2 };
        _cleanup_(policy_freep) Policy *p = NULL;
        _cleanup_free_ char *message = NULL;

        second.facts.name = (char *)"0000:3b:00.2";
        first.next = &second;
        first.group = second.group = &g;
        assert_true(speaks_of("\"with\":\"0000:3b:00.2\"", &first));
        assert_true(speaks_of("\"with\":\"0000:3b:00.2\"", &second));
        assert_int_equal(read_text("{\"rules\":[{\"match\":{\"device\":\"0000:3b:00.2\"},"
                                   "\"release\":\"keep\"}]}",
                                   &p, &message),
                         0);
        assert_true(policy_for_group(p, &g).keep);
        first.next = NULL;
        assert_false(policy_for_group(p, &g).keep);
        assert_false(policy_for_group(NULL, &g).keep);
}

static void test_first_match_decides_each_key(void **state) {
        _cleanup_(policy_freep) Policy *p = NULL;
        _cleanup_free_ char *message = NULL;
        Device d = some_device();
        DevicePolicy said;

        assert_int_equal(read_text("{\"$schema\":\"x\",\"comment\":\"y\",\"rules\":["
                                   "{\"match\":{\"class\":\"01\"},\"release\":\"keep\"},"
                                   "{\"name\":\"nics\",\"match\":{\"class\":\"02\"},\"reset\":\"flr\"},\n"
                                   "{\"reset\":\"none\",\"release\":\"keep\"},"
                                   "{\"release\":\"restore\"}]}",
                                   &p, &message),
                         0);
        said = policy_for_device(p, &d);
        assert_int_equal(said.release, RELEASE_KEEP);
        assert_string_equal(said.reset, "flr");
        assert_false(said.reset_required);
        assert_string_equal(p->rules[1].name, "nics");
        assert_string_equal(p->rules[1].origin, "p.json:1");
        assert_string_equal(p->rules[2].origin, "p.json:2");
        d.facts.class_code = 0x010802;
        assert_string_equal(policy_for_device(p, &d).reset, "none");
        said = policy_for_device(NULL, &d);
        assert_int_equal(said.release, RELEASE_RESTORE);
        assert_string_equal(said.reset, "auto");
}

static void test_reset_required(void **state) {
        _cleanup_(policy_freep) Policy *p = NULL;
        _cleanup_free_ char *message = NULL;
        Device d = some_device();

        assert_int_equal(read_text("{\"rules\":[{\"reset\":\"required\"}]}", &p, &message), 0);
        assert_true(policy_for_device(p, &d).reset_required);
        assert_string_equal(policy_for_device(p, &d).reset, "auto");
}

static void test_malformed(void **state) {
        static const struct {
                const char *text, *message;
        } cells[] = {
                { "", "p.json:1:1: the file is empty" },
                { " \n ", "p.json:1:1: the file is empty" },
                { "[]", "p.json:1:1: an object with the key \"rules\" is expected, not a list" },
                { "null", "p.json:1:1: an object with the key \"rules\" is expected, not null" },
                { "{", "p.json:1:2: the file ends before the JSON is complete" },
                { "{\n \"rules\": [\n  {]\n", "p.json:3:4: this is not JSON: " },
                { "{} {}", "p.json:1:4: this is not JSON: " },
                { "{\"rules\":[]} x", "p.json:1:14: this is not JSON: " },
                { "{\"rules\":[],}", "p.json:1:13: this is not JSON: " },
                { "{'rules':[]}", "p.json:1:2: a key has to stand in double quotes" },
                { "/* */ {}", "p.json:1:1: this is not JSON: " },
                { "{\"rules\":\"\xff\"}", "p.json:1:11: this is not JSON: " },
                { "[[[[[[[[[[[[[[[[[[[[", "p.json:1:17: nested deeper than any policy is" },
                { "{\"Rules\":[]}", "p.json:1:2: there is no key \"Rules\" here" },
                { "{\"rules\":[],\"rules\":[]}", "p.json:1:13: the key \"rules\" is there twice" },
                { "{\"rules\":{}}",
                  "p.json:1:10: key \"rules\": a list of rules is expected, not an "
                  "object" },
                { "{\"rules\":[1]}", "p.json:1:11: a rule has to be an object, not a number" },
                { "{\"rules\":[{}]}", "p.json:1:11: this rule decides nothing" },
                { "{\"rules\":[{\"match\":{}}]}", "p.json:1:11: this rule decides nothing" },
                { "{\"rules\":[{\"protekt\":true}]}",
                  "p.json:1:12: there is no key \"protekt\" in a "
                  "rule; there are \"name\"" },
                { "{\"rules\":[{\"release\":\"keep\",\n\"release\":\"keep\"}]}",
                  "p.json:2:1: the key \"release\" is there twice" },
                { "{\"rules\":[\n{\"release\": \"kepp\"}]}",
                  "p.json:2:13: key \"release\": expected is \"restore\", \"keep\" or \"unbound\", not \"kepp\"" },
                { "{\"rules\":[{\"release\": true}]}",
                  "p.json:1:23: key \"release\": expected is \"restore\", \"keep\" or \"unbound\", not true or false" },
                { "{\"rules\":[{\"reset\": \"FLR\"}]}",
                  "p.json:1:21: key \"reset\": expected is \"auto\"" },
                { "{\"rules\":[{\"reset\": null}]}",
                  "p.json:1:21: key \"reset\": expected is \"auto\"" },
                { "{\"rules\":[{\"name\": \"\"}]}", "p.json:1:20: key \"name\": expected is" },
                { "{\"rules\":[{\"name\": \"a\\u0000b\"}]}",
                  "p.json:1:20: key \"name\": expected is" },
                { "{\"rules\":[{\"name\": \"a\\nb\"}]}", "p.json:1:20: key \"name\": expected is" },
                { "{\"rules\":[{\"match\": []}]}",
                  "p.json:1:21: key \"match\": an object is expected" },
                { "{\"rules\":[{\"match\": {\"dev\":\"x\"}}]}",
                  "p.json:1:22: there is no key \"dev\" in" },
                { "{\"rules\":[{\"match\": {\"device\":[]}}]}",
                  "p.json:1:31: key \"device\": an empty" },
                { "{\"rules\":[{\"match\": {\"device\":\"\"}}]}",
                  "p.json:1:31: key \"device\": expected" },
                { "{\"rules\":[{\"match\": {\"device\":\"0000:3B:00.0\"}}]}",
                  "p.json:1:31: key \"device\": expected is an address" },
                { "{\"rules\":[{\"match\": {\"device\":[\"0000:3b:00.0\",7]}}]}",
                  "p.json:1:47: key \"device\": expected is an address" },
                { "{\"rules\":[{\"match\": {\"id\":\"8086\"}}]}",
                  "p.json:1:27: key \"id\": expected is" },
                { "{\"rules\":[{\"match\": {\"id\":\"8086:10d\"}}]}",
                  "p.json:1:27: key \"id\": expected" },
                { "{\"rules\":[{\"match\": {\"class\":\"020\"}}]}",
                  "p.json:1:30: key \"class\": expected" },
                { "{\"rules\":[{\"match\": {\"driver\":\"../x\"}}]}",
                  "p.json:1:31: key \"driver\"" },
                { "{\"rules\":[{\"match\": {\"numa\":\"1\"}}]}",
                  "p.json:1:29: key \"numa\": expected is" },
                { "{\"rules\":[{\"match\": {\"numa\":1.5}}]}",
                  "p.json:1:29: key \"numa\": expected is" },
                { "{\"rules\":[{\"match\": {\"numa\":-2}}]}",
                  "p.json:1:29: key \"numa\": expected is" },
                { "{\"rules\":[{\"match\": {\"numa\":99999999999999999999}}]}",
                  "p.json:1:29: key \"numa\": expected is" },
                { "{\"rules\":[{\"access\":[]}]}", "p.json:1:21: key \"access\": an empty" },
                { "{\"rules\":[{\"access\":7}]}", "p.json:1:21: key \"access\": an object is" },
                { "{\"rules\":[{\"access\":{\"user\":\"a\"}}]}",
                  "p.json:1:22: there is no key \"user\" in \"access\"; there are \"comment\", "
                  "\"users\"" },
                { "{\"rules\":[{\"access\":{\"actions\":\"see\"}}]}",
                  "p.json:1:22: there is no key \"actions\"" },
                { "{\"rules\":[{\"access\":{\"users\":[]}}]}",
                  "p.json:1:30: key \"users\": an empty" },
                { "{\"rules\":[{\"access\":{\"users\":\"a,b\"}}]}",
                  "p.json:1:30: key \"users\": expected is the name" },
                { "{\"rules\":[{\"access\":{\"units\":\"libvirtd\"}}]}",
                  "p.json:1:30: key \"units\": expected" },
                { "{\"rules\":[{\"access\":{\"kinds\":[\"user\", \"usr\"]}}]}",
                  "p.json:1:39: key \"kinds\": expected" },
                { "{\"rules\":[{\"access\":{\"decision\":true}}]}",
                  "p.json:1:33: key \"decision\": expected is \"allow\", \"ask\" or \"deny\"" },
                { "{\"rules\":[{\"access\":{\"max-ttl\":0}}]}",
                  "p.json:1:32: key \"max-ttl\": expected is a number of seconds" },
                { "{\"rules\":[{\"access\":{\"max-ttl\":99999999999999999999}}]}",
                  "p.json:1:32: key \"max-ttl\"" },
                { "{\"rules\":[{\"access\":{\"priority\":[1,-1]}}]}",
                  "p.json:1:33: key \"priority\": expected is the lowest and the highest" },
                { "{\"rules\":[{\"access\":{\"priority\":[1,101]}}]}",
                  "p.json:1:33: key \"priority\"" },
                { "{\"rules\":[{\"access\":{\"priority\":5}}]}", "p.json:1:33: key \"priority\"" },
                { "{\"rules\":[{\"access\":{\"force\":\"yes\"}}]}", "p.json:1:30: key \"force\"" },
                { "{\"rules\":[{\"access\":{\"for\":{}}}]}", "p.json:1:28: key \"for\"" },
                { "{\"rules\":[{\"access\":{\"types\":\"dma\"}}]}", "p.json:1:30: key \"types\"" },
                { "{\"rules\":[{\"access\":{\"decision\":\"deny\",\"force\":true}}]}",
                  "p.json:1:21: key \"access\": what is denied needs no limits" },
                { "{\"manage\":{\"kinds\":\"user\"}}", "p.json:1:12: there is no key \"kinds\"" },
                { "{\"manage\":{\"actions\":\"all\"}}", "p.json:1:22: key \"actions\": expected" },
                { "{\"limits\":[]}", "p.json:1:11: key \"limits\": expected is an object" },
                { "{\"limits\":{\"lease\":1}}", "p.json:1:12: there is no key \"lease\"" },
                { "{\"limits\":{\"leases\":-1}}",
                  "p.json:1:21: key \"leases\": expected is a number" },
                { "{\"comment\":\"\xc3\xa4\xc3\xb6\",\"x\":1}",
                  "p.json:1:17: there is no key \"x\"" },
        };

        for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++) {
                _cleanup_(policy_freep) Policy *p = NULL;
                _cleanup_free_ char *message = NULL;
                int r = read_text(cells[i].text, &p, &message);

                if (r != -EINVAL || !message)
                        fail_msg("%s gives %d", cells[i].text, r);
                if (!str_starts(message, cells[i].message))
                        fail_msg("%s\ngives    %s\nexpected %s", cells[i].text, message,
                                 cells[i].message);
        }
}

/* Every beginning of a good file, and every one of its bytes changed: an answer, and a message that
 * begins with a place. */
static void test_damaged(void **state) {
        static const char good[] =
                "{\"$schema\": \"s\", \"rules\": [\n  {\"name\": \"\xc3\xa4\", \"match\": {\"device\": "
                "[\"0000:3b:00.*\", \"*\"], \"id\": \"8086:*\", \"class\": \"02\",\n \"driver\": \"none\", "
                "\"pf\": \"*\", \"with\": \"*\", \"numa\": [0, -1]}, \"release\": \"keep\", "
                "\"reset\": \"flr\", \"access\": [{\"users\": [\"1\"], \"groups\": \"2\", \"units\": "
                "\"a*.service\", \"kinds\": \"user\", \"owners\": \"a:*\", \"types\": \"DMA\", \"max-ttl\": 9, "
                "\"priority\": [-1, 1], \"force\": true, \"for\": \"*\", \"decision\": \"ask\"}]}],\n"
                "\"manage\": {\"actions\": \"see\", \"decision\": \"deny\"}, \"limits\": {\"leases\": 3, "
                "\"queued\": 4}}\n";
        static const char bytes[] = "\"{}[]:,\\\x80\xff 0-\t\n/";

        for (size_t at = 0; at < strlen(good); at++)
                for (size_t b = 0; b <= strlen(bytes); b++) {
                        _cleanup_(policy_freep) Policy *p = NULL;
                        _cleanup_free_ char *message = NULL, *text = strdup(good);
                        int r;

                        assert_non_null(text);
                        text[at] = bytes[b]; /* the last ends it */
                        r = read_text(text, &p, &message);
                        if (r == 0)
                                assert_null(message);
                        else {
                                assert_int_equal(r, -EINVAL);
                                assert_true(str_starts(message, "p.json:"));
                        }
                }
}

static void test_folder(void **state) {
        const Folder *f = *state;
        _cleanup_free_ char *drop_ins = str_format("%s/conf.d", f->path);
        _cleanup_(policy_freep) Policy *none = NULL, *p = NULL, *q = NULL;
        _cleanup_free_ char *message = NULL;

        assert_int_equal(policy_read_folders("/nowhere", "/nowhere", &none, &message), 0);
        assert_int_equal(none->n, 0);
        write_file(f, "dmaownerd.json", "{\"rules\":[{\"reset\":\"a\"}]}");
        assert_int_equal(policy_read_folders(f->path, "/nowhere", &p, &message), 0);
        assert_int_equal(p->n, 1);
        assert_int_equal(mkdir(drop_ins, 0755), 0);
        write_file(f, "conf.d/20.json", "{\"rules\":[{\"reset\":\"c\"}]}");
        write_file(f, "conf.d/10.json", "{\"rules\":[{\"reset\":\"b\"}]}");
        write_file(f, "conf.d/30.json~", "not read");
        write_file(f, "conf.d/.json", "not read");
        write_file(f, "conf.d/.40.json", "not read");
        assert_int_equal(policy_read_folders(f->path, "/nowhere", &q, &message), 0);
        assert_int_equal(q->n, 3);
        assert_string_equal(q->rules[0].reset, "b");
        assert_string_equal(q->rules[1].reset, "c");
        assert_string_equal(q->rules[2].reset, "a");
}

static void refused(const Folder *f, const char *why) {
        _cleanup_(policy_freep) Policy *p = NULL;
        _cleanup_free_ char *message = NULL;

        assert_int_equal(policy_read_folders(f->path, "/nowhere", &p, &message), -EINVAL);
        if (!strstr(message, why) || !strstr(message, "dmaownerd.json"))
                fail_msg("%s expected, not: %s", why, message);
}

static void test_odd_files(void **state) {
        const Folder *f = *state;
        _cleanup_free_ char *path = str_format("%s/dmaownerd.json", f->path);
        _cleanup_free_ char *other = str_format("%s/other.json", f->path);
        _cleanup_free_ char *conf_d = str_format("%s/conf.d", f->path);
        _cleanup_free_ char *message = NULL;
        _cleanup_(policy_freep) Policy *p = NULL;
        int fd;

        write_file(f, "dmaownerd.json", "{}");
        assert_int_equal(policy_read_folders(f->path, "/nowhere", &p, &message), 0);
        assert_int_equal(chmod(path, 0664), 0);
        refused(f, "others than its owner may write the file");
        assert_int_equal(chmod(path, 0646), 0);
        refused(f, "others than its owner may write the file");
        if (geteuid() == 0) {
                assert_int_equal(chmod(path, 0644), 0);
                assert_int_equal(chown(path, 1, 0), 0);
                refused(f, "has to belong to root");
        }
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkfifo(path, 0600), 0);
        refused(f, "not a regular file");
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkdir(path, 0755), 0);
        refused(f, "not a regular file");
        assert_int_equal(rmdir(path), 0);
        write_file(f, "other.json", "{}");
        assert_int_equal(symlink(other, path), 0);
        refused(f, "symbolic link");
        assert_int_equal(unlink(path), 0);
        write_file(f, "dmaownerd.json", "{}");
        fd = open(path, O_WRONLY);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, 100 * 1024 * 1024), 0);
        close(fd);
        refused(f, "longer than 1 MiB");
        write_file(f, "dmaownerd.json", "{}");
        assert_int_equal(truncate(path, 2 + 64), 0);
        refused(f, "a null byte is not JSON");
        assert_int_equal(unlink(path), 0);
        /* the message names the file, and conf.d may be anything but a file */
        write_file(f, "conf.d", "");
        assert_int_equal(policy_read_folders(f->path, "/nowhere", &p, &message), -EINVAL);
        assert_true(str_starts(message, conf_d));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_match),
                cmocka_unit_test(test_match_in_group),
                cmocka_unit_test(test_first_match_decides_each_key),
                cmocka_unit_test(test_reset_required),
                cmocka_unit_test(test_malformed),
                cmocka_unit_test(test_damaged),
                cmocka_unit_test_setup_teardown(test_folder, folder_make, folder_remove),
                cmocka_unit_test_setup_teardown(test_odd_files, folder_make, folder_remove),
        };

        return cmocka_run_group_tests_name("policy-file", tests, NULL, NULL);
}
