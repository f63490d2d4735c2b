/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "config.h"
#include "client/report.h"
#include "client/verbs.h"
#include "util/strings.h"

/* Only the program of that name needs libvirt. */
int verb_libvirt(const Options *o) {
        static char path[] = LIBVIRT_PROGRAM, status[] = "status", nothing[] = "";
        char json[] = { (char)('0' + o->json), '\0' },
             legend[] = { o->no_legend ? '0' : '1', '\0' };
        char *words[9] = {
                path,  (char *)o->bus, json, legend, o->connect ? (char *)o->connect : nothing,
                status
        };

        for (size_t i = 0; i < o->n_operands; i++)
                words[5 + i] = o->operands[i];
        (void)execv(path, words);
        if (errno == ENOENT)
                return report(STATUS_ERROR, "install dmaownerd's part for libvirt",
                              "%s is not there", path);
        return report_errno(-errno, path);
}
