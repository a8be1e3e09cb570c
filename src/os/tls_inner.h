/* What tls.c and conn_tls.c share. */
#ifndef THURN_OS_TLS_INNER_H
#define THURN_OS_TLS_INNER_H

#include "os/tls.h"

#include <openssl/ssl.h>

struct tls_context {
    SSL_CTX *ssl;               /* connections hold references of their own */
};

/* tls_remote.c: a private key that is only a number, its signatures asked elsewhere. NULL: not RSA or ECDSA, or out of memory.
 * What it keeps goes with the last reference to the key. */
EVP_PKEY *remote_key_new(EVP_PKEY *public_key, uint32_t key, const struct tls_signer *);
/* What an OpenSSL call left behind, as the tail of a sentence. */
const char *tls_last_error(void);

#endif
