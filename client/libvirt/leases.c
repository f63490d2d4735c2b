/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/libvirt/leases.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "client/bus.h"
#include "client/exit-status.h"
#include "client/libdmaowner/dmaowner.h"
#include "client/message-json.h"
#include "util/json.h"
#include "util/strings.h"

#define PAGE_SIZE   256U
#define ANSWER_USEC 10000000ULL /* for what the daemon does at once */
#define LOOK_USEC   250000ULL   /* between two looks at a lease that is queued */

DEFINE_CLEANUP(dmaowner *, dmaowner_unref);
DEFINE_CLEANUP(dmaowner_request *, dmaowner_request_free);
DEFINE_CLEANUP(dmaowner_lease *, dmaowner_lease_unref);
#define _cleanup_connection_ _cleanup_(dmaowner_unrefp)
#define _cleanup_request_    _cleanup_(dmaowner_request_freep)
#define _cleanup_lease_      _cleanup_(dmaowner_lease_unrefp)

void leases_clear(DomainLeases *l) {
        for (size_t i = 0; i < l->n; i++) {
                free(l->leases[i].id);
                free(l->leases[i].state);
                (void)strv_free(l->leases[i].devices);
        }
        free(l->leases);
        *l = DOMAIN_LEASES_NULL;
}

static uint64_t now(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_BOOTTIME, &t); /* cannot fail */
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- What went wrong ---- */

static _printf_(3, 4) int fail(int r, char **why, const char *fmt, ...) {
        va_list ap;

        va_start(ap, fmt);
        if (vasprintf(why, fmt, ap) < 0)
                *why = NULL;
        va_end(ap);
        return r;
}

static int fail_as(int r, const char *name, const char *message, char **why) {
        if (status_from_error(name) == STATUS_NO_DAEMON)
                r = -EHOSTDOWN;
        return fail(r, why, "%s", str_empty(message) ? strerror(-r) : message);
}

static int fail_as_lease(int r, const dmaowner_lease *l, char **why) {
        const char *name, *message;

        (void)dmaowner_lease_get_error(l, &name, &message);
        return fail_as(r, name, message, why);
}

/* ---- Which there are ---- */

static int take_devices(json_object *from, char ***ret) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < json_object_array_length(from); i++)
                r = strv_extend(ret, json_object_get_string(json_object_array_get_idx(from, i)));
        return r;
}

bool lease_is_over(const char *state) {
        return str_eq(state, "ended") || str_eq(state, "failed") || str_eq(state, "lost");
}

static int take_lease(DomainLeases *l, json_object *from, const char *owner) {
        json_object *owned = json_member(from, "Owner");
        DomainLease *lease, *more;
        int r;

        if (lease_is_over(json_string(from, "State")) ||
            (uid_t)json_object_get_int64(json_object_array_get_idx(owned, 0)) != geteuid() ||
            !str_eq(json_object_get_string(json_object_array_get_idx(owned, 1)), owner))
                return 0;
        more = reallocarray(l->leases, l->n + 1, sizeof(*more));
        if (!more)
                return -ENOMEM;
        l->leases = more;
        lease = &l->leases[l->n++];
        *lease = (DomainLease){ .pid = (pid_t)json_number(from, "HolderPid") };
        r = str_set(&lease->id, json_string(from, "Id"));
        if (r == 0)
                r = str_set(&lease->state, json_string(from, "State"));
        return r < 0 ? r : take_devices(json_member(from, "Devices"), &lease->devices);
}

/* *after: the last that was seen; how many were on the page. */
static int read_page(sd_bus *bus, const char *owner, uint64_t *after, DomainLeases *l, char **why) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_json_ json_object *answer = NULL;
        json_object *page;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, BUS_NAME, BUS_ROOT, INTERFACE_MANAGER,
                                           "ListLeases");
        if (r >= 0)
                r = sd_bus_message_append(m, "tu", *after, PAGE_SIZE);
        if (r < 0)
                return fail(r, why, "ListLeases: %s", strerror(-r));
        r = sd_bus_call(bus, m, ANSWER_USEC, &error, &reply);
        if (r < 0)
                return fail_as(r, error.name, error.message, why);
        r = message_to_json(reply, &answer);
        if (r < 0)
                return fail(r, why, "ListLeases: %s", strerror(-r));
        page = json_object_array_get_idx(answer, 0);
        for (size_t i = 0; i < json_object_array_length(page); i++) {
                json_object *lease = json_object_array_get_idx(page, i);

                *after = json_number(lease, "Sequence");
                if (take_lease(l, lease, owner) < 0)
                        return fail(-ENOMEM, why, "out of memory");
        }
        return (int)json_object_array_length(page);
}

