/* TLS on connections: both versions, both kinds of key, the key elsewhere, channel bindings, and every way it can end. */
#include "check.h"

#include "os/child.h"
#include "os/conn.h"
#include "os/tls.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/tls_inner.h"

static struct loop *loop;
static char folder[64];

/* --- certificates --- */

struct pair {
    struct buf chain, key;
    char chain_file[128], key_file[128];
};

static void write_files(struct pair *pair, const char *name)
{
    struct fault fault;
    (void)snprintf(pair->chain_file, sizeof(pair->chain_file), "%s/%s-chain.pem", folder, name);
    (void)snprintf(pair->key_file, sizeof(pair->key_file), "%s/%s-key.pem", folder, name);
    must(file_write_all(pair->chain_file, buf_slice(&pair->chain), 0644, &fault) == RC_OK);
    must(file_write_all(pair->key_file, buf_slice(&pair->key), 0600, &fault) == RC_OK);
}

static void make_ecdsa(struct pair *pair, const char *name)
{
    const char *const names[] = { "mail.example.org", "127.0.0.1" };
    struct fault fault;
    buf_init(&pair->chain, 1 << 16);
    buf_init(&pair->key, 1 << 16);
    must(tls_make_self_signed(names, 2, &pair->chain, &pair->key, &fault) == RC_OK);
    write_files(pair, name);
}

static void take(BIO *bio, struct buf *out)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    buf_init(out, 1 << 16);
    must(buf_append(out, (struct slice){ data, (size_t)len }));
    BIO_free(bio);
}

static void make_rsa(struct pair *pair, const char *name, const EVP_MD *digest)
{
    EVP_PKEY *pkey = EVP_RSA_gen(2048);
    X509 *certificate = X509_new();
    BIO *chain = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_mem());
    X509_NAME *subject = X509_get_subject_name(certificate);
    (void)X509_set_version(certificate, 2);
    (void)ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), 7);
    (void)X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    (void)X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    (void)X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)"mail.example.org", -1, -1, 0);
    (void)X509_set_issuer_name(certificate, subject);
    (void)X509_set_pubkey(certificate, pkey);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:mail.example.org");
    (void)X509_add_ext(certificate, names, -1);
    X509_EXTENSION_free(names);
    must(X509_sign(certificate, pkey, digest) > 0);
    must(PEM_write_bio_X509(chain, certificate) == 1 && PEM_write_bio_PrivateKey(key, pkey, NULL, NULL, 0, NULL, NULL) == 1);
    take(chain, &pair->chain);
    take(key, &pair->key);
    X509_free(certificate);
    EVP_PKEY_free(pkey);
    write_files(pair, name);
}

/* --- a signer as the keys role is one, in the same process --- */

struct counting_signer {
    struct tls_key *key;
    uint32_t number;
    unsigned asked;
    bool refuses;
};

static int count_and_sign(void *self, uint32_t key, int kind, int padding, const unsigned char *in, size_t in_len, unsigned char *out,
                          size_t out_max)
{
    struct counting_signer *signer = self;
    signer->asked++;
    signer->number = key;
    return signer->refuses ? -1 : tls_key_sign(signer->key, kind, padding, in, in_len, out, out_max);
}

/* --- two sides --- */

struct side {
    struct conn *conn;
    struct buf taken;
    struct tls_context *starts;         /* a server that begins TLS at the first input, as for STARTTLS */
    unsigned started, closed, input;
    char why[160];
};

static void on_event(void *arg, struct conn *conn, enum conn_event event)
{
    struct side *side = arg;
    if (event == CONN_INPUT) {
        side->input++;
        (void)buf_append(&side->taken, buf_slice(conn_input(conn)));
        if (side->starts != NULL) {
            struct slice line = buf_slice(conn_input(conn));
            buf_consume(conn_input(conn), slice_find(line, SLICE("\r\n")) + 2);
            (void)buf_append_str(conn_output(conn), "220 go\r\n");
            conn_tls_accept(conn, side->starts);
            side->starts = NULL;
            return;
        }
        buf_consume(conn_input(conn), buf_len(conn_input(conn)));
    } else if (event == CONN_TLS_STARTED) {
        side->started++;
    } else if (event == CONN_CLOSED) {
        side->closed++;
        (void)snprintf(side->why, sizeof(side->why), "%s", conn_why(conn));
        conn_close(conn);
        side->conn = NULL;
    }
}

