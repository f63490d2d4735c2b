/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "store/state-json.h"
#include "util/strings.h"

#define RESERVE_SIZE (64 * 1024)

struct Store {
        int dir;
        int lock;
        char *boot_id;
        unsigned long long last_seq;
};

static int read_boot_id(char **ret) {
        char id[64];
        ssize_t n;
        _cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        n = read(fd, id, sizeof(id) - 1);
        if (n < 0)
                return -errno;
        id[n] = '\0';
        id[strcspn(id, "\n")] = '\0';
        return str_set(ret, id);
}

/* Fills the space that a full folder would need for the way back. */
static int store_make_reserve(Store *s) {
        _cleanup_close_ int fd = openat(s->dir, "reserve",
                                        O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0)
                return -errno;
        return -posix_fallocate(fd, 0, RESERVE_SIZE);
}

int store_open(const char *dir, Store **ret) {
        static const char *const folders[] = { "leases", "groups", "lifelines", "damaged" };
        _cleanup_(store_freep) Store *s = calloc(1, sizeof(Store));
        int r;

        if (!s)
                return -ENOMEM;
        s->lock = -EBADF;
        s->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->dir < 0)
                return -errno;
        s->lock = openat(s->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (s->lock < 0)
                return -errno;
        if (flock(s->lock, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EBUSY : -errno;
        r = read_boot_id(&s->boot_id);
        if (r < 0)
                return r;
        for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++)
                if (mkdirat(s->dir, folders[i], 0700) < 0 && errno != EEXIST)
                        return -errno;
        r = store_make_reserve(s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

Store *store_free(Store *s) {
        if (!s)
                return NULL;
        safe_close(s->lock);
        safe_close(s->dir);
        free(s->boot_id);
        free(s);
        return NULL;
}

static int write_all(int fd, const char *text, size_t size) {
        while (size > 0) {
                ssize_t n = write(fd, text, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                text += n;
                size -= (size_t)n;
        }
        return 0;
}

static int store_write_once(Store *s, const char *path, const char *text) {
        _cleanup_free_ char *temporary = str_format("%s.new", path);
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (!temporary)
                return -ENOMEM;
        fd = openat(s->dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        r = write_all(fd, text, strlen(text));
        if (r == 0 && renameat(s->dir, temporary, s->dir, path) < 0)
                r = -errno;
        if (r < 0)
                (void)unlinkat(s->dir, temporary, 0);
        return r;
}

/* way_back: this write must succeed, it may use up the reserve. */
static int store_write(Store *s, const char *path, json_object *o, bool way_back) {
        const char *text;
        int r;

        if (!o || json_object_object_add(o, "boot-id", json_object_new_string(s->boot_id)) < 0)
                return -ENOMEM;
        text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
        if (!text)
                return -ENOMEM;
        r = store_write_once(s, path, text);
        if (r == -ENOSPC && way_back && unlinkat(s->dir, "reserve", 0) == 0) {
                r = store_write_once(s, path, text);
                (void)store_make_reserve(s); /* the next one is told if it cannot be had yet */
        }
        return r;
}

static int store_unlink(Store *s, const char *folder, const char *name, const char *suffix) {
        _cleanup_free_ char *path = str_format("%s/%s%s", folder, name, suffix);

        if (!path)
                return -ENOMEM;
        return unlinkat(s->dir, path, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* Small and written often: the number and nothing else. */
static int store_save_sequence(Store *s, unsigned long long seq) {
        _cleanup_free_ char *text = NULL;
        int r;

        if (seq <= s->last_seq)
                return 0;
        text = str_format("%llu", seq);
        if (!text)
                return -ENOMEM;
        r = store_write_once(s, "sequence", text);
        if (r == 0)
                s->last_seq = seq;
        return r;
}

static int store_load_sequence(Store *s, unsigned long long *ret) {
        _cleanup_close_ int fd = openat(s->dir, "sequence", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        char text[32];
        ssize_t n;

        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        n = read(fd, text, sizeof(text) - 1);
        if (n < 0)
                return -errno;
        text[n] = '\0';
        (void)parse_u64(text, 10, ret); /* a damaged one is as good as none */
        s->last_seq = *ret;
        return 0;
}

int store_save_lease(Store *s, const Lease *l) {
        _cleanup_json_ json_object *o = lease_to_json(l);
        _cleanup_free_ char *path = str_format("leases/%s.json", l->id);
        int r;

        if (!path)
                return -ENOMEM;
        r = store_save_sequence(s, l->seq);
        if (r < 0 && l->state == LEASE_ACTIVATING)
                return r;
        return store_write(s, path, o, l->state != LEASE_ACTIVATING);
}

int store_remove_lease(Store *s, const char *id) {
        return store_unlink(s, "leases", id, ".json");
}

const char *store_group_key(const Group *g) {
        if (g->state == GROUP_FREE)
                return g->devices ? g->devices->facts.name : NULL;
        for (const Device *d = g->devices; d; d = d->next)
                if (d->record.valid)
                        return d->facts.name;
        return NULL;
}

int store_save_group(Store *s, const Group *g, const Step *step) {
        _cleanup_json_ json_object *o = NULL;
        _cleanup_free_ char *path = NULL;
        const char *key = store_group_key(g);

        if (!key)
                return 0;
        o = group_to_json(g, step);
        path = str_format("groups/%s.json", key);
        if (!path)
                return -ENOMEM;
        return store_write(s, path, o, g->state != GROUP_CLAIMING);
}

int store_remove_group(Store *s, const char *key) {
        return store_unlink(s, "groups", key, ".json");
}

/* lifelines */

int store_create_lifeline(Store *s, const char *id, int *ret_read, int *ret_write) {
        _cleanup_free_ char *path = str_format("lifelines/%s", id);
        _cleanup_close_ int reader = -EBADF, writer = -EBADF;

        if (!path)
                return -ENOMEM;
        /* one that is there is left over from a lease that was never written */
        if (unlinkat(s->dir, path, 0) < 0 && errno != ENOENT)
                return -errno;
        if (mkfifoat(s->dir, path, 0600) < 0)
                return -errno;
        reader = openat(s->dir, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        if (reader >= 0)
                writer = openat(s->dir, path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        if (writer < 0) {
                int r = -errno;

                (void)unlinkat(s->dir, path, 0);
                return r;
        }
        *ret_read = TAKE_FD(reader);
        *ret_write = TAKE_FD(writer);
        return 0;
}

int store_reopen_lifeline(Store *s, const char *id, int *ret_read) {
        _cleanup_free_ char *path = str_format("lifelines/%s", id);
        _cleanup_close_ int reader = -EBADF, writer = -EBADF;
        struct stat st;

        if (!path)
                return -ENOMEM;
        reader = openat(s->dir, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        if (reader < 0)
                return -errno;
        if (fstat(reader, &st) < 0)
                return -errno;
        if (!S_ISFIFO(st.st_mode))
                return -ENOENT;
        writer = openat(s->dir, path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        if (writer < 0)
                return -errno;
        *ret_read = TAKE_FD(reader);
        return 0;
}

int store_remove_lifeline(Store *s, const char *id) {
        return store_unlink(s, "lifelines", id, "");
}

/* loading */

/* Moves a file that cannot be used out of the way, so that a person can look at it. */
static int store_set_aside(Store *s, const char *folder, const char *name, const char *why,
                           char ***messages) {
        _cleanup_free_ char *from = str_format("%s/%s", folder, name);
        _cleanup_free_ char *to = str_format("damaged/%s-%s", folder, name);
        _cleanup_free_ char *message = NULL;

        if (!from || !to)
                return -ENOMEM;
        if (renameat(s->dir, from, s->dir, to) < 0)
                return -errno;
        message = str_format("%s: %s; set aside as %s", from, why, to);
        return message ? strv_extend(messages, message) : -ENOMEM;
}

typedef int (*LoadOne)(StoredState *state, json_object *o, const char **ret_why);

static int load_lease(StoredState *state, json_object *o, const char **ret_why) {
        StoredLease *longer, lease;
        int r;

        r = stored_lease_from_json(o, &lease, ret_why);
        if (r < 0)
                return r;
        longer = realloc(state->leases, (state->n_leases + 1) * sizeof(StoredLease));
        if (!longer) {
                stored_lease_clear(&lease);
                return -ENOMEM;
        }
        longer[state->n_leases++] = lease;
        state->leases = longer;
        return 0;
}

static int load_group(StoredState *state, json_object *o, const char **ret_why) {
        StoredGroup *longer, group;
        int r;

        r = stored_group_from_json(o, &group, ret_why);
        if (r < 0)
                return r;
        longer = realloc(state->groups, (state->n_groups + 1) * sizeof(StoredGroup));
        if (!longer) {
                stored_group_clear(&group);
                return -ENOMEM;
        }
        longer[state->n_groups++] = group;
        state->groups = longer;
        return 0;
}

static int store_load_file(Store *s, const char *folder, const char *name, LoadOne load,
                           StoredState *state) {
        _cleanup_free_ char *path = str_format("%s/%s", folder, name), *message = NULL;
        _cleanup_json_ json_object *o = NULL;
        _cleanup_close_ int fd = -EBADF;
        const char *why = "is not JSON", *boot_id;
        int r;

        if (!path)
                return -ENOMEM;
        fd = openat(s->dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
                return -errno;
        o = json_object_from_fd(fd);
        if (!o)
                return store_set_aside(s, folder, name, why, &state->messages);
        boot_id = json_get_string(o, "boot-id");
        if (boot_id && strcmp(boot_id, s->boot_id) != 0) {
                message = str_format("%s: of an earlier boot; dropped", path);
                if (!message)
                        return -ENOMEM;
                r = strv_extend(&state->messages, message);
                if (r < 0)
                        return r;
                return unlinkat(s->dir, path, 0) < 0 ? -errno : 0;
        }
        r = load(state, o, &why);
        return r == -EINVAL ? store_set_aside(s, folder, name, why, &state->messages) : r;
}

static int store_list(Store *s, const char *folder, char ***ret) {
        _cleanup_(strv_freep) char **names = NULL;
        struct dirent *entry;
        DIR *dir;
        int fd, r = 0;

        fd = openat(s->dir, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        dir = fdopendir(fd);
        if (!dir) {
                safe_close(fd);
                return -ENOMEM;
        }
        while (r == 0 && (entry = readdir(dir)))
                if (entry->d_name[0] != '.')
                        r = strv_extend(&names, entry->d_name);
        (void)closedir(dir);
        if (r == 0)
                *ret = TAKE_PTR(names);
        return r;
}

static int store_load_folder(Store *s, const char *folder, LoadOne load, StoredState *state) {
        _cleanup_(strv_freep) char **names = NULL;
        /* names first: loading renames and removes */
        int r = store_list(s, folder, &names);

        for (char **name = names; r == 0 && name && *name; name++) {
                size_t length = strlen(*name);

                if (length > 5 && strcmp(*name + length - 5, ".json") == 0)
                        r = store_load_file(s, folder, *name, load, state);
                else
                        r = store_unlink(s, folder, *name, ""); /* a write that was cut off */
        }
        return r;
}

static const StoredLease *find_lease(const StoredState *state, const char *id) {
        for (size_t i = 0; i < state->n_leases; i++)
                if (str_eq(state->leases[i].id, id))
                        return &state->leases[i];
        return NULL;
}

/* Of leases that never got a file, or none that can be read. */
static int store_drop_lifelines(Store *s, const StoredState *state) {
        _cleanup_(strv_freep) char **names = NULL;
        int r = store_list(s, "lifelines", &names);

        for (char **name = names; r == 0 && name && *name; name++)
                if (!find_lease(state, *name))
                        r = store_remove_lifeline(s, *name);
        return r;
}

static int compare_leases(const void *a, const void *b) {
        const char *x = ((const StoredLease *)a)->id, *y = ((const StoredLease *)b)->id;
        size_t n = strlen(x), m = strlen(y);

        /* "l9" before "l10" */
        return n != m ? (n < m ? -1 : 1) : strcmp(x, y);
}

int store_load(Store *s, StoredState *ret) {
        _cleanup_stored_state_ StoredState state = {};
        int r;

        r = store_load_sequence(s, &state.last_seq);
        if (r < 0)
                return r;
        r = store_load_folder(s, "leases", load_lease, &state);
        if (r < 0)
                return r;
        r = store_load_folder(s, "groups", load_group, &state);
        if (r < 0)
                return r;
        r = store_drop_lifelines(s, &state);
        if (r < 0)
                return r;
        if (state.n_leases > 0)
                qsort(state.leases, state.n_leases, sizeof(StoredLease), compare_leases);
        *ret = state;
        state = (StoredState){};
        return 0;
}

void stored_state_clear(StoredState *s) {
        for (size_t i = 0; i < s->n_leases; i++)
                stored_lease_clear(&s->leases[i]);
        free(s->leases);
        for (size_t i = 0; i < s->n_groups; i++)
                stored_group_clear(&s->groups[i]);
        free(s->groups);
        strv_free(s->messages);
        *s = (StoredState){};
}
