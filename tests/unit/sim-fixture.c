/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim-fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

static void hear(Host *h, const char *what, const char *of) {
        assert_int_equal(str_append(&h->heard, "%s %s; ", what, of), 0);
}

static void on_seen(const DeviceFacts *facts, void *userdata) {
        _cleanup_free_ char *what = str_format("%s driver=%s", facts->name,
                                               facts->driver ? facts->driver : "");

        hear(userdata, "seen", what);
}

static void on_gone(const char *name, void *userdata) {
        hear(userdata, "gone", name);
}

static void on_use(const char *name, void *userdata) {
        hear(userdata, "use", name);
}

static void on_node_changed(unsigned group, void *userdata) {
}

static void on_waiting(KernelOp *op, const char *who, void *userdata) {
        hear(userdata, "waiting", who);
}

static void on_ready(bool ready, void *userdata) {
        hear(userdata, "ready", ready ? "yes" : "no");
}

static char *quoted(const char *text) {
        char *copy = strdup(text);

        for (char *c = copy; *c; c++)
                if (*c == '\'')
                        *c = '"';
        return copy;
}

static int host_open(Host *h, char **ret_message) {
        const KernelEvents events = {
                .device_seen = on_seen,
                .device_gone = on_gone,
                .device_use_changed = on_use,
                .node_changed = on_node_changed,
                .waiting = on_waiting,
                .ready = on_ready,
                .userdata = h,
        };
        _cleanup_free_ char *path = str_format("%s/topology.json", h->folder);

        return sim_kernel_new(h->event, path, &events, &h->kernel, ret_message);
}

static void host_write(Host *h, const char *topology) {
        _cleanup_free_ char *path = NULL, *text = quoted(topology);
        char *dir;
        FILE *f;

        *h = (Host){ .folder = "/tmp/test-sim-XXXXXX", .result = STEP_RESULT_NULL };
        assert_non_null(mkdtemp(h->folder));
        assert_int_equal(sd_event_new(&h->event), 0);
        path = str_format("%s/topology.json", h->folder);
        f = fopen(path, "we");
        assert_non_null(f);
        dir = strstr(text, "$DIR");
        if (dir)
                assert_true(fprintf(f, "%.*s%s%s", (int)(dir - text), text, h->folder, dir + 4) > 0);
        else
                assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static void host_start(Host *h) {
        char *message = NULL;

        if (host_open(h, &message) < 0)
                fail_msg("%s", message);
        assert_int_equal(h->kernel->ops->start(h->kernel), 0);
}

void host_new(Host *h, const char *topology) {
        host_write(h, topology);
        host_start(h);
}

void host_restart(Host *h) {
        h->kernel = kernel_free(h->kernel);
        free(TAKE_PTR(h->heard));
        host_start(h);
}

char *host_refused(const char *topology) {
        _cleanup_host_ Host h = {};
        char *message = NULL;

        host_write(&h, topology);
        assert_int_equal(host_open(&h, &message), -EINVAL);
        assert_non_null(message);
        return message;
}

static void remove_folder(const char *folder) {
        DIR *d = opendir(folder);

        assert_non_null(d);
        for (struct dirent *e; (e = readdir(d));)
                if (e->d_name[0] != '.')
                        assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
        closedir(d);
        assert_int_equal(rmdir(folder), 0);
}

void host_free(Host *h) {
        h->kernel = kernel_free(h->kernel);
        sd_event_unref(h->event);
        free(h->heard);
        step_result_clear(&h->result);
        remove_folder(h->folder);
}

static void on_done(KernelOp *op, StepResult *result, void *userdata) {
        Run *r = userdata;

        r->done++;
        r->op = NULL;
        step_result_clear(&r->result);
        r->result = *result;
        *result = STEP_RESULT_NULL;
}

void run_begin_files(Host *h, Run *r, const Step *s, const VfioFiles *files,
                     uint64_t deadline_usec) {
        *r = (Run){ .host = h, .result = STEP_RESULT_NULL };
        assert_int_equal(h->kernel->ops->run(h->kernel, s, files, deadline_usec, on_done, r, &r->op),
                         0);
        assert_int_equal(r->done, 0); /* never from inside */
}

void run_begin(Host *h, Run *r, const Step *s, uint64_t deadline_usec) {
        run_begin_files(h, r, s, NULL, deadline_usec);
}

static uint64_t now_usec(void) {
        struct timespec t;

        assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &t), 0);
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void run_finish(Run *r) {
        uint64_t end = now_usec() + HOST_DEADLINE_USEC;

        while (r->done == 0 && now_usec() < end)
                assert_true(sd_event_run(r->host->event, HOST_DEADLINE_USEC) >= 0);
        assert_int_equal(r->done, 1);
}

