/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "config/accounts.h"
#include "config/policy-file.h"
#include "core/policy.h"
#include "util/strings.h"

#define SELF 1001

static const Caller root = { .uid = 0, .privileged = true };
static const Caller member = { .uid = SELF, .member = true };
static const Caller other = { .uid = SELF };

#define A "0000:00:01.0"
#define B "0000:00:01.1"

static char *names[] = { (char *)A, NULL };

/* Of the two devices of a group A is asked for. */
static int check(const Policy *p, Request *q, Fault *fault) {
        Device b = { .facts = { .name = (char *)B, .bus = (char *)"pci", .class_code = 0x020000 } };
        Device a = { .facts = { .name = (char *)A, .bus = (char *)"pci", .class_code = 0x010802 },
                     .next = &b };
        Group g = { .devices = &a }, *groups[] = { &g };

        a.group = b.group = &g;
        q->devices = names;
        return policy_check_request(p, q, groups, 1, fault);
}

static void test_policy_vendor_default(void **state) {
        static const struct {
                const Caller *caller;
                OwnerKind kind;
                bool force;
                uid_t uid;
                bool allowed;
        } cells[] = {
                { &root, OWNER_KIND_DMA_API, false, 0, true },
                { &root, OWNER_KIND_PRIVATE_DOMAIN, false, 0, true },
                { &root, OWNER_KIND_USER, true, 0, true },
                { &root, OWNER_KIND_USER, false, SELF, true },
                { &member, OWNER_KIND_USER, false, SELF, true },
                { &member, OWNER_KIND_USER, true, SELF, false },
                { &member, OWNER_KIND_USER, false, SELF + 1, false },
                { &member, OWNER_KIND_USER, false, 0, false },
                { &member, OWNER_KIND_DMA_API, false, SELF, false },
                { &member, OWNER_KIND_PRIVATE_DOMAIN, false, SELF, false },
                { &other, OWNER_KIND_USER, false, SELF, false },
                { &other, OWNER_KIND_DMA_API, false, SELF, false },
                { &other, OWNER_KIND_PRIVATE_DOMAIN, false, SELF, false },
        };

        for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++) {
                _cleanup_fault_ Fault fault = FAULT_NULL;
                Request q = REQUEST_NULL;
                int r;

                q.caller = *cells[i].caller;
                q.terms.kind = cells[i].kind;
                q.force = cells[i].force;
                q.uid = cells[i].uid;
                r = check(NULL, &q, &fault);
                assert_int_equal(r, cells[i].allowed ? 0 : -ECANCELED);
                assert_int_equal(fault_is_set(&fault), !cells[i].allowed);
                if (!cells[i].allowed)
                        assert_int_equal(fault.code, ERROR_MAY_NOT);
        }
}

/* What is another's, and what is the host's: root may, administrators are asked for by others. */
static void test_policy_of_what_is_others(void **state) {
        static const struct {
                const Caller *caller;
                ManageAction action;
                uid_t owner;
                int expected; /* an ErrorCode, or 0 */
        } cells[] = {
                { &root, MANAGE_RELEASE, SELF, 0 },
                { &root, MANAGE_OPEN, SELF, 0 },
                { &member, MANAGE_RELEASE, SELF, 0 },
                { &other, MANAGE_OPEN, SELF, 0 },
                { &member, MANAGE_RELEASE, SELF + 1, ERROR_MUST_ASK },
                { &member, MANAGE_REVOKE, SELF + 1, ERROR_MUST_ASK },
                { &other, MANAGE_RENEW, SELF + 1, ERROR_MUST_ASK },
                { &member, MANAGE_OPEN, SELF + 1, ERROR_MAY_NOT },
                { &member, MANAGE_SEE, SELF + 1, 0 },
                { &other, MANAGE_SEE, SELF + 1, ERROR_MAY_NOT },
                { &other, MANAGE_SEE, SELF, 0 },
        };

        for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++) {
                const Owner owner = { .uid = cells[i].owner };
                _cleanup_fault_ Fault fault = FAULT_NULL;
                int r = policy_check_manage(NULL, cells[i].caller, &owner, cells[i].action, &fault);

                assert_int_equal(r, cells[i].expected ? -ECANCELED : 0);
                if (r < 0)
                        assert_int_equal(fault.code, cells[i].expected);
                assert_int_equal(policy_check_manage(NULL, cells[i].caller, &owner, cells[i].action,
                                                     NULL),
                                 r);
        }
        assert_int_equal(policy_check_manage(NULL, &root, NULL, MANAGE_ADMINISTER, NULL), 0);
        assert_int_equal(policy_check_manage(NULL, &member, NULL, MANAGE_RELOAD, NULL), -ECANCELED);
}

