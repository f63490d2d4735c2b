/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kernel's interface for iommufd and for nodes of single VFIO devices, also where the headers
 * are older than both (Debian 12 has those of Linux 6.1). */

#include <linux/types.h>
#include <linux/vfio.h>

#if __has_include(<linux/iommufd.h>)
#        include <linux/iommufd.h>
#else
struct iommu_destroy {
        __u32 size;
        __u32 id;
};
#        define IOMMU_DESTROY _IO(';', 0x80)

#        define IOMMU_OPTION_RLIMIT_MODE 0 /* val64 1: what is pinned counts for the process */
#        define IOMMU_OPTION_OP_SET      0
#        define IOMMU_OPTION_OP_GET      1
struct iommu_option {
        __u32 size;
        __u32 option_id;
        __u16 op;
        __u16 __reserved;
        __u32 object_id;
        __aligned_u64 val64;
};
#        define IOMMU_OPTION             _IO(';', 0x87)
#endif

#ifndef VFIO_DEVICE_BIND_IOMMUFD
struct vfio_device_bind_iommufd {
        __u32 argsz;
        __u32 flags;
        __s32 iommufd;
        __u32 out_devid;
};
#        define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#endif

#ifndef VFIO_DEVICE_DETACH_IOMMUFD_PT
struct vfio_device_detach_iommufd_pt {
        __u32 argsz;
        __u32 flags;
};
#        define VFIO_DEVICE_DETACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 20)
#endif
