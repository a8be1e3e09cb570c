/* One stored message in memory, as far as it was needed: its header, or all of it and its MIME tree.
 *
 * A session has one of these and uses it for the message it is busy with; its memory is as large as that message. */
#ifndef THURN_IMAP_MESSAGE_H
#define THURN_IMAP_MESSAGE_H

#include "mail/mime.h"
#include "store/store.h"

struct imap_message {
    struct store *store;
    uint64_t body_id;           /* 0: none */
    size_t size_bytes;
    char *bytes;
    size_t cap, loaded;
    struct header_scan scan;
    struct arena arena;
    struct mime_message *mime;  /* in the arena; NULL: not parsed */
    bool is_set_aside;          /* parsing it has killed this process twice (store.h): it has no header, and one part that says so */
};

void imap_message_init(struct imap_message *, struct store *);
void imap_message_free(struct imap_message *);                  /* forgets the message; may be used again */
/* Makes this message the current one; nothing is read yet. */
void imap_message_use(struct imap_message *, const struct store_message *);
/* RC_TEMP: out of memory; RC_PERM: the disk lies. What is given is about to be parsed: that is noted (store_handling_begin)
 * until the session says that its step went well. */
enum rc imap_message_header(struct imap_message *, struct slice *header);       /* with its empty line */
enum rc imap_message_whole(struct imap_message *, struct slice *);
enum rc imap_message_mime(struct imap_message *, struct slice *whole, const struct mime_message **);

#endif