void host_settle(Host *h) {
        int r;

        do {
                r = sd_event_run(h->event, 0);
                assert_true(r >= 0);
        } while (r > 0);
}

void run_clear(Run *r) {
        step_result_clear(&r->result);
}

int step(Host *h, StepKind kind, const char *device, unsigned group, const char *value) {
        _cleanup_free_ char *d = device ? strdup(device) : NULL, *v = value ? strdup(value) : NULL;
        _cleanup_run_ Run r = {};

        run_begin(h, &r,
                  &(Step){ .kind = kind, .device = d, .group = group, .value = v, .uid = 1000 }, 0);
        run_finish(&r);
        step_result_clear(&h->result);
        h->result = r.result;
        r.result = STEP_RESULT_NULL;
        return h->result.error;
}

int step_files(Host *h, StepKind kind, unsigned group, const char *value, const VfioFiles *files) {
        _cleanup_free_ char *v = value ? strdup(value) : NULL;
        _cleanup_run_ Run r = {};

        run_begin_files(h, &r, &(Step){ .kind = kind, .group = group, .value = v }, files, 0);
        run_finish(&r);
        step_result_clear(&h->result);
        h->result = r.result;
        r.result = STEP_RESULT_NULL;
        return h->result.error;
}

int event_error(Host *h, const char *json, char **ret_message) {
        _cleanup_free_ char *text = quoted(json);

        return sim_kernel_event(h->kernel, text, ret_message);
}

void event(Host *h, const char *json) {
        _cleanup_free_ char *message = NULL;

        if (event_error(h, json, &message) < 0)
                fail_msg("%s: %s", json, message);
        host_settle(h);
}

void inject(Host *h, const char *json) {
        _cleanup_free_ char *text = quoted(json), *message = NULL;

        if (sim_kernel_inject(h->kernel, text, &message) < 0)
                fail_msg("%s: %s", json, message);
}

static json_object *host_dump(Host *h) {
        _cleanup_free_ char *text = NULL;
        json_object *o;

        assert_int_equal(sim_kernel_dump(h->kernel, &text), 0);
        o = json_tokener_parse(text);
        assert_non_null(o);
        return o;
}

/* A member of the object in the list whose "key" is that. */
static char *list_member(Host *h, const char *list, const char *key, const char *value,
                         const char *member) {
        json_object *dump = host_dump(h), *array, *found = NULL, *m = NULL;
        char *text;

        assert_true(json_object_object_get_ex(dump, list, &array));
        for (size_t i = 0; i < json_object_array_length(array) && !found; i++) {
                json_object *o = json_object_array_get_idx(array, i), *v;

                assert_true(json_object_object_get_ex(o, key, &v));
                if (str_eq(json_object_get_string(v), value))
                        found = o;
        }
        if (found)
                (void)json_object_object_get_ex(found, member, &m);
        text = strdup(!found ? "(none)" : m ? json_object_get_string(m) : "");
        json_object_put(dump);
        return text;
}

char *device_says(Host *h, const char *device, const char *member) {
        return list_member(h, "devices", "name", device, member);
}

char *group_says(Host *h, unsigned group, const char *member) {
        _cleanup_free_ char *id = str_format("%u", group);

        return list_member(h, "groups", "group", id, member);
}

static const char *string_of(json_object *o, const char *key) {
        json_object *v;

        return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

char *host_operations(Host *h) {
        json_object *dump = host_dump(h), *list;
        char *text = strdup("");

        assert_true(json_object_object_get_ex(dump, "operations", &list));
        for (size_t i = 0; i < json_object_array_length(list); i++) {
                json_object *o = json_object_array_get_idx(list, i);

                assert_int_equal(str_append(&text, "%s %s%s %s; ", string_of(o, "op"),
                                            string_of(o, "device"), string_of(o, "group"),
                                            string_of(o, "errno")),
                                 0);
        }
        json_object_put(dump);
        return text;
}
