/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/exit-status.h"

#include "util/strings.h"

#define DBUS "org.freedesktop.DBus.Error."
#define OURS "org.dmaowner1.Error."

#define HINT_DENIED   "ask root, or become a member of the group dmaowner and log in again"
#define HINT_START    "start it with \"systemctl start dmaownerd\""
#define HINT_RESTART  "see \"systemctl status dmaownerd\" and \"journalctl -u dmaownerd\""
#define HINT_DEVICES  "\"dmaownerctl list\" shows all devices and their groups"
#define HINT_EXPLAIN  "\"dmaownerctl explain DEVICE...\" shows all that is in the way"
#define HINT_VERSIONS "daemon and client are of different versions: see \"dmaownerctl status\""

typedef struct ErrorInfo {
        const char *name; /* one that ends with a dot stands for all that begin so */
        ExitStatus status;
        const char *hint;
} ErrorInfo;

static const ErrorInfo errors[] = {
        { OURS "Busy", STATUS_BUSY, "\"dmaownerctl list\" shows who holds it" },
        { OURS "Quarantined", STATUS_BUSY, HINT_DEVICES },
        { OURS "NotViable", STATUS_NOT_VIABLE, HINT_EXPLAIN },
        { OURS "InUse", STATUS_NOT_VIABLE, HINT_EXPLAIN },
        { OURS "TimedOut", STATUS_TIMED_OUT, "\"dmaownerctl list\" shows what the group waits for" },
        { OURS "NoSuchDevice", STATUS_ERROR, HINT_DEVICES },
        { OURS "NoSuchGroup", STATUS_ERROR, HINT_DEVICES },
        { OURS "NoSuchLease", STATUS_ERROR, "\"dmaownerctl list\" shows all leases" },
        { OURS "NoIommu", STATUS_ERROR,
          "switch the IOMMU on in the firmware and, for Intel, boot with intel_iommu=on" },
        { OURS "BadPolicy", STATUS_ERROR, "dmaownerd.json(5) has all keys" },
        { OURS "KernelRefused", STATUS_ERROR, "\"journalctl -k\" may have the kernel's reason" },
        { DBUS "InvalidArgs", STATUS_USAGE, "see \"dmaownerctl VERB --help\"" },
        { DBUS "AccessDenied", STATUS_DENIED, HINT_DENIED },
        { DBUS "AuthFailed", STATUS_DENIED, HINT_DENIED },
        { DBUS "InteractiveAuthorizationRequired", STATUS_DENIED, HINT_DENIED },
        { DBUS "Timeout", STATUS_TIMED_OUT, HINT_RESTART },
        { DBUS "TimedOut", STATUS_TIMED_OUT, HINT_RESTART },
        { DBUS "ServiceUnknown", STATUS_NO_DAEMON, HINT_START },
        { DBUS "NameHasNoOwner", STATUS_NO_DAEMON, HINT_START },
        { DBUS "NoServer", STATUS_NO_DAEMON, HINT_START },
        { DBUS "Spawn.", STATUS_NO_DAEMON, HINT_RESTART },
        { "org.freedesktop.systemd1.", STATUS_NO_DAEMON, HINT_RESTART },
        { DBUS "NoReply", STATUS_NO_DAEMON, HINT_RESTART },
        { DBUS "Disconnected", STATUS_NO_DAEMON, HINT_RESTART },
        { DBUS "UnknownMethod", STATUS_ERROR, HINT_VERSIONS },
        { DBUS "UnknownInterface", STATUS_ERROR, HINT_VERSIONS },
};

static const ErrorInfo *error_find(const char *name) {
        for (size_t i = 0; name && i < sizeof(errors) / sizeof(*errors); i++) {
                const char *known = errors[i].name;

                if (known[strlen(known) - 1] == '.' ? str_starts(name, known)
                                                    : strcmp(name, known) == 0)
                        return &errors[i];
        }
        return NULL;
}

ExitStatus status_from_error(const char *name) {
        const ErrorInfo *e = error_find(name);

        return e ? e->status : STATUS_ERROR;
}

const char *hint_from_error(const char *name) {
        const ErrorInfo *e = error_find(name);

        return e ? e->hint : NULL;
}
