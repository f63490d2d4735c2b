/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager/audit.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "core/rate-limit.h"
#include "kernel/alarm.h"
#include "manager/manager-internal.h"
#include "util/log.h"
#include "util/strings.h"

#define MINUTE 60000000ULL

/* Of one user, in a minute. What keeps the kernel busy limits itself, and is never left out. */
#define REFUSALS_BURST 30
#define CALLS_BURST    120
#define LEASES_BURST   120

#define MESSAGE_SIZE 1024
/* Fields for single devices, to find an entry by; journald takes no more than 1024 fields. */
#define DEVICE_FIELDS 512

struct Audit {
        Manager *m;
        bool journal; /* stderr is the journal */
        RateLimit refusals;
        RateLimit calls;
        RateLimit leases; /* that cost the kernel nothing */
        sd_event_source *collect;
};

typedef struct Record {
        Audit *audit;
        AuditEvent event;
        char message[MESSAGE_SIZE];
        char **fields;
        size_t n_devices;
} Record;

/* records */

static void record_begin(Record *r, Audit *a, AuditEvent event, const char *fmt, ...)
        _printf_(4, 5);
static void record_begin(Record *r, Audit *a, AuditEvent event, const char *fmt, ...) {
        char text[2 * MESSAGE_SIZE];
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        *r = (Record){ .audit = a, .event = event };
        (void)audit_text(r->message, sizeof(r->message), text);
}

/* For want of memory a field is left out: the message says the most of it. */
static void record_add(Record *r, const char *name, const char *fmt, ...) _printf_(3, 4);
static void record_add(Record *r, const char *name, const char *fmt, ...) {
        _cleanup_free_ char *value = NULL, *field = NULL;
        va_list ap;
        int n;

        if (!r->audit->journal)
                return;
        va_start(ap, fmt);
        n = vasprintf(&value, fmt, ap);
        va_end(ap);
        if (n < 0)
                value = NULL;
        if (value)
                field = str_format("%s=%s", name, audit_text(value, (size_t)n + 1, value));
        if (!field || strv_extend(&r->fields, field) < 0)
                log_error("Out of memory");
}

static void record_add_device(Record *r, const char *device) {
        if (r->n_devices++ < DEVICE_FIELDS)
                record_add(r, "DMAOWNER_DEVICE", "%s", device);
}

static int record_send(const Record *r) {
        size_t n = strv_length(r->fields), k = 0;
        _cleanup_free_ struct iovec *io = calloc(n + 3, sizeof(struct iovec));
        char id[64], priority[32], message[MESSAGE_SIZE + sizeof("MESSAGE=")];

        if (!io)
                return -ENOMEM;
        (void)snprintf(id, sizeof(id), "MESSAGE_ID=%s", audit_event_id(r->event));
        (void)snprintf(priority, sizeof(priority), "PRIORITY=%d", audit_event_priority(r->event));
        (void)snprintf(message, sizeof(message), "MESSAGE=%s", r->message);
        io[k++] = (struct iovec){ message, strlen(message) };
        io[k++] = (struct iovec){ id, strlen(id) };
        io[k++] = (struct iovec){ priority, strlen(priority) };
        for (size_t i = 0; i < n; i++)
                io[k++] = (struct iovec){ r->fields[i], strlen(r->fields[i]) };
        return sd_journal_sendv(io, (int)k);
}

static void record_end(Record *r) {
        if (!r->audit->journal || record_send(r) < 0)
                log_full(audit_event_priority(r->event), "%s", r->message);
        strv_free(r->fields);
}

/* what records are about */

/* Who had a device of the group had them all. */
static void add_groups(Record *r, Group *const *groups, size_t n) {
        _cleanup_free_ char *text = NULL;

        if (!r->audit->journal)
                return;
        for (size_t i = 0; i < n; i++)
                if (str_append(&text, "%s%u", i > 0 ? " " : "", groups[i]->id) < 0)
                        log_error("Out of memory");
        if (text)
                record_add(r, "DMAOWNER_GROUPS", "%s", text);
        for (size_t i = 0; i < n; i++) {
                record_add(r, "DMAOWNER_GROUP", "%u", groups[i]->id);
                for (const Device *d = groups[i]->devices; d; d = d->next)
                        record_add_device(r, d->facts.name);
        }
}

