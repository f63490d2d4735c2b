/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packets between daemon and executor: a step, or the obstacles that it met, is the same when it is sent
 * and received again. */
#include "fuzz.h"

#include <sys/socket.h>

#include "shared/packet.h"
#include "shared/step-json.h"
#include "shared/whole-json.h"
#include "util/json.h"

/* Sends what o says through a socket, and reads what comes out of it. */
static json_object *send_over(json_object *o) {
        static char buffer[PACKET_SIZE_MAX];
        static int ends[2] = { -1, -1 };
        const char *text = json_whole_text(o);
        json_object *received;
        int n;

        if (ends[0] < 0)
                assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0);
        assert(text);
        if (strlen(text) > PACKET_SIZE_MAX)
                return NULL;
        assert(packet_send(ends[0], text, NULL) == 0);
        n = packet_receive(ends[1], buffer, NULL);
        assert(n == (int)strlen(text) && memcmp(buffer, text, (size_t)n) == 0);
        received = packet_parse(buffer, (size_t)n);
        assert(received);
        return received;
}

static void check_step(json_object *o) {
        _cleanup_(step_clear) Step step = {}, again = {};
        _cleanup_free_ char *message = NULL, *described = NULL;
        _cleanup_json_ json_object *written = NULL, *received = NULL;

        if (step_from_json(o, &step, &message) < 0) {
                assert(message);
                return;
        }
        assert(!message && step.kind >= 0 && step.kind < _STEP_KIND_MAX);
        described = step_describe(&step);
        assert(described);
        written = step_to_json(&step);
        received = send_over(written);
        if (!received)
                return;
        assert(step_from_json(received, &again, &message) == 0);
        assert(again.kind == step.kind && str_eq(again.device, step.device) &&
               again.group == step.group && str_eq(again.value, step.value) &&
               str_eq(again.former, step.former) && again.force == step.force);
        if (step.kind == STEP_GRANT_NODE || step.kind == STEP_REVOKE_NODE)
                assert(again.uid == step.uid);
}

static void check_obstacles(json_object *o) {
        _cleanup_obstacles_ Obstacles list = OBSTACLES_NULL, again = OBSTACLES_NULL;
        _cleanup_json_ json_object *written = NULL;
        _cleanup_free_ char *described = NULL;
        json_object *member;

        if (!json_object_object_get_ex(o, "obstacles", &member) ||
            obstacles_from_json(member, &list) < 0)
                return;
        described = obstacles_describe(&list, true);
        assert(!described == (list.n == 0));
        written = obstacles_to_json(&list);
        assert(written && obstacles_from_json(written, &again) == 0 && again.n == list.n);
        for (size_t i = 0; i < list.n; i++)
                assert(strcmp(list.items[i].code, again.items[i].code) == 0 &&
                       strcmp(list.items[i].device, again.items[i].device) == 0 &&
                       strcmp(list.items[i].text, again.items[i].text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_json_ json_object *o = NULL;
        unsigned long long seq = 1;

        o = packet_parse((const char *)data, size);
        if (!o)
                return 0;
        assert(json_object_is_type(o, json_type_object));
        if (json_get_uint(o, "seq", UINT32_MAX, &seq) == 0)
                assert(seq <= UINT32_MAX);
        check_step(o);
        check_obstacles(o);
        return 0;
}
