/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What was decided stands in the journal, with fields to find it by: docs/audit.md. Where stderr is not
 * the journal, only the line for people is written, there. Nothing here fails: a decision is not taken
 * back because it could not be written down.
 */

#include "core/audit-event.h"
#include "manager/manager.h"

int audit_new(Manager *m, Audit **ret);
/* Says what has been left out so far. */
Audit *audit_free(Audit *a);

/* A call of a method, as far as it matters to those who read of it later. */
typedef struct AuditCall {
        uid_t uid;
        const char *method;
        const Lease *lease; /* what it is about; NULL: nothing of the kind */
        Group *group;
        char *const *devices;
} AuditCall;

void audit_refused(Audit *a, const AuditCall *call, const char *error, const char *message);
/* The caller may do what he asks for, and it is about to be done. */
void audit_asked(Audit *a, const AuditCall *call);

/* The lease is its requester's, or it is queued. */
void audit_granted(Audit *a, Lease *l);
/* The lease takes what the host needs. */
void audit_forced(Audit *a, const Lease *l, const Obstacles *obstacles);
/* What became of leases and groups that are known of. */
void audit_changes(Audit *a, const Changes *c);
/* After a restart: what is there is no news. */
void audit_take_up(Audit *a);

void audit_policy_read(Audit *a, const Policy *policy);
/* what: comes of it; why: what is wrong, and where. */
void audit_policy_refused(Audit *a, const char *what, const char *why);
