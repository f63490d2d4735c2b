/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/options.h"

#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <stddef.h>

#include "client/report.h"
#include "client/units.h"
#include "util/strings.h"

#define HINT_HELP "\"dmaownerctl --help\" lists verbs and options"

typedef int (*OptionSetter)(Options *o, const char *value);

static int set_json(Options *o, const char *value) {
        if (!value || strcmp(value, "pretty") == 0)
                o->json = JSON_PRETTY;
        else if (strcmp(value, "short") == 0)
                o->json = JSON_SHORT;
        else
                return -EINVAL;
        return 0;
}

static int set_ttl(Options *o, const char *value) {
        uint64_t ttl;
        int r = timespan_parse(value, &ttl);

        if (r < 0)
                return r;
        if (ttl == 0)
                return -ERANGE;
        o->ttl = ttl;
        return 0;
}

static int set_wait(Options *o, const char *value) {
        o->wait = TIME_INFINITY;
        return value ? timespan_parse(value, &o->wait) : 0;
}

static int set_deadline(Options *o, const char *value) {
        o->has_deadline = true;
        return timespan_parse(value, &o->deadline);
}

static int set_since(Options *o, const char *value) {
        Clocks now = clocks_now();

        o->has_since = true;
        return realtime_parse(value, &now, &o->since);
}

/* What the range is the daemon says. */
static int set_priority(Options *o, const char *value) {
        bool negative = *value == '-';
        unsigned long long number;
        int r = parse_u64(value + negative, 10, &number);

        if (r < 0)
                return r;
        if (number > INT_MAX)
                return -ERANGE;
        o->priority = negative ? -(int)number : (int)number;
        return 0;
}

static int set_uid(Options *o, const char *value) {
        unsigned long long number;
        const struct passwd *pw;

        if (parse_u64(value, 10, &number) == 0) {
                if (number >= UINT32_MAX) /* (uid_t) -1 is nobody's */
                        return -ERANGE;
                o->uid = (uid_t)number;
        } else {
                pw = getpwnam(value);
                if (!pw)
                        return -ESRCH;
                o->uid = pw->pw_uid;
        }
        o->has_uid = true;
        return 0;
}

static int set_pid(Options *o, const char *value) {
        unsigned long long number;
        int r = parse_u64(value, 10, &number);

        if (r < 0)
                return r;
        if (number == 0 || number > INT_MAX)
                return -ERANGE;
        o->pid = (pid_t)number;
        return 0;
}

static int add_alternative(Options *o, const char *value) {
        if (o->n_alternatives == OPTIONS_ALTERNATIVES)
                return -ERANGE;
        o->alternatives[o->n_alternatives++] = value;
        return 0;
}

static int set_vfs(Options *o, const char *value) {
        unsigned long long number;
        int r = parse_u64(value, 10, &number);

        if (r < 0)
                return r;
        if (number == 0 || number > UINT16_MAX)
                return -ERANGE;
        o->vfs = (unsigned)number;
        return 0;
}

typedef struct OptionInfo {
        const char *name;
        const char *usage, *help;
        unsigned sets;    /* OptionSet; 0: every verb takes it */
        size_t string;    /* where in Options the value goes as it is; 0: see set */
        size_t flag;      /* where in Options it is noted that it was given; 0: has a value */
        OptionSetter set; /* checks and converts the value */
        bool optional;    /* may be given without a value */
} OptionInfo;

