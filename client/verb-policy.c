/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "client/bus.h"
#include "client/names.h"
#include "client/report.h"
#include "client/request.h"
#include "client/verbs.h"
#include "config/accounts.h"
#include "config/policy-file.h"
#include "util/strings.h"

#define GROUPS_MAX 1024

int verb_reload(const Options *o) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = bus_connect(o, &bus);
        return r != 0 ? r : bus_call(bus, BUS_ROOT, INTERFACE_MANAGER, "Reload", NULL, "");
}

/* Needs no daemon: the file may be one that is not installed yet. */
static int check(const Options *o) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        _cleanup_(strv_freep) char **warnings = NULL;
        _cleanup_free_ char *message = NULL;
        const char *path = o->operands[1];
        int r;

        if (o->n_operands != 2)
                return report(STATUS_USAGE, NULL, "usage: dmaownerctl policy check FILE");
        r = policy_new(&policy);
        if (r == 0)
                r = policy_read_file(policy, path, &message);
        if (r == 0)
                r = policy_resolve_accounts(policy, &warnings);
        for (char **warning = warnings; warning && *warning; warning++)
                report_note("%s", *warning);
        if (r == 0) {
                printf("%s is right: %zu rule%s\n", path, policy->n, policy->n == 1 ? "" : "s");
                return 0;
        }
        return message ? report(STATUS_ERROR, "dmaownerd.json(5) has all keys", "%s", message)
                       : report_errno(r, path);
}

/* Somebody of this host, as the numbers that the daemon knows. */
static int append_account(sd_bus_message *m, const char *name) {
        int n = GROUPS_MAX;
        gid_t groups[GROUPS_MAX];
        unsigned long long number;
        const struct passwd *pw = parse_u64(name, 10, &number) == 0 ? getpwuid((uid_t)number)
                                                                    : getpwnam(name);
        int r;

        if (!pw)
                return -ESRCH;
        if (getgrouplist(pw->pw_name, pw->pw_gid, groups, &n) < 0)
                return -E2BIG;
        r = sd_bus_message_append(m, "u", (uint32_t)pw->pw_uid);
        if (r >= 0)
                r = sd_bus_message_append_array(m, 'u', groups, (size_t)n * sizeof(gid_t));
        return r < 0 ? r : sd_bus_message_append(m, "s", "");
}

static int print_decision(sd_bus_message *reply, const char *user) {
        const char *decision, *rule, *reason;
        int r = sd_bus_message_read(reply, "sss", &decision, &rule, &reason);

        if (r < 0)
                return report_errno(r, "TestPolicy");
        printf("%s: %s, by %s%s\n", user,
               str_eq(decision, "allow") ? "allowed"
               : str_eq(decision, "ask") ? "an administrator is asked"
                                         : "denied",
               str_empty(rule) ? "what holds without a rule" : "the rule at ", rule);
        if (str_eq(decision, "deny"))
                printf("  %s\n", reason);
        return str_eq(decision, "deny") ? STATUS_DENIED : 0;
}

static int test(const Options *o) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        const char *user = o->operands[1];
        Options devices = *o;
        int r;

        if (o->n_operands < 3)
                return report(STATUS_USAGE, NULL, "usage: dmaownerctl policy test USER DEVICE...");
        devices.operands += 2;
        devices.n_operands -= 2;
        r = bus_connect(o, &bus);
        if (r != 0)
                return r;
        r = sd_bus_message_new_method_call(bus, &m, BUS_NAME, BUS_ROOT, INTERFACE_MANAGER,
                                           "TestPolicy");
        if (r >= 0)
                r = append_account(m, user);
        if (r == -ESRCH)
                return report(STATUS_USAGE, NULL, "there is no user %s on this host", user);
        if (r >= 0)
                r = request_append_options(m, &devices);
        if (r < 0)
                return report_errno(r, "TestPolicy");
        r = sd_bus_call(bus, m, 0, &error, &reply);
        if (r < 0)
                return report_error(error.name, error.message);
        return print_decision(reply, user);
}

int verb_policy(const Options *o) {
        if (str_eq(o->operands[0], "check"))
                return check(o);
        if (str_eq(o->operands[0], "test"))
                return test(o);
        return report(STATUS_USAGE, NULL, "policy wants: check FILE, or test USER DEVICE...");
}

/* What administrators say of devices, one after the other. */
static int call_for_devices(const Options *o, const char *method) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = bus_connect(o, &bus);
        for (size_t i = 0; r == 0 && i < o->n_operands; i++) {
                _cleanup_free_ char *name = device_name_normalise(o->operands[i]);

                if (!name)
                        return report_errno(-ENOMEM, method);
                r = bus_call(bus, BUS_ROOT, INTERFACE_MANAGER, method, NULL, "as", 1, name);
        }
        return r;
}

int verb_clean(const Options *o) {
        return call_for_devices(o, "MarkClean");
}

int verb_restore(const Options *o) {
        return call_for_devices(o, "Restore");
}
