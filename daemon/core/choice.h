/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Which devices a request gets that leaves it open: selectors, alternatives. Pure like all of the
 * registry, so the same request on the same host gets the same devices.
 */

#include "core/registry.h"

/*
 * Sets request->devices to names, from the first list of request->choices that could be granted as
 * far as is known. Does nothing if the request names its devices already.
 *
 * A selector gets free devices whose claim has a plan and that the host is not known to need.
 * Those come first that no driver has to give up, then those with the smaller group, then by
 * name. Different selectors, and one with a count, get different devices, of different groups as
 * far as there are enough.
 *
 * avoid: devices that turned out to be in use, NULL: none. -ECANCELED with the fault set, and then
 * nothing is changed: InvalidArgs, NoSuchDevice, Busy, InUse, NotViable and what registry_reserve()
 * refuses; -ENOMEM.
 */
int registry_choose(Registry *r, Request *request, char *const *avoid, Fault *fault);
/* The same for a lease of that age which is queued. */
int registry_choose_at(Registry *r, Request *request, unsigned long long seq, Fault *fault);

/* Nothing is chosen yet: it waits for whatever comes first. */
bool request_is_open(const Request *request);

/* Chooses and reserves. What has to wait for all it might get, and says that it will, is queued with
 * nothing chosen. */
int registry_request(Registry *r, Request *request, char *const *avoid, Lease **ret, Changes *c,
                     Fault *fault);