static void open_side(struct side *side, int fd)
{
    static const struct conn_limits limits = { .input_max = 4000, .output_max = 8 << 20 };
    struct conn_owner owner = { .event = on_event, .arg = side };
    *side = (struct side){ .conn = NULL };
    buf_init(&side->taken, 8 << 20);
    side->conn = conn_new(loop, fd, &limits, &owner);
    must(side->conn != NULL);
}

static void end_side(struct side *side)
{
    if (side->conn != NULL)
        conn_close(side->conn);
    side->conn = NULL;
    buf_free(&side->taken);
}

static struct side client, server;

static void open_pair(void)
{
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    open_side(&client, fds[0]);
    open_side(&server, fds[1]);
}

static void end_pair(void)
{
    end_side(&client);
    end_side(&server);
}

static bool (*wanted)(void);
static struct loop_timer look, give_up;

static void on_look(struct loop_timer *timer)
{
    if (wanted())
        loop_stop(loop);
    else
        loop_timer_set(loop, timer, 1);
}

static void on_give_up(struct loop_timer *timer)
{
    (void)timer;
    CHECK_STR("waited a minute in vain", "");
    loop_stop(loop);
}

static void until(bool (*is_so)(void))
{
    wanted = is_so;
    look.expired = on_look;
    give_up.expired = on_give_up;
    loop_timer_set(loop, &look, 0);
    loop_timer_set(loop, &give_up, 60000);
    loop_run(loop);
    loop_timer_stop(loop, &look);
    loop_timer_stop(loop, &give_up);
}

static bool is_decided(void) { return (client.started > 0 && server.started > 0) || client.closed > 0 || server.closed > 0; }
static bool both_closed(void) { return client.closed > 0 && server.closed > 0; }
static bool server_closed(void) { return server.closed > 0; }
static bool client_closed(void) { return client.closed > 0; }
static size_t expected;
static bool server_has_all(void) { return buf_len(&server.taken) >= expected; }
static bool client_has_all(void) { return buf_len(&client.taken) >= expected; }

static void say(struct side *side, struct slice text)
{
    (void)buf_append(conn_output(side->conn), text);
    conn_flush(side->conn);
}

static void check_talk(void)
{
    expected = 5;
    say(&client, SLICE("hello"));
    until(server_has_all);
    CHECK_SLICE(buf_slice(&server.taken), SLICE("hello"));
    expected = 3000000;                         /* many records, past every limit on the way */
    struct buf large;
    buf_init(&large, 4 << 20);
    for (size_t i = 0; i < expected; i++)
        (void)buf_append_byte(&large, (char)('a' + i % 23));
    say(&server, buf_slice(&large));
    until(client_has_all);
    CHECK(slice_equal(buf_slice(&client.taken), buf_slice(&large)));
    buf_free(&large);
    CHECK(conn_input(client.conn)->data == NULL && conn_output(server.conn)->data == NULL);
}

/* --- the matrix --- */

