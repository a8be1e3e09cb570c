/* What FETCH can ask for (RFC 3501 6.4.5), and writing it (7.4.2). */
#ifndef THURN_IMAP_FETCH_H
#define THURN_IMAP_FETCH_H

#include "imap/inner.h"

enum fetch_kind {
    FETCH_FLAGS, FETCH_UID, FETCH_INTERNALDATE, FETCH_SIZE, FETCH_MODSEQ, FETCH_ENVELOPE, FETCH_BODY, FETCH_BODYSTRUCTURE,
    FETCH_SECTION, FETCH_BINARY_SIZE, FETCH_EMAILID, FETCH_THREADID, FETCH_PREVIEW,
};

enum section_kind { SECTION_ALL, SECTION_HEADER, SECTION_FIELDS, SECTION_FIELDS_NOT, SECTION_TEXT, SECTION_MIME };

struct fetch_section {
    uint32_t path[MIME_DEPTH_MAX];
    size_t depth;
    enum section_kind kind;
    struct slice *names;        /* of HEADER.FIELDS */
    size_t name_count;
    bool is_binary;             /* without its transfer encoding (RFC 3516) */
    bool is_partial;
    uint64_t offset, length;
};

struct fetch_item {
    enum fetch_kind kind;
    struct slice label;         /* of a section: "BODY[1.TEXT]<0>" */
    struct fetch_section *section;
};

struct fetch_items {
    struct fetch_item *items;
    size_t count, cap;
    bool sets_seen;             /* a body is asked for without PEEK */
    bool has_modseq;
};

/* "FLAGS", "(UID BODY[])", "ALL": RFC 3501 9 fetch. In the parser's arena. */
bool imap_parse_fetch_items(struct imap_parser *, struct fetch_items *);
bool imap_fetch_add(struct imap_parser *, struct fetch_items *, enum fetch_kind);

/* Where a section's bytes are: in memory, or still in the store. */
struct fetch_bytes {
    bool is_stored;
    uint64_t offset, left;      /* is_stored */
    struct slice memory;
    bool has_unknown_encoding;  /* RC_PERM because of that */
};
/* RC_NONE: there is no such section (NIL). What has to be made is made in scratch. */
enum rc imap_find_section(struct imap_message *, const struct fetch_section *, struct buf *scratch, struct fetch_bytes *);

/* "(...)"; false when out is full. */
/* The first words of a message (RFC 8970), at most PREVIEW_MAX characters; nothing when it has no text. */
enum { PREVIEW_MAX = 200 };
void imap_preview(struct slice message, const struct mime_part *root, struct buf *scratch, struct buf *out);
bool imap_write_envelope(struct buf *out, struct slice header, struct arena *scratch);
bool imap_write_structure(struct buf *out, struct slice message, const struct mime_part *, bool is_extended, struct arena *scratch);

#endif
