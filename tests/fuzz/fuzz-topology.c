/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A host that can be read is the same when it is dumped, as a simulated kernel remembers itself, and read
 * again. */
#include "fuzz.h"

#include <stdio.h>
#include <sys/mman.h>

#include "kernel/kernel.h"
#include "kernel/sim-json.h"

static void on_device(const DeviceFacts *facts, void *userdata) {
        assert(!str_empty(facts->name));
}

static void on_name(const char *name, void *userdata) {
        assert(!str_empty(name));
}

static void on_node(unsigned group, void *userdata) {
}

static void on_waiting(KernelOp *op, const char *who, void *userdata) {
}

static void on_ready(bool ready, void *userdata) {
}

static const KernelEvents events = {
        .device_seen = on_device,
        .device_gone = on_name,
        .device_use_changed = on_name,
        .node_changed = on_node,
        .waiting = on_waiting,
        .ready = on_ready,
};

/* What names a file to be remembered in is not for us: it would be written. */
static bool is_remembered(const char *text, size_t size) {
        Reader rd = { .file = "topology" };
        _cleanup_json_ json_object *o = reader_parse(&rd, text, size);

        free(rd.message);
        return o && json_object_object_get_ex(o, "persist", NULL);
}

/* NULL: it was refused, with a message. */
static Kernel *read_host(sd_event *event, const char *text, size_t size) {
        _cleanup_close_ int fd = memfd_create("topology", MFD_CLOEXEC);
        _cleanup_free_ char *message = NULL;
        Kernel *k = NULL;
        char path[32];
        int r;

        assert(fd >= 0 && write(fd, text, size) == (ssize_t)size);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        r = sim_kernel_new(event, path, &events, &k, &message);
        if (r == 0)
                return k;
        assert(r == -EINVAL && str_starts(message, path));
        return NULL;
}

/* Twice the same: the second time there are no operations to be told. */
static char *dump(Kernel *k) {
        char *text = NULL;

        assert(sim_kernel_dump(k, &text) == 0);
        free(text);
        assert(sim_kernel_dump(k, &text) == 0);
        return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size), *first = NULL, *second = NULL;
        _cleanup_(kernel_freep) Kernel *k = NULL, *again = NULL;
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;

        if (is_remembered(text, size))
                return 0;
        assert(sd_event_new(&event) == 0);
        k = read_host(event, text, size);
        if (!k)
                return 0;
        first = dump(k);
        again = read_host(event, first, strlen(first));
        assert(again);
        second = dump(again);
        assert(strcmp(first, second) == 0);
        assert(k->ops->start(k) == 0);
        for (int i = 0; i < 16 && sd_event_run(event, 0) > 0; i++)
                ;
        return 0;
}
