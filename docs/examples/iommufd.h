/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef EXAMPLE_IOMMUFD_H
#define EXAMPLE_IOMMUFD_H

/* What the example needs of the kernel's iommufd, also where the kernel's headers are older (Debian 12). */

#include <linux/types.h>
#include <linux/vfio.h>

#if __has_include(<linux/iommufd.h>)
#        include <linux/iommufd.h>
#else
struct iommu_ioas_alloc {
        __u32 size;
        __u32 flags;
        __u32 out_ioas_id;
};
#        define IOMMU_IOAS_ALLOC          _IO(';', 0x81)

struct iommu_ioas_map {
        __u32 size;
        __u32 flags;
        __u32 ioas_id;
        __u32 __reserved;
        __aligned_u64 user_va;
        __aligned_u64 length;
        __aligned_u64 iova;
};
#        define IOMMU_IOAS_MAP_FIXED_IOVA (1 << 0)
#        define IOMMU_IOAS_MAP_WRITEABLE  (1 << 1)
#        define IOMMU_IOAS_MAP_READABLE   (1 << 2)
#        define IOMMU_IOAS_MAP            _IO(';', 0x85)
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

#ifndef VFIO_DEVICE_ATTACH_IOMMUFD_PT
struct vfio_device_attach_iommufd_pt {
        __u32 argsz;
        __u32 flags;
        __u32 pt_id;
};
#        define VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)
#endif

#endif
