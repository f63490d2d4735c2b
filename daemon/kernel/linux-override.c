/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/linux-override.h"

#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <utlist.h>

#include "util/strings.h"

/* A read takes microseconds; past this it hangs. */
#define HANG_USEC (500U * 1000U)

/* The answer of the process: its result, then the value. */
typedef struct Answer {
        int error;
        char value[4096];
} Answer;

/* One process that reads. */
typedef struct Reader {
        OverrideReader *owner;
        pid_t pid;
        int socket;
        sd_event_source *io;
        char *device; /* what it reads now, or hangs with; NULL: nothing */
        struct Reader *prev, *next;
} Reader;

typedef struct Question {
        char *device;
        struct Question *prev, *next;
} Question;

struct OverrideReader {
        sd_event *event;
        const Sysfs *sysfs;
        OverrideRead read;
        void *userdata;
        Question *questions; /* not yet with a reader */
        Reader *active;      /* NULL: none was needed so far */
        Reader *hung;
        sd_event_source *deadline; /* of what active reads */
};

static Question *question_free(Question *q) {
        if (!q)
                return NULL;
        free(q->device);
        free(q);
        return NULL;
}
DEFINE_CLEANUP(Question *, question_free);

/* The process ends when its socket is closed, or never. */
static Reader *reader_free(Reader *reader, bool hangs) {
        if (!reader)
                return NULL;
        (void)sd_event_source_disable_unref(reader->io);
        (void)safe_close(reader->socket);
        if (reader->pid > 0)
                (void)waitpid(reader->pid, NULL, hangs ? WNOHANG : 0);
        free(reader->device);
        free(reader);
        return NULL;
}

/* The process: holds nothing but the socket and the root. */
_Noreturn static void reader_main(int socket, const Sysfs *sysfs) {
        Sysfs s = { .root = STDOUT_FILENO };

        if (dup2(socket, STDIN_FILENO) < 0 || dup2(sysfs->root, STDOUT_FILENO) < 0 ||
            close_range(STDERR_FILENO, UINT_MAX, 0) < 0)
                _exit(EXIT_FAILURE);
        for (;;) {
                char device[NAME_MAX + 1];
                Answer answer = {};
                char *value = NULL;
                size_t length = 0;
                ssize_t n;

                n = recv(STDIN_FILENO, device, sizeof(device) - 1, 0);
                if (n <= 0)
                        _exit(EXIT_SUCCESS);
                device[n] = '\0';
                answer.error = sysfs_readf(&s, &value, "sys/bus/pci/devices/%s/driver_override",
                                           device);
                if (answer.error == 0) {
                        length = strnlen(value, sizeof(answer.value) - 1);
                        memcpy(answer.value, value, length);
                }
                free(value);
                if (send(STDIN_FILENO, &answer, offsetof(Answer, value) + length, MSG_NOSIGNAL) < 0)
                        _exit(EXIT_FAILURE);
        }
}

static int on_answer(sd_event_source *source, int fd, uint32_t revents, void *userdata);
static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata);

static int reader_new(OverrideReader *r, Reader **ret) {
        Reader *reader;
        int pair[2], error;

        reader = calloc(1, sizeof(*reader));
        if (!reader)
                return -ENOMEM;
        *reader = (Reader){ .owner = r, .socket = -EBADF };
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
                error = -errno;
                free(reader);
                return error;
        }
        reader->socket = pair[0];
        reader->pid = fork();
        if (reader->pid == 0)
                reader_main(pair[1], r->sysfs);
        error = reader->pid < 0 ? -errno : 0;
        (void)safe_close(pair[1]);
        if (error == 0)
                error = sd_event_add_io(r->event, &reader->io, reader->socket, EPOLLIN, on_answer,
                                        reader);
        if (error < 0) {
                (void)reader_free(reader, false);
                return error;
        }
        *ret = reader;
        return 0;
}

static int set_deadline(OverrideReader *r) {
        r->deadline = sd_event_source_disable_unref(r->deadline);
        return sd_event_add_time_relative(r->event, &r->deadline, CLOCK_MONOTONIC, HANG_USEC, 0,
                                          on_deadline, r);
}

static bool device_hangs(const OverrideReader *r, const char *device) {
        const Reader *reader;

        DL_FOREACH(r->hung, reader) {
                if (str_eq(reader->device, device))
                        return true;
        }
        return false;
}

