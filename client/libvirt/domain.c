/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/libvirt/domain.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <libxml/parser.h>
#include <libxml/xpath.h>

#include "util/strings.h"

#define UUID_LENGTH 36

typedef struct Reader {
        xmlDoc *doc;
        xmlXPathContext *xpath;
        Domain *domain;
        char **ret_why;
} Reader;

static inline void xml_freep(xmlChar **s) {
        if (*s)
                xmlFree(*s);
}
#define _cleanup_xml_ _cleanup_(xml_freep)

void domain_clear(Domain *d) {
        free(d->name);
        free(d->uuid);
        (void)strv_free(d->devices);
        *d = DOMAIN_NULL;
}

char *domain_owner(const Domain *d) {
        return str_format("libvirt:%s", d->uuid);
}

static _printf_(2, 3) int wrong(Reader *r, const char *fmt, ...) {
        va_list ap;

        va_start(ap, fmt);
        if (vasprintf(r->ret_why, fmt, ap) < 0)
                *r->ret_why = NULL;
        va_end(ap);
        return *r->ret_why ? -EINVAL : -ENOMEM;
}

/* ---- Name and UUID ---- */

/* The text of the one element there; *ret stays NULL if there is none. */
static int get_text(Reader *r, const char *path, char **ret) {
        xmlXPathObject *found = xmlXPathEvalExpression((const xmlChar *)path, r->xpath);
        _cleanup_xml_ xmlChar *text = NULL;
        int k = 0;

        if (!found)
                return -ENOMEM;
        if (!xmlXPathNodeSetIsEmpty(found->nodesetval)) {
                text = xmlNodeGetContent(found->nodesetval->nodeTab[0]);
                k = text ? str_set(ret, (const char *)text) : -ENOMEM;
        }
        xmlXPathFreeObject(found);
        return k;
}

static int check_uuid(Reader *r) {
        char *uuid = r->domain->uuid;
        bool well = uuid && strlen(uuid) == UUID_LENGTH;

        for (size_t i = 0; well && i < UUID_LENGTH; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;

                well = dash ? uuid[i] == '-' : isxdigit((unsigned char)uuid[i]);
                uuid[i] = (char)tolower((unsigned char)uuid[i]);
        }
        return well ? 0 : wrong(r, "it has no UUID");
}

static int read_identity(Reader *r, const char *name, const char *uuid) {
        int k = get_text(r, name, &r->domain->name);

        if (k == 0)
                k = get_text(r, uuid, &r->domain->uuid);
        if (k == 0)
                k = check_uuid(r);
        if (k == 0 && str_empty(r->domain->name))
                k = wrong(r, "it has no name");
        return k;
}

/* ---- Devices ---- */

static int get_number(Reader *r, xmlNode *address, const char *name, bool wanted,
                      unsigned long long max, unsigned *ret) {
        _cleanup_xml_ xmlChar *text = xmlGetNoNsProp(address, (const xmlChar *)name);
        unsigned long long value = 0;

        if (!text && wanted)
                return wrong(r, "the address of a PCI device in line %ld has no %s",
                             xmlGetLineNo(address), name);
        if (text && (parse_u64((const char *)text, 16, &value) < 0 || value > max))
                return wrong(r, "%s '%s' in line %ld is not that of a PCI device", name,
                             (const char *)text, xmlGetLineNo(address));
        *ret = (unsigned)value;
        return 0;
}

/* Disks may be namespaces of one controller; any other device is named once. */
static int add_device(Reader *r, xmlNode *address, bool once) {
        unsigned domain, bus, slot, function;
        _cleanup_free_ char *name = NULL;
        int k;

        k = get_number(r, address, "domain", false, UINT32_MAX, &domain);
        if (k == 0)
                k = get_number(r, address, "bus", true, 0xff, &bus);
        if (k == 0)
                k = get_number(r, address, "slot", true, 0x1f, &slot);
        if (k == 0)
                k = get_number(r, address, "function", true, 7, &function);
        if (k < 0)
                return k;
        name = str_format("%04x:%02x:%02x.%u", domain, bus, slot, function);
        if (!name)
                return -ENOMEM;
        if (!strv_contains(r->domain->devices, name))
                return strv_extend(&r->domain->devices, name);
        return once ? wrong(r, "it names %s twice", name) : 0;
}

