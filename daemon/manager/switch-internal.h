/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What switch.c and switch-files.c share. */

#include "manager/manager-internal.h"

struct Switch {
        Manager *m;
        Group *g;
        const Inquiry *held; /* it has not decided yet; NULL: the claim may begin */
        bool claim;          /* direction: towards a lease, or back to the host */
        bool running;        /* a plan is under way */
        bool unclear;        /* a step may have been left behind: wait for it, then look again */
        Step left_behind;    /* which; of no kind: not known */
        bool looking;        /* the plan only looks */
        bool stale;          /* something was seen of a device, and could not be taken up */
        Plan plan;
        size_t next;
        KernelOp *op;
        sd_event_source *retry;
        unsigned tries;   /* that were put off */
        unsigned replans; /* of a way back that left something to do */
        Keep keep;
        FdStoreSync *sync; /* the service manager has not yet dealt with what is kept */
        Fault first;       /* what failed first on the way back */
};

/* Makes one if the group has none yet; NULL on lack of memory. */
Switch *switch_get(Manager *m, Group *g);

/* What a step opened is kept from now on. What cannot be kept makes the step fail. */
void switch_take_files(Switch *s, StepKind kind, StepResult *result);
/* The same owner as before is lent what kept the group in quarantine. */
int switch_lend_claim(Switch *s, Changes *c);
