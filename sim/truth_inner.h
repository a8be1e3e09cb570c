/* What the parts of truth.h share. Everything lives in blocks that are freed with the truth; nothing is freed before. */
#ifndef THURN_SIM_TRUTH_INNER_H
#define THURN_SIM_TRUTH_INNER_H

#include "sim/truth.h"

enum { TOKEN_BUCKETS = 4096, UID_BUCKETS = 256, BLOCK_BYTES = 1 << 20, ANY_NUMBER = 10000 };

struct truth_host {
    struct truth_host *next;
    const char *name;
    uint64_t disturbed;         /* how often; a while of it counts as ANY_NUMBER */
    unsigned whiles;            /* that have begun and not ended */
};

/* One recipient of one message. */
struct truth_owed {
    struct truth_owed *next;                /* of the message */
    struct truth_owed *next_open;           /* of the account: has not arrived yet */
    struct truth_message *message;
    const char *address;
    struct truth_account *account;          /* where it ends; both NULL: nowhere */
    const struct truth_sink *sink;
    bool has_ended;
    enum truth_answer answer;
    uint64_t ended;                         /* mark */
    uint64_t disturbed_at_begin;
    unsigned arrived, failed;               /* copies; reports of failure */
    bool has_strayed;
};

struct truth_message {
    struct truth_message *next;             /* of its bucket */
    uint64_t token;
    const char *from;
    size_t size;
    struct truth_host *via;
    struct truth_owed *owed;
    bool is_sent, is_appended;
};

struct truth_sink {
    struct truth_sink *next;
    const char *address;
    struct truth_host *host;
};

enum presence {
    COPY_SURE,
    COPY_COMING,        /* acknowledged, its UID was not told */
    COPY_MAYBE,         /* on its way, or never */
    COPY_GOING,         /* an expunge or move in doubt */
    COPY_GONE,
};

struct truth_copy {
    struct truth_copy *next;                /* of the mailbox */
    struct truth_copy *next_uid;            /* of its bucket */
    struct truth_mailbox *mailbox;
    uint64_t token;                         /* of no message: a report */
    uint32_t uid;                           /* 0: not known yet */
    enum presence presence, guessed_from;   /* guessed_from: COPY_SURE, or what it was before a listing gave it its UID */
    bool is_claimed, is_counted, is_appended, was_seen;
    bool flags_in_doubt;
    uint32_t flags, flags_other;            /* other: what they were before, or may be */
    uint64_t changed;                       /* mark of the last change's end */
    uint64_t seen;                          /* mark of the last listing that named it */
    uint32_t seen_flags;
    uint64_t seen_modseq;
    struct truth_copy *pair;                /* where a move takes it */
    struct truth_copy *came_from;           /* the other way round */
};

enum existence { BOX_SURE, BOX_MAYBE, BOX_GOING, BOX_GONE };

struct truth_mailbox {
    struct truth_mailbox *next;
    struct truth_account *account;
    const char *name, *other_name;          /* other: what a rename in doubt would make of it */
    enum existence existence;
    bool is_claimed;
    uint64_t changed;
    uint32_t uidvalidity;
    uint32_t uidnext, whole_uidnext;        /* highest told; that of the last listing that was whole: below it nothing may appear */
    uint64_t highest_modseq;
    uint64_t told, whole;                   /* marks of these */
    struct truth_copy *copies;
    struct truth_copy *by_uid[UID_BUCKETS];
};

struct truth_account {
    struct truth_account *next;
    struct truth *truth;
    const char *address;
    struct truth_host *host;
    struct truth_mailbox *mailboxes;
    struct truth_owed *open;
};

struct truth_block {
    struct truth_block *next;
    size_t used, size;
};

struct truth {
    struct truth_options options;
    struct truth_block *block;
    uint64_t mark;
    bool is_quiet, may_stray;
    struct truth_host *hosts;
    struct truth_account *accounts;
    struct truth_sink *sinks;
    struct truth_message *by_token[TOKEN_BUCKETS];
    struct truth_figures figures;
};

void *truth_alloc(struct truth *, size_t size);
const char *truth_keep(struct truth *, const char *);
void truth_broken(struct truth *, const char *format, ...) __attribute__((format(printf, 2, 3)));
struct truth_host *truth_host_named(struct truth *, const char *name);
uint64_t truth_disturbances(const struct truth *, const struct truth_owed *);
bool truth_was_disturbed(const struct truth *, const struct truth_message *);        /* a report on it may come twice */
struct truth_message *truth_message_find(const struct truth *, uint64_t token);
struct truth_owed *truth_owed_find(const struct truth_message *, const char *address);
/* A copy arrives at the account; false (and told) when it may not. */
bool truth_owed_arrived(struct truth *, struct truth_account *, uint64_t token);
/* Told as broken when text is not that message. is_bare: no trace fields are allowed before it. */
void truth_text_check(struct truth *, const struct truth_message *, struct slice text, bool is_bare, const char *where);
void truth_report_check(struct truth *, const char *receiver, struct slice text, bool counts);

struct truth_copy *truth_copy_new(struct truth_mailbox *, uint64_t token, uint32_t flags, enum presence);
struct truth_copy *truth_copy_find(const struct truth_mailbox *, uint32_t uid);
void truth_copy_set_uid(struct truth_copy *, uint32_t uid);
/* "message 01234 (UID 5) in INBOX of a@b": for sentences. */
const char *truth_copy_text(const struct truth_copy *, char out[200]);

#endif