static void check_handshake(const char *sentence, struct pair *pair, int version, const char *algorithms)
{
    struct counting_signer counting = { .key = NULL };
    struct tls_signer signer = { .self = &counting, .sign = count_and_sign };
    struct tls_context *server_tls, *client_tls;
    struct fault fault;
    CASE(sentence);
    CHECK_INT(tls_key_new(buf_slice(&pair->key).ptr, buf_len(&pair->key), &counting.key, &fault), RC_OK);
    CHECK_INT(tls_server_new(buf_slice(&pair->chain).ptr, buf_len(&pair->chain), 11, &signer, &server_tls, &fault), RC_OK);
    CHECK_INT(tls_client_new(true, pair->chain_file, &client_tls, &fault), RC_OK);
    (void)SSL_CTX_set_max_proto_version(client_tls->ssl, version);
    if (algorithms != NULL)
        (void)SSL_CTX_ctrl(client_tls->ssl, SSL_CTRL_SET_SIGALGS_LIST, 0, (void *)(uintptr_t)algorithms);
    open_pair();
    conn_tls_accept(server.conn, server_tls);
    conn_tls_connect(client.conn, client_tls, "mail.example.org");
    until(is_decided);
    CHECK_STR(client.why, "");
    CHECK_STR(server.why, "");
    if (client.conn != NULL && server.conn != NULL) {
        const struct peer *ours = conn_peer(client.conn), *theirs = conn_peer(server.conn);
        CHECK_STR(ours->tls_version, version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3");
        CHECK(ours->has_tls && ours->has_tls_verified && theirs->has_tls && ours->tls_cipher[0] != '\0');
        CHECK_INT(counting.asked, 1);
        CHECK_INT(counting.number, 11);
        CHECK(ours->tls_server_end_point_len >= 32 && ours->tls_server_end_point_len == theirs->tls_server_end_point_len &&
              memcmp(ours->tls_server_end_point, theirs->tls_server_end_point, ours->tls_server_end_point_len) == 0);
        CHECK(ours->tls_exporter_len == 32 && theirs->tls_exporter_len == 32 && memcmp(ours->tls_exporter, theirs->tls_exporter, 32) == 0);
        check_talk();
    }
    end_pair();
    tls_context_free(server_tls);
    tls_context_free(client_tls);
    tls_key_free(counting.key);
}

/* RFC 5929 4.1, against the certificate itself. */
static void check_end_point(struct pair *pair, const EVP_MD *digest)
{
    unsigned char want[64];
    unsigned len = 0;
    struct tls_context *server_tls, *client_tls;
    struct fault fault;
    BIO *bio = BIO_new_mem_buf(buf_slice(&pair->chain).ptr, (int)buf_len(&pair->chain));
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    must(X509_digest(certificate, digest, want, &len) == 1);
    must(tls_server_new_with_key(pair->chain_file, pair->key_file, &server_tls, &fault) == RC_OK);
    must(tls_client_new(false, NULL, &client_tls, &fault) == RC_OK);
    open_pair();
    conn_tls_accept(server.conn, server_tls);
    conn_tls_connect(client.conn, client_tls, NULL);
    until(is_decided);
    CHECK(client.conn != NULL && conn_peer(client.conn)->tls_server_end_point_len == len &&
          memcmp(conn_peer(client.conn)->tls_server_end_point, want, len) == 0);
    CASE("without a name to verify nothing is verified");
    CHECK(client.conn != NULL && !conn_peer(client.conn)->has_tls_verified);
    end_pair();
    X509_free(certificate);
    BIO_free(bio);
    tls_context_free(server_tls);
    tls_context_free(client_tls);
}

/* --- refusals --- */

static void check_verification(struct pair *pair, struct pair *other)
{
    static const struct {
        const char *sentence, *name;
        bool is_trusted, verifies, is_fine, is_verified;
    } cases[] = {
        { "the right name under a trusted authority is verified",      "mail.example.org",  true,  true,  true,  true },
        { "an address that the certificate names is verified",         "127.0.0.1",         true,  true,  true,  true },
        { "another name is refused",                                   "mail.example.com",  true,  true,  false, false },
        { "another address is refused",                                "127.0.0.2",         true,  true,  false, false },
        { "an unknown authority is refused",                           "mail.example.org",  false, true,  false, false },
        { "no name at all is refused where one must be verified",      NULL,                true,  true,  false, false },
        { "without verification another name goes on, unverified",     "mail.example.com",  true,  false, true,  false },
        { "without verification an unknown authority, unverified",     "mail.example.org",  false, false, true,  false },
        { "without verification a good certificate is seen to be one", "mail.example.org",  true,  false, true,  true },
    };
    struct tls_context *server_tls;
    struct fault fault;
    must(tls_server_new_with_key(pair->chain_file, pair->key_file, &server_tls, &fault) == RC_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tls_context *client_tls;
        CASE(cases[i].sentence);
        must(tls_client_new(cases[i].verifies, cases[i].is_trusted ? pair->chain_file : other->chain_file, &client_tls, &fault) == RC_OK);
        open_pair();
        conn_tls_accept(server.conn, server_tls);
        conn_tls_connect(client.conn, client_tls, cases[i].name);
        until(is_decided);
        CHECK_INT(client.started, cases[i].is_fine);
        CHECK(cases[i].is_fine || strstr(client.why, "TLS handshake failed: ") != NULL);
        CHECK(client.conn == NULL || conn_peer(client.conn)->has_tls_verified == cases[i].is_verified);
        end_pair();
        tls_context_free(client_tls);
    }
    tls_context_free(server_tls);
}

static void check_refusals(struct pair *pair)
{
    struct counting_signer counting = { .refuses = true };
    struct tls_signer signer = { .self = &counting, .sign = count_and_sign };
    struct tls_context *server_tls, *client_tls;
    struct fault fault;
    must(tls_server_new(buf_slice(&pair->chain).ptr, buf_len(&pair->chain), 1, &signer, &server_tls, &fault) == RC_OK);
    must(tls_client_new(false, NULL, &client_tls, &fault) == RC_OK);
    CASE("a signature that is refused ends the handshake, not the program");
    open_pair();
    conn_tls_accept(server.conn, server_tls);
    conn_tls_connect(client.conn, client_tls, NULL);
    until(both_closed);
    CHECK_INT(server.started, 0);
    CHECK(strstr(server.why, "TLS handshake failed") != NULL);
    end_pair();

    CASE("TLS 1.1 is refused");
    (void)SSL_CTX_set_min_proto_version(client_tls->ssl, TLS1_VERSION);
    (void)SSL_CTX_set_max_proto_version(client_tls->ssl, TLS1_1_VERSION);
    SSL_CTX_set_security_level(client_tls->ssl, 0);
    open_pair();
    conn_tls_accept(server.conn, server_tls);
    conn_tls_connect(client.conn, client_tls, NULL);
    until(both_closed);
    CHECK_INT(server.started, 0);
    end_pair();

    CASE("bytes that are no TLS end the connection");
    open_pair();
    conn_tls_accept(server.conn, server_tls);
    say(&client, SLICE("EHLO client.example\r\nMAIL FROM:<>\r\n"));
    until(server_closed);
    CHECK_INT(server.started, 0);
    CHECK_INT(server.input, 0);
    end_pair();
    tls_context_free(server_tls);
    tls_context_free(client_tls);
}

/* --- beginning and end --- */

static bool client_has_220(void) { return buf_len(&client.taken) >= 8; }

static void check_starttls(struct pair *pair)
{
    struct tls_context *server_tls, *client_tls;
    struct fault fault;
    must(tls_server_new_with_key(pair->chain_file, pair->key_file, &server_tls, &fault) == RC_OK);
    must(tls_client_new(false, NULL, &client_tls, &fault) == RC_OK);
    open_pair();
    server.starts = server_tls;
    say(&client, SLICE("STARTTLS\r\nMAIL FROM:<injected@example.org>\r\n"));
    until(client_has_220);
    CASE("what was said in clear goes out before the handshake");
    CHECK_SLICE(buf_slice(&client.taken), SLICE("220 go\r\n"));
    buf_clear(&client.taken);
    buf_clear(&server.taken);
    conn_tls_connect(client.conn, client_tls, NULL);
    until(is_decided);
    CASE("what was injected behind STARTTLS is dropped");
    expected = 4;
    say(&client, SLICE("QUIT"));
    until(server_has_all);
    CHECK_SLICE(buf_slice(&server.taken), SLICE("QUIT"));

    CASE("what comes before the end of TLS is told before it, and nothing behind it is plaintext");
    say(&client, SLICE("last"));
    conn_close_after_flush(client.conn);
    client.conn = NULL;
    until(server_closed);
    CHECK_SLICE(buf_slice(&server.taken), SLICE("QUITlast"));
    CHECK_STR(server.why, "TLS ended by the peer");
    end_pair();
    tls_context_free(server_tls);
    tls_context_free(client_tls);
}

/* A client written by hand on the bare socket: it ends TLS and goes on in clear. */
static void check_truncation(struct pair *pair, bool says_goodbye)
{
    struct tls_context *server_tls;
    struct fault fault;
    int fds[2];
    must(tls_server_new_with_key(pair->chain_file, pair->key_file, &server_tls, &fault) == RC_OK);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    pid_t child = fork();
    if (child == 0) {
        SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        SSL *ssl = SSL_new(context);
        (void)close(fds[1]);
        (void)SSL_set_fd(ssl, fds[0]);
        if (SSL_connect(ssl) != 1 || SSL_write(ssl, "DATA", 4) != 4)
            _exit(1);
        if (says_goodbye)
            (void)SSL_shutdown(ssl);
        (void)!write(fds[0], "RSET\r\nMAIL FROM:<x@example.org>\r\n", 33);
        _exit(0);
    }
    (void)close(fds[0]);
    client = (struct side){ .conn = NULL };
    open_side(&server, fds[1]);
    conn_tls_accept(server.conn, server_tls);
    until(server_closed);
    CASE(says_goodbye ? "plaintext behind close_notify is never read" : "plaintext in the middle of TLS is never read");
    CHECK_SLICE(buf_slice(&server.taken), SLICE("DATA"));
    CHECK_INT(server.started, 1);
    CHECK(strstr(server.why, "TLS") != NULL);
    end_side(&server);
    tls_context_free(server_tls);
}

static void put_hello(int fd)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    BIO *sent = BIO_new(BIO_s_mem());
    char *data;
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), sent);
    must(SSL_connect(ssl) != 1);
    long len = BIO_get_mem_data(sent, &data);
    must(len > 0 && write(fd, data, (size_t)len) == len);
    SSL_free(ssl);
    SSL_CTX_free(context);
}