static Policy *read_policy(const char *text) {
        _cleanup_(strv_freep) char **warnings = NULL;
        _cleanup_free_ char *message = NULL;
        Policy *p = NULL;

        assert_int_equal(policy_new(&p), 0);
        if (policy_read_text(p, "p.json", text, strlen(text), &message) < 0)
                fail_msg("%s", message);
        assert_int_equal(policy_resolve_accounts(p, &warnings), 0);
        return p;
}

typedef struct Ask {
        uid_t uid;
        gid_t gid;
        const char *unit;
        const char *owner;
        OwnerKind kind;
        bool force, member, authorised;
        uid_t for_uid; /* 0: its own */
        int priority;
        uint64_t ttl;
        const char *type;
} Ask;

static int ask(const Policy *p, Ask a, Fault *fault) {
        Request q = REQUEST_NULL;

        q.caller = (Caller){
                .uid = a.uid, .gids = &a.gid, .n_gids = 1, .unit = (char *)a.unit, .member = a.member
        };
        q.owner = (Owner){ .uid = a.uid, .name = (char *)(a.owner ? a.owner : "me") };
        q.uid = a.for_uid ? a.for_uid : a.uid;
        q.terms.kind = a.kind;
        q.terms.default_domain_type = (char *)a.type;
        q.force = a.force;
        q.authorised = a.authorised;
        q.priority = a.priority;
        q.ttl = a.ttl;
        return check(p, &q, fault);
}

#define USER                 .kind = OWNER_KIND_USER
#define ALLOWED(policy, ...) assert_int_equal(ask(policy, (Ask){ __VA_ARGS__ }, NULL), 0)
#define REFUSED(policy, expected, ...)                                               \
        do {                                                                         \
                _cleanup_fault_ Fault f = FAULT_NULL;                                \
                assert_int_equal(ask(policy, (Ask){ __VA_ARGS__ }, &f), -ECANCELED); \
                assert_int_equal(f.code, expected);                                  \
        } while (0)

static void test_who(void **state) {
        _cleanup_(policy_freep) Policy *p = read_policy(
                "{\"rules\": [{\"match\": {\"device\": \"" A "\"}, \"access\": ["
                "{\"users\": [\"daemon\", \"1007\"], \"kinds\": [\"user\", \"dma-api\"]},"
                "{\"groups\": \"2000\", \"kinds\": \"user\"},"
                "{\"units\": \"vm-*.service\"},"
                "{\"users\": \"no-such-user-here\"},"
                "{\"decision\": \"deny\", \"users\": \"0\"}]}]}");

        ALLOWED(p, .uid = 1, USER);
        ALLOWED(p, .uid = 1007, .kind = OWNER_KIND_DMA_API);
        REFUSED(p, ERROR_MAY_NOT, .uid = 1007, .kind = OWNER_KIND_PRIVATE_DOMAIN);
        ALLOWED(p, .uid = 5, .gid = 2000, USER);
        REFUSED(p, ERROR_MAY_NOT, .uid = 5, .gid = 2000, .kind = OWNER_KIND_DMA_API);
        REFUSED(p, ERROR_MAY_NOT, .uid = 5, .gid = 2001, USER);
        ALLOWED(p, .uid = 5, .unit = "vm-1.service", USER);
        REFUSED(p, ERROR_MAY_NOT, .uid = 5, .unit = "other.service", USER);
        REFUSED(p, ERROR_MAY_NOT, .uid = 0, USER);
        ALLOWED(p, .uid = 5, .member = true, USER); /* what no rule decides is as ever */
}

