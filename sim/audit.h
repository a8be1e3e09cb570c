/* The disk of a server that is stopped, opened and counted. By itself, since the server's headers and people's do not go together. */
#ifndef THURN_SIM_AUDIT_H
#define THURN_SIM_AUDIT_H

#include <stdbool.h>

struct audit {
    const char *name;           /* of the server */
    bool is_done;
};
/* A process on that server's host. What it finds ends the run. */
int audit_main(void *audit);

#endif
