/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The command line. Options may stand before and after the verb; what follows "--" is a command
 * (exec) or more operands. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/output.h"

typedef struct Options Options;

#define OPTIONS_ALTERNATIVES 32 /* the daemon takes no more */

/* Which options a verb takes, besides those that all take. */
typedef enum OptionSet {
        OPTIONS_LIST = 1 << 0,    /* --no-legend */
        OPTIONS_REQUEST = 1 << 1, /* all that says what is asked for */
        OPTIONS_HOLDER = 1 << 2,  /* --holder, --pid */
        OPTIONS_RELEASE = 1 << 3, /* --owner */
        OPTIONS_RENEW = 1 << 4,   /* --ttl */
        OPTIONS_COMMAND = 1 << 5, /* what the command of exec is */
        OPTIONS_REVOKE = 1 << 6,  /* --deadline, --reason */
        OPTIONS_HISTORY = 1 << 7, /* --since */
        OPTIONS_LIBVIRT = 1 << 8, /* --connect */
} OptionSet;

typedef struct Verb {
        const char *name;
        const char *operands; /* for people */
        const char *summary;
        unsigned options; /* OptionSet */
        size_t min, max;  /* operands */
        bool command;     /* wants "-- COMMAND" */
        int (*run)(const Options *o);
} Verb;

struct Options {
        const Verb *verb; /* NULL: none given, with --help or --version */
        const char *bus;
        JsonStyle json;
        bool no_legend, help, version;
        /* those of a request; NULL: not given */
        const char *kind, *owner, *label, *driver, *default_domain_type, *access, *interface,
                *reset, *holder;
        uint64_t ttl;      /* 0: not given */
        uint64_t wait;     /* 0: not given */
        uint64_t deadline; /* if has_deadline */
        uint64_t since;    /* the time on the wall, if has_since */
        const char *reason;
        const char *connect; /* NULL: libvirt of the system */
        int priority;
        uid_t uid;
        bool has_uid, has_deadline, has_since, force;
        bool qemu, cloud_hypervisor;
        const char *alternatives[OPTIONS_ALTERNATIVES]; /* devices with blanks between */
        size_t n_alternatives;
        unsigned vfs;    /* 0: not given */
        pid_t pid;       /* 0: not given */
        char **operands; /* into argv */
        size_t n_operands;
        char **command; /* NULL-terminated; NULL: none */
};

/* Reorders argv. verbs ends with a name of NULL; the first is the default. 0, or an ExitStatus
 * after having said what is wrong. */
int options_parse(int argc, char **argv, const Verb *verbs, Options *ret);
/* Of the whole program for NULL. */
void options_help(const Verb *verbs, const Verb *verb);
