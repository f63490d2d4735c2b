/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The settings of VFs, asked of and given to the network interface of their PF (rtnetlink). */

#include "executor/run.h"
#include "shared/vf-settings.h"

typedef struct VfLink {
        Run *run;
        unsigned interface; /* index */
        unsigned vf;        /* number among those of the PF */
} VfLink;

/* 1; 0: the interface does not report this VF; or negative errno. */
int vf_link_read(const VfLink *l, VfSettings *ret);
/* Gives it the setting s as in *v, with those that the kernel only takes together. */
int vf_link_write(const VfLink *l, const VfSettings *v, VfSetting s);
