/* Slowing down those who guess passwords: failures by peer address, forgotten over time, in memory that does not grow.
 *
 * A table of fixed size indexed by a keyed hash of the address; two addresses that meet in a slot share its fate. IPv6
 * addresses count by their /64, since that is what one stranger has. */
#ifndef THURN_ROLE_GUESSES_H
#define THURN_ROLE_GUESSES_H

#include "base/slice.h"

enum {
    GUESSES_SLOTS = 4096,
    GUESSES_FREE = 3,               /* failures that cost nothing: people mistype */
    GUESSES_DELAY_MS = 1000,        /* for each one past them */
    GUESSES_DELAY_MAX_MS = 8000,
    GUESSES_FORGET_MS = 60 * 1000,  /* one failure is forgiven in so long */
};

struct guesses {
    struct {
        int64_t since_ms;
        uint32_t failures;
    } slot[GUESSES_SLOTS];
    uint64_t seed[2];
};

void guesses_init(struct guesses *, const uint64_t seed[2]);
/* Counts a failure and says how long its answer should wait. */
int64_t guesses_failed(struct guesses *, struct slice peer_address, int64_t now_ms);

#endif
