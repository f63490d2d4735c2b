/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reads the arguments of Acquire and Explain: (as devices, s kind, a{sv} options). */

#include <fcntl.h>
#include <string.h>

#include "bus/bus-internal.h"
#include "core/selector.h"
#include "manager/process.h"
#include "util/strings.h"

#define DEVICES_MAX      1024
#define ALTERNATIVES_MAX 32
#define TEXT_MAX         256
#define TTL_MAX          (10ULL * 365 * 24 * 3600 * 1000000)
#define GRACE_MAX        600000000ULL

typedef struct Reader {
        BusServer *s;
        const Caller *caller;
        Request *request;
        int *pidfd;
        Fault *fault;
} Reader;

static int check_list(char *const *devices, Fault *fault) {
        if (strv_length(devices) > DEVICES_MAX)
                return fault_set(fault, ERROR_QUOTA_EXCEEDED, "at most %d devices in one request",
                                 DEVICES_MAX);
        return 0;
}

/* An empty list is refused like one of the first place. */
static int add_list(Request *request, char *const *list) {
        static char *const empty[] = { NULL };

        return request_add_choice(request, list ? list : empty);
}

int bus_check_text(const char *what, const char *text, Fault *fault) {
        if (str_empty(text) || strlen(text) > TEXT_MAX)
                return fault_set(fault, ERROR_INVALID_ARGS, "%s has to have 1 to %d bytes", what,
                                 TEXT_MAX);
        for (const char *c = text; *c; c++)
                if ((unsigned char)*c < 0x20 || *c == 0x7f)
                        return fault_set(fault, ERROR_INVALID_ARGS,
                                         "%s may not have control characters", what);
        return 0;
}

static int read_text(Reader *r, sd_bus_message *m, const char *what, char **ret) {
        const char *text;
        int q = sd_bus_message_read(m, "s", &text);

        if (q < 0)
                return q;
        q = bus_check_text(what, text, r->fault);
        return q < 0 ? q : str_set(ret, text);
}

static int read_owner(Reader *r, sd_bus_message *m) {
        return read_text(r, m, "owner", &r->request->owner.name);
}

static int read_label(Reader *r, sd_bus_message *m) {
        return read_text(r, m, "label", &r->request->label);
}

static int read_driver(Reader *r, sd_bus_message *m) {
        return read_text(r, m, "driver", &r->request->terms.driver);
}

static int read_type(Reader *r, sd_bus_message *m) {
        return read_text(r, m, "default-domain-type", &r->request->terms.default_domain_type);
}

static int read_reset(Reader *r, sd_bus_message *m) {
        return read_text(r, m, "reset", &r->request->terms.reset);
}

static int read_holder(Reader *r, sd_bus_message *m) {
        const char *text;
        int q = sd_bus_message_read(m, "s", &text);

        if (q < 0)
                return q;
        r->request->holder = holder_type_from_string(text);
        if (r->request->holder < 0)
                return fault_set(r->fault, ERROR_INVALID_ARGS,
                                 "holder '%s' is none of lifeline, process, connection, none",
                                 text);
        return 0;
}

static int read_access(Reader *r, sd_bus_message *m) {
        const char *text;
        int q = sd_bus_message_read(m, "s", &text);

        if (q < 0)
                return q;
        r->request->terms.access = access_from_string(text);
        if (r->request->terms.access < 0)
                return fault_set(r->fault, ERROR_INVALID_ARGS, "access '%s' is none of node, fd",
                                 text);
        return 0;
}

static int read_interface(Reader *r, sd_bus_message *m) {
        const char *text;
        int q = sd_bus_message_read(m, "s", &text);

        if (q < 0)
                return q;
        r->request->terms.interface = vfio_interface_from_string(text);
        if (r->request->terms.interface < 0)
                return fault_set(r->fault, ERROR_INVALID_ARGS,
                                 "interface '%s' is none of auto, iommufd, container", text);
        return 0;
}

int bus_check_ttl(uint64_t ttl, Fault *fault) {
        if (ttl <= TTL_MAX)
                return 0;
        return fault_set(fault, ERROR_INVALID_ARGS,
                         "a time to live is in microseconds and at most ten years (%llu)", TTL_MAX);
}

static int read_ttl(Reader *r, sd_bus_message *m) {
        uint64_t ttl;
        int q = sd_bus_message_read(m, "t", &ttl);

        if (q < 0)
                return q;
        if (ttl == 0)
                return fault_set(r->fault, ERROR_INVALID_ARGS,
                                 "ttl is 0: leave it out for a lease without end");
        r->request->expires = r->request->created + ttl;
        r->request->ttl = ttl;
        return bus_check_ttl(ttl, r->fault);
}

