/* What stands for TLS in the simulator: the same roles and the same order, no cryptography.
 *
 * A record is a type, two bytes of length (the higher first) and so many bytes. The client says hello with the name it wants; the server
 * answers with its certificate and a signature over the client's hello, which it asks of the keys role as the real one does; the
 * client says that it is finished, and from then on both send data records. A close record is close_notify. Anything else fails. */
#ifndef THURN_SIM_TLS_H
#define THURN_SIM_TLS_H

#include "base/buf.h"
#include "base/fault.h"

enum sim_tls_type { SIM_TLS_CLOSE = 21, SIM_TLS_HELLO = 22, SIM_TLS_DATA = 23 };
enum { SIM_TLS_HEAD = 3, SIM_TLS_RECORD_MAX = 16384, SIM_TLS_DIGEST = 32 };

/* Appends a record. False: out of room. */
bool sim_tls_put(struct buf *, enum sim_tls_type, struct slice payload);
/* Takes a record off the front. RC_MORE: not all of it is there; RC_PERM: this is no record. */
enum rc sim_tls_take(struct slice *in, enum sim_tls_type *, struct slice *payload);

#define SIM_TLS_CLIENT "simtls client "         /* and the name it wants, or nothing */
#define SIM_TLS_SERVER "simtls server "         /* signature in hex, a space, certificate */
#define SIM_TLS_FINISHED "simtls finished"

/* Certificates are "simtls certificate ID NAME[,NAME]" and keys "simtls key ID", in the clothes of PEM. */
struct sim_certificate {
    uint64_t id;
    struct slice names;
};
bool sim_certificate_parse(struct slice pem, struct sim_certificate *);
bool sim_certificate_has_name(const struct sim_certificate *, const char *name);
/* What is signed of a hello, and what the key of that id makes of it. */
void sim_tls_digest(struct slice hello, unsigned char digest[SIM_TLS_DIGEST]);
void sim_tls_signature(uint64_t id, const unsigned char digest[SIM_TLS_DIGEST], unsigned char signature[SIM_TLS_DIGEST]);
/* The server's hello, from the client's. */
bool sim_tls_answer(struct buf *out, struct slice certificate, const unsigned char signature[SIM_TLS_DIGEST]);
/* Does the server's hello fit ours? Its certificate, or false. */
bool sim_tls_check(struct slice answer, struct slice hello, struct sim_certificate *);

#endif
