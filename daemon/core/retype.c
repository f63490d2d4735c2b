/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When the kernel changes the default domain type of a group. What it forbids for a group that is not
 * trusted, or whose IOMMU driver allows one type only, cannot be seen before it is tried. */
#include "core/planner-private.h"
#include "util/strings.h"

bool type_change_is_live(const char *now, const char *type) {
        return str_eq(now, "DMA") && str_eq(type, "DMA-FQ");
}

bool device_bars_type(const Device *d) {
        return d->facts.strict_type ? !str_empty(d->facts.driver)
                                    : driver_is_in_the_way(d->facts.driver);
}

int check_type(const Group *g, const char *type, Obstacles *o) {
        const Device *first = g->devices;

        if (!group_type(g))
                return obstacles_add(o, "no-default-domain-type", first->facts.name,
                                     "IOMMU group %u (%s) has no default domain whose type could be "
                                     "changed to %s; leave the type out",
                                     g->id, first->facts.name, type);
        if (first->facts.strict_type && g->n_devices != 1)
                return obstacles_add(o, "type-needs-single-device", first->next->facts.name,
                                     "IOMMU group %u has %zu devices, %s and %s among them: before "
                                     "Linux 6.4 the kernel changes the default domain type (%s to %s) "
                                     "of a group of one device only; use a newer kernel, or choose the "
                                     "type of all groups on the kernel command line "
                                     "(iommu.passthrough=, iommu.strict=)",
                                     g->id, g->n_devices, first->facts.name,
                                     first->next->facts.name, group_type(g), type);
        return 0;
}
