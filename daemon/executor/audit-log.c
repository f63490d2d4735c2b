/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/audit-log.h"

#include <errno.h>
#include <libaudit.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "core/device.h"
#include "util/log.h"
#include "util/strings.h"

/* 0: not of that sort */
static int record_type(const Step *step) {
        bool vfio = driver_is_vfio(step->value);

        switch (step->kind) {
        case STEP_GRANT_NODE:
        case STEP_LEND:
                return AUDIT_DEV_ALLOC;
        case STEP_UNBIND: /* from the host */
                return vfio ? AUDIT_DEV_DEALLOC : AUDIT_DEV_ALLOC;
        case STEP_BIND:
                return vfio ? AUDIT_DEV_ALLOC : AUDIT_DEV_DEALLOC;
        case STEP_EVICT:
        case STEP_PROBE:
        case STEP_REVOKE_NODE:
        case STEP_RECLAIM:
        case STEP_CLAIM:
                return AUDIT_DEV_DEALLOC;
        case STEP_INSPECT:
        case STEP_LOAD_MODULE:
        case STEP_SET_OVERRIDE:
        case STEP_SET_TYPE:
        case STEP_WAIT_NODE:
        case STEP_WAIT_CLOSED:
        case STEP_RELEASE:
        case STEP_SCRUB:
        case STEP_RESET:
        case STEP_SET_VF_AUTOPROBE:
        case STEP_SET_NUM_VFS:
        case STEP_READ_VF:
        case STEP_SET_VF:
        case _STEP_KIND_MAX:
        case _STEP_KIND_INVALID:
                break;
        }
        return 0;
}

/* Whatever the daemon has sent as a name: the library encodes what could be taken for something else. */
static int add_name(char **text, const char *field, const char *name) {
        _cleanup_free_ char *pair = NULL;

        if (str_empty(name))
                return 0;
        pair = audit_encode_nv_string(field, name, 0);
        return pair ? str_append(text, " %s", pair) : -ENOMEM;
}

static int describe(const Step *step, int error, char **ret) {
        bool node = step->kind == STEP_GRANT_NODE || step->kind == STEP_REVOKE_NODE;
        bool driver = step->kind == STEP_BIND || step->kind == STEP_UNBIND ||
                      step->kind == STEP_EVICT;
        _cleanup_free_ char *text = str_format("op=%s iommu-group=%u",
                                               step_kind_to_string(step->kind), step->group);
        int r = text ? 0 : -ENOMEM;

        if (r == 0)
                r = add_name(&text, "device", step->device);
        if (r == 0)
                r = add_name(&text, driver ? "driver" : "interface", node ? NULL : step->value);
        if (r == 0 && node)
                r = str_append(&text, " id=%u", (unsigned)step->uid);
        if (r == 0 && step->force)
                r = str_append(&text, " force=1");
        if (r == 0 && error != 0)
                r = str_append(&text, " errno=%d", error);
        if (r == 0)
                *ret = TAKE_PTR(text);
        return r;
}

bool audit_log_describe(const Step *step, int error, int *ret_type, char **ret_text) {
        *ret_type = record_type(step);
        *ret_text = NULL;
        /* it did not begin: another step has the group, or nobody wants it any more */
        if (*ret_type == 0 || error == EAGAIN || error == ECANCELED)
                return false;
        (void)describe(step, error, ret_text);
        return true;
}

/* No audit in this kernel, or not for this container. */
static bool is_off(int error) {
        return error == EINVAL || error == EPROTONOSUPPORT || error == EAFNOSUPPORT ||
               error == ECONNREFUSED || error == EPERM;
}

/* Acknowledgements of what a step has told that was ended before it read them. */
static void forget_answers(int audit) {
        char answer[256];

        while (recv(audit, answer, sizeof(answer), MSG_DONTWAIT) >= 0 || errno == EINTR)
                ;
}

void audit_log_step(int audit, const Step *step, int error) {
        _cleanup_free_ char *text = NULL;
        int type;

        if (!audit_log_describe(step, error, &type, &text))
                return;
        forget_answers(audit);
        if (!text || (audit_log_user_message(audit, type, text, NULL, NULL, NULL, error == 0) <= 0 &&
                      !is_off(errno)))
                log_warning("The audit log was not told of %s in IOMMU group %u: %s",
                            step_kind_to_string(step->kind), step->group,
                            text ? strerror(errno) : "out of memory");
}
