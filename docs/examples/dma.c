/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dma DEVICE iommufd|container: a lease, from a program that drives its device itself.
 *
 * The device is QEMU's "edu" (-device edu), which copies between memory and a buffer of its own. The program gets a
 * lease and the files of VFIO from dmaownerd, maps memory, and has the device copy it there and back. Then
 * it gives the lease back, though it keeps all files open, and tries the same again: nothing arrives any more.
 *
 * cc -o dma dma.c $(pkg-config --cflags --libs libdmaowner)
 */
#include <dmaowner.h>
#include <err.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "iommufd.h"

#define PAGE 4096U
#define IOVA 0x100000U /* what the device sees; it has 28 bits */

/* the registers of edu, in its BAR 0 */
#define EDU_SOURCE      0x80
#define EDU_DESTINATION 0x88
#define EDU_COUNT       0x90
#define EDU_COMMAND     0x98
#define EDU_RUN         1U
#define EDU_TO_MEMORY   2U
#define EDU_BUFFER      0x40000U
#define LENGTH          1024U /* of what is copied */

/* Memory that the device may reach: the first page is copied to the second. */
static unsigned char *memory;

/* ---- The lease ---- */

static void check(dmaowner_lease *lease, const char *what, int r) {
        const char *message;

        if (r == 0)
                return;
        dmaowner_lease_get_error(lease, NULL, &message);
        errx(EXIT_FAILURE, "%s: %s", what, *message ? message : strerror(-r));
}

static dmaowner_lease *acquire(dmaowner *o, const char *device, const char *interface) {
        dmaowner_request *q = NULL;
        dmaowner_lease *lease = NULL;
        int r;

        r = dmaowner_request_new(&q, "user");
        if (r == 0)
                r = dmaowner_request_add_device(q, device);
        if (r == 0)
                r = dmaowner_request_set(q, "access", "s", "fd");
        if (r == 0)
                r = dmaowner_request_set(q, "interface", "s", interface);
        if (r == 0)
                r = dmaowner_request_set(q, "label", "s", "DMA example");
        if (r == 0)
                r = dmaowner_acquire(o, q, &lease);
        dmaowner_request_free(q);
        if (r < 0)
                errx(EXIT_FAILURE, "cannot ask: %s", strerror(-r));
        check(lease, "no lease", dmaowner_lease_wait(lease, DMAOWNER_FOREVER));
        return lease;
}

static int take(dmaowner_lease *lease, const char *name) {
        int fd = dmaowner_lease_take_file(lease, name);

        if (fd < 0)
                errx(EXIT_FAILURE, "%s was not lent", name);
        return fd;
}

/* ---- VFIO ---- */

static int call(int fd, unsigned long request, void *argument, const char *what) {
        int r = ioctl(fd, request, argument);

        if (r < 0)
                err(EXIT_FAILURE, "%s", what);
        return r;
}

/* One container and one group; the device's file comes from the group. */
static int start_container(int container, int group, const char *device) {
        struct vfio_iommu_type1_dma_map map = {
                .argsz = sizeof(map),
                .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                .vaddr = (uintptr_t)memory,
                .iova = IOVA,
                .size = 2 * PAGE,
        };

        call(container, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU, "IOMMU");
        call(container, VFIO_IOMMU_MAP_DMA, &map, "map");
        return call(group, VFIO_GROUP_GET_DEVICE_FD, (void *)(uintptr_t)device, "device");
}

/* An address space of iommufd, with the device in it. */
static void start_iommufd(int iommufd, int device) {
        struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommufd };
        struct iommu_ioas_alloc space = { .size = sizeof(space) };
        struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach) };
        struct iommu_ioas_map map = {
                .size = sizeof(map),
                .flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
                         IOMMU_IOAS_MAP_WRITEABLE,
                .user_va = (uintptr_t)memory,
                .iova = IOVA,
                .length = 2 * PAGE,
        };

        call(device, VFIO_DEVICE_BIND_IOMMUFD, &bind, "bind");
        call(iommufd, IOMMU_IOAS_ALLOC, &space, "address space");
        attach.pt_id = map.ioas_id = space.out_ioas_id;
        call(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach, "attach");
        call(iommufd, IOMMU_IOAS_MAP, &map, "map");
}

