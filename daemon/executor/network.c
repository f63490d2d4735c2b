/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/network.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>

#include "util/strings.h"

typedef struct Interface {
        const Sysfs *s;
        const char *path; /* in sysfs */
        const char *name;
        const char *device;
        Obstacles *obstacles;
} Interface;

static unsigned count_bits(const uint8_t *bytes, size_t n) {
        unsigned bits = 0;

        for (size_t i = 0; i < n; i++)
                bits += (unsigned)__builtin_popcount(bytes[i]);
        return bits;
}

/* An address that somebody gave it, as text with its prefix; false: none or one that any interface
 * gives itself. */
static bool describe_address(const struct ifaddrs *a, char *text, size_t size) {
        char address[INET6_ADDRSTRLEN];
        const void *bytes, *mask;
        size_t length;

        if (!a->ifa_addr || !a->ifa_netmask)
                return false;
        if (a->ifa_addr->sa_family == AF_INET) {
                bytes = &((const struct sockaddr_in *)(const void *)a->ifa_addr)->sin_addr;
                mask = &((const struct sockaddr_in *)(const void *)a->ifa_netmask)->sin_addr;
                length = sizeof(struct in_addr);
        } else if (a->ifa_addr->sa_family == AF_INET6) {
                bytes = &((const struct sockaddr_in6 *)(const void *)a->ifa_addr)->sin6_addr;
                mask = &((const struct sockaddr_in6 *)(const void *)a->ifa_netmask)->sin6_addr;
                length = sizeof(struct in6_addr);
                if (IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)bytes))
                        return false;
        } else
                return false;
        if (!inet_ntop(a->ifa_addr->sa_family, bytes, address, sizeof(address)))
                return false;
        (void)snprintf(text, size, "%s/%u", address, count_bits(mask, length));
        return true;
}

static int add_addresses(const Interface *i) {
        struct ifaddrs *addresses;
        int r = 0;

        if (getifaddrs(&addresses) < 0)
                return -errno;
        for (struct ifaddrs *a = addresses; r == 0 && a; a = a->ifa_next) {
                char text[INET6_ADDRSTRLEN + 8];

                if (strcmp(a->ifa_name, i->name) == 0 && (a->ifa_flags & IFF_UP) &&
                    describe_address(a, text, sizeof(text)))
                        r = obstacles_add(i->obstacles, "network-address", i->device,
                                          "%s is up with address %s", i->name, text);
        }
        freeifaddrs(addresses);
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

/* Lines of /proc/net/route and ipv6_route: does it lead everywhere, by which interface? */
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

        r = has_default_route(i, "proc/net/route", is_default_ipv4);
        if (r == 0)
                r = has_default_route(i, "proc/net/ipv6_route", is_default_ipv6);
        if (r <= 0)
                return r;
        return obstacles_add(i->obstacles, "default-route", i->device,
                             "%s carries the default route", i->name);
}

int network_inspect(const Sysfs *s, const char *path, const char *device, Obstacles *obstacles) {
        const Interface i = {
                .s = s,
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