int leases_list(sd_bus *bus, const Domain *d, DomainLeases *ret, char **why) {
        _cleanup_leases_ DomainLeases l = DOMAIN_LEASES_NULL;
        _cleanup_free_ char *owner = domain_owner(d);
        uint64_t after = 0;
        int n;

        if (!owner)
                return fail(-ENOMEM, why, "out of memory");
        do
                n = read_page(bus, owner, &after, &l, why);
        while (n > 0);
        if (n < 0)
                return n;
        *ret = l;
        l = DOMAIN_LEASES_NULL;
        return 0;
}

const DomainLease *leases_find(const DomainLeases *l, const char *device) {
        for (size_t i = 0; i < l->n; i++)
                if (strv_contains(l->leases[i].devices, device))
                        return &l->leases[i];
        return NULL;
}

/* ---- One more ---- */

static int make_request(const Domain *d, char *const *devices, int pidfd, bool wait,
                        dmaowner_request **ret) {
        _cleanup_request_ dmaowner_request *q = NULL;
        _cleanup_free_ char *owner = domain_owner(d);
        int r = owner ? dmaowner_request_new(&q, "user") : -ENOMEM;

        for (; r == 0 && *devices; devices++)
                r = dmaowner_request_add_device(q, *devices);
        if (r == 0)
                r = dmaowner_request_set(q, "owner", "s", owner);
        if (r == 0)
                r = dmaowner_request_set(q, "label", "s", d->name);
        if (r == 0)
                r = dmaowner_request_set(q, "grace", "t", (uint64_t)LEASES_GRACE);
        if (r == 0 && wait)
                r = dmaowner_request_set(q, "wait", "t", (uint64_t)LEASES_PATIENCE);
        if (r == 0)
                r = dmaowner_request_set(q, "holder", "s", pidfd >= 0 ? "process" : "none");
        if (r == 0)
                r = pidfd >= 0 ? dmaowner_request_set(q, "pidfd", "h", pidfd)
                               : dmaowner_request_set(q, "ttl", "t", (uint64_t)LEASES_TTL);
        if (r == 0)
                *ret = TAKE_PTR(q);
        return r;
}

/* "" if nobody says. */
static char *group_state(sd_bus *bus, const char *device) {
        _cleanup_free_ char *path = NULL, *group = NULL;
        char *state = NULL;
        int32_t number;

        if (sd_bus_path_encode(BUS_ROOT "/device", device, &path) < 0 ||
            sd_bus_get_property_trivial(bus, BUS_NAME, path, INTERFACE_DEVICE, "Group", NULL, 'i',
                                        &number) < 0)
                return strdup("");
        group = str_format(BUS_ROOT "/group/%d", (int)number);
        if (!group || sd_bus_get_property_string(bus, BUS_NAME, group, INTERFACE_GROUP, "State",
                                                 NULL, &state) < 0)
                return strdup("");
        return state;
}

/* Is what is in the way only that they are on their way back to the host, from whoever had them before? */
static bool all_come_back(sd_bus *bus, char *const *devices) {
        static const char *const states[] = { "free", "draining", "restoring" };

        for (; *devices; devices++) {
                _cleanup_free_ char *state = group_state(bus, *devices);
                size_t i = 0;

                while (i < sizeof(states) / sizeof(*states) && !str_eq(states[i], state))
                        i++;
                if (i >= sizeof(states) / sizeof(*states))
                        return false;
        }
        return true;
}