/* The alert meets nobody: the reason is still what the peer did. */
static void check_gone(struct pair *pair)
{
    struct tls_context *server_tls;
    struct fault fault;
    int fds[2];
    must(tls_server_new_with_key(pair->chain_file, pair->key_file, &server_tls, &fault) == RC_OK);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    put_hello(fds[0]);
    must(write(fds[0], "EHLO stranger\r\n", 15) == 15);
    (void)close(fds[0]);
    client = (struct side){ .conn = NULL };
    open_side(&server, fds[1]);
    conn_tls_accept(server.conn, server_tls);
    until(server_closed);
    CASE("who breaks off the handshake and is gone before the alert: the handshake failed");
    CHECK(strncmp(server.why, "TLS handshake failed", 20) == 0);
    end_side(&server);
    tls_context_free(server_tls);
}

static void check_cut(struct pair *pair)
{
    struct tls_context *server_tls, *client_tls;
    struct fault fault;
    must(tls_server_new_with_key(pair->chain_file, pair->key_file, &server_tls, &fault) == RC_OK);
    must(tls_client_new(false, NULL, &client_tls, &fault) == RC_OK);
    open_pair();
    conn_tls_accept(server.conn, server_tls);
    conn_tls_connect(client.conn, client_tls, NULL);
    until(is_decided);
    conn_close(client.conn);
    client.conn = NULL;
    until(server_closed);
    CASE("a cut is told from an end");
    CHECK_STR(server.why, "closed by the peer without ending TLS");
    end_pair();

    CASE("a new context takes over while connections of the old one go on");
    open_pair();
    conn_tls_accept(server.conn, server_tls);
    conn_tls_connect(client.conn, client_tls, NULL);
    tls_context_free(server_tls);
    tls_context_free(client_tls);
    until(is_decided);
    check_talk();
    CASE("a server that goes says so");
    conn_close_after_flush(server.conn);
    server.conn = NULL;
    until(client_closed);
    CHECK_STR(client.why, "TLS ended by the peer");
    end_pair();
}

