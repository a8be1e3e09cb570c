/* The directory: domains, accounts, aliases, and their password verifiers. SQLite, owned by the auth role alone
 * (directory.db, 0600, in a folder that is its user's: "directory" in the data directory); `post` gets what it needs to route (no verifiers) as a stream of rows.
 * When no server runs, the command line opens it itself. Changes are durable when the call returns.
 *
 * Names are parsed addresses, lower-cased in the domain; local parts are looked up without case (ASCII), as people
 * expect; '+tag' is the routing table's business (config/routing.h). */
#ifndef THURN_CONFIG_DIRECTORY_H
#define THURN_CONFIG_DIRECTORY_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"
#include "os/file.h"

struct directory;

struct directory_account {
    uint64_t id;
    struct slice name;              /* "alice@example.org": the login and the main address */
    uint64_t quota_bytes;           /* 0: none */
    bool is_enabled;
    int64_t created_s;
};
struct directory_alias {
    struct slice address;           /* "sales@example.org", or "@example.org" for a catch-all */
    struct slice targets;           /* addresses separated by ' '; an account's address or any other */
};

/* RC_PERM on newer version, RC_TEMP on system errors; created when missing. */
enum rc directory_open(const char *folder, struct directory **, struct fault *);
/* On other files than the system's: for tests that fail them (SQLite's own calls go to its default VFS). */
enum rc directory_open_on(const struct file_ops *, const char *folder, struct directory **, struct fault *);
void directory_close(struct directory *);

enum rc directory_domain_add(struct directory *, struct slice domain, struct fault *);          /* RC_PERM: exists, bad name */
enum rc directory_domain_remove(struct directory *, struct slice domain, struct fault *);       /* RC_NONE; RC_PERM: has accounts */
enum rc directory_account_add(struct directory *, struct slice address, struct slice password, uint64_t quota_bytes, int64_t now_s, uint64_t *id, struct fault *);
enum rc directory_account_remove(struct directory *, struct slice address, uint64_t *id, struct fault *);
/* The one of that name that was removed last, with its id, its password and its quota. RC_NONE; RC_PERM: one of that name is there. */
enum rc directory_account_restore(struct directory *, struct slice address, uint64_t *id, struct fault *);
enum rc directory_account_password(struct directory *, struct slice address, struct slice password, struct fault *);
enum rc directory_account_quota(struct directory *, struct slice address, uint64_t quota_bytes, struct fault *);
enum rc directory_account_enable(struct directory *, struct slice address, bool is_enabled, struct fault *);
enum rc directory_alias_add(struct directory *, struct slice address, struct slice targets, struct fault *);    /* replaces */
enum rc directory_alias_remove(struct directory *, struct slice address, struct fault *);

/* Each row in turn; a false from `each` stops. */
enum rc directory_each_domain(struct directory *, bool (*each)(void *, struct slice domain), void *arg, struct fault *);
enum rc directory_each_account(struct directory *, bool (*each)(void *, const struct directory_account *), void *arg, struct fault *);
enum rc directory_each_alias(struct directory *, bool (*each)(void *, const struct directory_alias *), void *arg, struct fault *);
/* Changes with every change: whoever follows compares. */
uint64_t directory_version(struct directory *);

/* For `thurn verify`: only reads. What is wrong, as sentences, and each account (false stops); nothing is made when it is missing. */
void directory_verify(const char *folder, void (*found)(void *arg, const char *text),
                      bool (*each)(void *arg, const struct directory_account *), void *arg);

struct sasl_verifier;
/* By login name (the address; or the bare local part when only one domain exists). RC_NONE: no such or disabled. */
enum rc directory_verifier(struct directory *, struct slice login, struct directory_account *, struct arena *, struct sasl_verifier *, struct fault *);
/* The per-server secret for made-up verifiers (sasl/sasl.h). */
enum rc directory_secret(struct directory *, unsigned char secret[32], struct fault *);

#endif
