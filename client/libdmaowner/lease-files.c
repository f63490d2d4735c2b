/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files that are lent are fetched device by device: a reply has room for 16 descriptors. */
#include <fcntl.h>

#include "client/libdmaowner/lease.h"
#include "util/strings.h"

#define DEVICES_PATH BUS_ROOT "/device"

static int ask_group(dmaowner_lease *l);

static const char *device_of(const dmaowner_lease *l) {
        return l->properties.devices[l->n_opened];
}

static int take_files(dmaowner_lease *l, sd_bus_message *m) {
        const char *device, *role;
        int r, lent;

        r = sd_bus_message_enter_container(m, 'a', "(ssh)");
        while (r >= 0 && (r = sd_bus_message_read(m, "(ssh)", &device, &role, &lent)) > 0) {
                int fd = fcntl(lent, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

                if (fd < 0)
                        return -errno;
                r = files_add(&l->files, l->group, role, device, fd);
                if (r < 0)
                        safe_close(fd);
        }
        return r;
}

static int on_files(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        dmaowner_lease *l = userdata;
        int r;

        if (lease_answered(l, OPERATION_OPEN, m) < 0)
                return lease_settle(l, 0);
        r = take_files(l, m);
        if (r >= 0) {
                l->n_opened++;
                r = ask_group(l);
        }
        return r > 0 ? 0 : lease_settle(l, r);
}

static int ask_files(dmaowner_lease *l) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = lease_new_call(l, &m, INTERFACE_LEASE, "OpenFiles");
        if (r >= 0)
                r = sd_bus_message_append(m, "as", 1, device_of(l));
        return r < 0 ? r : lease_start(l, OPERATION_OPEN, m, on_files);
}

static int on_group(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        dmaowner_lease *l = userdata;
        int r = lease_answered(l, OPERATION_OPEN, m);

        if (r < 0)
                return lease_settle(l, 0);
        r = sd_bus_message_read(m, "v", "i", &l->group);
        if (r >= 0)
                r = ask_files(l);
        return r < 0 ? lease_settle(l, r) : 0;
}

/* 1: asked, 0: there is no device left */
static int ask_group(dmaowner_lease *l) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        if (!l->properties.devices || l->n_opened >= strv_length(l->properties.devices))
                return 0;
        r = sd_bus_path_encode(DEVICES_PATH, device_of(l), &path);
        if (r >= 0)
                r = sd_bus_message_new_method_call(l->o->bus, &m, BUS_NAME, path,
                                                   INTERFACE_PROPERTIES, "Get");
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", INTERFACE_DEVICE, "Group");
        if (r >= 0)
                r = lease_start(l, OPERATION_OPEN, m, on_group);
        return r < 0 ? r : 1;
}

int dmaowner_lease_open_files(dmaowner_lease *l) {
        int r = lease_begin(l, OPERATION_OPEN);

        if (r < 0)
                return r;
        files_clear(&l->files);
        l->n_opened = 0;
        r = ask_group(l);
        return r < 0 ? r : 0;
}

const dmaowner_file *dmaowner_lease_get_files(const dmaowner_lease *l, size_t *n) {
        *n = l->files.n;
        return l->files.items;
}

int dmaowner_lease_take_file(dmaowner_lease *l, const char *name) {
        for (size_t i = 0; i < l->files.n; i++) {
                dmaowner_file *f = &l->files.items[i];
                int fd = f->fd;

                if (!str_eq(f->name, name))
                        continue;
                f->fd = -1;
                return fd < 0 ? -ENOENT : fd;
        }
        return -ENOENT;
}

void dmaowner_lease_close_files(dmaowner_lease *l) {
        files_clear(&l->files);
}
