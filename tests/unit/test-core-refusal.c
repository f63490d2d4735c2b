/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel's numbers are said to mean. */
#include "core-fixture.h"
#include "core/refusal.h"

#define B "0000:02:01.0"
#define C "0000:02:02.0"

static void says(World *w, Step step, int error, const char *what) {
        _cleanup_free_ char *text = NULL;

        step.group = 2;
        assert_int_equal(refusal_explain(registry_group(w->r, 2), &step, error, &text), 0);
        if (!what)
                assert_null(text);
        else if (!text || !strstr(text, what))
                fail_msg("'%s' does not say '%s'", text ? text : "-", what);
}

static void test_type(void **state) {
        _cleanup_world_ World w;
        Step step = { .kind = STEP_SET_TYPE, .value = (char *)"identity" };

        world_init(&w);
        world_plug(&w, (DeviceSpec){ B, 2, "e1000" });
        world_plug(&w, (DeviceSpec){ C, 2, "pci-stub" });
        says(&w, step, EPERM, B " (e1000)");
        says(&w, step, EINVAL, "does not allow the type identity");
        says(&w, step, EACCES, "CAP_SYS_RAWIO");
        says(&w, step, ENOMEM, NULL);
        world_rebind(&w, B, NULL);
        says(&w, step, EPERM, "VFIO");
}

static void test_type_on_strict_kernels(void **state) {
        _cleanup_world_ World w;
        Step step = { .kind = STEP_SET_TYPE, .value = (char *)"DMA" };

        world_init(&w);
        world_plug(&w, (DeviceSpec){ B, 2, "pci-stub", .strict_type = true });
        says(&w, step, EBUSY, B " (pci-stub)");
        says(&w, step, EINVAL, "does not allow");
        world_plug(&w, (DeviceSpec){ C, 2, NULL, .strict_type = true });
        says(&w, step, EINVAL, "one device only, and this one has 2");
}

static void test_bind(void **state) {
        _cleanup_world_ World w;
        Step step = { .kind = STEP_BIND, .device = (char *)B, .value = (char *)"vp-vdpa" };

        world_init(&w);
        world_plug(&w, (DeviceSpec){ B, 2 });
        says(&w, step, ENODEV, "vp-vdpa does not take " B);
        says(&w, step, EBUSY, "group 2");
        says(&w, step, EAGAIN, "waits");
        says(&w, step, EIO, NULL);
        step.kind = STEP_UNBIND;
        says(&w, step, ENODEV, NULL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_type),
                cmocka_unit_test(test_type_on_strict_kernels),
                cmocka_unit_test(test_bind),
        };

        return cmocka_run_group_tests_name("core-refusal", tests, NULL, NULL);
}
