/* What repair*.c share. */
#ifndef THURN_STORE_REPAIR_INNER_H
#define THURN_STORE_REPAIR_INNER_H

#include "store/verify_inner.h"

struct repair {
    const struct verify_options *options;
    struct repair_figures *figures;
    int64_t now_ms;
    uint64_t segment_bytes;
    /* What the whole log says, whatever state.db does. */
    struct store_snapshot newest;   /* parts 0: there is none */
    uint64_t generation;            /* the newest that was ever written */
    uint64_t first_segment;         /* UINT64_MAX: there is none */
    uint64_t state_position;        /* of the checkpoint in state.db */
    bool is_state_good;
    struct verify verify;           /* what is to be told, and where the log is damaged */
};

/* repair_state.c */
enum rc repair_survey(struct repair *, struct fault *);
/* state.db anew, from the newest snapshot; the one that was there is kept beside it. */
enum rc repair_rebuild(struct repair *, struct fault *);

#endif
