/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/answer.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>

#include "util/strings.h"

/* Together they keep a packet below PACKET_SIZE_MAX, even if each character needs an escape. */
#define TEXT_LENGTH_MAX 480
#define OBSTACLES_MAX   48

void answer_clear(Answer *a) {
        free(a->value);
        free(a->text);
        obstacles_clear(&a->obstacles);
        vfio_files_clear(&a->files);
}

int answer_fail(Answer *a, int error, const char *fmt, ...) {
        va_list ap;

        a->error = error;
        free(a->text);
        va_start(ap, fmt);
        if (vasprintf(&a->text, fmt, ap) < 0)
                a->text = NULL; /* the number says it too */
        va_end(ap);
        return -error;
}

/* Names of processes, disks and USB products are whatever somebody made them. */
static json_object *printable(const char *s) {
        char clean[TEXT_LENGTH_MAX + 1];
        size_t i;

        for (i = 0; s[i] && i < TEXT_LENGTH_MAX; i++)
                clean[i] = s[i] < ' ' || s[i] > '~' ? '?' : s[i];
        clean[i] = '\0';
        return json_object_new_string(clean);
}

static bool add(json_object *o, const char *name, json_object *value) {
        if (value && json_object_object_add(o, name, value) == 0)
                return true;
        (void)json_object_put(value);
        return false;
}

static bool add_text(json_object *o, const char *name, const char *s) {
        return !s || add(o, name, printable(s));
}

static json_object *obstacle_list(const Obstacles *obstacles) {
        json_object *list = json_object_new_array();

        for (size_t i = 0; list && i < obstacles->n && i < OBSTACLES_MAX; i++) {
                const Obstacle *obstacle = &obstacles->items[i];
                json_object *o = json_object_new_object();

                if (!o || !add_text(o, "code", obstacle->code) ||
                    !add_text(o, "device", obstacle->device) ||
                    !add_text(o, "text", obstacle->text) || json_object_array_add(list, o) < 0) {
                        (void)json_object_put(o);
                        (void)json_object_put(list);
                        return NULL;
                }
        }
        return list;
}

/* Consumes o; ok: it is complete. */
static char *to_packet(json_object *o, bool ok) {
        char *packet = NULL;

        if (ok)
                packet = strdup(
                        json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
                                                                  JSON_C_TO_STRING_NOSLASHESCAPE));
        (void)json_object_put(o);
        return packet;
}

char *answer_to_packet(const Answer *a, unsigned long long seq) {
        json_object *o = json_object_new_object();

        return to_packet(o, o && add(o, "seq", json_object_new_uint64(seq)) &&
                                    add_text(o, "event", "done") &&
                                    add(o, "errno", json_object_new_int(a->error)) &&
                                    add_text(o, "value", a->value) &&
                                    add_text(o, "text", a->text) &&
                                    (a->obstacles.n == 0 ||
                                     add(o, "obstacles", obstacle_list(&a->obstacles))) &&
                                    (a->files.n == 0 ||
                                     add(o, "files", vfio_files_to_json(&a->files))));
}

char *answer_waiting_packet(const char *who, unsigned long long seq) {
        json_object *o = json_object_new_object();

        return to_packet(o, o && add(o, "seq", json_object_new_uint64(seq)) &&
                                    add_text(o, "event", "waiting") && add_text(o, "text", who));
}
