/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/libdmaowner/error.h"

#include <errno.h>

#include "util/strings.h"

#define OURS "org.dmaowner1.Error."

static const struct {
        const char *name;
        int number;
} errors[] = {
        { OURS "Busy", EBUSY },
        { OURS "Quarantined", EBUSY },
        { OURS "NotViable", EBUSY },
        { OURS "InUse", EBUSY },
        { OURS "NoSuchDevice", ENODEV },
        { OURS "NoSuchGroup", ENODEV },
        { OURS "NoSuchLease", ENOENT },
        { OURS "NoIommu", EOPNOTSUPP },
        { OURS "Unsupported", EOPNOTSUPP },
        { OURS "KernelRefused", EIO },
        { OURS "TimedOut", ETIMEDOUT },
        { OURS "QuotaExceeded", EDQUOT },
        { OURS "Lost", ESTALE },
        { OURS "BadPolicy", EACCES },
};

int errno_of_error(const sd_bus_error *e) {
        int number;

        for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
                if (str_eq(e->name, errors[i].name))
                        return errors[i].number;
        number = sd_bus_error_get_errno(e);
        return number > 0 ? number : EIO;
}
