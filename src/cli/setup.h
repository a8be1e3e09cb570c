/* The inside of `thurn setup`: what it makes on the system. Each step makes what is missing and keeps what is there, says
 * which, and is fine to run again. */
#ifndef THURN_CLI_SETUP_H
#define THURN_CLI_SETUP_H

#include "base/buf.h"
#include "base/fault.h"
#include "config/config.h"

/* "made PATH" or "kept PATH"; the content is not looked at when the file is there. Never through a symbolic link. */
enum rc setup_file(const char *path, struct slice content, unsigned mode, struct fault *);
/* A directory, owned by `user` when that is not NULL (and we are root). */
enum rc setup_directory(const char *path, unsigned mode, const char *user, struct fault *);
/* A system user that cannot log in, with a group of the same name. */
enum rc setup_user(const char *name, struct fault *);
/* The systemd unit that runs this program with that configuration. */
bool setup_write_unit(const char *program, const struct config *, struct buf *);
/* The records that the domain's DNS needs, as they are written in a zone file. `address` may be empty. */
bool setup_write_records(const struct config *, const char *domain, const char *address4, const char *address6, struct buf *);
/* This host's own address in the routes to the outside, by no traffic: empty when it has none, or a private one. */
void setup_public_address(int family, char *out, size_t size);
bool setup_has_ipv6(void);

#endif
