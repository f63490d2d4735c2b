/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager/manager.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "manager/manager-internal.h"
#include "util/log.h"
#include "util/strings.h"

/* store */

static int store_lease(Manager *m, const Lease *l) {
        if (l->state == LEASE_ENDED || l->state == LEASE_FAILED || l->state == LEASE_LOST) {
                int r = store_remove_lifeline(m->store, l->id);
                int q = store_remove_lease(m->store, l->id);

                return r < 0 ? r : q;
        }
        return store_save_lease(m->store, l);
}

/* A free group needs no file, unless it is owed its type. Its key may be gone with the record, so it is remembered by the
 * files of its members. */
static int store_group(Manager *m, const Group *g) {
        int r = 0;

        if ((g->state != GROUP_FREE || g->owed_type) && g->n_devices > 0)
                return store_save_group(m->store, g, switch_step(g));
        for (const Device *d = g->devices; r == 0 && d; d = d->next)
                r = store_remove_group(m->store, d->facts.name);
        return r;
}

static int store_changes(Manager *m, const Changes *c) {
        int r = 0;

        for (size_t i = 0; i < c->n_groups; i++) {
                int q = store_group(m, c->groups[i]);

                r = r < 0 ? r : q;
        }
        for (size_t i = 0; i < c->n_leases; i++) {
                int q = store_lease(m, c->leases[i]);

                r = r < 0 ? r : q;
        }
        if (r < 0) {
                log_error("Cannot write the state below the run-time folder: %s", strerror(-r));
                catch_up_files(m);
        }
        return r;
}

/* It is written and told again. */
static void set_behind(Manager *m, const Changes *c) {
        for (size_t i = 0; i < c->n_groups; i++)
                c->groups[i]->behind = true;
        for (size_t i = 0; i < c->n_leases; i++)
                c->leases[i]->behind = true;
        for (size_t i = 0; i < c->n_devices; i++)
                c->devices[i]->behind = true;
        catch_up_later(m);
}

/* commit */

static void manager_forget_lease(Manager *m, Lease *l) {
        l->userdata = holder_free(l->userdata);
        m->events.lease_gone(l, m->events.userdata);
        registry_forget_lease(m->registry, l);
}

static void manager_forget_group(Manager *m, Group *g) {
        switch_forget(m, g);
        m->events.group_gone(g->id, m->events.userdata);
        registry_forget_group(m->registry, g);
}

int manager_commit(Manager *m, Changes *c) {
        int r;

        if (!m->started) {
                changes_clear(c);
                return 0;
        }
        r = store_changes(m, c);
        audit_changes(m->audit, c);
        for (size_t i = 0; i < c->n_groups; i++)
                switch_settle(m, c->groups[i]);
        if (m->events.changed(c, m->events.userdata) < 0 || r < 0)
                set_behind(m, c);
        for (size_t i = 0; i < c->n_groups; i++) {
                switch_kick(m, c->groups[i]);
                gate_look_at(m, c->groups[i]);
                patrol_note(m->patrol, c->groups[i]);
        }
        for (size_t i = 0; i < c->n_groups; i++)
                vfs_poke(m, c->groups[i]);
        for (size_t i = 0; i < c->n_leases; i++) {
                if (c->leases[i]->userdata)
                        holder_set_revocation(c->leases[i]);
                if (c->leases[i]->state == LEASE_ENDED)
                        manager_forget_lease(m, c->leases[i]);
                else if (c->leases[i]->state == LEASE_FAILED || c->leases[i]->state == LEASE_LOST)
                        holder_linger(c->leases[i]);
        }
        for (size_t i = 0; i < c->n_groups; i++)
                if (c->groups[i]->n_devices == 0)
                        manager_forget_group(m, c->groups[i]);
        if (c->n_groups > 0 || c->n_leases > 0 || c->n_devices > 0)
                queue_kick(m);
        changes_clear(c);
        return r;
}

/* what the kernel layer tells */

/* A driver that manages no DMA of its own, or none, means that the host does not use it. */
void manager_refresh_use(Manager *m, const char *name) {
        Device *d = registry_device(m->registry, name);
        _cleanup_changes_ Changes c = CHANGES_NULL;

        if (!d || !d->group)
                return;
        if (!str_empty(d->facts.driver) && !driver_is_harmless(d->facts.driver)) {
                inspector_queue(m->inspector, name);
                return;
        }
        if (registry_device_set_in_use(d, NULL, &c) < 0)
                catch_up_devices(m);
        (void)manager_commit(m, &c);
}

