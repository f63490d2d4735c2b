/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config/policy-file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "config.h"
#include "config/access-json.h"
#include "config/json-words.h"
#include "config/rule-json.h"
#include "util/json.h"
#include "util/strings.h"

#define FOLDER         "/etc/dmaownerd"
#define LIMIT_MAX      1000000
#define SIZE_MAX_BYTES (1024 * 1024)

const char *policy_folder(void) {
        const char *folder = getenv("CONFIGURATION_DIRECTORY");

        return str_empty(folder) ? FOLDER : folder;
}

/* Sets the message for what is wrong with a file as a whole. */
static int refuse(char **ret_message, const char *path, const char *what) {
        *ret_message = str_format("%s: %s", path, what);
        return *ret_message ? -EINVAL : -ENOMEM;
}

/* the top of a file */

static int take_rule(JsonText *t, const JsonValue *value, void *userdata) {
        _cleanup_rule_ Rule rule = RULE_NULL;
        int r;

        r = rule_from_json(t, value, &rule);
        return r < 0 ? r : policy_add(userdata, &rule);
}

static int take_limit(JsonText *t, const char *key, size_t at, const JsonValue *value,
                      void *userdata) {
        int64_t limit = json_object_get_int64(value->o);
        Limits *limits = userdata;
        unsigned *which = strcmp(key, "leases") == 0   ? &limits->leases
                          : strcmp(key, "queued") == 0 ? &limits->queued
                                                       : NULL;

        if (!which)
                return json_text_fail(t, at,
                                      "there is no key \"%s\" in \"limits\"; there are \"leases\", "
                                      "\"queued\"",
                                      key);
        if (!json_object_is_type(value->o, json_type_int) || limit < 0 || limit > LIMIT_MAX)
                return json_fail_expected(t, key, value, "a number from 0 to 1000000");
        *which = (unsigned)limit;
        return 0;
}

static int take_key(JsonText *t, const char *key, size_t at, const JsonValue *value,
                    void *userdata) {
        Policy *p = userdata;

        if (strcmp(key, "$schema") == 0 || strcmp(key, "comment") == 0)
                return json_value_string(value)
                               ? 0
                               : json_text_fail(t, value->at,
                                                "key \"%s\": a string is expected, not %s", key,
                                                json_value_kind(value));
        if (strcmp(key, "manage") == 0)
                return access_from_json(t, key, value, true, &p->manage);
        if (strcmp(key, "limits") == 0)
                return json_object_is_type(value->o, json_type_object)
                               ? json_text_members(t, value, take_limit, &p->limits)
                               : json_fail_expected(t, key, value, "an object");
        if (strcmp(key, "rules") != 0)
                return json_text_fail(t, at,
                                      "there is no key \"%s\" here; expected are \"rules\", "
                                      "\"manage\", \"limits\"",
                                      key);
        if (!json_object_is_type(value->o, json_type_array))
                return json_text_fail(t, value->at,
                                      "key \"rules\": a list of rules is expected, not %s",
                                      json_value_kind(value));
        return json_text_items(t, value, take_rule, p);
}

int policy_read_text(Policy *p, const char *name, const char *text, size_t size,
                     char **ret_message) {
        _cleanup_json_ json_object *released = NULL;
        _cleanup_json_text_ JsonText t = {};
        JsonValue top;
        int r;

        r = json_text_read(&t, name, text, size, &top);
        if (r == 0) {
                released = top.o;
                r = json_object_is_type(top.o, json_type_object)
                            ? json_text_members(&t, &top, take_key, p)
                            : json_text_fail(&t, top.at,
                                             "an object with the key \"rules\" is expected, not %s",
                                             json_value_kind(&top));
        }
        if (r == -EINVAL)
                *ret_message = TAKE_PTR(t.message);
        return r;
}

/* files */

static int check_file(const struct stat *st, const char *path, char **ret_message) {
        if (!S_ISREG(st->st_mode))
                return refuse(ret_message, path, "this is not a regular file");
        if (st->st_uid != 0 && st->st_uid != geteuid())
                return refuse(ret_message, path, "the file has to belong to root (chown root)");
        if (st->st_mode & (S_IWGRP | S_IWOTH))
                return refuse(ret_message, path,
                              "others than its owner may write the file (chmod go-w)");
        if (st->st_size > SIZE_MAX_BYTES)
                return refuse(ret_message, path, "the file is longer than 1 MiB");
        return 0;
}

