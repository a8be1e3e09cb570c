/* Blocking client connections: see net.h. */
#include "cli/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    INPUT_MAX = 1024 * 1024,        /* more than the longest line a client machine reads */
    READ_BYTES = 64 * 1024,
    PATIENCE_MS = 5000,             /* no greeting for so long: perhaps the server waits for our TLS */
};

struct net {
    int fd;
    SSL_CTX *context;
    SSL *ssl;
    const struct net_target *target;    /* NULL: a local socket */
    int timeout_ms;
    struct buf input;
    struct peer peer;
    bool is_ended;                      /* the peer sent its last byte */
    uint64_t sent, received;
};

struct peer *net_peer(struct net *net) { return &net->peer; }
uint64_t net_bytes_sent(const struct net *net) { return net->sent; }
uint64_t net_bytes_received(const struct net *net) { return net->received; }

static struct net *net_new(const struct net_target *target, unsigned timeout_s)
{
    struct net *net = calloc(1, sizeof(*net));
    if (net == NULL)
        return NULL;
    net->fd = -1;
    net->target = target;
    net->timeout_ms = (int)timeout_s * 1000;
    buf_init(&net->input, INPUT_MAX);
    return net;
}

void net_close(struct net *net)
{
    if (net == NULL)
        return;
    if (net->ssl != NULL) {
        if (SSL_is_init_finished(net->ssl))
            (void)SSL_shutdown(net->ssl);
        SSL_free(net->ssl);
    }
    SSL_CTX_free(net->context);
    if (net->fd >= 0)
        close(net->fd);
    buf_free(&net->input);
    free(net);
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

static void name_address(const struct sockaddr_storage *address, char *out, size_t size, uint16_t *port)
{
    const void *in = address;
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = in;
        inet_ntop(AF_INET, &v4->sin_addr, out, (socklen_t)size);
        *port = ntohs(v4->sin_port);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = in;
        inet_ntop(AF_INET6, &v6->sin6_addr, out, (socklen_t)size);
        *port = ntohs(v6->sin6_port);
    }
}

static void describe_peer(struct net *net)
{
    struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
    socklen_t len = sizeof(address);
    if (getpeername(net->fd, (void *)&address, &len) == 0)
        name_address(&address, net->peer.address, sizeof(net->peer.address), &net->peer.port);
    len = sizeof(address);
    if (getsockname(net->fd, (void *)&address, &len) == 0)
        name_address(&address, net->peer.local_address, sizeof(net->peer.local_address), &net->peer.local_port);
    net->peer.is_loopback = strncmp(net->peer.address, "127.", 4) == 0 || strcmp(net->peer.address, "::1") == 0 ||
                            net->peer.address[0] == '\0';
}

/* 0, or errno. */
static int wait_connected(int fd, int timeout_ms)
{
    struct pollfd poller = { .fd = fd, .events = POLLOUT };
    int error = 0;
    socklen_t len = sizeof(error);
    int ready;
    do
        ready = poll(&poller, 1, timeout_ms);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        return ETIMEDOUT;
    if (ready < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return errno;
    return error;
}

static int connect_to(struct net *net, const struct sockaddr *address, socklen_t len)
{
    net->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (net->fd < 0)
        return errno;
    int error = connect(net->fd, address, len) == 0 ? 0 : errno;
    if (error == EINPROGRESS)
        error = wait_connected(net->fd, net->timeout_ms);
    if (error != 0) {
        close(net->fd);
        net->fd = -1;
    }
    return error;
}

enum rc net_connect(const struct net_target *target, struct net **out, struct fault *f)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *found = NULL;
    char port[8];
    snprintf(port, sizeof(port), "%u", target->port);
    int code = getaddrinfo(target->host, port, &hints, &found);
    if (code != 0)
        return fault_temp(f, 0, "%s: no address for this host: %s", target->host, gai_strerror(code));
    struct net *net = net_new(target, target->timeout_s);
    int error = net == NULL ? ENOMEM : ECONNREFUSED;
    for (struct addrinfo *at = found; at != NULL && net != NULL && net->fd < 0; at = at->ai_next)
        error = connect_to(net, at->ai_addr, at->ai_addrlen);
    freeaddrinfo(found);
    if (net == NULL || net->fd < 0) {
        net_close(net);
        return fault_errno(f, error, "cannot connect to %s port %s", target->host, port);
    }
    describe_peer(net);
    *out = net;
    return RC_OK;
}

