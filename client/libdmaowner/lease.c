/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/libdmaowner/lease.h"

#include <fcntl.h>
#include <time.h>

#include "client/libdmaowner/error.h"
#include "client/libdmaowner/request.h"
#include "util/strings.h"

#define USEC_PER_SEC 1000000ULL

/* ---- Life ---- */

dmaowner_lease *dmaowner_lease_ref(dmaowner_lease *l) {
        l->n_ref++;
        return l;
}

static void widen(dmaowner_lease *l, bool wide) {
        if (l->is_wide && !wide)
                connection_narrow(l->o);
        l->is_wide = wide;
}

dmaowner_lease *dmaowner_lease_unref(dmaowner_lease *l) {
        if (!l || --l->n_ref > 0)
                return NULL;
        *l->link = l->next;
        if (l->next)
                l->next->link = l->link;
        for (size_t i = 0; i < _OPERATION_MAX; i++)
                sd_bus_slot_unref(l->calls[i]);
        sd_bus_slot_unref(l->match);
        widen(l, false);
        files_clear(&l->files);
        properties_clear(&l->properties);
        safe_close(l->lifeline);
        free(l->path);
        free(l->ended);
        free(l->name);
        free(l->message);
        dmaowner_unref(l->o);
        free(l);
        return NULL;
}

DEFINE_CLEANUP(dmaowner_lease *, dmaowner_lease_unref);
#define _cleanup_lease_   _cleanup_(dmaowner_lease_unrefp)
#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)

/* Before the path is known, so that no signal is missed. */
static int lease_new(dmaowner *o, dmaowner_lease **ret) {
        dmaowner_lease *l;
        int r;

        r = connection_widen(o);
        if (r < 0)
                return r;
        l = calloc(1, sizeof(*l));
        if (!l) {
                connection_narrow(o);
                return -ENOMEM;
        }
        l->n_ref = 1;
        l->o = dmaowner_ref(o);
        l->is_wide = true;
        l->lifeline = -1;
        l->next = o->leases;
        l->link = &o->leases;
        if (l->next)
                l->next->link = &l->next;
        o->leases = l;
        *ret = l;
        return 0;
}

static void lease_tell(dmaowner_lease *l) {
        if (l->callback)
                l->callback(l, l->userdata);
}

/* ---- Errors ---- */

static void clear_error(dmaowner_lease *l) {
        l->error = 0;
        free(l->name);
        free(l->message);
        l->name = l->message = NULL;
}

/* The first is the cause. For want of memory it has no words. */
static void set_error(dmaowner_lease *l, int error, const char *name, const char *message) {
        if (l->error < 0)
                return;
        l->error = error;
        (void)str_set(&l->name, name);
        (void)str_set(&l->message, message);
}

int lease_settle(dmaowner_lease *l, int r) {
        if (r < 0)
                set_error(l, r, NULL, NULL);
        lease_tell(l);
        return 0;
}

/* ---- Calls ---- */

int lease_new_call(dmaowner_lease *l, sd_bus_message **ret, const char *interface,
                   const char *method) {
        return sd_bus_message_new_method_call(l->o->bus, ret, BUS_NAME, l->path, interface, method);
}

static bool is_busy(const dmaowner_lease *l) {
        for (size_t i = 0; i < _OPERATION_MAX; i++)
                if (l->calls[i])
                        return true;
        return false;
}

int lease_start(dmaowner_lease *l, Operation operation, sd_bus_message *m,
                sd_bus_message_handler_t handler) {
        /* for ever: the daemon takes its time if it has much to do, and the bus tells if it is no more */
        int r = sd_bus_call_async(l->o->bus, &l->calls[operation], m, handler, l, UINT64_MAX);

        return r < 0 ? r : 0;
}

int lease_answered(dmaowner_lease *l, Operation operation, sd_bus_message *m) {
        const sd_bus_error *e = sd_bus_message_get_error(m);

        l->calls[operation] = sd_bus_slot_unref(l->calls[operation]);
        if (!e)
                return 0;
        set_error(l, -errno_of_error(e), e->name, e->message);
        return l->error;
}

int lease_begin(dmaowner_lease *l, Operation operation) {
        if (l->calls[operation])
                return -EBUSY;
        if (!l->path)
                return -ENOTCONN;
        if (!is_busy(l))
                clear_error(l);
        return 0;
}

static int begin_call(dmaowner_lease *l, Operation operation, const char *method,
                      sd_bus_message **ret) {
        int r = lease_begin(l, operation);

        return r < 0 ? r : lease_new_call(l, ret, INTERFACE_LEASE, method);
}

