/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/node.h"

#include <acl/libacl.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/acl.h>
#include <sys/stat.h>

#include "core/device.h"
#include "executor/vfio-node.h"
#include "util/strings.h"

#define ACL_LENGTH_MAX    2048
#define DEVICE_LENGTH_MAX 40

/* One of the nodes that a right on a group is about. */
typedef struct NodeName {
        FileRole role;
        const char *device;             /* FILE_CDEV */
        char record[DEVICE_LENGTH_MAX]; /* in the run-time folder: "nodes/12", "nodes/0000:3b:00.0" */
} NodeName;

/* What a node was before the first grant: the line of its file. */
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
static int node_apply(Run *run, int node, const NodeRecord *wanted, const NodeName *name) {
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
                                   "the node of %s%s does not have the owner or ACL that it was given",
                                   name->device ? name->device : "IOMMU group ",
                                   name->device ? "" : name->record + strlen("nodes/"));
        r = str_set(&run->answer.value, wanted->acl);
        return r;
}

static int record_load(const Run *run, const NodeName *name, NodeRecord *ret) {
        _cleanup_close_ int fd = -EBADF;
        char line[ACL_LENGTH_MAX + 128];
        NodeRecord record = {};
        ssize_t n;

        fd = run_open_memory(run, name->record, O_RDONLY);
        if (fd < 0)
                return fd;
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

static int record_save(const Run *run, const NodeName *name, const NodeRecord *record) {
        _cleanup_free_ char *line = NULL;
        _cleanup_close_ int fd = -EBADF;
        char new_path[DEVICE_LENGTH_MAX + 8];
        ssize_t n;

        line = str_format("%" PRIu64 " %" PRIu64 " %u %u %s\n", record->inode, record->number,
                          record->uid, record->gid, record->acl);
        if (!line)
                return -ENOMEM;
        (void)snprintf(new_path, sizeof(new_path), "%s.new", name->record);
        fd = run_open_memory(run, new_path, O_WRONLY | O_CREAT | O_TRUNC);
        if (fd < 0)
                return fd;
        n = write(fd, line, strlen(line));
        if (n < 0)
                return -errno;
        if ((size_t)n != strlen(line))
                return -ENOSPC;
        return renameat(run->runtime, new_path, run->runtime, name->record) < 0 ? -errno : 0;
}

static int record_forget(const Run *run, const NodeName *name) {
        return unlinkat(run->runtime, name->record, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int node_grant(Run *run, const NodeName *name) {
        NodeRecord now = {}, before = {}, wanted = {};
        _cleanup_close_ int node = -EBADF;
        int r;

        node = vfio_node_open(run, name->role, name->device, O_PATH);
        if (node < 0)
                return node;
        r = node_read(node, &now);
        if (r < 0)
                return r;
        r = record_load(run, name, &before);
        if (r < 0 && r != -ENOENT && r != -EBADMSG)
                return r;
        if (r < 0 || before.inode != now.inode || before.number != now.number) {
                r = record_save(run, name, &now);
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
        return node_apply(run, node, &wanted, name);
}

static int node_revoke(Run *run, const NodeName *name) {
        NodeRecord now = {}, before = {};
        _cleanup_close_ int node = -EBADF;
        bool damaged;
        int r;

        r = record_load(run, name, &before);
        damaged = r == -EBADMSG;
        if (r == -ENOENT)
                return 0;
        if (r < 0 && !damaged)
                return r;
        node = vfio_node_open(run, name->role, name->device, O_PATH);
        if (node == -ENOENT)
                return record_forget(run, name);
        if (node < 0)
                return node;
        r = node_read(node, &now);
        if (r < 0)
                return r;
        /* whoever had a right on it, had it from us: it is root's, as the kernel makes nodes */
        if (damaged) {
                before = now;
                before.uid = before.gid = 0;
                (void)snprintf(before.acl, sizeof(before.acl), "user::rw-,group::---,other::---");
        }
        if (before.inode == now.inode && before.number == now.number) {
                r = node_apply(run, node, &before, name);
                if (r < 0)
                        return r;
        }
        return record_forget(run, name);
}

/* Does it to the nodes of the group's devices, where the kernel has such, and to that of the group.
 * every: goes on after an error and returns the first one. */
static int for_each_node(Run *run, int (*act)(Run *run, const NodeName *name), bool every) {
        _cleanup_(strv_freep) char **devices = NULL;
        NodeName name = { .role = FILE_CDEV };
        int r, result = 0;

        r = sysfs_listf(&run->sysfs, &devices, "sys/kernel/iommu_groups/%u/devices",
                        run->step->group);
        if (r < 0)
                return r;
        for (char **d = devices; *d && (every || result == 0); d++) {
                if (!device_name_is_pci(*d))
                        continue;
                name.device = *d;
                (void)snprintf(name.record, sizeof(name.record), "nodes/%s", *d);
                r = act(run, &name);
                if (r < 0 && r != -ENOENT && result == 0)
                        result = r;
        }
        if (!every && result < 0)
                return result;
        name = (NodeName){ .role = FILE_GROUP };
        (void)snprintf(name.record, sizeof(name.record), "nodes/%u", run->step->group);
        r = act(run, &name);
        return result < 0 ? result : r;
}

int step_grant_node(Run *run) {
        _cleanup_answer_ Answer failure = ANSWER_NULL;
        int r;

        r = for_each_node(run, node_grant, false);
        if (r == 0)
                return 0;
        /* the answer is that of the failure, whatever becomes of the way back */
        failure = run->answer;
        run->answer = ANSWER_NULL;
        (void)for_each_node(run, node_revoke, true);
        answer_clear(&run->answer);
        run->answer = failure;
        failure = ANSWER_NULL;
        return r;
}

int step_revoke_node(Run *run) {
        return for_each_node(run, node_revoke, true);
}
