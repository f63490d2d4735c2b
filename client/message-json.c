/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/message-json.h"

#include "util/strings.h"

static int read_value(sd_bus_message *m, json_object **ret);

static int read_basic(sd_bus_message *m, char type, json_object **ret) {
        union {
                uint8_t y;
                int b;
                int16_t n;
                uint16_t q;
                int32_t i;
                uint32_t u;
                int64_t x;
                uint64_t t;
                double d;
                const char *s;
        } v = {};
        json_object *o = NULL;
        int r;

        r = sd_bus_message_read_basic(m, type, &v);
        if (r < 0)
                return r;
        switch (type) {
        case 'y':
                o = json_object_new_int(v.y);
                break;
        case 'b':
                o = json_object_new_boolean(v.b);
                break;
        case 'n':
                o = json_object_new_int(v.n);
                break;
        case 'q':
                o = json_object_new_int(v.q);
                break;
        case 'i':
                o = json_object_new_int(v.i);
                break;
        case 'u':
                o = json_object_new_int64(v.u);
                break;
        case 'x':
                o = json_object_new_int64(v.x);
                break;
        case 't':
                o = json_object_new_uint64(v.t);
                break;
        case 'd':
                o = json_object_new_double(v.d);
                break;
        case 'h': /* its number means nothing to a reader */
                *ret = NULL;
                return 0;
        default:
                o = json_object_new_string(v.s);
        }
        if (!o)
                return -ENOMEM;
        *ret = o;
        return 0;
}

/* All values up to the end of the container, appended to an array. */
static int read_sequence(sd_bus_message *m, json_object *array) {
        int r;

        while ((r = sd_bus_message_at_end(m, false)) == 0) {
                json_object *o;

                r = read_value(m, &o);
                if (r < 0)
                        return r;
                if (json_object_array_add(array, o) < 0) {
                        json_object_put(o);
                        return -ENOMEM;
                }
        }
        return r < 0 ? r : 0;
}

static int read_entries(sd_bus_message *m, json_object *object) {
        _cleanup_json_ json_object *key = NULL;
        json_object *value;
        const char *contents;
        char type;
        int r;

        while ((r = sd_bus_message_peek_type(m, &type, &contents)) > 0) {
                r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, contents);
                if (r < 0)
                        return r;
                json_object_put(key);
                key = NULL;
                r = read_value(m, &key);
                if (r < 0)
                        return r;
                r = read_value(m, &value);
                if (r < 0)
                        return r;
                if (json_object_object_add(object, json_object_get_string(key), value) < 0) {
                        json_object_put(value);
                        return -ENOMEM;
                }
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r;
}

static int read_container(sd_bus_message *m, char type, const char *contents, json_object **ret) {
        _cleanup_json_ json_object *o = NULL;
        bool dictionary = type == SD_BUS_TYPE_ARRAY && contents[0] == SD_BUS_TYPE_DICT_ENTRY_BEGIN;
        int r;

        r = sd_bus_message_enter_container(m, type, contents);
        if (r < 0)
                return r;
        if (type == SD_BUS_TYPE_VARIANT) {
                r = read_value(m, &o);
        } else {
                o = dictionary ? json_object_new_object() : json_object_new_array();
                if (!o)
                        return -ENOMEM;
                r = dictionary ? read_entries(m, o) : read_sequence(m, o);
        }
        if (r < 0)
                return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(o);
        return 0;
}

static int read_value(sd_bus_message *m, json_object **ret) {
        const char *contents;
        char type;
        int r;

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r < 0)
                return r;
        if (r == 0)
                return -EBADMSG;
        if (contents)
                return read_container(m, type, contents, ret);
        return read_basic(m, type, ret);
}

int message_to_json(sd_bus_message *m, json_object **ret) {
        _cleanup_json_ json_object *array = json_object_new_array();
        int r;

        if (!array)
                return -ENOMEM;
        r = read_sequence(m, array);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(array);
        return 0;
}

json_object *json_member(json_object *o, const char *name) {
        json_object *member = NULL;

        (void)json_object_object_get_ex(o, name, &member);
        return member;
}

const char *json_string(json_object *o, const char *name) {
        const char *s = json_object_get_string(json_member(o, name));

        return s ? s : "";
}

uint64_t json_number(json_object *o, const char *name) {
        return json_object_get_uint64(json_member(o, name));
}
