/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "config.h"
#include "bus/bus-internal.h"
#include "util/log.h"
#include "util/strings.h"

#define PAGE_MAX 256

/* Acquire */

static int reply_lease(Pending *p, const Lease *l, int lifeline) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_free_ char *path = NULL;
        int r = lease_bus_path(l, &path);

        if (r >= 0)
                r = sd_bus_message_new_method_return(p->call, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "o", path);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "h");
        if (r >= 0 && lifeline >= 0)
                r = sd_bus_message_append(reply, "h", lifeline);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int method_acquire(sd_bus_message *call, void *userdata, sd_bus_error *error);

/* Refused, unless an administrator agrees. 1: he is asked */
static int refuse_lease(Pending *p, const Fault *fault) {
        _cleanup_fault_ Fault why = FAULT_NULL;
        int r = fault->code == ERROR_MUST_ASK
                        ? bus_authorise(p->s, p->call, method_acquire, p->action, &why)
                        : -ECANCELED;

        return r > 0 ? r : bus_refuse(p->s, p->call, r, fault_is_set(&why) ? &why : fault);
}

static void on_acquired(Lease *l, int lifeline, const Fault *fault, void *userdata) {
        _cleanup_close_ int fd = lifeline; /* the message has a duplicate */
        Pending *p = userdata;
        int r = 0;

        if (l && l->request.holder == HOLDER_CONNECTION)
                r = bus_track_holder(p->s, l);
        if (r >= 0)
                r = l ? reply_lease(p, l, fd) : refuse_lease(p, fault);
        if (r < 0 && l)
                manager_surely_end_lease(p->s->m, l, "not-answered");
        pending_finish(p, r);
}

static int method_acquire(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_request_ Request request = REQUEST_NULL;
        _cleanup_fault_ Fault fault = FAULT_NULL;
        _cleanup_close_ int pidfd = -EBADF;
        BusServer *s = userdata;
        const Caller *caller;
        Pending *p;
        int r;

        r = bus_caller(s, call, &caller);
        if (r >= 0)
                r = bus_read_request(s, call, caller, &request, &pidfd, &fault);
        if (r >= 0 && request.holder == HOLDER_LIFELINE)
                r = bus_check_unread(s, call, 1, &fault);
        if (r >= 0)
                r = pending_new(s, call, caller, &p, &fault);
        if (r < 0)
                return bus_refuse(s, call, r, &fault);
        p->action = request.force ? BUS_NAME ".acquire-force" : BUS_NAME ".acquire";
        request.authorised = bus_is_authorised(s, call);
        manager_acquire(s->m, &request, TAKE_FD(pidfd), on_acquired, p);
        return 1;
}

/* Explain */

