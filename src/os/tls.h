/* TLS through OpenSSL 3 (TLS 1.2 and 1.3, the library's secure defaults; RFC 8314, RFC 9325).
 *
 * A server context holds certificate chains only: the private key lives in the keys role and every signature is asked
 * there through `sign`, synchronously on a channel of its own (about the cost of the signature itself). */
#ifndef THURN_OS_TLS_H
#define THURN_OS_TLS_H

#include "base/buf.h"
#include "base/fault.h"

struct tls_context;

/* Reads the library's own configuration and makes its random generator ready: before a role gives up opening files. */
void tls_init(void);

/* kind, padding, input and output as in FRAME_SIGN; returns the number of bytes written to out, or -1. */
struct tls_signer {
    void *self;
    int (*sign)(void *self, uint32_t key, int kind, int padding, const unsigned char *in, size_t in_len, unsigned char *out, size_t out_max);
};

enum rc tls_server_new(const char *pem_chain, size_t pem_len, uint32_t key, const struct tls_signer *, struct tls_context **, struct fault *);
/* A server context with the key in the process: tests and tools only. */
enum rc tls_server_new_with_key(const char *chain_file, const char *key_file, struct tls_context **, struct fault *);
/* verify: the peer's chain and name must be good (the system's authorities plus ca_file when given), else the handshake fails. */
enum rc tls_client_new(bool verify, const char *ca_file, struct tls_context **, struct fault *);
void tls_context_free(struct tls_context *);

/* The keys role: a private key and what it signs. */
struct tls_key;
enum rc tls_key_new(const char *pem, size_t pem_len, struct tls_key **, struct fault *);
void tls_key_free(struct tls_key *);
int tls_key_sign(struct tls_key *, int kind, int padding, const unsigned char *in, size_t in_len, unsigned char *out, size_t out_max);
/* Do they fit? RC_PERM with a clear line naming both files. */
enum rc tls_check_pair(const char *chain_file, const char *key_file, struct fault *);
/* A self-signed certificate (ECDSA P-256, 10 years) for these names, as PEM. */
enum rc tls_make_self_signed(const char *const *names, size_t name_count, struct buf *chain_pem, struct buf *key_pem, struct fault *);

#endif
