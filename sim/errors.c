/* Which errors a system call may be made to fail with: those that a server must live with at any time (man pages of section 2).
 * What a disk or a network has to say is decided there. A call that is not here does not fail. */
#include "sim/kernel.h"

#include <errno.h>
#include <string.h>

static const struct {
    const char *call;
    int errors[8];
} table[] = {
    { "accept",         { EINTR, EMFILE, ENFILE, ENOBUFS, ECONNABORTED } },
    { "asprintf",       { ENOMEM } },
    { "calloc",         { ENOMEM } },
    { "close",          { EINTR } },
    { "dup",            { EMFILE } },
    { "epoll_create1",  { EMFILE } },
    { "epoll_wait",     { EINTR } },
    { "eventfd",        { EMFILE } },
    { "fdatasync",      { EINTR } },
    { "flock",          { EINTR } },
    { "fork",           { EAGAIN, ENOMEM } },
    { "fsync",          { EINTR } },
    { "ftruncate",      { EINTR } },
    { "getrandom",      { EINTR } },
    { "malloc",         { ENOMEM } },
    { "open",           { EINTR, EMFILE, ENFILE } },
    { "opendir",        { EMFILE, ENFILE } },
    { "poll",           { EINTR } },
    { "posix_fallocate", { EINTR } },
    { "pread",          { EINTR } },
    { "pwrite",         { EINTR } },
    { "read",           { EINTR } },
    { "realloc",        { ENOMEM } },
    { "recv",           { EINTR, EAGAIN } },
    { "recvmsg",        { EINTR, EAGAIN } },
    { "send",           { EINTR, EAGAIN, ENOBUFS } },
    { "sendmsg",        { EINTR, EAGAIN, ETOOMANYREFS } },
    { "socket",         { EMFILE, ENFILE } },
    { "socketpair",     { EMFILE, ENFILE } },
    { "strdup",         { ENOMEM } },
};

unsigned sim_call_errors(const char *call, int errors[8])
{
    size_t low = 0, high = sizeof(table) / sizeof(table[0]);
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(call, table[mid].call);
        if (order == 0) {
            unsigned count = 0;
            memcpy(errors, table[mid].errors, sizeof(table[mid].errors));
            while (count < 8 && errors[count] != 0)
                count++;
            return count;
        }
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return 0;
}