/* Until it is held, or will not be soon. -EAGAIN: it is queued behind somebody who has just got it. */
static int wait_held(sd_bus *bus, dmaowner_lease *l, char *const *devices, char **why) {
        uint64_t deadline = now() + LEASES_PATIENCE;
        unsigned in_vain = 0;
        int r;

        do {
                r = dmaowner_lease_wait(l, LOOK_USEC);
                if (r != -ETIMEDOUT || dmaowner_lease_is_settled(l))
                        return r < 0 ? fail_as_lease(r, l, why) : 0;
                /* a group that is taken may have been taken for this lease, of which one hears next */
                if (!str_eq(dmaowner_lease_get_state(l), "queued") || all_come_back(bus, devices))
                        in_vain = 0;
                else if (++in_vain > 1)
                        return -EAGAIN;
        } while (now() < deadline);
        return fail(-ETIME, why, "not ready after %llu s, lease %s is %s%s%s",
                    LEASES_PATIENCE / 1000000, dmaowner_lease_get_id(l),
                    dmaowner_lease_get_state(l), *dmaowner_lease_get_waits_for(l) ? ": " : "",
                    dmaowner_lease_get_waits_for(l));
}

/* -EAGAIN: it would have to wait, or may try again without. */
static int acquire(sd_bus *bus, const Domain *d, char *const *devices, int pidfd, bool wait,
                   char **ret_id, char **why) {
        _cleanup_connection_ dmaowner *o = NULL;
        _cleanup_request_ dmaowner_request *q = NULL;
        _cleanup_lease_ dmaowner_lease *l = NULL;
        const char *error;
        int r;

        r = make_request(d, devices, pidfd, wait, &q);
        if (r == 0)
                r = dmaowner_new(&o, bus);
        if (r == 0)
                r = dmaowner_acquire(o, q, &l);
        if (r < 0)
                return fail(r, why, "Acquire: %s", strerror(-r));
        r = wait_held(bus, l, devices, why);
        (void)dmaowner_lease_get_error(l, &error, NULL);
        if (r < 0 && !wait && status_from_error(error) == STATUS_BUSY && all_come_back(bus, devices))
                r = -EAGAIN;
        if (r == 0 && ret_id)
                r = str_set(ret_id, dmaowner_lease_get_id(l));
        /* what cannot be given up now ends with its time to live, or with QEMU */
        if (r < 0 && !dmaowner_lease_is_over(l) && dmaowner_lease_release(l) == 0)
                (void)dmaowner_lease_wait(l, ANSWER_USEC);
        return r;
}

/* Who does not wait is told who is in the way. */
int leases_acquire(sd_bus *bus, const Domain *d, char *const *devices, int pidfd, char **ret_id,
                   char **why) {
        static const bool waits[] = { false, true, false };
        int r = -EAGAIN;

        for (size_t i = 0; r == -EAGAIN && i < sizeof(waits) / sizeof(*waits); i++) {
                free(*why);
                *why = NULL;
                r = acquire(bus, d, devices, pidfd, waits[i], ret_id, why);
        }
        return r;
}

/* ---- What becomes of one ---- */

typedef int (*Deed)(dmaowner_lease *l, int pidfd);

static int release(dmaowner_lease *l, int pidfd) {
        return dmaowner_lease_release(l);
}

static int renew(dmaowner_lease *l, int pidfd) {
        return dmaowner_lease_renew(l, LEASES_TTL);
}

static int do_with(sd_bus *bus, const DomainLease *lease, Deed deed, int pidfd, char **why) {
        _cleanup_connection_ dmaowner *o = NULL;
        _cleanup_lease_ dmaowner_lease *l = NULL;
        int r;

        r = dmaowner_new(&o, bus);
        if (r == 0)
                r = dmaowner_find(o, lease->id, &l);
        if (r < 0)
                return fail(r, why, "lease %s: %s", lease->id, strerror(-r));
        r = dmaowner_lease_wait(l, ANSWER_USEC);
        if (r == 0)
                r = deed(l, pidfd);
        if (r == 0)
                r = dmaowner_lease_wait(l, ANSWER_USEC);
        return r < 0 ? fail_as_lease(r, l, why) : 0;
}

int leases_release(sd_bus *bus, const DomainLease *l, char **why) {
        return do_with(bus, l, release, -EBADF, why);
}

int leases_renew(sd_bus *bus, const DomainLease *l, char **why) {
        return do_with(bus, l, renew, -EBADF, why);
}

int leases_confirm(sd_bus *bus, const DomainLease *l, int pidfd, char **why) {
        return do_with(bus, l, dmaowner_lease_confirm, pidfd, why);
}
