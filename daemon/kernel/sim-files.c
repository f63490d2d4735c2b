/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /dev/vfio/N: when it is there, who may open it, and who has it or its devices open. */
#include <string.h>

#include "kernel/sim.h"
#include "util/log.h"
#include "util/strings.h"

static int on_udev_done(sd_event_source *s, uint64_t usec, void *userdata) {
        SimGroup *g = userdata;

        /* its rules set owner and mode again: an ACL given before is lost */
        g->node = SIM_NODE_NEW;
        g->node_ready = true;
        sim_save(g->sim);
        sim_group_retry(g);
        return 0;
}

void sim_node_appear(SimGroup *g) {
        Sim *sim = g->sim;

        g->node = SIM_NODE_NEW;
        g->node_ready = true;
        /* while the topology is read all is as after boot */
        if (!sim->wake || sim->udev_usec == 0)
                return;
        g->node_ready = false;
        if (sd_event_add_time_relative(sim->event, &g->udev, CLOCK_MONOTONIC, sim->udev_usec, 1,
                                       on_udev_done, g) < 0) {
                log_warning("Simulated host: no timer for the node of group %u, udev is done at once.",
                            g->id);
                g->node_ready = true;
        }
}

/* The last VFIO device of the group is gone: the group's file is dead, whoever keeps it. */
void sim_node_vanish(SimGroup *g) {
        g->udev = sd_event_source_disable_unref(g->udev);
        g->node_ready = false;
        g->node_granted = false;
        (void)sim_group_close(g, NULL, 0);
        sim_group_unclaim(g);
}

char *sim_node_to_string(const SimNode *n) {
        char *s = str_format("uid %u mode %04o", (unsigned)n->owner, (unsigned)n->mode);

        if (s && n->granted != SIM_NOBODY &&
            str_append(&s, " user:%u:rw-", (unsigned)n->granted) < 0) {
                free(s);
                return NULL;
        }
        return s;
}

static bool node_lets_in(const SimNode *n, uid_t uid) {
        if (uid == 0 || uid == n->granted)
                return true;
        return (n->mode & (uid == n->owner ? 0600 : 0006)) == (uid == n->owner ? 0600 : 0006);
}

bool sim_device_has_opener(const SimDevice *d) {
        if (d->group)
                for (const SimFile *f = d->group->files; f; f = f->next)
                        if (f->device == d)
                                return true;
        return false;
}

bool sim_device_is_open(const SimDevice *d) {
        return sim_pipe_is_open(&d->cdev_file) || sim_device_has_opener(d);
}

/* Is there an older file of the same process? It is named once. */
static bool is_named(const SimGroup *g, const SimFile *f) {
        for (const SimFile *i = g->files; i != f; i = i->next)
                if (i->pid == f->pid && !i->hidden)
                        return true;
        return false;
}

char *sim_group_openers(const SimGroup *g, bool with_kept) {
        char *who = strdup("");
        const char *comma = "";

        for (const SimFile *f = g->files; who && f; f = f->next) {
                if (f->hidden || is_named(g, f))
                        continue;
                if (str_append(&who, "%s%s (pid %d)", comma, f->comm, (int)f->pid) < 0)
                        goto oom;
                comma = ", ";
        }
        if (who && with_kept && g->claimed &&
            str_append(&who, "%s%s (pid %d)", comma, program_invocation_short_name, (int)getpid()) <
                    0)
                goto oom;
        /* a pipe does not tell */
        if (str_eq(who, "") && with_kept && sim_group_has_cdev(g) &&
            str_set(&who, "whoever has files that were lent") < 0)
                goto oom;
        return who;
oom:
        free(who);
        return NULL;
}

SimFile *sim_file_free(SimFile *f) {
        if (!f)
                return NULL;
        free(f->comm);
        free(f);
        return NULL;
}

static int refuse(int error, char **ret_message, char *message) {
        if (!message)
                return -ENOMEM;
        *ret_message = message;
        return error;
}

