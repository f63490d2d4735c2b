/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What libvirt runs as /etc/libvirt/hooks/qemu.d/50-dmaownerd and network.d/50-dmaownerd. docs/libvirt.md has the table of
 * what is done when. libvirt waits without a limit, takes the exit status of "prepare", "start" and "port-created" for yes or no,
 * and kills a running guest if that of "started" or "reconnect" is not 0. It must not be asked anything from here.
 */

#include <errno.h>
#include <stdio.h>

#include "client/libvirt/domain.h"
#include "client/libvirt/leases.h"
#include "client/libvirt/qemu.h"
#include "client/report.h"
#include "util/strings.h"

#define DAEMON_FOLDER  "/run/dmaownerd" /* is there when it has run since the host was started */
#define DEVICES_FOLDER "/sys/bus/pci/devices"

typedef struct Hook {
        Domain domain;
        sd_bus *bus;
        DomainLeases leases; /* as they were found */
} Hook;

/* ---- What is said ---- */

/* What is not done now; the domain goes on without it. */
static _printf_(2, 3) int warn(const Hook *h, const char *fmt, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;

        va_start(ap, fmt);
        if (vasprintf(&text, fmt, ap) < 0)
                text = NULL;
        va_end(ap);
        report_note("domain %s: %s", h->domain.name, text ? text : "out of memory");
        return 0;
}

static int refuse(const Hook *h, const char *why) {
        return report(STATUS_ERROR, NULL, "domain %s: %s", h->domain.name,
                      why ? why : "out of memory");
}

/* ---- Without the daemon ---- */

/* Whether it would be the daemon's to say who has the device: it has been there, and the device has an IOMMU group. */
static bool is_arbitrated(const char *device) {
        _cleanup_free_ char *group = str_format(DEVICES_FOLDER "/%s/iommu_group", device);

        return access(DAEMON_FOLDER, F_OK) == 0 && (!group || access(group, F_OK) == 0);
}

/* r: why it cannot be asked. Nobody may take what others may have, so not knowing is a no. */
static int without_daemon(const Hook *h, const char *why) {
        for (char **device = h->domain.devices; *device; device++)
                if (is_arbitrated(*device))
                        return report(STATUS_NO_DAEMON, NULL,
                                      "domain %s needs %s, and dmaownerd, which decides who has it, does not answer (%s): "
                                      "see \"systemctl status dmaownerd\"",
                                      h->domain.name, *device, why ? why : "out of memory");
        return warn(h, "dmaownerd is not there, its devices are not leased");
}

static int connect_bus(Hook *h, char **why) {
        int r = sd_bus_open_system(&h->bus);

        if (r >= 0)
                return 0;
        *why = str_format("the bus: %s", strerror(-r));
        return -EHOSTDOWN;
}

static int look(Hook *h, char **why) {
        int r = connect_bus(h, why);

        return r < 0 ? r : leases_list(h->bus, &h->domain, &h->leases, why);
}

/* ---- Before there is a QEMU ---- */

static bool qemu_lives(const Hook *h, pid_t *ret_pid) {
        _cleanup_close_ int pidfd = -EBADF;

        return qemu_open(&h->domain, ret_pid, &pidfd) == 0;
}

/* Of a start that came to nothing while nobody could say so. The new lease is there already, so no device goes back to
 * the host in between. */
static void release_former(const Hook *h) {
        for (size_t i = 0; i < h->leases.n; i++) {
                _cleanup_free_ char *why = NULL;

                if (leases_release(h->bus, &h->leases.leases[i], &why) < 0)
                        (void)warn(h, "its former lease %s stays: %s", h->leases.leases[i].id, why);
        }
}

static int acquire(Hook *h, bool is_alone) {
        _cleanup_free_ char *why = NULL;
        pid_t pid;
        int r;

        if (!h->domain.devices)
                return 0;
        r = look(h, &why);
        if (r == 0 && is_alone && h->leases.n > 0 && qemu_lives(h, &pid))
                return report(STATUS_ERROR, NULL,
                              "domain %s still runs, as process %d, with lease %s: stop that first",
                              h->domain.name, (int)pid, h->leases.leases[0].id);
        if (r == 0)
                r = leases_acquire(h->bus, &h->domain, h->domain.devices, -EBADF, NULL, &why);
        if (r == -EHOSTDOWN)
                return without_daemon(h, why);
        if (r < 0)
                return refuse(h, why);
        if (is_alone)
                release_former(h);
        return 0;
}

static int on_prepare(Hook *h) {
        return acquire(h, true);
}

/* A network has chosen a device for the domain, when "prepare" was over. */
static int on_port_created(Hook *h) {
        return acquire(h, false);
}

/* All is ready for QEMU. What networks have added is in the XML by now. */
static int on_start(Hook *h) {
        _cleanup_free_ char *why = NULL;
        int r;

        if (!h->domain.devices)
                return 0;
        r = look(h, &why);
        if (r == -EHOSTDOWN)
                return without_daemon(h, why);
        if (r < 0)
                return refuse(h, why);
        for (char **device = h->domain.devices; *device; device++) {
                const DomainLease *lease = leases_find(&h->leases, *device);

                if (!lease)
                        return report(STATUS_ERROR, NULL,
                                      "domain %s has no lease of %s: it has ended, or the hook is missing in "
                                      "/etc/libvirt/hooks/network.d",
                                      h->domain.name, *device);
                r = leases_renew(h->bus, lease, &why);
                if (r < 0)
                        return refuse(h, why);
        }
        return 0;
}

/* ---- With a QEMU, which must not suffer ---- */