/* The groups of these devices, each once. */
static void add_groups_of(Record *r, char *const *devices) {
        _cleanup_free_ Group **groups = calloc(strv_length(devices) + 1, sizeof(Group *));
        size_t n = 0;

        if (!groups) {
                log_error("Out of memory");
                return;
        }
        for (char *const *name = devices; name && *name; name++) {
                const Device *d = registry_device(r->audit->m->registry, *name);
                size_t i = 0;

                if (!d || !d->group) {
                        record_add_device(r, *name); /* a selector, or it is gone */
                        continue;
                }
                while (i < n && groups[i] != d->group)
                        i++;
                groups[i] = d->group;
                n += i == n;
        }
        add_groups(r, groups, n);
}

static void add_devices(Record *r, char *const *devices) {
        _cleanup_free_ char *text = strv_join(devices, " ");

        if (!str_empty(text))
                record_add(r, "DMAOWNER_DEVICES", "%s", text);
}

static void add_owner(Record *r, const Owner *owner) {
        if (!owner->name)
                return;
        record_add(r, "DMAOWNER_OWNER", "%s", owner->name);
        record_add(r, "DMAOWNER_UID", "%u", (unsigned)owner->uid);
}

static void add_holder(Record *r, const Request *request) {
        if (request->holder == HOLDER_PROCESS)
                record_add(r, "DMAOWNER_HOLDER", "process %d", (int)request->holder_pid);
        else
                record_add(r, "DMAOWNER_HOLDER", "%s", holder_type_to_string(request->holder));
}

static void add_lease(Record *r, const Lease *l) {
        const Request *request = &l->request;

        if (!r->audit->journal)
                return;
        record_add(r, "DMAOWNER_LEASE", "%s", l->id);
        add_owner(r, &request->owner);
        record_add(r, "DMAOWNER_KIND", "%s", owner_kind_to_string(request->terms.kind));
        if (request->terms.kind == OWNER_KIND_USER) {
                record_add(r, "DMAOWNER_ACCESS", "%s", access_to_string(request->terms.access));
                if (request->uid != request->owner.uid)
                        record_add(r, "DMAOWNER_NODE_UID", "%u", (unsigned)request->uid);
        }
        if (request->label)
                record_add(r, "DMAOWNER_LABEL", "%s", request->label);
        add_holder(r, request);
        add_devices(r, request->devices);
        if (l->n_groups > 0)
                add_groups(r, l->groups, l->n_groups);
        else
                add_groups_of(r, request->devices); /* it has none any more, or none yet */
}

static void record_begin_lease(Record *r, Audit *a, AuditEvent event, const Lease *l,
                               const char *what, const char *why) {
        _cleanup_free_ char *devices = strv_join(l->request.devices, " ");

        record_begin(r, a, event, "Lease %s of %s (uid %u) on %s: %s%s%s", l->id,
                     l->request.owner.name, (unsigned)l->request.owner.uid, devices ? devices : "?",
                     what, str_empty(why) ? "" : ": ", str_empty(why) ? "" : why);
        add_lease(r, l);
        if (!str_empty(why))
                record_add(r, "DMAOWNER_REASON", "%s", why);
}

/* leases */

static void collect_later(Audit *a) {
        const RateLimit *const limits[] = { &a->refusals, &a->calls, &a->leases };
        uint64_t first = UINT64_MAX;

        for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
                uint64_t deadline = rate_limit_deadline(limits[i]);

                first = deadline < first ? deadline : first;
        }
        alarm_set(a->collect, first);
}

static bool take(Audit *a, RateLimit *limit, uid_t uid) {
        bool said = rate_limit_take(limit, uid, manager_now(a->m));

        if (!said)
                collect_later(a);
        return said;
}