/* --- files --- */

static void check_files(struct pair *a, struct pair *b)
{
    struct fault fault;
    struct tls_context *tls;
    struct tls_key *key;
    char missing[128];
    (void)snprintf(missing, sizeof(missing), "%s/missing.pem", folder);
    CASE("a certificate and its key fit");
    CHECK_INT(tls_check_pair(a->chain_file, a->key_file, &fault), RC_OK);
    CASE("another's key does not, and the line names both files");
    CHECK_INT(tls_check_pair(a->chain_file, b->key_file, &fault), RC_PERM);
    CHECK(strstr(fault.text, a->chain_file) != NULL && strstr(fault.text, b->key_file) != NULL);
    CASE("a missing file is named");
    CHECK_INT(tls_check_pair(missing, a->key_file, &fault), RC_PERM);
    CHECK(strstr(fault.text, missing) != NULL);
    CHECK_INT(tls_check_pair(a->chain_file, missing, &fault), RC_PERM);
    CASE("a key is no certificate, a certificate no key");
    CHECK_INT(tls_check_pair(a->key_file, a->key_file, &fault), RC_PERM);
    CHECK_INT(tls_check_pair(a->chain_file, a->chain_file, &fault), RC_PERM);
    struct tls_signer signer = { .sign = count_and_sign };
    CHECK_INT(tls_server_new("nonsense", 8, 1, &signer, &tls, &fault), RC_PERM);
    CHECK_INT(tls_key_new("nonsense", 8, &key, &fault), RC_PERM);
}

