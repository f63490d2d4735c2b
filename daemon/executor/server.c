/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor/server.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "config/policy-file.h"
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
        ServerSockets sockets;
        uid_t daemon_uid;
        int connection;
        pid_t peer;
        Policy *policy;  /* as the files said when they were last right */
        char *complaint; /* what is wrong with them since; NULL: nothing */
        sd_event_source *listen_source;
        sd_event_source *connection_source;
        Worker *workers;
        size_t n_workers;
};

/* The files are read again for each step: they are few and small, and whoever changes them is to have
 * it at once. While they are wrong the last that were right count, as in the daemon. */
static int server_read_policy(Server *s) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        _cleanup_free_ char *message = NULL;
        int r;

        r = policy_read(&policy, &message);
        if (r < 0 && !message)
                return r;
        if (r < 0 && !str_eq(s->complaint, message))
                log_error("The policy cannot be used: %s", message);
        if (r < 0 && !s->policy) {
                r = policy_new_closed(message, &policy);
                if (r < 0)
                        return r;
        }
        if (policy) {
                policy_free(s->policy);
                s->policy = TAKE_PTR(policy);
        }
        free(s->complaint);
        s->complaint = TAKE_PTR(message);
        return 0;
}

/* workers */

/* From now on nobody waits for the step, and it may change nothing. */
static void worker_abandon(Worker *w) {
        if (w->channel < 0)
                return;
        w->channel_source = sd_event_source_disable_unref(w->channel_source);
        w->channel = safe_close(w->channel);
        w->permit = safe_close(w->permit);
        /* not SIGKILL: a step may have something to put back first */
        (void)kill(w->pid, SIGTERM);
}

static Worker *worker_free(Worker *w) {
        w->channel_source = sd_event_source_disable_unref(w->channel_source);
        w->child_source = sd_event_source_disable_unref(w->child_source);
        w->channel = safe_close(w->channel);
        w->permit = safe_close(w->permit);
        if (w->link) {
                *w->link = w->next;
                if (w->next)
                        w->next->link = w->link;
                w->server->n_workers--;
        }
        free(w);
        return NULL;
}
DEFINE_CLEANUP(Worker *, worker_free);

/* the connection */

static void server_disconnect(Server *s, const char *why) {
        if (s->connection < 0)
                return;
        log_info("The connection of pid %d is closed: %s", (int)s->peer, why);
        s->connection_source = sd_event_source_disable_unref(s->connection_source);
        s->connection = safe_close(s->connection);
        for (Worker *w = s->workers; w; w = w->next)
                worker_abandon(w);
}

static void server_send(Server *s, const char *packet, const Descriptors *fds) {
        int r;

        r = packet ? packet_send(s->connection, packet, fds) : -ENOMEM;
        if (r < 0)
                server_disconnect(s, strerror(-r));
}

/* The answer to a step that no process can answer. */
static void server_answer(Server *s, unsigned long long seq, int error, const char *text) {
        _cleanup_answer_ Answer answer = ANSWER_NULL;
        _cleanup_free_ char *packet = NULL;

        (void)answer_fail(&answer, error, "%s", text);
        packet = answer_to_packet(&answer, seq);
        server_send(s, packet, NULL);
}

/* Hands one packet of a step on. False: there is none now. */
static bool worker_relay(Worker *w) {
        _cleanup_descriptors_ Descriptors fds = {};
        char packet[PACKET_SIZE_MAX + 1];
        int n;

        if (w->channel < 0)
                return false;
        n = packet_receive(w->channel, packet, &fds);
        if (n <= 0) {
                if (n != -EAGAIN) /* the process ends */
                        w->channel_source = sd_event_source_disable_unref(w->channel_source);
                return false;
        }
        packet[n] = '\0';
        server_send(w->server, packet, &fds);
        return true;
}

static int on_channel(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        (void)worker_relay(userdata);
        return 0;
}

static int on_child(sd_event_source *source, const siginfo_t *si, void *userdata) {
        Worker *w = userdata;
        char text[64];

        while (worker_relay(w))
                ;
        if (w->channel >= 0 && (si->si_code != CLD_EXITED || si->si_status != 0)) {
                (void)snprintf(text, sizeof(text), "the process of the step died (%s %d)",
                               si->si_code == CLD_EXITED ? "status" : "signal", si->si_status);
                server_answer(w->server, w->seq, EIO, text);
        }
        worker_free(w);
        return 0;
}

/* steps */