/* Who asked, and which entries of the policy allowed it. */
static void add_authority(Record *r, const Request *request) {
        _cleanup_(strv_freep) char **rules = NULL;

        if (!r->audit->journal)
                return;
        record_add(r, "DMAOWNER_CALLER_UID", "%u", (unsigned)request->caller.uid);
        if (request->caller.unit)
                record_add(r, "DMAOWNER_CALLER_UNIT", "%s", request->caller.unit);
        if (request->authorised)
                record_add(r, "DMAOWNER_AUTHORISED", "yes");
        for (char *const *name = request->devices; name && *name; name++) {
                const Device *d = registry_device(r->audit->m->registry, *name);
                const AccessEntry *e = d ? policy_decide(r->audit->m->policy, request, d) : NULL;

                if (!e || !e->origin || strv_contains(rules, e->origin))
                        continue;
                record_add(r, "DMAOWNER_RULE", "%s", e->origin);
                if (strv_extend(&rules, e->origin) < 0)
                        log_error("Out of memory");
        }
}

void audit_granted(Audit *a, Lease *l) {
        const Request *request = &l->request;
        bool queued = l->state == LEASE_QUEUED;
        char asked[64] = "";
        Record r;

        /* what costs the kernel nothing a client may have any number of in a minute */
        l->audited = l->state == LEASE_ACTIVATING || take(a, &a->leases, l->request.owner.uid);
        l->audited_state = l->state;
        if (!l->audited)
                return;
        if (request->caller.uid != request->owner.uid)
                (void)snprintf(asked, sizeof(asked), "asked for by uid %u",
                               (unsigned)request->caller.uid);
        record_begin_lease(&r, a, queued ? AUDIT_EVENT_QUEUED : AUDIT_EVENT_GRANTED, l,
                           queued                     ? "queued"
                           : l->state == LEASE_ACTIVE ? "granted, active"
                                                      : "granted",
                           asked);
        add_authority(&r, request);
        record_end(&r);
}

void audit_forced(Audit *a, const Lease *l, const Obstacles *obstacles) {
        _cleanup_free_ char *text = obstacles_describe(obstacles, true);
        Record r;

        record_begin_lease(&r, a, AUDIT_EVENT_FORCED, l, "takes what the host uses", text);
        record_end(&r);
}

static void audit_failure(Audit *a, AuditEvent event, const Lease *l) {
        Record r;

        record_begin_lease(&r, a, event, l, lease_state_to_string(l->state), l->failure.message);
        if (fault_is_set(&l->failure))
                record_add(&r, "DMAOWNER_ERROR", "%s", error_code_to_string(l->failure.code));
        record_end(&r);
}

static void audit_state(Audit *a, AuditEvent event, const Lease *l, const char *why) {
        Record r;

        record_begin_lease(&r, a, event, l, lease_state_to_string(l->state), why);
        record_end(&r);
}

static void audit_lease(Audit *a, Lease *l) {
        bool free_of_charge;

        if (!l->audited || l->audited_state == l->state)
                return;
        /* until the host is known not to need the devices it is in the queue, for all that others know */
        if (l->asking && !lease_state_is_over(l->state))
                return;
        free_of_charge = l->audited_state != LEASE_ACTIVATING && !lease_state_is_over(l->state);
        l->audited_state = l->state;
        if (free_of_charge && !take(a, &a->leases, l->request.owner.uid))
                return;
        switch (l->state) {
        case LEASE_ACTIVE:
                audit_state(a, AUDIT_EVENT_ACTIVE, l, NULL);
                break;
        case LEASE_UNCONFIRMED:
                audit_state(a, AUDIT_EVENT_UNCONFIRMED, l, "its files are open");
                break;
        case LEASE_REVOKING:
                audit_state(a, AUDIT_EVENT_REVOKING, l, l->revocation.reason);
                break;
        case LEASE_ENDED:
                audit_state(a, AUDIT_EVENT_ENDED, l, l->ended);
                break;
        case LEASE_FAILED:
                audit_failure(a, AUDIT_EVENT_FAILED, l);
                break;
        case LEASE_LOST:
                audit_failure(a, AUDIT_EVENT_LOST, l);
                break;
        case LEASE_QUEUED:
        case LEASE_ACTIVATING: /* see audit_granted() */
        case LEASE_DRAINING:
        case _LEASE_STATE_MAX:
        case _LEASE_STATE_INVALID:
                break;
        }
}

