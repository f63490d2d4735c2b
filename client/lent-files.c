/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/lent-files.h"

#include <fcntl.h>

#include "client/bus.h"
#include "client/message-json.h"
#include "client/report.h"
#include "util/strings.h"

static void lent_file_clear(LentFile *f) {
        free(f->name);
        free(f->role);
        free(f->device);
        f->fd = safe_close(f->fd);
}

void lent_files_clear(LentFiles *f) {
        for (size_t i = 0; i < f->n; i++)
                lent_file_clear(&f->items[i]);
        free(f->items);
        *f = LENT_FILES_NULL;
}

static char *make_name(const LentFiles *f, unsigned group, const char *role, const char *device) {
        if (str_eq(role, "cdev"))
                return strdup(device);
        if (f->n == 0 || f->items[0].group == group)
                return strdup(role);
        return str_format("%s@%s", role, device);
}

static const LentFile *find(const LentFiles *f, unsigned group, const char *role,
                            const char *device) {
        for (size_t i = 0; i < f->n; i++)
                if (f->items[i].group == group && str_eq(f->items[i].role, role) &&
                    (!str_eq(role, "cdev") || str_eq(f->items[i].device, device)))
                        return &f->items[i];
        return NULL;
}

int lent_files_add(LentFiles *f, unsigned group, const char *role, const char *device, int fd) {
        LentFile *longer, added = { .group = group, .fd = -EBADF };

        if (find(f, group, role, device)) {
                safe_close(fd);
                return 0;
        }
        longer = reallocarray(f->items, f->n + 1, sizeof(LentFile));
        if (!longer)
                return -ENOMEM;
        f->items = longer;
        added.name = make_name(f, group, role, device);
        if (!added.name || str_set(&added.role, role) < 0 || str_set(&added.device, device) < 0) {
                lent_file_clear(&added);
                return -ENOMEM;
        }
        added.fd = fd;
        f->items[f->n++] = added;
        return 0;
}

const LentFile *lent_files_first(const LentFiles *f, const char *role) {
        for (size_t i = 0; i < f->n; i++)
                if (str_eq(f->items[i].role, role))
                        return &f->items[i];
        return NULL;
}

char *lent_files_describe(const LentFiles *f) {
        char *text = strdup("");

        for (size_t i = 0; text && i < f->n; i++)
                if (str_append(&text, "%s%s=%d", i == 0 ? "" : ",", f->items[i].name,
                               f->items[i].fd) < 0) {
                        free(text);
                        return NULL;
                }
        return text;
}

int lent_files_pass_on(const LentFiles *f) {
        for (size_t i = 0; i < f->n; i++)
                if (fcntl(f->items[i].fd, F_SETFD, 0) < 0)
                        return -errno;
        return 0;
}

static int take_reply(LentFiles *f, unsigned group, sd_bus_message *reply) {
        const char *device, *role;
        int r, lent;

        r = sd_bus_message_enter_container(reply, 'a', "(ssh)");
        while (r >= 0 && (r = sd_bus_message_read(reply, "(ssh)", &device, &role, &lent)) > 0) {
                int fd = fcntl(lent, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

                if (fd < 0)
                        return -errno;
                r = lent_files_add(f, group, role, device, fd);
                if (r < 0)
                        safe_close(fd);
        }
        return r;
}

static int find_group(sd_bus *bus, const char *device, unsigned *ret) {
        _cleanup_json_ json_object *reply = NULL, *properties = NULL;
        int r;

        r = bus_call(bus, BUS_ROOT, INTERFACE_MANAGER, "GetDevice", &reply, "s", device);
        if (r == 0)
                r = bus_get_properties(bus,
                                       json_object_get_string(json_object_array_get_idx(reply, 0)),
                                       INTERFACE_DEVICE, &properties);
        if (r == 0)
                *ret = (unsigned)json_number(properties, "Group");
        return r;
}

/* One by one: a reply has room for 16 descriptors. */
int lent_files_open(LentFiles *f, sd_bus *bus, const char *lease, json_object *devices) {
        for (size_t i = 0; i < json_object_array_length(devices); i++) {
                const char *device = json_object_get_string(json_object_array_get_idx(devices, i));
                _cleanup_message_ sd_bus_message *reply = NULL;
                unsigned group;
                int r;

                r = find_group(bus, device, &group);
                if (r == 0)
                        r = bus_call_message(bus, lease, INTERFACE_LEASE, "OpenFiles", &reply, "as",
                                             1, device);
                if (r != 0)
                        return r;
                r = take_reply(f, group, reply);
                if (r < 0)
                        return report_errno(r, "cannot read the daemon's answer");
        }
        return 0;
}
