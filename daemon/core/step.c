/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/step.h"

#include "core/string-table.h"
#include "util/strings.h"

static const char *const step_kinds[_STEP_KIND_MAX] = {
        [STEP_INSPECT] = "inspect",
        [STEP_LOAD_MODULE] = "load-module",
        [STEP_SET_OVERRIDE] = "set-override",
        [STEP_UNBIND] = "unbind",
        [STEP_EVICT] = "evict",
        [STEP_BIND] = "bind",
        [STEP_PROBE] = "probe",
        [STEP_SET_TYPE] = "set-type",
        [STEP_WAIT_NODE] = "wait-node",
        [STEP_GRANT_NODE] = "grant-node",
        [STEP_REVOKE_NODE] = "revoke-node",
        [STEP_WAIT_CLOSED] = "wait-closed",
        [STEP_LEND] = "lend",
        [STEP_RECLAIM] = "reclaim",
        [STEP_CLAIM] = "claim",
        [STEP_RELEASE] = "release",
        [STEP_SCRUB] = "scrub",
        [STEP_RESET] = "reset",
        [STEP_SET_VF_AUTOPROBE] = "set-vf-autoprobe",
        [STEP_SET_NUM_VFS] = "set-num-vfs",
        [STEP_READ_VF] = "read-vf",
        [STEP_SET_VF] = "set-vf",
};
DEFINE_STRING_TABLE(step_kind, StepKind, step_kinds, _STEP_KIND_INVALID);

void step_clear(Step *s) {
        free(s->device);
        free(s->value);
        free(s->former);
        *s = (Step){ .kind = _STEP_KIND_INVALID };
}

int step_copy(Step *to, const Step *from) {
        Step copy = *from;

        copy.device = copy.value = copy.former = NULL;
        if (str_set(&copy.device, from->device) < 0 || str_set(&copy.value, from->value) < 0 ||
            str_set(&copy.former, from->former) < 0) {
                step_clear(&copy);
                return -ENOMEM;
        }
        step_clear(to);
        *to = copy;
        return 0;
}

char *step_describe(const Step *s) {
        const char *device = s->device ? s->device : "?", *value = s->value ? s->value : "?";

        switch (s->kind) {
        case STEP_INSPECT:
                return str_format("inspect %s", device);
        case STEP_LOAD_MODULE:
                return str_format("load module %s", value);
        case STEP_SET_OVERRIDE:
                if (str_empty(s->value))
                        return str_format("clear driver_override of %s", device);
                return str_format("set driver_override of %s to %s", device, value);
        case STEP_UNBIND:
                return str_format("unbind %s from %s", device, value);
        case STEP_EVICT:
                return str_format("unbind %s from %s as soon as it is closed", device, value);
        case STEP_BIND:
                return str_format("bind %s to %s", device, value);
        case STEP_PROBE:
                return str_format("let any driver bind %s", device);
        case STEP_SET_TYPE:
                return str_format("set default domain type of group %u to %s", s->group, value);
        case STEP_WAIT_NODE:
                return str_format("wait for /dev/vfio/%u", s->group);
        case STEP_GRANT_NODE:
                return str_format("grant /dev/vfio/%u to uid %lu", s->group, (unsigned long)s->uid);
        case STEP_REVOKE_NODE:
                return str_format("take /dev/vfio/%u from uid %lu", s->group, (unsigned long)s->uid);
        case STEP_WAIT_CLOSED:
                return str_format("wait until /dev/vfio/%u is closed", s->group);
        case STEP_LEND:
                return str_format("open the VFIO files of group %u (%s) to lend them", s->group,
                                  value);
        case STEP_RECLAIM:
                return str_format("remove all mappings made through lent files of group %u",
                                  s->group);
        case STEP_CLAIM:
                return str_format("claim group %u once /dev/vfio/%u is closed", s->group, s->group);
        case STEP_RELEASE:
                return str_format("release group %u", s->group);
        case STEP_SCRUB:
                return str_format("clean %s by its unit", device);
        case STEP_RESET:
                return str_format("reset %s (%s)", device, value);
        case STEP_SET_VF_AUTOPROBE:
                return str_format("let drivers %sbind new virtual functions of %s",
                                  str_eq(value, "0") ? "not " : "", device);
        case STEP_SET_NUM_VFS:
                return str_format("set the number of virtual functions of %s to %s", device, value);
        case STEP_READ_VF:
                return str_format("read the settings of virtual function %s", device);
        case STEP_SET_VF:
                return str_format("set virtual function %s to %s", device, value);
        case _STEP_KIND_MAX:
        case _STEP_KIND_INVALID:
                break;
        }
        return str_format("unknown step");
}

void plan_clear(Plan *p) {
        for (size_t i = 0; i < p->n; i++)
                step_clear(&p->steps[i]);
        free(p->steps);
        *p = PLAN_NULL;
}

int plan_add(Plan *p, const Step *s) {
        Step copy = { .kind = _STEP_KIND_INVALID }, *longer;

        if (step_copy(&copy, s) < 0)
                return -ENOMEM;
        longer = reallocarray(p->steps, p->n + 1, sizeof(Step));
        if (!longer) {
                step_clear(&copy);
                return -ENOMEM;
        }
        p->steps = longer;
        p->steps[p->n++] = copy;
        return 0;
}
