/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Who had a device last, while something is still to be done before somebody else may have it: a file
 * per device below /var/lib/dmaownerd/used. It outlives the boot, because what an owner left on a
 * disk does, too. A file of another device that had the same address once says nothing of this one.
 */

#include "core/registry.h"

typedef struct Ledger Ledger;

/* The folder is made if it is not there. -EBUSY: another daemon uses it. */
int ledger_open(const char *folder, Ledger **ret);
Ledger *ledger_free(Ledger *l);
DEFINE_CLEANUP(Ledger *, ledger_free);

/* Writes what the device remembers, or removes the file if that is nothing. */
int ledger_save(Ledger *l, const Device *d);
/* Reads it back. A record that cannot be understood is set aside below used/damaged, with a message in the
 * strv, and its place is taken by one of an unknown owner: nobody's device is clean for that. */
int ledger_load(Ledger *l, Device *d, char ***messages);
