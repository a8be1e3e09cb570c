/* A scenario: from one seed a world of servers and people, what they do, what goes wrong, and the end where all is held against the truth.
 *
 * scenario_run returns when every invariant held; else sim_fail has ended the program. One run per program: what a run leaves
 * behind is not cleaned up. */
#ifndef THURN_SIM_SCENARIO_H
#define THURN_SIM_SCENARIO_H

#include "sim/truth.h"

enum fault_kind {
    FAULT_KILL,             /* a role dies at some system call */
    FAULT_POWER,            /* a machine loses its power at some system call */
    FAULT_RESTART,          /* the server is stopped and started */
    FAULT_SYNC,             /* a sync fails, and what was to be synced is lost */
    FAULT_WRITE,            /* a write fails, or a read: EIO */
    FAULT_TEAR,             /* writes are shorter than asked for, failing ones leave a part */
    FAULT_FULL,             /* a disk is full for a while */
    FAULT_DESCRIPTORS,      /* no descriptor left for a while */
    FAULT_MEMORY,           /* no memory left for a while */
    FAULT_NET,              /* resets, silent ends, tiny pieces, refused and hanging connects, delay */
    FAULT_PARTITION,        /* two hosts cannot reach each other for a while */
    FAULT_PEERS,            /* other people's servers are moody */
    FAULT_DNS,              /* name service fails, hangs or lies for a while */
    FAULT_CLOCK,            /* clocks jump */
    FAULT_STRANGERS,        /* visitors who speak nothing that is known */
    FAULT_RELOAD,           /* the server is told to read its configuration anew: nobody may notice */
    FAULT_FLIPS,            /* at the end, bits of the store flip at rest */
    FAULT_KINDS
};
extern const char *const fault_names[FAULT_KINDS];

struct scenario_options {
    uint64_t seed;
    double hours;           /* of the busy time; 0: by the seed */
    uint32_t only;          /* bits of fault kinds: none but these; 0: by the seed */
    bool has_only;
};
struct scenario_figures {
    double simulated_s;
    uint64_t calls, letters, recipients, texts, listings, changes, bounced, doubled_in_window;
    uint64_t faults[FAULT_KINDS];
};
void scenario_run(const struct scenario_options *, struct scenario_figures *);

#endif
