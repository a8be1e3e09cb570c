/* `thurn restore`: from what the running server still keeps of expunged mail (restore_kept.c), or from a backup. */
#ifndef THURN_CLI_RESTORE_H
#define THURN_CLI_RESTORE_H

#include "cli/admin.h"

struct restore {
    struct admin admin;
    const char *folder;             /* of a backup; NULL: from what is kept */
    const char *account, *at, *mailbox, *message, *into, *to;
    bool applies;
    int64_t at_s;                   /* 0: whenever */
};

/* What the server answers; the exit status. */
int restore_kept(struct restore *);
/* From a backup: an account's mail into the server, or (without --account) a whole server into an empty data directory. */
int restore_messages(struct restore *);
int restore_server(struct restore *);

/* The number of an account by its address; 0: there is none (it said so). */
uint64_t restore_account_id(const struct restore *);

#endif