/* groups */

static void add_members(Record *r, const Group *g) {
        _cleanup_free_ char *text = NULL;

        for (const Device *d = g->devices; d && r->audit->journal; d = d->next)
                if (str_append(&text, "%s%s", text ? " " : "", d->facts.name) < 0)
                        log_error("Out of memory");
        if (text)
                record_add(r, "DMAOWNER_DEVICES", "%s", text);
}

static void audit_group_event(Audit *a, AuditEvent event, Group *g, const char *what) {
        _cleanup_free_ char *names = group_device_names(g);
        const char *why = g->waits_for;
        Record r;

        record_begin(&r, a, event, "Group %u (%s): %s%s%s", g->id, names ? names : "?", what,
                     str_empty(why) ? "" : ": ", str_empty(why) ? "" : why);
        add_owner(&r, &g->owner);
        add_members(&r, g);
        add_groups(&r, &g, 1);
        if (!str_empty(why))
                record_add(&r, "DMAOWNER_REASON", "%s", why);
        record_end(&r);
}

static void audit_group(Audit *a, Group *g) {
        /* a claim that is refused ends where it began, and leaves no trace but the refusal */
        if (g->audited == g->state || g->n_devices == 0 || g->state == GROUP_CLAIMING)
                return;
        g->audited = g->state;
        switch (g->state) {
        case GROUP_FREE:
                audit_group_event(a, AUDIT_EVENT_GROUP_FREE, g, "free");
                break;
        case GROUP_QUARANTINED:
                audit_group_event(a, AUDIT_EVENT_GROUP_QUARANTINED, g, "quarantined");
                break;
        case GROUP_FAILED:
                audit_group_event(a, AUDIT_EVENT_GROUP_FAILED, g, "failed");
                break;
        case GROUP_LOST:
                audit_group_event(a, AUDIT_EVENT_GROUP_LOST, g, "lost");
                break;
        case GROUP_CLAIMING:
        case GROUP_OWNED: /* of these their leases tell */
        case GROUP_DRAINING:
        case GROUP_RESTORING:
        case _GROUP_STATE_MAX:
        case _GROUP_STATE_INVALID:
                break;
        }
}

void audit_changes(Audit *a, const Changes *c) {
        for (size_t i = 0; i < c->n_leases; i++)
                audit_lease(a, c->leases[i]);
        for (size_t i = 0; i < c->n_groups; i++)
                audit_group(a, c->groups[i]);
}

void audit_take_up(Audit *a) {
        for (Lease *l = registry_leases(a->m->registry); l; l = l->hh.next) {
                l->audited = true;
                /* what has ended it is news */
                l->audited_state = lease_state_is_over(l->state) ? LEASE_ACTIVE : l->state;
        }
}

/* calls */

static void add_call(Record *r, const AuditCall *call) {
        record_add(r, "DMAOWNER_METHOD", "%s", call->method);
        record_add(r, "DMAOWNER_CALLER_UID", "%u", (unsigned)call->uid);
        if (call->lease)
                add_lease(r, call->lease);
        else if (call->group)
                add_groups(r, (Group *[]){ call->group }, 1);
        else {
                add_devices(r, call->devices);
                add_groups_of(r, call->devices);
        }
}

/* " of lease l3 of dpdk (uid 1000)" */
static char *describe_object(const AuditCall *call) {
        _cleanup_free_ char *names = NULL;

        if (call->lease)
                return str_format(" of lease %s of %s (uid %u)", call->lease->id,
                                  call->lease->request.owner.name,
                                  (unsigned)call->lease->request.owner.uid);
        names = call->group ? group_device_names(call->group) : strv_join(call->devices, " ");
        if (names && call->group)
                return str_format(" of group %u (%s)", call->group->id, names);
        return str_empty(names) ? strdup("") : str_format(" of %s", names);
}

