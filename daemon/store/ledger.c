/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/ledger.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/step-json.h"
#include "util/json.h"
#include "util/strings.h"

#define LEDGER_VERSION 1

struct Ledger {
        int dir;
};

int ledger_open(const char *folder, Ledger **ret) {
        _cleanup_free_ char *path = str_format("%s/used", folder);
        _cleanup_(ledger_freep) Ledger *l = calloc(1, sizeof(Ledger));

        if (!path || !l)
                return -ENOMEM;
        l->dir = -EBADF;
        if ((mkdir(folder, 0755) < 0 && errno != EEXIST) ||
            (mkdir(path, 0700) < 0 && errno != EEXIST))
                return -errno;
        l->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (l->dir < 0)
                return -errno;
        *ret = TAKE_PTR(l);
        return 0;
}

Ledger *ledger_free(Ledger *l) {
        if (!l)
                return NULL;
        safe_close(l->dir);
        free(l);
        return NULL;
}

/* Is it the same device, as far as its address and its ids tell? */
static char *identity(const Device *d) {
        return str_format("%04x:%04x", d->facts.vendor, d->facts.model);
}

static bool add(json_object *o, const char *name, json_object *value) {
        if (value && json_object_object_add(o, name, value) == 0)
                return true;
        json_object_put(value);
        return false;
}

static json_object *use_to_json(const Device *d) {
        _cleanup_json_ json_object *o = json_object_new_object();
        _cleanup_free_ char *id = identity(d);

        if (!o || !id || !add(o, "version", json_object_new_uint64(LEDGER_VERSION)) ||
            !add(o, "id", json_object_new_string(id)) ||
            !add(o, "owner-uid", json_object_new_uint64(d->use.owner.uid)) ||
            !add(o, "owner", json_object_new_string(d->use.owner.name)) ||
            !add(o, "reset", json_object_new_uint64(d->use.reset)))
                return NULL;
        return TAKE_PTR(o);
}

static int write_file(int dir, const char *name, const char *text) {
        _cleanup_free_ char *temporary = str_format("%s.new", name);
        _cleanup_close_ int fd = -EBADF;
        size_t size = strlen(text);
        ssize_t n;

        if (!temporary)
                return -ENOMEM;
        fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        n = write(fd, text, size);
        if (n >= 0 && (size_t)n == size && renameat(dir, temporary, dir, name) == 0)
                return 0;
        n = n < 0 || (size_t)n == size ? -errno : -ENOSPC;
        (void)unlinkat(dir, temporary, 0);
        return (int)n;
}

int ledger_save(Ledger *l, const Device *d) {
        _cleanup_free_ char *name = str_format("%s.json", d->facts.name);
        _cleanup_json_ json_object *o = NULL;
        const char *text;

        if (!name)
                return -ENOMEM;
        if (!d->use.valid)
                return unlinkat(l->dir, name, 0) < 0 && errno != ENOENT ? -errno : 0;
        o = use_to_json(d);
        text = o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN) : NULL;
        return text ? write_file(l->dir, name, text) : -ENOMEM;
}

static int read_file(int dir, const char *name, json_object **ret) {
        _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        char text[4096];
        ssize_t n;

        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        n = read(fd, text, sizeof(text) - 1);
        if (n < 0)
                return -errno;
        text[n] = '\0';
        *ret = json_tokener_parse(text);
        return json_object_is_type(*ret, json_type_object) ? 1 : -EBADMSG;
}

int ledger_load(Ledger *l, Device *d) {
        _cleanup_free_ char *name = str_format("%s.json", d->facts.name), *id = identity(d);
        unsigned long long version, uid, reset;
        _cleanup_json_ json_object *o = NULL;
        const char *owner;
        int r;

        if (!name || !id)
                return -ENOMEM;
        r = read_file(l->dir, name, &o);
        if (r <= 0)
                return r;
        owner = json_get_string(o, "owner");
        if (json_get_uint(o, "version", LEDGER_VERSION, &version) < 0 || !owner ||
            !json_get_string(o, "id") || json_get_uint(o, "owner-uid", UINT32_MAX, &uid) < 0 ||
            json_get_uint(o, "reset", 1, &reset) < 0)
                return -EBADMSG;
        if (!str_eq(json_get_string(o, "id"), id))
                return 0;
        r = str_set(&d->use.owner.name, owner);
        if (r < 0)
                return r;
        d->use.owner.uid = (uid_t)uid;
        d->use.reset = reset;
        d->use.valid = true;
        return 0;
}
