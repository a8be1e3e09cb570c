/* SASL (RFC 4422): PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677, RFC 9266), both sides.
 *
 * Both are machines on raw bytes (base64 and line framing belong to the protocols). Randomness comes in as a parameter.
 * The server's verifier is SCRAM's: salt, iterations, StoredKey, ServerKey; PLAIN and LOGIN are checked against the same
 * verifier by deriving it (that is the slow hash, so this code runs in the auth role). Secrets are compared in constant
 * time and wiped after use. For a name that does not exist the exchange goes on with a made-up verifier (from a
 * per-server secret, so that it is always the same) and fails at the end: names cannot be probed. */
#ifndef THURN_SASL_SASL_H
#define THURN_SASL_SASL_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"

enum sasl_mechanism { SASL_NONE, SASL_PLAIN, SASL_LOGIN, SASL_SCRAM_SHA_256, SASL_SCRAM_SHA_256_PLUS, SASL_MECHANISMS };
const char *sasl_mechanism_name(enum sasl_mechanism);               /* "SCRAM-SHA-256-PLUS" */
enum sasl_mechanism sasl_mechanism_find(struct slice name);         /* any case; SASL_NONE */

enum { SASL_ITERATIONS_DEFAULT = 15000, SASL_SALT_BYTES = 16, SASL_MESSAGE_MAX = 4096 };

struct sasl_verifier {
    unsigned char salt[SASL_SALT_BYTES];
    uint32_t iterations;
    unsigned char stored_key[32];
    unsigned char server_key[32];
};
/* From a password (SASLprep'd as far as UTF-8 validity and no control characters; RC_PERM says what is wrong). */
enum rc sasl_verifier_make(struct slice password, const unsigned char salt[SASL_SALT_BYTES], uint32_t iterations,
                           struct sasl_verifier *, struct fault *);
bool sasl_verifier_check(const struct sasl_verifier *, struct slice password);
/* What is checked in place of a verifier where the name does not exist: the same for that name every time, different for
 * each name, matched by no password. `secret` is the server's own and lasting. */
void sasl_verifier_invent(const unsigned char secret[32], struct slice name, uint32_t iterations, struct sasl_verifier *);
/* "SCRAM-SHA-256$15000:salt$stored:server" in base64, as PostgreSQL and others write it. */
bool sasl_verifier_write(const struct sasl_verifier *, struct buf *);
enum rc sasl_verifier_parse(struct slice, struct sasl_verifier *);

/* ---- server ---- */

struct sasl_binding {               /* the TLS channel as the server sees it; lens 0 without TLS */
    struct slice tls_server_end_point;
    struct slice tls_exporter;
    bool offers_plus;               /* -PLUS was in the list of mechanisms the client saw */
};

enum sasl_state { SASL_CHALLENGE, SASL_LOOKUP, SASL_OK, SASL_FAILED };

struct sasl_server;
/* `nonce`: at least 18 bytes of fresh randomness (it goes out in base64 unless it is printable text without a comma, as in
 * the tests). Everything is copied into the arena, whose maximum should be no less than 4 * SASL_MESSAGE_MAX.
 * NULL: no memory, or no such mechanism. */
struct sasl_server *sasl_server_begin(enum sasl_mechanism, const struct sasl_binding *, struct slice nonce, struct arena *);
/* Feeds the client's message (the initial response, or an empty slice with has_message false when there was none).
 * SASL_CHALLENGE: send what was appended to out (perhaps nothing: an empty challenge), feed the answer.
 * SASL_LOOKUP: look up sasl_server_name(), then call sasl_server_verifier() - where it does not exist, with
 * exists false and an invented verifier (sasl_verifier_invent).
 * SASL_OK: done, nothing is left to send: SCRAM's last word (v=...) is one more challenge, which the client
 * answers with an empty message, since SMTP, IMAP and POP3 carry no data with success. SASL_FAILED: the fault says why
 * (5.7.8 credentials invalid, 5.5.2 cannot be decoded, and any message past the end), without telling a client what
 * exactly was wrong. */
enum sasl_state sasl_server_step(struct sasl_server *, bool has_message, struct slice message, struct buf *out, struct fault *);
enum sasl_state sasl_server_verifier(struct sasl_server *, const struct sasl_verifier *, bool exists, struct buf *out, struct fault *);
struct slice sasl_server_name(const struct sasl_server *);          /* authentication id as the client gave it */
struct slice sasl_server_authorize(const struct sasl_server *);     /* authorization id, empty when none or the same */

/* ---- client ---- */

struct sasl_client;
/* Chooses the best of what the server offers: SCRAM-PLUS (with TLS), SCRAM, then PLAIN and LOGIN only when has_tls
 * or plain_allowed. NULL with a fault when there is none. Name and password must outlive it, the binding is copied. */
struct sasl_client *sasl_client_begin(struct slice offered /* "PLAIN LOGIN ..." */, struct slice name, struct slice password,
                                      const struct sasl_binding *, bool has_tls, bool plain_allowed, struct slice nonce,
                                      struct arena *, struct fault *);
enum sasl_mechanism sasl_client_mechanism(const struct sasl_client *);
/* First call with has_challenge false gives the initial response (has_response false when the mechanism has none).
 * The response to SCRAM's last challenge is empty, and is a response. */
enum rc sasl_client_step(struct sasl_client *, bool has_challenge, struct slice challenge, bool *has_response, struct buf *out, struct fault *);
/* RC_OK when the server proved itself (SCRAM) or needs not (PLAIN): check before trusting a success. */
enum rc sasl_client_verify(const struct sasl_client *, struct fault *);

#endif
