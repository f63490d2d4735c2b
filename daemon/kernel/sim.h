/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The simulated host, inside. sim.c runs operations and tells what changed; sim-host.c is the
 * model of the kernel, sim-files.c that of the VFIO nodes and who has them open, sim-kept.c that of
 * the files that steps open for the daemon; sim-steps.c says what each step does; sim-topology.c
 * and sim-dump.c read and write the host as JSON; sim-faults.c and sim-events.c are what tests and
 * demonstrations do to it.
 */

#define HASH_NONFATAL_OOM 1 /* a lack of memory leaves hh.tbl NULL instead of ending the process */

#include <sys/types.h>
#include <uthash.h>

#include "core/device.h"
#include "kernel/kernel.h"
#include "kernel/sim-json.h"

typedef struct Sim Sim;
typedef struct SimGroup SimGroup;
typedef struct SimOp SimOp;

/* Functions of the model return 0, the kernel's negative errno, or one of these: the caller is
 * stuck in the kernel, or waits in user space. */
#define SIM_HANGS 1
#define SIM_WAITS 2

#define SIM_NOBODY ((uid_t)-1)

typedef struct SimDriver {
        char *name;
        char *module;
        bool loaded;
        bool keeps_vfs; /* when it is taken from a PF */
        int fails;      /* errno of its probe() */
        UT_hash_handle hh;
} SimDriver;

/* What others still have to be told of a device. */
enum {
        SIM_SEEN = 1 << 0,
        SIM_USE_CHANGED = 1 << 1,
        SIM_GONE = 1 << 2,
        SIM_SETTLE = 1 << 3, /* nothing to tell: sim_device_settle() has to look */
};

/* What somebody, a step or not, is stuck with on a device: he holds its lock, and nobody can open
 * it any more. */
typedef enum SimPending {
        SIM_PENDING_NONE,
        SIM_PENDING_UNBIND,
        SIM_PENDING_UNPLUG,
} SimPending;

/* Tells when the last duplicate of a file that a step handed out is closed. */
typedef struct SimPipe {
        int reading; /* -EBADF: there is no such file */
        sd_event_source *watch;
} SimPipe;

#define SIM_PIPE_NULL ((SimPipe){ .reading = -EBADF })

/* The device's own node, /dev/vfio/devices/vfioX, as a step opened it. */
typedef enum SimCdev {
        SIM_CDEV_CLOSED,
        SIM_CDEV_OPEN,
        SIM_CDEV_BOUND, /* to an iommufd: it has the group claimed */
} SimCdev;

typedef struct SimDevice {
        DeviceFacts facts;
        SimGroup *group;   /* NULL: none */
        char **matches;    /* drivers whose id table has the device */
        char **reset;      /* reset methods */
        char **remembered; /* drivers that it had when a step first touched it */
        char *vf_settings; /* of a VF, as its PF's driver reports them; of a PF: what new VFs have; NULL:
 not at all */
        char *vf_remembered; /* those that a step has read */
        Obstacles in_use;
        SimPending pending;
        SimCdev cdev;
        SimPipe cdev_file;
        unsigned news; /* SIM_SEEN... */
        struct SimDevice *news_next;
        struct SimDevice *next; /* SimGroup.devices */
        UT_hash_handle hh;
} SimDevice;

/* /dev/vfio/N: who may open it. */
typedef struct SimNode {
        uid_t owner;
        mode_t mode;
        uid_t granted; /* by ACL; SIM_NOBODY: no ACL */
} SimNode;

#define SIM_NODE_NEW ((SimNode){ .mode = 0600, .granted = SIM_NOBODY })

/* A VFIO file that a process has open: the group's, or one of its devices'. Whoever has one has the
 * group claimed too: that is what programs open it for; except that a file of ours which he has a
 * duplicate of claims the group only once it is bound. */
typedef struct SimFile {
        SimDevice *device; /* NULL: the group's */
        pid_t pid;
        char *comm;
        uid_t uid;
        bool hidden; /* from a scan of /proc: in a socket's queue, io_uring, KVM... */
        bool cdev;   /* a duplicate of the file of SimDevice.cdev */
        struct SimFile *next;
} SimFile;

struct SimGroup {
        unsigned id;
        char *type;        /* default domain type */
        char *forced_type; /* the only one that the IOMMU driver allows; NULL: any */
        SimDevice *devices;
        size_t n_devices;
        unsigned kernel_users; /* bound drivers that count as owners */
        unsigned vfio_users;   /* bound VFIO drivers: the node exists if there is one */
        SimNode node, node_former;
        bool node_ready, node_granted; /* udev is done with it; node_former is valid */
        sd_event_source *udev;
        SimFile *files;
        bool claimed;    /* by a container of ours: STEP_LEND, STEP_CLAIM */
        SimPipe claim;   /* its group file */
        uint64_t mapped; /* bytes that devices of the group reach */
        SimOp *lock;     /* the operation whose process has the group's lock file */
        Sim *sim;
        UT_hash_handle hh;
};

