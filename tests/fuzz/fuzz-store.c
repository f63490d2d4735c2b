/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whatever lies in the state folder, the daemon starts: what cannot be understood is set aside, what can
 * is there, and the next start finds the same and has nothing to say. The input is files: a line
 * "FILE NAME", then their contents, in which "@" stands for the id of the present boot.
 */
#include "fuzz.h"

#include <stdio.h>

#include "scratch.h"
#include "store/ledger.h"
#include "store/store.h"

#define FILE_MARK "FILE "
#define DEVICE    "0000:3b:00.0"

static char boot_id[64];

static void read_boot_id(void) {
        FILE *f;

        if (*boot_id)
                return;
        f = fopen("/proc/sys/kernel/random/boot_id", "r");
        assert(f && fgets(boot_id, sizeof(boot_id), f));
        (void)fclose(f);
        boot_id[strcspn(boot_id, "\n")] = '\0';
}

/* The places where the store and the ledger look for files. */
static const char *place(const char *name) {
        static const char *const places[] = {
                "run/leases/l1.json",
                "run/leases/l2.json",
                "run/leases/l3.json.new",
                "run/groups/" DEVICE ".json",
                "run/groups/0000:01.json",
                "run/lifelines/l1",
                "run/sequence",
                "run/reserve",
                "run/damaged/l1.json",
                "var/used/" DEVICE ".json",
                "var/used/" DEVICE ".json.new",
        };

        for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++)
                if (strcmp(places[i], name) == 0)
                        return places[i];
        return NULL;
}

static void write_file(const char *name, const char *contents) {
        _cleanup_free_ char *text = strdup("");

        for (; *contents; contents++) {
                size_t n = strcspn(contents, "@");

                assert(str_append(&text, "%.*s%s", (int)n, contents, contents[n] ? boot_id : "") ==
                       0);
                contents += n;
                if (!*contents)
                        break;
        }
        scratch_write(name, text, strlen(text));
}

static void write_files(char *input) {
        char *next;

        scratch_empty("");
        scratch_folder("run/leases");
        scratch_folder("run/groups");
        scratch_folder("run/lifelines");
        scratch_folder("run/damaged");
        scratch_folder("var/used");
        for (char *mark = strstr(input, FILE_MARK); mark; mark = next) {
                char *name = mark + strlen(FILE_MARK), *contents = strchr(name, '\n');

                if (!contents)
                        return;
                *contents++ = '\0';
                next = strstr(contents, "\n" FILE_MARK);
                if (next)
                        *next++ = '\0';
                if (place(name))
                        write_file(place(name), contents);
        }
}

static void load(StoredState *ret) {
        _cleanup_free_ char *path = str_format("%s/run", scratch_path());
        _cleanup_(store_freep) Store *store = NULL;

        assert(path && store_open(path, &store) == 0);
        assert(store_load(store, ret) == 0);
}

static void check_state(void) {
        _cleanup_stored_state_ StoredState first = {}, second = {};

        load(&first);
        load(&second);
        assert(first.n_leases == second.n_leases && first.n_groups == second.n_groups);
        for (size_t i = 0; i < first.n_leases; i++)
                assert(str_eq(first.leases[i].id, second.leases[i].id));
        for (size_t i = 0; i < first.n_groups; i++)
                assert(str_eq(first.groups[i].key, second.groups[i].key));
        assert(!second.damaged_leases && !second.damaged_groups && !second.messages);
        assert(second.last_seq >= first.last_seq);
}

static void load_use(Device *d, char ***messages) {
        _cleanup_free_ char *path = str_format("%s/var", scratch_path());
        _cleanup_(ledger_freep) Ledger *ledger = NULL;

        assert(path && ledger_open(path, &ledger) == 0);
        assert(ledger_load(ledger, d, messages) == 0);
}

/* Who had a device last is known, unknown, or nobody; the next start says the same. */
static void check_use(void) {
        _cleanup_(strv_freep) char **messages = NULL, **again = NULL;
        Device first = { .facts = { .name = (char *)DEVICE, .vendor = 0x8086, .model = 0x10d3 } };
        Device second = first;

        load_use(&first, &messages);
        load_use(&second, &again);
        assert(!messages || first.use.valid);
        assert(!again);
        assert(first.use.valid == second.use.valid && first.use.reset == second.use.reset &&
               first.use.owner.uid == second.use.owner.uid &&
               str_eq(first.use.owner.name, second.use.owner.name));
        device_use_clear(&first.use);
        device_use_clear(&second.use);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size);

        read_boot_id();
        write_files(text);
        check_state();
        check_use();
        return 0;
}
