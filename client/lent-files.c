/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/lent-files.h"

#include <fcntl.h>

#include "util/strings.h"

const dmaowner_file *lent_files_first(const LentFiles *f, const char *role) {
        for (size_t i = 0; i < f->n; i++)
                if (str_eq(f->items[i].role, role))
                        return &f->items[i];
        return NULL;
}

char *lent_files_describe(const LentFiles *f) {
        char *text = strdup("");

        for (size_t i = 0; text && i < f->n; i++)
                if (str_append(&text, "%s%s=%d", i == 0 ? "" : ",", f->items[i].name,
                               f->items[i].fd) < 0) {
                        free(text);
                        return NULL;
                }
        return text;
}

int lent_files_pass_on(const LentFiles *f) {
        for (size_t i = 0; i < f->n; i++)
                if (fcntl(f->items[i].fd, F_SETFD, 0) < 0)
                        return -errno;
        return 0;
}