/* Opening /dev/vfio/N and setting a container on it. */
static int group_may_open(const SimGroup *g, const SimFile *f, char **ret_message) {
        _cleanup_free_ char *who = NULL, *node = NULL;
        const SimDevice *owner = sim_group_kernel_owner(g);

        if (!node_lets_in(&g->node, f->uid)) {
                node = sim_node_to_string(&g->node);
                return node ? refuse(-EACCES, ret_message,
                                     str_format("/dev/vfio/%u (%s) does not let uid %u in", g->id,
                                                node, (unsigned)f->uid))
                            : -ENOMEM;
        }
        if (sim_group_is_claimed(g)) {
                who = sim_group_openers(g, true);
                return who ? refuse(-EBUSY, ret_message,
                                    str_format("/dev/vfio/%u is open by %s", g->id, who))
                           : -ENOMEM;
        }
        if (owner)
                return refuse(-EPERM, ret_message,
                              str_format("group %u is not viable: %s is bound to %s", g->id,
                                         owner->facts.name, owner->facts.driver));
        return 0;
}

static bool process_has_group(const SimGroup *g, pid_t pid) {
        for (const SimFile *f = g->files; f; f = f->next)
                if (f->pid == pid)
                        return true;
        return false;
}

/* VFIO_DEVICE_BIND_IOMMUFD, which works once for a file: whoever has a duplicate later, has it from
 * somebody who has one. Hidden ones lie somewhere, and nobody works with them. */
static int bind_cdev(SimGroup *g, const SimFile *f, char **ret_message) {
        const SimDevice *owner = sim_group_kernel_owner(g);
        _cleanup_free_ char *who = NULL;

        if (f->hidden || (f->device->cdev == SIM_CDEV_BOUND && sim_device_has_opener(f->device)))
                return 0;
        if (f->device->cdev == SIM_CDEV_BOUND)
                return refuse(-EINVAL, ret_message,
                              str_format("the file of %s that was lent was bound to an iommufd before",
                                         f->device->facts.name));
        for (const SimFile *i = g->files; i && !who; i = i->next)
                if (!i->cdev)
                        who = str_format("%s (pid %d)", i->comm, (int)i->pid);
        if (who)
                return refuse(-EBUSY, ret_message,
                              str_format("/dev/vfio/%u is open by %s", g->id, who));
        if (owner)
                return refuse(-EPERM, ret_message,
                              str_format("group %u is not viable: %s is bound to %s", g->id,
                                         owner->facts.name, owner->facts.driver));
        f->device->cdev = SIM_CDEV_BOUND;
        return 0;
}

int sim_group_open(SimGroup *g, SimFile *f, bool lent, char **ret_message) {
        int r = 0;

        if (g->vfio_users == 0 || (f->device && !driver_is_vfio(f->device->facts.driver)))
                return refuse(-ENOENT, ret_message,
                              str_format("%s%s is not bound to a VFIO driver",
                                         f->device ? "" : "no device of the group: ",
                                         f->device ? f->device->facts.name : "it"));
        f->cdev = lent && f->device && f->device->cdev != SIM_CDEV_CLOSED;
        if (f->device && ((!f->cdev && sim_device_has_opener(f->device)) ||
                          f->device->pending != SIM_PENDING_NONE))
                return refuse(-EBUSY, ret_message,
                              str_format("%s is open already", f->device->facts.name));
        if (lent && !f->cdev && !g->claimed)
                return refuse(-EBADF, ret_message,
                              str_format("no files of group %u were opened to be lent", g->id));
        if (f->cdev)
                r = bind_cdev(g, f, ret_message);
        else if (!lent && !(f->device && process_has_group(g, f->pid)))
                r = group_may_open(g, f, ret_message);
        if (r < 0)
                return r;
        f->next = g->files;
        g->files = f;
        return 0;
}

unsigned sim_group_close(SimGroup *g, const SimDevice *device, pid_t pid) {
        unsigned closed = 0;

        for (SimFile **i = &g->files; *i;) {
                SimFile *f = *i;

                if ((device && f->device != device) || (pid != 0 && f->pid != pid)) {
                        i = &f->next;
                        continue;
                }
                *i = f->next;
                if (f->device && f->device->pending != SIM_PENDING_NONE)
                        sim_device_news(g->sim, f->device, SIM_SETTLE);
                if (f->cdev)
                        sim_cdev_settle(f->device);
                sim_file_free(f);
                closed++;
        }
        if (closed > 0) {
                sim_group_settle(g);
                sim_group_retry(g);
        }
        return closed;
}

bool sim_group_map(SimGroup *g, pid_t pid, uint64_t bytes) {
        for (const SimFile *f = g->files; f; f = f->next)
                if (f->pid == pid && !(f->cdev && f->device->cdev != SIM_CDEV_BOUND)) {
                        g->mapped += bytes;
                        return true;
                }
        return false;
}
