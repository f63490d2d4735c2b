/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>
#include <errno.h>
#include <libaudit.h>

#include "executor/audit-log.h"

#define NIC (char *)"0000:3b:00.0"

static void check(const Step *step, int error, int type, const char *text) {
        _cleanup_free_ char *described = NULL;
        int seen;

        assert_true(audit_log_describe(step, error, &seen, &described));
        assert_int_equal(seen, type);
        assert_string_equal(described, text);
}

static void check_nothing(const Step *step, int error) {
        _cleanup_free_ char *described = NULL;
        int type;

        assert_false(audit_log_describe(step, error, &type, &described));
        assert_null(described);
}

static void test_what_is_given(void **state) {
        check(&(Step){ .kind = STEP_UNBIND, .device = NIC, .group = 12, .value = (char *)"e1000e" },
              0, AUDIT_DEV_ALLOC,
              "op=unbind iommu-group=12 device=\"0000:3b:00.0\" driver=\"e1000e\"");
        check(&(Step){ .kind = STEP_BIND, .device = NIC, .group = 12, .value = (char *)"vfio-pci" },
              0, AUDIT_DEV_ALLOC,
              "op=bind iommu-group=12 device=\"0000:3b:00.0\" driver=\"vfio-pci\"");
        check(&(Step){ .kind = STEP_GRANT_NODE, .group = 12, .uid = 1000 }, 0, AUDIT_DEV_ALLOC,
              "op=grant-node iommu-group=12 id=1000");
        check(&(Step){ .kind = STEP_LEND, .group = 12, .value = (char *)"iommufd" }, 0,
              AUDIT_DEV_ALLOC, "op=lend iommu-group=12 interface=\"iommufd\"");
}

static void test_what_is_taken_back(void **state) {
        check(&(Step){ .kind = STEP_REVOKE_NODE, .group = 12, .uid = 0 }, 0, AUDIT_DEV_DEALLOC,
              "op=revoke-node iommu-group=12 id=0");
        check(&(Step){ .kind = STEP_CLAIM, .group = 12 }, 0, AUDIT_DEV_DEALLOC,
              "op=claim iommu-group=12");
        check(&(Step){ .kind = STEP_UNBIND, .device = NIC, .group = 12, .value = (char *)"vfio-pci" },
              0, AUDIT_DEV_DEALLOC,
              "op=unbind iommu-group=12 device=\"0000:3b:00.0\" driver=\"vfio-pci\"");
        check(&(Step){ .kind = STEP_BIND, .device = NIC, .group = 12, .value = (char *)"e1000e" },
              0, AUDIT_DEV_DEALLOC,
              "op=bind iommu-group=12 device=\"0000:3b:00.0\" driver=\"e1000e\"");
        check(&(Step){ .kind = STEP_PROBE, .device = NIC, .group = 12 }, 0, AUDIT_DEV_DEALLOC,
              "op=probe iommu-group=12 device=\"0000:3b:00.0\"");
}

static void test_what_failed(void **state) {
        const Step step = {
                .kind = STEP_UNBIND, .device = NIC, .group = 12, .value = (char *)"nvme", .force = 1
        };

        check(&step, EBUSY, AUDIT_DEV_ALLOC,
              "op=unbind iommu-group=12 device=\"0000:3b:00.0\" driver=\"nvme\" force=1 errno=16");
        check_nothing(&step, EAGAIN);
        check_nothing(&step, ECANCELED);
}

static void test_what_gives_nothing(void **state) {
        static const StepKind kinds[] = { STEP_INSPECT,  STEP_LOAD_MODULE, STEP_SET_OVERRIDE,
                                          STEP_SET_TYPE, STEP_RESET,       STEP_READ_VF };

        for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
                check_nothing(&(Step){ .kind = kinds[i], .device = NIC, .group = 12 }, 0);
}

/* The daemon may have been taken over: a name is no way to say something else. */
static void test_names_are_names(void **state) {
        check(&(Step){ .kind = STEP_BIND,
                       .device = (char *)"x\" res=success",
                       .value = (char *)"a b\nc" },
              EINVAL, AUDIT_DEV_DEALLOC,
              "op=bind iommu-group=0 device=7822207265733D73756363657373 driver=6120620A63 errno=22");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_is_given),   cmocka_unit_test(test_what_is_taken_back),
                cmocka_unit_test(test_what_failed),     cmocka_unit_test(test_what_gives_nothing),
                cmocka_unit_test(test_names_are_names),
        };

        return cmocka_run_group_tests_name("executor-audit", tests, NULL, NULL);
}
