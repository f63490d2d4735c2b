/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/registry-private.h"
#include "core/vfs.h"
#include "util/strings.h"

void owner_clear(Owner *o) {
        free(o->name);
        *o = (Owner){};
}

int owner_copy(Owner *to, const Owner *from) {
        if (str_set(&to->name, from->name) < 0)
                return -ENOMEM;
        to->uid = from->uid;
        return 0;
}

bool owner_equal(const Owner *a, const Owner *b) {
        return a->uid == b->uid && str_eq(a->name, b->name);
}

void terms_clear(Terms *t) {
        free(t->driver);
        free(t->default_domain_type);
        free(t->reset);
        (void)strv_free(t->devices);
        free(t->pf);
        *t = (Terms){ .kind = _OWNER_KIND_INVALID };
}

int terms_copy(Terms *to, const Terms *from) {
        Terms copy = { .kind = from->kind,
                       .access = from->access,
                       .interface = from->interface,
                       .vfs = from->vfs,
                       .pool = from->pool };

        if (from->devices && !(copy.devices = strv_copy(from->devices)))
                return -ENOMEM;
        if (str_set(&copy.driver, from->driver) < 0 ||
            str_set(&copy.default_domain_type, from->default_domain_type) < 0 ||
            str_set(&copy.reset, from->reset) < 0 || str_set(&copy.pf, from->pf) < 0) {
                terms_clear(&copy);
                return -ENOMEM;
        }
        terms_clear(to);
        *to = copy;
        return 0;
}

Terms request_terms(const Request *r) {
        Terms terms = r->terms;

        if (terms.vfs > 0)
                return terms_of_pf(&terms);
        terms.devices = str_empty(terms.driver) ? NULL : r->devices;
        return terms;
}

int request_take_terms(Request *r, const Owner *owner, const Terms *terms) {
        return owner_copy(&r->owner, owner) < 0 ? -ENOMEM : terms_copy(&r->terms, terms);
}

void request_clear(Request *r) {
        (void)strv_free(r->devices);
        request_drop_choices(r);
        terms_clear(&r->terms);
        owner_clear(&r->owner);
        caller_clear(&r->caller);
        free(r->label);
        free(r->holder_name);
        *r = REQUEST_NULL;
}

void request_drop_choices(Request *r) {
        for (size_t i = 0; i < r->n_choices; i++)
                (void)strv_free(r->choices[i]);
        free(r->choices);
        r->choices = NULL;
        r->n_choices = 0;
}

int request_add_choice(Request *r, char *const *list) {
        char ***longer = reallocarray(r->choices, r->n_choices + 1, sizeof(char **));

        if (!longer)
                return -ENOMEM;
        r->choices = longer;
        r->choices[r->n_choices] = strv_copy(list);
        if (!r->choices[r->n_choices])
                return -ENOMEM;
        r->n_choices++;
        return 0;
}

static int copy_lists(Request *to, const Request *from) {
        if (from->devices && !(to->devices = strv_copy(from->devices)))
                return -ENOMEM;
        for (size_t i = 0; i < from->n_choices; i++)
                if (request_add_choice(to, from->choices[i]) < 0)
                        return -ENOMEM;
        return 0;
}

int request_copy(Request *to, const Request *from) {
        _cleanup_request_ Request copy = *from;

        /* what is not copied below is no pointer */
        copy.devices = NULL;
        copy.choices = NULL;
        copy.n_choices = 0;
        copy.terms = (Terms){ .kind = _OWNER_KIND_INVALID };
        copy.owner.name = copy.label = copy.holder_name = NULL;
        copy.caller = (Caller){};
        if (copy_lists(&copy, from) < 0 || terms_copy(&copy.terms, &from->terms) < 0 ||
            owner_copy(&copy.owner, &from->owner) < 0 || str_set(&copy.label, from->label) < 0 ||
            str_set(&copy.holder_name, from->holder_name) < 0 ||
            caller_copy(&copy.caller, &from->caller) < 0)
                return -ENOMEM;
        request_clear(to);
        *to = copy;
        copy = REQUEST_NULL;
        return 0;
}