/* ---- What it is like ---- */

static bool state_is(const dmaowner_lease *l, const char *state) {
        return str_eq(l->properties.state, state);
}

static void note_failure(dmaowner_lease *l) {
        _cleanup_(sd_bus_error_free) sd_bus_error e = SD_BUS_ERROR_NULL;

        if (str_empty(l->properties.failure_name))
                return;
        if (sd_bus_error_set(&e, l->properties.failure_name, l->properties.failure_message) ==
            -ENOMEM)
                set_error(l, -ENOMEM, NULL, NULL);
        else
                set_error(l, -errno_of_error(&e), e.name, e.message);
}

/* The daemon that was asked may die meanwhile: it is asked again when it is back. */
static bool is_away(const sd_bus_error *e) {
        return sd_bus_error_has_name(e, SD_BUS_ERROR_NO_REPLY) ||
               sd_bus_error_has_name(e, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
               sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER);
}

static int on_looked(sd_bus_message *m, void *userdata, sd_bus_error *e);

static int look(dmaowner_lease *l) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        l->look_again = l->calls[OPERATION_LOOK];
        if (l->look_again)
                return 0;
        r = lease_new_call(l, &m, INTERFACE_PROPERTIES, "GetAll");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", INTERFACE_LEASE);
        return r < 0 ? r : lease_start(l, OPERATION_LOOK, m, on_looked);
}

static int on_looked(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        _cleanup_lease_ dmaowner_lease *l = dmaowner_lease_ref(userdata);
        int r = 0;

        if (sd_bus_message_is_method_error(m, NULL) &&
            (l->look_again || l->ended ||
             (is_away(sd_bus_message_get_error(m)) && !l->o->bus_is_gone)))
                l->calls[OPERATION_LOOK] = sd_bus_slot_unref(l->calls[OPERATION_LOOK]);
        else if (lease_answered(l, OPERATION_LOOK, m) == 0)
                r = properties_read(&l->properties, m);
        note_failure(l);
        if (l->look_again && r >= 0)
                r = look(l);
        return lease_settle(l, r);
}

static int on_watching(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        _cleanup_lease_ dmaowner_lease *l = dmaowner_lease_ref(userdata);

        if (!sd_bus_message_is_method_error(m, NULL))
                widen(l, false);
        return 0;
}

static int on_own_signal(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        dmaowner_lease *l = userdata;

        leases_see_signal(l->o, m);
        return 0;
}

/* The path is known: watches the lease, and looks at it. */
static int lease_known(dmaowner_lease *l, const char *path) {
        int r;

        r = str_set(&l->path, path);
        if (r == 0)
                r = sd_bus_match_signal_async(l->o->bus, &l->match, BUS_NAME, path, NULL, NULL,
                                              on_own_signal, on_watching, l);
        if (r >= 0)
                r = look(l);
        if (r >= 0 && l->release_when_known)
                r = dmaowner_lease_release(l);
        return r;
}

static int take_changed(dmaowner_lease *l, sd_bus_message *m) {
        int r = sd_bus_message_skip(m, "s");

        if (r >= 0)
                r = properties_read(&l->properties, m);
        note_failure(l);
        /* the signal with the reason is right behind: it comes before the answer to this */
        if (r >= 0 && state_is(l, "ended") && !l->ended)
                r = look(l);
        return r;
}

static int take_ended(dmaowner_lease *l, sd_bus_message *m) {
        const char *reason;
        int r = sd_bus_message_read(m, "s", &reason);

        return r < 0 ? r : str_set(&l->ended, reason);
}

static void lease_see_signal(dmaowner_lease *l, sd_bus_message *m) {
        int r = sd_bus_message_rewind(m, true); /* two matches may show it to us twice */

        if (r < 0)
                lease_settle(l, r);
        else if (sd_bus_message_is_signal(m, INTERFACE_LEASE, "Ended"))
                lease_settle(l, take_ended(l, m));
        else if (sd_bus_message_is_signal(m, INTERFACE_PROPERTIES, "PropertiesChanged"))
                lease_settle(l, take_changed(l, m));
}

/* A callback may drop any of them. */
static void for_each(dmaowner *o, void (*function)(dmaowner_lease *l, sd_bus_message *m),
                     sd_bus_message *m) {
        dmaowner_lease *l = o->leases;

        dmaowner_ref(o);
        while (l) {
                _cleanup_lease_ dmaowner_lease *current = dmaowner_lease_ref(l);

                function(current, m);
                l = current->next;
        }
        dmaowner_unref(o);
}

