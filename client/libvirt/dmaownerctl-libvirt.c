/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "dmaownerctl libvirt", a program of its own so that only who has libvirt needs its library. dmaownerctl starts it as
 *     dmaownerctl-libvirt BUS JSON-STYLE LEGEND URI VERB [DOMAIN DEVICE]
 * It may ask libvirt, as no hook may.
 */

#include <errno.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <time.h>

#include "client/bus.h"
#include "client/libvirt/domain.h"
#include "client/libvirt/leases.h"
#include "client/libvirt/qemu.h"
#include "client/message-json.h"
#include "client/names.h"
#include "client/report.h"
#include "util/strings.h"

#define UNPLUG_SECONDS 30
#define LOOK_NSEC      200000000L

typedef struct Tool {
        Options options; /* those of dmaownerctl */
        virConnectPtr libvirt;
        sd_bus *bus;
} Tool;

static inline void virt_domain_freep(virDomainPtr *d) {
        if (*d)
                (void)virDomainFree(*d);
}
#define _cleanup_virt_domain_ _cleanup_(virt_domain_freep)

/* ---- libvirt ---- */

/* It would print what is reported here. */
static void on_error(void *userdata, virErrorPtr error) {
}

static int report_libvirt(const char *what) {
        return report(STATUS_ERROR, NULL, "%s: %s", what, virGetLastErrorMessage());
}

static int connect_libvirt(Tool *t, const char *uri, bool writes) {
        const char *name = str_empty(uri) ? "qemu:///system" : uri;

        t->libvirt = writes ? virConnectOpen(name) : virConnectOpenReadOnly(name);
        if (t->libvirt)
                return 0;
        return report(STATUS_ERROR, "is libvirtd running? --connect= names another one",
                      "cannot connect to %s: %s", name, virGetLastErrorMessage());
}

static int read_domain(virDomainPtr libvirts, Domain *ret) {
        _cleanup_free_ char *xml = virDomainGetXMLDesc(libvirts, 0), *why = NULL;
        int r;

        if (!xml)
                return report_libvirt(virDomainGetName(libvirts));
        r = domain_from_xml(xml, strlen(xml), ret, &why);
        if (r < 0)
                return report(STATUS_ERROR, NULL, "the XML of %s cannot be read: %s",
                              virDomainGetName(libvirts), why ? why : strerror(-r));
        return 0;
}

/* By its name, UUID or number, as virsh takes them. */
static int find_domain(Tool *t, const char *typed, virDomainPtr *ret) {
        unsigned long long id;

        *ret = virDomainLookupByName(t->libvirt, typed);
        if (!*ret)
                *ret = virDomainLookupByUUIDString(t->libvirt, typed);
        if (!*ret && parse_u64(typed, 10, &id) == 0 && id <= INT32_MAX)
                *ret = virDomainLookupByID(t->libvirt, (int)id);
        return *ret ? 0
                    : report(STATUS_ERROR, "\"virsh list --all\" shows all",
                             "there is no domain %s", typed);
}

/* ---- attach ---- */

/* managed: libvirt finds the device on VFIO already, leaves it there, and forgets it when the domain gives it back. Of one
 * that is not managed it would believe for ever that it is its own. */