void audit_refused(Audit *a, const AuditCall *call, const char *error, const char *message) {
        _cleanup_free_ char *object = NULL;
        Record r;

        if (!take(a, &a->refusals, call->uid))
                return;
        object = describe_object(call);
        record_begin(&r, a, AUDIT_EVENT_REFUSED, "%s%s refused to uid %u: %s", call->method,
                     object ? object : "", (unsigned)call->uid, message);
        record_add(&r, "DMAOWNER_ERROR", "%s", error);
        record_add(&r, "DMAOWNER_REASON", "%s", message);
        add_call(&r, call);
        record_end(&r);
}

void audit_asked(Audit *a, const AuditCall *call) {
        _cleanup_free_ char *object = NULL;
        Record r;

        if (!take(a, &a->calls, call->uid))
                return;
        object = describe_object(call);
        record_begin(&r, a, AUDIT_EVENT_ASKED, "%s%s asked by uid %u", call->method,
                     object ? object : "", (unsigned)call->uid);
        add_call(&r, call);
        record_end(&r);
}

/* what was left out */

static void say_left_out(Audit *a, RateLimit *limit, uint64_t now, const char *what) {
        unsigned left_out;
        uid_t uid;

        while (rate_limit_collect(limit, now, &uid, &left_out)) {
                Record r;

                if (uid == RATE_LIMIT_NOBODY)
                        record_begin(&r, a, AUDIT_EVENT_LEFT_OUT, "%u more %s of many users",
                                     left_out, what);
                else
                        record_begin(&r, a, AUDIT_EVENT_LEFT_OUT, "%u more %s of uid %u", left_out,
                                     what, (unsigned)uid);
                if (uid != RATE_LIMIT_NOBODY)
                        record_add(&r, "DMAOWNER_CALLER_UID", "%u", (unsigned)uid);
                record_add(&r, "DMAOWNER_REASON", "%u more %s in a minute", left_out, what);
                record_end(&r);
        }
}

static void collect(Audit *a, uint64_t now) {
        say_left_out(a, &a->refusals, now, "refusals");
        say_left_out(a, &a->calls, now, "calls");
        say_left_out(a, &a->leases, now, "changes of leases");
}

static int on_collect(sd_event_source *source, uint64_t usec, void *userdata) {
        Audit *a = userdata;

        collect(a, manager_now(a->m));
        collect_later(a);
        return 0;
}

/* the policy */

void audit_policy_read(Audit *a, const Policy *policy) {
        Record r;

        record_begin(&r, a, AUDIT_EVENT_POLICY_READ, "The policy was read: %zu rules", policy->n);
        record_end(&r);
}

void audit_policy_refused(Audit *a, const char *what, const char *why) {
        Record r;

        record_begin(&r, a, AUDIT_EVENT_POLICY_REFUSED, "%s: %s", what, why);
        record_add(&r, "DMAOWNER_REASON", "%s", why);
        record_end(&r);
}

/* life */

/* As systemd.exec(5) says of JOURNAL_STREAM. */
static bool stderr_is_journal(void) {
        const char *given = getenv("JOURNAL_STREAM");
        char text[64];
        struct stat st;

        if (!given || fstat(STDERR_FILENO, &st) < 0)
                return false;
        (void)snprintf(text, sizeof(text), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
        return strcmp(text, given) == 0;
}

int audit_new(Manager *m, Audit **ret) {
        Audit *a = calloc(1, sizeof(Audit));
        int r;

        if (!a)
                return -ENOMEM;
        *a = (Audit){
                .m = m,
                .journal = stderr_is_journal(),
                .refusals = { .burst = REFUSALS_BURST, .interval = MINUTE },
                .calls = { .burst = CALLS_BURST, .interval = MINUTE },
                .leases = { .burst = LEASES_BURST, .interval = MINUTE },
        };
        r = alarm_new(m->event, on_collect, a, &a->collect);
        if (r < 0) {
                free(a);
                return r;
        }
        *ret = a;
        return 0;
}

Audit *audit_free(Audit *a) {
        if (!a)
                return NULL;
        collect(a, UINT64_MAX);
        sd_event_source_disable_unref(a->collect);
        free(a);
        return NULL;
}
