/* Child processes, random bytes, small files: what the launcher and the tools need of the system. */
#ifndef THURN_OS_CHILD_H
#define THURN_OS_CHILD_H

#include "base/buf.h"
#include "base/fault.h"

#include <sys/types.h>

/* Starts this very program again (/proc/self/exe) as `argv`, with `fd` as descriptor 3 and nothing else above 2.
 * The child dies with its parent. Never a shell. */
enum rc child_start(char *const argv[], int fd, pid_t *pid, struct fault *);
/* A connected pair for a channel. */
enum rc channel_pair(int fds[2], struct fault *);

void random_bytes(void *out, size_t len);
uint64_t random_u64(void);

/* A whole small file; RC_NONE when there is none; RC_PERM over max. `out` has to have room for max + 1 bytes. */
enum rc file_read_all(const char *path, size_t max, struct buf *out, struct fault *);
/* Written beside, synced, renamed into place. */
enum rc file_write_all(const char *path, struct slice content, unsigned mode, struct fault *);
enum rc dir_make(const char *path, unsigned mode, struct fault *);       /* with parents; fine when it is there */

#endif
