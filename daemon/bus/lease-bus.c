/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <string.h>

#include "bus/bus-internal.h"
#include "core/queue.h"
#include "core/use.h"
#include "core/vfs.h"
#include "manager/process.h"
#include "util/strings.h"

#define PREFIX BUS_ROOT "/lease"

#define FILES_MAX 16 /* descriptors that a bus lets through in one message */

/* properties */

static int append_id(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;

        return sd_bus_message_append(m, "s", l->id);
}

static int append_owner(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;

        return bus_append_owner(m, &l->request.owner, caller);
}

static int append_kind(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;

        return sd_bus_message_append(m, "s", owner_kind_to_string(l->request.terms.kind));
}

static int append_state(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;

        return sd_bus_message_append(m, "s", lease_state_to_string(l->state));
}

static int append_access(sd_bus_message *m, const void *object, const Caller *caller) {
        const Terms *t = &((const Lease *)object)->request.terms;

        return sd_bus_message_append(m, "s",
                                     t->kind == OWNER_KIND_USER ? access_to_string(t->access) : "");
}

/* What it became, once there are files. */
static int append_interface(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;
        const Terms *t = &l->request.terms;
        VfioInterface interface = t->interface;

        if (t->kind != OWNER_KIND_USER || t->access != ACCESS_FD)
                return sd_bus_message_append(m, "s", "");
        if (l->n_groups > 0 && l->groups[0]->kept == KEPT_LENT)
                interface = l->groups[0]->kept_interface;
        return sd_bus_message_append(m, "s", vfio_interface_to_string(interface));
}

static int append_failure(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;
        bool set = fault_is_set(&l->failure);

        return sd_bus_message_append(m, "(ss)", set ? error_code_to_string(l->failure.code) : "",
                                     set ? l->failure.message : "");
}

static int append_warning(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;

        _cleanup_free_ char *text = NULL;
        int r = lease_describe_warning(l, &text);

        return r < 0 ? r : sd_bus_message_append(m, "s", text);
}

static int append_devices(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;

        return sd_bus_message_append_strv(m, l->request.devices);
}

static int append_groups(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;
        int r = sd_bus_message_open_container(m, 'a', "u");

        /* one of the two is empty */
        for (size_t i = 0; r >= 0 && i < l->n_groups; i++)
                if (!group_pf(l->groups[i])) /* held for the VFs' sake, not for the holder */
                        r = sd_bus_message_append(m, "u", l->groups[i]->id);
        for (size_t i = 0; r >= 0 && i < l->n_wanted; i++)
                r = sd_bus_message_append(m, "u", l->wanted[i]->id);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_uid(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;

        bool shown = caller && caller_may_see(caller, l->request.owner.uid);

        return sd_bus_message_append(m, "u", shown ? (uint32_t)l->request.uid : UINT32_MAX);
}

static int append_holder(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;

        return sd_bus_message_append(m, "s", holder_type_to_string(l->request.holder));
}

static int append_holder_pid(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;

        return sd_bus_message_append(m, "u", (uint32_t)l->request.holder_pid);
}

static int append_created(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;

        return sd_bus_message_append(m, "t", l->request.created);
}

static int append_expires(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;

        return sd_bus_message_append(m, "t", l->request.expires);
}

static int append_label(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;
        bool shown = l->request.label && caller && caller_may_see(caller, l->request.owner.uid);

        return sd_bus_message_append(m, "s", shown ? l->request.label : "");
}

static int append_priority(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;

        return sd_bus_message_append(m, "i", l->request.priority);
}

static int append_wait_until(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;

        return sd_bus_message_append(m, "t",
                                     l->state == LEASE_QUEUED ? l->request.wait_until : (uint64_t)0);
}

static int append_waits_for(sd_bus_message *m, const void *object, const Caller *caller) {
        _cleanup_free_ char *text = NULL;
        int r = lease_waits_for(object, &text);

        return r < 0 ? r : sd_bus_message_append(m, "s", text ? text : "");
}

static int append_revocation(sd_bus_message *m, const void *object, const Caller *caller) {
        const Lease *l = object;
        bool asked = l->state == LEASE_REVOKING;

        return sd_bus_message_append(m, "(st)", asked ? l->revocation.reason : "",
                                     asked ? l->revocation.deadline : (uint64_t)0);
}

const BusProperty lease_properties[] = {
        { "Id", "s", append_id },
        { "Owner", "(us)", append_owner },
        { "Kind", "s", append_kind },
        { "Access", "s", append_access },
        { "Interface", "s", append_interface },
        { "State", "s", append_state },
        { "Failure", "(ss)", append_failure },
        { "Warning", "s", append_warning },
        { "Devices", "as", append_devices },
        { "Groups", "au", append_groups },
        { "Uid", "u", append_uid },
        { "Holder", "s", append_holder },
        { "HolderPid", "u", append_holder_pid },
        { "Created", "t", append_created },
        { "Expires", "t", append_expires },
        { "Label", "s", append_label },
        { "Priority", "i", append_priority },
        { "WaitUntil", "t", append_wait_until },
        { "WaitsFor", "s", append_waits_for },
        { "Revocation", "(st)", append_revocation },
        {},
};

/* objects */

int lease_bus_path(const Lease *l, char **ret) {
        char *path = str_format(PREFIX "/%s", l->id);

        if (!path)
                return -ENOMEM;
        *ret = path;
        return 0;
}

static Lease *lease_of(BusServer *s, const char *path) {
        return str_starts(path, PREFIX "/")
                       ? registry_lease(manager_registry(s->m), path + strlen(PREFIX "/"))
                       : NULL;
}

static int find(sd_bus *bus, const char *path, const char *interface, void *userdata,
                void **ret_found, sd_bus_error *error) {
        BusServer *s = userdata;

        if (!lease_of(s, path))
                return 0;
        *ret_found = s;
        return 1;
}

static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        BusServer *s = userdata;
        const Lease *l = lease_of(s, path);

        return l ? bus_property_get(s, lease_properties, property, reply, l) : -ENOENT;
}

