/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The words of the field as enums, each with a string table. The strings are the ones that
 * D-Bus, the state files and the command line use.
 */

#include <errno.h>
#include <stdint.h>

typedef enum OwnerKind {
        OWNER_KIND_DMA_API,        /* "dma-api": a kernel driver on the default domain */
        OWNER_KIND_PRIVATE_DOMAIN, /* "private-domain": a kernel driver with a domain of its own */
        OWNER_KIND_USER,           /* "user": VFIO */
        _OWNER_KIND_MAX,
        _OWNER_KIND_INVALID = -EINVAL,
} OwnerKind;

typedef enum GroupState {
        GROUP_FREE,        /* count 0; the host may use it through its own driver */
        GROUP_CLAIMING,    /* reserved, the steps towards the first lease are running */
        GROUP_OWNED,       /* switched and verified, count >= 1 */
        GROUP_DRAINING,    /* count 0, but files of the former owner may still be open */
        GROUP_RESTORING,   /* nobody has it open, the steps back to the host are running */
        GROUP_QUARANTINED, /* kept in user mode by the daemon itself, nobody served */
        GROUP_FAILED,      /* a step back to the host failed; a person has to look */
        GROUP_LOST,        /* somebody changed it behind the daemon's back */
        _GROUP_STATE_MAX,
        _GROUP_STATE_INVALID = -EINVAL,
} GroupState;

typedef enum LeaseState {
        LEASE_QUEUED,
        LEASE_ACTIVATING, /* its groups are reserved, not all are switched yet */
        LEASE_ACTIVE,
        LEASE_UNCONFIRMED, /* expired while its files are open: ends when they close */
        LEASE_REVOKING,
        LEASE_DRAINING,
        LEASE_ENDED,
        LEASE_FAILED, /* activation failed; Lease.failure says why */
        LEASE_LOST,   /* a device of it was taken away behind the daemon's back */
        _LEASE_STATE_MAX,
        _LEASE_STATE_INVALID = -EINVAL,
} LeaseState;

typedef enum HolderType {
        HOLDER_LIFELINE,   /* a descriptor that the requester keeps open */
        HOLDER_PROCESS,    /* a process, by pidfd */
        HOLDER_CONNECTION, /* the requester's bus connection */
        HOLDER_NONE,       /* until released or expired */
        _HOLDER_TYPE_MAX,
        _HOLDER_TYPE_INVALID = -EINVAL,
} HolderType;

typedef enum VfioInterface {
        VFIO_INTERFACE_AUTO, /* iommufd where the kernel has it */
        VFIO_INTERFACE_IOMMUFD,
        VFIO_INTERFACE_CONTAINER,
        _VFIO_INTERFACE_MAX,
        _VFIO_INTERFACE_INVALID = -EINVAL,
} VfioInterface;

/* The part that an open file plays. */
typedef enum FileRole {
        FILE_CONTAINER, /* /dev/vfio/vfio */
        FILE_GROUP,     /* /dev/vfio/N */
        FILE_IOMMUFD,   /* /dev/iommu */
        FILE_CDEV,      /* /dev/vfio/devices/vfioX */
        _FILE_ROLE_MAX,
        _FILE_ROLE_INVALID = -EINVAL,
} FileRole;

/* What the daemon holds open of a group. */
typedef enum Kept {
        KEPT_NOTHING,
        KEPT_LENT,  /* files that a requester has, or may get, duplicates of */
        KEPT_CLAIM, /* files that keep it in a blocking domain, which nobody ever got */
} Kept;

typedef enum Access {
        ACCESS_NODE, /* the requester opens the VFIO nodes itself */
        ACCESS_FD,   /* the daemon opens and lends descriptors */
        _ACCESS_MAX,
        _ACCESS_INVALID = -EINVAL,
} Access;

/* Who cleans a device before another owner may have it. */
typedef enum ScrubGate {
        SCRUB_NONE,          /* nobody */
        SCRUB_UNIT,          /* dmaowner-scrub@DEVICE.service */
        SCRUB_ADMINISTRATOR, /* a person, who says so */
        _SCRUB_GATE_MAX,
        _SCRUB_GATE_INVALID = -EINVAL,
} ScrubGate;

/* What an operation can answer; the names are those of org.dmaowner1.Error.* and of
 * org.freedesktop.DBus.Error.* for the first two. */
typedef enum ErrorCode {
        ERROR_INVALID_ARGS,
        ERROR_ACCESS_DENIED,
        ERROR_BUSY,
        ERROR_NOT_VIABLE,
        ERROR_IN_USE,
        ERROR_NO_SUCH_DEVICE,
        ERROR_NO_SUCH_GROUP,
        ERROR_NO_SUCH_LEASE,
        ERROR_NO_IOMMU,
        ERROR_UNSUPPORTED,
        ERROR_KERNEL_REFUSED,
        ERROR_TIMED_OUT,
        ERROR_QUOTA_EXCEEDED,
        ERROR_QUARANTINED,
        ERROR_LOST,
        ERROR_BAD_POLICY,
        ERROR_NO_MEMORY,
        ERROR_MAY_NOT,  /* AccessDenied, too: not for what it is, but for who asks */
        ERROR_MUST_ASK, /* an administrator may allow it */
        _ERROR_CODE_MAX,
        _ERROR_CODE_INVALID = -EINVAL,
} ErrorCode;

/* "xx_to_string" of a value out of range is NULL; "xx_from_string" of an unknown or NULL string
 * is the _INVALID value. */
const char *owner_kind_to_string(OwnerKind k);
OwnerKind owner_kind_from_string(const char *s);
const char *group_state_to_string(GroupState s);
GroupState group_state_from_string(const char *s);
const char *lease_state_to_string(LeaseState s);
LeaseState lease_state_from_string(const char *s);
const char *holder_type_to_string(HolderType t);
HolderType holder_type_from_string(const char *s);
const char *access_to_string(Access a);
Access access_from_string(const char *s);
const char *vfio_interface_to_string(VfioInterface i);
VfioInterface vfio_interface_from_string(const char *s);
const char *file_role_to_string(FileRole r);
FileRole file_role_from_string(const char *s);
const char *scrub_gate_to_string(ScrubGate g);
ScrubGate scrub_gate_from_string(const char *s);
const char *error_code_to_string(ErrorCode c); /* the full D-Bus error name */
ErrorCode error_code_from_string(const char *s);
