/* A bell between two threads: one rings, the other's loop sees a readable descriptor (eventfd). */
#ifndef THURN_OS_WAKE_H
#define THURN_OS_WAKE_H

#include <stdbool.h>

int wake_open(void);                        /* a descriptor for the loop, or -errno */
void wake_ring(int fd);                     /* from any thread; many rings may be seen as one */
void wake_quiet(int fd);                    /* not readable any more */
bool wake_wait(int fd, int timeout_ms);     /* blocks until it rings; for tools and tests */
void wake_close(int fd);

#endif
