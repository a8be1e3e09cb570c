/* Giving powers up: users, no_new_privs, seccomp allow-lists, Landlock. Where the kernel or the privileges for a part are
 * missing the role runs all the same, and the report says so plainly. */
#ifndef THURN_OS_SANDBOX_H
#define THURN_OS_SANDBOX_H

#include "base/buf.h"
#include "base/fault.h"

enum sandbox_power {            /* what a role may still do; everything else is refused by seccomp */
    POWER_LOOP = 1,             /* read, write, epoll, timers, memory: always */
    POWER_RECEIVE_FDS = 2,
    POWER_ACCEPT = 4,
    POWER_CONNECT = 8,          /* TCP and UDP sockets out */
    POWER_FILES = 16,           /* open, rename, unlink, sync below `paths` (Landlock) */
    POWER_THREADS = 32,
    POWER_READ_FILES = 64,      /* open for reading only, below `paths` */
};

struct sandbox {
    const char *user;           /* switch to when root; NULL: stay */
    unsigned powers;
    const char *const *paths;   /* writable trees */
    size_t path_count;
    const char *const *read_paths;
    size_t read_path_count;
};
/* RC_PERM only when a part that is available fails (a missing user, say). `report`: one line, such as
 * "user=thurn-edge no_new_privs=yes seccomp=yes(61 calls) landlock=abi7(no files)". */
enum rc sandbox_enter(const struct sandbox *, struct buf *report, struct fault *);

#endif