static off_t region(int device, unsigned index) {
        struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

        call(device, VFIO_DEVICE_GET_REGION_INFO, &info, "region");
        return (off_t)info.offset;
}

/* The device may not reach memory before that. */
static void enable(int device) {
        off_t config = region(device, VFIO_PCI_CONFIG_REGION_INDEX);
        uint16_t command;

        if (pread(device, &command, sizeof(command), config + PCI_COMMAND) != sizeof(command))
                err(EXIT_FAILURE, "configuration space");
        command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
        if (pwrite(device, &command, sizeof(command), config + PCI_COMMAND) != sizeof(command))
                err(EXIT_FAILURE, "configuration space");
}

/* ---- The device ---- */

/* False if it cannot be reached any more. */
static bool copy(int device, off_t registers, uint32_t source, uint32_t destination,
                 uint32_t direction) {
        const struct {
                off_t where;
                uint32_t value;
        } writes[] = {
                { EDU_SOURCE, source },
                { EDU_DESTINATION, destination },
                { EDU_COUNT, LENGTH },
                { EDU_COMMAND, EDU_RUN | direction },
        };
        uint32_t command;

        for (size_t i = 0; i < sizeof(writes) / sizeof(*writes); i++)
                if (pwrite(device, &writes[i].value, sizeof(uint32_t),
                           registers + writes[i].where) != sizeof(uint32_t))
                        return false;
        do {
                usleep(10000);
                if (pread(device, &command, sizeof(command), registers + EDU_COMMAND) !=
                    sizeof(command))
                        return false;
        } while (command & EDU_RUN);
        return true;
}

/* Has the device carry a pattern from the first page to the second. Does it arrive? */
static bool carry(int device, off_t registers, unsigned char seed) {
        for (unsigned i = 0; i < LENGTH; i++)
                memory[i] = (unsigned char)(seed + i * 7);
        memset(memory + PAGE, 0, LENGTH);
        return copy(device, registers, IOVA, EDU_BUFFER, 0) &&
               copy(device, registers, EDU_BUFFER, IOVA + PAGE, EDU_TO_MEMORY) &&
               memcmp(memory, memory + PAGE, LENGTH) == 0;
}

int main(int argc, char **argv) {
        dmaowner_lease *lease;
        int device, tries = 0;
        off_t registers;
        dmaowner *o;

        if (argc != 3)
                errx(EXIT_FAILURE, "usage: dma DEVICE iommufd|container");
        memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
                err(EXIT_FAILURE, "memory");
        if (dmaowner_open(&o) < 0)
                errx(EXIT_FAILURE, "cannot connect to the system bus");
        lease = acquire(o, argv[1], argv[2]);
        check(lease, "no files", dmaowner_lease_open_files(lease));
        check(lease, "no files", dmaowner_lease_wait(lease, DMAOWNER_FOREVER));
        if (strcmp(argv[2], "container") == 0) {
                device = start_container(take(lease, "container"), take(lease, "group"), argv[1]);
        } else {
                device = take(lease, argv[1]);
                start_iommufd(take(lease, "iommufd"), device);
        }
        enable(device);
        registers = region(device, VFIO_PCI_BAR0_REGION_INDEX);
        if (!carry(device, registers, 1))
                errx(EXIT_FAILURE, "with lease %s: nothing arrived", dmaowner_lease_get_id(lease));
        printf("with lease %s: %u bytes went to the device and came back\n",
               dmaowner_lease_get_id(lease), LENGTH);

        check(lease, "release", dmaowner_lease_release(lease));
        check(lease, "release", dmaowner_lease_wait(lease, DMAOWNER_FOREVER));
        /* the mapping goes a moment later */
        while (carry(device, registers, 2))
                if (++tries == 100)
                        errx(EXIT_FAILURE, "after the release: it still arrives");
        for (unsigned i = 0; i < LENGTH; i++)
                if (memory[PAGE + i] != 0)
                        errx(EXIT_FAILURE, "after the release: something arrived");
        puts("after the release: nothing arrives, though all files are open");
        dmaowner_lease_unref(lease);
        dmaowner_unref(o);
        return EXIT_SUCCESS;
}