/* Somebody changed a group behind our back? Our own steps are never taken for that. */
static int check_meddling(Manager *m, const char *name, Changes *c) {
        Device *d = registry_device(m->registry, name);
        _cleanup_free_ char *why = NULL;
        int r;

        if (!m->started || !d || !d->group || !group_has_to_stay(d->group) ||
            switch_is_busy(d->group))
                return 0;
        r = group_deviation(d->group, &why);
        return r < 0 || !why ? r : registry_group_lost(m->registry, d->group, why, c);
}

static void on_device_seen(const DeviceFacts *facts, void *userdata) {
        Manager *m = userdata;
        Device *before = registry_device(m->registry, facts->name), *after;
        bool other_driver = !before || !str_eq(before->facts.driver, facts->driver);
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r;

        r = registry_device_seen(m->registry, facts, &c);
        after = registry_device(m->registry, facts->name);
        if (after)
                gate_device_seen(m, after, after != before);
        if (r == 0)
                r = check_meddling(m, facts->name, &c);
        if (r < 0) {
                log_error("Cannot take up device %s: %s", facts->name, strerror(-r));
                if (!m->started)
                        m->start_error = r;
                if (after && after->group)
                        switch_is_stale(after->group);
                catch_up_devices(m);
        }
        (void)manager_commit(m, &c);
        if (m->started && other_driver)
                manager_refresh_use(m, facts->name);
}

void manager_device_gone(Manager *m, const char *name) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        Device *d = registry_device(m->registry, name);
        bool published = d && d->published;

        if (!d)
                return;
        if (registry_device_removed(m->registry, name, &c) < 0) {
                d->gone = true;
                catch_up_later(m);
                return;
        }
        if (published)
                m->events.device_gone(name, m->events.userdata);
        /* the records of the others have a file of another name now; not before that is written */
        if (manager_commit(m, &c) >= 0 && store_remove_group(m->store, name) < 0)
                catch_up_files(m);
}

static void on_device_gone(const char *name, void *userdata) {
        manager_device_gone(userdata, name);
}

static void on_use_changed(const char *name, void *userdata) {
        Manager *m = userdata;

        if (m->started)
                manager_refresh_use(m, name);
}

static void on_node_changed(unsigned group, void *userdata) {
        patrol_renew_right(userdata, group);
}

static void on_waiting(KernelOp *op, const char *who, void *userdata) {
        Manager *m = userdata;

        if (switch_waits(m, op, who))
                return;
        for (Lease *l = registry_leases(m->registry); l; l = l->hh.next)
                if (holder_waits(l, op, who))
                        return;
}

static void on_ready(bool ready, void *userdata) {
        Manager *m = userdata;

        if (ready == m->executor_ready)
                return;
        m->executor_ready = ready;
        log_info("The executor is %s", ready ? "connected" : "not connected");
        if (!ready || !m->started)
                return;
        for (Group *g = registry_groups(m->registry); g; g = g->hh.next)
                switch_wake(m, g);
        for (Device *d = registry_devices(m->registry); d; d = d->hh.next)
                manager_refresh_use(m, d->facts.name);
}

KernelEvents manager_kernel_events(Manager *m) {
        return (KernelEvents){
                .device_seen = on_device_seen,
                .device_gone = on_device_gone,
                .device_use_changed = on_use_changed,
                .node_changed = on_node_changed,
                .waiting = on_waiting,
                .ready = on_ready,
                .userdata = m,
        };
}

/* life */

static int ignore_changes(const Changes *c, void *userdata) {
        return 0;
}
static void ignore_lease(const Lease *l, void *userdata) {
}
static void ignore_group(unsigned id, void *userdata) {
}
static void ignore_device(const char *name, void *userdata) {
}

