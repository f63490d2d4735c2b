/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Preloaded into the daemon by tests/faults/run: counts calls by class, and at the n-th one of a
 * class fails it or kills the process just before or just after it. What is wanted stands in a file
 * that the test maps as well (tests/faults/shim.py), so it can be changed at any moment.
 *
 * Changes of files count as "state" only below the daemon's own folders: these are its journal.
 */

/* open() and open64() are two functions here */
#undef _FILE_OFFSET_BITS

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <grp.h>
#include <json-c/json.h>
#include <limits.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>

#define FRAMES     32
#define CALLERS    8
#define MODULES    64
#define PLACES     (1u << 14)
#define TRACE_SIZE (1u << 20)

typedef enum CallClass {
        CALL_STATE, /* changes a file below the daemon's folders; for killing */
        CALL_ALLOCATE,
        CALL_OPEN,
        CALL_WRITE, /* this and the next three: below the daemon's folders */
        CALL_RENAME,
        CALL_UNLINK,
        CALL_MKFIFO,
        CALL_PIPE,
        CALL_DUPLICATE,
        CALL_EPOLL,
        CALL_TIMER,
        CALL_NOTIFY,
        _CALL_CLASS_MAX,
} CallClass;

typedef enum Mode {
        MODE_OFF,
        MODE_COUNT,
        MODE_KILL_BEFORE,
        MODE_KILL_AFTER,
        MODE_FAIL,
} Mode;

/* The first call of a class that came from there. */
typedef struct Place {
        uint64_t hash; /* of the innermost callers; 0: none */
        uint32_t class;
        uint32_t nth;
} Place;

typedef struct Module {
        uintptr_t begin, end;
} Module;

typedef struct Control {
        uint32_t mode;
        uint32_t class;
        uint32_t nth;   /* from 1 */
        uint32_t times; /* how many in a row fail */
        int32_t error;
        uint32_t hits;
        uint32_t seen[_CALL_CLASS_MAX];
        uint32_t trace_used;
        uint32_t paused;         /* the test speaks with the simulated kernel */
        uint64_t frames[FRAMES]; /* who made the call that failed first, from the program's base */
        Place places[PLACES];    /* of MODE_COUNT */
        char trace[TRACE_SIZE];  /* of MODE_COUNT: changes, a line each */
} Control;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);

static Control *control;
static const char *folders[2];
static Module modules[MODULES]; /* the program is the first */
static size_t n_modules;
static bool parsing; /* no call of a library that does not survive it fails */

static int add_module(struct dl_phdr_info *info, size_t size, void *userdata) {
        Module *m = &modules[n_modules];

        if (n_modules == MODULES)
                return 1;
        m->begin = info->dlpi_addr;
        for (int i = 0; i < info->dlpi_phnum; i++)
                if (info->dlpi_phdr[i].p_type == PT_LOAD)
                        m->end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr +
                                 info->dlpi_phdr[i].p_memsz;
        n_modules++;
        return 0;
}

__attribute__((constructor)) static void begin(void) {
        const char *path = getenv("DMAOWNER_FAULTS");
        void *preload[1];
        int fd;

        if (!path || strcmp(program_invocation_short_name, "dmaownerd") != 0)
                return;
        folders[0] = getenv("RUNTIME_DIRECTORY");
        folders[1] = getenv("STATE_DIRECTORY");
        (void)dl_iterate_phdr(add_module, NULL);
        (void)backtrace(preload, 1); /* loads what it needs */
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                _exit(EXIT_FAILURE);
        control = mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        (void)close(fd);
        if (control == MAP_FAILED)
                _exit(EXIT_FAILURE);
}

/* The same in each run, wherever the modules lie. */
static uint64_t hash_callers(void) {
        void *frames[CALLERS];
        uint64_t hash = 14695981039346656037u;
        int n = backtrace(frames, CALLERS);

        for (int i = 0; i < n; i++) {
                uintptr_t address = (uintptr_t)frames[i];

                for (size_t m = 0; m < n_modules; m++)
                        if (address >= modules[m].begin && address < modules[m].end)
                                hash = (hash ^ (address - modules[m].begin + (m << 48))) *
                                       1099511628211u;
        }
        return hash | 1;
}

static void note_place(CallClass class) {
        uint64_t hash = hash_callers() ^ (class << 1);

        for (size_t i = 0; i < PLACES; i++) {
                Place *p = &control->places[(hash + i) % PLACES];

                if (p->hash == hash)
                        return;
                if (p->hash == 0) {
                        *p = (Place){ hash, class, control->seen[class] };
                        return;
                }
        }
}

