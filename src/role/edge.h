/* The inside of the edge role, which alone parses strangers' bytes. Files:
 *     edge.c         start, listeners, limits, shutdown
 *     edge_smtp.c    SMTP, submission and LMTP sessions: the machine's questions as frames to post and auth
 *     edge_session.c what all sessions share: numbers, TLS from the start, questions to auth
 *     edge_login.c   IMAP and POP3 up to login; from then on plaintext between the client and its session in post
 * It owns no file, no key and no outbound connection: a session's bytes reach post only as frames of typed values. */
#ifndef THURN_ROLE_EDGE_H
#define THURN_ROLE_EDGE_H

#include "base/map.h"
#include "config/config.h"
#include "os/conn.h"
#include "os/tls.h"
#include "role/channel.h"
#include "role/driver.h"
#include "sasl/sasl.h"

enum {
    EDGE_INPUT_MAX = 64 * 1024,         /* of one connection, not yet parsed */
    EDGE_OUTPUT_MAX = 512 * 1024,       /* of one connection, not yet sent; holds a machine's whole output */
    EDGE_RELAY_MAX = 256 * 1024,
    EDGE_TIMEOUT_MS = 5 * 60 * 1000,    /* RFC 5321 4.5.3.2.7 */
    EDGE_LOGIN_TIMEOUT_MS = 3 * 60 * 1000,
    EDGE_STOP_MS = 20 * 1000,           /* for transactions that are open when the server stops */
    EDGE_RELAY_TIMEOUT_MS = 35 * 60 * 1000,     /* longer than any session's own */
};

struct edge;

/* What every kind of session in the edge begins with. */
struct edge_session {
    struct edge *edge;
    struct list list;                   /* in edge->sessions */
    uint32_t number;                    /* on the channels to post and auth */
    struct peer peer;                   /* as of accept: counted per address */
    struct driver driver;
    char host_name[256];                /* ours, as of when the session began: a reload may change it */
    const char *protocol;               /* "smtp", "submission", "imap", ... for logs */
    bool has_asked_auth;                /* auth may hold an exchange for this session, until told that it has ended */
    bool is_before_tls;                 /* TLS from the start, and the handshake is not done */
    struct loop_timer progress;         /* when it expires the client has got nowhere for too long */
    /* Instead of the driver's, once the session has left it (relaying). */
    void (*event)(struct edge_session *, struct conn *, enum conn_event);
    /* Frames for this session. */
    void (*frame)(struct edge_session *, const struct frame *);
    /* The channel to post (or auth) broke: whatever waits for it gets a temporary failure. */
    void (*lost)(struct edge_session *, bool is_post);
    /* The channel to post has room again. NULL: does not matter. */
    void (*flushed)(struct edge_session *);
    void (*stop)(struct edge_session *, const char *text);
};

struct edge {
    struct loop *loop;
    struct config config;
    uint32_t index;
    struct channel *launcher, *post, *auth;     /* post and auth: NULL while they are being restarted */
    struct tls_context *tls;                    /* NULL: no certificate */
    struct signer *signer;
    struct list listeners;
    struct list sessions;
    struct map by_number;
    struct map by_address;                      /* connections of each peer address, or IPv6 /64 */
    uint32_t next_number;
    size_t session_count;
    bool is_stopping;
    struct loop_timer stop_timer;
    int64_t stop_until_ms;
    uint64_t accepted, refused;                 /* figures */
};

/* Begins a session of a kind; NULL: out of memory (the descriptor is closed). `size`: of the whole struct that begins with
 * an edge_session. The caller makes its machine and then calls edge_session_start, which begins with TLS when told to.
 * A machine that is NULL (no memory) ends the session. */
struct edge_session *edge_session_new(struct edge *, size_t size, int fd, const struct peer *, const char *protocol);
void edge_session_start(struct edge_session *, const struct machine_type *, void *machine, void (*ask)(void *), void (*ended)(void *, const char *),
                        bool tls_first, int64_t timeout_ms);
void edge_session_free(struct edge_session *);
/* The client has got somewhere (TLS, login, a message, a good piece of one): its time begins anew. Bytes alone are no progress: a
 * time-out for silence does not end one that trickles. */
void edge_session_progress(struct edge_session *);
void edge_session_progress_end(struct edge_session *);      /* it has logged in, and post looks after it */

void edge_smtp_begin(struct edge *, int fd, const struct peer *, enum listener_protocol, bool is_local_submission);
void edge_login_begin(struct edge *, int fd, const struct peer *, enum listener_protocol);

/* Asks auth. False: no auth now. binding data comes from the session's connection. */
bool edge_auth_ask(struct edge_session *, bool is_start, enum sasl_mechanism, bool has_message, struct slice message);
void edge_auth_end(struct edge_session *);
/* Is AUTH without TLS allowed to this peer? */
bool edge_auth_without_tls(const struct edge *, const struct peer *);
/* Connections that this address (of IPv6: its /64) has now. */
size_t edge_connections_of(const struct edge *, const struct peer *);
const char *edge_protocol_name(enum listener_protocol);

#endif