static int confirm_all(Hook *h) {
        _cleanup_close_ int pidfd = -EBADF;
        pid_t pid;
        int r;

        r = qemu_open(&h->domain, &pid, &pidfd);
        if (r < 0)
                return warn(h, "its leases are not confirmed, as its QEMU is not found: %s",
                            strerror(-r));
        for (size_t i = 0; i < h->leases.n; i++) {
                const DomainLease *lease = &h->leases.leases[i];
                _cleanup_free_ char *why = NULL;

                if (lease->pid != pid && leases_confirm(h->bus, lease, pidfd, &why) < 0)
                        (void)warn(h, "lease %s is not confirmed: %s", lease->id, why);
        }
        return 0;
}

static int on_confirm(Hook *h) {
        _cleanup_free_ char *why = NULL;

        if (!h->domain.devices)
                return 0;
        if (look(h, &why) < 0)
                return warn(h, "its leases are not confirmed: %s", why);
        for (char **device = h->domain.devices; *device; device++)
                if (!leases_find(&h->leases, *device))
                        (void)warn(h, "it has %s without a lease", *device);
        return confirm_all(h);
}

/* ---- Behind a QEMU ---- */

static int release_each(Hook *h, bool (*is_meant)(const Hook *h, const DomainLease *l)) {
        _cleanup_free_ char *why = NULL;
        int r = look(h, &why);

        if (r < 0)
                return warn(h, "its leases end without help, as dmaownerd cannot be asked: %s", why);
        for (size_t i = 0; i < h->leases.n; i++) {
                const DomainLease *lease = &h->leases.leases[i];
                _cleanup_free_ char *reason = NULL;

                if (is_meant(h, lease) && leases_release(h->bus, lease, &reason) < 0)
                        (void)warn(h, "lease %s is not released: %s", lease->id, reason);
        }
        return 0;
}

/* After a start that was refused because the domain runs already this comes, too. */
static bool is_left_over(const Hook *h, const DomainLease *l) {
        pid_t pid;

        return l->pid == 0 || !qemu_lives(h, &pid) || pid != l->pid;
}

static int on_release(Hook *h) {
        return h->domain.devices ? release_each(h, is_left_over) : 0;
}

static bool is_of_port(const Hook *h, const DomainLease *l) {
        return strv_length(l->devices) == 1 && strv_contains(h->domain.devices, l->devices[0]);
}

static int on_port_deleted(Hook *h) {
        return h->domain.devices ? release_each(h, is_of_port) : 0;
}

/* ---- What libvirt asks for ---- */

static const struct {
        const char *operation;
        int (*of_domain)(Hook *h), (*of_port)(Hook *h); /* NULL: nothing is to be done */
        bool may_refuse;
} operations[] = {
        { "prepare", on_prepare, NULL, true },
        { "start", on_start, NULL, true },
        { "started", on_confirm, NULL, false },
        { "stopped", NULL, NULL, false }, /* libvirt has the devices until "release" */
        { "release", on_release, NULL, false },
        { "reconnect", on_confirm, NULL, false },
        { "attach", on_confirm, NULL, false },
        { "migrate", NULL, NULL, false }, /* these two are filters: no output is no change */
        { "restore", NULL, NULL, false },
        { "port-created", NULL, on_port_created, true },
        { "port-deleted", NULL, on_port_deleted, false },
        { "updated", NULL, NULL, false },
};

/* All of it, so that libvirt can write; more than is allowed is counted, not kept. -ENOMEM or an error of read(). */
static int read_input(char **ret, size_t *ret_size) {
        _cleanup_free_ char *text = malloc(DOMAIN_XML_MAX);
        char more[4096];
        ssize_t n = 1;

        if (!text)
                return -ENOMEM;
        *ret_size = 0;
        while (n > 0) {
                bool full = *ret_size >= DOMAIN_XML_MAX;

                n = full ? read(STDIN_FILENO, more, sizeof(more))
                         : read(STDIN_FILENO, text + *ret_size, DOMAIN_XML_MAX - *ret_size);
                if (n < 0)
                        return -errno;
                *ret_size += (size_t)n;
        }
        *ret = TAKE_PTR(text);
        return 0;
}

static int run(Hook *h, const char *guest, const char *operation) {
        _cleanup_free_ char *text = NULL, *why = NULL;
        size_t size, i = 0;
        int r, (*deed)(Hook * h);

        r = read_input(&text, &size);
        if (r < 0)
                return report_errno(r, "cannot read what libvirt says");
        while (i < sizeof(operations) / sizeof(*operations) &&
               !str_eq(operations[i].operation, operation))
                i++;
        if (i >= sizeof(operations) / sizeof(*operations)) {
                report_note("'%s' is no operation that is known here: nothing is done", operation);
                return 0;
        }
        if (!operations[i].of_domain && !operations[i].of_port)
                return 0;
        r = domain_from_xml(text, size, &h->domain, &why);
        if (r < 0)
                r = report(STATUS_ERROR, NULL, "the XML of %s cannot be read: %s", guest,
                           why ? why : strerror(-r));
        else {
                deed = h->domain.is_port ? operations[i].of_port : operations[i].of_domain;
                r = deed && h->domain.name ? deed(h) : 0;
        }
        return operations[i].may_refuse ? r : 0;
}

int main(int argc, char **argv) {
        Hook h = { .domain = DOMAIN_NULL };
        int r;

        report_as("dmaownerd");
        if (argc < 3)
                return report(
                        STATUS_USAGE, NULL,
                        "libvirt runs this as a hook: GUEST OPERATION SUB-OPERATION EXTRA, and XML on the standard input");
        r = run(&h, argv[1], argv[2]);
        leases_clear(&h.leases);
        sd_bus_flush_close_unref(h.bus);
        domain_clear(&h.domain);
        return r;
}
