/* The configuration file: one YAML file with few settings and good defaults (read through libyaml).
 *
 * settings.c holds the table of settings: name, kind, default, text. That table parses the file, generates the sample
 * file and the man page section, and is what errors quote. An error names file, line, what is wrong and what would be
 * right. Accounts, aliases and domains are not here: they live in the directory (config/directory.h). */
#ifndef THURN_CONFIG_CONFIG_H
#define THURN_CONFIG_CONFIG_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"

enum listener_protocol { LISTEN_SMTP, LISTEN_SUBMISSION, LISTEN_SUBMISSIONS, LISTEN_LMTP, LISTEN_IMAP, LISTEN_IMAPS, LISTEN_POP3, LISTEN_POP3S, LISTEN_PROTOCOLS };

struct config_listener {
    enum listener_protocol protocol;
    const char *address;            /* numeric "0.0.0.0", "::", or a path starting with '/' for a local socket (lmtp) */
    uint16_t port;
};

struct config_route {               /* where mail for a domain goes instead of its MX */
    const char *domain;             /* "example.org", ".example.org" for subdomains, "*" for everything (smarthost) */
    const char *host;               /* name, "[192.0.2.1]" (no MX lookup), or a path for LMTP */
    uint16_t port;
    bool is_lmtp;
    enum { ROUTE_TLS_MAY, ROUTE_TLS_MUST, ROUTE_TLS_NEVER, ROUTE_TLS_IMPLICIT } tls;
    const char *user;               /* AUTH; NULL: none */
    const char *password_file;      /* read by the out role's starter, never shown */
};

struct config {
    struct arena arena;             /* everything below lives here */
    const char *path;
    const char *host_name;          /* "mail.example.org" */
    const char *data_dir;           /* /var/lib/thurn */
    const char *run_dir;            /* control socket: /run/thurn */
    const char *tls_certificate;    /* PEM chain; NULL: no TLS */
    const char *tls_key;
    struct config_listener *listeners;
    size_t listener_count;
    bool auth_without_tls_on_loopback;
    uint64_t message_size_max;      /* default 50 MiB */
    uint32_t edges;                 /* processes; 0: one a core */
    uint32_t connections_max;       /* per edge; default 5000 */
    uint32_t connections_per_address_max;   /* default 50 */
    uint32_t progress_s;            /* a client has to get somewhere in this time; 0 (in tests): it need not */
    struct config_route *routes;
    size_t route_count;
    uint16_t delivery_port;         /* 25; for test networks */
    const char *delivery_source;    /* local address of outbound connections; NULL: any */
    const char *const *dns_servers; /* "127.0.0.1@5300"; none: /etc/resolv.conf */
    size_t dns_server_count;
    bool dns_allow_loopback_mx;     /* test networks: MX pointing at 127/8 is usable */
    uint32_t retry_first_s;         /* default 300 */
    uint32_t retry_max_s;           /* default 4 h */
    uint32_t queue_lifetime_s;      /* default 5 days */
    uint32_t delay_warning_s;       /* default 4 h; 0: never */
    uint32_t delivery_concurrency;  /* connections in all; default 100 */
    uint32_t destination_concurrency;       /* per destination; default 10 */
    const char *postmaster;         /* address; NULL: postmaster@host_name's account must exist or be an alias */
    char subaddress_separator;      /* '+'; 0: off */
    bool full_mailbox_is_permanent; /* 552 5.2.2 instead of 452 4.2.2 */
    bool log_json;                  /* false: key=value */
    const char *log_file;           /* NULL: standard error */
    uint32_t keep_expunged_s;       /* how long what is expunged can be brought back; default 7 days; 0: not at all */
    uint32_t history_days;          /* how long `thurn why` remembers; default 30 */
    const char *user;               /* prefix of the roles' users: "thurn" gives thurn-edge, ...; NULL: stay as started */
};

/* RC_PERM with a fault of one clear line. The config is to be freed in every case. */
enum rc config_load(const char *path, struct config *, struct fault *);
void config_free(struct config *);
/* Beyond syntax: files readable, ports sane, certificate and key fit, data directory there or creatable. */
enum rc config_check(const struct config *, struct fault *);
/* The file that says just this: every setting, as config_load reads it. */
bool config_write(const struct config *, struct buf *);
/* The sample file, with every setting, its default and a sentence. */
bool config_write_sample(struct buf *);
/* The man page section, from the same table. */
bool config_write_manual(struct buf *);
/* What a role gets to know: encode and decode for the launcher's channel (no passwords in it). */
bool config_encode(const struct config *, struct buf *);
enum rc config_decode(struct slice, struct config *, struct fault *);

#endif
