/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <fcntl.h>
#include <getopt.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

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
               "  --socket=PATH             listen there (for tests)\n"
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

static int take_socket(const Arguments *arguments) {
        int r;

        if (arguments->socket)
                return listen_at(arguments->socket);
        r = sd_listen_fds(true);
        if (r < 0)
                return r;
        if (r != 1)
                return -EBADF;
        r = sd_is_socket(SD_LISTEN_FDS_START, AF_UNIX, SOCK_SEQPACKET, true);
        if (r < 0)
                return r;
        return r > 0 ? SD_LISTEN_FDS_START : -EPROTOTYPE;
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
        _cleanup_close_ int socket = -EBADF, runtime = -EBADF;
        const struct passwd *user;
        int r;

        r = sd_event_default(&event);
        if (r < 0)
                return fail(r, "There is no event loop");
        r = watch_signals(event);
        if (r < 0)
                return fail(r, "Signals cannot be watched");
        socket = take_socket(arguments);
        if (socket < 0)
                return fail(socket, "There is no SEQPACKET socket to listen on");
        runtime = open_runtime(arguments->runtime);
        if (runtime < 0)
                return fail(runtime, arguments->runtime);
        r = sysfs_open(arguments->root, &sysfs);
        if (r < 0)
                return fail(r, arguments->root);
        user = getpwnam(DAEMON_USER);
        r = server_new(event, socket, &sysfs, runtime, user ? user->pw_uid : 0, &server);
        if (r < 0)
                return fail(r, "The server cannot be set up");
        TAKE_FD(socket);
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