static int enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes,
                     sd_bus_error *error) {
        _cleanup_(strv_freep) char **nodes = NULL;
        BusServer *s = userdata;
        size_t n = 0;

        nodes = calloc(HASH_COUNT(registry_leases(manager_registry(s->m))) + 1, sizeof(char *));
        if (!nodes)
                return -ENOMEM;
        for (Lease *l = registry_leases(manager_registry(s->m)); l; l = l->hh.next)
                if (lease_bus_path(l, &nodes[n++]) < 0)
                        return -ENOMEM;
        *ret_nodes = TAKE_PTR(nodes);
        return 1;
}

/* methods */

/* The lease that the call is about, if its caller may do this to it. 1: somebody is asked that first */
static int read_lease(BusServer *s, sd_bus_message *call, sd_bus_message_handler_t handler,
                      ManageAction action, Lease **ret, Fault *fault) {
        Lease *l = lease_of(s, sd_bus_message_get_path(call));
        int r;

        if (!l)
                return fault_set(fault, ERROR_NO_SUCH_LEASE, "there is no lease at %s",
                                 sd_bus_message_get_path(call));
        r = bus_may_manage(s, call, handler, &l->request.owner, action, fault);
        if (r == 0)
                *ret = l;
        return r;
}

static int refuse_ended(const Lease *l, Fault *fault) {
        return fault_set(fault, ERROR_NO_SUCH_LEASE, "lease %s is %s: it gives no right %s", l->id,
                         lease_state_to_string(l->state),
                         l->state == LEASE_QUEUED ? "yet" : "any more");
}

static int method_release(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_fault_ Fault fault = FAULT_NULL;
        BusServer *s = userdata;
        Lease *l;
        int r;

        r = read_lease(s, call, method_release, MANAGE_RELEASE, &l, &fault);
        if (r > 0)
                return r;
        if (r == 0)
                r = manager_end_lease(s->m, l, "released");
        return r < 0 ? bus_refuse(s, call, r, &fault) : sd_bus_reply_method_return(call, "");
}

static int method_revoke(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_fault_ Fault fault = FAULT_NULL;
        const char *reason;
        BusServer *s = userdata;
        uint64_t deadline;
        Lease *l;
        int r;

        r = sd_bus_message_read(call, "st", &reason, &deadline);
        if (r >= 0)
                r = read_lease(s, call, method_revoke, MANAGE_REVOKE, &l, &fault);
        if (r > 0)
                return r;
        if (r >= 0)
                r = bus_check_text("the reason", reason, &fault);
        if (r >= 0) {
                r = manager_revoke(s->m, l, reason, deadline);
                if (r == -EINVAL)
                        r = refuse_ended(l, &fault);
        }
        return r < 0 ? bus_refuse(s, call, r, &fault) : sd_bus_reply_method_return(call, "");
}