static char *hostdev_xml(const char *device) {
        unsigned domain, bus, slot, function;

        if (sscanf(device, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
                return NULL;
        return str_format(
                "<hostdev mode='subsystem' type='pci' managed='yes'><source>"
                "<address domain='0x%04x' bus='0x%02x' slot='0x%02x' function='0x%x'/></source></hostdev>",
                domain, bus, slot, function);
}

static int release(Tool *t, const Domain *d, const char *device) {
        _cleanup_leases_ DomainLeases leases = DOMAIN_LEASES_NULL;
        _cleanup_free_ char *why = NULL;
        const DomainLease *lease;
        int r;

        r = leases_list(t->bus, d, &leases, &why);
        if (r < 0)
                return report(STATUS_ERROR, NULL, "the leases of %s: %s", d->name,
                              why ? why : strerror(-r));
        lease = leases_find(&leases, device);
        if (!lease)
                return 0;
        if (strv_length(lease->devices) > 1) {
                report_note(
                        "lease %s has other devices of %s, too: %s stays with it until the domain ends",
                        lease->id, d->name, device);
                return 0;
        }
        r = leases_release(t->bus, lease, &why);
        if (r < 0)
                return report(STATUS_ERROR, NULL, "lease %s: %s", lease->id,
                              why ? why : strerror(-r));
        return 0;
}

static int lease_and_attach(Tool *t, virDomainPtr libvirts, const Domain *d, char *device) {
        _cleanup_free_ char *xml = hostdev_xml(device), *why = NULL, *id = NULL;
        char *const devices[] = { device, NULL };
        _cleanup_close_ int pidfd = -EBADF;
        int r;

        if (!xml)
                return report(STATUS_USAGE, NULL, "%s is no PCI address like 0000:3b:00.0", device);
        r = qemu_open(d, NULL, &pidfd);
        if (r < 0)
                return report(
                        STATUS_ERROR,
                        "only a domain that runs can be given a device; for its next start: \"virsh edit\"",
                        "the QEMU of %s is not found: %s", d->name, strerror(-r));
        r = leases_acquire(t->bus, d, devices, pidfd, &id, &why);
        if (r < 0)
                return report(r == -EHOSTDOWN ? STATUS_NO_DAEMON
                              : r == -EBUSY   ? STATUS_BUSY
                                              : STATUS_ERROR,
                              NULL, "domain %s: %s", d->name, why ? why : strerror(-r));
        if (virDomainAttachDeviceFlags(libvirts, xml, VIR_DOMAIN_AFFECT_LIVE) < 0) {
                r = report_libvirt("libvirt did not attach it");
                (void)release(t, d, device);
                return r;
        }
        printf("%s  %s  %s\n", d->name, device, id);
        return 0;
}

static int attach(Tool *t, virDomainPtr libvirts, const Domain *d, char *device) {
        if (strv_contains(d->devices, device))
                return report(STATUS_ERROR, NULL, "%s has %s already", d->name, device);
        return lease_and_attach(t, libvirts, d, device);
}

/* ---- detach ---- */

/* The guest has to let go of it. */
static int wait_gone(virDomainPtr libvirts, const char *device) {
        static const struct timespec pause = { .tv_nsec = LOOK_NSEC };

        for (int i = 0; i < UNPLUG_SECONDS * (1000000000L / LOOK_NSEC); i++) {
                _cleanup_domain_ Domain now = DOMAIN_NULL;
                int r = read_domain(libvirts, &now);

                if (r != 0 || !strv_contains(now.devices, device))
                        return r;
                (void)nanosleep(&pause, NULL);
        }
        return report(STATUS_TIMED_OUT,
                      "try again when its system is up; the lease stays as long as the device",
                      "the guest has not let go of %s in %d s", device, UNPLUG_SECONDS);
}

static int detach(Tool *t, virDomainPtr libvirts, const Domain *d, char *device) {
        _cleanup_free_ char *xml = hostdev_xml(device);
        int r;

        if (!xml || !strv_contains(d->devices, device))
                return report(STATUS_ERROR, "\"dmaownerctl libvirt status\" shows all",
                              "%s does not have %s", d->name, device);
        if (virDomainDetachDeviceFlags(libvirts, xml, VIR_DOMAIN_AFFECT_LIVE) < 0)
                return report_libvirt("libvirt did not detach it");
        r = wait_gone(libvirts, device);
        return r != 0 ? r : release(t, d, device);
}

/* ---- status ---- */

typedef struct Row {
        const Domain *domain;
        const char *device;
        bool runs;
        json_object *lease; /* NULL: none */
        bool is_own;
} Row;

static json_object *find_lease(json_object *leases, const char *device) {
        for (size_t i = 0; i < json_object_array_length(leases); i++) {
                json_object *lease = json_object_array_get_idx(leases, i),
                            *devices = json_member(lease, "Devices");

                if (lease_is_over(json_string(lease, "State")))
                        continue;
                for (size_t k = 0; k < json_object_array_length(devices); k++)
                        if (str_eq(json_object_get_string(json_object_array_get_idx(devices, k)),
                                   device))
                                return lease;
        }
        return NULL;
}

static const char *owner_of(json_object *lease) {
        return json_object_get_string(json_object_array_get_idx(json_member(lease, "Owner"), 1));
}

static int put(json_object *o, const char *key, const char *value) {
        return json_object_object_add(o, key, value ? json_object_new_string(value) : NULL);
}

static int add_json(const Row *row, json_object *all) {
        json_object *o = json_object_new_object();
        int r = o ? put(o, "domain", row->domain->name) : -1;

        if (r == 0)
                r = put(o, "uuid", row->domain->uuid);
        if (r == 0)
                r = json_object_object_add(o, "running", json_object_new_boolean(row->runs));
        if (r == 0)
                r = put(o, "device", row->device);
        if (r == 0)
                r = put(o, "lease", row->lease ? json_string(row->lease, "Id") : NULL);
        if (r == 0)
                r = put(o, "state", row->lease ? json_string(row->lease, "State") : NULL);
        if (r == 0)
                r = put(o, "owner", row->lease ? owner_of(row->lease) : NULL);
        if (r == 0 && json_object_array_add(all, o) == 0)
                return 0;
        json_object_put(o);
        return -ENOMEM;
}

static int add_row(const Row *row, Table *table) {
        /* one that runs without a lease of its own is nobody's plan */
        Colour colour = row->is_own ? COLOUR_GOOD : row->runs ? COLOUR_BAD : COLOUR_NONE;
        int r = table_add(table, COLOUR_BOLD, row->domain->name);

        if (r == 0)
                r = table_add(table, COLOUR_NONE, row->runs ? "running" : "off");
        if (r == 0)
                r = table_add(table, COLOUR_NONE, row->device);
        if (r == 0)
                r = table_add(table, colour, row->lease ? json_string(row->lease, "Id") : "none");
        if (r == 0)
                r = table_add(table, COLOUR_NONE,
                              row->lease ? json_string(row->lease, "State") : NULL);
        return r < 0 ? r
                     : table_add(table, COLOUR_NONE,
                                 row->lease && !row->is_own ? owner_of(row->lease) : NULL);
}

static int add_domain(virDomainPtr libvirts, json_object *leases, Table *table, json_object *all) {
        _cleanup_domain_ Domain d = DOMAIN_NULL;
        _cleanup_free_ char *owner = NULL;
        int r = read_domain(libvirts, &d);

        if (r != 0)
                return r;
        owner = domain_owner(&d);
        for (char **device = d.devices; r == 0 && device && *device; device++) {
                Row row = { .domain = &d,
                            .device = *device,
                            .runs = virDomainIsActive(libvirts) == 1 };

                row.lease = find_lease(leases, *device);
                row.is_own = row.lease && str_eq(owner_of(row.lease), owner);
                r = add_row(&row, table) == 0 ? add_json(&row, all) : -ENOMEM;
        }
        return r < 0 ? (int)report_errno(r, "status") : r;
}

static int print_domains(Tool *t, virDomainPtr *domains, int n) {
        static const Column columns[] = { { "DOMAIN", 8, 0 }, { "STATE", 0, 2 }, { "DEVICE", 0, 0 },
                                          { "LEASE", 0, 0 },  { "OF IT", 0, 1 }, { "OWNER", 8, 3 } };
        _cleanup_json_ json_object *leases = NULL, *all = json_object_new_array();
        _cleanup_table_ Table table = TABLE_INIT(columns);
        Look look = look_of_stdout(!t->options.no_legend);
        int r;

        if (!all)
                return report_errno(-ENOMEM, "status");
        r = bus_list_leases(t->bus, &leases);
        for (int i = 0; r == 0 && i < n; i++)
                r = add_domain(domains[i], leases, &table, all);
        if (r != 0)
                return r;
        if (t->options.json != JSON_NONE)
                json_print(all, t->options.json);
        else if (table_print(&table, &look, stdout) < 0)
                return report_errno(-ENOMEM, "status");
        return 0;
}

static int status(Tool *t) {
        virDomainPtr *domains;
        int n, r;

        n = virConnectListAllDomains(t->libvirt, &domains, 0);
        if (n < 0)
                return report_libvirt("cannot list the domains");
        r = print_domains(t, domains, n);
        for (int i = 0; i < n; i++)
                (void)virDomainFree(domains[i]);
        free(domains);
        return r;
}

/* ---- The command line ---- */

static int change(Tool *t, const char *typed, const char *device,
                  int (*deed)(Tool *, virDomainPtr, const Domain *, char *)) {
        _cleanup_free_ char *name = device_name_normalise(device);
        _cleanup_virt_domain_ virDomainPtr libvirts = NULL;
        _cleanup_domain_ Domain d = DOMAIN_NULL;
        int r;

        if (!name)
                return report_errno(-ENOMEM, device);
        r = find_domain(t, typed, &libvirts);
        if (r == 0)
                r = read_domain(libvirts, &d);
        return r != 0 ? r : deed(t, libvirts, &d, name);
}

static int run(Tool *t, int argc, char **argv) {
        const char *uri = argv[4], *verb = argv[5];
        bool attaches = str_eq(verb, "attach"), detaches = str_eq(verb, "detach");
        int r;

        if (argc != (attaches || detaches ? 8 : 6) ||
            !(attaches || detaches || str_eq(verb, "status")))
                return report(
                        STATUS_USAGE, NULL,
                        "usage: dmaownerctl libvirt status | attach DOMAIN DEVICE | detach DOMAIN DEVICE");
        virSetErrorFunc(NULL, on_error);
        r = connect_libvirt(t, uri, attaches || detaches);
        if (r == 0)
                r = bus_connect(&t->options, &t->bus);
        if (r != 0)
                return r;
        if (attaches || detaches)
                return change(t, argv[6], argv[7], attaches ? attach : detach);
        return status(t);
}

int main(int argc, char **argv) {
        Tool t = { 0 };
        int r;

        if (argc < 6)
                return report(STATUS_USAGE, NULL,
                              "this is for dmaownerctl to start: see \"dmaownerctl libvirt --help\"");
        t.options = (Options){ .bus = argv[1],
                               .json = (JsonStyle)(argv[2][0] - '0'),
                               .no_legend = argv[3][0] == '0' };
        r = run(&t, argc, argv);
        if (t.libvirt)
                (void)virConnectClose(t.libvirt);
        sd_bus_flush_close_unref(t.bus);
        return r;
}
