/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a device has seen since the host had it last: the gate between two owners. Where policy wants
 * a reset or a scrub, the device remembers its last owner in user space until both are done; nobody
 * else gets it before. The record outlives the lease, the daemon and, in the manager's ledger, the
 * boot: data on a disk does.
 */

#include "core/policy.h"

/* What the policy says of the device now. c may be NULL. 0 or -ENOMEM. */
int device_apply_policy(Device *d, const Policy *p, Changes *c);

/* Remembers whoever holds the group, if it is held by user space and policy wants it. 1 if the record
 * is new or another than before, 0 if not, or -ENOMEM. */
int device_note_use(Device *d, Changes *c);
/* It was reset while nobody could touch it. 1 if the record has changed. */
int device_note_reset(Device *d, Changes *c);
/* It is clean: scrubbed, or somebody who knows says so. */
int device_note_clean(Device *d, Changes *c);
/* The unit that scrubs it begins; it has failed, and why. */
int device_note_scrubbing(Device *d, Changes *c);
int device_note_not_scrubbed(Device *d, const char *why, Changes *c);

/* Is there a unit to be started for it now? */
bool device_wants_scrub(const Device *d);
/* "dmaowner-scrub@0000:3b:00.0.service": nothing of a PCI address has to be escaped. NULL: no memory. */
char *device_scrub_unit(const Device *d);

/* Who had it (named) or "somebody else", and what it waits for, for people: "" if it is for everybody, or
 * leased. 0 or -ENOMEM. */
int device_describe_gate(const Device *d, bool named, char **ret);
/* Refuses the group with Quarantined if one of its devices is held back from that owner. fault may be
 * NULL: then this is only a question. */
int group_check_gate(const Group *g, const Request *request, Fault *fault);
/* The same in words that name nobody: "" if it is not held back. 0 or -ENOMEM. */
int group_describe_gate(const Group *g, const Owner *owner, char **ret);
/* Refuses it with AccessDenied if policy gives one of its devices to nobody. */
int group_check_protected(const Group *g, Fault *fault);

/* What will not be undone when the lease ends, for its owner to know; "" if nothing. 0 or -ENOMEM. */
int lease_describe_warning(const Lease *l, char **ret);