/* What policy gives for a time only root may give for longer. */
static int check_renewal(BusServer *s, sd_bus_message *call, const Lease *l, uint64_t ttl,
                         Fault *fault) {
        uint64_t longest = registry_longest_ttl(manager_registry(s->m), l);
        const Caller *caller;
        int r = bus_check_ttl(ttl, fault);

        if (r >= 0)
                r = bus_caller(s, call, &caller);
        if (r < 0 || caller->privileged || longest == 0 || (ttl > 0 && ttl <= longest))
                return r;
        return fault_set(fault, ERROR_MAY_NOT,
                         "lease %s may be renewed for %llu s at a time: the policy says so", l->id,
                         (unsigned long long)(longest / 1000000));
}

static int method_renew(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_fault_ Fault fault = FAULT_NULL;
        BusServer *s = userdata;
        uint64_t ttl;
        Lease *l;
        int r;

        r = sd_bus_message_read(call, "t", &ttl);
        if (r >= 0)
                r = read_lease(s, call, method_renew, MANAGE_RENEW, &l, &fault);
        if (r > 0)
                return r;
        if (r >= 0)
                r = check_renewal(s, call, l, ttl, &fault);
        if (r >= 0) {
                r = manager_renew(s->m, l, ttl);
                if (r == -EINVAL)
                        r = refuse_ended(l, &fault);
        }
        return r < 0 ? bus_refuse(s, call, r, &fault) : sd_bus_reply_method_return(call, "");
}

static int confirm(BusServer *s, Lease *l, const Caller *caller, int fd, Fault *fault) {
        _cleanup_close_ int pidfd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        uint64_t start = 0;
        pid_t pid = 0;
        int r;

        if (pidfd < 0)
                return -errno;
        r = bus_check_process(pidfd, l->request.uid, caller, &pid, &start, fault);
        if (r < 0)
                return r;
        r = manager_confirm(s->m, l, pidfd, pid, start);
        if (r == -EINVAL)
                return refuse_ended(l, fault);
        if (r == 0)
                TAKE_FD(pidfd);
        return r;
}

static int method_confirm(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_fault_ Fault fault = FAULT_NULL;
        const Caller *caller;
        BusServer *s = userdata;
        Lease *l;
        int fd, r;

        r = sd_bus_message_read(call, "h", &fd);
        if (r >= 0)
                r = read_lease(s, call, method_confirm, MANAGE_RENEW, &l, &fault);
        if (r > 0)
                return r;
        if (r >= 0)
                r = bus_caller(s, call, &caller);
        if (r >= 0)
                r = confirm(s, l, caller, fd, &fault);
        return r < 0 ? bus_refuse(s, call, r, &fault) : sd_bus_reply_method_return(call, "");
}

/* Those of the device's group, once for each group, and the device's own. */
static int add_files(const Lease *l, const Device *d, Group **served, size_t *n_served,
                     sd_bus_message *reply, size_t *n, Fault *fault) {
        const VfioFiles *files = manager_lent_files(d->group);
        bool again = false;
        int r = 0;

        if (!files)
                return fault_set(fault, ERROR_LOST,
                                 "the files of lease %s were lost when the daemon was stopped: "
                                 "release it and ask anew",
                                 l->id);
        for (size_t i = 0; i < *n_served; i++)
                again = again || served[i] == d->group;
        if (!again)
                served[(*n_served)++] = d->group;
        for (size_t i = 0; i < files->n && r >= 0; i++) {
                const VfioFile *f = &files->items[i];

                if (f->role == FILE_CDEV ? !str_eq(f->device, d->facts.name) : again)
                        continue;
                if (++*n > FILES_MAX)
                        return fault_set(fault, ERROR_INVALID_ARGS,
                                         "these devices have more than %d files: ask for some "
                                         "devices at a time",
                                         FILES_MAX);
                r = sd_bus_message_append(reply, "(ssh)", d->facts.name,
                                          file_role_to_string(f->role), f->fd);
        }
        return r;
}