static int append_obstacle(sd_bus_message *reply, const Obstacle *o) {
        int r = sd_bus_message_open_container(reply, 'a', "{sv}");

        if (r >= 0)
                r = bus_append_entry(reply, "code", "s", o->code);
        if (r >= 0)
                r = bus_append_entry(reply, "device", "s", o->device ? o->device : "");
        if (r >= 0)
                r = bus_append_entry(reply, "text", "s", o->text);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_step(sd_bus_message *reply, const Step *step) {
        _cleanup_free_ char *text = step_describe(step);
        int r = text ? sd_bus_message_open_container(reply, 'a', "{sv}") : -ENOMEM;

        if (r >= 0)
                r = bus_append_entry(reply, "step", "s", step_kind_to_string(step->kind));
        if (r >= 0)
                r = bus_append_entry(reply, "device", "s", step->device ? step->device : "");
        if (r >= 0)
                r = bus_append_entry(reply, "group", "u", step->group);
        if (r >= 0)
                r = bus_append_entry(reply, "value", "s", step->value ? step->value : "");
        if (r >= 0)
                r = bus_append_entry(reply, "former", "s", step->former ? step->former : "");
        if (r >= 0)
                r = bus_append_entry(reply, "text", "s", text);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int reply_explained(Pending *p, const Explanation *answer) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r = sd_bus_message_new_method_return(p->call, &reply);
        const Obstacles *obstacles = answer->obstacles;
        const Plan *plan = answer->plan;

        if (r >= 0)
                r = sd_bus_message_append(reply, "b", obstacles->n == 0);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (size_t i = 0; r >= 0 && i < obstacles->n; i++)
                r = append_obstacle(reply, &obstacles->items[i]);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (size_t i = 0; r >= 0 && i < plan->n; i++)
                r = append_step(reply, &plan->steps[i]);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                r = sd_bus_message_append_strv(reply, (char **)answer->devices);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static void on_explained(const Explanation *answer, const Fault *fault, void *userdata) {
        Pending *p = userdata;

        pending_finish(p, answer ? reply_explained(p, answer) : bus_reply_fault(p->call, 0, fault));
}

static int method_explain(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_request_ Request request = REQUEST_NULL;
        _cleanup_fault_ Fault fault = FAULT_NULL;
        _cleanup_close_ int pidfd = -EBADF;
        BusServer *s = userdata;
        const Caller *caller;
        Pending *p;
        int r;

        r = bus_caller(s, call, &caller);
        if (r >= 0)
                r = bus_read_request(s, call, caller, &request, &pidfd, &fault);
        if (r >= 0)
                r = pending_new(s, call, caller, &p, &fault);
        if (r < 0)
                return bus_reply_fault(call, r, &fault);
        request.authorised = true; /* what would be done if an administrator agreed */
        manager_explain(s->m, &request, on_explained, p);
        return 1;
}

/* ReleaseOwner */

static int method_release_owner(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_fault_ Fault fault = FAULT_NULL;
        BusServer *s = userdata;
        const Caller *caller;
        unsigned long long seq = 0;
        uint32_t released = 0;
        bool others = false;
        const char *owner;
        Lease *l;
        int r;

        r = sd_bus_message_read(call, "s", &owner);
        if (r >= 0)
                r = bus_caller(s, call, &caller);
        while (r >= 0 && (l = registry_next_lease(manager_registry(s->m), seq))) {
                seq = l->seq;
                if (!str_eq(l->request.owner.name, owner) || lease_state_is_over(l->state) ||
                    policy_check_manage(manager_policy(s->m), caller, &l->request.owner,
                                        MANAGE_RELEASE, NULL) < 0)
                        continue;
                if (!others && caller->uid != l->request.owner.uid) {
                        bus_audit_asked(s, call, caller);
                        others = true;
                }
                r = manager_end_lease(s->m, l, "released");
                released++;
        }
        if (r < 0)
                return bus_refuse(s, call, r, &fault);
        return sd_bus_reply_method_return(call, "u", released);
}

/* lists */

static int append_group(sd_bus_message *reply, const Group *g, const Caller *caller) {
        _cleanup_free_ char *path = NULL;
        int r = group_bus_path(g, &path);

        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{sv}");
        if (r >= 0)
                r = bus_append_entry(reply, "Path", "o", path);
        if (r >= 0)
                r = bus_property_append_all(reply, group_properties, g, caller);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(reply, "s", "DeviceList");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'v', "aa{sv}");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (const Device *d = g->devices; r >= 0 && d; d = d->next) {
                r = sd_bus_message_open_container(reply, 'a', "{sv}");
                if (r >= 0)
                        r = bus_property_append_all(reply, device_properties, d, caller);
                if (r >= 0)
                        r = sd_bus_message_close_container(reply);
        }
        for (int i = 0; r >= 0 && i < 4; i++) /* list, variant, entry, dictionary */
                r = sd_bus_message_close_container(reply);
        return r;
}

static int append_lease(sd_bus_message *reply, const Lease *l, const Caller *caller) {
        _cleanup_free_ char *path = NULL;
        int r = lease_bus_path(l, &path);

        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{sv}");
        if (r >= 0)
                r = bus_append_entry(reply, "Path", "o", path);
        if (r >= 0)
                r = bus_append_entry(reply, "Sequence", "t", (uint64_t)l->seq);
        if (r >= 0)
                r = bus_property_append_all(reply, lease_properties, l, caller);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* A reply that lists dictionaries, begun for this caller. */
static int begin_list(BusServer *s, sd_bus_message *call, uint32_t limit, const Caller **ret_caller,
                      sd_bus_message **ret_reply, Fault *fault) {
        int r;

        if (limit == 0 || limit > PAGE_MAX)
                return fault_set(fault, ERROR_INVALID_ARGS, "limit has to be 1 to %d", PAGE_MAX);
        r = bus_caller(s, call, ret_caller);
        if (r >= 0)
                r = sd_bus_message_new_method_return(call, ret_reply);
        return r < 0 ? r : sd_bus_message_open_container(*ret_reply, 'a', "a{sv}");
}

static int end_list(sd_bus_message *call, sd_bus_message *reply, int r, const Fault *fault) {
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? bus_reply_fault(call, r, fault) : sd_bus_send(NULL, reply, NULL);
}

static int method_list_groups(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_fault_ Fault fault = FAULT_NULL;
        BusServer *s = userdata;
        const Caller *caller;
        uint32_t limit;
        int64_t after;
        Group *g;
        int r;

        r = sd_bus_message_read(call, "xu", &after, &limit);
        if (r >= 0)
                r = begin_list(s, call, limit, &caller, &reply, &fault);
        for (; r >= 0 && limit > 0; limit--) {
                g = registry_next_group(manager_registry(s->m), after);
                if (!g)
                        break;
                r = append_group(reply, g, caller);
                after = g->id;
        }
        return end_list(call, reply, r, &fault);
}

static int method_list_leases(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_fault_ Fault fault = FAULT_NULL;
        BusServer *s = userdata;
        const Caller *caller;
        uint64_t after;
        uint32_t limit;
        Lease *l;
        int r;

        r = sd_bus_message_read(call, "tu", &after, &limit);
        if (r >= 0)
                r = begin_list(s, call, limit, &caller, &reply, &fault);
        for (; r >= 0 && limit > 0; limit--) {
                l = registry_next_lease(manager_registry(s->m), after);
                if (!l)
                        break;
                r = append_lease(reply, l, caller);
                after = l->seq;
        }
        return end_list(call, reply, r, &fault);
}

static int method_reload(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_fault_ Fault fault = FAULT_NULL;
        BusServer *s = userdata;
        int r;

        r = bus_may_manage(s, call, method_reload, NULL, MANAGE_RELOAD, &fault);
        if (r > 0)
                return r;
        if (r == 0)
                r = manager_reload(s->m, &fault);
        return r < 0 ? bus_refuse(s, call, r, &fault) : sd_bus_reply_method_return(call, "");
}

/* Somebody, as numbers: a name is the asker's business. */
static int read_account(BusServer *s, sd_bus_message *call, Caller *ret) {
        const char *unit;
        uint32_t uid, gid;
        int r = sd_bus_message_read(call, "u", &uid);

        if (r >= 0)
                r = sd_bus_message_enter_container(call, 'a', "u");
        while (r >= 0 && (r = sd_bus_message_read(call, "u", &gid)) > 0) {
                ret->member = ret->member || gid == s->member_gid;
                r = caller_add_group(ret, gid);
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(call);
        if (r >= 0)
                r = sd_bus_message_read(call, "s", &unit);
        if (r >= 0)
                r = str_set(&ret->unit, str_empty(unit) ? NULL : unit);
        ret->uid = uid;
        ret->privileged = uid == 0;
        return r;
}

static int check_tester(BusServer *s, sd_bus_message *call, uid_t uid, Fault *fault) {
        const Caller *caller;
        int r = bus_caller(s, call, &caller);

        if (r < 0 || caller_may_see(caller, uid))
                return r;
        return fault_set(fault, ERROR_MAY_NOT, "uid %u may not ask what others may",
                         (unsigned)caller->uid);
}

static int method_test_policy(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_fault_ Fault fault = FAULT_NULL, why = FAULT_NULL;
        _cleanup_request_ Request request = REQUEST_NULL;
        _cleanup_caller_ Caller account = {};
        _cleanup_close_ int pidfd = -EBADF;
        _cleanup_free_ char *rule = NULL;
        BusServer *s = userdata;
        Decision decision;
        int r;

        r = read_account(s, call, &account);
        if (r >= 0)
                r = check_tester(s, call, account.uid, &fault);
        if (r >= 0)
                r = bus_read_request(s, call, &account, &request, &pidfd, &fault);
        if (r >= 0 && request.n_choices > 0)
                r = fault_set(&fault, ERROR_INVALID_ARGS, "name devices: a selector fits many");
        if (r >= 0)
                r = registry_test_policy(manager_registry(s->m), &request, &decision, &rule, &fault,
                                         &why);
        if (r < 0)
                return bus_reply_fault(call, r, &fault);
        return sd_bus_reply_method_return(call, "sss", decision_to_string(decision), rule,
                                          why.message ? why.message : "");
}

/* What administrators do to devices that they name. */
static int administer(sd_bus_message *call, BusServer *s, sd_bus_message_handler_t handler,
                      int (*act)(Manager *m, char *const *devices, Fault *fault)) {
        _cleanup_(strv_freep) char **devices = NULL;
        _cleanup_fault_ Fault fault = FAULT_NULL;
        int r;

        r = sd_bus_message_read_strv(call, &devices);
        if (r >= 0)
                r = bus_may_manage(s, call, handler, NULL, MANAGE_ADMINISTER, &fault);
        if (r > 0)
                return r;
        if (r == 0)
                r = act(s->m, devices, &fault);
        return r < 0 ? bus_refuse(s, call, r, &fault) : sd_bus_reply_method_return(call, "");
}

static int method_mark_clean(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        return administer(call, userdata, method_mark_clean, manager_mark_clean);
}

static int method_restore(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        return administer(call, userdata, method_restore, manager_give_back);
}

/* look-ups */

static int method_get_group(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_free_ char *path = NULL;
        BusServer *s = userdata;
        uint32_t id;
        Group *g;
        int r;

        r = sd_bus_message_read(call, "u", &id);
        if (r < 0)
                return r;
        g = registry_group(manager_registry(s->m), id);
        if (!g)
                return sd_bus_reply_method_errorf(call, error_code_to_string(ERROR_NO_SUCH_GROUP),
                                                  "there is no IOMMU group %u on this host", id);
        r = group_bus_path(g, &path);
        return r < 0 ? r : sd_bus_reply_method_return(call, "o", path);
}

static int method_get_device(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_free_ char *path = NULL;
        BusServer *s = userdata;
        const char *name;
        int r;

        r = sd_bus_message_read(call, "s", &name);
        if (r < 0)
                return r;
        if (!registry_device(manager_registry(s->m), name))
                return sd_bus_reply_method_errorf(call, error_code_to_string(ERROR_NO_SUCH_DEVICE),
                                                  "there is no device %s on this host", name);
        r = device_bus_path(name, &path);
        return r < 0 ? r : sd_bus_reply_method_return(call, "o", path);
}

static int method_get_lease(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_free_ char *path = NULL;
        BusServer *s = userdata;
        const char *id;
        Lease *l;
        int r;

        r = sd_bus_message_read(call, "s", &id);
        if (r < 0)
                return r;
        l = registry_lease(manager_registry(s->m), id);
        if (!l)
                return sd_bus_reply_method_errorf(call, error_code_to_string(ERROR_NO_SUCH_LEASE),
                                                  "there is no lease %s", id);
        r = lease_bus_path(l, &path);
        return r < 0 ? r : sd_bus_reply_method_return(call, "o", path);
}

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", PROJECT_VERSION);
}

static int get_kernel(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        BusServer *s = userdata;

        return sd_bus_message_append(reply, "s", manager_kernel(s->m)->ops->name);
}

#define ANYBODY SD_BUS_VTABLE_UNPRIVILEGED

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Acquire", SD_BUS_ARGS("as", devices, "s", kind, "a{sv}", options),
                                SD_BUS_RESULT("o", lease, "ah", lifeline), method_acquire, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Explain", SD_BUS_ARGS("as", devices, "s", kind, "a{sv}", options),
                                SD_BUS_RESULT("b", possible, "aa{sv}", obstacles, "aa{sv}", steps,
                                              "as", chosen),
                                method_explain, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("ReleaseOwner", SD_BUS_ARGS("s", owner),
                                SD_BUS_RESULT("u", released), method_release_owner, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("ListGroups", SD_BUS_ARGS("x", after, "u", limit),
                                SD_BUS_RESULT("aa{sv}", groups), method_list_groups, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("ListLeases", SD_BUS_ARGS("t", after, "u", limit),
                                SD_BUS_RESULT("aa{sv}", leases), method_list_leases, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("GetGroup", SD_BUS_ARGS("u", id), SD_BUS_RESULT("o", group),
                                method_get_group, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("GetDevice", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", device),
                                method_get_device, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("GetLease", SD_BUS_ARGS("s", id), SD_BUS_RESULT("o", lease),
                                method_get_lease, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("MarkClean", SD_BUS_ARGS("as", devices), SD_BUS_NO_RESULT,
                                method_mark_clean, ANYBODY),
        SD_BUS_METHOD("Reload", "", "", method_reload, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Restore", SD_BUS_ARGS("as", devices), SD_BUS_NO_RESULT,
                                method_restore, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("TestPolicy",
                                SD_BUS_ARGS("u", uid, "au", gids, "s", unit, "as", devices, "s",
                                            kind, "a{sv}", options),
                                SD_BUS_RESULT("s", decision, "s", rule, "s", reason),
                                method_test_policy, ANYBODY),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Kernel", "s", get_kernel, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};

int manager_bus_export(BusServer *s) {
        return sd_bus_add_object_vtable(s->bus, NULL, BUS_ROOT, BUS_NAME ".Manager", vtable, s);
}