static void note_change(const char *call, const char *what) {
        size_t left = TRACE_SIZE - control->trace_used;
        int n = snprintf(control->trace + control->trace_used, left, "%s %s\n", call, what);

        if (n > 0 && (size_t)n < left)
                control->trace_used += (uint32_t)n;
}

static void note_caller(void) {
        void *frames[FRAMES];
        int n = backtrace(frames, FRAMES);

        for (int i = 0; i < n; i++)
                control->frames[i] = (uint64_t)frames[i] - modules[0].begin;
}

/* Is it this call's turn to fail? Then errno is set. */
static bool fails(CallClass class) {
        uint32_t seen;

        if (!control || control->mode == MODE_OFF || control->paused || parsing)
                return false;
        seen = ++control->seen[class];
        if (control->mode == MODE_COUNT)
                note_place(class);
        if (control->mode != MODE_FAIL || class != control->class || seen < control->nth ||
            seen - control->nth >= control->times)
                return false;
        if (control->hits++ == 0)
                note_caller();
        errno = control->error;
        return true;
}

static void die_if(Mode mode) {
        if (control->mode == mode && control->class == CALL_STATE &&
            control->seen[CALL_STATE] == control->nth) {
                control->hits++;
                (void)kill(getpid(), SIGKILL);
        }
}

/* A change of the journal is about to be made. True: changed() is to be called after it. */
static bool changing(const char *call, const char *what) {
        if (!control || !what || control->mode == MODE_OFF)
                return false;
        control->seen[CALL_STATE]++;
        if (control->mode == MODE_COUNT)
                note_change(call, what);
        die_if(MODE_KILL_BEFORE);
        return true;
}

static void changed(bool counted) {
        if (counted)
                die_if(MODE_KILL_AFTER);
}