/* Room for one byte more than the file should have says whether it grew meanwhile. */
static int read_all(int fd, const char *path, char **ret, size_t *ret_size, char **ret_message) {
        _cleanup_free_ char *text = malloc(SIZE_MAX_BYTES + 2);
        size_t size = 0;
        ssize_t n;

        if (!text)
                return -ENOMEM;
        while ((n = read(fd, text + size, SIZE_MAX_BYTES + 1 - size)) != 0) {
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return refuse(ret_message, path, strerror(errno));
                size += (size_t)n;
                if (size > SIZE_MAX_BYTES)
                        return refuse(ret_message, path, "the file is longer than 1 MiB");
        }
        text[size] = '\0';
        *ret = TAKE_PTR(text);
        *ret_size = size;
        return 0;
}

int policy_read_file(Policy *p, const char *path, char **ret_message) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *text = NULL;
        struct stat st;
        size_t size;
        int r;

        /* whatever was put in its place, opening it does not hang */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
        if (fd < 0)
                return refuse(ret_message, path,
                              errno == ELOOP ? "this is a symbolic link; put the file itself here"
                                             : strerror(errno));
        if (fstat(fd, &st) < 0)
                return refuse(ret_message, path, strerror(errno));
        r = check_file(&st, path, ret_message);
        if (r == 0)
                r = read_all(fd, path, &text, &size, ret_message);
        return r < 0 ? r : policy_read_text(p, path, text, size, ret_message);
}

/* the folder */

static int is_drop_in(const struct dirent *entry) {
        size_t n = strlen(entry->d_name), suffix = strlen(".json");

        return entry->d_name[0] != '.' && n > suffix &&
               strcmp(entry->d_name + n - suffix, ".json") == 0;
}

static const char *base_name(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

static int by_bytes(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

/* Adds the drop-ins of a folder to those that are known by their names already, which hide these. */
static int list_drop_ins(const char *folder, char ***paths, char **ret_message) {
        struct dirent **entries = NULL;
        int n, r = 0;

        n = scandir(folder, &entries, is_drop_in, by_bytes);
        if (n < 0)
                return errno == ENOENT ? 0 : refuse(ret_message, folder, strerror(errno));
        for (int i = 0; i < n; i++) {
                _cleanup_free_ char *path = str_format("%s/%s", folder, entries[i]->d_name);
                bool hidden = false;

                for (char **other = *paths; other && *other; other++)
                        hidden = hidden || strcmp(base_name(*other), entries[i]->d_name) == 0;
                if (r == 0 && !hidden)
                        r = path ? strv_extend(paths, path) : -ENOMEM;
                free(entries[i]);
        }
        free(entries);
        return r;
}

static int by_name(const void *a, const void *b) {
        return strcmp(base_name(*(char *const *)a), base_name(*(char *const *)b));
}

static int read_drop_ins(Policy *p, const char *folder, const char *vendor, char **ret_message) {
        _cleanup_free_ char *own = str_format("%s/conf.d", folder);
        _cleanup_free_ char *vendors = str_format("%s/conf.d", vendor);
        _cleanup_(strv_freep) char **paths = NULL;
        int r;

        if (!own || !vendors)
                return -ENOMEM;
        r = list_drop_ins(own, &paths, ret_message);
        if (r == 0)
                r = list_drop_ins(vendors, &paths, ret_message);
        if (r == 0 && paths)
                qsort(paths, strv_length(paths), sizeof(char *), by_name);
        for (char **path = paths; r == 0 && path && *path; path++)
                r = policy_read_file(p, *path, ret_message);
        return r;
}

/* 1: it is not there */
static int read_main_file(Policy *p, const char *folder, char **ret_message) {
        _cleanup_free_ char *file = str_format("%s/dmaownerd.json", folder);
        struct stat st;

        if (!file)
                return -ENOMEM;
        if (lstat(file, &st) < 0 && errno == ENOENT)
                return 1;
        return policy_read_file(p, file, ret_message);
}

int policy_read_folders(const char *folder, const char *vendor, Policy **ret, char **ret_message) {
        _cleanup_(policy_freep) Policy *p = NULL;
        int r;

        r = policy_new(&p);
        if (r == 0)
                r = read_drop_ins(p, folder, vendor, ret_message);
        if (r == 0)
                r = read_main_file(p, folder, ret_message);
        if (r > 0)
                r = read_main_file(p, vendor, ret_message);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(p);
        return 0;
}

int policy_read(Policy **ret, char **ret_message) {
        return policy_read_folders(policy_folder(), VENDOR_POLICY_FOLDER, ret, ret_message);
}
