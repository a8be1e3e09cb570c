/* The table of settings: see settings.h. A new setting is one row here, one member in struct config, and its use. */
#include "config/settings.h"

#define MINUTE 60u
#define HOUR (60u * MINUTE)
#define DAY (24u * HOUR)
#define AT(member) .offset = offsetof(struct config, member)
#define AT_ROUTE(member) .offset = offsetof(struct config_route, member)

const struct setting config_settings[] = {
    { "host_name", SETTING_HOST, NULL, AT(host_name), .sample = "mail.example.org",
      .text = "The full name of this host, as its MX record gives it. It greets other servers and is in every Received line." },
    { "data_dir", SETTING_PATH, "/var/lib/thurn", AT(data_dir),
      .text = "Where mail, queue and accounts are kept. It should be on a local disk that keeps what it has said it keeps." },
    { "run_dir", SETTING_PATH, "/run/thurn", AT(run_dir),
      .text = "Where the control socket is while the server runs." },
    { "user", SETTING_WORD, "thurn", AT(user),
      .text = "When started as root, every role runs as its own user of this name: thurn-keys, thurn-auth, thurn-edge, thurn-post, "
              "thurn-out. \"none\": the roles stay the user who started the server." },
    { "postmaster", SETTING_MAILBOX, "none", AT(postmaster), .sample = "alice@example.org",
      .text = "Who gets mail for postmaster of this host and of every local domain that has neither account nor alias of that name, and "
              "for root of this host (cron's). none: the oldest account." },
    { "subaddress_separator", SETTING_BYTE, "+", AT(subaddress_separator),
      .text = "What parts a mailbox from a tag: user+tag@example.org goes to user@example.org. \"none\": there are no tags." },
    { "full_mailbox", SETTING_EITHER, "later", AT(full_mailbox_is_permanent), .words = "later refuse",
      .text = "Mail for a mailbox over its quota: \"later\" lets the sending server try again (452), \"refuse\" sends it back at once (552)." },
    { "auth_without_tls_on_loopback", SETTING_FLAG, "no", AT(auth_without_tls_on_loopback),
      .text = "Allow passwords without TLS on connections from this host itself (127.0.0.0/8 and ::1). Never on others." },
    { "history", SETTING_DAYS, "30d", AT(history_days), .min = 0, .max = 3650,
      .text = "How long the life of a message that is done can still be shown by \"thurn why\"." },

    { "store.keep_expunged", SETTING_DURATION, "7d", AT(keep_expunged_s), .min = 0, .max = 3650 * DAY,
      .text = "How long a message that was expunged, a mailbox that was deleted and an account that was removed can be brought back by "
              "\"thurn restore\" (an account for a day at least). It counts in no quota; when the disk gets full, the oldest is given up "
              "early. 0: what is expunged is gone at once." },

    { "tls.certificate", SETTING_PATH, "none", AT(tls_certificate), .sample = "/etc/thurn/certificate.pem",
      .text = "The certificate and its chain, PEM. Without one there is no TLS, and so no login from other hosts." },
    { "tls.key", SETTING_PATH, "none", AT(tls_key), .sample = "/etc/thurn/key.pem",
      .text = "The certificate's private key, PEM, readable by root only." },

    { "listen", SETTING_LISTENERS, "none", 0,
      .text = "What is served where: for each protocol one \"address:port\" or a list of them (\"[::]:25\" for IPv6; \"/a/path\" for lmtp). "
              "What is not named is not served. Without this setting: every protocol but lmtp on its usual port on all addresses, when tls is "
              "set; only smtp when it is not." },

    { "limits.message_size", SETTING_SIZE, "50M", AT(message_size_max), .min = 65536, .max = 1u << 31,
      .text = "The largest message accepted (SIZE of RFC 1870)." },
    { "limits.connections", SETTING_NUMBER, "5000", AT(connections_max), .min = 1, .max = 1000000,
      .text = "Connections that one edge process serves at once." },
    { "limits.connections_per_address", SETTING_NUMBER, "50", AT(connections_per_address_max), .min = 1, .max = 1000000,
      .text = "Connections from one address (IPv6: one /64) that one edge process serves at once. This host's own do not count." },
    { "limits.progress", SETTING_DURATION, "10m", AT(progress_s), .min = 1, .max = DAY,
      .text = "A client that gets nowhere for so long is sent away, however it trickles: no TLS, no login, no message, less than 16 KiB of one." },
    { "limits.edges", SETTING_NUMBER, "0", AT(edges), .min = 0, .max = 64,
      .text = "Edge processes, which speak with the outside. 0: one for each processor." },

    { "delivery.port", SETTING_PORT, "25", AT(delivery_port),
      .text = "The port of other domains' servers. Anything but 25 is for test networks." },
    { "delivery.source", SETTING_IP, "none", AT(delivery_source), .sample = "192.0.2.1",
      .text = "The local address that outbound connections come from. none: the system chooses." },
    { "delivery.connections", SETTING_NUMBER, "100", AT(delivery_concurrency), .min = 1, .max = 10000,
      .text = "Outbound connections at once, in all." },
    { "delivery.connections_per_destination", SETTING_NUMBER, "10", AT(destination_concurrency), .min = 1, .max = 1000,
      .text = "Outbound connections at once to one destination." },
    { "delivery.retry_first", SETTING_DURATION, "5m", AT(retry_first_s), .min = 1, .max = DAY,
      .text = "How long after a first failure delivery is tried again; the interval doubles from there." },
    { "delivery.retry_max", SETTING_DURATION, "4h", AT(retry_max_s), .min = 1, .max = 7 * DAY,
      .text = "The longest interval between two attempts." },
    { "delivery.give_up_after", SETTING_DURATION, "5d", AT(queue_lifetime_s), .min = 1, .max = 60 * DAY,
      .text = "How long delivery is tried before the message goes back to its sender (RFC 5321 4.5.4.1: 4 to 5 days)." },
    { "delivery.warn_after", SETTING_DURATION, "4h", AT(delay_warning_s), .min = 0, .max = 60 * DAY,
      .text = "After how long the sender is told that delivery is late. \"never\": not at all." },

    { "routes", SETTING_ROUTES, "none", 0,
      .text = "Where mail goes instead of to the domain's MX: a list; the most exact domain wins. Domain \"*\" is a smarthost for everything." },

    { "dns.servers", SETTING_SERVERS, "none", AT(dns_servers), .sample = "[\"192.0.2.53\", \"192.0.2.54@5353\"]",
      .text = "DNS servers to ask, \"address\" or \"address@port\". none: those of /etc/resolv.conf." },
    { "dns.allow_loopback_mx", SETTING_FLAG, "no", AT(dns_allow_loopback_mx),
      .text = "Deliver to an MX whose address is this host's loopback. For test networks: elsewhere it is a loop." },

    { "log.format", SETTING_EITHER, "text", AT(log_json), .words = "text json",
      .text = "\"text\": lines of key=value; \"json\": one JSON object a line." },
    { "log.file", SETTING_PATH, "none", AT(log_file), .sample = "/var/log/thurn.log",
      .text = "Where events are logged. none: standard error (with systemd: the journal)." },
};
const size_t config_setting_count = sizeof config_settings / sizeof config_settings[0];