static int append_files(BusServer *s, const Lease *l, char *const *devices, sd_bus_message *reply,
                        size_t *ret_n, Fault *fault) {
        _cleanup_free_ Group **served = calloc(l->n_groups, sizeof(Group *));
        size_t n_served = 0, n = 0;
        int r;

        if (!served)
                return -ENOMEM;
        r = sd_bus_message_open_container(reply, 'a', "(ssh)");
        for (; *devices && r >= 0; devices++) {
                const Device *d = registry_device(manager_registry(s->m), *devices);
                bool leased = false;

                for (size_t i = 0; d && i < l->n_groups; i++)
                        leased = leased || (l->groups[i] == d->group && !group_pf(d->group));
                if (!leased)
                        return fault_set(fault, ERROR_NO_SUCH_DEVICE,
                                         "lease %s is not over a device %s", l->id, *devices);
                r = add_files(l, d, served, &n_served, reply, &n, fault);
        }
        *ret_n = n;
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int check_lends(const Lease *l, Fault *fault) {
        if (l->request.terms.kind != OWNER_KIND_USER || l->request.terms.access != ACCESS_FD)
                return fault_set(fault, ERROR_INVALID_ARGS,
                                 "lease %s has no files to lend: it was asked for without access fd",
                                 l->id);
        if (l->state == LEASE_QUEUED || l->state == LEASE_ACTIVATING)
                return fault_set(fault, ERROR_BUSY,
                                 "lease %s is %s: it has files once it is active", l->id,
                                 lease_state_to_string(l->state));
        if (l->state != LEASE_ACTIVE && l->state != LEASE_UNCONFIRMED && l->state != LEASE_REVOKING)
                return refuse_ended(l, fault);
        return 0;
}

static int method_open_files(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(strv_freep) char **devices = NULL;
        _cleanup_fault_ Fault fault = FAULT_NULL;
        BusServer *s = userdata;
        size_t n_files = 0;
        Lease *l;
        int r;

        r = sd_bus_message_read_strv(call, &devices);
        if (r >= 0)
                r = read_lease(s, call, method_open_files, MANAGE_OPEN, &l, &fault);
        if (r > 0)
                return r;
        if (r >= 0)
                r = check_lends(l, &fault);
        if (r >= 0)
                r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = append_files(s, l, strv_length(devices) > 0 ? devices : l->request.devices,
                                 reply, &n_files, &fault);
        if (r >= 0)
                r = bus_check_unread(s, call, n_files, &fault);
        return r < 0 ? bus_refuse(s, call, r, &fault) : sd_bus_send(s->bus, reply, NULL);
}

#define CONST       SD_BUS_VTABLE_PROPERTY_CONST
#define CHANGES     SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define INVALIDATES SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Release", "", "", method_release, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Revoke", SD_BUS_ARGS("s", reason, "t", deadline), SD_BUS_NO_RESULT,
                                method_revoke, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Renew", SD_BUS_ARGS("t", ttl), SD_BUS_NO_RESULT, method_renew,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Confirm", SD_BUS_ARGS("h", pidfd), SD_BUS_NO_RESULT,
                                method_confirm, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("OpenFiles", SD_BUS_ARGS("as", devices),
                                SD_BUS_RESULT("a(ssh)", files), method_open_files,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Id", "s", get_property, 0, CONST),
        SD_BUS_PROPERTY("Owner", "(us)", get_property, 0, INVALIDATES),
        SD_BUS_PROPERTY("Kind", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Access", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Interface", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("State", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Failure", "(ss)", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Warning", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Devices", "as", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Groups", "au", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Uid", "u", get_property, 0, INVALIDATES),
        SD_BUS_PROPERTY("Holder", "s", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("HolderPid", "u", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Created", "t", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Expires", "t", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("Label", "s", get_property, 0, INVALIDATES),
        SD_BUS_PROPERTY("Priority", "i", get_property, 0, CONST),
        SD_BUS_PROPERTY("WaitUntil", "t", get_property, 0, CHANGES),
        SD_BUS_PROPERTY("WaitsFor", "s", get_property, 0, 0),
        SD_BUS_PROPERTY("Revocation", "(st)", get_property, 0, CHANGES),
        SD_BUS_SIGNAL_WITH_ARGS("RevokeRequested", SD_BUS_ARGS("s", reason, "t", deadline), 0),
        SD_BUS_SIGNAL_WITH_ARGS("Ended", SD_BUS_ARGS("s", reason), 0),
        SD_BUS_VTABLE_END,
};

int lease_bus_export(BusServer *s) {
        int r = sd_bus_add_fallback_vtable(s->bus, NULL, PREFIX, BUS_NAME ".Lease", vtable, find, s);

        return r < 0 ? r : sd_bus_add_node_enumerator(s->bus, NULL, PREFIX, enumerate, s);
}
