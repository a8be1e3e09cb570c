/* The stand-in for os/tls.c, os/tls_remote.c and os/conn_tls.c in the simulated servers: the same functions, see sim/tls.h for what
 * they say to each other. Linked among the server's own objects: what it allocates belongs to the process.
 *
 * As the real one: the server asks its signer once for each handshake, input from before the handshake is dropped, and when TLS ends,
 * the connection ends. No channel binding. */
#include "sim/tls.h"

#include "os/child.h"
#include "os/conn_inner.h"
#include "os/tls.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHAIN_MAX = 64 * 1024, SIGN_ECDSA = 2 };

struct tls_context {
    bool is_server, must_verify;
    uint32_t key;
    struct tls_signer signer;
    unsigned references;                /* connections hold some */
    size_t chain_len;
    char chain[];
};

struct ssl_st {
    struct tls_context *context;
    char name[256];                     /* client: of the server */
    struct buf feed;                    /* a torn record */
    struct buf hello;                   /* client: what was said */
    bool has_answered;                  /* server: the client's hello is answered */
    bool said_goodbye;
};

/* ---- contexts ---------------------------------------------------------------------------------------------------- */

void tls_init(void) {}

static struct tls_context *context_new(struct slice chain)
{
    struct tls_context *context = calloc(1, sizeof(*context) + chain.len + 1);
    if (context == NULL)
        return NULL;
    context->references = 1;
    context->chain_len = chain.len;
    if (chain.len > 0)
        memcpy(context->chain, chain.ptr, chain.len);
    return context;
}

void tls_context_free(struct tls_context *context)
{
    if (context != NULL && --context->references == 0)
        free(context);
}

enum rc tls_server_new(const char *pem_chain, size_t pem_len, uint32_t key, const struct tls_signer *signer, struct tls_context **out, struct fault *fault)
{
    struct sim_certificate certificate;
    if (!sim_certificate_parse((struct slice){ pem_chain, pem_len }, &certificate))
        return fault_perm(fault, 0, "not a certificate in PEM");
    struct tls_context *context = context_new((struct slice){ pem_chain, pem_len });
    if (context == NULL)
        return fault_no_memory(fault);
    context->is_server = true;
    context->key = key;
    context->signer = *signer;
    *out = context;
    return RC_OK;
}

