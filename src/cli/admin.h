/* How the administrator's commands find the server: its configuration, its control sockets, or the directory itself when no
 * server runs. */
#ifndef THURN_CLI_ADMIN_H
#define THURN_CLI_ADMIN_H

#include "base/buf.h"
#include "cli/json.h"
#include "cli/options.h"
#include "config/config.h"

/* What all of them take. */
struct admin {
    const char *name;               /* of the subcommand, for what it says on standard error */
    const char *config_path;
    bool is_json;
    bool reads_json;                /* the rows are handed over also when they are printed: the exit status depends on them */
    struct config config;           /* after admin_load */
    struct buf arguments;           /* each ended by NUL */
    size_t argument_count;
};
#define ADMIN_CONFIG_OPTION(admin) \
    { "config", 'c', "FILE", "the configuration file (default: $THURN_CONFIG, or /etc/thurn/thurn.yaml)", CLI_TEXT(&(admin)->config_path) }
#define ADMIN_OPTIONS(admin) \
    ADMIN_CONFIG_OPTION(admin), { "json", 'j', NULL, "print one JSON object a line, for programs", CLI_FLAG(&(admin)->is_json) }

void admin_init(struct admin *, const char *name);
void admin_free(struct admin *);        /* wipes the arguments: there may be passwords among them */
/* What --config, $THURN_CONFIG and the default come to. */
const char *admin_config_path(const struct admin *);
/* False: it said what is wrong. */
bool admin_load(struct admin *);

void admin_add(struct admin *, const char *argument);
void admin_addf(struct admin *, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Calls a role by its socket ("control-post.sock") and hands each row over: as it stands when --json, parsed otherwise.
 * Returns the exit status; what failed has been said. */
typedef void admin_row(void *arg, const struct json *row);
int admin_call(struct admin *, const char *socket, const char *command, admin_row *, void *arg);
/* Nobody listens at this socket: no server runs. */
bool admin_server_is_absent(const struct admin *, const char *socket);
/* The same for the directory's commands: by the auth role, or on the directory itself when no server runs. */
int admin_directory(struct admin *, const char *command, admin_row *, void *arg);

#endif
