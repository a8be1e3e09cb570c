/* TLS on a connection: see conn.h.
 *
 * OpenSSL sits on a BIO of ours: it reads from tls_feed, the bytes that were just received, and writes to `sealed`, which
 * conn.c sends. Each feed is consumed whole (a torn record waits inside OpenSSL), so an idle connection keeps no buffer.
 * When TLS ends, the connection ends: neither a close_notify nor a cut is ever followed by plaintext. */
#include "os/conn_inner.h"
#include "os/tls_inner.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

/* ---- the BIO ----------------------------------------------------------------------------------------------------- */

static int bio_write(BIO *bio, const char *bytes, int len)
{
    struct conn *conn = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    return len > 0 && buf_append(&conn->sealed, (struct slice){ bytes, (size_t)len }) ? len : -1;
}

static int bio_read(BIO *bio, char *out, int len)
{
    struct conn *conn = BIO_get_data(bio);
    struct slice got = slice_take(&conn->tls_feed, len > 0 ? (size_t)len : 0);
    BIO_clear_retry_flags(bio);
    if (got.len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(out, got.ptr, got.len);
    return (int)got.len;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

/* Made at the first use and never changed. */
static const BIO_METHOD *bio_method(void)
{
    static BIO_METHOD *method;
    if (method == NULL) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "thurn connection");
        must(method != NULL && BIO_meth_set_write(method, bio_write) == 1 && BIO_meth_set_read(method, bio_read) == 1 &&
             BIO_meth_set_ctrl(method, bio_control) == 1);
    }
    return method;
}

/* The alert that says why is still sent, as far as that goes. */
static void end_with_error(struct conn *conn, const char *what)
{
    char why[128];
    long verdict = SSL_get_verify_result(conn->tls);
    unsigned long error = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(error);
    if (conn->is_handshaking && conn->must_verify && verdict != X509_V_OK)
        reason = X509_verify_cert_error_string(verdict);
    ERR_clear_error();
    (void)snprintf(why, sizeof(why), "%s: %s", what, reason != NULL ? reason : "protocol error");
    conn_finish(conn, why);
}

/* ---- facts of a finished handshake ------------------------------------------------------------------------------- */

/* RFC 5929 4.1: the certificate under the hash of its own signature, SHA-256 in the place of MD5 and SHA-1; not defined where
 * the signature has no hash of its own (Ed25519). */
static void note_end_point(struct conn *conn)
{
    X509 *certificate = SSL_is_server(conn->tls) ? SSL_get_certificate(conn->tls) : SSL_get0_peer_certificate(conn->tls);
    int nid = NID_undef;
    unsigned len = 0;
    conn->peer.tls_server_end_point_len = 0;
    if (certificate == NULL || X509_get_signature_info(certificate, &nid, NULL, NULL, NULL) != 1)
        return;
    const EVP_MD *digest = nid == NID_md5 || nid == NID_sha1 ? EVP_sha256() : EVP_get_digestbynid(nid);
    if (digest != NULL && X509_digest(certificate, digest, conn->peer.tls_server_end_point, &len) == 1)
        conn->peer.tls_server_end_point_len = len;
}

/* RFC 9266: only where the handshake binds the whole session. */
static void note_exporter(struct conn *conn)
{
    static const char label[] = "EXPORTER-Channel-Binding";
    bool is_bound = SSL_version(conn->tls) >= TLS1_3_VERSION || SSL_get_extms_support(conn->tls) == 1;
    if (is_bound && SSL_export_keying_material(conn->tls, conn->peer.tls_exporter, sizeof(conn->peer.tls_exporter), label,
                                               sizeof(label) - 1, NULL, 0, 1) == 1)
        conn->peer.tls_exporter_len = sizeof(conn->peer.tls_exporter);
}