static int read_grace(Reader *r, sd_bus_message *m) {
        int q = sd_bus_message_read(m, "t", &r->request->grace);

        if (q >= 0 && r->request->grace > GRACE_MAX)
                return fault_set(r->fault, ERROR_INVALID_ARGS,
                                 "grace is in microseconds and at most ten minutes (%llu)",
                                 GRACE_MAX);
        return q;
}

static int read_wait(Reader *r, sd_bus_message *m) {
        uint64_t wait, now = r->request->created;
        int q = sd_bus_message_read(m, "t", &wait);

        if (q >= 0)
                r->request->wait_until = wait == 0                 ? 0
                                         : wait > UINT64_MAX - now ? UINT64_MAX
                                                                   : now + wait;
        return q;
}

/* Whether it is one is core's to say. */
static int read_priority(Reader *r, sd_bus_message *m) {
        return sd_bus_message_read(m, "i", &r->request->priority);
}

static int read_uid(Reader *r, sd_bus_message *m) {
        uint32_t uid;
        int q = sd_bus_message_read(m, "u", &uid);

        if (q < 0)
                return q;
        if (uid == UINT32_MAX)
                return fault_set(r->fault, ERROR_INVALID_ARGS, "uid %u is nobody's", uid);
        r->request->uid = uid;
        r->request->owner.uid = uid;
        return 0;
}

static int read_vfs(Reader *r, sd_bus_message *m) {
        uint32_t vfs;
        int q = sd_bus_message_read(m, "u", &vfs);

        if (q < 0)
                return q;
        if (vfs == 0 || vfs > UINT16_MAX)
                return fault_set(r->fault, ERROR_INVALID_ARGS,
                                 "vfs is %u: the number of virtual functions is from 1 to %d", vfs,
                                 UINT16_MAX);
        r->request->terms.vfs = vfs;
        return 0;
}

static int read_force(Reader *r, sd_bus_message *m) {
        int force;
        int q = sd_bus_message_read(m, "b", &force);

        if (q >= 0)
                r->request->force = force;
        return q;
}

static int read_pidfd(Reader *r, sd_bus_message *m) {
        int fd, q = sd_bus_message_read(m, "h", &fd);

        if (q < 0)
                return q;
        safe_close(*r->pidfd);
        *r->pidfd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return *r->pidfd < 0 ? -errno : 0;
}

/* Lists of devices to try if the first cannot be had. */
static int read_alternatives(Reader *r, sd_bus_message *m) {
        int q = sd_bus_message_enter_container(m, 'a', "as");

        while (q >= 0 && (q = sd_bus_message_at_end(m, false)) == 0) {
                _cleanup_(strv_freep) char **list = NULL;

                if (r->request->n_choices > ALTERNATIVES_MAX)
                        return fault_set(r->fault, ERROR_QUOTA_EXCEEDED,
                                         "at most %d alternatives in one request",
                                         ALTERNATIVES_MAX);
                q = sd_bus_message_read_strv(m, &list);
                if (q >= 0)
                        q = check_list(list, r->fault);
                if (q >= 0)
                        q = add_list(r->request, list);
        }
        return q < 0 ? q : sd_bus_message_exit_container(m);
}

static const struct Option {
        const char *name;
        const char *type;
        int (*read)(Reader *r, sd_bus_message *m);
} options[] = {
        { "access", "s", read_access },
        { "alternatives", "aas", read_alternatives },
        { "default-domain-type", "s", read_type },
        { "driver", "s", read_driver },
        { "force", "b", read_force },
        { "grace", "t", read_grace },
        { "holder", "s", read_holder },
        { "interface", "s", read_interface },
        { "label", "s", read_label },
        { "owner", "s", read_owner },
        { "pidfd", "h", read_pidfd },
        { "priority", "i", read_priority },
        { "reset", "s", read_reset },
        { "ttl", "t", read_ttl },
        { "uid", "u", read_uid },
        { "vfs", "u", read_vfs },
        { "wait", "t", read_wait },
};

static int read_option(Reader *r, sd_bus_message *m) {
        const char *name, *type;
        int q = sd_bus_message_read(m, "s", &name);

        if (q < 0)
                return q;
        for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
                if (strcmp(options[i].name, name) != 0)
                        continue;
                q = sd_bus_message_peek_type(m, NULL, &type);
                if (q < 0)
                        return q;
                if (strcmp(type, options[i].type) != 0)
                        return fault_set(r->fault, ERROR_INVALID_ARGS,
                                         "option '%s' has type '%s', but '%s' is wanted", name,
                                         type, options[i].type);
                q = sd_bus_message_enter_container(m, 'v', type);
                if (q >= 0)
                        q = options[i].read(r, m);
                return q < 0 ? q : sd_bus_message_exit_container(m);
        }
        return fault_set(r->fault, ERROR_INVALID_ARGS, "there is no option '%s'", name);
}