enum rc tls_client_new(bool verify, const char *ca_file, struct tls_context **out, struct fault *fault)
{
    struct tls_context *context = context_new(SLICE_NONE);
    (void)ca_file;
    if (context == NULL)
        return fault_no_memory(fault);
    context->must_verify = verify;
    *out = context;
    return RC_OK;
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

struct tls_key { uint64_t id; };

static bool parse_key(struct slice pem, uint64_t *id)
{
    static const struct slice mark = SLICE_INIT("simtls key ");
    char text[17];
    size_t at = slice_find(pem, mark);
    if (at == pem.len || !slice_to_str(slice_sub(pem, at + mark.len, 16), text, sizeof(text)))
        return false;
    *id = strtoull(text, NULL, 16);
    return true;
}

enum rc tls_key_new(const char *pem, size_t pem_len, struct tls_key **key, struct fault *fault)
{
    uint64_t id;
    if (!parse_key((struct slice){ pem, pem_len }, &id))
        return fault_perm(fault, 0, "not a private key in PEM");
    *key = calloc(1, sizeof(**key));
    if (*key == NULL)
        return fault_no_memory(fault);
    (*key)->id = id;
    return RC_OK;
}

void tls_key_free(struct tls_key *key) { free(key); }

int tls_key_sign(struct tls_key *key, int kind, int padding, const unsigned char *in, size_t in_len, unsigned char *out, size_t out_max)
{
    (void)padding;
    if (kind != SIGN_ECDSA || in_len != SIM_TLS_DIGEST || out_max < SIM_TLS_DIGEST)
        return -1;
    sim_tls_signature(key->id, in, out);
    return SIM_TLS_DIGEST;
}

enum rc tls_check_pair(const char *chain_file, const char *key_file, struct fault *fault)
{
    struct sim_certificate certificate;
    struct buf chain, key;
    uint64_t id = 0;
    buf_init(&chain, CHAIN_MAX + 1);
    buf_init(&key, CHAIN_MAX + 1);
    enum rc rc = file_read_all(chain_file, CHAIN_MAX, &chain, fault);
    if (rc == RC_OK)
        rc = file_read_all(key_file, CHAIN_MAX, &key, fault);
    if (rc == RC_OK && (!sim_certificate_parse(buf_slice(&chain), &certificate) || !parse_key(buf_slice(&key), &id) || certificate.id != id))
        rc = fault_perm(fault, 0, "the key in %s does not belong to the certificate in %s", key_file, chain_file);
    buf_free(&chain);
    buf_free(&key);
    return rc == RC_NONE ? RC_PERM : rc;
}

enum rc tls_make_self_signed(const char *const *names, size_t name_count, struct buf *chain_pem, struct buf *key_pem, struct fault *fault)
{
    uint64_t id = random_u64();
    (void)buf_printf(chain_pem, "-----BEGIN CERTIFICATE-----\nsimtls certificate %016" PRIx64 " ", id);
    for (size_t i = 0; i < name_count; i++)
        (void)buf_printf(chain_pem, "%s%s", i == 0 ? "" : ",", names[i]);
    (void)buf_append_str(chain_pem, "\n-----END CERTIFICATE-----\n");
    (void)buf_printf(key_pem, "-----BEGIN PRIVATE KEY-----\nsimtls key %016" PRIx64 "\n-----END PRIVATE KEY-----\n", id);
    return chain_pem->overflow || key_pem->overflow ? fault_no_memory(fault) : RC_OK;
}

/* ---- handshakes -------------------------------------------------------------------------------------------------- */

static bool fail(struct conn *conn, const char *why)
{
    conn_finish(conn, why);
    return false;
}

/* False: the connection has ended, or is gone. */
static bool finished(struct conn *conn, bool is_verified)
{
    conn->is_handshaking = false;
    conn->deadline_ms = 0;
    conn->peer.has_tls = true;
    conn->peer.has_tls_verified = is_verified;
    (void)snprintf(conn->peer.tls_version, sizeof(conn->peer.tls_version), "TLSv1.3");
    (void)snprintf(conn->peer.tls_cipher, sizeof(conn->peer.tls_cipher), "SIMULATED");
    conn_flush(conn);
    conn_tell(conn, CONN_TLS_STARTED);
    return !conn->is_dead && !conn->is_ended && !conn->is_lingering;
}

static bool answer_hello(struct conn *conn, struct slice hello)
{
    const struct tls_context *context = conn->tls->context;
    unsigned char digest[SIM_TLS_DIGEST], signature[SIM_TLS_DIGEST];
    struct buf answer;
    if (conn->tls->has_answered)
        return slice_equal(hello, SLICE(SIM_TLS_FINISHED)) ? finished(conn, false) : fail(conn, "TLS handshake failed: unexpected message");
    if (!slice_starts_nocase(hello, SLICE(SIM_TLS_CLIENT)))
        return fail(conn, "TLS handshake failed: no hello");
    sim_tls_digest(hello, digest);
    if (context->signer.sign(context->signer.self, context->key, SIGN_ECDSA, 0, digest, sizeof(digest), signature, sizeof(signature)) != SIM_TLS_DIGEST)
        return fail(conn, "TLS handshake failed: no signature");
    buf_init(&answer, CHAIN_MAX);
    bool is_put = sim_tls_answer(&answer, (struct slice){ context->chain, context->chain_len }, signature) &&
                  sim_tls_put(&conn->sealed, SIM_TLS_HELLO, buf_slice(&answer));
    buf_free(&answer);
    conn->tls->has_answered = true;
    conn_flush(conn);
    return is_put || fail(conn, "TLS handshake failed: out of memory");
}

static bool take_answer(struct conn *conn, struct slice answer)
{
    struct sim_certificate certificate;
    if (!sim_tls_check(answer, buf_slice(&conn->tls->hello), &certificate))
        return fail(conn, "TLS handshake failed: bad signature");
    bool is_verified = conn->has_tls_name && sim_certificate_has_name(&certificate, conn->tls->name);
    if (conn->must_verify && !is_verified)
        return fail(conn, "TLS handshake failed: hostname mismatch");
    if (!sim_tls_put(&conn->sealed, SIM_TLS_HELLO, SLICE(SIM_TLS_FINISHED)))
        return fail(conn, "TLS handshake failed: out of memory");
    return finished(conn, is_verified);
}

static bool shake_hands(struct conn *conn, enum sim_tls_type type, struct slice payload)
{
    if (type != SIM_TLS_HELLO)
        return fail(conn, "TLS handshake failed: unexpected message");
    return conn->tls->context->is_server ? answer_hello(conn, payload) : take_answer(conn, payload);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

/* Tells the owner first what came before the end. */
static bool end_of_records(struct conn *conn, const char *why)
{
    if (buf_len(&conn->input) != 0)
        conn_tell(conn, CONN_INPUT);
    if (!conn->is_dead && !conn->is_ended && !conn->is_lingering)
        conn_finish(conn, why);
    return false;
}

static bool take_record(struct conn *conn, enum sim_tls_type type, struct slice payload)
{
    if (conn->is_handshaking)
        return shake_hands(conn, type, payload);
    if (type == SIM_TLS_CLOSE)
        return end_of_records(conn, "TLS ended by the peer");
    if (type != SIM_TLS_DATA)
        return end_of_records(conn, "TLS: unexpected message");
    if (buf_append(&conn->input, payload))
        return true;
    conn_end(conn, "out of memory");
    return false;
}

bool tls_took(struct conn *conn, struct slice bytes)
{
    struct buf *feed = &conn->tls->feed;
    bool goes_on = true;
    if (!buf_append(feed, bytes)) {
        conn_end(conn, "out of memory");
        return false;
    }
    while (goes_on) {
        enum sim_tls_type type;
        struct slice rest = buf_slice(feed), payload;
        size_t before = rest.len;
        enum rc rc = sim_tls_take(&rest, &type, &payload);
        if (rc == RC_MORE)
            break;
        if (rc != RC_OK)
            return conn->is_handshaking ? fail(conn, "TLS handshake failed: wrong version number") : end_of_records(conn, "TLS: bad record");
        goes_on = take_record(conn, type, payload);
        if (goes_on)
            buf_consume(feed, before - rest.len);
    }
    if (goes_on && buf_len(feed) == 0)
        buf_free(feed);
    return goes_on;
}

bool tls_seal(struct conn *conn)
{
    while (!conn->is_handshaking && buf_len(&conn->output) != 0 && buf_len(&conn->sealed) < conn->limits.output_max / 2 + TLS_RECORD_MAX) {
        struct slice piece = slice_sub(buf_slice(&conn->output), 0, SIM_TLS_RECORD_MAX);
        if (!sim_tls_put(&conn->sealed, SIM_TLS_DATA, piece)) {
            conn_end(conn, "TLS cannot send");
            return false;
        }
        buf_consume(&conn->output, piece.len);
    }
    if (buf_len(&conn->output) == 0)
        buf_free(&conn->output);
    return true;
}

void tls_say_goodbye(struct conn *conn)
{
    if (!conn->tls->said_goodbye)
        (void)sim_tls_put(&conn->sealed, SIM_TLS_CLOSE, SLICE_NONE);
    conn->tls->said_goodbye = true;
}

void tls_free(struct conn *conn)
{
    if (conn->tls == NULL)
        return;
    tls_context_free(conn->tls->context);
    buf_free(&conn->tls->feed);
    buf_free(&conn->tls->hello);
    free(conn->tls);
    conn->tls = NULL;
}

/* ---- beginning --------------------------------------------------------------------------------------------------- */

static bool begin(struct conn *conn, struct tls_context *context)
{
    if (conn->is_dead || conn->is_ended)
        return false;
    must(conn->tls == NULL && conn->to_send_count == 0);
    buf_free(&conn->input);
    conn->is_input_owed = false;
    conn->tls = calloc(1, sizeof(*conn->tls));
    if (conn->tls == NULL || !buf_append(&conn->sealed, buf_slice(&conn->output))) {
        conn_end(conn, "out of memory");
        return false;
    }
    context->references++;
    conn->tls->context = context;
    buf_init(&conn->tls->feed, CHAIN_MAX + CONN_READ_SIZE);
    buf_init(&conn->tls->hello, 1024);
    buf_free(&conn->output);
    conn->is_handshaking = true;
    conn->must_verify = context->must_verify;
    conn->deadline_ms = loop_now_ms(conn->loop) + CONN_HANDSHAKE_MS;
    conn_arm(conn);
    conn_flush(conn);
    return true;
}

void conn_tls_accept(struct conn *conn, struct tls_context *context) { (void)begin(conn, context); }

void conn_tls_connect(struct conn *conn, struct tls_context *context, const char *server_name)
{
    if (!begin(conn, context))
        return;
    conn->has_tls_name = server_name != NULL && server_name[0] != '\0';
    (void)snprintf(conn->tls->name, sizeof(conn->tls->name), "%s", conn->has_tls_name ? server_name : "");
    if (conn->must_verify && !conn->has_tls_name) {
        conn_end(conn, "TLS handshake failed: no name to verify");
        return;
    }
    (void)buf_printf(&conn->tls->hello, SIM_TLS_CLIENT "%s", conn->tls->name);
    if (!sim_tls_put(&conn->sealed, SIM_TLS_HELLO, buf_slice(&conn->tls->hello)))
        conn_end(conn, "out of memory");
}
