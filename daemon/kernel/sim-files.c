/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /dev/vfio/N: when it is there, who may open it, who has it open, and the daemon's own claim. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>

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

bool sim_device_is_open(const SimDevice *d) {
        if (d->group)
                for (const SimFile *f = d->group->files; f; f = f->next)
                        if (f->device == d)
                                return true;
        return false;
}

/* Is there an older file of the same process? It is named once. */
static bool is_named(const SimGroup *g, const SimFile *f) {
        for (const SimFile *i = g->files; i != f; i = i->next)
                if (i->pid == f->pid && !i->hidden)
                        return true;
        return false;
}

char *sim_group_openers(const SimGroup *g, bool with_claim) {
        char *who = strdup("");
        const char *comma = "";

        for (const SimFile *f = g->files; who && f; f = f->next) {
                if (f->hidden || is_named(g, f))
                        continue;
                if (str_append(&who, "%s%s (pid %d)", comma, f->comm, (int)f->pid) < 0)
                        goto oom;
                comma = ", ";
        }
        if (who && with_claim && g->claimed &&
            str_append(&who, "%s%s (pid %d)", comma, program_invocation_short_name, (int)getpid()) <
                    0)
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

int sim_group_open(SimGroup *g, SimFile *f, bool lent, char **ret_message) {
        int r = 0;

        if (g->vfio_users == 0 || (f->device && !driver_is_vfio(f->device->facts.driver)))
                return refuse(-ENOENT, ret_message,
                              str_format("%s%s is not bound to a VFIO driver",
                                         f->device ? "" : "no device of the group: ",
                                         f->device ? f->device->facts.name : "it"));
        if (f->device && (sim_device_is_open(f->device) || f->device->pending != SIM_PENDING_NONE))
                return refuse(-EBUSY, ret_message,
                              str_format("%s is open already", f->device->facts.name));
        if (lent && !g->claimed)
                return refuse(-EBADF, ret_message,
                              str_format("nobody has claimed group %u and could lend it", g->id));
        if (!lent && !(f->device && process_has_group(g, f->pid)))
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
                sim_file_free(f);
                closed++;
        }
        if (closed > 0)
                sim_group_retry(g);
        return closed;
}

static char *claim_path(const SimGroup *g) {
        return str_format("%s.group-%u", g->sim->persist, g->id);
}

/*
 * The group descriptor that is handed out is the writing end of a pipe, so that we see, as the
 * kernel does, when the last duplicate of it is closed, wherever it went. With a host that is
 * remembered the pipe has a name: a claim whose descriptors outlive the daemon outlives it too.
 */
static int claim_pipe(const SimGroup *g, int ret[2]) {
        _cleanup_close_ int reading = -EBADF, writing = -EBADF;
        _cleanup_free_ char *path = NULL;

        if (!g->sim->persist)
                return pipe2(ret, O_CLOEXEC) < 0 ? -errno : 0;
        path = claim_path(g);
        if (!path)
                return -ENOMEM;
        if (mkfifo(path, 0600) < 0 && errno != EEXIST)
                return -errno;
        reading = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (reading < 0)
                return -errno;
        writing = open(path, O_WRONLY | O_CLOEXEC);
        if (writing < 0)
                return -errno;
        ret[0] = TAKE_FD(reading);
        ret[1] = TAKE_FD(writing);
        return 0;
}

static int on_claim_hangup(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        SimGroup *g = userdata;

        sim_group_unclaim(g);
        sim_save(g->sim);
        sim_group_retry(g);
        return 0;
}

/* Takes the reading end over in any case. */
static int claim_keep(SimGroup *g, int reading) {
        _cleanup_close_ int fd = reading;
        int r;

        /* only the hang-up: who writes into it must not keep us busy */
        r = sd_event_add_io(g->sim->event, &g->claim_watch, fd, 0, on_claim_hangup, g);
        if (r < 0)
                return r;
        /* before steps: closing, then running a step, happens in that order */
        r = sd_event_source_set_priority(g->claim_watch, SD_EVENT_PRIORITY_IMPORTANT);
        if (r < 0) {
                g->claim_watch = sd_event_source_disable_unref(g->claim_watch);
                return r;
        }
        g->claim_fd = TAKE_FD(fd);
        g->claimed = true;
        return 0;
}

int sim_group_claim(SimGroup *g, VfioFiles *ret) {
        _cleanup_close_ int container = open("/dev/null", O_RDWR | O_CLOEXEC), group = -EBADF;
        int ends[2], r;

        if (container < 0)
                return -errno;
        r = claim_pipe(g, ends);
        if (r < 0)
                return r;
        group = ends[1];
        r = claim_keep(g, ends[0]);
        if (r < 0)
                return r;
        r = vfio_files_add(ret, FILE_CONTAINER, NULL, container);
        if (r < 0)
                return r;
        TAKE_FD(container);
        r = vfio_files_add(ret, FILE_GROUP, NULL, group);
        if (r == 0)
                TAKE_FD(group);
        return r;
}

int sim_group_claim_adopt(SimGroup *g) {
        struct pollfd p = { .fd = -EBADF };
        int ends[2], r;

        if (!g->sim->persist) {
                sim_group_unclaim(g); /* its descriptors were in a process that is gone */
                return 0;
        }
        r = claim_pipe(g, ends);
        if (r < 0)
                return r;
        /* only after a writer was there and went does a reader see a hang-up */
        safe_close(ends[1]);
        p.fd = ends[0];
        if (poll(&p, 1, 0) < 0) {
                r = -errno;
                safe_close(ends[0]);
                return r;
        }
        if (!(p.revents & POLLHUP))
                return claim_keep(g, ends[0]);
        safe_close(ends[0]);
        sim_group_unclaim(g);
        return 0;
}

void sim_group_unclaim(SimGroup *g) {
        _cleanup_free_ char *path = NULL;

        if (!g->claimed)
                return;
        g->claim_watch = sd_event_source_disable_unref(g->claim_watch);
        g->claim_fd = safe_close(g->claim_fd);
        if (g->sim->persist && (path = claim_path(g)))
                (void)unlink(path);
        g->claimed = false;
}