/* The new process. It needs no other program: nothing has to be found and loaded for a step. */
static void __attribute__((noreturn)) child_run(Run *run) {
        int keep[6 + PACKET_FDS_MAX] = { run->permit,  run->channel, run->sysfs.root,
                                         run->runtime, run->netlink, run->audit };
        sigset_t none;

        for (size_t i = 0; i < run->files.n; i++)
                keep[6 + i] = run->files.items[i].fd;
        /* first of all, or we would keep the permits of other steps valid */
        if (run_close_all_but(keep, 6 + run->files.n) < 0 || sigemptyset(&none) < 0 ||
            sigprocmask(SIG_SETMASK, &none, NULL) < 0)
                _exit(EXIT_FAILURE);
        run_step(run);
}

static int worker_start(Server *s, unsigned long long seq, const Step *step,
                        const VfioFiles *files) {
        _cleanup_close_ int permit = -EBADF, channel = -EBADF;
        _cleanup_(worker_freep) Worker *w = NULL;
        int pipe_fds[2], sockets[2], r;

        w = calloc(1, sizeof(Worker));
        if (!w)
                return -ENOMEM;
        *w = (Worker){ .server = s, .seq = seq, .permit = -EBADF, .channel = -EBADF };
        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return -errno;
        permit = pipe_fds[0];
        w->permit = pipe_fds[1];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
                return -errno;
        channel = sockets[0];
        w->channel = sockets[1];
        r = sd_event_add_io(s->event, &w->channel_source, w->channel, EPOLLIN, on_channel, w);
        if (r < 0)
                return r;
        w->pid = fork();
        if (w->pid < 0)
                return -errno;
        if (w->pid == 0)
                child_run(&(Run){
                        .step = step,
                        .seq = seq,
                        .sysfs = s->sysfs,
                        .runtime = s->runtime,
                        .netlink = s->sockets.netlink,
                        .audit = s->sockets.audit,
                        .permit = permit,
                        .channel = channel,
                        .daemon = s->peer,
                        .policy = s->policy,
                        .files = *files,
                        .answer = ANSWER_NULL,
                });
        r = sd_event_add_child(s->event, &w->child_source, w->pid, WEXITED, on_child, w);
        if (r < 0) {
                worker_abandon(w);
                return r;
        }
        w->next = s->workers;
        w->link = &s->workers;
        if (w->next)
                w->next->link = &w->next;
        s->workers = TAKE_PTR(w);
        s->n_workers++;
        return 0;
}

/* The files that a step works on, from its packet. */
static int take_files(json_object *o, Descriptors *fds, VfioFiles *ret) {
        json_object *list;

        if (!json_object_object_get_ex(o, "files", &list))
                return 0; /* what comes beside is closed */
        return vfio_files_from_json(list, fds, ret);
}

static void server_start_step(Server *s, unsigned long long seq, json_object *o, Descriptors *fds) {
        _cleanup_vfio_files_ VfioFiles files = VFIO_FILES_NULL;
        _cleanup_free_ char *message = NULL;
        _cleanup_(step_clear) Step step = {};
        int r;

        r = step_from_json(o, &step, &message);
        if (r == 0) {
                r = take_files(o, fds, &files);
                if (r == -EBADMSG)
                        message = strdup("its files and the descriptors do not fit");
        }
        if (r < 0) {
                log_warning("Step %llu is not understood: %s", seq,
                            message ? message : strerror(-r));
                server_answer(s, seq, -r, message ? message : strerror(-r));
                return;
        }
        r = server_read_policy(s);
        if (r == 0)
                r = s->n_workers < WORKERS_MAX ? worker_start(s, seq, &step, &files) : -ENOBUFS;
        if (r < 0)
                server_answer(s, seq, -r, "no process could be started for the step");
}

static int server_tell_locks(Server *s, json_object *groups) {
        _cleanup_free_ char *text = NULL;
        const char *separator = "";
        int r;

        if (!json_object_is_type(groups, json_type_array))
                return -EINVAL;
        r = str_append(&text, "{\"locked\":[");
        for (size_t i = 0; r == 0 && i < json_object_array_length(groups); i++) {
                json_object *group = json_object_array_get_idx(groups, i);
                int64_t id = json_object_get_int64(group);

                if (!json_object_is_type(group, json_type_int) || id < 0 || id > INT_MAX)
                        return -EINVAL;
                /* what cannot be known is not to be touched either */
                if (run_group_is_locked(s->runtime, (unsigned)id) == 0)
                        continue;
                r = str_append(&text, "%s%u", separator, (unsigned)id);
                separator = ",";
        }
        if (r == 0)
                r = str_append(&text, "]}");
        if (r == 0)
                server_send(s, text, NULL);
        return r;
}