static Question *find_question(const OverrideReader *r, const char *device) {
        Question *q;

        DL_FOREACH(r->questions, q) {
                if (str_eq(q->device, device))
                        return q;
        }
        return NULL;
}

/* The next that can be asked. */
static Question *next_question(const OverrideReader *r) {
        Question *q;

        DL_FOREACH(r->questions, q) {
                if (!device_hangs(r, q->device))
                        return q;
        }
        return NULL;
}

/* Gives the next question to the reader, unless it is at work. What fails is tried again at the
 * deadline. */
static int ask_next(OverrideReader *r) {
        Question *q = next_question(r);
        int error;

        if (!q || (r->active && r->active->device))
                return 0;
        error = set_deadline(r);
        if (error < 0)
                return error;
        if (!r->active) {
                error = reader_new(r, &r->active);
                if (error < 0)
                        return error;
        }
        if (send(r->active->socket, q->device, strlen(q->device), MSG_NOSIGNAL) < 0) {
                error = -errno;
                r->active = reader_free(r->active, false);
                return error;
        }
        r->active->device = TAKE_PTR(q->device);
        DL_DELETE(r->questions, q);
        (void)question_free(q);
        return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        OverrideReader *r = userdata;
        Reader *reader = r->active;

        if (reader && reader->device) {
                r->active = NULL;
                DL_APPEND(r->hung, reader);
                r->read(reader->device, -ETIMEDOUT, NULL, r->userdata);
        }
        (void)ask_next(r);
        return 0;
}

/* An answer, or the end of the process. */
static int on_answer(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Reader *reader = userdata;
        OverrideReader *r = reader->owner;
        _cleanup_free_ char *device = TAKE_PTR(reader->device);
        Answer answer = {};
        ssize_t n;

        n = recv(fd, &answer, sizeof(answer) - 1, MSG_DONTWAIT);
        if (n < (ssize_t)offsetof(Answer, value))
                answer.error = -EIO;
        if (reader != r->active) {
                DL_DELETE(r->hung, reader);
                (void)reader_free(reader, false);
        } else if (n <= 0) {
                r->active = reader_free(reader, false);
        }
        /* asked again meanwhile: what was read may be older than the question */
        if (device && !find_question(r, device))
                r->read(device, answer.error, answer.value, r->userdata);
        (void)ask_next(r);
        return 0;
}

int override_reader_new(sd_event *event, const Sysfs *sysfs, OverrideRead read, void *userdata,
                        OverrideReader **ret) {
        OverrideReader *r;

        r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        *r = (OverrideReader){
                .event = sd_event_ref(event),
                .sysfs = sysfs,
                .read = read,
                .userdata = userdata,
        };
        *ret = r;
        return 0;
}

OverrideReader *override_reader_free(OverrideReader *r) {
        Reader *reader, *next_reader;
        Question *q, *next;

        if (!r)
                return NULL;
        (void)sd_event_source_disable_unref(r->deadline);
        /* one that is at work may hang as well */
        (void)reader_free(r->active, r->active && r->active->device);
        DL_FOREACH_SAFE(r->hung, reader, next_reader) {
                (void)reader_free(reader, true);
        }
        DL_FOREACH_SAFE(r->questions, q, next) {
                (void)question_free(q);
        }
        (void)sd_event_unref(r->event);
        free(r);
        return NULL;
}

int override_reader_ask(OverrideReader *r, const char *device) {
        _cleanup_(question_freep) Question *q = NULL;

        if (find_question(r, device))
                return 0;
        q = calloc(1, sizeof(*q));
        if (!q || str_set(&q->device, device) < 0)
                return -ENOMEM;
        DL_APPEND(r->questions, q);
        TAKE_PTR(q);
        (void)ask_next(r);
        return 0;
}

int override_reader_drain(OverrideReader *r) {
        while (next_question(r) || (r->active && r->active->device)) {
                struct pollfd p = { .events = POLLIN };
                int n, error;

                error = ask_next(r);
                if (error < 0)
                        return error;
                p.fd = r->active->socket;
                n = poll(&p, 1, HANG_USEC / 1000);
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0)
                        (void)on_answer(r->active->io, p.fd, EPOLLIN, r->active);
                else if (n == 0)
                        (void)on_deadline(r->deadline, 0, r);
        }
        return 0;
}