static int add_devices(Reader *r, const char *path, bool once) {
        xmlXPathObject *found = xmlXPathEvalExpression((const xmlChar *)path, r->xpath);
        int k = 0;

        if (!found)
                return -ENOMEM;
        for (int i = 0; k == 0 && found->nodesetval && i < found->nodesetval->nodeNr; i++)
                k = add_device(r, found->nodesetval->nodeTab[i], once);
        xmlXPathFreeObject(found);
        return k;
}

/* ---- The document ---- */

static int read_domain(Reader *r) {
        int k = read_identity(r, "/domain/name", "/domain/uuid");

        if (k == 0)
                k = add_devices(
                        r,
                        "/domain/devices/hostdev[@mode='subsystem' and @type='pci']/source/address",
                        true);
        if (k == 0)
                k = add_devices(
                        r, "/domain/devices/interface[@type='hostdev']/source/address[@type='pci']",
                        true);
        if (k == 0) /* also of backing files and mirrors */
                k = add_devices(r, "/domain/devices/disk//source[@type='pci']/address", false);
        return k;
}

static int read_port(Reader *r) {
        int k = read_identity(r, "/hookData/networkport/owner/name",
                              "/hookData/networkport/owner/uuid");
        r->domain->is_port = true;
        return k < 0 ? k
                     : add_devices(r, "/hookData/networkport/plug[@type='hostdev-pci']/address",
                                   true);
}

static bool is_there(Reader *r, const char *path) {
        xmlXPathObject *found = xmlXPathEvalExpression((const xmlChar *)path, r->xpath);
        bool there = found && !xmlXPathNodeSetIsEmpty(found->nodesetval);

        xmlXPathFreeObject(found);
        return there;
}

static int read_document(Reader *r) {
        const xmlNode *root = xmlDocGetRootElement(r->doc);

        /* nothing that libvirt writes has a DTD, and nothing else needs one */
        if (r->doc->intSubset)
                return wrong(r, "it has a document type declaration");
        if (strcmp((const char *)root->name, "domain") == 0)
                return read_domain(r);
        if (strcmp((const char *)root->name, "hookData") != 0)
                return wrong(r, "it is a <%s>, not a <domain>", (const char *)root->name);
        /* what becomes of a network itself is not about devices */
        return is_there(r, "/hookData/networkport") ? read_port(r) : 0;
}

static int parse(Reader *r, const char *text, size_t size) {
        const xmlError *e;

        if (size > DOMAIN_XML_MAX)
                return wrong(r, "it is larger than %zu MiB", DOMAIN_XML_MAX >> 20);
        /* no entities, no network, and libxml2's own limits of depth and length */
        r->doc = xmlReadMemory(text, (int)size, NULL, NULL,
                               XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
        if (!r->doc) {
                e = xmlGetLastError();
                return wrong(r, "line %d: %.*s", e ? e->line : 0,
                             e && e->message ? (int)strcspn(e->message, "\n") : 7,
                             e && e->message ? e->message : "no XML");
        }
        r->xpath = xmlXPathNewContext(r->doc);
        return r->xpath ? read_document(r) : -ENOMEM;
}

int domain_from_xml(const char *text, size_t size, Domain *ret, char **ret_why) {
        _cleanup_domain_ Domain domain = DOMAIN_NULL;
        Reader r = { .domain = &domain, .ret_why = ret_why };
        int k = parse(&r, text, size);

        xmlXPathFreeContext(r.xpath);
        xmlFreeDoc(r.doc);
        if (k < 0)
                return k;
        *ret = domain;
        domain = DOMAIN_NULL;
        return 0;
}