enum rc net_connect_local(const char *path, unsigned timeout_s, struct net **out, struct fault *f)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(address.sun_path))
        return fault_perm(f, 0, "%s: longer than the path of a socket may be", path);
    strcpy(address.sun_path, path);
    struct net *net = net_new(NULL, timeout_s);
    if (net == NULL)
        return fault_no_memory(f);
    int error = connect_to(net, (const void *)&address, sizeof(address));
    if (error != 0) {
        net_close(net);
        return fault_errno(f, error, "cannot connect to %s", path);
    }
    describe_peer(net);
    *out = net;
    return RC_OK;
}

/* ---- bytes --------------------------------------------------------------------------------------------------------- */

static int wait_ready(struct net *net, short events, int timeout_ms)
{
    struct pollfd poller = { .fd = net->fd, .events = events };
    int ready;
    do
        ready = poll(&poller, 1, timeout_ms);
    while (ready < 0 && errno == EINTR);
    return ready;
}

static enum rc wait_for(struct net *net, short events, struct fault *f)
{
    bool is_mute = net->received == 0 && net->ssl == NULL && net->target != NULL;
    int patience_ms = is_mute && net->timeout_ms > PATIENCE_MS ? PATIENCE_MS : 0;
    int ready = patience_ms > 0 ? wait_ready(net, events, patience_ms) : 0;
    if (patience_ms > 0 && ready == 0)      /* told, not given up: some servers greet late on purpose */
        fprintf(stderr, "thurn: no greeting yet from %s port %u; if it expects TLS from the start: --tls implicit\n",
                net->target->host, net->target->port);
    if (ready == 0)
        ready = wait_ready(net, events, net->timeout_ms - patience_ms);
    if (ready < 0)
        return fault_errno(f, errno, "waiting for the server");
    if (ready > 0)
        return RC_OK;
    return fault_temp(f, 0, "the server was silent for %d seconds%s", net->timeout_ms / 1000,
                      is_mute ? "; perhaps it expects TLS from the start: --tls implicit" : "");
}

static enum rc tls_fault(struct fault *f, const char *what)
{
    unsigned long code = ERR_get_error();
    if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return fault_temp(f, 0, "the server closed the connection without ending TLS");
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    return fault_temp(f, 0, "%s: %s", what, reason != NULL ? reason : errno != 0 ? strerror(errno) : "the connection was cut");
}

/* What to wait for when OpenSSL cannot go on; 0 when it is not that. */
static short tls_wants(struct net *net, int result)
{
    switch (SSL_get_error(net->ssl, result)) {
    case SSL_ERROR_WANT_READ: return POLLIN;
    case SSL_ERROR_WANT_WRITE: return POLLOUT;
    default: return 0;
    }
}

