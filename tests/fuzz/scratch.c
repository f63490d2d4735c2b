/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scratch.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fuzz.h"

#define IN_MEMORY "/dev/shm"

static char folder[64];

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return ftw->level == 0 ? 0 : remove(path);
}

static void remove_folder(void) {
        scratch_empty("");
        (void)rmdir(folder);
}

const char *scratch_path(void) {
        if (!*folder) {
                (void)snprintf(folder, sizeof(folder), "%s/dmaowner-fuzz-XXXXXX",
                               access(IN_MEMORY, W_OK) == 0 ? IN_MEMORY : "/tmp");
                assert(mkdtemp(folder));
                assert(atexit(remove_folder) == 0);
        }
        return folder;
}

/* Valid until the next call. */
static char *full_path(const char *path) {
        static char full[512];

        assert(snprintf(full, sizeof(full), "%s/%s", scratch_path(), path) < (int)sizeof(full));
        return full;
}

void scratch_folder(const char *path) {
        char *full = full_path(path);

        for (char *slash = strchr(full + strlen(scratch_path()) + 1, '/'); slash;
             slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                assert(mkdir(full, 0755) == 0 || errno == EEXIST);
                *slash = '/';
        }
        assert(mkdir(full, 0755) == 0 || errno == EEXIST);
}

static void make_parent(const char *path) {
        _cleanup_free_ char *parent = strdup(path);
        char *slash;

        assert(parent);
        slash = strrchr(parent, '/');
        if (slash) {
                *slash = '\0';
                scratch_folder(parent);
        }
}

static int create(const char *path) {
        return open(full_path(path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
}

void scratch_write(const char *path, const char *text, size_t size) {
        _cleanup_close_ int fd = create(path);

        if (fd < 0 && errno == ENOENT) {
                make_parent(path);
                fd = create(path);
        }
        assert(fd >= 0);
        assert(write(fd, text, size) == (ssize_t)size);
}

void scratch_link(const char *path, const char *target) {
        make_parent(path);
        assert(unlink(full_path(path)) == 0 || errno == ENOENT);
        assert(symlink(target, full_path(path)) == 0);
}

void scratch_empty(const char *path) {
        assert(nftw(full_path(path), remove_entry, 8, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT);
}
