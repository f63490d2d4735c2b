/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* dmaownerd: arbiter of DMA ownership. Options, set-up and the event loop. */

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "config.h"
#include "bus/bus.h"
#include "manager/audit.h"
#include "util/log.h"
#include "util/strings.h"

#define EXIT_USAGE         2
#define OUT_OF_MEMORY_USEC 100000

static const char *arg_bus = "system";
static const char *arg_topology = NULL;
static bool arg_check_topology = false;

static void help(void) {
        printf("dmaownerd [OPTIONS]\n\n"
               "Decides who may own the DMA of each IOMMU group of this host.\n\n"
               "  --bus=system|user|ADDRESS  the message bus to serve (default: system)\n"
               "  --simulate FILE            serve a simulated host, read from a topology file\n"
               "  --check-topology FILE      say whether a topology file is right, and exit\n"
               "  --log-level LEVEL          0 (emerg) to 7 (debug), default 6\n"
               "  -h, --help                 this text\n"
               "  --version                  the version\n\n"
               "State is kept below $RUNTIME_DIRECTORY (default: /run/dmaownerd; with --simulate:\n"
               "$XDG_RUNTIME_DIR/dmaownerd). See dmaownerd(8).\n");
}

static int parse_log_level(const char *text) {
        unsigned long long level;

        if (parse_u64(text, 10, &level) < 0 || level > LOG_DEBUG)
                return -EINVAL;
        log_set_max_level((int)level);
        return 0;
}

/* 1: go on; 0: done; negative: wrong usage */
static int parse_arguments(int argc, char *argv[]) {
        enum {
                ARG_BUS = 256,
                ARG_SIMULATE,
                ARG_CHECK,
                ARG_LOG_LEVEL,
                ARG_VERSION
        };
        static const struct option options[] = {
                { "bus", required_argument, NULL, ARG_BUS },
                { "simulate", required_argument, NULL, ARG_SIMULATE },
                { "check-topology", required_argument, NULL, ARG_CHECK },
                { "log-level", required_argument, NULL, ARG_LOG_LEVEL },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case ARG_BUS:
                        arg_bus = optarg;
                        break;
                case ARG_SIMULATE:
                        arg_topology = optarg;
                        break;
                case ARG_CHECK:
                        arg_topology = optarg;
                        arg_check_topology = true;
                        break;
                case ARG_LOG_LEVEL:
                        if (parse_log_level(optarg) < 0) {
                                fprintf(stderr, "dmaownerd: --log-level takes 0 to 7, not '%s'\n",
                                        optarg);
                                return -EINVAL;
                        }
                        break;
                case 'h':
                        help();
                        return 0;
                case ARG_VERSION:
                        printf("dmaownerd " PROJECT_VERSION "\n");
                        return 0;
                default:
                        return -EINVAL;
                }
        if (optind < argc) {
                fprintf(stderr, "dmaownerd: '%s' is not understood; see --help\n", argv[optind]);
                return -EINVAL;
        }
        return 1;
}

/* systemd sets RUNTIME_DIRECTORY and makes the folder; by hand it may have to be made. */
static int find_state_folder(char **ret) {
        const char *given = getenv("RUNTIME_DIRECTORY"), *user = getenv("XDG_RUNTIME_DIR");
        _cleanup_free_ char *path = NULL;

        if (!str_empty(given))
                path = strndup(given, strcspn(given, ":"));
        else if (arg_topology && !str_empty(user))
                path = str_format("%s/dmaownerd", user);
        else
                path = strdup("/run/dmaownerd");
        if (!path)
                return -ENOMEM;
        if (mkdir(path, 0755) < 0 && errno != EEXIST) {
                int r = -errno;

                log_error("Cannot make the state folder %s: %s", path, strerror(-r));
                return r;
        }
        *ret = TAKE_PTR(path);
        return 0;
}

/* What has to survive the boot. A simulated host's does so beside the rest of it. */
static int open_ledger(Ledger **ret) {
        const char *given = getenv("STATE_DIRECTORY");
        _cleanup_free_ char *folder = NULL;
        int r = 0;

        if (!str_empty(given))
                folder = strndup(given, strcspn(given, ":"));
        else if (!arg_topology)
                folder = strdup("/var/lib/dmaownerd");
        else
                r = find_state_folder(&folder);
        if (r < 0)
                return r;
        r = folder ? ledger_open(folder, ret) : -ENOMEM;
        if (r == -EBUSY)
                log_error("Another dmaownerd uses %s already", folder);
        else if (r < 0)
                log_error("Cannot use the folder %s/used: %s", folder ? folder : "?", strerror(-r));
        return r;
}

static int open_store(Store **ret) {
        _cleanup_free_ char *folder = NULL;
        int r = find_state_folder(&folder);

        if (r < 0)
                return r;
        r = store_open(folder, ret);
        if (r == -EBUSY)
                log_error("Another dmaownerd runs on %s already", folder);
        else if (r < 0)
                log_error("Cannot use the state folder %s: %s", folder, strerror(-r));
        return r;
}