/* What a path is below the daemon's folders; NULL: it is not there. buffer: PATH_MAX. */
static const char *below(int dir, const char *path, char *buffer) {
        char link[64];
        ssize_t n = 0;

        if (!control || control->mode == MODE_OFF)
                return NULL;
        if (path[0] != '/') {
                (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
                n = readlink(link, buffer, PATH_MAX - 2);
                if (n < 0)
                        return NULL;
        }
        (void)snprintf(buffer + n, PATH_MAX - (size_t)n, n > 0 && path[0] ? "/%s" : "%s", path);
        for (size_t i = 0; i < 2; i++) {
                size_t length = folders[i] ? strlen(folders[i]) : 0;

                if (length > 0 && strncmp(buffer, folders[i], length) == 0 && buffer[length] == '/')
                        return buffer + length + 1;
        }
        return NULL;
}

#define NEXT(function) ((__typeof__(&function))dlsym(RTLD_NEXT, #function))

/* allocations */

void *malloc(size_t size) {
        return fails(CALL_ALLOCATE) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
        return fails(CALL_ALLOCATE) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size) {
        return fails(CALL_ALLOCATE) ? NULL : __libc_realloc(p, size);
}

/* files */

static int open_at(int dir, const char *path, int flags, mode_t mode) {
        static __typeof__(&openat) next;
        char buffer[PATH_MAX];
        bool counted = false;
        int fd;

        if (!next)
                next = NEXT(openat);
        if (fails(CALL_OPEN))
                return -1;
        if (flags & O_CREAT)
                counted = changing("create", below(dir, path, buffer));
        fd = next(dir, path, flags, mode);
        changed(counted);
        return fd;
}

/* The mode is there only if the flags say so, but reading it does no harm. */
static mode_t take_mode(int flags, va_list arguments) {
        return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

#define OPEN_AT(name)                                         \
        int name(int dir, const char *path, int flags, ...) { \
                va_list arguments;                            \
                mode_t mode;                                  \
                va_start(arguments, flags);                   \
                mode = take_mode(flags, arguments);           \
                va_end(arguments);                            \
                return open_at(dir, path, flags, mode);       \
        }
#define OPEN(name)                                           \
        int name(const char *path, int flags, ...) {         \
                va_list arguments;                           \
                mode_t mode;                                 \
                va_start(arguments, flags);                  \
                mode = take_mode(flags, arguments);          \
                va_end(arguments);                           \
                return open_at(AT_FDCWD, path, flags, mode); \
        }

OPEN_AT(openat)
OPEN_AT(openat64)
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *data, size_t size) {
        static __typeof__(&write) next;
        char buffer[PATH_MAX];
        const char *what = below(fd, "", buffer);
        bool counted;
        ssize_t n;

        if (!next)
                next = NEXT(write);
        if (what && fails(CALL_WRITE))
                return -1;
        counted = changing("write", what);
        n = next(fd, data, size);
        changed(counted);
        return n;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
        static __typeof__(&renameat) next;
        char buffer[PATH_MAX];
        const char *what = below(to_dir, to, buffer);
        bool counted;
        int r;

        if (!next)
                next = NEXT(renameat);
        if (what && fails(CALL_RENAME))
                return -1;
        counted = changing("rename", what);
        r = next(from_dir, from, to_dir, to);
        changed(counted);
        return r;
}

int unlinkat(int dir, const char *path, int flags) {
        static __typeof__(&unlinkat) next;
        char buffer[PATH_MAX];
        const char *what = below(dir, path, buffer);
        bool counted;
        int r;

        if (!next)
                next = NEXT(unlinkat);
        if (what && fails(CALL_UNLINK))
                return -1;
        counted = changing("unlink", what);
        r = next(dir, path, flags);
        changed(counted);
        return r;
}

int mkfifoat(int dir, const char *path, mode_t mode) {
        static __typeof__(&mkfifoat) next;
        char buffer[PATH_MAX];
        const char *what = below(dir, path, buffer);
        bool counted;
        int r;

        if (!next)
                next = NEXT(mkfifoat);
        if (what && fails(CALL_MKFIFO))
                return -1;
        counted = changing("mkfifo", what);
        r = next(dir, path, mode);
        changed(counted);
        return r;
}

/* descriptors */

int pipe2(int ends[2], int flags) {
        static __typeof__(&pipe2) next;

        if (!next)
                next = NEXT(pipe2);
        return fails(CALL_PIPE) ? -1 : next(ends, flags);
}

/* Every command's argument has the size of a register. */
#define FCNTL(name)                                                                              \
        int name(int fd, int command, ...) {                                                     \
                static int (*next)(int, int, ...);                                               \
                va_list arguments;                                                               \
                void *argument;                                                                  \
                va_start(arguments, command);                                                    \
                argument = va_arg(arguments, void *);                                            \
                va_end(arguments);                                                               \
                if (!next)                                                                       \
                        next = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl");                \
                if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && fails(CALL_DUPLICATE)) \
                        return -1;                                                               \
                return next(fd, command, argument);                                              \
        }

FCNTL(fcntl)
FCNTL(fcntl64)

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event) {
        static __typeof__(&epoll_ctl) next;

        if (!next)
                next = NEXT(epoll_ctl);
        if (operation == EPOLL_CTL_ADD && fails(CALL_EPOLL))
                return -1;
        return next(epoll, operation, fd, event);
}

int timerfd_create(int clock, int flags) {
        static __typeof__(&timerfd_create) next;

        if (!next)
                next = NEXT(timerfd_create);
        return fails(CALL_TIMER) ? -1 : next(clock, flags);
}

/* json-c 0.16 does not survive a lack of memory while it parses: it never meets one. */

json_object *json_tokener_parse_ex(json_tokener *tokener, const char *text, int length) {
        static __typeof__(&json_tokener_parse_ex) next;
        bool outer = !parsing;
        json_object *o;

        if (!next)
                next = NEXT(json_tokener_parse_ex);
        parsing = true;
        o = next(tokener, text, length);
        parsing = !outer;
        return o;
}

json_object *json_tokener_parse(const char *text) {
        static __typeof__(&json_tokener_parse) next;
        json_object *o;

        if (!next)
                next = NEXT(json_tokener_parse);
        parsing = true;
        o = next(text);
        parsing = false;
        return o;
}

json_object *json_object_from_fd(int fd) {
        static __typeof__(&json_object_from_fd) next;
        json_object *o;

        if (!next)
                next = NEXT(json_object_from_fd);
        parsing = true;
        o = next(fd);
        parsing = false;
        return o;
}

/* Nor does libc where it looks for a group. */

int getgrnam_r(const char *name, struct group *group, char *buffer, size_t size,
               struct group **ret) {
        static __typeof__(&getgrnam_r) next;
        int r;

        if (!next)
                next = NEXT(getgrnam_r);
        parsing = true;
        r = next(name, group, buffer, size, ret);
        parsing = false;
        return r;
}

/* Nor does libsystemd where it makes the objects above: it leaves them behind, and checks that it did not when the
 * bus is closed. */

int sd_bus_add_object_manager(sd_bus *bus, sd_bus_slot **slot, const char *path) {
        static __typeof__(&sd_bus_add_object_manager) next;
        int r;

        if (!next)
                next = NEXT(sd_bus_add_object_manager);
        parsing = true;
        r = next(bus, slot, path);
        parsing = false;
        return r;
}

/* the service manager */

int sd_pid_notify_with_fds(pid_t pid, int unset, const char *state, const int *fds, unsigned n) {
        static __typeof__(&sd_pid_notify_with_fds) next;

        if (!next)
                next = NEXT(sd_pid_notify_with_fds);
        return fails(CALL_NOTIFY) ? -errno : next(pid, unset, state, fds, n);
}