int manager_new(sd_event *event, Store *store, FdStore *fd_store, Ledger *ledger, Manager **ret) {
        _cleanup_(manager_freep) Manager *m = calloc(1, sizeof(Manager));
        int r;

        if (!m)
                return -ENOMEM;
        m->event = sd_event_ref(event);
        m->store = store;
        m->fd_store = fd_store;
        m->events = (ManagerEvents){
                .changed = ignore_changes,
                .lease_gone = ignore_lease,
                .group_gone = ignore_group,
                .device_gone = ignore_device,
        };
        r = registry_new(&m->registry);
        if (r == 0)
                r = audit_new(m, &m->audit);
        if (r < 0)
                return r;
        r = inspector_new(m, &m->inspector);
        if (r == 0)
                r = gate_new(m, ledger, &m->gate);
        if (r < 0)
                return r;
        r = queue_runner_new(m, &m->queue);
        if (r == 0)
                r = patrol_new(m, &m->patrol);
        if (r == 0)
                r = catch_up_new(m, &m->catch_up);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

Manager *manager_free(Manager *m) {
        if (!m)
                return NULL;
        manager_answer_all(m);
        vfs_end(m);
        inspector_free(m->inspector);
        queue_runner_free(m->queue);
        gate_free(m->gate);
        patrol_free(m->patrol);
        catch_up_free(m->catch_up);
        audit_free(m->audit);
        if (m->registry) {
                for (Group *g = registry_groups(m->registry); g; g = g->hh.next)
                        g->userdata = switch_free(g->userdata);
                for (Lease *l = registry_leases(m->registry); l; l = l->hh.next)
                        l->userdata = holder_free(l->userdata);
        }
        registry_free(m->registry);
        policy_free(m->policy);
        kernel_free(m->kernel);
        sd_event_unref(m->event);
        free(m);
        return NULL;
}

void manager_set_events(Manager *m, const ManagerEvents *events) {
        m->events = *events;
}

void manager_set_policy(Manager *m, Policy *policy) {
        policy_free(m->policy);
        m->policy = policy;
        registry_set_policy(m->registry, policy);
        gate_apply_policy(m);
}

const Policy *manager_policy(const Manager *m) {
        return m->policy;
}

int manager_start(Manager *m, Kernel *kernel) {
        int r;

        m->kernel = kernel;
        r = kernel->ops->start(kernel);
        if (r == 0)
                r = m->start_error;
        if (r < 0) {
                log_error("Cannot enumerate the devices of this host: %s", strerror(-r));
                return r;
        }
        r = manager_recover(m);
        if (r < 0)
                return r;
        for (Group *g = registry_groups(m->registry); g; g = g->hh.next)
                vfs_poke(m, g);
        for (Device *d = registry_devices(m->registry); d; d = d->hh.next)
                manager_refresh_use(m, d->facts.name);
        gate_look(m);
        return 0;
}

Registry *manager_registry(Manager *m) {
        return m->registry;
}

Kernel *manager_kernel(Manager *m) {
        return m->kernel;
}

Audit *manager_audit(Manager *m) {
        return m->audit;
}

uint64_t manager_now(Manager *m) {
        uint64_t now = 0;

        /* cannot fail: the clock is supported and the loop exists */
        (void)sd_event_now(m->event, CLOCK_BOOTTIME, &now);
        return now;
}

/* what the bus layer asks */

int manager_end_lease(Manager *m, Lease *l, const char *reason) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r;

        if (l->state == LEASE_FAILED || l->state == LEASE_LOST) {
                manager_forget_lease(m, l);
                return 0;
        }
        r = registry_lease_end(m->registry, l, LEASE_ENDED, reason, &c);
        if (r < 0)
                return r;
        for (size_t i = 0; i < c.n_groups; i++)
                switch_note_waiting(c.groups[i], &c);
        /* the right is gone whether or not that could be written */
        (void)manager_commit(m, &c);
        return 0;
}

void manager_surely_end_lease(Manager *m, Lease *l, const char *reason) {
        if (manager_end_lease(m, l, reason) < 0) {
                l->overdue = reason;
                catch_up_later(m);
        }
}

int manager_revoke(Manager *m, Lease *l, const char *reason, uint64_t usec) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        uint64_t now = manager_now(m);
        int r;

        r = registry_revoke(m->registry, l, reason,
                            usec > UINT64_MAX - now ? UINT64_MAX : now + usec, &c);
        if (r < 0)
                return r;
        for (size_t i = 0; i < c.n_groups; i++)
                switch_note_waiting(c.groups[i], &c);
        (void)manager_commit(m, &c); /* a failed write is logged */
        return 0;
}

int manager_renew(Manager *m, Lease *l, uint64_t ttl) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        uint64_t now = manager_now(m);

        if (!lease_state_is_alive(l->state))
                return -EINVAL;
        registry_lease_set_expires(l, ttl == 0 || ttl > UINT64_MAX - now ? UINT64_MAX : now + ttl,
                                   &c);
        if (l->state == LEASE_UNCONFIRMED)
                (void)registry_lease_set_state(m->registry, l, LEASE_ACTIVE, &c);
        holder_set_expiry(l);
        /* it holds whether or not it could be written, which is logged */
        (void)manager_commit(m, &c);
        return 0;
}

