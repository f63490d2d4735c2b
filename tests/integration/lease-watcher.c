/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lease-watcher ADDRESS: does with one lease what the lines on stdin say, and prints what becomes of it.
 *
 *   acquire KIND DEVICE [NAME=TYPE:VALUE]...   find ID   wait MILLISECONDS
 *   release   renew MICROSECONDS   confirm PID   files   drop
 *
 * Each line is answered with the number that the function returned; each callback prints a line of its own. One poll()
 * waits for both, as a VMM's loop does.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>
#include <systemd/sd-bus.h>

#include "client/libdmaowner/dmaowner.h"

typedef struct Watcher {
        dmaowner *o;
        dmaowner_lease *lease;
} Watcher;

static void on_change(dmaowner_lease *l, void *userdata) {
        const char *name, *reason;
        Watcher *w = userdata;
        size_t n_files;
        int error = dmaowner_lease_get_error(l, &name, NULL);

        (void)dmaowner_lease_get_files(l, &n_files);
        printf("- %s %s held=%d over=%d settled=%d there=%d connected=%d error=%d %s files=%zu",
               dmaowner_lease_get_id(l), dmaowner_lease_get_state(l), dmaowner_lease_is_held(l),
               dmaowner_lease_is_over(l), dmaowner_lease_is_settled(l),
               dmaowner_daemon_is_there(w->o), dmaowner_is_connected(w->o), error, name, n_files);
        printf(" revoke_at=%" PRIu64, dmaowner_lease_get_revocation(l, &reason));
        printf(" reason=%s end=%s\n", reason, dmaowner_lease_get_end(l));
}

static int set_option(dmaowner_request *q, char *option) {
        char *name = strsep(&option, "="), *type = strsep(&option, ":");

        if (!option)
                return -EINVAL;
        if (*type == 's')
                return dmaowner_request_set(q, name, type, option);
        if (*type == 't')
                return dmaowner_request_set(q, name, type, (uint64_t)strtoull(option, NULL, 10));
        return dmaowner_request_set(q, name, type, atoi(option));
}

static int acquire(Watcher *w, char *arguments) {
        dmaowner_request *q = NULL;
        char *word;
        int r;

        r = dmaowner_request_new(&q, strsep(&arguments, " "));
        while (r == 0 && (word = strsep(&arguments, " ")))
                r = strchr(word, '=') ? set_option(q, word) : dmaowner_request_add_device(q, word);
        if (r == 0)
                r = dmaowner_acquire(w->o, q, &w->lease);
        dmaowner_request_free(q);
        return r;
}

static int confirm(Watcher *w, const char *pid) {
        int r, pidfd = pidfd_open(atoi(pid), 0);

        if (pidfd < 0)
                return -errno;
        r = dmaowner_lease_confirm(w->lease, pidfd);
        close(pidfd);
        return r;
}

static int run(Watcher *w, char *line) {
        const char *verb = strsep(&line, " ");
        int r = -EINVAL;

        if (strcmp(verb, "acquire") == 0 || strcmp(verb, "find") == 0) {
                r = *verb == 'a' ? acquire(w, line) : dmaowner_find(w->o, line, &w->lease);
                if (r == 0)
                        dmaowner_lease_set_callback(w->lease, on_change, w);
        } else if (strcmp(verb, "wait") == 0) {
                r = dmaowner_lease_wait(w->lease, strtoull(line, NULL, 10) * 1000);
        } else if (strcmp(verb, "release") == 0) {
                r = dmaowner_lease_release(w->lease);
        } else if (strcmp(verb, "renew") == 0) {
                r = dmaowner_lease_renew(w->lease, strtoull(line, NULL, 10));
        } else if (strcmp(verb, "confirm") == 0) {
                r = confirm(w, line);
        } else if (strcmp(verb, "files") == 0) {
                r = dmaowner_lease_open_files(w->lease);
        } else if (strcmp(verb, "drop") == 0) {
                w->lease = dmaowner_lease_unref(w->lease);
                r = 0;
        }
        printf("%d\n", r);
        return r;
}

/* Milliseconds until a time of CLOCK_MONOTONIC. */
static int until(uint64_t usec) {
        struct timespec ts;
        uint64_t now;

        if (usec == UINT64_MAX)
                return -1;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        now = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
        return usec <= now ? 0 : (int)((usec - now + 999) / 1000);
}

/* False at the end of the input, or when the bus is gone. */
static bool turn(Watcher *w) {
        struct pollfd fds[] = { { .fd = STDIN_FILENO, .events = POLLIN },
                                { .fd = dmaowner_get_fd(w->o) } };
        char line[1000];
        uint64_t timeout;

        if (dmaowner_process(w->o) < 0 || dmaowner_get_timeout(w->o, &timeout) < 0)
                return false;
        fds[1].events = (short)dmaowner_get_events(w->o);
        if (poll(fds, 2, until(timeout)) < 0)
                return false;
        if (fds[0].revents == 0)
                return true;
        if (!fgets(line, sizeof(line), stdin))
                return false;
        line[strcspn(line, "\n")] = '\0';
        (void)run(w, line);
        return true;
}

int main(int argc, char **argv) {
        sd_bus *bus = NULL;
        Watcher w = {};
        int r;

        setvbuf(stdout, NULL, _IOLBF, 0);
        setvbuf(stdin, NULL, _IONBF, 0); /* what poll() does not see would wait */
        if (argc != 2)
                return EXIT_FAILURE;
        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_address(bus, argv[1]);
        if (r >= 0)
                r = sd_bus_set_bus_client(bus, true);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r >= 0)
                r = dmaowner_new(&w.o, bus);
        sd_bus_unref(bus);
        if (r < 0)
                return EXIT_FAILURE;
        while (turn(&w))
                ;
        printf("bye\n");
        dmaowner_lease_unref(w.lease);
        dmaowner_unref(w.o);
        return EXIT_SUCCESS;
}
