/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The VFs that a PF of the simulated host makes: right behind it, each in a group of its own. */
#include <stdio.h>
#include <string.h>

#include "kernel/sim.h"
#include "shared/vf-settings.h"
#include "util/strings.h"

/* "0000:3b:00.0" plus so many functions. NULL: no memory, or the bus has no room. */
static char *address_behind(const char *name, unsigned distance) {
        unsigned domain, bus, device, function, place;

        if (sscanf(name, "%x:%x:%x.%x", &domain, &bus, &device, &function) != 4)
                return NULL;
        place = (bus << 8 | device << 3 | function) + distance;
        if (place > UINT16_MAX)
                return NULL;
        return str_format("%04x:%02x:%02x.%x", domain, place >> 8, place >> 3 & 0x1f, place & 7);
}

static int unused_group(Sim *sim) {
        int number = 0;

        for (SimGroup *g = sim->groups; g; g = g->hh.next)
                if ((int)g->id >= number)
                        number = (int)g->id + 1;
        return number;
}

static int make_vf(Sim *sim, const SimDevice *pf, const char *name) {
        _cleanup_(sim_device_freep) SimDevice *vf = calloc(1, sizeof(SimDevice));
        const DeviceFacts *f = &pf->facts;
        SimDevice *added;

        if (!vf)
                return -ENOMEM;
        vf->facts = DEVICE_FACTS_NULL;
        vf->cdev_file = SIM_PIPE_NULL;
        if (str_set(&vf->facts.name, name) < 0 || str_set(&vf->facts.bus, f->bus) < 0 ||
            str_set(&vf->facts.vendor_name, f->vendor_name) < 0 ||
            str_set(&vf->facts.vfio_driver, f->vfio_driver) < 0 ||
            str_set(&vf->facts.vfio_module, f->vfio_module) < 0 ||
            str_set(&vf->facts.physfn, f->name) < 0 ||
            str_set(&vf->vf_settings, pf->vf_settings) < 0 || strv_extend(&vf->reset, "flr") < 0)
                return -ENOMEM;
        for (char **name_of = pf->matches; name_of && *name_of; name_of++)
                if (strv_extend(&vf->matches, *name_of) < 0)
                        return -ENOMEM;
        vf->facts.vendor = f->vendor;
        vf->facts.model = f->vf_model;
        vf->facts.class_code = f->class_code;
        vf->facts.numa_node = f->numa_node;
        vf->facts.group = pf->group ? unused_group(sim) : -1;
        if (sim_device_add(sim, vf) < 0)
                return -ENOMEM;
        added = TAKE_PTR(vf);
        return pf->facts.vf_autoprobe && sim_device_probe(sim, added) == -ENOMEM ? -ENOMEM : 0;
}

static int make_vfs(Sim *sim, SimDevice *pf, unsigned n) {
        for (unsigned i = 1; i <= n; i++) {
                _cleanup_free_ char *name = address_behind(pf->facts.name, i);

                if (!name || sim_device(sim, name))
                        return -EBUSY; /* what the kernel says when the bus has no room */
        }
        for (unsigned i = 1; i <= n; i++) {
                _cleanup_free_ char *name = address_behind(pf->facts.name, i);
                int r = name ? make_vf(sim, pf, name) : -ENOMEM;

                if (r < 0)
                        return r;
                pf->facts.num_vfs++;
        }
        sim_device_news(sim, pf, SIM_SEEN);
        return 0;
}

static int remove_vfs(Sim *sim, SimDevice *pf) {
        SimDevice *d, *next;

        HASH_ITER(hh, sim->devices, d, next) {
                if (str_eq(d->facts.physfn, pf->facts.name))
                        sim_device_unplug(sim, d);
        }
        return pf->facts.num_vfs > 0 ? SIM_HANGS : 0;
}

int sim_device_set_num_vfs(Sim *sim, SimDevice *d, unsigned n) {
        return n > 0 ? make_vfs(sim, d, n) : remove_vfs(sim, d);
}

bool sim_device_has_vf_link(Sim *sim, const SimDevice *d) {
        const SimDevice *pf = d->facts.physfn ? sim_device(sim, d->facts.physfn) : NULL;

        return pf && pf->facts.driver && !driver_is_vfio(pf->facts.driver) && d->vf_settings;
}

int sim_device_set_vf(Sim *sim, SimDevice *d, const char *text) {
        VfSettings settings = VF_SETTINGS_NULL, wanted = VF_SETTINGS_NULL;
        int r;

        if (!sim_device_has_vf_link(sim, d))
                return -ENODEV;
        r = vf_settings_parse(d->vf_settings, &settings);
        if (r == 0)
                r = vf_settings_parse(text, &wanted);
        for (int s = 0; r == 0 && s < _VF_SETTING_MAX; s++)
                if (wanted.known[s] && !settings.known[s])
                        r = -EOPNOTSUPP;
        if (r == 0)
                r = vf_settings_parse(text, &settings);
        if (r < 0)
                return r;
        free(d->vf_settings);
        d->vf_settings = vf_settings_format(&settings);
        return d->vf_settings ? 0 : -ENOMEM;
}