static const OptionInfo infos[] = {
        { "kind", "--kind=KIND", "user (default: for VFIO), dma-api or private-domain",
          OPTIONS_REQUEST, .string = offsetof(Options, kind) },
        { "or", "--or=\"DEVICE...\"", "devices to take if the others cannot be had; may be repeated",
          OPTIONS_REQUEST, .set = add_alternative },
        { "owner", "--owner=NAME", "leases of the same user and NAME share groups",
          OPTIONS_REQUEST | OPTIONS_RELEASE, .string = offsetof(Options, owner) },
        { "label", "--label=TEXT", "a text for people", OPTIONS_REQUEST,
          .string = offsetof(Options, label) },
        { "ttl", "--ttl=TIME", "time to live: 500ms, 30s, 10min, 2h, 1d or infinity",
          OPTIONS_REQUEST | OPTIONS_RENEW, .set = set_ttl },
        { "wait", "--wait[=TIME]",
          "what is busy is waited for, that long (for ever if nothing is said)", OPTIONS_REQUEST,
          .set = set_wait, .optional = true },
        { "priority", "--priority=N", "who waits with a higher one is served first (root: above 0)",
          OPTIONS_REQUEST, .set = set_priority },
        { "driver", "--driver=NAME", "kernel driver to bind instead of the usual one",
          OPTIONS_REQUEST, .string = offsetof(Options, driver) },
        { "default-domain-type", "--default-domain-type=TYPE", "DMA, DMA-FQ or identity",
          OPTIONS_REQUEST, .string = offsetof(Options, default_domain_type) },
        { "access", "--access=HOW", "node (default: the VFIO nodes can be opened) or fd",
          OPTIONS_REQUEST, .string = offsetof(Options, access) },
        { "interface", "--interface=WHICH",
          "of VFIO, with --access=fd: auto (default), iommufd or container", OPTIONS_REQUEST,
          .string = offsetof(Options, interface) },
        { "qemu", "--qemu", "the command is QEMU: tells it of the files lent (--access=fd)",
          OPTIONS_COMMAND, .flag = offsetof(Options, qemu) },
        { "cloud-hypervisor", "--cloud-hypervisor", "the command is cloud-hypervisor, likewise",
          OPTIONS_COMMAND, .flag = offsetof(Options, cloud_hypervisor) },
        { "reset", "--reset=METHOD", "how devices are reset: auto or a method of theirs",
          OPTIONS_REQUEST, .string = offsetof(Options, reset) },
        { "force", "--force", "take devices that the host uses (policy has to allow it)",
          OPTIONS_REQUEST, .flag = offsetof(Options, force) },
        { "uid", "--uid=USER", "number or name of the user that may open the nodes (root only)",
          OPTIONS_REQUEST, .set = set_uid },
        { "vfs", "--vfs=NUMBER", "make so many virtual functions of the device, and take these",
          OPTIONS_REQUEST, .set = set_vfs },
        { "holder", "--holder=WHAT",
          "lifeline (default) or connection: the lease lasts as long as\n"
          "this command; process: as --pid; none: until released",
          OPTIONS_HOLDER, .string = offsetof(Options, holder) },
        { "pid", "--pid=PID", "the process that holds the lease, with --holder=process",
          OPTIONS_HOLDER, .set = set_pid },
        { "deadline", "--deadline=TIME", "when the right ends (default: 30s)", OPTIONS_REVOKE,
          .set = set_deadline },
        { "reason", "--reason=TEXT", "what the holder is told", OPTIONS_REVOKE,
          .string = offsetof(Options, reason) },
        { "since", "--since=TIME",
          "no older ones: 2h (ago), today, yesterday, 18:30, 2026-02-03 or\n\"2026-02-03 18:30\"",
          OPTIONS_HISTORY, .set = set_since },
        { "connect", "--connect=URI", "which libvirt (default: qemu:///system)", OPTIONS_LIBVIRT,
          .string = offsetof(Options, connect) },
        { "no-legend", "--no-legend", "no headings and no totals", OPTIONS_LIST,
          .flag = offsetof(Options, no_legend) },
        { "json", "--json[=short|pretty]", "print JSON (pretty if neither is given)",
          .set = set_json, .optional = true },
        { "bus", "--bus=BUS", "system (default), user or the address of a bus",
          .string = offsetof(Options, bus) },
        { "help", "-h, --help", "print this, or the help of a verb",
          .flag = offsetof(Options, help) },
        { "version", "--version", "print the version", .flag = offsetof(Options, version) },
};

#define OPTION_BASE 256 /* above all characters */
#define N_INFOS     (sizeof(infos) / sizeof(*infos))

static void help_option(const OptionInfo *info) {
        const char *line = info->help;
        int column = printf("  %-28s ", info->usage);

        for (;;) {
                size_t n = strcspn(line, "\n");

                printf("%.*s\n", (int)n, line);
                if (line[n] == '\0')
                        return;
                line += n + 1;
                printf("%*s", column, "");
        }
}

static void help_verb(const Verb *v) {
        printf("dmaownerctl %s%s%s\n\n%s.\n\nOptions:\n", v->name, *v->operands ? " " : "",
               v->operands, v->summary);
        for (size_t i = 0; i < N_INFOS; i++)
                if (infos[i].sets == 0 || infos[i].sets & v->options)
                        help_option(&infos[i]);
}

void options_help(const Verb *verbs, const Verb *verb) {
        if (verb) {
                help_verb(verb);
                return;
        }
        printf("dmaownerctl [OPTIONS] [VERB]\n\n"
               "Leases devices of IOMMU groups, and shows who owns what.\n\nVerbs:\n");
        for (const Verb *v = verbs; v->name; v++) {
                _cleanup_free_ char *usage = str_format("%s %s", v->name, v->operands);

                if (usage)
                        printf("  %-38s %s%s\n", usage, v->summary, v == verbs ? " (default)" : "");
        }
        printf("\nOptions of all verbs (\"dmaownerctl VERB --help\" shows the others):\n");
        for (size_t i = 0; i < N_INFOS; i++)
                if (infos[i].sets == 0)
                        help_option(&infos[i]);
        printf("\nExit status: 0 done, 1 error, 2 usage, 3 busy, 4 not viable or in use, 5 denied, "
               "6 timed out,\n7 no daemon\n");
}

