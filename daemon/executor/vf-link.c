/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/vf-link.h"

#include <arpa/inet.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "executor/netlink.h"

static struct nlmsghdr *begin(const VfLink *l, char *buffer, uint16_t type, uint16_t flags) {
        struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
        struct ifinfomsg *m;

        h->nlmsg_type = type;
        h->nlmsg_flags = flags;
        m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
        m->ifi_family = AF_UNSPEC;
        m->ifi_index = (int)l->interface;
        return h;
}

/* reading */

typedef struct Reading {
        unsigned vf;
        bool found;
        VfSettings settings;
} Reading;

/* What the kernel says of a VF starts with the VF's number. */
static bool payload_is(const struct nlattr *a, size_t size) {
        return mnl_attr_get_payload_len(a) >= size;
}

/* Drivers that do not have it leave what the kernel put there before. */
static void read_switch(const struct nlattr *a, VfSetting s, VfSettings *ret) {
        const struct ifla_vf_trust *t = mnl_attr_get_payload(a); /* as all switches are */

        if (payload_is(a, sizeof(*t)) && t->setting <= 1)
                vf_settings_set(ret, s, t->setting);
}

static void read_vlans(const struct nlattr *list, VfSettings *ret) {
        const struct nlattr *a;

        mnl_attr_for_each_nested(a, list) {
                const struct ifla_vf_vlan_info *v = mnl_attr_get_payload(a);

                if (mnl_attr_get_type(a) != IFLA_VF_VLAN_INFO || !payload_is(a, sizeof(*v)))
                        continue;
                vf_settings_set(ret, VF_SETTING_VLAN, v->vlan);
                vf_settings_set(ret, VF_SETTING_QOS, v->qos);
                vf_settings_set(ret, VF_SETTING_PROTO, ntohs(v->vlan_proto) == ETH_P_8021AD);
        }
}

static void read_mac(const struct nlattr *a, VfSettings *ret) {
        const struct ifla_vf_mac *m = mnl_attr_get_payload(a);

        if (!payload_is(a, sizeof(*m)))
                return;
        ret->known[VF_SETTING_MAC] = true;
        memcpy(ret->mac, m->mac, sizeof(ret->mac));
}

static void read_attribute(const struct nlattr *a, VfSettings *ret) {
        const struct ifla_vf_link_state *state = mnl_attr_get_payload(a);
        const struct ifla_vf_rate *rate = mnl_attr_get_payload(a);

        switch (mnl_attr_get_type(a)) {
        case IFLA_VF_MAC:
                read_mac(a, ret);
                break;
        case IFLA_VF_VLAN_LIST:
                read_vlans(a, ret);
                break;
        case IFLA_VF_TRUST:
                read_switch(a, VF_SETTING_TRUST, ret);
                break;
        case IFLA_VF_SPOOFCHK:
                read_switch(a, VF_SETTING_SPOOF_CHECK, ret);
                break;
        case IFLA_VF_LINK_STATE:
                if (payload_is(a, sizeof(*state)) && state->link_state <= IFLA_VF_LINK_STATE_DISABLE)
                        vf_settings_set(ret, VF_SETTING_LINK_STATE, state->link_state);
                break;
        case IFLA_VF_RATE:
                if (!payload_is(a, sizeof(*rate)))
                        break;
                vf_settings_set(ret, VF_SETTING_MIN_RATE, rate->min_tx_rate);
                vf_settings_set(ret, VF_SETTING_MAX_RATE, rate->max_tx_rate);
                break;
        default:
                break;
        }
}

static void read_vf(const struct nlattr *info, Reading *r) {
        VfSettings settings = VF_SETTINGS_NULL;
        const struct nlattr *a;
        bool ours = false;

        mnl_attr_for_each_nested(a, info) {
                const struct ifla_vf_mac *m = mnl_attr_get_payload(a);

                if (mnl_attr_get_type(a) == IFLA_VF_MAC && payload_is(a, sizeof(*m)))
                        ours = m->vf == r->vf;
                read_attribute(a, &settings);
        }
        if (!ours)
                return;
        r->settings = settings;
        r->found = true;
}

