# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a program that was lent files of VFIO does with them; runs in a guest. Numbers and
structures are those of linux/vfio.h and linux/iommufd.h."""

import ctypes
import fcntl
import mmap
import os
import struct

SET_IOMMU = 0x3B66
GROUP_GET_STATUS = 0x3B67
GROUP_SET_CONTAINER = 0x3B68
GROUP_UNSET_CONTAINER = 0x3B69
GROUP_GET_DEVICE_FD = 0x3B6A
DEVICE_GET_INFO = 0x3B6B
DEVICE_GET_REGION_INFO = 0x3B6C
IOMMU_MAP_DMA = 0x3B71
BIND_IOMMUFD = 0x3B76
ATTACH_IOMMUFD_PT = 0x3B77
DETACH_IOMMUFD_PT = 0x3B78
IOAS_ALLOC = 0x3B81
IOAS_MAP = 0x3B85
OPTION = 0x3B87
HWPT_ALLOC = 0x3B89

TYPE1V2 = 3
READ_WRITE = 3              # of IOMMU_MAP_DMA
FIXED_READ_WRITE = 7        # of IOAS_MAP
CONFIG_REGION = 7
MIB = 1 << 20


def call(fd, request, argument):
    """The argument as the kernel leaves it."""
    return fcntl.ioctl(fd, request, argument)


def error_of(function, *arguments):
    """The number of the error that it fails with, 0 if it does not."""
    try:
        function(*arguments)
    except OSError as error:
        return error.errno
    return 0


def memory(size):
    """Anonymous memory and its address."""
    area = mmap.mmap(-1, size)
    return area, ctypes.addressof(ctypes.c_char.from_buffer(area))


def pinned():
    """Pages of the whole machine that are pinned for devices. For root."""
    # each processor counts for itself for a while
    with open("/proc/sys/vm/stat_refresh", "rb") as file:
        file.read()
    with open("/proc/vmstat", encoding="ascii") as lines:
        counts = dict(line.split() for line in lines)
    return int(counts["nr_foll_pin_acquired"]) - int(counts["nr_foll_pin_released"])


# container interface

def container_start(container):
    call(container, SET_IOMMU, TYPE1V2)


def container_map(container, size, iova=0):
    area, address = memory(size)
    call(container, IOMMU_MAP_DMA, struct.pack("IIQQQ", 32, READ_WRITE, address, iova, size))
    return area


def group_device(group, name):
    buffer = ctypes.create_string_buffer(name.encode())
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.ioctl(group, ctypes.c_ulong(GROUP_GET_DEVICE_FD), buffer)
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def open_by_node(number, name):
    """As a program that was lent nothing does; the files have to stay."""
    container, group = os.open("/dev/vfio/vfio", os.O_RDWR), os.open(f"/dev/vfio/{number}", os.O_RDWR)
    call(group, GROUP_SET_CONTAINER, struct.pack("i", container))
    container_start(container)
    return [group_device(group, name), group, container]


def group_status(group):
    return struct.unpack("II", call(group, GROUP_GET_STATUS, struct.pack("II", 8, 0)))[1]


# iommufd

def bind(device, iommufd):
    """The device's id."""
    return struct.unpack("IIiI", call(device, BIND_IOMMUFD, struct.pack("IIiI", 16, 0, iommufd, 0)))[3]


def ioas_alloc(iommufd):
    return struct.unpack("III", call(iommufd, IOAS_ALLOC, struct.pack("III", 12, 0, 0)))[2]


def hwpt_alloc(iommufd, device_id, ioas):
    return struct.unpack("IIIIIIIIQII", call(iommufd, HWPT_ALLOC, struct.pack(
        "IIIIIIIIQII", 48, 0, device_id, ioas, 0, 0, 0, 0, 0, 0, 0)))[4]


def attach(device, page_table):
    call(device, ATTACH_IOMMUFD_PT, struct.pack("III", 12, 0, page_table))


def detach(device):
    call(device, DETACH_IOMMUFD_PT, struct.pack("II", 8, 0))


def ioas_map(iommufd, ioas, size, iova=0):
    area, address = memory(size)
    call(iommufd, IOAS_MAP, struct.pack("IIIIQQQ", 40, FIXED_READ_WRITE, ioas, 0, address, size, iova))
    return area


def rlimit_mode(iommufd):
    return struct.unpack("IIHHIQ", call(iommufd, OPTION, struct.pack("IIHHIQ", 24, 0, 1, 0, 0, 0)))[5]


# devices

def vendor(device):
    """As the device's configuration space says: the device itself answers."""
    region = call(device, DEVICE_GET_REGION_INFO, struct.pack("IIIIQQ", 32, 0, CONFIG_REGION, 0, 0, 0))
    offset = struct.unpack("IIIIQQ", region)[5]
    return struct.unpack("H", os.pread(device, 2, offset))[0]
