/* Blocking client connections for the command line tools: connect, TLS with verification, and the one driver that runs
 * any client machine (wire/machine.h) on a connection. Not for roles: those have os/conn.h. */
#ifndef THURN_CLI_NET_H
#define THURN_CLI_NET_H

#include "base/buf.h"
#include "base/fault.h"
#include "cli/options.h"
#include "wire/machine.h"

enum { NET_HOST_MAX = 256, NET_SECRET_MAX = 1024, NET_NONCE_BYTES = 24 };

enum net_tls { NET_TLS_STARTTLS, NET_TLS_IMPLICIT, NET_TLS_NONE };

/* Where to connect and as whom, as the person wrote it, then as understood. */
struct net_target {
    const char *server, *tls_text, *tls_name, *user, *password_file, *ca_file, *timeout_text;
    bool is_insecure;               /* certificates are not verified; passwords may go without TLS */

    char host[NET_HOST_MAX];
    uint16_t port;
    enum net_tls tls;
    unsigned timeout_s;
    char password[NET_SECRET_MAX];
    unsigned char nonce[NET_NONCE_BYTES];
};

#define NET_TARGET_OPTIONS(t) \
    { "server", 's', "HOST[:PORT]", "the server; localhost by default", CLI_TEXT(&(t)->server) }, \
    { "tls", 0, "WAY", "starttls, implicit or none; by default as the port has it", CLI_TEXT(&(t)->tls_text) }, \
    { "tls-name", 0, "NAME", "the name to expect in the certificate, when it is not HOST", CLI_TEXT(&(t)->tls_name) }, \
    { "ca", 0, "FILE", "trust this certificate (PEM) besides the system's", CLI_TEXT(&(t)->ca_file) }, \
    { "insecure", 0, NULL, "trust any certificate, and send passwords without TLS", CLI_FLAG(&(t)->is_insecure) }, \
    { "user", 'u', "NAME", "log in with this name", CLI_TEXT(&(t)->user) }, \
    { "password-file", 0, "FILE", "the password is the first line of FILE; else $THURN_PASSWORD, else it is asked for", \
      CLI_TEXT(&(t)->password_file) }, \
    { "timeout", 0, "SECONDS", "give up when the server is silent for so long; 60 by default", CLI_TEXT(&(t)->timeout_text) }

struct net_ports {
    uint16_t starttls, implicit;
    enum net_tls usual;             /* when neither port nor --tls is given */
};

/* Understands the words; gets the password when there is a user; makes the nonce. False: it said what is wrong. */
bool net_target_prepare(const struct cli_usage *, struct net_target *, const struct net_ports *);
void net_target_wipe(struct net_target *);
bool net_parse_host_port(const char *text, char host[NET_HOST_MAX], uint16_t *port);     /* "[::1]:993"; *port stays when there is none */

struct net;
enum rc net_connect(const struct net_target *, struct net **, struct fault *);
enum rc net_connect_local(const char *path, unsigned timeout_s, struct net **, struct fault *);
void net_close(struct net *);
struct peer *net_peer(struct net *);        /* filled in; has_tls and the rest after the handshake */
/* The handshake; the buffered input is dropped first. The fault says how a certificate can be trusted. */
enum rc net_start_tls(struct net *, struct fault *);

struct net_machine {
    void *self;
    enum want (*step)(void *self, struct slice *in);
    struct buf *(*output)(void *self);
    void (*tls_started)(void *self);
};
/* Runs the machine until it asks (RC_OK) or ends (RC_NONE: its own fault, if any, says why). RC_TEMP, RC_PERM: the
 * connection failed; the machine is where it was. */
enum rc net_run(struct net *, const struct net_machine *, struct fault *);
/* For progress: bytes moved so far. */
uint64_t net_bytes_sent(const struct net *);
uint64_t net_bytes_received(const struct net *);

#endif