/* The whole daemon dies by a fault, at a moment of the step. */
typedef enum SimKill {
        SIM_KILL_NONE,
        SIM_KILL_BEFORE,
        SIM_KILL_DURING, /* the step is in the kernel, and goes on without the daemon */
        SIM_KILL_AFTER,  /* it has taken effect, and nobody has heard of it */
        _SIM_KILL_MAX,
} SimKill;

typedef struct SimFault {
        StepKind op;
        char *device; /* NULL: any */
        unsigned nth; /* 0: every one */
        unsigned seen;
        int error;
        bool hang, crash;
        SimKill kill;
        uint64_t delay_usec;
        struct SimFault *next;
} SimFault;

/* An operation that was done, for the next dump. */
typedef struct SimDone {
        StepKind kind;
        char *device;
        char *value;
        unsigned group;
        int error;
} SimDone;

struct Sim {
        Kernel kernel;
        sd_event *event;
        sd_event_source *wake; /* runs what is queued */
        char *persist;         /* file that remembers the host; NULL: none */
        char *version;
        bool strict_type;    /* it changes only for one device, without a driver (before 6.4) */
        bool override_locks; /* driver_override takes the device's lock (before 6.12) */
        bool iommufd;        /* the kernel has it, and nodes of single devices */
        bool iommu, told_ready;
        char *default_type; /* what "auto" means where nothing is forced */
        uint64_t latency_usec[_STEP_KIND_MAX];
        uint64_t udev_usec;
        SimDriver *drivers;
        SimDevice *devices;
        SimGroup *groups;
        SimFault *faults;
        SimDevice *news, **news_tail;
        SimOp *queued, *begun;
        SimDone *done;
        size_t n_done, n_done_allocated, n_done_dropped;
};

/* sim.c */
void sim_wake(Sim *sim);
/* Remembers the host, if it is to be. */
void sim_save(Sim *sim);
/* Something changed that the group's operation may wait for. */
void sim_group_retry(SimGroup *g);
/* Lets operations that hang by a fault go on. */
void sim_release_hung(Sim *sim);
/* Takes an operation of a former run back in, which nobody waits for any more. */
int sim_adopt_left_behind(Sim *sim, const Step *step, bool hangs);
/* Calls f for each operation that is in the kernel now. false ends it. */
typedef bool (*SimLeftBehind)(const Step *step, bool hangs, void *userdata);
bool sim_each_in_kernel(Sim *sim, SimLeftBehind f, void *userdata);

/* sim-host.c: drivers, devices and groups */
SimDriver *sim_driver(Sim *sim, const char *name);
/* Finds or makes. NULL: no memory. */
SimDriver *sim_driver_get(Sim *sim, const char *name);
SimDevice *sim_device(Sim *sim, const char *name);
SimGroup *sim_group(Sim *sim, unsigned id);
SimGroup *sim_group_get(Sim *sim, unsigned id);
void sim_group_drop_if_empty(SimGroup *g);
SimDevice *sim_device_free(SimDevice *d);
DEFINE_CLEANUP(SimDevice *, sim_device_free);
SimGroup *sim_group_free(SimGroup *g);
SimDriver *sim_driver_free(SimDriver *d);

/* Puts the device into the host and its group, without a driver. Takes it over on success. */
int sim_device_add(Sim *sim, SimDevice *d);
int sim_device_attach(Sim *sim, SimDevice *d, const SimDriver *driver);
void sim_device_news(Sim *sim, SimDevice *d, unsigned news);

unsigned sim_group_owner_count(const SimGroup *g);
bool sim_group_is_claimed(const SimGroup *g);
/* A device that a kernel driver owns, with the driver: why the group is not viable. */
const SimDevice *sim_group_kernel_owner(const SimGroup *g);

int sim_device_bind(Sim *sim, SimDevice *d, const char *driver);
int sim_device_unbind(Sim *sim, SimDevice *d, const char *driver);
int sim_device_probe(Sim *sim, SimDevice *d);
int sim_device_set_override(Sim *sim, SimDevice *d, const char *driver);
bool sim_type_is_known(const char *type);
int sim_group_set_type(Sim *sim, SimGroup *g, const char *type);
/* A PF that has none gets so many, or loses all. */
int sim_device_set_num_vfs(Sim *sim, SimDevice *d, unsigned n);
/* Changes what the text names of a VF's settings; -EOPNOTSUPP if its PF's driver has none of these. */
int sim_device_set_vf(Sim *sim, SimDevice *d, const char *text);
/* Has the PF a driver that can be asked for its VFs? */
bool sim_device_has_vf_link(Sim *sim, const SimDevice *d);
int sim_module_load(Sim *sim, const char *module, char **ret_drivers);
/* What hangs goes on by itself when it can. */
void sim_device_unplug(Sim *sim, SimDevice *d);
/* Who is stuck with the device goes on, if nobody has it open any more. */
void sim_device_settle(Sim *sim, SimDevice *d);

