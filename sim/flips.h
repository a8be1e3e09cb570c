/* The disk of a server that is stopped, and bits on it that flip at rest: what they hit is named, and no reader gets anything else
 * than what was there. By itself, as audit.h is. */
#ifndef THURN_SIM_FLIPS_H
#define THURN_SIM_FLIPS_H

#include <stdbool.h>
#include <stdint.h>

struct flips {
    const char *name;           /* of the server */
    unsigned rounds;            /* damage, look, repair, look: so often */
    uint64_t flipped;           /* bits */
    uint64_t refused, unreadable, lost;     /* openings, messages before the repair, messages after it */
    bool is_done;
};
/* A process on that server's host, which was stopped and is in order. What it finds ends the run. */
int flips_main(void *flips);

#endif
