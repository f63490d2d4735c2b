/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shared/step-json.h"

#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "util/json.h"
#include "util/strings.h"

/* What a step of each kind cannot be without. */
static const struct {
        bool device, value, uid;
} kind_needs[_STEP_KIND_MAX] = {
        [STEP_INSPECT] = { .device = true },
        [STEP_LOAD_MODULE] = { .value = true },
        [STEP_SET_OVERRIDE] = { .device = true },
        [STEP_UNBIND] = { .device = true, .value = true },
        [STEP_EVICT] = { .device = true, .value = true },
        [STEP_BIND] = { .device = true, .value = true },
        [STEP_PROBE] = { .device = true },
        [STEP_SET_TYPE] = { .value = true },
        [STEP_GRANT_NODE] = { .uid = true },
        [STEP_REVOKE_NODE] = { .uid = true },
        [STEP_SCRUB] = { .device = true },
        [STEP_RESET] = { .device = true, .value = true },
        [STEP_SET_VF_AUTOPROBE] = { .device = true, .value = true },
        [STEP_SET_NUM_VFS] = { .device = true, .value = true },
        [STEP_READ_VF] = { .device = true },
        [STEP_SET_VF] = { .device = true, .value = true },
};

/* Adds value, which is consumed; NULL is a lack of memory. */
static bool add(json_object *o, const char *name, json_object *value) {
        if (!value)
                return false;
        if (json_object_object_add(o, name, value) < 0) {
                (void)json_object_put(value);
                return false;
        }
        return true;
}

static bool add_string(json_object *o, const char *name, const char *value) {
        return !value || add(o, name, json_object_new_string(value));
}

json_object *step_to_json(const Step *s) {
        _cleanup_json_ json_object *o = json_object_new_object();

        if (!o || !add_string(o, "step", step_kind_to_string(s->kind)) ||
            !add_string(o, "device", s->device) ||
            !add(o, "group", json_object_new_uint64(s->group)) ||
            !add_string(o, "value", s->value) || !add_string(o, "former", s->former))
                return NULL;
        if (kind_needs[s->kind].uid && !add(o, "uid", json_object_new_uint64(s->uid)))
                return NULL;
        if (s->force && !add(o, "force", json_object_new_boolean(true)))
                return NULL;
        return TAKE_PTR(o);
}

const char *json_get_string(json_object *o, const char *name) {
        json_object *member;
        const char *s;

        if (!json_object_object_get_ex(o, name, &member) ||
            !json_object_is_type(member, json_type_string))
                return NULL;
        s = json_object_get_string(member);
        /* a \u0000 inside would make us see another string than the sender */
        return strlen(s) == (size_t)json_object_get_string_len(member) ? s : NULL;
}

int json_get_uint(json_object *o, const char *name, unsigned long long max,
                  unsigned long long *ret) {
        json_object *member;
        unsigned long long value;

        if (!json_object_object_get_ex(o, name, &member) ||
            !json_object_is_type(member, json_type_int) || json_object_get_int64(member) < 0)
                return -EINVAL;
        value = json_object_get_uint64(member);
        if (value > max)
                return -EINVAL;
        *ret = value;
        return 0;
}

/* -EINVAL with a message. */
static int refuse(char **ret_message, const char *what, const char *name) {
        char *message;

        if (ret_message) {
                message = str_format("%s \"%s\"", what, name);
                if (!message)
                        return -ENOMEM;
                *ret_message = message;
        }
        return -EINVAL;
}

/* A member that may be left out or null. */
static int take_string(json_object *o, const char *name, bool needed, char **ret,
                       char **ret_message) {
        json_object *member = NULL;
        const char *s;

        if (!json_object_object_get_ex(o, name, &member) || !member)
                return needed ? refuse(ret_message, "a step lacks its member", name) : 0;
        s = json_get_string(o, name);
        if (!s)
                return refuse(ret_message, "a step has no string as member", name);
        return str_set(ret, s);
}

static int take_uint(json_object *o, const char *name, unsigned max, bool needed, unsigned *ret,
                     char **ret_message) {
        unsigned long long value;

        if (!json_object_object_get_ex(o, name, NULL))
                return needed ? refuse(ret_message, "a step lacks its member", name) : 0;
        if (json_get_uint(o, name, max, &value) < 0)
                return refuse(ret_message, "a step has no number in range as member", name);
        *ret = (unsigned)value;
        return 0;
}

int step_from_json(json_object *o, Step *ret, char **ret_message) {
        _cleanup_(step_clear) Step s = {};
        json_object *force;
        const char *kind;
        int r;

        if (!json_object_is_type(o, json_type_object))
                return refuse(ret_message, "a step has to be an", "object");
        kind = json_get_string(o, "step");
        if (!kind)
                return refuse(ret_message, "a step lacks its member", "step");
        s.kind = step_kind_from_string(kind);
        if ((int)s.kind < 0)
                return refuse(ret_message, "there is no step", kind);
        r = take_string(o, "device", kind_needs[s.kind].device, &s.device, ret_message);
        if (r < 0)
                return r;
        /* loading a module is the only step that concerns no group */
        r = take_uint(o, "group", INT_MAX, s.kind != STEP_LOAD_MODULE, &s.group, ret_message);
        if (r < 0)
                return r;
        r = take_string(o, "value", kind_needs[s.kind].value, &s.value, ret_message);
        if (r < 0)
                return r;
        r = take_string(o, "former", false, &s.former, ret_message);
        if (r < 0)
                return r;
        /* the highest number is no uid but "none" */
        r = take_uint(o, "uid", UINT32_MAX - 1, kind_needs[s.kind].uid, &s.uid, ret_message);
        if (r < 0)
                return r;
        if (json_object_object_get_ex(o, "force", &force)) {
                if (!json_object_is_type(force, json_type_boolean))
                        return refuse(ret_message, "a step has no boolean as member", "force");
                s.force = json_object_get_boolean(force);
        }
        *ret = s;
        s = (Step){};
        return 0;
}

json_object *obstacles_to_json(const Obstacles *o) {
        _cleanup_json_ json_object *list = json_object_new_array();

        for (size_t i = 0; list && i < o->n; i++) {
                _cleanup_json_ json_object *item = json_object_new_object();

                if (!item || !add_string(item, "code", o->items[i].code) ||
                    !add_string(item, "device", o->items[i].device) ||
                    !add_string(item, "text", o->items[i].text) ||
                    json_object_array_add(list, item) < 0)
                        return NULL;
                TAKE_PTR(item);
        }
        return TAKE_PTR(list);
}

int obstacles_from_json(json_object *o, Obstacles *ret) {
        _cleanup_obstacles_ Obstacles list = OBSTACLES_NULL;

        if (!json_object_is_type(o, json_type_array))
                return -EINVAL;
        for (size_t i = 0; i < json_object_array_length(o); i++) {
                json_object *item = json_object_array_get_idx(o, i);
                const char *code = json_get_string(item, "code");
                const char *device = json_get_string(item, "device");
                const char *text = json_get_string(item, "text");
                int r;

                if (!code || !device || !text)
                        return -EINVAL;
                r = obstacles_add(&list, code, device, "%s", text);
                if (r < 0)
                        return r;
        }
        *ret = list;
        list = OBSTACLES_NULL;
        return 0;
}