const struct setting config_route_settings[] = {
    { "domain", SETTING_ROUTE_DOMAIN, NULL, AT_ROUTE(domain),
      .text = "\"example.org\", \".example.org\" for all its subdomains, or \"*\" for everything." },
    { "host", SETTING_ROUTE_HOST, NULL, AT_ROUTE(host),
      .text = "The server's name (its own MX records are not asked), its address in brackets (\"[192.0.2.1]\"), or for lmtp a socket's path." },
    { "port", SETTING_PORT, "25", AT_ROUTE(port), .text = "The server's port." },
    { "protocol", SETTING_EITHER, "smtp", AT_ROUTE(is_lmtp), .words = "smtp lmtp", .text = "\"smtp\" or \"lmtp\"." },
    { "tls", SETTING_CHOICE, "may", AT_ROUTE(tls), .words = "may must never implicit",
      .text = "\"may\": when the server offers it; \"must\": with a verified certificate or not at all; \"never\"; \"implicit\": "
              "from the first byte (port 465), verified." },
    { "user", SETTING_WORD, "none", AT_ROUTE(user), .text = "Log in as this user." },
    { "password_file", SETTING_PATH, "none", AT_ROUTE(password_file),
      .text = "The file whose first line is the password. Keep it readable by root only." },
};
const size_t config_route_setting_count = sizeof config_route_settings / sizeof config_route_settings[0];

const struct listener_row config_listener_rows[LISTEN_PROTOCOLS] = {
    [LISTEN_SMTP]        = { "smtp",        25,  false, "mail from other servers" },
    [LISTEN_SUBMISSION]  = { "submission",  587, false, "mail from people's clients, STARTTLS" },
    [LISTEN_SUBMISSIONS] = { "submissions", 465, true,  "the same, TLS from the start" },
    [LISTEN_LMTP]        = { "lmtp",        24,  false, "mail from a server of your own that has checked it" },
    [LISTEN_IMAP]        = { "imap",        143, false, "reading, STARTTLS" },
    [LISTEN_IMAPS]       = { "imaps",       993, true,  "reading, TLS from the start" },
    [LISTEN_POP3]        = { "pop3",        110, false, "fetching, STARTTLS" },
    [LISTEN_POP3S]       = { "pop3s",       995, true,  "fetching, TLS from the start" },
};