static void see_own_signal(dmaowner_lease *l, sd_bus_message *m) {
        if (str_eq(l->path, sd_bus_message_get_path(m)))
                lease_see_signal(l, m);
}

void leases_see_signal(dmaowner *o, sd_bus_message *m) {
        if (connection_is_from_daemon(o, m))
                for_each(o, see_own_signal, m);
}

static void see_daemon(dmaowner_lease *l, sd_bus_message *m) {
        int r = 0;

        if (l->o->bus_is_gone)
                r = -ENOTCONN;
        else if (l->path && !l->o->daemon_is_gone && !dmaowner_lease_is_over(l))
                r = look(l);
        lease_settle(l, r);
}

void leases_see_daemon(dmaowner *o) {
        for_each(o, see_daemon, NULL);
}

/* ---- Asking for it ---- */

/* Path and lifeline from the answer of Acquire. */
static int take_acquired(dmaowner_lease *l, sd_bus_message *m) {
        const char *path;
        int fd, r;

        r = sd_bus_message_read(m, "o", &path);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "h");
        if (r >= 0)
                r = sd_bus_message_read_basic(m, 'h', &fd);
        if (r < 0)
                return r;
        if (r > 0) { /* none for the other holders */
                l->lifeline = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
                if (l->lifeline < 0)
                        return -errno;
        }
        return lease_known(l, path);
}

static int take_found(dmaowner_lease *l, sd_bus_message *m) {
        const char *path;
        int r = sd_bus_message_read(m, "o", &path);

        return r < 0 ? r : lease_known(l, path);
}

static int take_answer(dmaowner_lease *l, sd_bus_message *m,
                       int (*take)(dmaowner_lease *l, sd_bus_message *m)) {
        int r;

        if (lease_answered(l, OPERATION_ACQUIRE, m) < 0)
                return 0;
        r = connection_learn_daemon(l->o, m);
        return r < 0 ? r : take(l, m);
}

static int on_acquired(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        _cleanup_lease_ dmaowner_lease *l = dmaowner_lease_ref(userdata);

        return lease_settle(l, take_answer(l, m, take_acquired));
}

static int on_found(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        _cleanup_lease_ dmaowner_lease *l = dmaowner_lease_ref(userdata);

        return lease_settle(l, take_answer(l, m, take_found));
}

static int new_manager_call(dmaowner *o, sd_bus_message **ret, const char *method) {
        return sd_bus_message_new_method_call(o->bus, ret, BUS_NAME, BUS_ROOT, INTERFACE_MANAGER,
                                              method);
}

static int ask(dmaowner *o, sd_bus_message *m, sd_bus_message_handler_t handler,
               dmaowner_lease **ret) {
        _cleanup_lease_ dmaowner_lease *l = NULL;
        int r = lease_new(o, &l);

        if (r == 0)
                r = lease_start(l, OPERATION_ACQUIRE, m, handler);
        if (r == 0)
                *ret = TAKE_PTR(l);
        return r;
}

int dmaowner_acquire(dmaowner *o, const dmaowner_request *q, dmaowner_lease **ret) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r = new_manager_call(o, &m, "Acquire");

        if (r >= 0)
                r = dmaowner_request_append(q, m);
        return r < 0 ? r : ask(o, m, on_acquired, ret);
}

int dmaowner_find(dmaowner *o, const char *id, dmaowner_lease **ret) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r = new_manager_call(o, &m, "GetLease");

        if (r >= 0)
                r = sd_bus_message_append(m, "s", id);
        return r < 0 ? r : ask(o, m, on_found, ret);
}

/* ---- What is done with it ---- */

static int on_released(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        _cleanup_lease_ dmaowner_lease *l = dmaowner_lease_ref(userdata);

        if (lease_answered(l, OPERATION_RELEASE, m) == 0)
                l->released = true;
        return lease_settle(l, 0);
}

static int on_renewed(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        _cleanup_lease_ dmaowner_lease *l = dmaowner_lease_ref(userdata);

        (void)lease_answered(l, OPERATION_RENEW, m); /* it is noted */
        return lease_settle(l, look(l));
}

static int on_confirmed(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        _cleanup_lease_ dmaowner_lease *l = dmaowner_lease_ref(userdata);

        (void)lease_answered(l, OPERATION_CONFIRM, m);
        return lease_settle(l, look(l));
}

int dmaowner_lease_release(dmaowner_lease *l) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        if (!l->path && l->calls[OPERATION_ACQUIRE]) {
                l->release_when_known = true;
                return 0;
        }
        r = begin_call(l, OPERATION_RELEASE, "Release", &m);
        return r < 0 ? r : lease_start(l, OPERATION_RELEASE, m, on_released);
}