static void test_limits_of_what_is_allowed(void **state) {
        _cleanup_(policy_freep) Policy *p = read_policy(
                "{\"rules\": [{\"access\": ["
                "{\"users\": \"5\", \"owners\": [\"libvirt:*\"], \"force\": true, \"for\": \"*\","
                " \"priority\": [-5, 5], \"max-ttl\": 60, \"types\": [\"DMA\"]},"
                "{\"users\": \"5\"}]}]}");

        ALLOWED(p, .uid = 5, .owner = "libvirt:a", USER, .force = true, .for_uid = 9, .priority = 5,
                .ttl = 60000000);
        REFUSED(p, ERROR_MAY_NOT, .uid = 5, .owner = "libvirt:a", USER, .priority = 6);
        REFUSED(p, ERROR_MAY_NOT, .uid = 5, .owner = "libvirt:a", USER, .priority = -6);
        REFUSED(p, ERROR_MAY_NOT, .uid = 5, .owner = "libvirt:a", USER, .ttl = 60000001);
        ALLOWED(p, .uid = 5, .owner = "libvirt:a", .kind = OWNER_KIND_DMA_API, .type = "DMA");
        REFUSED(p, ERROR_MAY_NOT, .uid = 5, .owner = "libvirt:a", .kind = OWNER_KIND_DMA_API,
                .type = "identity");
        ALLOWED(p, .uid = 5, .owner = "a", USER, .priority = -100);
        REFUSED(p, ERROR_MAY_NOT, .uid = 5, .owner = "a", USER, .force = true);
        REFUSED(p, ERROR_MAY_NOT, .uid = 5, .owner = "a", USER, .for_uid = 9);
        REFUSED(p, ERROR_MAY_NOT, .uid = 5, .owner = "a", USER, .priority = 1);
        REFUSED(p, ERROR_MAY_NOT, .uid = 5, .owner = "spdk:a", USER);
        REFUSED(p, ERROR_MAY_NOT, .uid = 6, .owner = "libvirt:a", USER, .member = true);
}

/* Who may have the device that he names may not have what comes with it. */
static void test_what_comes_along(void **state) {
        _cleanup_(policy_freep) Policy *p = read_policy(
                "{\"rules\": [{\"match\": {\"device\": \"" B "\"}, \"access\": ["
                "{\"users\": \"5\"}, {\"users\": \"6\", \"decision\": \"ask\"},"
                "{\"decision\": \"deny\"}]}]}");

        ALLOWED(p, .uid = 5, .member = true, USER);
        REFUSED(p, ERROR_MAY_NOT, .uid = 5, USER); /* not A */
        REFUSED(p, ERROR_MUST_ASK, .uid = 6, .member = true, USER);
        ALLOWED(p, .uid = 6, .member = true, USER, .authorised = true);
        REFUSED(p, ERROR_MAY_NOT, .uid = 7, .member = true, USER);
        REFUSED(p, ERROR_MAY_NOT, .uid = 7, .member = true, USER, .authorised = true);
        REFUSED(p, ERROR_MAY_NOT, .uid = 7, .member = true, .owner = "a:b", USER);
}

static void test_manage(void **state) {
        static const Caller operator= { .uid = 5 }, nobody = { .uid = 6 };
        _cleanup_(policy_freep) Policy *p = read_policy(
                "{\"manage\": [{\"users\": \"5\", \"actions\": [\"release\", \"see\"]},"
                "{\"decision\": \"deny\"}]}");
        const Owner owner = { .uid = 7 };

        assert_int_equal(policy_check_manage(p, &operator, & owner, MANAGE_RELEASE, NULL), 0);
        assert_int_equal(policy_check_manage(p, &operator, & owner, MANAGE_SEE, NULL), 0);
        assert_int_equal(policy_check_manage(p, &operator, & owner, MANAGE_REVOKE, NULL),
                         -ECANCELED);
        assert_int_equal(policy_check_manage(p, &nobody, &owner, MANAGE_RELEASE, NULL), -ECANCELED);
        assert_int_equal(policy_check_manage(p, &root, &owner, MANAGE_RELOAD, NULL), -ECANCELED);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_policy_vendor_default),
                cmocka_unit_test(test_policy_of_what_is_others),
                cmocka_unit_test(test_who),
                cmocka_unit_test(test_limits_of_what_is_allowed),
                cmocka_unit_test(test_what_comes_along),
                cmocka_unit_test(test_manage),
        };

        return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
