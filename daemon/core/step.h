/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One step is one kernel operation that can be checked by reading back: the unit that plans are
 * made of, that is journalled, that crosses the socket to the executor, and that fault injection
 * names. Wire form: docs/executor.md.
 */

#include <stddef.h>
#include <sys/types.h>

#include "util/cleanup.h"

typedef enum StepKind {
        STEP_INSPECT,      /* read only: what of the host hangs on the device */
        STEP_LOAD_MODULE,  /* value: module */
        STEP_SET_OVERRIDE, /* value: driver, NULL clears, "none" keeps any driver away */
        STEP_UNBIND,       /* value: driver it is bound to; inspects again right before the act */
        STEP_EVICT,        /* value: VFIO driver; those who have it open are asked and waited for */
        STEP_BIND,         /* value: driver */
        STEP_PROBE,        /* let any matching driver bind (drivers_probe) */
        STEP_SET_TYPE,     /* value: default domain type of the group */
        STEP_WAIT_NODE,    /* done by the daemon: udev has finished with /dev/vfio/N */
        STEP_GRANT_NODE,   /* uid gets read and write on /dev/vfio/N, and nobody else */
        STEP_REVOKE_NODE,  /* that right is taken back */
        STEP_WAIT_CLOSED, /* waits until no file of the group is open; changes nothing; value "lent":
                            * but those that the daemon keeps */
        STEP_LEND,        /* opens the files that are lent; value: VfioInterface; answers with it */
        STEP_RECLAIM,     /* all mappings made through files that were lent go */
        STEP_CLAIM,       /* waits the same, then keeps the group in a blocking domain; value:
                            * VfioInterface, NULL: the container. Of a group that was lent in a
                            * container it never lets go meanwhile */
        STEP_RELEASE,     /* done by the daemon: closes the files it keeps */
        STEP_SCRUB,       /* runs the unit that cleans a device for its next owner */
        STEP_RESET,       /* value: "auto" or a method of reset_method */
        STEP_SET_VF_AUTOPROBE, /* value: "0" or "1"; of a PF */
        STEP_SET_NUM_VFS,      /* value: how many; those that have a driver do not go */
        STEP_READ_VF,          /* read only: what its PF has set for a VF; answers with it */
        STEP_SET_VF,           /* value: what was read */
        _STEP_KIND_MAX,
        _STEP_KIND_INVALID = -1,
} StepKind;

const char *step_kind_to_string(StepKind k);
StepKind step_kind_from_string(const char *s);

typedef struct Step {
        StepKind kind;
        char *device;   /* NULL for steps of a whole group */
        unsigned group; /* IOMMU group number */
        char *value;    /* see StepKind */
        char *former;   /* what it replaces: the undo; NULL: nothing was there */
        uid_t uid;      /* STEP_GRANT_NODE, STEP_REVOKE_NODE */
        int force;      /* STEP_UNBIND: the caller accepted the obstacles */
} Step;

void step_clear(Step *s);
/* Replaces *to. 0 or -ENOMEM. */
int step_copy(Step *to, const Step *from);
/* "unbind 0000:3b:00.0 from e1000e": for people. NULL on lack of memory. */
char *step_describe(const Step *s);

typedef struct Plan {
        Step *steps;
        size_t n;
} Plan;

#define PLAN_NULL ((Plan){})
void plan_clear(Plan *p);
/* Appends a copy. 0 or -ENOMEM. */
int plan_add(Plan *p, const Step *s);
#define _cleanup_plan_ _cleanup_(plan_clear)
