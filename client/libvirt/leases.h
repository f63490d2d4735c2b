/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The leases of a domain: those of the owner "libvirt:UUID" of the user who asks. Everything here is bounded in time
 * (microseconds). Functions return 0 or a negative errno; *why is then what to tell a person, or NULL.
 */

#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

#include "client/libvirt/domain.h"

#define LEASES_PATIENCE \
        25000000ULL /* that devices are ready; a step that hangs is known after 30 s */
#define LEASES_TTL   600000000ULL /* from there until QEMU runs: it may have much memory to clear */
#define LEASES_GRACE 60000000ULL  /* for libvirt's own way back when QEMU has died */

typedef struct DomainLease {
        char *id, *state;
        char **devices;
        pid_t pid; /* 0: no process holds it */
} DomainLease;

typedef struct DomainLeases {
        DomainLease *leases;
        size_t n;
} DomainLeases;

#define DOMAIN_LEASES_NULL ((DomainLeases){ 0 })

void leases_clear(DomainLeases *l);
#define _cleanup_leases_ _cleanup_(leases_clear)

/* Of a lease in this state nothing is left: "ended", "failed", "lost". */
bool lease_is_over(const char *state);
/* -EHOSTDOWN: the daemon does not answer. */
int leases_list(sd_bus *bus, const Domain *d, DomainLeases *ret, char **why);
/* The one that has the device; NULL: none. */
const DomainLease *leases_find(const DomainLeases *l, const char *device);
/* One lease of all these devices, held when this returns; -EHOSTDOWN as above. pidfd: its holder; -1: there is none yet, and
 * it lives for LEASES_TTL. ret_id may be NULL. */
int leases_acquire(sd_bus *bus, const Domain *d, char *const *devices, int pidfd, char **ret_id,
                   char **why);
/* "Release", "Renew" (by LEASES_TTL) or "Confirm" (with pidfd) of one. */
int leases_release(sd_bus *bus, const DomainLease *l, char **why);
int leases_renew(sd_bus *bus, const DomainLease *l, char **why);
int leases_confirm(sd_bus *bus, const DomainLease *l, int pidfd, char **why);
