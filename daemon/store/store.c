/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "shared/whole-json.h"
#include "store/damage.h"
#include "store/state-json.h"
#include "util/strings.h"

#define RESERVE_SIZE (64 * 1024)
#define FILE_MAX     (1024 * 1024)
#define SEQUENCE_MAX (1ULL << 62)

struct Store {
        int dir; /* locked */
        char *path;
        char *boot_id;
        unsigned long long last_seq;
        char **messages; /* not yet handed out */
};

static Folder store_folder(Store *s) {
        return (Folder){ .fd = s->dir, .path = s->path, .messages = &s->messages };
}

/* "8-4-4-4-12" digits, as the kernel writes it. */
static int boot_id_from_hex(const char *hex, char **ret) {
        static const int parts[] = { 8, 4, 4, 4, 12 };
        _cleanup_free_ char *id = NULL;

        if (strlen(hex) != 32)
                return -EINVAL;
        for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); hex += parts[i], i++)
                if (str_append(&id, "%s%.*s", i > 0 ? "-" : "", parts[i], hex) < 0)
                        return -ENOMEM;
        *ret = TAKE_PTR(id);
        return 0;
}

/* The service's unit says it, and hides the file (ProcSubset=). */
static int read_boot_id(char **ret) {
        const char *given = getenv("BOOT_ID");
        char id[64];
        ssize_t n;
        _cleanup_close_ int fd = -EBADF;

        if (!str_empty(given))
                return boot_id_from_hex(given, ret);
        fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

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
                                        O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
                                        0600);

        if (fd < 0)
                return -errno;
        return -posix_fallocate(fd, 0, RESERVE_SIZE);
}

/* A folder that is full already is no reason not to begin: most of what there is to do is giving back. */
static int store_begin_reserve(Store *s) {
        const Folder folder = store_folder(s);
        _cleanup_free_ char *message = NULL;
        int r;

        r = expect_file(&folder, "reserve");
        if (r == 0)
                r = store_make_reserve(s);
        if (r == -EACCES && unlinkat(s->dir, "reserve", 0) == 0)
                r = store_make_reserve(s);
        if (r == 0 || r == -ENOMEM)
                return r;
        message = str_format("%s has no room for what ways back may need: %s", s->path,
                             strerror(-r));
        return message ? strv_extend(&s->messages, message) : -ENOMEM;
}

