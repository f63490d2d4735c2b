/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The settings of VFs, asked of and given to the network interface of their PF (rtnetlink). */

#include "shared/vf-settings.h"

typedef struct VfLink {
        struct mnl_socket *socket;
        unsigned interface; /* index */
        unsigned vf;        /* number among those of the PF */
} VfLink;

int vf_link_open(unsigned interface, unsigned vf, VfLink *ret);
void vf_link_close(VfLink *l);
#define _cleanup_vf_link_ _cleanup_(vf_link_close)

/* 1; 0: the interface does not report this VF; or negative errno. */
int vf_link_read(const VfLink *l, VfSettings *ret);
/* Gives it the setting s as in *v, with those that the kernel only takes together. */
int vf_link_write(const VfLink *l, const VfSettings *v, VfSetting s);