static void note_peer(struct conn *conn)
{
    struct peer *peer = &conn->peer;
    peer->has_tls = true;
    (void)snprintf(peer->tls_version, sizeof(peer->tls_version), "%s", SSL_get_version(conn->tls));
    (void)snprintf(peer->tls_cipher, sizeof(peer->tls_cipher), "%s", SSL_get_cipher_name(conn->tls));
    peer->has_tls_verified = !SSL_is_server(conn->tls) && conn->has_tls_name && SSL_get0_peer_certificate(conn->tls) != NULL &&
                             SSL_get_verify_result(conn->tls) == X509_V_OK;
    note_end_point(conn);
    note_exporter(conn);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

/* False: the connection has ended, or is gone. */
static bool shake_hands(struct conn *conn)
{
    ERR_clear_error();
    int result = SSL_do_handshake(conn->tls);
    int error = SSL_get_error(conn->tls, result);
    if (result != 1 && error != SSL_ERROR_WANT_READ) {
        end_with_error(conn, "TLS handshake failed");
        return false;
    }
    conn_flush(conn);
    if (result != 1)
        return true;
    conn->is_handshaking = false;
    conn->deadline_ms = 0;
    note_peer(conn);
    ERR_clear_error();
    conn_tell(conn, CONN_TLS_STARTED);
    return !conn->is_dead && !conn->is_ended && !conn->is_lingering;
}

/* Tells the owner first what came before the end. */
static bool end_of_records(struct conn *conn, int error)
{
    if (buf_len(&conn->input) != 0)
        conn_tell(conn, CONN_INPUT);
    if (conn->is_dead || conn->is_ended || conn->is_lingering)
        return false;
    if (error == SSL_ERROR_ZERO_RETURN)
        conn_finish(conn, "TLS ended by the peer");
    else
        end_with_error(conn, "TLS");
    return false;
}

static bool open_records(struct conn *conn)
{
    char record[TLS_RECORD_MAX];
    for (;;) {
        ERR_clear_error();
        int got = SSL_read(conn->tls, record, sizeof(record));
        bool is_kept = got > 0 && buf_append(&conn->input, (struct slice){ record, (size_t)got });
        if (got > 0 && conn->holds_secrets)
            explicit_bzero(record, (size_t)got);
        if (is_kept)
            continue;
        if (got > 0) {
            conn_end(conn, "out of memory");
            return false;
        }
        int error = SSL_get_error(conn->tls, got);
        if (error != SSL_ERROR_WANT_READ)
            return end_of_records(conn, error);
        if (buf_len(&conn->sealed) != 0)        /* a key update was answered */
            conn_flush(conn);
        return true;
    }
}

bool tls_took(struct conn *conn, struct slice bytes)
{
    conn->tls_feed = bytes;
    bool goes_on = !conn->is_handshaking || shake_hands(conn);
    if (goes_on && !conn->is_handshaking)
        goes_on = open_records(conn);
    conn->tls_feed = SLICE_NONE;
    return goes_on;
}

bool tls_seal(struct conn *conn)
{
    while (!conn->is_handshaking && buf_len(&conn->output) != 0 && buf_len(&conn->sealed) < conn->limits.output_max / 2 + TLS_RECORD_MAX) {
        struct slice piece = slice_sub(buf_slice(&conn->output), 0, TLS_RECORD_MAX);
        ERR_clear_error();
        int put = SSL_write(conn->tls, piece.ptr, (int)piece.len);
        if (put <= 0) {
            conn_end(conn, "TLS cannot send");
            ERR_clear_error();
            return false;
        }
        buf_consume(&conn->output, (size_t)put);
    }
    if (buf_len(&conn->output) == 0)
        buf_free(&conn->output);
    return true;
}

void tls_say_goodbye(struct conn *conn)
{
    if ((SSL_get_shutdown(conn->tls) & SSL_SENT_SHUTDOWN) != 0)
        return;
    ERR_clear_error();
    (void)SSL_shutdown(conn->tls);
    ERR_clear_error();
}

void tls_free(struct conn *conn)
{
    SSL_free(conn->tls);
    conn->tls = NULL;
}

/* ---- beginning --------------------------------------------------------------------------------------------------- */

static bool attach(struct conn *conn, struct tls_context *context)
{
    SSL *tls = SSL_new(context->ssl);
    BIO *bio = BIO_new(bio_method());
    if (tls == NULL || bio == NULL) {
        BIO_free(bio);
        SSL_free(tls);
        return false;
    }
    BIO_set_data(bio, conn);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls, bio, bio);
    conn->tls = tls;
    return true;
}

/* RFC 3207 4.2: nothing that came before counts. What was sent in clear goes out in clear, in front of the first record. */
static bool begin(struct conn *conn, struct tls_context *context)
{
    if (conn->is_dead || conn->is_ended)
        return false;
    must(conn->tls == NULL && conn->to_send_count == 0);
    buf_free(&conn->input);
    conn->is_input_owed = false;
    if (!buf_append(&conn->sealed, buf_slice(&conn->output)) || !attach(conn, context)) {
        conn_end(conn, "out of memory");
        return false;
    }
    buf_free(&conn->output);
    conn->is_handshaking = true;
    conn->must_verify = SSL_get_verify_mode(conn->tls) != SSL_VERIFY_NONE;
    conn->deadline_ms = loop_now_ms(conn->loop) + CONN_HANDSHAKE_MS;
    conn_arm(conn);
    conn_flush(conn);
    return true;
}

void conn_tls_accept(struct conn *conn, struct tls_context *context)
{
    if (begin(conn, context))
        SSL_set_accept_state(conn->tls);
}

static bool set_name(struct conn *conn, const char *name)
{
    unsigned char numeric[16];
    if (inet_pton(AF_INET, name, numeric) == 1 || inet_pton(AF_INET6, name, numeric) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(conn->tls), name) == 1;
    SSL_set_hostflags(conn->tls, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    /* What SSL_set_tlsext_host_name is, without the cast that clang warns of. */
    return SSL_ctrl(conn->tls, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, (void *)(uintptr_t)name) == 1 &&
           SSL_set1_host(conn->tls, name) == 1;
}

void conn_tls_connect(struct conn *conn, struct tls_context *context, const char *server_name)
{
    if (!begin(conn, context))
        return;
    SSL_set_connect_state(conn->tls);
    bool is_named = server_name != NULL && server_name[0] != '\0';
    conn->has_tls_name = is_named && set_name(conn, server_name);
    if (!conn->has_tls_name && (is_named || conn->must_verify))
        conn_end(conn, "TLS handshake failed: no name to verify");
    else
        (void)shake_hands(conn);
}
