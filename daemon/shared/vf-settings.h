/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a PF's network driver keeps for one of its VFs, and the text that stands for it in a step's
 * value and in a group's record: "mac=52:54:00:12:34:56 vlan=100 qos=0 proto=802.1Q ...".
 */

#include <stdbool.h>
#include <stdint.h>

#include "util/cleanup.h"

typedef enum VfSetting {
        VF_SETTING_MAC,
        VF_SETTING_VLAN,
        VF_SETTING_QOS,
        VF_SETTING_PROTO, /* 0: 802.1Q, 1: 802.1ad */
        VF_SETTING_TRUST,
        VF_SETTING_SPOOF_CHECK,
        VF_SETTING_LINK_STATE, /* as IFLA_VF_LINK_STATE_* */
        VF_SETTING_MIN_RATE,   /* Mbit/s, 0: no bound; likewise below */
        VF_SETTING_MAX_RATE,
        _VF_SETTING_MAX,
} VfSetting;

typedef struct VfSettings {
        bool known[_VF_SETTING_MAX]; /* what a driver does not report is not restored */
        uint8_t mac[6];
        uint32_t number[_VF_SETTING_MAX]; /* all but the MAC */
} VfSettings;

#define VF_SETTINGS_NULL ((VfSettings){})

const char *vf_setting_to_string(VfSetting s);
void vf_settings_set(VfSettings *v, VfSetting s, uint32_t number);
/* Sets what the text names, leaves the rest. -EINVAL: it is not understood. */
int vf_settings_parse(const char *text, VfSettings *v);
/* Those that are known, in the order above; NULL: no memory. */
char *vf_settings_format(const VfSettings *v);
/* Is the setting, which a has, the same in b? */
bool vf_settings_agree(const VfSettings *a, const VfSettings *b, VfSetting s);