static bool is_one_of(const char *s, const char *const *words) {
        for (; *words; words++)
                if (str_eq(s, *words))
                        return true;
        return false;
}

/* What driver_override takes as a name; which drivers may really be named is the caller's and
 * the executor's to judge. */
static bool driver_name_is_valid(const char *s) {
        size_t n = strlen(s);

        if (n > 63)
                return false;
        for (size_t i = 0; i < n; i++)
                if (s[i] <= ' ' || s[i] > '~' || s[i] == '/')
                        return false;
        return true;
}

static int validate_driver(const Terms *t, Fault *fault) {
        if (str_empty(t->driver)) {
                if (t->kind == OWNER_KIND_PRIVATE_DOMAIN)
                        return fault_set(fault, ERROR_INVALID_ARGS,
                                         "Kind private-domain needs the name of a driver");
                return 0;
        }
        if (!driver_name_is_valid(t->driver))
                return fault_set(fault, ERROR_INVALID_ARGS, "The driver is not a driver's name");
        if (t->kind != OWNER_KIND_USER && driver_is_vfio(t->driver))
                return fault_set(fault, ERROR_INVALID_ARGS,
                                 "%s is a VFIO driver, which only kind user can ask for",
                                 t->driver);
        return 0;
}

int request_validate(const Request *r, Fault *fault) {
        static const char *const types[] = { "DMA", "DMA-FQ", "identity", "auto", NULL };
        static const char *const resets[] = { "auto", "none", "device_specific",
                                              "acpi", "flr",  "af_flr",
                                              "pm",   "bus",  "cxl_bus",
                                              NULL };
        const Terms *t = &r->terms;

        if (!owner_kind_to_string(t->kind))
                return fault_set(fault, ERROR_INVALID_ARGS,
                                 "The kind must be dma-api, private-domain or user");
        if (!access_to_string(t->access))
                return fault_set(fault, ERROR_INVALID_ARGS, "The access must be node or fd");
        if (t->access == ACCESS_FD && t->kind != OWNER_KIND_USER)
                return fault_set(fault, ERROR_INVALID_ARGS, "Access fd is for kind user only");
        if (!vfio_interface_to_string(t->interface))
                return fault_set(fault, ERROR_INVALID_ARGS,
                                 "The interface must be auto, iommufd or container");
        if (t->interface != VFIO_INTERFACE_AUTO && t->access != ACCESS_FD)
                return fault_set(fault, ERROR_INVALID_ARGS, "An interface is for access fd only");
        if (!str_empty(t->default_domain_type)) {
                if (t->kind != OWNER_KIND_DMA_API)
                        return fault_set(fault, ERROR_INVALID_ARGS,
                                         "A default domain type is for kind dma-api only");
                if (!is_one_of(t->default_domain_type, types))
                        return fault_set(
                                fault, ERROR_INVALID_ARGS,
                                "The default domain type must be DMA, DMA-FQ, identity or auto");
        }
        if (!str_empty(t->reset)) {
                if (t->kind != OWNER_KIND_USER)
                        return fault_set(fault, ERROR_INVALID_ARGS,
                                         "A reset method is for kind user only");
                if (!is_one_of(t->reset, resets))
                        return fault_set(fault, ERROR_INVALID_ARGS,
                                         "The reset must be auto, none or a method of the kernel's "
                                         "reset_method");
        }
        if (r->priority < PRIORITY_MIN || r->priority > PRIORITY_MAX)
                return fault_set(fault, ERROR_INVALID_ARGS, "The priority must be %d to %d",
                                 PRIORITY_MIN, PRIORITY_MAX);
        if (strv_length(r->devices) == 0)
                return fault_set(fault, ERROR_INVALID_ARGS, "No device is named");
        if (t->vfs > 0 && strv_length(r->devices) != 1)
                return fault_set(fault, ERROR_INVALID_ARGS,
                                 "Virtual functions are made for one device of a request only");
        if (t->vfs > 0 && t->kind == OWNER_KIND_DMA_API && str_empty(t->driver))
                return fault_set(fault, ERROR_INVALID_ARGS,
                                 "Virtual functions that are made have no driver: kind dma-api "
                                 "needs the name of one");
        return validate_driver(t, fault);
}
