/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * "Any device that looks like this": what a requester may write instead of a device's name.
 *
 *     vendor=8086,device=10d3,class=02,pf=0000:01:00.0,numa=0,driver=e1000e*2
 *
 * Every key may be left out but one, and stands once. The grammar is in docs/selectors.md.
 */

#include "core/registry.h"

#define SELECTOR_COUNT_MAX 1024
#define SELECTORS_MAX      64 /* of one request */

typedef struct Selector {
        const char *text; /* as it was asked for; not copied */
        unsigned given;   /* the keys, as bits */
        unsigned vendor, model, numa_node;
        uint32_t class_code, class_mask;
        char *physfn;
        char *driver; /* "none": without one */
        unsigned count;
} Selector;

#define SELECTOR_NULL ((Selector){})
void selector_clear(Selector *s);
#define _cleanup_selector_ _cleanup_(selector_clear)

/* Names have no "=". */
bool name_is_selector(const char *name);

/* 0, -ENOMEM, or -ECANCELED with InvalidArgs. The selector refers to text. */
int selector_parse(const char *text, Selector *ret, Fault *fault);

bool selector_matches(const Selector *s, const Device *d);
