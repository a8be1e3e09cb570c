/* The edge's side of the keys role: signatures over a channel of its own, one after the other, waiting for each.
 * Waiting is right here: a handshake cannot go on without it, and the other end does nothing else. */
#ifndef THURN_ROLE_SIGNER_H
#define THURN_ROLE_SIGNER_H

#include <stddef.h>
#include <stdint.h>

struct signer;

struct signer *signer_new(void);
/* A new channel to keys (it was restarted, or this is the first). */
void signer_channel(struct signer *, int fd);
/* tls_signer.sign: bounded wait (5 s), -1 on failure. */
int signer_sign(void *signer, uint32_t key, int kind, int padding, const unsigned char *in, size_t in_len, unsigned char *out, size_t out_max);

#endif
