/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What dmaownerctl can do. Each returns an exit status. */

#include "client/options.h"

int verb_list(const Options *o);
int verb_status(const Options *o);
int verb_show(const Options *o);
int verb_acquire(const Options *o);
int verb_release(const Options *o);
int verb_renew(const Options *o);
int verb_revoke(const Options *o);
int verb_exec(const Options *o);
int verb_explain(const Options *o);
int verb_monitor(const Options *o);
int verb_reload(const Options *o);
int verb_policy(const Options *o);
int verb_clean(const Options *o);
int verb_restore(const Options *o);
int verb_libvirt(const Options *o);
int verb_history(const Options *o);