/* More than 0: bytes; 0: the end; -1: *wants says what to wait for (0: failed). */
static ssize_t read_once(struct net *net, char *to, size_t len, short *wants)
{
    *wants = 0;
    if (net->ssl == NULL) {
        ssize_t got = recv(net->fd, to, len, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            *wants = POLLIN;
        return got;
    }
    ERR_clear_error();
    errno = 0;
    int got = SSL_read(net->ssl, to, (int)len);
    if (got > 0)
        return got;
    *wants = tls_wants(net, got);
    return SSL_get_error(net->ssl, got) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static enum rc read_fault(struct net *net, struct fault *f)
{
    if (net->ssl != NULL)
        return tls_fault(f, "reading from the server");
    return fault_errno(f, errno, "reading from the server");
}

/* Takes what is there, without waiting. RC_MORE: nothing is there now. RC_NONE: the peer has ended. */
static enum rc take_input(struct net *net, short *wants, struct fault *f)
{
    *wants = POLLIN;
    if (net->is_ended)
        return RC_NONE;
    char *to = buf_reserve(&net->input, READ_BYTES);
    if (to == NULL) {
        net->input.overflow = false;
        return RC_NONE;
    }
    ssize_t got = read_once(net, to, READ_BYTES, wants);
    if (got > 0) {
        buf_commit(&net->input, (size_t)got);
        net->received += (uint64_t)got;
        return RC_OK;
    }
    if (got < 0)
        return *wants != 0 ? RC_MORE : read_fault(net, f);
    net->is_ended = true;
    return RC_NONE;
}

static enum rc read_input(struct net *net, struct fault *f)
{
    short wants;
    enum rc rc;
    while ((rc = take_input(net, &wants, f)) == RC_MORE) {
        if ((rc = wait_for(net, wants, f)) != RC_OK)
            return rc;
    }
    return rc;
}

static ssize_t write_once(struct net *net, struct slice bytes, short *wants)
{
    *wants = 0;
    if (net->ssl == NULL) {
        ssize_t put = send(net->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (put < 0 && (errno == EAGAIN || errno == EINTR))
            *wants = POLLOUT;
        return put;
    }
    ERR_clear_error();
    errno = 0;
    int put = SSL_write(net->ssl, bytes.ptr, (int)bytes.len);
    if (put > 0)
        return put;
    *wants = tls_wants(net, put);
    return -1;
}

/* Everything goes out. While the peer does not take it, what it says meanwhile is taken in: two that only write wait for
 * ever. */
static enum rc flush_output(struct net *net, struct buf *out, struct fault *f)
{
    while (buf_len(out) > 0) {
        short wants, read_wants;
        ssize_t put = write_once(net, buf_slice(out), &wants);
        if (put > 0) {
            buf_consume(out, (size_t)put);
            net->sent += (uint64_t)put;
            continue;
        }
        if (wants == 0)
            return net->ssl != NULL ? tls_fault(f, "writing to the server") : fault_errno(f, errno, "writing to the server");
        bool has_room = net->input.max_bytes - buf_len(&net->input) >= READ_BYTES && !net->is_ended;
        enum rc rc = wait_for(net, has_room ? wants | POLLIN : wants, f);
        if (rc == RC_OK && has_room)
            rc = take_input(net, &read_wants, f);
        if (rc == RC_TEMP || rc == RC_PERM)
            return rc;
    }
    return RC_OK;
}

/* ---- TLS ------------------------------------------------------------------------------------------------------------ */

static bool is_numeric(const char *host)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static enum rc make_tls(struct net *net, struct fault *f)
{
    const struct net_target *target = net->target;
    const char *name = target->tls_name != NULL ? target->tls_name : target->host;
    net->context = SSL_CTX_new(TLS_client_method());
    if (net->context == NULL)
        return tls_fault(f, "TLS");
    SSL_CTX_set_min_proto_version(net->context, TLS1_2_VERSION);        /* RFC 8996 */
    SSL_CTX_set_mode(net->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_default_verify_paths(net->context);
    if (target->ca_file != NULL && SSL_CTX_load_verify_file(net->context, target->ca_file) != 1)
        return fault_perm(f, 0, "%s: no certificate in PEM form can be read from it", target->ca_file);
    SSL_CTX_set_verify(net->context, target->is_insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    net->ssl = SSL_new(net->context);
    if (net->ssl == NULL || SSL_set_fd(net->ssl, net->fd) != 1)
        return tls_fault(f, "TLS");
    if (is_numeric(name)) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(net->ssl), name);
    } else {
        SSL_set1_host(net->ssl, name);
        char sni[NET_HOST_MAX];     /* OpenSSL wants it writable */
        snprintf(sni, sizeof(sni), "%s", name);
        SSL_ctrl(net->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, sni);
    }
    return RC_OK;
}

static enum rc handshake_fault(struct net *net, struct fault *f)
{
    long verdict = SSL_get_verify_result(net->ssl);
    if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_WRONG_VERSION_NUMBER && net->received == 0)
        return fault_perm(f, 0, "the server does not begin with TLS on port %u: --tls starttls is what such ports have", net->target->port);
    if (verdict == X509_V_OK || net->target->is_insecure)
        return tls_fault(f, "the TLS handshake failed");
    return fault_perm(f, 0, "the server's certificate is not trusted: %s (--ca FILE trusts one, --tls-name NAME expects another name, "
                      "--insecure trusts any)", X509_verify_cert_error_string(verdict));
}

/* RFC 5929 4.1: the hash that the certificate's signature uses, SHA-256 for MD5 and SHA-1. */
static void bind_certificate(struct net *net)
{
    int digest = NID_undef;
    unsigned len = 0;
    X509 *certificate = SSL_get1_peer_certificate(net->ssl);
    if (certificate == NULL)
        return;
    X509_get_signature_info(certificate, &digest, NULL, NULL, NULL);
    if (digest == NID_undef || digest == NID_md5 || digest == NID_sha1)
        digest = NID_sha256;
    const EVP_MD *md = EVP_get_digestbynid(digest);
    if (md != NULL && EVP_MD_get_size(md) <= (int)sizeof(net->peer.tls_server_end_point) &&
        X509_digest(certificate, md, net->peer.tls_server_end_point, &len) == 1)
        net->peer.tls_server_end_point_len = len;
    X509_free(certificate);
}

static void describe_tls(struct net *net)
{
    struct peer *peer = &net->peer;
    static const char label[] = "EXPORTER-Channel-Binding";     /* RFC 9266 2 */
    peer->has_tls = true;
    peer->has_tls_verified = !net->target->is_insecure && SSL_get_verify_result(net->ssl) == X509_V_OK;
    snprintf(peer->tls_version, sizeof(peer->tls_version), "%s", SSL_get_version(net->ssl));
    snprintf(peer->tls_cipher, sizeof(peer->tls_cipher), "%s", SSL_get_cipher_name(net->ssl));
    bind_certificate(net);
    if (SSL_version(net->ssl) >= TLS1_3_VERSION &&
        SSL_export_keying_material(net->ssl, peer->tls_exporter, sizeof(peer->tls_exporter), label, sizeof(label) - 1,
                                   (const unsigned char *)"", 0, 1) == 1)
        peer->tls_exporter_len = sizeof(peer->tls_exporter);
}

enum rc net_start_tls(struct net *net, struct fault *f)
{
    must(net->target != NULL && net->ssl == NULL);
    buf_clear(&net->input);
    enum rc rc = make_tls(net, f);
    while (rc == RC_OK) {
        ERR_clear_error();
        errno = 0;
        int result = SSL_connect(net->ssl);
        if (result == 1) {
            describe_tls(net);
            return RC_OK;
        }
        short wants = tls_wants(net, result);
        rc = wants != 0 ? wait_for(net, wants, f) : handshake_fault(net, f);
    }
    return rc;
}

/* ---- the driver ------------------------------------------------------------------------------------------------------ */

static enum rc more_input(struct net *net, struct fault *f)
{
    if (buf_len(&net->input) + READ_BYTES > net->input.max_bytes)
        return fault_perm(f, 0, "the server says more than can be right");
    enum rc rc = read_input(net, f);
    return rc == RC_NONE ? fault_temp(f, 0, "the server closed the connection") : rc;
}

enum rc net_run(struct net *net, const struct net_machine *machine, struct fault *f)
{
    for (;;) {
        struct slice in = buf_slice(&net->input);
        size_t before = in.len;
        enum want want = machine->step(machine->self, &in);
        buf_consume(&net->input, before - in.len);
        if (want == WANT_ANSWER)
            return RC_OK;
        enum rc rc = flush_output(net, machine->output(machine->self), f);
        if (want == WANT_CLOSE)
            return RC_NONE;
        if (rc == RC_OK && want == WANT_INPUT)
            rc = more_input(net, f);
        if (rc == RC_OK && want == WANT_TLS)
            rc = net_start_tls(net, f);
        if (rc != RC_OK)
            return rc;
        if (want == WANT_TLS)
            machine->tls_started(machine->self);
    }
}
