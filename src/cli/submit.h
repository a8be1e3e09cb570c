/* Hands one message to a server by SMTP or LMTP and says what came of it, recipient by recipient. */
#ifndef THURN_CLI_SUBMIT_H
#define THURN_CLI_SUBMIT_H

#include "cli/net.h"
#include "cli/spool.h"
#include "cli/terminal.h"
#include "smtp/client.h"

enum { SUBMIT_TEXT_MAX = 512 };

struct submit {
    struct net_target *target;      /* or NULL: then */
    const char *socket_path;        /* a local socket */
    unsigned timeout_s;             /* of a local socket */
    bool is_lmtp;
    const char *helo;               /* NULL: the address we connect from, as a literal (RFC 5321 4.1.4) */
    struct spool *spool;            /* finished */
    struct smtp_message *message;   /* mail and rcpts; the rest is taken from the spool */
    bool shows_progress;
};

struct submit_outcome {
    enum rc rc;
    uint32_t esc;
    int code;
    char text[SUBMIT_TEXT_MAX];
    bool is_remote;
};

struct submit_report {
    struct peer peer;                   /* TLS version, cipher, addresses */
    char greeting[SUBMIT_TEXT_MAX];
    const char *mechanism;              /* of AUTH; "" without */
    struct submit_outcome *outcomes;    /* one per recipient: the caller's array */
    int64_t connected_ms, ready_ms, done_ms;    /* since the start: connected; greeted, TLS and AUTH done; all answered */
};

/* RC_OK: outcomes are there, each with its own rc. Otherwise nobody got the message: the fault says why. */
enum rc submit(const struct submit *, struct submit_report *, struct fault *);

#endif
