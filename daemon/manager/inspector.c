/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Keeps what is shown as Device.InUse fresh. Only a picture for people: before anything is taken
 * from the host, Acquire asks the kernel again.
 */

#include <string.h>
#include <utlist.h>

#include "manager/manager-internal.h"
#include "util/log.h"
#include "util/strings.h"

#define AT_ONCE       4
#define DEADLINE_USEC 10000000ULL

typedef struct Inspection Inspection;

struct Inspector {
        Manager *m;
        char **queue; /* devices that wait, a ring */
        size_t first, n, size;
        Inspection *inspections; /* under way */
        unsigned running;
};

struct Inspection {
        Inspector *inspector;
        char *device;
        KernelOp *op;
        Inspection *prev, *next;
};

static void inspection_free(Inspection *inspection) {
        Inspector *i = inspection->inspector;

        DL_DELETE(i->inspections, inspection);
        i->running--;
        free(inspection->device);
        free(inspection);
}

int inspector_new(Manager *m, Inspector **ret) {
        Inspector *i = calloc(1, sizeof(Inspector));

        if (!i)
                return -ENOMEM;
        i->m = m;
        *ret = i;
        return 0;
}

Inspector *inspector_free(Inspector *i) {
        if (!i)
                return NULL;
        while (i->inspections) {
                i->m->kernel->ops->cancel(i->inspections->op);
                inspection_free(i->inspections);
        }
        for (; i->n > 0; i->n--, i->first++)
                free(i->queue[i->first % i->size]);
        free(i->queue);
        free(i);
        return NULL;
}

static void inspector_run(Inspector *i);

static void on_inspected(KernelOp *op, StepResult *result, void *userdata) {
        _cleanup_changes_ Changes c = CHANGES_NULL;
        _cleanup_free_ char *text = NULL;
        Inspection *inspection = userdata;
        Inspector *i = inspection->inspector;
        Device *d = registry_device(i->m->registry, inspection->device);
        int r = 0;

        inspection_free(inspection);
        if (result->obstacles.n > 0) {
                text = obstacles_describe(&result->obstacles, false);
                r = text ? 0 : -ENOMEM;
        }
        /* without an answer the last picture stands */
        if (r == 0 && d && result->error == 0)
                r = registry_device_set_in_use(d, text, &c);
        if (r < 0)
                log_error("Out of memory");
        (void)manager_commit(i->m, &c);
        inspector_run(i);
}

static int inspect(Inspector *i, const char *device) {
        Device *d = registry_device(i->m->registry, device);
        Step step = { .kind = STEP_INSPECT };
        Inspection *inspection;
        int r;

        if (!d || !d->group)
                return 0;
        inspection = calloc(1, sizeof(Inspection));
        if (!inspection)
                return -ENOMEM;
        inspection->inspector = i;
        DL_APPEND(i->inspections, inspection);
        i->running++;
        r = str_set(&inspection->device, device);
        if (r == 0) {
                step.device = inspection->device;
                step.group = d->group->id;
                r = i->m->kernel->ops->run(i->m->kernel, &step, NULL, DEADLINE_USEC, on_inspected,
                                           inspection, &inspection->op);
        }
        if (r < 0)
                inspection_free(inspection);
        return r;
}

static void inspector_run(Inspector *i) {
        while (i->running < AT_ONCE && i->n > 0) {
                _cleanup_free_ char *device = i->queue[i->first % i->size];
                int r;

                i->first = (i->first + 1) % i->size;
                i->n--;
                r = inspect(i, device);
                if (r < 0)
                        log_error("Cannot inspect %s: %s", device, strerror(-r));
        }
}

static int inspector_grow(Inspector *i) {
        size_t size = i->size > 0 ? 2 * i->size : 64;
        char **queue = calloc(size, sizeof(char *));

        if (!queue)
                return -ENOMEM;
        for (size_t n = 0; n < i->n; n++)
                queue[n] = i->queue[(i->first + n) % i->size];
        free(i->queue);
        i->queue = queue;
        i->size = size;
        i->first = 0;
        return 0;
}

void inspector_queue(Inspector *i, const char *device) {
        char *copy;

        /* the same device twice in a row is the usual case: a burst of events */
        if (i->n > 0 && strcmp(i->queue[(i->first + i->n - 1) % i->size], device) == 0)
                return;
        copy = strdup(device);
        if (!copy || (i->n == i->size && inspector_grow(i) < 0)) {
                free(copy);
                log_error("Out of memory");
                return;
        }
        i->queue[(i->first + i->n++) % i->size] = copy;
        inspector_run(i);
}