/* sim-pipe.c. path: of a pipe with a name; NULL: it has none. */
int sim_pipe_open(SimPipe *p, sd_event *event, const char *path, sd_event_io_handler_t closed,
                  void *userdata, int *ret);
/* Is the other end of a former run still open somewhere? */
int sim_pipe_adopt(SimPipe *p, sd_event *event, const char *path, sd_event_io_handler_t closed,
                   void *userdata);
void sim_pipe_close(SimPipe *p, const char *path);
bool sim_pipe_is_open(const SimPipe *p);
/* Is it the other end? */
bool sim_pipe_is_end(const SimPipe *p, int fd);

/* sim-files.c: VFIO nodes and files */
void sim_node_appear(SimGroup *g);
void sim_node_vanish(SimGroup *g);
bool sim_device_is_open(const SimDevice *d);
/* Has a process any file of it open? Unlike sim_device_is_open(), without what steps opened. */
bool sim_device_has_opener(const SimDevice *d);
/* "dpdk-testpmd (pid 4711), ..." without hidden files; NULL on lack of memory. with_kept: we too. */
char *sim_group_openers(const SimGroup *g, bool with_kept);
SimFile *sim_file_free(SimFile *f);
DEFINE_CLEANUP(SimFile *, sim_file_free);
/* lent: by way of files that a step opened. Takes over f. */
int sim_group_open(SimGroup *g, SimFile *f, bool lent, char **ret_message);
/* Closes files of the group: those of a device or all, those of a process or all. Returns
 * how many. */
unsigned sim_group_close(SimGroup *g, const SimDevice *device, pid_t pid);
/* The process maps memory, if it has a file that it can do that with. */
bool sim_group_map(SimGroup *g, pid_t pid, uint64_t bytes);
char *sim_node_to_string(const SimNode *n);

/* sim-kept.c: files of ours, which steps open and the daemon keeps and lends */
/* A container with the group in it. */
int sim_group_claim(SimGroup *g, VfioFiles *ret);
/* The same with another container, without letting go in between. files: those it is claimed by. */
int sim_group_renew_claim(SimGroup *g, const VfioFiles *files, VfioFiles *ret);
void sim_group_unclaim(SimGroup *g);
/* An iommufd, and a file of each device that is bound to a VFIO driver. */
int sim_group_open_cdevs(SimGroup *g, SimCdev state, VfioFiles *ret);
/* Has anybody such a file? */
bool sim_group_has_cdev(const SimGroup *g);
/* Perhaps nobody has the file of SimDevice.cdev any more. */
void sim_cdev_settle(SimDevice *d);
/* Perhaps nobody has the group claimed any more: then what was mapped is not any more, either. */
void sim_group_settle(SimGroup *g);
/* Are these the files that were handed out? */
/* Is it the file of the group, or of its device, with this role, as a step opened it? */
bool sim_group_has_file(const SimGroup *g, FileRole role, const char *device, int fd);
bool sim_group_kept_are(const SimGroup *g, const VfioFiles *files);
/* Which of a former run's files does somebody still have? */
int sim_group_adopt_kept(SimGroup *g);

/* sim-steps.c */
/* files: what the step works on; it may close them. */
int sim_step_run(Sim *sim, const Step *step, VfioFiles *files, StepResult *ret);
/* The group whose lock the step's process takes; NULL: none. */
SimGroup *sim_step_group(Sim *sim, const Step *step);
/* The operation is a system call that goes on when its process is left behind. */
bool sim_step_is_in_kernel(StepKind kind);

/* sim-topology.c */
void sim_topology_read(Reader *rd, Sim *sim, json_object *o);
/* The device, in no group yet, and the driver that it is bound to, which may be NULL. */
SimDevice *sim_topology_device(Reader *rd, const Place *at, Sim *sim, json_object *o,
                               char **ret_driver);
void sim_topology_obstacles(Reader *rd, const Place *at, json_object *o, const char *key,
                            const char *device, Obstacles *ret);
/* An open file; the device or group and the process are to be given. */
void sim_topology_file(Reader *rd, const Place *at, Sim *sim, json_object *o, SimGroup **ret_group,
                       SimFile **ret);

/* sim-dump.c */
/* The host, as sim_topology_read() reads it; NULL: no memory. */
json_object *sim_to_json(Sim *sim);
/* Notes an operation for the next dump; the oldest are dropped if there are too many. */
int sim_done_add(Sim *sim, const Step *step, int error);
int sim_done_to_json(const Sim *sim, json_object *o);
void sim_done_clear(Sim *sim);

/* sim-faults.c */
void sim_fault_read(Reader *rd, const Place *at, json_object *o, void *sim);
SimFault *sim_fault_free(SimFault *f);
DEFINE_CLEANUP(SimFault *, sim_fault_free);
void sim_faults_clear(Sim *sim);
const char *sim_kill_to_string(SimKill kill);
/* Counts the operation; the fault that hits it, or NULL. */
const SimFault *sim_fault_for(Sim *sim, const Step *step);

/* sim-events.c */
void sim_event_read(Reader *rd, Sim *sim, json_object *o);
