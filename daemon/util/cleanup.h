/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Scope-bound cleanup. A local marked _cleanup_x_ is released when its scope ends; to hand it
 * out, TAKE_PTR()/TAKE_FD() empties the local as the last act of a constructor.
 */

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f)        __attribute__((cleanup(f)))
#define _printf_(fmt, args) __attribute__((format(printf, fmt, args)))

#define DEFINE_CLEANUP(type, func)            \
        static inline void func##p(type *p) { \
                if (*p)                       \
                        *p = func(*p);        \
        }                                     \
        struct func##_cleanup_wants_a_semicolon

#define TAKE_PTR(ptr)                      \
        ({                                 \
                typeof(ptr) _take = (ptr); \
                (ptr) = NULL;              \
                _take;                     \
        })

#define TAKE_FD(fd)               \
        ({                        \
                int _take = (fd); \
                (fd) = -EBADF;    \
                _take;            \
        })

static inline void freep(void *p) {
        free(*(void **)p);
}

/* Closes without touching errno; any negative value is "no descriptor". Returns -EBADF. */
static inline int safe_close(int fd) {
        if (fd >= 0) {
                int saved = errno;
                (void)close(fd);
                errno = saved;
        }
        return -EBADF;
}

static inline void closep(int *fd) {
        *fd = safe_close(*fd);
}

#define _cleanup_free_  _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
