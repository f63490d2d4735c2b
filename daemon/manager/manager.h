/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The manager is where decisions (core), the kernel and the store meet: it runs plans, watches
 * holders, and takes up after a restart where the last run left off. It knows no D-Bus: the bus
 * layer calls it and is told what changed.
 */

#include <systemd/sd-event.h>

#include "core/planner.h"
#include "core/policy.h"
#include "core/registry.h"
#include "kernel/kernel.h"
#include "store/fd-store.h"
#include "store/ledger.h"
#include "store/store.h"

typedef struct Manager Manager;
typedef struct Audit Audit;

typedef struct ManagerEvents {
        /* Objects appeared or changed. Those about to vanish are in *c too, as ended leases and
         * groups or devices that are told to `gone` right after. */
        int (*changed)(const Changes *c, void *userdata);
        void (*lease_gone)(const Lease *l, void *userdata);
        void (*group_gone)(unsigned id, void *userdata);
        void (*device_gone)(const char *name, void *userdata);
        void *userdata;
} ManagerEvents;

int manager_new(sd_event *event, Store *store, FdStore *fd_store, Ledger *ledger, Manager **ret);
Manager *manager_free(Manager *m);
DEFINE_CLEANUP(Manager *, manager_free);

/* What the kernel layer has to be made with; then manager_start() takes the kernel over. */
KernelEvents manager_kernel_events(Manager *m);
void manager_set_events(Manager *m, const ManagerEvents *events);
/* Reads the policy's files. If they are broken it says so, and until manager_reload() nothing is
 * granted to anybody; all else goes on. */
int manager_load_policy(Manager *m);
/* Reads them again. What is leased stays leased. If they are broken the policy stays as it was: -ECANCELED
 * with the fault set. */
int manager_reload(Manager *m, Fault *fault);
/* NULL: the vendor default. */
const Policy *manager_policy(const Manager *m);
/* Enumerates, loads the state, takes up what was under way. */
int manager_start(Manager *m, Kernel *kernel);

Registry *manager_registry(Manager *m);
Kernel *manager_kernel(Manager *m);
Audit *manager_audit(Manager *m); /* audit.h */
uint64_t manager_now(Manager *m); /* CLOCK_BOOTTIME, microseconds */

/*
 * Acquire: reserves, looks whether the host needs the devices, then answers, exactly once:
 * with a lease, which may be queued, and (holder lifeline) the descriptor for the requester, or with a fault after
 * which nothing has changed. The switch goes on after the answer; Lease.state tells.
 * pidfd: of HOLDER_PROCESS, else -EBADF; taken over.
 */
typedef void (*AcquireDone)(Lease *l, int lifeline, const Fault *fault, void *userdata);
void manager_acquire(Manager *m, Request *request, int pidfd, AcquireDone done, void *userdata);

/* Explain: the plan that Acquire would run, and what stands in its way. */
typedef struct Explanation {
        const Plan *plan;
        const Obstacles *obstacles;
        char *const *devices; /* those that the request would get; NULL: none */
} Explanation;

/* answer: NULL if there is a fault. */
typedef void (*ExplainDone)(const Explanation *answer, const Fault *fault, void *userdata);
void manager_explain(Manager *m, const Request *request, ExplainDone done, void *userdata);

/* The daemon ends: those who wait for an answer are told. */
void manager_answer_all(Manager *m);

/* The right ends now; the way back goes on. reason: "released", "holder-died", "expired", ... */
int manager_end_lease(Manager *m, Lease *l, const char *reason);
/* The same; what cannot be done now, for want of memory, is done later. reason: lives for ever. */
void manager_surely_end_lease(Manager *m, Lease *l, const char *reason);
/* Asks the lease to leave within so many microseconds; then its right ends. -EINVAL if it has. */
int manager_revoke(Manager *m, Lease *l, const char *reason, uint64_t usec);
/* ttl: microseconds from now, 0: for ever. -EINVAL if the lease has ended. */
int manager_renew(Manager *m, Lease *l, uint64_t ttl);
/* pid and start: who the pidfd refers to. Takes the descriptor over on success. */
int manager_confirm(Manager *m, Lease *l, int pidfd, pid_t pid, uint64_t start);
int manager_retry(Manager *m, Group *g, Fault *fault);
int manager_accept(Manager *m, Group *g, Fault *fault);
/* Somebody who knows says that these devices are fit for another owner: all of them, or none. */
int manager_mark_clean(Manager *m, char *const *devices, Fault *fault);

/* What is kept in quarantine goes back to the host. InvalidArgs if one of these is not. */
int manager_give_back(Manager *m, char *const *devices, Fault *fault);

/* What a lease with access fd may be lent of the group; NULL: nothing is kept any more. */
const VfioFiles *manager_lent_files(const Group *g);
/* True while the daemon itself claims the group in the kernel, or knows that a VFIO file of it is
 * claimed by its holder. */
bool manager_group_is_claimed(const Group *g);
