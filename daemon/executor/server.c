/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/server.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <linux/close_range.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "executor/run.h"
#include "shared/step-json.h"
#include "util/log.h"
#include "util/strings.h"

/* Left-behind steps count too. */
#define WORKERS_MAX 1024
/* A daemon that does not take its answers for so long is treated as gone. */
#define SEND_TIMEOUT_SEC 10

typedef struct Worker Worker;

/* The process of a step, as the main process sees it. */
struct Worker {
        Server *server;
        unsigned long long seq;
        pid_t pid;
        int permit;  /* write end; closed: the step may do nothing more */
        int channel; /* its packets; -EBADF: nobody waits for them any more */
        sd_event_source *channel_source;
        sd_event_source *child_source;
        Worker *next;
        Worker **link; /* what points here */
};

struct Server {
        sd_event *event;
        Sysfs sysfs;
        int runtime;
        uid_t daemon_uid;
        int listen;
        int connection;
        pid_t peer;
        sd_event_source *listen_source;
        sd_event_source *connection_source;
        Worker *workers;
        size_t n_workers;
};

/* workers */

/* From now on nobody waits for the step, and it may change nothing. */
static void worker_abandon(Worker *w) {
        if (w->channel < 0)
                return;
        w->channel_source = sd_event_source_disable_unref(w->channel_source);
        w->channel = safe_close(w->channel);
        w->permit = safe_close(w->permit);
        /* no SIGKILL: a step may have something to put back */
        (void) kill(w->pid, SIGTERM);
}

static Worker *worker_free(Worker *w) {
        if (!w)
                return NULL;
        worker_abandon(w);
        sd_event_source_disable_unref(w->child_source);
        *w->link = w->next;
        if (w->next)
                w->next->link = w->link;
        w->server->n_workers--;
        free(w);
        return NULL;
}

/* the connection */

static void server_disconnect(Server *s, const char *why) {
        if (s->connection < 0)
                return;
        log_info("The connection of pid %d is closed: %s", (int) s->peer, why);
        s->connection_source = sd_event_source_disable_unref(s->connection_source);
        s->connection = safe_close(s->connection);
        for (Worker *w = s->workers; w; w = w->next)
                worker_abandon(w);
}

static void server_send(Server *s, json_object *packet, const int *fds, size_t n_fds) {
        union {
                struct cmsghdr header;
                char room[CMSG_SPACE(2 * sizeof(int))];
        } control = {};
        const char *text = json_object_to_json_string_ext(
                packet, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        struct iovec iov = { .iov_base = (char *) text, .iov_len = strlen(text) };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
}
