/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the journal keeps of a decision. Each kind has a message id of its own, by which it is found
 * again, also by "dmaownerctl history" and in the catalog (systemd/dmaownerd.catalog). An id never
 * changes, nor does its meaning.
 */

#include <errno.h>
#include <stddef.h>

typedef enum AuditEvent {
        AUDIT_EVENT_GRANTED,
        AUDIT_EVENT_QUEUED,
        AUDIT_EVENT_ACTIVE,
        AUDIT_EVENT_UNCONFIRMED,
        AUDIT_EVENT_REVOKING, /* it is asked to leave */
        AUDIT_EVENT_ENDED,
        AUDIT_EVENT_FAILED,
        AUDIT_EVENT_LOST,
        AUDIT_EVENT_FORCED,   /* devices that the host uses were taken all the same */
        AUDIT_EVENT_REFUSED,  /* a request */
        AUDIT_EVENT_LEFT_OUT, /* so many of one user that the journal would have nothing else */
        AUDIT_EVENT_ASKED,    /* somebody uses a right over what is not, or not only, his own */
        AUDIT_EVENT_GROUP_FREE,
        AUDIT_EVENT_GROUP_QUARANTINED,
        AUDIT_EVENT_GROUP_FAILED,
        AUDIT_EVENT_GROUP_LOST,
        AUDIT_EVENT_POLICY_READ,
        AUDIT_EVENT_POLICY_REFUSED,
        _AUDIT_EVENT_MAX,
        _AUDIT_EVENT_INVALID = -EINVAL,
} AuditEvent;

const char *audit_event_to_string(AuditEvent e);
AuditEvent audit_event_from_string(const char *s);
/* 32 hexadecimal digits */
const char *audit_event_id(AuditEvent e);
AuditEvent audit_event_from_id(const char *id);
/* As syslog(3) has them. */
int audit_event_priority(AuditEvent e);

/*
 * A text on its way to the journal or a terminal: what a client has chosen may have been chosen to look
 * like something else. Control characters become "?". What does not fit into size bytes is cut, between
 * two characters of UTF-8, and ends in "...". Returns buffer.
 */
const char *audit_text(char *buffer, size_t size, const char *text);
