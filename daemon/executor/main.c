/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <fcntl.h>
#include <getopt.h>
#include <linux/netlink.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "executor/netlink.h"
#include "executor/server.h"
#include "util/log.h"
#include "util/strings.h"

typedef struct Arguments {
        const char *socket; /* NULL: what the service manager hands over */
        const char *root;
        const char *runtime;
} Arguments;

static void print_help(void) {
        printf("dmaowner-executor [OPTIONS...]\n\n"
               "Takes kernel steps from dmaownerd, checks each and runs it in a process of its own.\n"
               "Started by dmaowner-executor.socket.\n\n"
               "  --runtime-directory=PATH  folder for locks and for what has to be put back\n"
               "  --socket=PATH             listen there, with the network as it is here (for tests)\n"
               "  --root=PATH               folder with sys, proc and dev (for tests)\n"
               "  --help                    show this\n"
               "  --version                 show the version\n");
}

/* 1: go on, 0: that was all, or negative errno */
static int arguments_parse(int argc, char *argv[], Arguments *ret) {
        static const struct option options[] = {
                { "runtime-directory", required_argument, NULL, 'd' },
                { "socket", required_argument, NULL, 's' },
                { "root", required_argument, NULL, 'r' },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },
                {},
        };
        const char *runtime = getenv("RUNTIME_DIRECTORY");
        int c;

        *ret = (Arguments){ .root = "/", .runtime = runtime ? runtime : "/run/dmaowner-executor" };
        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'd':
                        ret->runtime = optarg;
                        break;
                case 's':
                        ret->socket = optarg;
                        break;
                case 'r':
                        ret->root = optarg;
                        break;
                case 'h':
                        print_help();
                        return 0;
                case 'v':
                        printf("dmaowner-executor %s\n", PROJECT_VERSION);
                        return 0;
                default:
                        return -EINVAL;
                }
        if (optind < argc) {
                fprintf(stderr, "unexpected argument \"%s\"\n", argv[optind]);
                return -EINVAL;
        }
        return 1;
}

static int listen_at(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;

        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static bool is_netlink(int fd, int family) {
        socklen_t size = sizeof(int);
        int protocol;

        return sd_is_socket(fd, AF_NETLINK, 0, -1) > 0 &&
               getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == family;
}

/* What the service manager hands over. */
static int take_sockets(ServerSockets *sockets) {
        int n = sd_listen_fds(true);

        if (n < 0)
                return n;
        for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++)
                if (sockets->listen < 0 && sd_is_socket(fd, AF_UNIX, SOCK_SEQPACKET, true) > 0)
                        sockets->listen = fd;
                else if (sockets->netlink < 0 && is_netlink(fd, NETLINK_ROUTE))
                        sockets->netlink = fd;
                else if (sockets->audit < 0 && is_netlink(fd, NETLINK_AUDIT))
                        sockets->audit = fd;
                else
                        (void)close(fd);
        if (sockets->listen < 0)
                return -ENOTCONN;
        /* the unit of an older version hands none over, and leaves us in the network of the host */
        return sockets->netlink < 0 ? netlink_open(&sockets->netlink) : 0;
}

static int open_sockets(const Arguments *arguments, ServerSockets *sockets) {
        if (!arguments->socket)
                return take_sockets(sockets);
        sockets->listen = listen_at(arguments->socket);
        return sockets->listen < 0 ? sockets->listen : netlink_open(&sockets->netlink);
}

static int make_folder(int at, const char *name) {
        return mkdirat(at, name, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* The folder survives restarts: locks of left-behind steps and what is to be put back are in it. */
static int open_runtime(const char *path) {
        static const char *const folders[] = { "locks", "nodes", "hosts", "vfs" };
        _cleanup_close_ int fd = -EBADF;
        int r;

        r = make_folder(AT_FDCWD, path);
        if (r < 0)
                return r;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
                r = make_folder(fd, folders[i]);
                if (r < 0)
                        return r;
        }
        return TAKE_FD(fd);
}

/* SIGCHLD has to be blocked for children as event sources, the others for ending in order. */
static int watch_signals(sd_event *event) {
        sigset_t mask;
        int r;

        if (sigemptyset(&mask) < 0 || sigaddset(&mask, SIGCHLD) < 0 ||
            sigaddset(&mask, SIGTERM) < 0 || sigaddset(&mask, SIGINT) < 0 ||
            sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
        if (r < 0)
                return r;
        return sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
}

static int fail(int error, const char *what) {
        log_error("%s: %s", what, strerror(-error));
        return EXIT_FAILURE;
}

static sd_event *event_free(sd_event *event) {
        return sd_event_unref(event);
}
DEFINE_CLEANUP(sd_event *, event_free);

static int run(const Arguments *arguments) {
        _cleanup_(event_freep) sd_event *event = NULL;
        _cleanup_(server_freep) Server *server = NULL;
        _cleanup_(sysfs_close) Sysfs sysfs = SYSFS_NULL;
        _cleanup_server_sockets_ ServerSockets sockets = SERVER_SOCKETS_NULL;
        _cleanup_close_ int runtime = -EBADF;
        const struct passwd *user;
        int r;

        r = sd_event_default(&event);
        if (r < 0)
                return fail(r, "There is no event loop");
        r = watch_signals(event);
        if (r < 0)
                return fail(r, "Signals cannot be watched");
        r = open_sockets(arguments, &sockets);
        if (r < 0)
                return fail(r, "There is no socket to listen on, or no rtnetlink socket");
        runtime = open_runtime(arguments->runtime);
        if (runtime < 0)
                return fail(runtime, arguments->runtime);
        r = sysfs_open(arguments->root, &sysfs);
        if (r < 0)
                return fail(r, arguments->root);
        user = getpwnam(DAEMON_USER);
        r = server_new(event, &sockets, &sysfs, runtime, user ? user->pw_uid : 0, &server);
        if (r < 0)
                return fail(r, "The server cannot be set up");
        TAKE_FD(runtime);
        (void)sd_notify(false, "READY=1");
        r = sd_event_loop(event);
        return r < 0 ? fail(r, "The event loop failed") : EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
        Arguments arguments;
        int r;

        r = arguments_parse(argc, argv, &arguments);
        if (r <= 0)
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        return run(&arguments);
}
