/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The facts of a device, from files that say anything: they are what the files say, or there are none.
 * The input is lines: "NAME=TEXT" is a file of the device, "NAME>TARGET" a link, "type=TEXT" the type of
 * its group.
 */
#include "fuzz.h"

#include <limits.h>
#include <stdio.h>
#include <sys/utsname.h>

#include "kernel/linux-facts.h"
#include "scratch.h"

#define NAME   "0000:3b:00.0"
#define DEVICE "sys/bus/pci/devices/" NAME

static FactsReader reader = FACTS_READER_NULL;

static void make_reader(void) {
        static const char aliases[] =
                "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n"
                "alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n";
        _cleanup_free_ char *path = NULL;
        struct utsname u;
        struct udev *udev;

        if (reader.release)
                return;
        assert(uname(&u) == 0);
        path = str_format("lib/modules/%s/modules.alias", u.release);
        assert(path);
        scratch_write(path, aliases, strlen(aliases));
        scratch_folder(DEVICE);
        udev = udev_new();
        assert(udev && facts_reader_init(&reader, scratch_path(), udev) == 0);
        udev_unref(udev);
}

static bool is_name(const char *name) {
        return *name && strlen(name) < 64 && !strchr(name, '/') && strcmp(name, ".") != 0 &&
               strcmp(name, "..") != 0;
}

/* A name that was used is not used again: a file does not become a link. */
static void make_entry(char *line, char ***names) {
        char *mark = line + strcspn(line, "=>"), kind = *mark;
        _cleanup_free_ char *path = NULL;

        if (!kind)
                return;
        *mark++ = '\0';
        if (!is_name(line) || strv_contains(*names, line))
                return;
        assert(strv_extend(names, line) == 0);
        path = str_format(DEVICE "/%s", line);
        assert(path);
        if (kind == '=')
                scratch_write(path, mark, strlen(mark));
        else if (*mark && strlen(mark) < 512)
                scratch_link(path, mark);
        if (kind == '=' && strcmp(line, "type") == 0)
                for (unsigned id = 0; id < 10; id++) {
                        char type[64];

                        (void)snprintf(type, sizeof(type), "sys/kernel/iommu_groups/%u/type", id);
                        scratch_write(type, mark, strlen(mark));
                }
}

static void make_device(char *input) {
        _cleanup_(strv_freep) char **names = NULL;
        char *rest = input, *line;

        scratch_empty(DEVICE);
        scratch_empty("sys/kernel");
        while ((line = strsep(&rest, "\n")))
                make_entry(line, &names);
}

/* Numbers are not cut to what fits. */
static void check_number(long long value, const char *file) {
        _cleanup_free_ char *text = NULL;
        unsigned long long number;

        assert(sysfs_readf(&reader.sysfs, &text, DEVICE "/%s", file) == 0);
        assert(parse_u64(text, 10, &number) == 0 && number == (unsigned long long)value);
}

static void check_hex(unsigned value, const char *file) {
        _cleanup_free_ char *text = NULL;
        unsigned long long number;

        assert(sysfs_readf(&reader.sysfs, &text, DEVICE "/%s", file) == 0);
        assert(parse_u64(text, 16, &number) == 0 && number == value);
}

static void check_group(const DeviceFacts *f) {
        _cleanup_free_ char *link = NULL;
        unsigned long long id;

        assert(f->group >= -1);
        if (f->group < 0)
                return;
        assert(sysfs_link_name(&reader.sysfs, DEVICE "/iommu_group", &link) == 0);
        assert(parse_u64(link, 10, &id) == 0 && id == (unsigned long long)f->group);
}

static void check_facts(const DeviceFacts *f) {
        check_hex(f->vendor, "vendor");
        check_hex(f->model, "device");
        check_hex(f->class_code, "class");
        check_group(f);
        if (f->total_vfs > 0)
                check_number(f->total_vfs, "sriov_totalvfs");
        assert(f->numa_node >= -1);
        if (f->numa_node >= 0)
                check_number(f->numa_node, "numa_node");
        assert(strcmp(f->name, NAME) == 0 && f->reset_methods);
        assert(!f->vfio_module || f->vfio_driver);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_device_facts_ DeviceFacts facts = DEVICE_FACTS_NULL, again = DEVICE_FACTS_NULL;
        _cleanup_free_ char *text = fuzz_text(data, size);
        int r;

        make_reader();
        make_device(text);
        r = facts_reader_read(&reader, NAME, NULL, &facts);
        if (r < 0) {
                assert(!facts.name);
                return 0;
        }
        check_facts(&facts);
        assert(!facts_reader_is_stale(&reader, &facts));
        assert(facts_reader_read(&reader, NAME, &facts, &again) == 0);
        assert(device_facts_equal(&facts, &again));
        return 0;
}
