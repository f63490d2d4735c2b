/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/refusal.h"

#include "core/planner-private.h"
#include "util/strings.h"

/* "0000:3b:00.0 (e1000e), ...": the devices that keep the type from being changed. */
static int describe_barring(const Group *g, char **ret) {
        _cleanup_free_ char *names = NULL;

        for (const Device *d = g->devices; d; d = d->next)
                if (device_bars_type(d) && str_append(&names, "%s%s (%s)", names ? ", " : "",
                                                      d->facts.name, d->facts.driver) < 0)
                        return -ENOMEM;
        *ret = TAKE_PTR(names);
        return 0;
}

static char *explain_owned(const Group *g) {
        _cleanup_free_ char *names = NULL;

        if (describe_barring(g, &names) < 0)
                return NULL;
        if (names)
                return str_format("the kernel changes the type only while no driver owns the group, "
                                  "but somebody bound %s meanwhile; release that device and try "
                                  "again",
                                  names);
        return str_format(
                "the kernel changes the type only while nobody owns the group: a program has "
                "it open through VFIO; close that and try again");
}

static char *explain_invalid_type(const Group *g, const char *type) {
        if (g->devices && g->devices->facts.strict_type && g->n_devices != 1)
                return str_format("before Linux 6.4 the kernel changes the type of a group of one "
                                  "device only, and this one has %zu",
                                  g->n_devices);
        return str_format("the platform does not allow the type %s for this group: it may be behind an "
                          "external port, or the IOMMU driver allows one type only; ask for auto, or "
                          "for no type (the kernel's log may say more)",
                          type);
}

static char *explain_type(const Group *g, const Step *step, int error) {
        switch (error) {
        case EINVAL:
                return explain_invalid_type(g, step->value);
        case EBUSY:
        case EPERM:
                return explain_owned(g);
        case EACCES:
                return str_format("the kernel wants CAP_SYS_ADMIN and CAP_SYS_RAWIO for that; see "
                                  "CapabilityBoundingSet= of dmaowner-executor.service");
        default:
                return NULL;
        }
}

static char *explain_bind(const Step *step, int error) {
        switch (error) {
        case ENODEV:
                return str_format("the driver %s does not take %s; the kernel's log may say why",
                                  step->value, step->device);
        case EBUSY:
                return str_format("somebody owns the DMA of group %u, or has bound %s meanwhile",
                                  step->group, step->device);
        case EAGAIN:
                return str_format("the driver %s waits for something else of the host to appear",
                                  step->value);
        default:
                return NULL;
        }
}

int refusal_explain(const Group *g, const Step *step, int error, char **ret) {
        bool type = step->kind == STEP_SET_TYPE, bind = step->kind == STEP_BIND;

        *ret = NULL;
        if (type && (error == EINVAL || error == EBUSY || error == EPERM || error == EACCES))
                *ret = explain_type(g, step, error);
        else if (bind && (error == ENODEV || error == EBUSY || error == EAGAIN))
                *ret = explain_bind(step, error);
        else
                return 0;
        return *ret ? 0 : -ENOMEM;
}
