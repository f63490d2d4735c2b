/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/libdmaowner/request.h"

#include <fcntl.h>
#include <stdarg.h>

#include "util/strings.h"

typedef struct RequestOption {
        char *name;
        char type; /* of D-Bus */
        union {
                char *s;
                int b, h;
                int32_t i;
                uint32_t u;
                uint64_t t;
        };
} RequestOption;

struct dmaowner_request {
        char *kind;
        char ***alternatives; /* the first are the devices themselves; always one at least */
        size_t n_alternatives;
        RequestOption *options;
        size_t n_options;
};

static void option_clear(RequestOption *option) {
        free(option->name);
        if (option->type == 's')
                free(option->s);
        if (option->type == 'h')
                safe_close(option->h);
}

dmaowner_request *dmaowner_request_free(dmaowner_request *q) {
        if (!q)
                return NULL;
        for (size_t i = 0; i < q->n_alternatives; i++)
                strv_free(q->alternatives[i]);
        for (size_t i = 0; i < q->n_options; i++)
                option_clear(&q->options[i]);
        free(q->alternatives);
        free(q->options);
        free(q->kind);
        free(q);
        return NULL;
}

int dmaowner_request_begin_alternative(dmaowner_request *q) {
        char ***longer = reallocarray(q->alternatives, q->n_alternatives + 1, sizeof(char **));

        if (!longer)
                return -ENOMEM;
        q->alternatives = longer;
        q->alternatives[q->n_alternatives] = NULL;
        q->n_alternatives++;
        return 0;
}

int dmaowner_request_new(dmaowner_request **ret, const char *kind) {
        _cleanup_(dmaowner_request_freep) dmaowner_request *q = calloc(1, sizeof(*q));
        int r;

        if (!q)
                return -ENOMEM;
        r = str_set(&q->kind, kind);
        if (r == 0)
                r = dmaowner_request_begin_alternative(q);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(q);
        return 0;
}

int dmaowner_request_add_device(dmaowner_request *q, const char *device) {
        return strv_extend(&q->alternatives[q->n_alternatives - 1], device);
}

static int option_read(RequestOption *option, const char *type, va_list ap) {
        if (strlen(type) != 1)
                return -EINVAL;
        option->type = *type;
        switch (*type) {
        case 's':
                return str_set(&option->s, va_arg(ap, const char *));
        case 'b':
                option->b = va_arg(ap, int);
                return 0;
        case 'i':
                option->i = va_arg(ap, int32_t);
                return 0;
        case 'u':
                option->u = va_arg(ap, uint32_t);
                return 0;
        case 't':
                option->t = va_arg(ap, uint64_t);
                return 0;
        case 'h':
                option->h = fcntl(va_arg(ap, int), F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
                return option->h < 0 ? -errno : 0;
        default:
                return -EINVAL;
        }
}

/* Where an option of that name is, or shall be. */
static RequestOption *option_place(dmaowner_request *q, const char *name) {
        RequestOption *longer;

        for (size_t i = 0; i < q->n_options; i++)
                if (str_eq(q->options[i].name, name)) {
                        option_clear(&q->options[i]);
                        return &q->options[i];
                }
        longer = reallocarray(q->options, q->n_options + 1, sizeof(*longer));
        if (!longer)
                return NULL;
        q->options = longer;
        return &q->options[q->n_options++];
}

int dmaowner_request_set(dmaowner_request *q, const char *option, const char *type, ...) {
        RequestOption added = {}, *place = NULL;
        va_list ap;
        int r;

        va_start(ap, type);
        r = option_read(&added, type, ap);
        va_end(ap);
        if (r == 0)
                r = str_set(&added.name, option);
        if (r == 0) {
                place = option_place(q, option);
                r = place ? 0 : -ENOMEM;
        }
        if (r < 0) {
                option_clear(&added);
                return r;
        }
        *place = added;
        return 0;
}

static int append_devices(sd_bus_message *m, char *const *devices) {
        int r = sd_bus_message_open_container(m, 'a', "s");

        for (; r >= 0 && devices && *devices; devices++)
                r = sd_bus_message_append(m, "s", *devices);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/* One {sv} whose value is not yet there: append it, and end it. */
static int begin_option(sd_bus_message *m, const char *name, const char *type) {
        int r = sd_bus_message_open_container(m, 'e', "sv");

        if (r >= 0)
                r = sd_bus_message_append(m, "s", name);
        return r < 0 ? r : sd_bus_message_open_container(m, 'v', type);
}

static int end_option(sd_bus_message *m) {
        int r = sd_bus_message_close_container(m);

        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_alternatives(sd_bus_message *m, const dmaowner_request *q) {
        int r = begin_option(m, "alternatives", "aas");

        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "as");
        for (size_t i = 1; r >= 0 && i < q->n_alternatives; i++)
                r = append_devices(m, q->alternatives[i]);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : end_option(m);
}

static int append_option(sd_bus_message *m, const RequestOption *option) {
        const char type[] = { option->type, '\0' };
        int r = begin_option(m, option->name, type);

        if (r >= 0)
                r = sd_bus_message_append_basic(m, option->type,
                                                option->type == 's' ? (const void *)option->s
                                                                    : (const void *)&option->t);
        return r < 0 ? r : end_option(m);
}

int dmaowner_request_append(const dmaowner_request *q, sd_bus_message *m) {
        int r = append_devices(m, q->alternatives[0]);

        if (r >= 0)
                r = sd_bus_message_append(m, "s", q->kind);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0 && q->n_alternatives > 1)
                r = append_alternatives(m, q);
        for (size_t i = 0; r >= 0 && i < q->n_options; i++)
                r = append_option(m, &q->options[i]);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : 0;
}
