/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What libvirt says of a domain: the <domain> that its qemu hook gets and that virDomainGetXMLDesc() returns, or the
 * <hookData> of its network hook, whose port belongs to one. The text comes from whoever may define domains.
 */

#include <stdbool.h>
#include <stddef.h>

#include "util/cleanup.h"

#define DOMAIN_XML_MAX ((size_t)8 << 20) /* bytes */

typedef struct Domain {
        bool is_port;   /* these are the devices of one port of a network */
        char *name;     /* any UTF-8; NULL: a network without a port, which is nobody's */
        char *uuid;     /* 36 characters, in lower case; NULL: as name */
        char **devices; /* PCI addresses "0000:3b:00.0", each once; NULL: none */
} Domain;

#define DOMAIN_NULL ((Domain){ 0 })

/* All PCI devices that it names: <hostdev>, <interface type='hostdev'>, <disk type='nvme'>, the <plug> of a port.
 * 0, -ENOMEM, or -EINVAL with the reason, for people, in *ret_why. */
int domain_from_xml(const char *text, size_t size, Domain *ret, char **ret_why);
void domain_clear(Domain *d);
#define _cleanup_domain_ _cleanup_(domain_clear)

/* The owner of its leases: "libvirt:UUID". NULL on lack of memory. */
char *domain_owner(const Domain *d);
