/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tables of modules: what is found in them stands in them. The input is modules.alias and, behind a line
 * "---", modules.builtin.modinfo. */
#include "fuzz.h"

#include "scratch.h"
#include "shared/modalias.h"

#define RELEASE "6.12"
#define FOLDER  "lib/modules/" RELEASE "/"
#define BETWEEN "\n---\n"
#define ALIAS   "pci:v00008086d000010D3sv00000000sd00000000bc02sc00i00"

static void check_table(const Modalias *m, const char *prefix) {
        const char *best = modalias_best_vfio(m, ALIAS);
        bool listed = false;

        for (size_t i = 0; i < m->n; i++) {
                assert(str_starts(m->patterns[i], prefix));
                assert(!strpbrk(m->modules[i], " \n"));
                listed = listed || m->modules[i] == best;
        }
        assert(!best || listed);
        if (best)
                assert(modalias_matches(m, "vfio_" ALIAS, best));
}

static void check_prefix(const Sysfs *root, const char *prefix) {
        _cleanup_modalias_ Modalias loaded = MODALIAS_NULL, built_in = MODALIAS_NULL;

        assert(modalias_load(root, RELEASE, prefix, &loaded) == 0);
        check_table(&loaded, prefix);
        assert(modalias_load_builtin(root, RELEASE, prefix, &built_in) == 0);
        for (size_t i = 0; i < built_in.n; i++)
                assert(str_starts(built_in.patterns[i], prefix));
        (void)modalias_best_vfio(&built_in, ALIAS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const uint8_t *between = memmem(data, size, BETWEEN, strlen(BETWEEN));
        size_t n = between ? (size_t)(between - data) + 1 : size;
        static Sysfs root = SYSFS_NULL;

        if (root.root < 0)
                assert(sysfs_open(scratch_path(), &root) == 0);
        scratch_write(FOLDER "modules.alias", (const char *)data, n);
        if (between)
                between += strlen(BETWEEN);
        else
                between = data + size;
        scratch_write(FOLDER "modules.builtin.modinfo", (const char *)between,
                      size - (size_t)(between - data));
        check_prefix(&root, "vfio_");
        check_prefix(&root, "pci:");
        return 0;
}
