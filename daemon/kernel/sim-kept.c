/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files of ours, which steps open and the daemon keeps and lends: a container with the group, or
 * an iommufd with the nodes of single devices. The group's file, and each device's, is a pipe. */
#include <fcntl.h>
#include <sys/stat.h>

#include "kernel/sim.h"
#include "util/strings.h"

/* The names of the pipes of a host that is remembered. */
static char *claim_path(const SimGroup *g) {
        return str_format("%s.group-%u", g->sim->persist, g->id);
}

static char *cdev_path(const SimDevice *d) {
        return str_format("%s.cdev-%s", d->group->sim->persist, d->facts.name);
}

void sim_group_settle(SimGroup *g) {
        if (!sim_group_is_claimed(g))
                g->mapped = 0;
}

static void changed(SimGroup *g) {
        sim_group_settle(g);
        sim_save(g->sim);
        sim_group_retry(g);
}

static int on_claim_closed(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        SimGroup *g = userdata;

        sim_group_unclaim(g);
        changed(g);
        return 0;
}

static int on_cdev_closed(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        SimDevice *d = userdata;
        SimGroup *g = d->group;
        _cleanup_free_ char *path = g->sim->persist ? cdev_path(d) : NULL;

        sim_pipe_close(&d->cdev_file, path);
        sim_cdev_settle(d);
        if (d->pending != SIM_PENDING_NONE)
                sim_device_news(g->sim, d, SIM_SETTLE);
        changed(g);
        return 0;
}

/* A file that may be duplicated as one likes: nobody asks who has it. */
static int add_anonymous(VfioFiles *files, FileRole role) {
        _cleanup_close_ int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        int r;

        if (fd < 0)
                return -errno;
        r = vfio_files_add(files, role, NULL, fd);
        if (r == 0)
                TAKE_FD(fd);
        return r;
}

static int add_group_file(VfioFiles *files, int fd) {
        _cleanup_close_ int group = fd;
        int r = vfio_files_add(files, FILE_GROUP, NULL, group);

        if (r == 0)
                TAKE_FD(group);
        return r;
}

int sim_group_claim(SimGroup *g, VfioFiles *ret) {
        _cleanup_free_ char *path = NULL;
        int r, fd;

        if (g->sim->persist) {
                path = claim_path(g);
                if (!path)
                        return -ENOMEM;
        }
        r = add_anonymous(ret, FILE_CONTAINER);
        if (r < 0)
                return r;
        r = sim_pipe_open(&g->claim, g->sim->event, path, on_claim_closed, g, &fd);
        if (r < 0)
                return r;
        g->claimed = true;
        return add_group_file(ret, fd);
}

int sim_group_renew_claim(SimGroup *g, const VfioFiles *files, VfioFiles *ret) {
        int r, fd;

        r = add_anonymous(ret, FILE_CONTAINER);
        if (r < 0)
                return r;
        fd = fcntl(vfio_files_get(files, FILE_GROUP, NULL), F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return -errno;
        g->mapped = 0;
        return add_group_file(ret, fd);
}

void sim_group_unclaim(SimGroup *g) {
        _cleanup_free_ char *path = NULL;

        if (!g->claimed)
                return;
        if (g->sim->persist)
                path = claim_path(g);
        sim_pipe_close(&g->claim, path);
        g->claimed = false;
        sim_group_settle(g);
}

static int add_cdev(SimDevice *d, SimCdev state, VfioFiles *files) {
        Sim *sim = d->group->sim;
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *path = NULL;
        int r;

        if (sim->persist) {
                path = cdev_path(d);
                if (!path)
                        return -ENOMEM;
        }
        r = sim_pipe_open(&d->cdev_file, sim->event, path, on_cdev_closed, d, &fd);
        if (r < 0)
                return r;
        d->cdev = state;
        r = vfio_files_add(files, FILE_CDEV, d->facts.name, fd);
        if (r == 0)
                TAKE_FD(fd);
        return r;
}

int sim_group_open_cdevs(SimGroup *g, SimCdev state, VfioFiles *ret) {
        int r = add_anonymous(ret, FILE_IOMMUFD);

        for (SimDevice *d = g->devices; d && r == 0; d = d->next)
                if (driver_is_vfio(d->facts.driver))
                        r = d->pending == SIM_PENDING_NONE ? add_cdev(d, state, ret) : -ENODEV;
        return r;
}

bool sim_group_has_cdev(const SimGroup *g) {
        for (const SimDevice *d = g->devices; d; d = d->next)
                if (d->cdev != SIM_CDEV_CLOSED)
                        return true;
        return false;
}

void sim_cdev_settle(SimDevice *d) {
        if (sim_pipe_is_open(&d->cdev_file))
                return;
        for (const SimFile *f = d->group->files; f; f = f->next)
                if (f->device == d && f->cdev)
                        return;
        d->cdev = SIM_CDEV_CLOSED;
}

static bool is_anonymous(int fd) {
        struct stat file, null;

        return fstat(fd, &file) == 0 && stat("/dev/null", &null) == 0 && S_ISCHR(file.st_mode) &&
               file.st_rdev == null.st_rdev;
}

bool sim_group_has_file(const SimGroup *g, FileRole role, const char *device, int fd) {
        if (role == FILE_CONTAINER || role == FILE_IOMMUFD)
                return is_anonymous(fd);
        if (role == FILE_GROUP)
                return g->claimed && sim_pipe_is_end(&g->claim, fd);
        for (const SimDevice *d = g->devices; d; d = d->next)
                if (str_eq(d->facts.name, device))
                        return sim_pipe_is_end(&d->cdev_file, fd);
        return false;
}

bool sim_group_kept_are(const SimGroup *g, const VfioFiles *files) {
        int group = vfio_files_get(files, FILE_GROUP, NULL);
        bool any = false;

        if (group >= 0)
                return g->claimed && sim_pipe_is_end(&g->claim, group);
        for (const SimDevice *d = g->devices; d; d = d->next) {
                int fd = vfio_files_get(files, FILE_CDEV, d->facts.name);

                if (fd >= 0 && !sim_pipe_is_end(&d->cdev_file, fd))
                        return false;
                any |= fd >= 0;
        }
        return any;
}

static int adopt_claim(SimGroup *g) {
        _cleanup_free_ char *path = NULL;
        int r;

        if (!g->claimed)
                return 0;
        if (g->sim->persist) {
                path = claim_path(g);
                if (!path)
                        return -ENOMEM;
                r = sim_pipe_adopt(&g->claim, g->sim->event, path, on_claim_closed, g);
                if (r < 0)
                        return r;
        }
        if (!sim_pipe_is_open(&g->claim))
                sim_group_unclaim(g);
        return 0;
}

static int adopt_cdev(SimDevice *d) {
        Sim *sim = d->group->sim;
        _cleanup_free_ char *path = NULL;
        int r;

        if (d->cdev == SIM_CDEV_CLOSED)
                return 0;
        if (sim->persist) {
                path = cdev_path(d);
                if (!path)
                        return -ENOMEM;
                r = sim_pipe_adopt(&d->cdev_file, sim->event, path, on_cdev_closed, d);
                if (r < 0)
                        return r;
        }
        if (!sim_pipe_is_open(&d->cdev_file)) {
                sim_pipe_close(&d->cdev_file, path);
                sim_cdev_settle(d);
        }
        return 0;
}

/* Without a name, they were in a process that is gone. */
int sim_group_adopt_kept(SimGroup *g) {
        int r = adopt_claim(g);

        for (SimDevice *d = g->devices; d && r == 0; d = d->next)
                r = adopt_cdev(d);
        sim_group_settle(g);
        return r;
}