int manager_confirm(Manager *m, Lease *l, int pidfd, pid_t pid, uint64_t start) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r;

        if (lease_state_is_over(l->state))
                return -EINVAL;
        r = holder_set_fd(l, HOLDER_PROCESS, pidfd);
        if (r < 0)
                return r;
        (void)registry_lease_set_process(l, pid, start, &c);
        /* it has a holder now that cannot be missed: a time to live of its own choice was for the time before */
        if (registry_longest_ttl(m->registry, l) == 0)
                registry_lease_set_expires(l, UINT64_MAX, &c);
        if (l->state == LEASE_UNCONFIRMED)
                (void)registry_lease_set_state(m->registry, l, LEASE_ACTIVE, &c);
        holder_set_expiry(l);
        (void)manager_commit(m, &c); /* the pidfd is taken over; a failed write is logged */
        return 0;
}

static int refuse_unless_stuck(const Group *g, Fault *fault) {
        return fault_set(fault, ERROR_INVALID_ARGS,
                         "group %u is %s: only a failed or lost group can be retried or accepted",
                         g->id, group_state_to_string(g->state));
}

int manager_retry(Manager *m, Group *g, Fault *fault) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r = registry_group_retry(m->registry, g, &c), units;

        /* whoever changed it may have changed what no event tells of: it is looked at before anything */
        if (r == 0)
                r = switch_distrust(m, g);
        if (r < 0 && r != -EINVAL)
                return fault_set_oom(fault);
        (void)manager_commit(m, &c); /* a failed write is logged */
        /* also of a group that went back well a unit may have failed */
        units = gate_retry(m, g);
        if (units < 0)
                return fault_set_oom(fault);
        return r == -EINVAL && units == 0 ? refuse_unless_stuck(g, fault) : 0;
}

int manager_accept(Manager *m, Group *g, Fault *fault) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        int r = registry_group_accept(m->registry, g, &c);

        if (r == -EINVAL)
                return refuse_unless_stuck(g, fault);
        if (r == 0 && g->state == GROUP_DRAINING)
                r = switch_distrust(m, g);
        if (r < 0)
                return fault_set_oom(fault);
        if (g->state == GROUP_FREE)
                switch_drop(g);      /* it may still claim the group */
        (void)manager_commit(m, &c); /* a failed write is logged */
        return 0;
}

/* The quarantined groups of these devices, each once. */
static int find_quarantined(Manager *m, char *const *devices, Group **groups, size_t *ret_n,
                            Fault *fault) {
        size_t n = 0;

        if (strv_length(devices) == 0)
                return fault_set(fault, ERROR_INVALID_ARGS, "No device is named");
        for (char *const *name = devices; *name; name++) {
                Device *d = registry_device(m->registry, *name);
                size_t i = 0;

                if (!d || !d->group)
                        return fault_set(fault, ERROR_NO_SUCH_DEVICE,
                                         "there is no device %.40s with an IOMMU group", *name);
                if (d->group->state != GROUP_QUARANTINED)
                        return fault_set(fault, ERROR_INVALID_ARGS,
                                         "IOMMU group %u of %s is %s: only what is quarantined can "
                                         "be given back",
                                         d->group->id, *name,
                                         group_state_to_string(d->group->state));
                while (i < n && groups[i] != d->group)
                        i++;
                groups[i] = d->group;
                n += i == n;
        }
        *ret_n = n;
        return 0;
}

int manager_give_back(Manager *m, char *const *devices, Fault *fault) {
        _cleanup_free_ Group **groups = calloc(strv_length(devices) + 1, sizeof(Group *));
        _cleanup_changes_ Changes c = CHANGES_NULL;
        size_t n = 0;
        int r;

        if (!groups)
                return fault_set_oom(fault);
        r = find_quarantined(m, devices, groups, &n, fault);
        for (size_t i = 0; r == 0 && i < n; i++)
                r = registry_group_give_back(m->registry, groups[i], &c);
        if (r == -ENOMEM)
                (void)fault_set_oom(fault);
        (void)manager_commit(m, &c); /* a failed write is logged */
        return r;
}

bool manager_group_is_claimed(const Group *g) {
        return g->kept == KEPT_CLAIM || g->bound ||
               (g->kept == KEPT_LENT && g->kept_interface == VFIO_INTERFACE_CONTAINER);
}

const VfioFiles *manager_lent_files(const Group *g) {
        return g->kept == KEPT_LENT ? switch_files(g) : NULL;
}
