/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/ledger.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "shared/step-json.h"
#include "shared/whole-json.h"
#include "store/damage.h"
#include "util/strings.h"

#define LEDGER_VERSION 1
#define FILE_MAX       4096

struct Ledger {
        int dir;
        char *path;
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
        if (l->dir >= 0 && flock(l->dir, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EBUSY : -errno;
        if (l->dir < 0)
                return -errno;
        l->path = TAKE_PTR(path);
        *ret = TAKE_PTR(l);
        return 0;
}

Ledger *ledger_free(Ledger *l) {
        if (!l)
                return NULL;
        safe_close(l->dir);
        free(l->path);
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
        size_t size = strlen(text);
        _cleanup_close_ int fd = -EBADF;
        ssize_t n;

        fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
                    0600);
        if (fd < 0)
                return -errno;
        n = write(fd, text, size);
        if (n < 0)
                return -errno;
        return (size_t)n == size ? 0 : -ENOSPC;
}

/* Writes to a temporary name and renames. why: what is there is damaged, and is set aside in the same
 * instant, as without a record the device would count as clean. */
static int replace_file(const Folder *f, const char *name, const char *text, const char *why) {
        _cleanup_free_ char *temporary = str_format("%s.new", name);
        int r;

        if (!temporary)
                return -ENOMEM;
        r = expect_file(f, temporary);
        if (r == 0)
                r = write_file(f->fd, temporary, text);
        if (r == 0 && renameat2(f->fd, temporary, f->fd, name, why ? RENAME_EXCHANGE : 0) < 0)
                r = -errno;
        if (r == 0)
                return why ? set_aside(f, temporary, why) : 0;
        (void)unlinkat(f->fd, temporary, 0);
        return r;
}

static int save(const Folder *f, const Device *d, const char *why) {
        _cleanup_free_ char *name = str_format("%s.json", d->facts.name);
        _cleanup_json_ json_object *o = NULL;
        const char *text;

        if (!name)
                return -ENOMEM;
        if (!d->use.valid)
                return unlinkat(f->fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
        o = use_to_json(d);
        text = json_whole_text(o);
        return text ? replace_file(f, name, text, why) : -ENOMEM;
}

int ledger_save(Ledger *l, const Device *d) {
        _cleanup_(strv_freep) char **messages =
                NULL; /* of what was in the way of the temporary name */
        const Folder f = { .fd = l->dir, .path = l->path, .messages = &messages };

        return save(&f, d, NULL);
}

static int parse(json_object *o, Device *d, const char *id) {
        unsigned long long version, uid, reset;
        const char *owner = json_get_string(o, "owner");
        int r;

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

/* Whoever it was, it was nobody who may have it again as it is. */
static int note_unknown(const Folder *f, Device *d, const char *why) {
        _cleanup_free_ char *message = NULL;
        int r = str_set(&d->use.owner.name, "an unknown owner");

        if (r < 0)
                return r;
        d->use.owner.uid = UINT32_MAX;
        d->use.valid = true;
        r = save(f, d, why);
        if (r == 0 || r == -ENOMEM)
                return r;
        message = str_format("%s/%s.json %s; it stays there: %s", f->path, d->facts.name, why,
                             strerror(-r));
        return message ? strv_extend(f->messages, message) : -ENOMEM;
}

int ledger_load(Ledger *l, Device *d, char ***messages) {
        _cleanup_free_ char *name = str_format("%s.json", d->facts.name), *id = identity(d);
        const Folder f = { .fd = l->dir, .path = l->path, .messages = messages };
        const char *why = "cannot be understood";
        _cleanup_json_ json_object *o = NULL;
        _cleanup_free_ char *text = NULL;
        int r;

        if (!name || !id)
                return -ENOMEM;
        r = read_text(&f, name, FILE_MAX, &text, &why);
        if (r == -ENOENT)
                return 0;
        if (r == 0) {
                o = json_tokener_parse(text);
                r = json_object_is_type(o, json_type_object) ? parse(o, d, id) : -EBADMSG;
        }
        return r == -EBADMSG ? note_unknown(&f, d, why) : r;
}
