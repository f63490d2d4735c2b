/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/node.h"

#include <acl/libacl.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/acl.h>
#include <sys/stat.h>

#include "executor/vfio-node.h"
#include "util/strings.h"

#define ACL_LENGTH_MAX 2048

/* What a node was before the first grant: the line of "nodes/N" in the run-time folder. */
typedef struct NodeRecord {
        uint64_t inode; /* a node that was made anew is another one */
        uint64_t number;
        uid_t uid;
        gid_t gid;
        char acl[ACL_LENGTH_MAX + 1]; /* says the mode too */
} NodeRecord;

static acl_t acl_release(acl_t acl) {
        (void)acl_free(acl);
        return NULL;
}
DEFINE_CLEANUP(acl_t, acl_release);
#define _cleanup_acl_ _cleanup_(acl_releasep)

/* ACL functions take paths only. */
static void node_path(int node, char path[static 32]) {
        (void)snprintf(path, 32, "/proc/self/fd/%d", node);
}

static int node_read(int node, NodeRecord *ret) {
        NodeRecord record = {};
        _cleanup_acl_ acl_t acl = NULL;
        char path[32], *text;
        struct stat st;
        int n;

        if (fstat(node, &st) < 0)
                return -errno;
        node_path(node, path);
        acl = acl_get_file(path, ACL_TYPE_ACCESS);
        if (!acl)
                return -errno;
        text = acl_to_any_text(acl, NULL, ',', TEXT_NUMERIC_IDS);
        if (!text)
                return -errno;
        record = (NodeRecord){
                .inode = st.st_ino,
                .number = st.st_rdev,
                .uid = st.st_uid,
                .gid = st.st_gid,
        };
        n = snprintf(record.acl, sizeof(record.acl), "%s", text);
        (void)acl_free(text);
        if ((size_t)n >= sizeof(record.acl))
                return -E2BIG;
        *ret = record;
        return 0;
}

/* Makes owner and ACL of a node what the record says, and reads them back. */
static int node_apply(Run *run, int node, const NodeRecord *wanted) {
        _cleanup_acl_ acl_t acl = NULL, now = NULL;
        char path[32];
        struct stat st;
        int r;

        acl = acl_from_text(wanted->acl);
        if (!acl)
                return -errno;
        r = run_check_permit(run);
        if (r < 0)
                return r;
        if (fchownat(node, "", wanted->uid, wanted->gid, AT_EMPTY_PATH) < 0)
                return -errno;
        node_path(node, path);
        if (acl_set_file(path, ACL_TYPE_ACCESS, acl) < 0)
                return -errno;
        if (fstat(node, &st) < 0)
                return -errno;
        now = acl_get_file(path, ACL_TYPE_ACCESS);
        if (!now)
                return -errno;
        if (st.st_uid != wanted->uid || st.st_gid != wanted->gid || acl_cmp(acl, now) != 0)
                return answer_fail(&run->answer, EIO,
                                   "/dev/vfio/%u does not have the owner or ACL that it was given",
                                   run->step->group);
        r = str_set(&run->answer.value, wanted->acl);
        return r;
}

static void record_path(const Run *run, char path[static 32]) {
        (void)snprintf(path, 32, "nodes/%u", run->step->group);
}

static int record_load(const Run *run, NodeRecord *ret) {
        _cleanup_close_ int fd = -EBADF;
        char path[32], line[ACL_LENGTH_MAX + 128];
        NodeRecord record = {};
        ssize_t n;

        record_path(run, path);
        fd = openat(run->runtime, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        n = read(fd, line, sizeof(line) - 1);
        if (n < 0)
                return -errno;
        line[n] = '\0';
        if (sscanf(line, "%" SCNu64 " %" SCNu64 " %u %u %2048s", &record.inode, &record.number,
                   &record.uid, &record.gid, record.acl) != 5)
                return -EBADMSG;
        *ret = record;
        return 0;
}

static int record_save(const Run *run, const NodeRecord *record) {
        _cleanup_free_ char *line = NULL;
        _cleanup_close_ int fd = -EBADF;
        char path[32], new_path[40];
        ssize_t n;

        line = str_format("%" PRIu64 " %" PRIu64 " %u %u %s\n", record->inode, record->number,
                          record->uid, record->gid, record->acl);
        if (!line)
                return -ENOMEM;
        record_path(run, path);
        (void)snprintf(new_path, sizeof(new_path), "%s.new", path);
        fd = openat(run->runtime, new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                    0600);
        if (fd < 0)
                return -errno;
        n = write(fd, line, strlen(line));
        if (n < 0)
                return -errno;
        if ((size_t)n != strlen(line))
                return -ENOSPC;
        return renameat(run->runtime, new_path, run->runtime, path) < 0 ? -errno : 0;
}

static int record_forget(const Run *run) {
        char path[32];

        record_path(run, path);
        return unlinkat(run->runtime, path, 0) < 0 && errno != ENOENT ? -errno : 0;
}

int step_grant_node(Run *run) {
        NodeRecord now = {}, before = {}, wanted = {};
        _cleanup_close_ int node = -EBADF;
        int r;

        node = vfio_node_open(run, FILE_GROUP, NULL, O_PATH);
        if (node < 0)
                return node;
        r = node_read(node, &now);
        if (r < 0)
                return r;
        r = record_load(run, &before);
        if (r < 0 && r != -ENOENT && r != -EBADMSG)
                return r;
        if (r < 0 || before.inode != now.inode || before.number != now.number) {
                r = record_save(run, &now);
                if (r < 0)
                        return r;
        }
        /* root owns it and so has its right; all that rules gave to others is taken away */
        if (run->step->uid == 0)
                (void)snprintf(wanted.acl, sizeof(wanted.acl), "user::rw-,group::---,other::---");
        else
                (void)snprintf(wanted.acl, sizeof(wanted.acl),
                               "user::rw-,user:%u:rw-,group::---,mask::rw-,other::---",
                               run->step->uid);
        return node_apply(run, node, &wanted);
}

int step_revoke_node(Run *run) {
        NodeRecord now = {}, before = {};
        _cleanup_close_ int node = -EBADF;
        int r;

        r = record_load(run, &before);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        node = vfio_node_open(run, FILE_GROUP, NULL, O_PATH);
        if (node == -ENOENT)
                return record_forget(run);
        if (node < 0)
                return node;
        r = node_read(node, &now);
        if (r < 0)
                return r;
        if (before.inode == now.inode && before.number == now.number) {
                r = node_apply(run, node, &before);
                if (r < 0)
                        return r;
        }
        return record_forget(run);
}
