/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reads the daemon's decisions back from the journal. Anybody may send entries with our message ids: what
 * counts is what journald itself says of the sender, his unit and his uid.
 */

#include <pwd.h>
#include <stdlib.h>
#include <systemd/sd-journal.h>

#include "config.h"
#include "client/history.h"
#include "client/message-json.h"
#include "client/names.h"
#include "client/report.h"
#include "client/verbs.h"
#include "core/audit-event.h"
#include "util/strings.h"

#define UNIT "dmaownerd.service"

#define HINT_READ \
        "become a member of the group systemd-journal or adm and log in again, or ask root"
#define HINT_KEPT "see Storage= in journald.conf(5)"

static sd_journal *journal_close(sd_journal *j) {
        sd_journal_close(j);
        return NULL;
}
DEFINE_CLEANUP(sd_journal *, journal_close);

static bool is_system(const Options *o) {
        return strcmp(o->bus, "system") == 0;
}

static int match(sd_journal *j, const char *name, const char *value) {
        _cleanup_free_ char *text = str_format("%s=%s", name, value);

        return text ? sd_journal_add_match(j, text, 0) : -ENOMEM;
}

static int match_uid(sd_journal *j, uid_t uid) {
        _cleanup_free_ char *text = str_format("%u", (unsigned)uid);

        return text ? match(j, "_UID", text) : -ENOMEM;
}

/* The daemon of this host, or the one that whoever asks has started himself. */
static int match_daemon(sd_journal *j, const Options *o) {
        const struct passwd *user;
        int r;

        if (!is_system(o))
                return match_uid(j, getuid());
        r = match(j, "_SYSTEMD_UNIT", UNIT);
        user = getpwnam(DAEMON_USER);
        if (r < 0 || !user)
                return r;
        r = sd_journal_add_disjunction(j);
        return r < 0 ? r : match_uid(j, user->pw_uid);
}

static int match_decisions(sd_journal *j, const Options *o) {
        int r = 0;

        for (int i = 0; r >= 0 && i < _AUDIT_EVENT_MAX; i++)
                r = match(j, "MESSAGE_ID", audit_event_id((AuditEvent)i));
        if (r >= 0)
                r = sd_journal_add_conjunction(j);
        return r < 0 ? r : match_daemon(j, o);
}

static int open_journal(const Options *o, sd_journal **ret) {
        _cleanup_(journal_closep) sd_journal *j = NULL;
        int r;

        r = sd_journal_open(&j, SD_JOURNAL_LOCAL_ONLY | (is_system(o) ? SD_JOURNAL_SYSTEM : 0));
        if (r < 0)
                return report_errno(r, "the journal cannot be opened");
        /* files that may not be read are left out without a word */
        if (sd_journal_has_persistent_files(j) <= 0 && sd_journal_has_runtime_files(j) <= 0) {
                if (geteuid() != 0)
                        return report(STATUS_DENIED, HINT_READ,
                                      "the journal cannot be read: none of its files may be opened");
                return report(STATUS_ERROR, HINT_KEPT, "this host keeps no journal");
        }
        r = sd_journal_set_data_threshold(j, 0);
        if (r >= 0)
                r = match_decisions(j, o);
        if (r >= 0)
                r = o->has_since ? sd_journal_seek_realtime_usec(j, o->since)
                                 : sd_journal_seek_head(j);
        if (r < 0)
                return report_errno(r, "the journal cannot be read");
        *ret = TAKE_PTR(j);
        return 0;
}

/* Where it stands now. */
static int read_entry(sd_journal *j, json_object **ret) {
        _cleanup_json_ json_object *entry = json_object_new_object();
        const void *data;
        uint64_t usec;
        size_t size;
        int r;

        if (!entry)
                return -ENOMEM;
        r = sd_journal_get_realtime_usec(j, &usec);
        if (r >= 0)
                r = history_add_time(entry, usec);
        sd_journal_restart_data(j);
        while (r >= 0 && (r = sd_journal_enumerate_available_data(j, &data, &size)) > 0)
                r = history_add_field(entry, data, size);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(entry);
        return 0;
}

static int read_entries(sd_journal *j, char *const *names, size_t n, json_object *entries) {
        int r;

        while ((r = sd_journal_next(j)) > 0) {
                _cleanup_json_ json_object *entry = NULL;

                r = read_entry(j, &entry);
                if (r == -EBADMSG || r == -EADDRNOTAVAIL)
                        continue; /* a damaged place in a file: the others count all the same */
                if (r < 0)
                        return r;
                if (!history_is_about(entry, names, n))
                        continue;
                if (json_object_array_add(entries, entry) < 0)
                        return -ENOMEM;
                entry = NULL;
        }
        return r;
}

/* Devices as their bus names them. */
static int read_names(const Options *o, char ***ret) {
        _cleanup_(strv_freep) char **names = NULL;

        for (size_t i = 0; i < o->n_operands; i++) {
                _cleanup_free_ char *name = device_name_normalise(o->operands[i]);

                if (!name || strv_extend(&names, name) < 0)
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(names);
        return 0;
}

int verb_history(const Options *o) {
        _cleanup_(journal_closep) sd_journal *j = NULL;
        _cleanup_json_ json_object *entries = json_object_new_array();
        _cleanup_(strv_freep) char **names = NULL;
        Look look = look_of_stdout(!o->no_legend);
        int r;

        r = open_journal(o, &j);
        if (r != 0)
                return r;
        r = entries ? read_names(o, &names) : -ENOMEM;
        if (r == 0)
                r = read_entries(j, names, strv_length(names), entries);
        if (r < 0)
                return report_errno(r, "the journal cannot be read");
        if (o->json != JSON_NONE) {
                json_print(entries, o->json);
                return 0;
        }
        if (json_object_array_length(entries) == 0) {
                report_note("the journal has no such decision of dmaownerd");
                return 0;
        }
        r = history_print(entries, &look, stdout);
        return r < 0 ? report_errno(r, "history") : 0;
}