static int open_kernel(sd_event *event, const KernelEvents *events, Kernel **ret) {
        _cleanup_free_ char *message = NULL;
        int r;

        if (!arg_topology) {
                r = linux_kernel_new(event, EXECUTOR_SOCKET, events, ret);
                if (r < 0)
                        log_error("Cannot observe the devices of this host: %s", strerror(-r));
                return r;
        }
        r = sim_kernel_new(event, arg_topology, events, ret, &message);
        if (r < 0)
                log_error("%s", message ? message : strerror(-r));
        return r;
}

static int check_topology(void) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(kernel_freep) Kernel *kernel = NULL;
        KernelEvents events = {};
        int r = sd_event_new(&event);

        if (r >= 0)
                r = open_kernel(event, &events, &kernel);
        if (r >= 0)
                printf("%s is right\n", arg_topology);
        return r;
}

static int new_event(sd_event **ret) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        sigset_t signals;
        int r;

        if (sigemptyset(&signals) < 0 || sigaddset(&signals, SIGTERM) < 0 ||
            sigaddset(&signals, SIGINT) < 0 || sigaddset(&signals, SIGHUP) < 0 ||
            sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
                return -errno;
        if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
                return -errno;
        r = sd_event_default(&event);
        if (r >= 0)
                r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
        if (r >= 0)
                r = sd_event_set_watchdog(event, 1);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(event);
        return 0;
}

/* A broken file is logged, and the policy stays as it was. */
static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        const AuditCall about = { .uid = info->ssi_uid, .method = "Reload (SIGHUP)" };
        _cleanup_fault_ Fault fault = FAULT_NULL;

        audit_asked(manager_audit(userdata), &about);
        (void)manager_reload(userdata, &fault);
        return 0;
}

/* Whoever found no memory left his work for later; so does the loop itself. */
static int loop(sd_event *event) {
        int r = sd_event_loop(event);

        while (r == -ENOMEM) {
                log_error("Out of memory");
                (void)usleep(OUT_OF_MEMORY_USEC);
                r = sd_event_loop(event);
        }
        return r;
}

static int run(void) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(store_freep) Store *store = NULL;
        _cleanup_(ledger_freep) Ledger *ledger = NULL;
        _cleanup_(fd_store_freep) FdStore *fd_store = NULL;
        _cleanup_(manager_freep) Manager *manager = NULL;
        _cleanup_(bus_server_freep) BusServer *bus = NULL;
        Kernel *kernel = NULL;
        KernelEvents events;
        int r;

        r = new_event(&event);
        if (r < 0) {
                log_error("Cannot make an event loop: %s", strerror(-r));
                return r;
        }
        r = open_store(&store);
        if (r < 0)
                return r;
        r = open_ledger(&ledger);
        if (r < 0)
                return r;
        r = fd_store_new(event, FD_STORE_MAX, &fd_store);
        if (r < 0) {
                log_error("Cannot take over files from the service manager: %s", strerror(-r));
                return r;
        }
        r = manager_new(event, store, fd_store, ledger, &manager);
        if (r < 0) {
                log_error("Cannot begin: %s", strerror(-r));
                return r;
        }
        r = sd_event_add_signal(event, NULL, SIGHUP, on_hangup, manager);
        if (r >= 0)
                r = manager_load_policy(manager);
        if (r < 0) {
                log_error("Cannot begin: %s", strerror(-r));
                return r;
        }
        /* before anything is touched: whoever has the name is the daemon of this host */
        r = bus_server_new(event, arg_bus, manager, &bus);
        if (r == -EEXIST)
                log_error("Another dmaownerd serves org.dmaowner1 on the bus (%s) already", arg_bus);
        else if (r < 0)
                log_error("Cannot connect to the bus (%s): %s", arg_bus, strerror(-r));
        if (r < 0)
                return r;
        events = manager_kernel_events(manager);
        r = open_kernel(event, &events, &kernel);
        if (r < 0)
                return r;
        r = manager_start(manager, kernel); /* takes the kernel over */
        if (r < 0)
                return r;
        r = bus_server_start(bus);
        if (r < 0) {
                log_error("Cannot serve org.dmaowner1: %s", strerror(-r));
                return r;
        }
        r = sd_notify(0, "READY=1");
        if (r < 0) {
                log_error("Cannot tell the service manager: %s", strerror(-r));
                return r;
        }
        r = loop(event);
        (void)sd_notify(0, "STOPPING=1");
        if (r < 0)
                log_error("The event loop failed: %s", strerror(-r));
        /* whoever holds a lease by its connection is gone with the bus, and everything else is taken up
         * by the next run: the service manager starts it */
        if (r > 0)
                log_error("The connection to the bus is lost");
        return r == 0 ? 0 : -ECONNRESET;
}

int main(int argc, char *argv[]) {
        int r = parse_arguments(argc, argv);

        if (r <= 0)
                return r < 0 ? EXIT_USAGE : EXIT_SUCCESS;
        r = arg_check_topology ? check_topology() : run();
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
