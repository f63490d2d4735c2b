/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>

#include "config.h"
#include "client/options.h"
#include "client/report.h"
#include "client/verbs.h"

#define ANY ((size_t)-1)

static const Verb verbs[] = {
        { "list", "", "Shows groups, their devices and who owns them", OPTIONS_LIST, 0, 0,
          .run = verb_list },
        { "status", "", "Shows a summary of the host", 0, 0, 0, .run = verb_status },
        { "show", "DEVICE|group:N|LEASE", "Shows all properties", 0, 1, 1, .run = verb_show },
        { "acquire", "DEVICE...", "Takes devices and holds them", OPTIONS_REQUEST | OPTIONS_HOLDER,
          1, ANY, .run = verb_acquire },
        { "release", "LEASE...|--owner=NAME", "Gives leases back", OPTIONS_RELEASE, 0, ANY,
          .run = verb_release },
        { "renew", "LEASE --ttl=TIME", "Lets a lease live for TIME from now", OPTIONS_RENEW, 1, 1,
          .run = verb_renew },
        { "revoke", "LEASE", "Asks who holds a lease to leave", OPTIONS_REVOKE, 1, 1,
          .run = verb_revoke },
        { "exec", "DEVICE... -- COMMAND...", "Runs a command that has the devices",
          OPTIONS_REQUEST | OPTIONS_COMMAND, 1, ANY, .command = true, .run = verb_exec },
        { "explain", "DEVICE...", "Shows what acquire would do, and what is in the way",
          OPTIONS_REQUEST, 1, ANY, .run = verb_explain },
        { "clean", "DEVICE...", "Says that devices are clean: fit for another owner", 0, 1, ANY,
          .run = verb_clean },
        { "restore", "DEVICE...", "Gives what is kept in quarantine back to the host", 0, 1, ANY,
          .run = verb_restore },
        { "policy", "check FILE | test USER DEVICE...",
          "Says whether a file of the policy is right, or who may have what", OPTIONS_REQUEST, 2,
          ANY, .run = verb_policy },
        { "reload", "", "Has the policy's files read again", 0, 0, 0, .run = verb_reload },
        { "history", "[DEVICE|group:N|LEASE...]", "Shows what was decided, from the journal",
          OPTIONS_LIST | OPTIONS_HISTORY, 0, ANY, .run = verb_history },
        { "libvirt", "status | attach|detach DOMAIN DEVICE",
          "Shows libvirt's domains and their leases, or plugs a leased device",
          OPTIONS_LIST | OPTIONS_LIBVIRT, 0, 3, .run = verb_libvirt },
        { "monitor", "", "Shows what happens, until Ctrl-C", 0, 0, 0, .run = verb_monitor },
        {},
};

/* What could not be written is an error, unless it is that the reader has seen enough. */
static int finish(int status) {
        errno = 0;
        if (fflush(stdout) == 0 && !ferror(stdout))
                return status;
        if (errno == EPIPE || errno == 0)
                return status;
        return report_errno(-errno, "cannot write the output");
}

int main(int argc, char **argv) {
        Options o;
        int r;

        (void)setlocale(LC_CTYPE, "");  /* without it: plain ASCII */
        (void)signal(SIGPIPE, SIG_IGN); /* a lease is not to be lost because nobody reads */
        r = options_parse(argc, argv, verbs, &o);
        if (r != 0)
                return r;
        if (o.help)
                options_help(verbs, o.verb);
        else if (o.version)
                puts("dmaownerctl " PROJECT_VERSION);
        else
                r = o.verb->run(&o);
        return finish(r);
}
