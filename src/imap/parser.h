/* The grammar of IMAP's command arguments (RFC 3501 9), over one whole command with its literals in place.
 *
 * Each function takes one thing off the front and returns true; or it returns false, and `error` says what was expected
 * there, for the BAD that follows. Slices point into the command or, where something had to be unescaped, the arena. */
#ifndef THURN_IMAP_PARSER_H
#define THURN_IMAP_PARSER_H

#include "base/arena.h"
#include "base/buf.h"
#include "mail/date.h"

struct imap_parser {
    struct slice in;
    struct arena *arena;
    const char *error;
    bool is_utf8;               /* mailbox names are UTF-8 (RFC 6855 3, RFC 9051 5.1), not modified UTF-7 */
};

enum { IMAP_FLAG_KEYWORDS_MAX = 64 };

struct imap_flags {
    uint32_t system;                            /* FLAG_* of store/store.h */
    bool has_recent;                            /* \Recent was among them: nobody can set it, and it is passed over */
    struct slice keywords[IMAP_FLAG_KEYWORDS_MAX];
    size_t keyword_count;
};

void imap_parser_init(struct imap_parser *, struct slice, struct arena *);
bool imap_parse_failed(struct imap_parser *, const char *error);        /* sets error; false */
bool imap_parse_end(struct imap_parser *);
bool imap_parse_space(struct imap_parser *);
bool imap_parse_byte(struct imap_parser *, char);                       /* must stand there */
bool imap_parse_takes(struct imap_parser *, char);                      /* true and taken when it stands there; never an error */
bool imap_parse_peeks(const struct imap_parser *, char);
bool imap_parse_tag(struct imap_parser *, struct slice *);
bool imap_parse_atom(struct imap_parser *, struct slice *);
bool imap_parse_string(struct imap_parser *, struct slice *);           /* quoted or literal */
bool imap_parse_astring(struct imap_parser *, struct slice *);
bool imap_parse_nstring(struct imap_parser *, struct slice *);          /* NIL gives SLICE_NONE */
bool imap_parse_number(struct imap_parser *, uint64_t max, uint64_t *);
bool imap_parse_set(struct imap_parser *, struct slice *);              /* sequence-set, its syntax checked; or "$" (RFC 5182) */
bool imap_parse_mailbox(struct imap_parser *, struct slice *utf8);      /* modified UTF-7 decoded */
bool imap_parse_pattern(struct imap_parser *, struct slice *utf8);      /* list-mailbox: the same with % and * */
bool imap_parse_flag_list(struct imap_parser *, bool bare_allowed, struct imap_flags *);        /* "(\Seen x)"; bare: without () too */
bool imap_parse_date_time(struct imap_parser *, struct mail_date *);    /* with its quotes */
bool imap_parse_day(struct imap_parser *, int64_t *day);                /* date, quoted or not */

bool imap_is_atom_byte(unsigned char);

#endif
