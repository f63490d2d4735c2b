/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/network.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "executor/netlink.h"
#include "util/strings.h"

#define TRIES 5

typedef struct Interface {
        Run *run;
        const Sysfs *s;
        const char *path; /* in sysfs */
        const char *name;
        const char *device;
        Obstacles *obstacles;
} Interface;

/* What it says of itself: its number, and whether it is up. -ENOENT, -ENODEV or -EINVAL: it is gone, or just going. */
static int read_number(const Interface *i, const char *name, int base, unsigned long long *ret) {
        _cleanup_free_ char *text = NULL;
        int r = sysfs_readf(i->s, &text, "%s/%s", i->path, name);

        return r < 0 ? r : parse_u64(text, base, ret);
}

static int note_attribute(const struct nlattr *a, void *userdata) {
        const struct nlattr **attributes = userdata;

        if (mnl_attr_get_type(a) <= IFA_MAX)
                attributes[mnl_attr_get_type(a)] = a;
        return MNL_CB_OK;
}

/* An address that somebody gave it, as text with its prefix; false: one that any interface gives
 * itself. */
static bool describe_address(const struct nlmsghdr *h, char *text, size_t size) {
        const struct nlattr *attributes[IFA_MAX + 1] = {}, *a;
        const struct ifaddrmsg *m = mnl_nlmsg_get_payload(h);
        char address[INET6_ADDRSTRLEN];
        const void *bytes;

        if (mnl_attr_parse(h, sizeof(*m), note_attribute, attributes) < 0)
                return false;
        /* of a connection to a single peer, that is the other end's */
        a = attributes[IFA_LOCAL] ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
        if (!a ||
            mnl_attr_get_payload_len(a) <
                    (m->ifa_family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr)))
                return false;
        bytes = mnl_attr_get_payload(a);
        if (m->ifa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)bytes))
                return false;
        if (!inet_ntop(m->ifa_family, bytes, address, sizeof(address)))
                return false;
        (void)snprintf(text, size, "%s/%u", address, m->ifa_prefixlen);
        return true;
}

typedef struct Addresses {
        unsigned long long interface;
        char **texts;
} Addresses;

static int on_address(const struct nlmsghdr *h, void *userdata) {
        const struct ifaddrmsg *m = mnl_nlmsg_get_payload(h);
        char text[INET6_ADDRSTRLEN + 8];
        Addresses *found = userdata;

        if (h->nlmsg_type != RTM_NEWADDR || m->ifa_index != found->interface ||
            (m->ifa_family != AF_INET && m->ifa_family != AF_INET6) ||
            !describe_address(h, text, sizeof(text)))
                return MNL_CB_OK;
        if (strv_extend(&found->texts, text) < 0) {
                errno = ENOMEM;
                return MNL_CB_ERROR;
        }
        return MNL_CB_OK;
}

/* While addresses come and go the kernel says that the list is not a whole one. */
static int list_addresses(Run *run, Addresses *found) {
        char buffer[NETLINK_REQUEST_SIZE];
        int r = -EINTR;

        for (unsigned i = 0; r == -EINTR && i < TRIES; i++) {
                struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);

                h->nlmsg_type = RTM_GETADDR;
                h->nlmsg_flags = NLM_F_DUMP;
                (void)mnl_nlmsg_put_extra_header(h, sizeof(struct ifaddrmsg));
                found->texts = strv_free(found->texts);
                r = netlink_ask(run, h, on_address, found);
        }
        return r;
}

static int add_addresses(const Interface *i) {
        unsigned long long flags;
        Addresses found = {};
        int r;

        r = read_number(i, "flags", 16, &flags);
        if (r == 0 && (flags & IFF_UP))
                r = read_number(i, "ifindex", 10, &found.interface);
        if (r == -ENOENT || r == -ENODEV || r == -EINVAL)
                return 0;
        if (r < 0 || !(flags & IFF_UP))
                return r;
        r = list_addresses(i->run, &found);
        for (char **text = found.texts; r == 0 && text && *text; text++)
                r = obstacles_add(i->obstacles, "network-address", i->device,
                                  "%s is up with address %s", i->name, *text);
        strv_free(found.texts);
        return r;
}

/* Bridges, bonds, VLANs, tunnels: whatever stands on top of it. */
static int add_uppers(const Interface *i) {
        static const char prefix[] = "upper_";
        _cleanup_(strv_freep) char **entries = NULL;
        int r;

        r = sysfs_list(i->s, i->path, &entries);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        for (char **e = entries; *e; e++) {
                if (!str_starts(*e, prefix))
                        continue;
                r = obstacles_add(i->obstacles, "network-upper", i->device, "%s is part of %s",
                                  i->name, *e + strlen(prefix));
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Lines of route and ipv6_route in /proc/PID/net: does it lead everywhere, by which interface? */
static bool is_default_ipv4(const char *line, char name[static IF_NAMESIZE]) {
        unsigned destination, mask;

        return sscanf(line, "%15s %x %*s %*s %*s %*s %*s %x", name, &destination, &mask) == 3 &&
               destination == 0 && mask == 0;
}

static bool is_default_ipv6(const char *line, char name[static IF_NAMESIZE]) {
        char destination[33];
        unsigned length;

        return sscanf(line, "%32s %x %*s %*s %*s %*s %*s %*s %*s %15s", destination, &length,
                      name) == 3 &&
               length == 0 && strspn(destination, "0") == strlen(destination);
}

static int has_default_route(const Interface *i, const char *table,
                             bool (*is_default)(const char *, char[static IF_NAMESIZE])) {
        _cleanup_free_ char *line = NULL;
        char name[IF_NAMESIZE];
        size_t size = 0;
        int r, found = 0;
        FILE *f;

        r = sysfs_open_stream(i->s, table, &f);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        while (!found && getline(&line, &size, f) > 0)
                found = is_default(line, name) && strcmp(name, i->name) == 0;
        (void)fclose(f);
        return found;
}

static int add_default_route(const Interface *i) {
        int r;

        /* the host's: where the first process is */
        r = has_default_route(i, "proc/1/net/route", is_default_ipv4);
        if (r == 0)
                r = has_default_route(i, "proc/1/net/ipv6_route", is_default_ipv6);
        if (r <= 0)
                return r;
        return obstacles_add(i->obstacles, "default-route", i->device,
                             "%s carries the default route", i->name);
}

int network_inspect(Run *run, const char *path, const char *device, Obstacles *obstacles) {
        const Interface i = {
                .run = run,
                .s = &run->sysfs,
                .path = path,
                .name = strrchr(path, '/') + 1,
                .device = device,
                .obstacles = obstacles,
        };
        int r;

        r = add_addresses(&i);
        if (r < 0)
                return r;
        r = add_uppers(&i);
        if (r < 0)
                return r;
        return add_default_route(&i);
}
