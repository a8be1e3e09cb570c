/* What the two halves of the IMAP client share: client.c runs commands and reads, client_login.c comes before. */
#ifndef THURN_IMAP_CLIENT_INNER_H
#define THURN_IMAP_CLIENT_INNER_H

#include "imap/client.h"
#include "sasl/sasl.h"
#include "wire/line.h"

enum {
    OUTPUT_MAX = 128 * 1024,
    PIECE_MAX = 64 * 1024,
    LITERAL_MAX = 64 * 1024,            /* of what is not a body */
    BODY_LITERAL_MAX = INT32_MAX,
    CAPABILITIES_MAX = 16 * 1024,
    ARENA_MAX = 8 * 1024 * 1024,
    SASL_ARENA_MAX = 64 * 1024,
};

enum phase {
    PHASE_GREETING,
    PHASE_CAPABILITY,       /* asked before TLS or login */
    PHASE_STARTTLS,
    PHASE_TLS,
    PHASE_AUTH,
    PHASE_LOGIN,
    PHASE_CAPABILITY_AFTER,
    PHASE_COMMANDS,
    PHASE_LOGOUT,
    PHASE_OVER,
};

struct imap_client {
    struct imap_client_options options;
    const struct peer *peer;
    enum phase phase;
    enum imap_client_ask ask;
    struct buf output;
    struct fault fault;

    struct line_reader reader;
    struct buf raw_text;                /* the response so far */
    struct imap_raw raw;
    bool is_response_over;
    uint64_t literal_left;
    bool is_streaming;
    uint32_t stream_number;
    struct slice piece;
    bool has_unsaid_response;           /* its body was given out as a piece first */
    struct arena arena;                 /* of the response */
    struct imap_response response;
    struct imap_client_result result;

    struct buf capabilities;            /* " IMAP4rev1 IDLE ... " */
    struct arena sasl_arena;
    struct sasl_client *sasl;
    struct buf sasl_message;            /* secrets: wiped */
    bool has_first_unsaid;
    unsigned sasl_steps;
    const char *mechanism;

    uint32_t last_command;              /* tags count up */
    unsigned in_flight;
    bool is_waiting;
    bool awaits_continue;               /* APPEND without LITERAL+ */
    uint64_t append_left;
    bool is_appending;
    struct slice append_piece;
};

void imap_client_end(struct imap_client *);
/* Ends with that fault; what the server said goes into it escaped. */
void imap_client_fail(struct imap_client *, const char *what, struct slice said);
uint32_t imap_client_say(struct imap_client *, const char *command);
bool imap_client_append_quoted(struct buf *, struct slice text);   /* false: it holds a line end or NUL */

/* client_login.c: what to do at each answer, by phase. */
void imap_client_on_greeting(struct imap_client *, bool is_understood);
void imap_client_on_capabilities(struct imap_client *);
void imap_client_on_starttls(struct imap_client *);
void imap_client_on_login(struct imap_client *);
void imap_client_on_capabilities_after(struct imap_client *);
void imap_client_on_challenge(struct imap_client *);

#endif
