/* What both sides of SCRAM-SHA-256 share (RFC 5802, RFC 7677): its keys, its attributes, its channel bindings.
 * Only for the files of src/sasl/. */
#ifndef THURN_SASL_SCRAM_H
#define THURN_SASL_SCRAM_H

#include "sasl/sasl.h"

enum {
    SCRAM_KEY_BYTES = 32,
    SCRAM_NONCE_MIN = 8,                /* of the other side, as text */
    SCRAM_NONCE_MAX = 256,
    SCRAM_MESSAGE_MAX = 1024,
    SCRAM_ITERATIONS_MIN = 4096,        /* RFC 7677 4 */
    SCRAM_ITERATIONS_MAX = 10000000,    /* a server may not keep a client busy for minutes */
};

struct scram_key { unsigned char bytes[SCRAM_KEY_BYTES]; };

/* RFC 5802 3. False: the library failed. */
bool scram_salted_password(struct slice password, struct slice salt, uint32_t iterations, struct scram_key *);
bool scram_hmac(const struct scram_key *, struct slice text, struct scram_key *out);
bool scram_hash(const struct scram_key *, struct scram_key *out);
struct scram_key scram_xor(const struct scram_key *, const struct scram_key *);
struct slice scram_key_slice(const struct scram_key *);

/* Takes "x=value" and the comma behind it off the front. False: something else stands there, or the value is empty. */
bool scram_take(struct slice *in, char attribute, struct slice *value);
/* A nonce of ours: as it is when it may stand in a message so, else in base64. Empty ptr: no memory. */
struct slice scram_nonce_text(struct slice random, struct arena *);
bool scram_is_nonce(struct slice);
/* Binding data of that type; empty when there is none. */
struct slice scram_binding_data(const struct sasl_binding *, struct slice type);
bool scram_copy_binding(const struct sasl_binding *, struct arena *, struct sasl_binding *out);
/* gs2 header and binding data in base64: the value of c=. */
bool scram_append_c(struct buf *, struct slice gs2_header, struct slice data);
/* client-first-bare "," server-first "," client-final-without-proof, in the arena. */
struct slice scram_auth_message(struct arena *, struct slice first_bare, struct slice server_first, struct slice final_bare);
bool scram_decode_key(struct slice base64, struct scram_key *);

#endif