static int read_options(Reader *r, sd_bus_message *m) {
        int q = sd_bus_message_enter_container(m, 'a', "{sv}");

        while (q >= 0 && (q = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                q = read_option(r, m);
                if (q >= 0)
                        q = sd_bus_message_exit_container(m);
        }
        return q < 0 ? q : sd_bus_message_exit_container(m);
}

/* A process can be the holder only of a lease of its own user, unless root says so. */
int bus_check_process(int pidfd, uid_t uid, const Caller *caller, pid_t *ret_pid,
                      uint64_t *ret_start, Fault *fault) {
        uid_t process_uid;
        int q = process_of_pidfd(pidfd, ret_pid, &process_uid, ret_start);

        if (q == -EBADF)
                return fault_set(fault, ERROR_INVALID_ARGS,
                                 "the descriptor is not the pidfd of a process");
        if (q == -ESRCH)
                return fault_set(fault, ERROR_INVALID_ARGS, "the process of the pidfd has ended");
        if (q < 0)
                return q;
        if (process_uid != uid && !caller->privileged)
                return fault_set(fault, ERROR_ACCESS_DENIED,
                                 "process %d is not of uid %u: only root may name another's process",
                                 (int)*ret_pid, (unsigned)uid);
        return 0;
}

static int check_holder(const Reader *r) {
        Request *request = r->request;

        if ((request->holder == HOLDER_PROCESS) != (*r->pidfd >= 0))
                return fault_set(r->fault, ERROR_INVALID_ARGS,
                                 "holder 'process' and option 'pidfd' go together");
        if (request->grace > 0 && request->holder != HOLDER_PROCESS &&
            request->holder != HOLDER_NONE)
                return fault_set(r->fault, ERROR_INVALID_ARGS,
                                 "grace is for a holder that is, or will be, a process");
        if (*r->pidfd < 0)
                return 0;
        return bus_check_process(*r->pidfd, request->uid, r->caller, &request->holder_pid,
                                 &request->holder_start, r->fault);
}

/* Without selectors and alternatives there is nothing to choose from. */
static int settle_devices(Request *request, char ***devices) {
        bool named = request->n_choices == 1;

        for (char **name = *devices; named && name && *name; name++)
                named = !name_is_selector(*name);
        if (!named)
                return 0;
        request_drop_choices(request);
        request->devices = TAKE_PTR(*devices);
        return 0;
}

int bus_read_request(BusServer *s, sd_bus_message *m, const Caller *caller, Request *ret,
                     int *ret_pidfd, Fault *fault) {
        _cleanup_request_ Request request = REQUEST_NULL;
        _cleanup_close_ int pidfd = -EBADF;
        _cleanup_(strv_freep) char **devices = NULL;
        Reader r = { s, caller, &request, &pidfd, fault };
        const char *kind;
        int q;

        request.created = manager_now(s->m);
        request.uid = request.owner.uid = caller->uid;
        q = caller_copy(&request.caller, caller);
        if (q >= 0)
                q = sd_bus_message_read_strv(m, &devices);
        if (q >= 0)
                q = sd_bus_message_read(m, "s", &kind);
        if (q < 0)
                return q;
        q = check_list(devices, fault);
        if (q >= 0)
                q = add_list(&request, devices);
        if (q < 0)
                return q;
        request.terms.kind = owner_kind_from_string(kind);
        if (request.terms.kind < 0)
                return fault_set(fault, ERROR_INVALID_ARGS,
                                 "kind '%s' is none of dma-api, private-domain, user", kind);
        q = read_options(&r, m);
        if (q >= 0)
                q = settle_devices(&request, &devices);
        if (q >= 0)
                q = check_holder(&r);
        if (q >= 0 && !request.owner.name)
                q = str_set(&request.owner.name, "default");
        if (q >= 0 && request.holder == HOLDER_CONNECTION) {
                request.holder_name = str_format("%s@%s", sd_bus_message_get_sender(m), s->bus_id);
                q = request.holder_name ? 0 : -ENOMEM;
        }
        if (q < 0)
                return q;
        *ret = request;
        request = REQUEST_NULL;
        *ret_pidfd = TAKE_FD(pidfd);
        return 0;
}