int store_open(const char *dir, Store **ret) {
        /* the first one is where what is in the way of the others goes */
        static const char *const folders[] = { "damaged", "leases", "groups", "lifelines" };
        _cleanup_(store_freep) Store *s = calloc(1, sizeof(Store));
        Folder folder;
        int r;

        if (!s)
                return -ENOMEM;
        s->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->dir < 0)
                return -errno;
        if (flock(s->dir, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EBUSY : -errno;
        r = str_set(&s->path, dir);
        if (r == 0)
                r = read_boot_id(&s->boot_id);
        folder = store_folder(s);
        for (size_t i = 0; r == 0 && i < sizeof(folders) / sizeof(*folders); i++)
                r = make_folder(&folder, folders[i]);
        if (r == 0)
                r = store_begin_reserve(s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

Store *store_free(Store *s) {
        if (!s)
                return NULL;
        safe_close(s->dir);
        free(s->path);
        free(s->boot_id);
        strv_free(s->messages);
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

        if (!o || json_object_object_add(o, "boot-id", json_object_new_string(s->boot_id)) < 0 ||
            !json_object_object_get(o, "boot-id"))
                return -ENOMEM;
        text = json_whole_text(o);
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

/* Leases are made more slowly than one each microsecond: no number since the boot was that high. */
static unsigned long long sequence_beyond_all(void) {
        struct timespec now;

        (void)clock_gettime(CLOCK_BOOTTIME, &now); /* cannot fail */
        return (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000;
}

static int store_load_sequence(Store *s) {
        const Folder folder = store_folder(s);
        const char *why = "is not a number";
        _cleanup_free_ char *text = NULL;
        int r;

        r = read_text(&folder, "sequence", 31, &text, &why);
        if (r == -ENOENT)
                return 0;
        if (r == 0 && (parse_u64(text, 10, &s->last_seq) < 0 || s->last_seq > SEQUENCE_MAX))
                r = -EBADMSG;
        if (r != -EBADMSG)
                return r;
        s->last_seq = 0;
        r = set_aside(&folder, "sequence", why);
        return r < 0 ? r : store_save_sequence(s, sequence_beyond_all());
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
        if (faccessat(s->dir, path, R_OK | W_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == EACCES)
                (void)fchmodat(s->dir, path, 0600, 0);
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

typedef struct Loader {
        const char *folder;
        /* -EINVAL: it is damaged */
        int (*load)(StoredState *state, json_object *o, const char *name, const char **ret_why);
        char ***damaged; /* the names of those that are, without suffix */
} Loader;

static int load_lease(StoredState *state, json_object *o, const char *name, const char **ret_why) {
        StoredLease *longer, lease;
        int r;

        r = stored_lease_from_json(o, &lease, ret_why);
        if (r < 0)
                return r;
        longer = realloc(state->leases, (state->n_leases + 1) * sizeof(StoredLease));
        if (longer)
                state->leases = longer;
        if (!longer || !str_eq(lease.id, name)) {
                stored_lease_clear(&lease);
                *ret_why = "is of another lease";
                return longer ? -EINVAL : -ENOMEM;
        }
        state->leases[state->n_leases++] = lease;
        return 0;
}

static int load_group(StoredState *state, json_object *o, const char *name, const char **ret_why) {
        StoredGroup *longer, group;
        int r;

        r = stored_group_from_json(o, &group, ret_why);
        if (r < 0)
                return r;
        longer = realloc(state->groups, (state->n_groups + 1) * sizeof(StoredGroup));
        if (longer)
                state->groups = longer;
        if (!longer || !str_eq(group.key, name)) {
                stored_group_clear(&group);
                *ret_why = "is of another group";
                return longer ? -EINVAL : -ENOMEM;
        }
        state->groups[state->n_groups++] = group;
        return 0;
}

/* 1: of an earlier boot. -EINVAL: damaged. */
static int parse_file(Store *s, const char *text, json_object **ret, const char **ret_why) {
        json_tokener *tokener = json_tokener_new();
        const char *boot_id;

        if (!tokener)
                return -ENOMEM;
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        *ret = json_tokener_parse_ex(tokener, text, -1);
        json_tokener_free(tokener);
        *ret_why = "is not JSON";
        if (!*ret)
                return -EINVAL;
        boot_id = json_get_string(*ret, "boot-id");
        *ret_why = "does not say of which boot it is";
        return !boot_id ? -EINVAL : strcmp(boot_id, s->boot_id) != 0;
}

static int store_drop_file(Store *s, const char *path) {
        _cleanup_free_ char *message = str_format("%s/%s is of an earlier boot; dropped", s->path,
                                                  path);

        if (!message || strv_extend(&s->messages, message) < 0)
                return -ENOMEM;
        return unlinkat(s->dir, path, 0) < 0 ? -errno : 0;
}

static int store_load_file(Store *s, const Loader *loader, const char *name, StoredState *state) {
        _cleanup_free_ char *path = str_format("%s/%s.json", loader->folder, name), *text = NULL;
        const Folder folder = store_folder(s);
        _cleanup_json_ json_object *o = NULL;
        const char *why = NULL;
        int r;

        if (!path)
                return -ENOMEM;
        r = read_text(&folder, path, FILE_MAX, &text, &why);
        if (r == 0)
                r = parse_file(s, text, &o, &why);
        if (r > 0)
                return store_drop_file(s, path);
        if (r == 0)
                r = loader->load(state, o, name, &why);
        if (r != -EINVAL && r != -EBADMSG)
                return r;
        r = set_aside(&folder, path, why);
        return r < 0 ? r : strv_extend(loader->damaged, name);
}

static int store_list(Store *s, const char *folder, char ***ret) {
        int fd = openat(s->dir, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
        struct dirent *entry;
        DIR *dir;

        if (fd < 0)
                return -errno;
        dir = fdopendir(fd);
        if (!dir) {
                safe_close(fd);
                return -ENOMEM;
        }
        while (r == 0 && (entry = readdir(dir)))
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        r = strv_extend(ret, entry->d_name);
        (void)closedir(dir);
        return r;
}

static bool take_suffix(char *name, const char *suffix) {
        size_t length = strlen(name), n = strlen(suffix);

        if (length <= n || strcmp(name + length - n, suffix) != 0)
                return false;
        name[length - n] = '\0';
        return true;
}

/* What no file of ours is called; or a write that was cut off. */
static int store_sweep(Store *s, const char *in, const char *name) {
        _cleanup_free_ char *path = str_format("%s/%s", in, name), *stem = strdup(name);
        const Folder folder = store_folder(s);

        if (!path || !stem)
                return -ENOMEM;
        if (take_suffix(stem, ".json.new") && unlinkat(s->dir, path, 0) == 0)
                return 0;
        return set_aside(&folder, path, "is no file of this daemon");
}

static int store_load_folder(Store *s, const Loader *loader, StoredState *state) {
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        /* names first: loading renames and removes */
        r = store_list(s, loader->folder, &names);
        for (char **name = names; r == 0 && name && *name; name++)
                r = take_suffix(*name, ".json") ? store_load_file(s, loader, *name, state)
                                                : store_sweep(s, loader->folder, *name);
        return r;
}

static bool state_has_lease(const StoredState *state, const char *id) {
        for (size_t i = 0; i < state->n_leases; i++)
                if (str_eq(state->leases[i].id, id))
                        return true;
        return strv_contains(state->damaged_leases, id);
}

/* Those of leases that are no more, and what is no lifeline. */
static int store_sweep_lifelines(Store *s, const StoredState *state) {
        _cleanup_(strv_freep) char **names = NULL;
        const Folder folder = store_folder(s);
        int r;

        r = store_list(s, "lifelines", &names);
        for (char **name = names; r == 0 && name && *name; name++) {
                _cleanup_free_ char *path = str_format("lifelines/%s", *name);
                struct stat st;

                if (!path)
                        return -ENOMEM;
                if (fstatat(s->dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        r = -errno;
                else if (!S_ISFIFO(st.st_mode))
                        r = set_aside(&folder, path, "is no FIFO");
                else if (!state_has_lease(state, *name) && unlinkat(s->dir, path, 0) < 0)
                        r = -errno;
        }
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
        const Loader leases = { "leases", load_lease, &state.damaged_leases };
        const Loader groups = { "groups", load_group, &state.damaged_groups };
        int r;

        r = store_load_sequence(s);
        if (r == 0)
                r = store_load_folder(s, &leases, &state);
        if (r == 0)
                r = store_load_folder(s, &groups, &state);
        if (r == 0)
                r = store_sweep_lifelines(s, &state);
        if (r < 0)
                return r;
        state.last_seq = s->last_seq;
        state.messages = TAKE_PTR(s->messages);
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
        strv_free(s->damaged_leases);
        strv_free(s->damaged_groups);
        strv_free(s->messages);
        *s = (StoredState){};
}

/* what could not be removed in time */

static int remove_unwanted(Store *s, const char *folder, const char *suffix, StoreWanted wanted,
                           void *userdata) {
        _cleanup_(strv_freep) char **names = NULL;
        int r = store_list(s, folder, &names);

        for (char **name = names; r == 0 && name && *name; name++) {
                if (take_suffix(*name, suffix) && !wanted(*name, userdata))
                        r = store_unlink(s, folder, *name, suffix);
        }
        return r;
}

int store_remove_unwanted(Store *s, StoreWanted lease, StoreWanted group, void *userdata) {
        int r = remove_unwanted(s, "lifelines", "", lease, userdata);

        if (r == 0)
                r = remove_unwanted(s, "leases", ".json", lease, userdata);
        return r < 0 ? r : remove_unwanted(s, "groups", ".json", group, userdata);
}
