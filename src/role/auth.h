/* The inside of the auth role: files auth.c (start, directory, control) and auth_exchange.c (SASL exchanges). */
#ifndef THURN_ROLE_AUTH_H
#define THURN_ROLE_AUTH_H

#include "config/config.h"
#include "config/directory.h"
#include "role/channel.h"
#include "role/guesses.h"
#include "sasl/sasl.h"

enum { AUTH_EDGES_MAX = 64, AUTH_EXCHANGES_MAX = 20000, AUTH_AGAIN_MS = 1000 };

struct auth_edge {                  /* one edge process and its exchanges */
    struct auth *auth;
    struct channel *channel;
    uint32_t index;
    struct list exchanges;
};

struct auth {
    struct loop *loop;
    struct config config;
    struct directory *directory;
    struct control *control;
    struct channel *launcher;
    struct channel *post;           /* NULL while it is being restarted */
    struct auth_edge edges[AUTH_EDGES_MAX];
    struct list changes;            /* commands that wait for post (auth.c) */
    uint64_t sent_version;          /* of the directory, to post */
    struct loop_timer again;        /* it could not be read: sent once more then */
    size_t exchange_count;
    struct guesses guesses;
    unsigned char secret[32];       /* for made-up verifiers */
    uint64_t succeeded, failed;     /* figures */
};

/* A FRAME_AUTH or FRAME_AUTH_END from an edge. */
void auth_exchange_frame(struct auth_edge *, const struct frame *);
/* The edge is gone: so are its exchanges. */
void auth_exchange_forget_all(struct auth_edge *);

#endif
