/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config/accounts.h"

#include <grp.h>
#include <pwd.h>

#include "util/strings.h"

#define BUFFER_SIZE 65536

typedef int (*LookUp)(const char *name, char *buffer, uint32_t *ret);

/* 1: found; 0: there is none */
static int look_up_user(const char *name, char *buffer, uint32_t *ret) {
        struct passwd entry, *found = NULL;

        if (getpwnam_r(name, &entry, buffer, BUFFER_SIZE, &found) == ENOMEM)
                return -ENOMEM;
        if (found)
                *ret = found->pw_uid;
        return found != NULL;
}

static int look_up_group(const char *name, char *buffer, uint32_t *ret) {
        struct group entry, *found = NULL;

        if (getgrnam_r(name, &entry, buffer, BUFFER_SIZE, &found) == ENOMEM)
                return -ENOMEM;
        if (found)
                *ret = found->gr_gid;
        return found != NULL;
}

static int warn(char ***warnings, const AccessEntry *e, const char *what, const char *name) {
        _cleanup_free_ char *text = str_format("%s: there is no %s %s on this host, so this is for "
                                               "nobody",
                                               e->origin, what, name);

        return text ? strv_extend(warnings, text) : -ENOMEM;
}

static int resolve(const AccessEntry *e, Accounts *a, LookUp look_up, const char *what,
                   char ***warnings) {
        _cleanup_free_ char *buffer = a->names ? malloc(BUFFER_SIZE) : NULL;
        int r = 0;

        if (a->names && !buffer)
                return -ENOMEM;
        for (char **name = a->names; r >= 0 && name && *name; name++) {
                unsigned long long number = 0;
                uint32_t id = 0;

                if (str_eq(*name, "*"))
                        continue;
                if (parse_u64(*name, 10, &number) == 0 && number < UINT32_MAX) {
                        r = accounts_add_id(a, (uint32_t)number);
                        continue;
                }
                r = look_up(*name, buffer, &id);
                if (r >= 0)
                        r = r > 0 ? accounts_add_id(a, id) : warn(warnings, e, what, *name);
        }
        return r < 0 ? r : 0;
}

static int resolve_list(AccessList *l, char ***warnings) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < l->n; i++) {
                AccessEntry *e = &l->items[i];

                r = resolve(e, &e->users, look_up_user, "user", warnings);
                if (r == 0)
                        r = resolve(e, &e->groups, look_up_group, "group", warnings);
                if (r == 0)
                        r = resolve(e, &e->for_users, look_up_user, "user", warnings);
        }
        return r;
}

int policy_resolve_accounts(Policy *p, char ***ret_warnings) {
        int r = resolve_list(&p->manage, ret_warnings);

        for (size_t i = 0; r == 0 && i < p->n; i++)
                r = resolve_list(&p->rules[i].access, ret_warnings);
        return r;
}
