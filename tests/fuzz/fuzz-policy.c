/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A policy file is understood, or the message says where it is not; read twice it decides the same. */
#include "fuzz.h"

#include "config/policy-file.h"
#include "core/access.h"

#define NAME "policy.json"

/* Devices that rules may speak of, two of them in one group. */
static Group together = { .id = 17 }, alone = { .id = 3 };
static Device devices[] = {
        { .facts = { .name = (char *)"0000:3b:00.0",
                     .bus = (char *)"pci",
                     .vendor = 0x8086,
                     .model = 0x10d3,
                     .class_code = 0x020000,
                     .numa_node = 0,
                     .driver = (char *)"e1000e",
                     .total_vfs = 8,
                     .group = 17 },
          .group = &together },
        { .facts = { .name = (char *)"0000:3b:00.1",
                     .bus = (char *)"pci",
                     .vendor = 0x8086,
                     .model = 0x10ca,
                     .class_code = 0x020000,
                     .numa_node = 1,
                     .physfn = (char *)"0000:3b:00.0",
                     .group = 17 },
          .group = &together },
        { .facts = { .name = (char *)"0000:01:00.0",
                     .bus = (char *)"pci",
                     .vendor = 0x144d,
                     .model = 0xa808,
                     .class_code = 0x010802,
                     .numa_node = -1,
                     .driver = (char *)"vfio-pci",
                     .group = 3 },
          .group = &alone,
          .record = { .valid = true, .driver = (char *)"nvme" } },
        { .facts = { .name = (char *)"4a006000.ethernet",
                     .bus = (char *)"platform",
                     .numa_node = -1,
                     .group = -1 } },
};

#define N_DEVICES (sizeof(devices) / sizeof(*devices))

/* Requests that a policy may allow. */
static gid_t gids[] = { 0, 100 };
static const Request requests[] = {
        { .caller = { .privileged = true, .gids = gids, .n_gids = 1 },
          .owner = { .name = (char *)"libvirt:ai" },
          .terms = { .kind = OWNER_KIND_PRIVATE_DOMAIN },
          .priority = 10 },
        { .caller = { .uid = 1000, .gids = gids + 1, .n_gids = 1, .member = true },
          .uid = 1000,
          .owner = { .uid = 1000, .name = (char *)"dpdk" },
          .terms = { .kind = OWNER_KIND_USER } },
        { .caller = { .uid = 1, .gids = gids, .n_gids = 2, .unit = (char *)"libvirtd.service" },
          .uid = 2,
          .owner = { .uid = 1, .name = (char *)"libvirt:guest" },
          .terms = { .kind = OWNER_KIND_DMA_API, .default_domain_type = (char *)"DMA-FQ" },
          .force = true,
          .ttl = 3600000000,
          .priority = -100 },
};

#define N_REQUESTS (sizeof(requests) / sizeof(*requests))

static void make_groups(void) {
        devices[0].next = &devices[1];
        together.devices = &devices[0];
        together.n_devices = 2;
        alone.devices = &devices[2];
        alone.n_devices = 1;
}

static bool same_names(char *const *a, char *const *b) {
        size_t n = strv_length(a);

        if (n != strv_length(b))
                return false;
        for (size_t i = 0; i < n; i++)
                if (strcmp(a[i], b[i]) != 0)
                        return false;
        return true;
}

/* Two readings of the same file. */
static void check_device(const Policy *p, const Policy *q, const Device *d) {
        const DevicePolicy a = policy_for_device(p, d), b = policy_for_device(q, d);

        assert(a.release >= 0 && a.release < _RELEASE_ACTION_MAX);
        assert(a.scrub >= 0 && a.scrub < _SCRUB_GATE_MAX);
        assert(!str_empty(a.reset));
        assert(a.release == b.release && a.scrub == b.scrub && str_eq(a.reset, b.reset) &&
               a.reset_required == b.reset_required && a.vfs == b.vfs &&
               same_names(a.drivers, b.drivers));
        assert(!a.protect == !b.protect);
        if (a.protect)
                assert(a.protect->protect == 1 && device_match(&a.protect->match, d) &&
                       str_eq(a.protect->origin, b.protect->origin));
        for (char *const *driver = a.drivers; driver && *driver; driver++)
                assert(policy_lists_driver(p, d, *driver));
}

/* Who is refused is told why, and what decides of him is no refusal where he is not. */
static void check_request(const Policy *p, const Policy *q, const Request *r, Device *d) {
        const AccessEntry *a = policy_decide(p, r, d), *b = policy_decide(q, r, d);
        _cleanup_fault_ Fault why = FAULT_NULL, again = FAULT_NULL;
        char *names[] = { d->facts.name, NULL };
        Request one = *r;
        int k;

        assert(!a == !b && (!a || str_eq(a->origin, b->origin)));
        if (!d->group)
                return;
        one.devices = names;
        k = policy_check_request(p, &one, &d->group, 1, &why);
        assert(policy_check_request(q, &one, &d->group, 1, &again) == k);
        assert(k == 0 ? !fault_is_set(&why)
                      : k == -ECANCELED && strcmp(why.message, again.message) == 0);
        if (k == 0)
                assert(a && a->decision == DECISION_ALLOW && r->priority >= a->priority_min &&
                       r->priority <= a->priority_max && (!r->force || a->force));
        assert(policy_longest_ttl(p, &one, &d->group, 1) ==
               policy_longest_ttl(q, &one, &d->group, 1));
}

/* What may be done with a lease of somebody else. */
static void check_manage(const Policy *p, const Policy *q, const Caller *caller) {
        const Owner other = { .uid = 4711, .name = (char *)"other" };

        for (ManageAction action = 0; action < _MANAGE_ACTION_MAX; action++) {
                _cleanup_fault_ Fault why = FAULT_NULL;
                int k = policy_check_manage(p, caller, &other, action, &why);

                assert(k == policy_check_manage(q, caller, &other, action, NULL));
                assert((k == 0) == !fault_is_set(&why));
        }
}

static void check_policy(const Policy *p, const Policy *q) {
        assert(p->n == q->n);
        for (size_t i = 0; i < p->n; i++)
                assert(str_starts(p->rules[i].origin, NAME ":") &&
                       strcmp(p->rules[i].origin, q->rules[i].origin) == 0);
        assert(p->limits.leases == q->limits.leases && p->limits.queued == q->limits.queued);
        for (size_t i = 0; i < N_DEVICES; i++)
                check_device(p, q, &devices[i]);
        for (size_t i = 0; i < N_REQUESTS; i++) {
                for (size_t k = 0; k < N_DEVICES; k++)
                        check_request(p, q, &requests[i], &devices[k]);
                check_manage(p, q, &requests[i].caller);
        }
        assert(policy_for_group(p, &together).keep == policy_for_group(q, &together).keep);
        assert(policy_for_group(p, &together).keep ==
               (policy_for_device(p, &devices[0]).release == RELEASE_KEEP ||
                policy_for_device(p, &devices[1]).release == RELEASE_KEEP));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size), *why = NULL, *again = NULL;
        _cleanup_(policy_freep) Policy *p = NULL, *q = NULL;
        int r;

        make_groups();
        assert(policy_new(&p) == 0 && policy_new(&q) == 0);
        r = policy_read_text(p, NAME, text, size, &why);
        assert(policy_read_text(q, NAME, text, size, &again) == r);
        if (r < 0) {
                assert(r == -EINVAL && str_starts(why, NAME ":") && strcmp(why, again) == 0);
                return 0;
        }
        assert(!why && !again);
        check_policy(p, q);
        return 0;
}
