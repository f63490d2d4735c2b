/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/types.h"

#include "core/string-table.h"

static const char *const owner_kinds[_OWNER_KIND_MAX] = {
        [OWNER_KIND_DMA_API] = "dma-api",
        [OWNER_KIND_PRIVATE_DOMAIN] = "private-domain",
        [OWNER_KIND_USER] = "user",
};
DEFINE_STRING_TABLE(owner_kind, OwnerKind, owner_kinds, _OWNER_KIND_INVALID);

static const char *const group_states[_GROUP_STATE_MAX] = {
        [GROUP_FREE] = "free",           [GROUP_CLAIMING] = "claiming",
        [GROUP_OWNED] = "owned",         [GROUP_DRAINING] = "draining",
        [GROUP_RESTORING] = "restoring", [GROUP_QUARANTINED] = "quarantined",
        [GROUP_FAILED] = "failed",       [GROUP_LOST] = "lost",
};
DEFINE_STRING_TABLE(group_state, GroupState, group_states, _GROUP_STATE_INVALID);

static const char *const lease_states[_LEASE_STATE_MAX] = {
        [LEASE_QUEUED] = "queued",     [LEASE_ACTIVATING] = "activating",
        [LEASE_ACTIVE] = "active",     [LEASE_UNCONFIRMED] = "unconfirmed",
        [LEASE_REVOKING] = "revoking", [LEASE_DRAINING] = "draining",
        [LEASE_ENDED] = "ended",       [LEASE_FAILED] = "failed",
        [LEASE_LOST] = "lost",
};
DEFINE_STRING_TABLE(lease_state, LeaseState, lease_states, _LEASE_STATE_INVALID);

static const char *const holder_types[_HOLDER_TYPE_MAX] = {
        [HOLDER_LIFELINE] = "lifeline",
        [HOLDER_PROCESS] = "process",
        [HOLDER_CONNECTION] = "connection",
        [HOLDER_NONE] = "none",
};
DEFINE_STRING_TABLE(holder_type, HolderType, holder_types, _HOLDER_TYPE_INVALID);

static const char *const accesses[_ACCESS_MAX] = {
        [ACCESS_NODE] = "node",
        [ACCESS_FD] = "fd",
};
DEFINE_STRING_TABLE(access, Access, accesses, _ACCESS_INVALID);

static const char *const vfio_interfaces[_VFIO_INTERFACE_MAX] = {
        [VFIO_INTERFACE_AUTO] = "auto",
        [VFIO_INTERFACE_IOMMUFD] = "iommufd",
        [VFIO_INTERFACE_CONTAINER] = "container",
};
DEFINE_STRING_TABLE(vfio_interface, VfioInterface, vfio_interfaces, _VFIO_INTERFACE_INVALID);

static const char *const file_roles[_FILE_ROLE_MAX] = {
        [FILE_CONTAINER] = "container",
        [FILE_GROUP] = "group",
        [FILE_IOMMUFD] = "iommufd",
        [FILE_CDEV] = "cdev",
};
DEFINE_STRING_TABLE(file_role, FileRole, file_roles, _FILE_ROLE_INVALID);

static const char *const scrub_gates[_SCRUB_GATE_MAX] = {
        [SCRUB_NONE] = "none",
        [SCRUB_UNIT] = "unit",
        [SCRUB_ADMINISTRATOR] = "administrator",
};
DEFINE_STRING_TABLE(scrub_gate, ScrubGate, scrub_gates, _SCRUB_GATE_INVALID);

static const char *const error_codes[_ERROR_CODE_MAX] = {
        [ERROR_INVALID_ARGS] = "org.freedesktop.DBus.Error.InvalidArgs",
        [ERROR_ACCESS_DENIED] = "org.freedesktop.DBus.Error.AccessDenied",
        [ERROR_BUSY] = "org.dmaowner1.Error.Busy",
        [ERROR_NOT_VIABLE] = "org.dmaowner1.Error.NotViable",
        [ERROR_IN_USE] = "org.dmaowner1.Error.InUse",
        [ERROR_NO_SUCH_DEVICE] = "org.dmaowner1.Error.NoSuchDevice",
        [ERROR_NO_SUCH_GROUP] = "org.dmaowner1.Error.NoSuchGroup",
        [ERROR_NO_SUCH_LEASE] = "org.dmaowner1.Error.NoSuchLease",
        [ERROR_NO_IOMMU] = "org.dmaowner1.Error.NoIommu",
        [ERROR_UNSUPPORTED] = "org.dmaowner1.Error.Unsupported",
        [ERROR_KERNEL_REFUSED] = "org.dmaowner1.Error.KernelRefused",
        [ERROR_TIMED_OUT] = "org.dmaowner1.Error.TimedOut",
        [ERROR_QUOTA_EXCEEDED] = "org.dmaowner1.Error.QuotaExceeded",
        [ERROR_QUARANTINED] = "org.dmaowner1.Error.Quarantined",
        [ERROR_LOST] = "org.dmaowner1.Error.Lost",
        [ERROR_BAD_POLICY] = "org.dmaowner1.Error.BadPolicy",
        [ERROR_NO_MEMORY] = "org.freedesktop.DBus.Error.NoMemory",
        [ERROR_MAY_NOT] = "org.freedesktop.DBus.Error.AccessDenied",
        [ERROR_MUST_ASK] = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
};
DEFINE_STRING_TABLE(error_code, ErrorCode, error_codes, _ERROR_CODE_INVALID);
