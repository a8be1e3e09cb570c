/* `thurn import`: what its readers of mbox files and of Maildirs have in common. */
#ifndef THURN_CLI_IMPORT_H
#define THURN_CLI_IMPORT_H

#include "base/arena.h"
#include "base/map.h"
#include "cli/archive.h"
#include "cli/terminal.h"
#include "mail/mbox.h"

#include <stdio.h>

struct import {
    struct net_target target;
    const char *config_path, *account, *mailbox, *journal_path;
    bool json;
    enum mbox_variant variant;
    struct archive_sink sink;
    struct progress progress;
    uint64_t kept, skipped, before, folders, bytes;     /* before: kept by an earlier run */
    uint64_t under_way;
    FILE *journal;
    struct arena journal_arena;
    struct map journal_kept;        /* origins that an earlier run kept */
    struct buf scratch;             /* the message with CRLF line ends */
};

enum rc import_folder(struct import *, struct slice name, bool is_subscribed, struct fault *);
/* origin: what names the message for a person and for the journal ("cur/1700000000.M1P2.host"). */
enum rc import_message(struct import *, const struct archive_item *, const char *origin, struct fault *);
bool import_is_done(const struct import *, const char *origin);     /* by an earlier run; counts it */
void import_skip(struct import *, const char *origin, const char *why);
/* The folder that NAME of the source becomes: NAME, or below --mailbox. "" and INBOX are the inbox. */
bool import_folder_name(const struct import *, struct slice name, struct buf *out);

enum rc import_mbox(struct import *, const char *path, struct fault *);
enum rc import_maildir(struct import *, const char *path, struct fault *);

#endif
