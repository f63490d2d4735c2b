/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Settings of a VF that are understood are the same when they are written and read again. */
#include "fuzz.h"

#include "shared/vf-settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size), *first = NULL, *second = NULL;
        VfSettings settings = VF_SETTINGS_NULL, again = VF_SETTINGS_NULL;
        const VfSettings nothing = VF_SETTINGS_NULL;

        if (vf_settings_parse(text, &settings) < 0) {
                assert(memcmp(&settings, &nothing, sizeof(nothing)) == 0);
                return 0;
        }
        first = vf_settings_format(&settings);
        assert(first && vf_settings_parse(first, &again) == 0);
        for (VfSetting s = 0; s < _VF_SETTING_MAX; s++)
                assert(settings.known[s] == again.known[s] &&
                       vf_settings_agree(&settings, &again, s) &&
                       vf_settings_agree(&again, &settings, s));
        second = vf_settings_format(&again);
        assert(second && strcmp(first, second) == 0);
        return 0;
}