static void check_signing(struct pair *rsa, struct pair *ecdsa)
{
    unsigned char out[1024], in[1024] = { 1 };
    struct tls_key *key;
    struct fault fault;
    must(tls_key_new(buf_slice(&rsa->key).ptr, buf_len(&rsa->key), &key, &fault) == RC_OK);
    CASE("an RSA key signs with the two paddings of TLS, and does nothing else");
    CHECK_INT(tls_key_sign(key, 1, RSA_PKCS1_PADDING, in, 51, out, sizeof(out)), 256);
    CHECK_INT(tls_key_sign(key, 1, RSA_NO_PADDING, in, 256, out, sizeof(out)), 256);
    CHECK_INT(tls_key_sign(key, 1, RSA_PKCS1_PADDING, in, 51, out, 255), -1);
    CHECK_INT(tls_key_sign(key, 1, RSA_PKCS1_OAEP_PADDING, in, 51, out, sizeof(out)), -1);
    CHECK_INT(tls_key_sign(key, 1, RSA_NO_PADDING, in, 257, out, sizeof(out)), -1);
    CHECK_INT(tls_key_sign(key, 1, RSA_NO_PADDING, in, 20, out, sizeof(out)), -1);
    CHECK_INT(tls_key_sign(key, 2, 0, in, 32, out, sizeof(out)), -1);
    CHECK_INT(tls_key_sign(key, 99, 0, in, 32, out, sizeof(out)), -1);
    tls_key_free(key);
    must(tls_key_new(buf_slice(&ecdsa->key).ptr, buf_len(&ecdsa->key), &key, &fault) == RC_OK);
    CASE("an ECDSA key signs digests");
    CHECK(tls_key_sign(key, 2, 0, in, 32, out, sizeof(out)) > 60);
    CHECK_INT(tls_key_sign(key, 2, 0, in, 32, out, 10), -1);
    CHECK_INT(tls_key_sign(key, 2, 0, in, 65, out, sizeof(out)), -1);
    CHECK_INT(tls_key_sign(key, 1, RSA_PKCS1_PADDING, in, 32, out, sizeof(out)), -1);
    tls_key_free(key);
}

static void remove_pair(struct pair *pair)
{
    (void)unlink(pair->chain_file);
    (void)unlink(pair->key_file);
    buf_free(&pair->chain);
    buf_free(&pair->key);
}

int main(void)
{
    struct pair ecdsa, rsa, rsa_sha512;
    (void)snprintf(folder, sizeof(folder), "/tmp/thurn-tls-XXXXXX");
    must(mkdtemp(folder) != NULL);
    tls_init();
    loop = loop_new();
    must(loop != NULL);
    make_ecdsa(&ecdsa, "ecdsa");
    make_rsa(&rsa, "rsa", EVP_sha256());
    make_rsa(&rsa_sha512, "rsa512", EVP_sha512());
    check_handshake("TLS 1.3, ECDSA, the key elsewhere", &ecdsa, TLS1_3_VERSION, NULL);
    check_handshake("TLS 1.2, ECDSA, the key elsewhere", &ecdsa, TLS1_2_VERSION, NULL);
    check_handshake("TLS 1.3, RSA (PSS), the key elsewhere", &rsa, TLS1_3_VERSION, NULL);
    check_handshake("TLS 1.2, RSA (PSS), the key elsewhere", &rsa, TLS1_2_VERSION, NULL);
    check_handshake("TLS 1.2, RSA (PKCS #1), the key elsewhere", &rsa, TLS1_2_VERSION, "RSA+SHA256");
    CASE("the end point is the certificate under its signature's hash");
    check_end_point(&rsa, EVP_sha256());
    check_end_point(&rsa_sha512, EVP_sha512());
    check_verification(&ecdsa, &rsa);
    check_refusals(&ecdsa);
    check_refusals(&rsa);
    check_starttls(&ecdsa);
    check_truncation(&ecdsa, true);
    check_truncation(&ecdsa, false);
    check_gone(&ecdsa);
    check_cut(&rsa);
    check_files(&rsa, &ecdsa);
    check_signing(&rsa, &ecdsa);
    remove_pair(&ecdsa);
    remove_pair(&rsa);
    remove_pair(&rsa_sha512);
    (void)rmdir(folder);
    loop_free(loop);
    return check_done();
}
