/* Inside the IMAP client: client_imap.c (commands), client_imap_select.c (mailboxes and what is in them), client_imap_read.c (what the server says). */
#ifndef THURN_SIM_CLIENT_IMAP_H
#define THURN_SIM_CLIENT_IMAP_H

#include "sim/stream.h"

enum imap_end { IMAP_LOST, IMAP_OK, IMAP_NO, IMAP_BAD };

struct imap_numbers { uint32_t *list; size_t count, cap; };

struct imap {
    struct stream stream;
    unsigned tag;
    bool has_view, is_bye;
    struct imap_view view;
    size_t view_cap;
    char reply[256], wrong[256];
    struct buf response;                /* one whole response, literals in it */
    struct buf capabilities;            /* " IMAP4rev1 IDLE " */
    struct buf text;                    /* the last BODY[] */
    bool has_text;
    uint32_t wanted_uid;                /* whose text it is */
    uint32_t answer_validity, answer_uid;       /* APPENDUID, COPYUID */
    struct imap_numbers from, to;       /* COPYUID */
    struct imap_numbers found;          /* SEARCH, MODIFIED */
    struct imap_numbers gone_from, gone_to;     /* VANISHED (EARLIER) */
    struct imap_message *changed;       /* by FETCH of this command */
    size_t changed_count, changed_cap;
    struct imap_status status;
    struct buf names;                   /* of LIST, each with its NUL */
    const char **name_list;
    size_t name_count;
};

/* Says that the server told something impossible; the first is kept. */
void imap_is_wrong(struct imap *, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool numbers_add(struct imap_numbers *, uint32_t);

/* One response; untagged ones are taken in. *tagged: its text behind the tag, when it was ours; "+" gives an empty one with *is_go_on. */
enum imap_end imap_read(struct imap *, bool *is_go_on);
/* Sends a command and reads to its end. */
enum imap_end imap_ask(struct imap *, const char *format, ...) __attribute__((format(printf, 2, 3)));
enum imap_end imap_read_to_end(struct imap *);
enum client_result imap_judge(const struct imap *, enum imap_end);
/* A mailbox's name, quoted; static room for two. */
const char *imap_quote(const char *name);
void imap_flags_text(uint32_t flags, char text[160]);
void imap_uid_set(const uint32_t *uids, size_t count, struct buf *);

#endif