static int option_apply(const OptionInfo *info, const char *value, Options *o) {
        int r;

        if (info->flag) {
                *(bool *)((char *)o + info->flag) = true;
                return 0;
        }
        if (info->string) {
                *(const char **)((char *)o + info->string) = value;
                return 0;
        }
        r = info->set(o, value);
        if (r == -EINVAL || r == -ERANGE || r == -ESRCH)
                return report(STATUS_USAGE, HINT_HELP, "--%s=%s: %s: %s", info->name, value,
                              r == -ERANGE  ? "out of range"
                              : r == -ESRCH ? "no such user"
                                            : "not understood",
                              info->help);
        if (r < 0)
                return report_errno(r, info->name);
        return 0;
}

static int options_read(int argc, char **argv, Options *o, bool *given) {
        struct option longs[N_INFOS + 1] = {};
        int c, index, status;

        for (size_t i = 0; i < N_INFOS; i++)
                longs[i] = (struct option){ .name = infos[i].name,
                                            .has_arg = infos[i].flag       ? no_argument
                                                       : infos[i].optional ? optional_argument
                                                                           : required_argument,
                                            .val = OPTION_BASE + (int)i };
        optind = 0; /* glibc: begin anew */
        opterr = 0;
        while ((c = getopt_long(argc, argv, ":h", longs, NULL)) >= 0) {
                if (c == ':')
                        return report(STATUS_USAGE, HINT_HELP, "%s wants a value", argv[optind - 1]);
                if (c == '?')
                        return report(STATUS_USAGE, HINT_HELP, "unknown option %s",
                                      argv[optind - 1]);
                if (c == 'h') {
                        o->help = true;
                        continue;
                }
                index = c - OPTION_BASE;
                given[index] = true;
                status = option_apply(&infos[index], optarg, o);
                if (status != 0)
                        return status;
        }
        return 0;
}

static const Verb *verb_find(const Verb *verbs, const char *name) {
        for (const Verb *v = verbs; v->name; v++)
                if (strcmp(v->name, name) == 0)
                        return v;
        return NULL;
}

static int options_check(const Options *o, const bool *given) {
        const Verb *v = o->verb;

        for (size_t i = 0; i < N_INFOS; i++)
                if (given[i] && infos[i].sets != 0 && !(infos[i].sets & v->options))
                        return report(STATUS_USAGE, HINT_HELP, "%s does not take --%s", v->name,
                                      infos[i].name);
        if (o->n_operands < v->min || o->n_operands > v->max)
                return report(STATUS_USAGE, HINT_HELP, "usage: dmaownerctl %s %s", v->name,
                              v->operands);
        if (v->command && (!o->command || !*o->command))
                return report(STATUS_USAGE, "put \"--\" before the command",
                              "usage: dmaownerctl %s %s", v->name, v->operands);
        return 0;
}

/* Operands behind "--" join those before it, unless they are a command. */
static void operands_join(Options *o) {
        if (!o->command || (o->verb && o->verb->command))
                return;
        for (char **c = o->command; *c; c++)
                o->operands[o->n_operands++] = *c;
        o->command = NULL;
}

int options_parse(int argc, char **argv, const Verb *verbs, Options *ret) {
        Options o = { .bus = "system" };
        bool given[N_INFOS] = {};
        int n = 0, status;

        while (n < argc && strcmp(argv[n], "--") != 0)
                n++;
        if (n < argc) {
                /* getopt would move the "--" to where nobody finds it again */
                argv[n] = NULL;
                o.command = argv + n + 1;
        }
        status = options_read(n, argv, &o, given);
        if (status != 0)
                return status;
        o.operands = argv + optind;
        o.n_operands = (size_t)(n - optind);
        if (o.n_operands > 0) {
                o.verb = verb_find(verbs, o.operands[0]);
                if (!o.verb)
                        return report(STATUS_USAGE, HINT_HELP, "unknown verb %s", o.operands[0]);
                o.operands++;
                o.n_operands--;
        }
        operands_join(&o);
        if (!o.help && !o.version) {
                o.verb = o.verb ? o.verb : verbs;
                status = options_check(&o, given);
                if (status != 0)
                        return status;
        }
        *ret = o;
        return 0;
}
