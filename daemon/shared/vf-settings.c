/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shared/vf-settings.h"

#include <stdio.h>
#include <string.h>

#include "util/strings.h"

static const char *const protocols[] = { "802.1Q", "802.1ad", NULL };
static const char *const switches[] = { "off", "on", NULL };
static const char *const link_states[] = { "auto", "enable", "disable", NULL };

static const struct {
        const char *name;
        char *const *words; /* that stand for 0, 1...; NULL: decimal */
        uint32_t max;
} settings[_VF_SETTING_MAX] = {
        [VF_SETTING_MAC] = { "mac", NULL, 0 },
        [VF_SETTING_VLAN] = { "vlan", NULL, 4095 },
        [VF_SETTING_QOS] = { "qos", NULL, 7 },
        [VF_SETTING_PROTO] = { "proto", (char *const *)protocols, 1 },
        [VF_SETTING_TRUST] = { "trust", (char *const *)switches, 1 },
        [VF_SETTING_SPOOF_CHECK] = { "spoof-check", (char *const *)switches, 1 },
        [VF_SETTING_LINK_STATE] = { "link-state", (char *const *)link_states, 2 },
        [VF_SETTING_MIN_RATE] = { "min-rate", NULL, UINT32_MAX },
        [VF_SETTING_MAX_RATE] = { "max-rate", NULL, UINT32_MAX },
};

const char *vf_setting_to_string(VfSetting s) {
        return settings[s].name;
}

void vf_settings_set(VfSettings *v, VfSetting s, uint32_t number) {
        v->known[s] = true;
        v->number[s] = number;
}

static int parse_mac(const char *text, uint8_t mac[static 6]) {
        int end = 0;

        if (strlen(text) != strlen("00:00:00:00:00:00") ||
            sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2],
                   &mac[3], &mac[4], &mac[5], &end) != 6 ||
            text[end] != '\0')
                return -EINVAL;
        return 0;
}

static int parse_number(VfSetting s, const char *text, uint32_t *ret) {
        unsigned long long number;

        for (uint32_t i = 0; settings[s].words && settings[s].words[i]; i++)
                if (strcmp(settings[s].words[i], text) == 0) {
                        *ret = i;
                        return 0;
                }
        if (settings[s].words || parse_u64(text, 10, &number) < 0 || number > settings[s].max)
                return -EINVAL;
        *ret = (uint32_t)number;
        return 0;
}

/* One "name=value". */
static int parse_one(char *text, VfSettings *v) {
        char *value = strchr(text, '=');

        if (!value)
                return -EINVAL;
        *value++ = '\0';
        for (int s = 0; s < _VF_SETTING_MAX; s++) {
                if (strcmp(settings[s].name, text) != 0)
                        continue;
                v->known[s] = true;
                return s == VF_SETTING_MAC ? parse_mac(value, v->mac)
                                           : parse_number((VfSetting)s, value, &v->number[s]);
        }
        return -EINVAL;
}

int vf_settings_parse(const char *text, VfSettings *v) {
        _cleanup_free_ char *copy = strdup(text);
        char *rest = NULL;
        VfSettings parsed = *v;

        if (!copy)
                return -ENOMEM;
        for (char *one = strtok_r(copy, " ", &rest); one; one = strtok_r(NULL, " ", &rest)) {
                int r = parse_one(one, &parsed);

                if (r < 0)
                        return r;
        }
        *v = parsed;
        return 0;
}

static char *format_one(const VfSettings *v, VfSetting s) {
        const uint8_t *m = v->mac;

        if (s == VF_SETTING_MAC)
                return str_format("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
                                  m[5]);
        if (settings[s].words)
                return strdup(v->number[s] <= settings[s].max ? settings[s].words[v->number[s]]
                                                              : "?");
        return str_format("%u", v->number[s]);
}

char *vf_settings_format(const VfSettings *v) {
        _cleanup_free_ char *text = strdup("");

        for (int s = 0; text && s < _VF_SETTING_MAX; s++) {
                _cleanup_free_ char *value = NULL;

                if (!v->known[s])
                        continue;
                value = format_one(v, (VfSetting)s);
                if (!value ||
                    str_append(&text, "%s%s=%s", *text ? " " : "", settings[s].name, value) < 0)
                        return NULL;
        }
        return TAKE_PTR(text);
}

bool vf_settings_agree(const VfSettings *a, const VfSettings *b, VfSetting s) {
        if (!a->known[s])
                return true;
        if (!b->known[s])
                return false;
        return s == VF_SETTING_MAC ? memcmp(a->mac, b->mac, sizeof(a->mac)) == 0
                                   : a->number[s] == b->number[s];
}
