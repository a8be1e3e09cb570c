/* Other people: mail servers of other domains, and strangers who connect. As coroutines; each server and each stranger is a process
 * of its host, each connection of a server too.
 *
 * A server of others takes mail and tells what it took. What it does besides is its mood, by chance for each connection: it stalls, answers
 * garbage, lies about extensions, breaks off, says 250 and is gone. */
#ifndef THURN_SIM_PEER_H
#define THURN_SIM_PEER_H

#include "base/slice.h"
#include "sim/net.h"

/* What the sender was told of a letter that was read to its end. */
enum peer_answer {
    PEER_SAID_YES,              /* 250 was sent; whether it arrived is the network's business until `confirmed` */
    PEER_SAID_NOTHING,          /* taken, and the connection broke off before an answer: the window in which a duplicate is permitted */
    PEER_SAID_LATER,            /* taken, and yet answered 4xx: the sender has to send it again */
    PEER_REFUSED,               /* not taken: answered 4xx or 5xx */
};
struct peer_letter {
    uint64_t number;            /* of this server, from 1 */
    const char *from;
    const char *const *to;      /* those it had accepted with 250 */
    size_t to_count;
    struct slice text;          /* dots undone */
    enum peer_answer answer;
    int code;                   /* 250, 451, 554, ...; 0: none */
};
struct peer_owner {             /* called from the server's coroutine; what is handed in lives until they return */
    void (*took)(void *arg, const struct peer_letter *);        /* before the answer is sent */
    void (*confirmed)(void *arg, uint64_t number);              /* its sender went on after the 250: it has the answer */
    void (*refused)(void *arg, const char *from, const char *to, int code);    /* a recipient, by an answer; may be NULL */
    void *arg;
};

struct peer_moods {             /* per million: of connections, or where it says so of commands */
    uint32_t well;              /* of connections: nothing of the below happens in it */
    uint32_t stall;             /* of commands: no answer for ten minutes, then the end */
    uint32_t garbage;           /* of commands: bytes that are no reply */
    uint32_t long_line;         /* of commands: a reply of megabytes, or without end */
    uint32_t close;             /* of commands: the end, without an answer or in the middle of one */
    uint32_t temporary, permanent;      /* of commands: 4xx, 5xx */
    uint32_t lost_answer;       /* of letters: PEER_SAID_NOTHING */
    uint32_t later;             /* of letters: PEER_SAID_LATER */
    uint32_t lies;              /* of connections: offers what it does not do (STARTTLS, CHUNKING, PIPELINING, SIZE, 8BITMIME) */
    uint32_t no_tls;            /* of connections: a handshake that fails */
    uint32_t slow;              /* of connections: every byte takes its time */
};
extern const struct peer_moods peer_friendly, peer_moody;

/* Starts it as process "mx" of the host; ends with it (or with sim_kill). domain: for its greeting, and whose recipients it takes (or
 * those of the domain above it, when it is a host name). */
struct sim_process *peer_smtp_start(struct sim_host *, const char *address, uint16_t port, const char *domain, const struct peer_moods *,
                                    const struct peer_owner *);
void peer_smtp_set_moods(struct sim_process *, const struct peer_moods *);

/* One visit of a stranger to a port (of SMTP, submission, IMAP or POP3: it does not care), decided by chance: half lines, huge lines,
 * garbage, floods of pipelined commands, attempts to smuggle a second message, handshakes that are none, silence, a half-open
 * end. Process "stranger"; ends by itself. It never logs in, and what it smuggles in is addressed to `bait`, where nothing may ever arrive. */
struct sim_process *peer_stranger(struct sim_host *, const char *address, uint16_t port, const char *bait);

#endif
