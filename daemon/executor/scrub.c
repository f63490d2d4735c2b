/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/scrub.h"

#include <systemd/sd-bus.h>

#include "executor/inspect.h"
#include "executor/rules.h"
#include "util/strings.h"

#define SYSTEMD       "org.freedesktop.systemd1"
#define MANAGER_PATH  "/org/freedesktop/systemd1"
#define MANAGER       SYSTEMD ".Manager"
#define SERVICE       SYSTEMD ".Service"
#define LOOK_AGAIN_US 500000ULL

static void bus_closep(sd_bus **bus) {
        (void)sd_bus_flush_close_unref(*bus);
}

/* The unit's job, until its end. */
typedef struct Job {
        char *path;
        char *manager; /* the connection of who has made it */
        char *result;  /* NULL: it goes on */
} Job;

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path, *result;
        Job *job = userdata;
        int r;

        /* anybody may send us a signal, and libsystemd does not know who has a name that is not unique */
        if (!str_eq(sd_bus_message_get_sender(m), job->manager))
                return 0;
        r = sd_bus_message_read(m, "uoss", NULL, &path, NULL, &result);
        if (r < 0 || !str_eq(path, job->path))
                return r;
        return str_set(&job->result, result);
}

static int fail_bus(Run *run, const char *unit, int r, const sd_bus_error *error) {
        return answer_fail(&run->answer, EREMOTEIO, "the service manager cannot run %s: %s", unit,
                           error->message ? error->message : strerror(-r));
}

/* Does it end when its work is done, and say how? */
static int check_unit(Run *run, sd_bus *bus, const char *unit, const char *path) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *load = NULL, *type = NULL;
        int remain = 0, r;

        r = sd_bus_get_property_string(bus, SYSTEMD, path, SYSTEMD ".Unit", "LoadState", &error,
                                       &load);
        if (r >= 0 && !str_eq(load, "loaded"))
                return answer_fail(&run->answer, ENOENT,
                                   "there is no usable unit %s (%s): dmaownerd.json(5) has an example",
                                   unit, load);
        if (r >= 0)
                r = sd_bus_get_property_string(bus, SYSTEMD, path, SERVICE, "Type", &error, &type);
        if (r >= 0)
                r = sd_bus_get_property_trivial(bus, SYSTEMD, path, SERVICE, "RemainAfterExit",
                                                &error, 'b', &remain);
        if (r < 0)
                return fail_bus(run, unit, r, &error);
        if (!str_eq(type, "oneshot") || remain)
                return answer_fail(&run->answer, EINVAL,
                                   "%s has to have Type=oneshot and not RemainAfterExit=, or nobody "
                                   "knows when it is done",
                                   unit);
        return 0;
}

/* A unit that is at work already is waited for, not started twice. */
static int start_unit(Run *run, sd_bus *bus, const char *unit, Job *job) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *path;
        int r;

        r = sd_bus_match_signal(bus, NULL, SYSTEMD, MANAGER_PATH, MANAGER, "JobRemoved",
                                on_job_removed, job);
        if (r >= 0)
                r = sd_bus_call_method(bus, SYSTEMD, MANAGER_PATH, MANAGER, "Subscribe", &error,
                                       NULL, "");
        if (r >= 0)
                r = run_check_permit(run);
        if (r >= 0)
                r = sd_bus_call_method(bus, SYSTEMD, MANAGER_PATH, MANAGER, "StartUnit", &error,
                                       &reply, "ss", unit, "replace");
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &path);
        if (r >= 0)
                r = str_set(&job->path, path);
        if (r >= 0)
                r = str_set(&job->manager, sd_bus_message_get_sender(reply));
        return r < 0 && run->answer.error == 0 ? fail_bus(run, unit, r, &error) : r;
}

static int wait_job(Run *run, sd_bus *bus, const Job *job) {
        int r = 0;

        while (r >= 0 && !job->result) {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, LOOK_AGAIN_US);
                /* the unit goes on by itself */
                if (r >= 0)
                        r = run_check_permit(run);
        }
        return r;
}

static int run_unit(Run *run, sd_bus *bus, const char *unit, Job *job) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_free_ char *result = NULL;
        const char *path;
        int r;

        r = sd_bus_call_method(bus, SYSTEMD, MANAGER_PATH, MANAGER, "LoadUnit", &error, &reply, "s",
                               unit);
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return fail_bus(run, unit, r, &error);
        r = check_unit(run, bus, unit, path);
        if (r >= 0)
                r = start_unit(run, bus, unit, job);
        if (r >= 0)
                r = wait_job(run, bus, job);
        if (r < 0)
                return run->answer.error != 0 ? r : fail_bus(run, unit, r, &error);
        r = sd_bus_get_property_string(bus, SYSTEMD, path, SERVICE, "Result", &error, &result);
        if (r < 0)
                return fail_bus(run, unit, r, &error);
        if (!str_eq(job->result, "done") || !str_eq(result, "success"))
                return answer_fail(&run->answer, EREMOTEIO, "%s has failed (%s, %s)", unit,
                                   job->result, result);
        return 0;
}

/* A unit that erases is not for what the host needs, nor for what no rule gives it. */
static int check_device_for_scrub(Run *run) {
        _cleanup_disks_ Disks disks = DISKS_NULL;
        const char *device = run->step->device;
        DevicePolicy said;
        int r;

        r = rules_of_device(run, device, &said);
        if (r < 0)
                return r;
        if (said.scrub != SCRUB_UNIT || said.protect)
                return answer_fail(&run->answer, EPERM, "no rule says that a unit cleans %s",
                                   device);
        r = inspect_device(run, &run->answer.obstacles, &disks);
        if (r < 0 || run->answer.obstacles.n == 0)
                return r;
        return answer_fail(&run->answer, EBUSY, "%s is in use: %s", device,
                           run->answer.obstacles.items[0].text);
}

int step_scrub(Run *run) {
        _cleanup_(bus_closep) sd_bus *bus = NULL;
        _cleanup_free_ char *unit = NULL;
        Job job = {};
        int r;

        r = check_device_for_scrub(run);
        if (r < 0)
                return r;
        /* nothing of a PCI address has to be escaped */
        unit = str_format("dmaowner-scrub@%s.service", run->step->device);
        if (!unit)
                return -ENOMEM;
        r = sd_bus_open_system(&bus);
        if (r < 0)
                return answer_fail(&run->answer, EREMOTEIO, "cannot reach the service manager: %s",
                                   strerror(-r));
        r = run_unit(run, bus, unit, &job);
        free(job.path);
        free(job.manager);
        free(job.result);
        return r;
}
