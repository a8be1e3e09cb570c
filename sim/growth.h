/* Nothing grows without bound: what each process of the servers holds in a quiet time, and again after people were there and went. Buffers
 * that are kept for the next one, and caches, grow so far and no further: growth has to end. */
#ifndef THURN_SIM_GROWTH_H
#define THURN_SIM_GROWTH_H

#include "sim/room.h"

enum { GROWTH_PROCESSES = 64, GROWTH_TEXT = 300 };
struct growth {
    struct {
        unsigned id;            /* of the process */
        uint64_t bytes;         /* allocated */
        unsigned descriptors, watches;  /* open; registered in its epoll sets */
    } processes[GROWTH_PROCESSES];
    size_t count;
    size_t segments[ROOM_NODES];        /* of each server's log, free ones too */
};
void growth_measure(struct room *, struct growth *);
/* Has the later one more of anything, but for a few bytes? Then `text` says of what. Processes that are in one of them only are not compared. */
bool growth_between(struct room *, const struct growth *before, const struct growth *after, char text[GROWTH_TEXT]);

#endif
