/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The XML of a domain, or of a port: what is understood has an owner, and addresses of devices, each once. */
#include "fuzz.h"

#include "client/libvirt/domain.h"
#include "util/strings.h"

#define ADDRESS_LENGTH strlen("0000:00:00.0")

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *why = NULL, *owner = NULL;
        _cleanup_domain_ Domain d = DOMAIN_NULL;

        if (domain_from_xml((const char *)data, size, &d, &why) < 0) {
                assert(why && !d.uuid && !d.devices);
                return 0;
        }
        assert(!d.name == !d.uuid && (d.name || !d.devices));
        if (!d.name)
                return 0;
        owner = domain_owner(&d);
        assert(owner && strlen(owner) == strlen("libvirt:") + 36 && !str_empty(d.name));
        for (char **device = d.devices; device && *device; device++) {
                assert(strlen(*device) >= ADDRESS_LENGTH &&
                       strspn(*device, "0123456789abcdef:.") == strlen(*device));
                assert(!strv_contains(device + 1, *device));
        }
        return 0;
}
