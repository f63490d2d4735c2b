/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Who may: the entries of "access" (of a rule: who may take its devices) and of "manage" (who may do
 * what with leases and groups of others). Entries are tried in order, and the first one that matches
 * who asks and what for decides, with its limits.
 */

#include <stdint.h>

#include "core/registry.h"

typedef enum Decision {
        DECISION_DENY,
        DECISION_ALLOW,
        DECISION_ASK, /* an administrator, by polkit */
        _DECISION_MAX,
        _DECISION_INVALID = -EINVAL,
} Decision;

const char *decision_to_string(Decision d);
Decision decision_from_string(const char *s);

/* What can be done to what is somebody else's. */
typedef enum ManageAction {
        MANAGE_SEE,        /* "see": owner and label of a lease */
        MANAGE_RELEASE,    /* "release" */
        MANAGE_REVOKE,     /* "revoke" */
        MANAGE_RENEW,      /* "renew": Renew and Confirm */
        MANAGE_OPEN,       /* "open": the files that are lent */
        MANAGE_ADMINISTER, /* "administer": Retry, Accept, Restore, MarkClean */
        MANAGE_RELOAD,     /* "reload" */
        _MANAGE_ACTION_MAX,
        _MANAGE_ACTION_INVALID = -EINVAL,
} ManageAction;

const char *manage_action_to_string(ManageAction a);
ManageAction manage_action_from_string(const char *s);

/* Users, or groups of users, by the names that are written, and the numbers that these are here. */
typedef struct Accounts {
        char **names; /* NULL: nothing is said */
        uint32_t *ids;
        size_t n_ids;
} Accounts;

void accounts_clear(Accounts *a);
/* 0 or -ENOMEM */
int accounts_add_id(Accounts *a, uint32_t id);
bool accounts_have(const Accounts *a, uint32_t id);

typedef struct AccessEntry {
        char *origin;   /* "/etc/dmaownerd/dmaownerd.json:7"; NULL: what holds without any file */
        Accounts users; /* one of users, groups or units has to match; nothing said: everybody does */
        Accounts groups;
        char **units;            /* patterns */
        bool privileged, member; /* of those that hold without any file */
        unsigned kinds;          /* bits 1 << OwnerKind; 0: all. Of "access" */
        unsigned actions;        /* bits 1 << ManageAction; 0: all. Of "manage" */
        char **owners;           /* patterns. NULL: names without ":", and where it denies all */
        Decision decision;
        /* limits of what is allowed */
        char **types;     /* default domain types; NULL: all */
        uint64_t max_ttl; /* microseconds; 0: none */
        int priority_min;
        int priority_max;
        bool force;         /* what the host uses may be taken */
        Accounts for_users; /* others whom the nodes may be given to */
        bool for_anybody;
} AccessEntry;

#define ACCESS_ENTRY_NULL ((AccessEntry){ .decision = DECISION_ALLOW })
void access_entry_clear(AccessEntry *e);
#define _cleanup_access_entry_ _cleanup_(access_entry_clear)

typedef struct AccessList {
        AccessEntry *items;
        size_t n;
} AccessList;

void access_list_clear(AccessList *l);
/* Takes the contents over. 0 or -ENOMEM. */
int access_list_add(AccessList *l, AccessEntry *e);

/* The first that matches; NULL: none. */
const AccessEntry *access_list_find(const AccessList *l, const Request *request);
const AccessEntry *access_list_find_action(const AccessList *l, const Caller *caller,
                                           ManageAction action);

/* What of an entry that does not deny is too much: 0, or -ECANCELED with AccessDenied. */
int access_entry_check_limits(const AccessEntry *e, const Request *request, Fault *fault);
/* "the rule at FILE:LINE", for messages. Release it. NULL: no memory. */
char *access_entry_describe(const AccessEntry *e);