int dmaowner_lease_renew(dmaowner_lease *l, uint64_t usec) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = begin_call(l, OPERATION_RENEW, "Renew", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "t", usec);
        return r < 0 ? r : lease_start(l, OPERATION_RENEW, m, on_renewed);
}

int dmaowner_lease_confirm(dmaowner_lease *l, int pidfd) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = begin_call(l, OPERATION_CONFIRM, "Confirm", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "h", pidfd);
        return r < 0 ? r : lease_start(l, OPERATION_CONFIRM, m, on_confirmed);
}

/* ---- Waiting ---- */

void dmaowner_lease_set_callback(dmaowner_lease *l, dmaowner_lease_callback callback,
                                 void *userdata) {
        l->callback = callback;
        l->userdata = userdata;
}

bool dmaowner_lease_is_settled(const dmaowner_lease *l) {
        if (is_busy(l))
                return false;
        return !l->path || l->error < 0 || dmaowner_lease_is_over(l) || dmaowner_lease_is_held(l);
}

static uint64_t now(void) {
        struct timespec ts = {};

        (void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail */
        return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

/* One message, or the time until the deadline. */
static int wait_a_little(sd_bus *bus, uint64_t deadline) {
        uint64_t time = now();
        int r = sd_bus_process(bus, NULL);

        if (r != 0)
                return r;
        if (time >= deadline)
                return -ETIMEDOUT;
        return sd_bus_wait(bus, deadline == UINT64_MAX ? UINT64_MAX : deadline - time);
}

int dmaowner_lease_wait(dmaowner_lease *l, uint64_t usec) {
        uint64_t time = now(), deadline = usec > UINT64_MAX - time ? UINT64_MAX : time + usec;
        int r = 0;

        dmaowner_lease_ref(l);
        while (r >= 0 && !dmaowner_lease_is_settled(l))
                r = wait_a_little(l->o->bus, deadline);
        if (r >= 0)
                r = l->error;
        if (r == 0 && !l->released && dmaowner_lease_is_over(l))
                r = -ECANCELED;
        dmaowner_lease_unref(l);
        return r;
}

/* ---- Looking at it ---- */

static const char *or_nothing(const char *s) {
        return s ? s : "";
}

int dmaowner_lease_get_error(const dmaowner_lease *l, const char **name, const char **message) {
        if (name)
                *name = or_nothing(l->name);
        if (message)
                *message = or_nothing(l->message);
        return l->error;
}

const char *dmaowner_lease_get_id(const dmaowner_lease *l) {
        return or_nothing(l->properties.id);
}

const char *dmaowner_lease_get_path(const dmaowner_lease *l) {
        return or_nothing(l->path);
}

const char *dmaowner_lease_get_state(const dmaowner_lease *l) {
        return or_nothing(l->properties.state);
}

bool dmaowner_lease_is_held(const dmaowner_lease *l) {
        return !l->ended && !l->released &&
               (state_is(l, "active") || state_is(l, "unconfirmed") || state_is(l, "revoking"));
}

bool dmaowner_lease_is_over(const dmaowner_lease *l) {
        if (l->ended || l->released || state_is(l, "failed") || state_is(l, "lost"))
                return true;
        return state_is(l, "ended") && !l->calls[OPERATION_LOOK]; /* or the reason may still come */
}

const char *dmaowner_lease_get_end(const dmaowner_lease *l) {
        return or_nothing(l->ended);
}

const char *const *dmaowner_lease_get_devices(const dmaowner_lease *l, size_t *n) {
        static const char *const nothing[] = { NULL };
        char **devices = l->properties.devices;

        if (n)
                *n = devices ? strv_length(devices) : 0;
        return devices ? (const char *const *)devices : nothing;
}

const char *dmaowner_lease_get_warning(const dmaowner_lease *l) {
        return or_nothing(l->properties.warning);
}

const char *dmaowner_lease_get_waits_for(const dmaowner_lease *l) {
        return or_nothing(l->properties.waits_for);
}

uint64_t dmaowner_lease_get_expiry(const dmaowner_lease *l) {
        return l->properties.expires;
}

uint64_t dmaowner_lease_get_revocation(const dmaowner_lease *l, const char **reason) {
        if (reason)
                *reason = or_nothing(l->properties.revocation);
        return l->properties.revocation_at;
}

int dmaowner_lease_get_lifeline(const dmaowner_lease *l) {
        return l->lifeline;
}
