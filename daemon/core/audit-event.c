/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/audit-event.h"

#include <stdbool.h>
#include <syslog.h>

#include "core/string-table.h"
#include "util/strings.h"

static const char *const names[_AUDIT_EVENT_MAX] = {
        [AUDIT_EVENT_GRANTED] = "granted",
        [AUDIT_EVENT_QUEUED] = "queued",
        [AUDIT_EVENT_ACTIVE] = "active",
        [AUDIT_EVENT_UNCONFIRMED] = "unconfirmed",
        [AUDIT_EVENT_REVOKING] = "revoking",
        [AUDIT_EVENT_ENDED] = "ended",
        [AUDIT_EVENT_FAILED] = "failed",
        [AUDIT_EVENT_LOST] = "lost",
        [AUDIT_EVENT_FORCED] = "forced",
        [AUDIT_EVENT_REFUSED] = "refused",
        [AUDIT_EVENT_LEFT_OUT] = "left-out",
        [AUDIT_EVENT_ASKED] = "asked",
        [AUDIT_EVENT_GROUP_FREE] = "group-free",
        [AUDIT_EVENT_GROUP_QUARANTINED] = "group-quarantined",
        [AUDIT_EVENT_GROUP_FAILED] = "group-failed",
        [AUDIT_EVENT_GROUP_LOST] = "group-lost",
        [AUDIT_EVENT_POLICY_READ] = "policy-read",
        [AUDIT_EVENT_POLICY_REFUSED] = "policy-refused",
};
DEFINE_STRING_TABLE(audit_event, AuditEvent, names, _AUDIT_EVENT_INVALID);

static const struct {
        const char *id;
        int priority;
} infos[_AUDIT_EVENT_MAX] = {
        [AUDIT_EVENT_GRANTED] = { "26cc308b810a401eb68eb74ff21e9d53", LOG_INFO },
        [AUDIT_EVENT_QUEUED] = { "99a35a88b30849e6ab4994e7d3f6632a", LOG_INFO },
        [AUDIT_EVENT_ACTIVE] = { "5cdfc8dd1c134775bccf0cc0483943e4", LOG_INFO },
        [AUDIT_EVENT_UNCONFIRMED] = { "37b3b0f9204c4e2b9f53bda493bc8796", LOG_NOTICE },
        [AUDIT_EVENT_REVOKING] = { "fc88876b268e4ed8a67fe0e578057de7", LOG_NOTICE },
        [AUDIT_EVENT_ENDED] = { "317ff9cc16a044da9799742e6b964f81", LOG_INFO },
        [AUDIT_EVENT_FAILED] = { "a508a69bcd7542d4a665db4ad2b4271d", LOG_WARNING },
        [AUDIT_EVENT_LOST] = { "91452428a80c4b30ab9a4dffe5529e08", LOG_WARNING },
        [AUDIT_EVENT_FORCED] = { "22962e8a0c264fbd92d4ee7d6e97424d", LOG_WARNING },
        [AUDIT_EVENT_REFUSED] = { "419dcc2af6894388b5d4f0ca5773ea22", LOG_NOTICE },
        [AUDIT_EVENT_LEFT_OUT] = { "ee81a4b9e43d425d83285ac6bab4c6f1", LOG_WARNING },
        [AUDIT_EVENT_ASKED] = { "c52af2233231469d92656f76b03594a5", LOG_NOTICE },
        [AUDIT_EVENT_GROUP_FREE] = { "a9389361ec84480ca6fe9472ad9c38dc", LOG_INFO },
        [AUDIT_EVENT_GROUP_QUARANTINED] = { "2c57fef149394f628ced3aafc4046255", LOG_INFO },
        [AUDIT_EVENT_GROUP_FAILED] = { "545bba9213474f138d6da1985c6db02d", LOG_ERR },
        [AUDIT_EVENT_GROUP_LOST] = { "14e93d0205864272b9ecc10be5a1b0ef", LOG_WARNING },
        [AUDIT_EVENT_POLICY_READ] = { "6d7e9d167bf44fe8983d75ade887881a", LOG_INFO },
        [AUDIT_EVENT_POLICY_REFUSED] = { "b255888ad8174ac6877930bec3dc19be", LOG_ERR },
};

const char *audit_event_id(AuditEvent e) {
        return (int)e >= 0 && e < _AUDIT_EVENT_MAX ? infos[e].id : NULL;
}

AuditEvent audit_event_from_id(const char *id) {
        for (int i = 0; i < _AUDIT_EVENT_MAX; i++)
                if (str_eq(infos[i].id, id))
                        return (AuditEvent)i;
        return _AUDIT_EVENT_INVALID;
}

int audit_event_priority(AuditEvent e) {
        return infos[e].priority;
}

/* Bytes of UTF-8 after the first one. */
static bool is_inside(char c) {
        return ((unsigned char)c & 0xc0) == 0x80;
}

const char *audit_text(char *buffer, size_t size, const char *text) {
        static const char more[] = "...";
        size_t n = strlen(text), end = n;

        if (n >= size) {
                end = size - sizeof(more);
                while (end > 0 && is_inside(text[end]))
                        end--;
        }
        for (size_t i = 0; i < end; i++)
                buffer[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
        memcpy(buffer + end, end < n ? more : "", end < n ? sizeof(more) : 1);
        return buffer;
}