static Worker *server_find(Server *s, unsigned long long seq) {
        for (Worker *w = s->workers; w; w = w->next)
                if (w->seq == seq && w->channel >= 0)
                        return w;
        return NULL;
}

static int server_handle(Server *s, json_object *o, Descriptors *fds) {
        unsigned long long seq;
        json_object *groups;
        Worker *w;

        if (json_get_uint(o, "seq", ULLONG_MAX, &seq) == 0) {
                server_start_step(s, seq, o, fds);
                return 0;
        }
        if (json_get_uint(o, "cancel", ULLONG_MAX, &seq) == 0) {
                w = server_find(s, seq);
                if (w)
                        worker_abandon(w);
                return 0; /* it may have been done just now */
        }
        if (json_object_object_get_ex(o, "locks", &groups))
                return server_tell_locks(s, groups);
        return -EINVAL;
}

static int on_packet(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        _cleanup_descriptors_ Descriptors fds = {};
        char packet[PACKET_SIZE_MAX];
        Server *s = userdata;
        json_object *o;
        int n;

        n = packet_receive(s->connection, packet, &fds);
        if (n == -EAGAIN)
                return 0;
        if (n <= 0) {
                server_disconnect(s, n == 0 ? "it was ended" : strerror(-n));
                return 0;
        }
        o = packet_parse(packet, (size_t)n);
        if (!o || server_handle(s, o, &fds) < 0) {
                log_warning("A packet of pid %d is not understood", (int)s->peer);
                server_disconnect(s, "its packets are not understood");
        }
        (void)json_object_put(o);
        return 0;
}

static int server_accept(Server *s, int fd, const struct ucred *peer) {
        const struct timeval timeout = { .tv_sec = SEND_TIMEOUT_SEC };
        int r;

        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
                return -errno;
        server_disconnect(s, "a new one takes its place");
        r = sd_event_add_io(s->event, &s->connection_source, fd, EPOLLIN, on_packet, s);
        if (r < 0)
                return r;
        s->connection = fd;
        s->peer = peer->pid;
        log_debug("Connected with pid %d of uid %u", (int)peer->pid, peer->uid);
        return 0;
}

static int on_connect(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        _cleanup_close_ int connection = -EBADF;
        Server *s = userdata;
        struct ucred peer;
        socklen_t size = sizeof(peer);
        int r;

        connection = accept4(s->sockets.listen, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0) {
                log_warning("A connection cannot be accepted: %m");
                return 0;
        }
        if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
                log_warning("It is not known who connects: %m");
                return 0;
        }
        if (peer.uid != 0 && peer.uid != s->daemon_uid && peer.uid != geteuid()) {
                log_warning("A connection of uid %u is refused", peer.uid);
                return 0;
        }
        r = server_accept(s, connection, &peer);
        if (r < 0)
                log_warning("A connection cannot be used: %s", strerror(-r));
        else
                TAKE_FD(connection);
        return 0;
}

void server_sockets_close(ServerSockets *s) {
        safe_close(s->listen);
        safe_close(s->netlink);
        safe_close(s->audit);
        *s = SERVER_SOCKETS_NULL;
}

int server_new(sd_event *event, ServerSockets *sockets, Sysfs *sysfs, int runtime, uid_t daemon_uid,
               Server **ret) {
        _cleanup_(server_freep) Server *s = NULL;
        int r;

        s = calloc(1, sizeof(Server));
        if (!s)
                return -ENOMEM;
        *s = (Server){
                .event = sd_event_ref(event),
                .sysfs = SYSFS_NULL,
                .runtime = -EBADF,
                .sockets = SERVER_SOCKETS_NULL,
                .daemon_uid = daemon_uid,
                .connection = -EBADF,
        };
        r = sd_event_add_io(event, &s->listen_source, sockets->listen, EPOLLIN, on_connect, s);
        if (r < 0)
                return r;
        s->sockets = *sockets;
        *sockets = SERVER_SOCKETS_NULL;
        s->runtime = runtime;
        s->sysfs = *sysfs;
        *sysfs = SYSFS_NULL;
        *ret = TAKE_PTR(s);
        return 0;
}

Server *server_free(Server *s) {
        server_disconnect(s, "the executor ends");
        while (s->workers)
                worker_free(s->workers);
        sd_event_source_disable_unref(s->listen_source);
        server_sockets_close(&s->sockets);
        safe_close(s->runtime);
        sysfs_close(&s->sysfs);
        policy_free(s->policy);
        free(s->complaint);
        sd_event_unref(s->event);
        free(s);
        return NULL;
}
