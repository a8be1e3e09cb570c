/* Waiting input and output on one descriptor, for the few places that cannot go on without an answer: signatures in the
 * edge, and the command line. */
#ifndef THURN_OS_SYNC_H
#define THURN_OS_SYNC_H

#include "base/buf.h"
#include "base/fault.h"

bool sync_send(int fd, struct slice, int timeout_ms);
/* At least one byte more; false on end, error and time-out. */
bool sync_receive(int fd, struct buf *, int timeout_ms);
void sync_close(int fd);                /* nothing for -1 */
/* Connects to a local socket: RC_NONE when nobody listens there. */
enum rc sync_connect_local(const char *path, int *fd, struct fault *);

#endif