static int on_link(const struct nlmsghdr *h, void *userdata) {
        const struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
        const struct nlattr *a, *info;

        /* an address of InfiniBand is another thing, which the kernel keeps elsewhere */
        if (h->nlmsg_type != RTM_NEWLINK || m->ifi_type != ARPHRD_ETHER)
                return MNL_CB_STOP;
        mnl_attr_for_each(a, h, sizeof(*m)) {
                if (mnl_attr_get_type(a) != IFLA_VFINFO_LIST)
                        continue;
                mnl_attr_for_each_nested(info, a) {
                        if (mnl_attr_get_type(info) == IFLA_VF_INFO)
                                read_vf(info, userdata);
                }
        }
        return MNL_CB_STOP;
}

int vf_link_read(const VfLink *l, VfSettings *ret) {
        Reading reading = { .vf = l->vf };
        char buffer[NETLINK_REQUEST_SIZE];
        struct nlmsghdr *h;
        int r;

        h = begin(l, buffer, RTM_GETLINK, 0);
        mnl_attr_put_u32(h, IFLA_EXT_MASK, RTEXT_FILTER_VF | RTEXT_FILTER_SKIP_STATS);
        r = netlink_ask(l->run, h, on_link, &reading);
        if (r < 0 || !reading.found)
                return r;
        *ret = reading.settings;
        return 1;
}

/* writing */

static void put_vlan(struct nlmsghdr *h, unsigned vf, const VfSettings *v) {
        const struct ifla_vf_vlan_info vlan = {
                .vf = vf,
                .vlan = v->number[VF_SETTING_VLAN],
                .qos = v->number[VF_SETTING_QOS],
                .vlan_proto = htons(v->number[VF_SETTING_PROTO] ? ETH_P_8021AD : ETH_P_8021Q),
        };
        struct nlattr *list = mnl_attr_nest_start(h, IFLA_VF_VLAN_LIST);

        mnl_attr_put(h, IFLA_VF_VLAN_INFO, sizeof(vlan), &vlan);
        mnl_attr_nest_end(h, list);
}

static void put_setting(struct nlmsghdr *h, unsigned vf, const VfSettings *v, VfSetting s) {
        const struct ifla_vf_trust one = { .vf = vf, .setting = v->number[s] }; /* or spoof check */
        const struct ifla_vf_link_state state = { .vf = vf, .link_state = v->number[s] };
        const struct ifla_vf_rate rate = {
                .vf = vf,
                .min_tx_rate = v->number[VF_SETTING_MIN_RATE],
                .max_tx_rate = v->number[VF_SETTING_MAX_RATE],
        };
        struct ifla_vf_mac mac = { .vf = vf };

        switch (s) {
        case VF_SETTING_MAC:
                memcpy(mac.mac, v->mac, sizeof(v->mac));
                mnl_attr_put(h, IFLA_VF_MAC, sizeof(mac), &mac);
                break;
        case VF_SETTING_VLAN:
        case VF_SETTING_QOS:
        case VF_SETTING_PROTO:
                put_vlan(h, vf, v);
                break;
        case VF_SETTING_TRUST:
                mnl_attr_put(h, IFLA_VF_TRUST, sizeof(one), &one);
                break;
        case VF_SETTING_SPOOF_CHECK:
                mnl_attr_put(h, IFLA_VF_SPOOFCHK, sizeof(one), &one);
                break;
        case VF_SETTING_LINK_STATE:
                mnl_attr_put(h, IFLA_VF_LINK_STATE, sizeof(state), &state);
                break;
        case VF_SETTING_MIN_RATE:
        case VF_SETTING_MAX_RATE:
                mnl_attr_put(h, IFLA_VF_RATE, sizeof(rate), &rate);
                break;
        case _VF_SETTING_MAX:
                break;
        }
}

int vf_link_write(const VfLink *l, const VfSettings *v, VfSetting s) {
        struct nlattr *list, *info;
        char buffer[NETLINK_REQUEST_SIZE];
        struct nlmsghdr *h;

        h = begin(l, buffer, RTM_SETLINK, NLM_F_ACK);
        list = mnl_attr_nest_start(h, IFLA_VFINFO_LIST);
        info = mnl_attr_nest_start(h, IFLA_VF_INFO);
        put_setting(h, l->vf, v, s);
        mnl_attr_nest_end(h, info);
        mnl_attr_nest_end(h, list);
        return netlink_ask(l->run, h, NULL, NULL);
}
