/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The manager on a folder that looks like a Linux host: one IOMMU group of two devices, and no executor. */

#include "linux-host.h"

#include "kernel/linux.h"
#include "manager/manager-internal.h"

#define FIRST  "0000:03:00.0"
#define SECOND "0000:03:00.1"
#define LIMIT  20000000ULL

typedef struct Fixture {
        Host host;
        char folder[32];
        sd_event *event;
        Store *store;
        FdStore *fd_store;
        Ledger *ledger;
        Manager *manager;
} Fixture;

static inline void add_device(const Host *h, const char *name) {
        host_add_device(h, name, "0x020000\n");
        host_set_group(h, name, "7", "DMA\n");
        host_set_driver(h, name, "vfio-pci");
}

static inline int setup(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));
        KernelEvents events;
        Kernel *kernel;

        assert_non_null(f);
        host_init(&f->host);
        add_device(&f->host, FIRST);
        add_device(&f->host, SECOND);
        (void)strcpy(f->folder, "/tmp/patrol-XXXXXX");
        assert_non_null(mkdtemp(f->folder));
        assert_true(sd_event_new(&f->event) >= 0);
        assert_int_equal(store_open(f->folder, &f->store), 0);
        assert_int_equal(ledger_open(f->folder, &f->ledger), 0);
        assert_int_equal(fd_store_new(f->event, 8, &f->fd_store), 0);
        assert_int_equal(manager_new(f->event, f->store, f->fd_store, f->ledger, &f->manager), 0);
        events = manager_kernel_events(f->manager);
        assert_int_equal(linux_kernel_new_at(f->event, f->host.root, "/nowhere", &events, &kernel),
                         0);
        assert_int_equal(manager_start(f->manager, kernel), 0);
        *state = f;
        return 0;
}

static inline int teardown(void **state) {
        Fixture *f = *state;

        (void)manager_free(f->manager);
        (void)fd_store_free(f->fd_store);
        (void)ledger_free(f->ledger);
        (void)store_free(f->store);
        sd_event_unref(f->event);
        host_destroy(&f->host);
        assert_int_equal(nftw(f->folder, host_remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
        free(f);
        return 0;
}

static inline void run_until_gone(const Fixture *f, const char *name) {
        uint64_t end = manager_now(f->manager) + LIMIT;

        while (registry_device(manager_registry(f->manager), name)) {
                assert_true(manager_now(f->manager) < end);
                assert_true(sd_event_run(f->event, LIMIT) >= 0);
        }
}
