/* What import and export move: messages with what a mailbox knows of them; and the two ends, each with two kinds. */
#ifndef THURN_CLI_ARCHIVE_H
#define THURN_CLI_ARCHIVE_H

#include "cli/net.h"
#include "mail/date.h"
#include "store/store.h"

enum { ARCHIVE_MESSAGE_MAX = 512 * 1024 * 1024, ARCHIVE_KEYWORDS_MAX = 64 };

struct archive_item {
    struct slice bytes;             /* CRLF line ends */
    struct mail_date date;          /* INTERNALDATE */
    bool has_date;
    uint32_t flags;                 /* FLAG_* of store/store.h */
    struct slice keywords[ARCHIVE_KEYWORDS_MAX];
    size_t keyword_count;
    uint32_t uid;                   /* export only */
};
/* "\Seen", "\Answered" ... by number of the bit; NULL at the end. */
extern const char *const archive_flag_names[];
bool archive_is_keyword(struct slice);          /* an atom that is no system flag (RFC 3501 9, flag-keyword) */

/* ---- where imported messages go ---- */

/* Told when the fate of an added message is known; `ticket` is the one it was added with. Refused: why is text. */
struct archive_fates {
    void (*settled)(void *arg, uint64_t ticket, bool is_kept, const char *why);
    void *arg;
};

struct archive_sink {
    void *self;
    /* Items go there from now on; made when it is not there. Name in UTF-8 with '/' between levels. */
    enum rc (*open_folder)(void *self, struct slice name, bool is_subscribed, struct fault *);
    /* Anything but RC_OK ends the import; a message that is refused is told to the fates and is RC_OK. */
    enum rc (*add)(void *self, const struct archive_item *, uint64_t ticket, struct fault *);
    enum rc (*finish)(void *self, struct fault *);      /* the fate of everything is known */
    void (*close)(void *self);
};

enum rc archive_sink_imap(struct net_target *, const struct archive_fates *, struct archive_sink *, struct fault *);
/* Into the running server by the administrator's door (role/post_append.c); RC_NONE: no server runs. */
enum rc archive_sink_server(const char *run_dir, uint64_t account, const struct archive_fates *, struct archive_sink *, struct fault *);
enum rc archive_sink_store(const char *config_path, const char *account, const struct archive_fates *, struct archive_sink *, struct fault *);

/* ---- where exported messages come from ---- */

struct archive_folder {
    struct slice name;              /* UTF-8, '/' between levels */
    bool is_subscribed, is_selectable;
};

struct archive_source {
    void *self;
    /* Each folder once; false ends it. */
    enum rc (*each_folder)(void *self, bool (*each)(void *arg, const struct archive_folder *), void *arg, struct fault *);
    enum rc (*each_message)(void *self, struct slice folder, bool (*each)(void *arg, const struct archive_item *), void *arg, struct fault *);
    void (*close)(void *self);
};

enum rc archive_source_imap(struct net_target *, struct archive_source *, struct fault *);
enum rc archive_source_store(const char *config_path, const char *account, struct archive_source *, struct fault *);
/* The same of a data directory that is no server's (a backup's). */
enum rc archive_source_folder(const char *data_dir, const char *account, struct archive_source *, struct fault *);

/* ---- the store of this machine, opened by itself ---- */

struct archive_store {
    struct store *store;
    struct queue *queue;            /* it rides on the store's log: without it a checkpoint would lose what waits there */
    uint64_t account;
    char folder[4096];
    struct store_mailbox_info info; /* scratch: large */
};
/* RC_PERM: a server runs (when writing), no such account, no configuration: says which and the way out. */
enum rc archive_store_open(const char *config_path, const char *account, bool is_read_only, struct archive_store *, struct fault *);
void archive_store_close(struct archive_store *);

#endif
