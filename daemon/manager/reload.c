/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The policy's files are read at the start and whenever somebody says so. */

#include <string.h>

#include "config/accounts.h"
#include "config/policy-file.h"
#include "manager/manager-internal.h"
#include "util/log.h"
#include "util/strings.h"

static int read_policy(Policy **ret, char **ret_message) {
        _cleanup_(strv_freep) char **warnings = NULL;
        int r = policy_read(ret, ret_message);

        if (r == 0)
                r = policy_resolve_accounts(*ret, &warnings);
        for (char **warning = warnings; warning && *warning; warning++)
                log_warning("%s", *warning);
        if (r < 0 && !*ret_message)
                *ret_message = str_format("%s: %s", policy_folder(), strerror(-r));
        return r;
}

int manager_load_policy(Manager *m) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        _cleanup_free_ char *message = NULL;
        int r;

        r = read_policy(&policy, &message);
        if (r < 0) {
                if (!message)
                        return -ENOMEM;
                audit_policy_refused(m->audit,
                                     "The policy cannot be used, so nothing is granted until it is put "
                                     "right and \"dmaownerctl reload\" is run",
                                     message);
                r = policy_new_closed(message, &policy);
                if (r < 0)
                        return r;
        } else
                audit_policy_read(m->audit, policy);
        manager_set_policy(m, TAKE_PTR(policy));
        return 0;
}

static int note_forbidden(Manager *m) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r = registry_note_forbidden(m->registry, &c);

        (void)manager_commit(m, &c); /* a failed write is logged */
        return r;
}

/* What is in quarantine and would not stay there by the new policy goes back to the host. */
static int give_back(Manager *m) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r = 0;

        for (Group *g = registry_groups(m->registry); r == 0 && g; g = g->hh.next)
                if (g->state == GROUP_QUARANTINED && !plan_keeps(g, m->policy))
                        r = registry_group_give_back(m->registry, g, &c);
        (void)manager_commit(m, &c); /* a failed write is logged */
        return r;
}

int manager_reload(Manager *m, Fault *fault) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        _cleanup_free_ char *message = NULL;
        int r;

        r = read_policy(&policy, &message);
        if (r < 0) {
                audit_policy_refused(m->audit, "The policy stays as it was",
                                     message ? message : strerror(-r));
                return message ? fault_set(fault, ERROR_BAD_POLICY,
                                           "the policy stays as it was: %s", message)
                               : fault_set_oom(fault);
        }
        audit_policy_read(m->audit, policy);
        manager_set_policy(m, TAKE_PTR(policy));
        return note_forbidden(m) < 0 || give_back(m) < 0 ? fault_set_oom(fault) : 0;
}
