/* The other end of a connection, as facts without I/O. */
#ifndef THURN_BASE_PEER_H
#define THURN_BASE_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What may be known of a connection: filled in by os/conn.h, updated after a handshake, read by protocol machines. */
struct peer {
    char address[64];           /* numeric, no brackets: "192.0.2.1", "2001:db8::1", "" for a local socket */
    uint16_t port;
    char local_address[64];
    uint16_t local_port;
    bool is_loopback;
    bool has_tls;
    char tls_version[16];       /* "TLSv1.3" */
    char tls_cipher[64];
    bool has_tls_verified;      /* outbound: the certificate chain and name were verified */
    /* Channel binding data (RFC 5929 tls-server-end-point, RFC 9266 tls-exporter); len 0 when there is none. */
    unsigned char tls_server_end_point[64];
    size_t tls_server_end_point_len;
    unsigned char tls_exporter[32];
    size_t tls_exporter_len;
};

#endif
