/* APPEND (RFC 3501 6.3.11; UIDPLUS: RFC 4315 3).
 *
 * The message goes from the connection to the store in pieces and is never held. What can be refused is refused before a
 * synchronising client sends it; a literal that comes anyway is read to its end, so that the refusal is all that happens. */
#include "imap/inner.h"

#include <stdio.h>
#include <stdlib.h>

struct imap_append {
    struct store_body *body;    /* NULL: refused, the bytes are dropped */
    uint64_t mailbox_id;
    uint32_t uidvalidity;
    uint32_t flags;
    uint64_t keywords;
    struct mail_date date;
    bool is_utf8;               /* a bracket closes behind it */
    enum rc rc;                 /* why it was refused, with code (may be NULL) and text */
    const char *code;
    struct fault fault;
    uint32_t uid;
};

static enum rc refuse(struct imap_append *a, const char *code, const char *text)
{
    a->code = code;
    return a->rc = fault_perm(&a->fault, 0, "%s", text);
}

void imap_append_abandon(struct imap_session *s)
{
    if (s->append == NULL)
        return;
    if (s->append->body != NULL)
        store_body_abandon(s->append->body);
    free(s->append);
    s->append = NULL;
}

/* ---- before the message ------------------------------------------------------------------------------------------- */

struct arguments {
    bool is_utf8;               /* "UTF8 (~{5}...)": RFC 6855 4 */
    struct slice mailbox;
    struct imap_flags flags;
    bool has_date;
    struct mail_date date;
};

/* All that stands before the message's literal, of which only the head is there. */
static bool parse_arguments(struct imap_parser *p, struct arguments *args)
{
    if (!imap_parse_space(p) || !imap_parse_mailbox(p, &args->mailbox) || !imap_parse_space(p))
        return false;
    if (imap_parse_peeks(p, '(') && (!imap_parse_flag_list(p, false, &args->flags) || !imap_parse_space(p)))
        return false;
    args->has_date = imap_parse_peeks(p, '"');
    if (args->has_date && (!imap_parse_date_time(p, &args->date) || !imap_parse_space(p)))
        return false;
    args->is_utf8 = p->is_utf8 && slice_take_prefix_nocase(&p->in, SLICE("UTF8 ("));
    if (!imap_parse_takes(p, '~') && args->is_utf8)         /* literal8 (RFC 3516 4.4) */
        return imap_parse_failed(p, "a literal8 was expected");
    return imap_parse_peeks(p, '{');
}

static bool is_within_quota(struct imap_session *s, uint64_t bytes)
{
    struct store_usage usage;
    if (s->options.quota_bytes == 0 || store_account_usage(s->options.store, s->options.account, &usage) != RC_OK)
        return true;
    uint64_t taken = usage.bytes + usage.coming_bytes;
    return taken <= s->options.quota_bytes && bytes <= s->options.quota_bytes - taken;
}

bool imap_has_quota(struct imap_session *s, uint64_t bytes, enum imap_next *next)
{
    if (is_within_quota(s, bytes))
        return true;
    *next = imap_no(s, "OVERQUOTA", "there is no room left in this account");
    return false;
}

bool imap_find_destination(struct imap_session *s, struct slice name, struct store_mailbox_info *info, enum imap_next *next)
{
    if (store_mailbox_find(s->options.store, s->options.account, name, info) != RC_OK)
        *next = imap_no(s, "TRYCREATE", "there is no such mailbox");
    else if (info->is_noselect)
        *next = imap_no(s, "CANNOT", "this name only holds other mailboxes");
    else
        return true;
    return false;
}

enum rc imap_keyword_bits(struct imap_session *s, uint64_t mailbox_id, const struct imap_flags *flags, bool create, uint64_t *bits,
                          struct fault *f)
{
    *bits = 0;
    for (size_t i = 0; i < flags->keyword_count; i++) {
        uint32_t bit = 0;
        uint64_t wait;
        enum rc rc = store_keyword(s->options.store, mailbox_id, flags->keywords[i], create, &bit, &wait, f);
        if (rc == RC_OK)
            *bits |= 1ull << bit;
        else if (rc != RC_NONE || create)
            return rc;
    }
    return RC_OK;
}

static enum rc check(struct imap_session *s, struct imap_append *a, const struct arguments *args, uint64_t bytes)
{
    struct store_mailbox_info info;
    if (store_mailbox_find(s->options.store, s->options.account, args->mailbox, &info) != RC_OK)
        return refuse(a, "TRYCREATE", "there is no such mailbox");
    if (info.is_noselect)
        return refuse(a, "CANNOT", "this name only holds other mailboxes");
    if (bytes == 0)
        return refuse(a, "CANNOT", "there is nothing in that message");
    if ((s->options.append_max != 0 && bytes > s->options.append_max) || bytes > UINT32_MAX)
        return refuse(a, "TOOBIG", "the message is larger than this server takes");
    if (!is_within_quota(s, bytes))
        return refuse(a, "OVERQUOTA", "there is no room left in this account");
    a->mailbox_id = info.id;
    a->uidvalidity = info.uidvalidity;
    a->flags = args->flags.system;
    a->date = args->has_date ? args->date : s->now;
    if (!store_has_room(s->options.store, bytes, &a->fault))
        return a->rc = RC_TEMP;
    return a->rc = imap_keyword_bits(s, info.id, &args->flags, true, &a->keywords, &a->fault);
}

static enum imap_next say_refusal(struct imap_session *s, const struct imap_append *a)
{
    return a->code != NULL ? imap_no(s, a->code, a->fault.text) : imap_no_fault(s, a->rc, &a->fault);
}

/* Called for every announced literal. It is the message when all before it parses; what parses wrongly is left to the
 * ordinary way, which ends in BAD. */
enum imap_append_literal imap_append_begin(struct imap_session *s)
{
    struct imap_parser p;
    struct slice tag, name;
    struct arguments args = { .has_date = false };
    if (s->append != NULL || s->is_idling)
        return IMAP_APPEND_OTHER;               /* a second one behind the message: MULTIAPPEND is not offered */
    imap_parser_init(&p, buf_slice(&s->input.text), &s->arena);
    p.is_utf8 = s->is_utf8;
    if (!imap_parse_tag(&p, &tag) || !imap_parse_space(&p) || !imap_parse_atom(&p, &name)
        || !slice_equal_nocase(name, SLICE("APPEND")) || !parse_arguments(&p, &args)) {
        arena_rewind(&s->arena);
        return IMAP_APPEND_OTHER;
    }
    struct imap_append *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return IMAP_APPEND_OTHER;
    s->append = a;
    a->is_utf8 = args.is_utf8;
    if (check(s, a, &args, s->input.literal_bytes) == RC_OK) {
        a->body = store_body_begin(s->options.store);
        if (a->body == NULL)
            a->rc = fault_no_memory(&a->fault);
    }
    if (a->rc == RC_OK || !s->input.is_synchronising)
        return IMAP_APPEND_TAKEN;
    s->tag = tag;
    (void)say_refusal(s, a);
    imap_append_abandon(s);
    return IMAP_APPEND_REFUSED;
}

/* ---- the message and its end --------------------------------------------------------------------------------------- */

void imap_append_bytes(struct imap_session *s, struct slice piece)
{
    struct imap_append *a = s->append;
    if (a->body == NULL)
        return;
    enum rc rc = store_body_write(a->body, piece, &a->fault);
    if (rc == RC_OK)
        return;
    a->rc = rc;
    store_body_abandon(a->body);
    a->body = NULL;
}

static enum imap_next appended(struct imap_session *s)
{
    struct imap_append *a = s->append;
    char code[64];
    if (s->settled != RC_OK) {
        imap_append_abandon(s);
        return imap_unsettled(s);
    }
    (void)snprintf(code, sizeof(code), "APPENDUID %" PRIu32 " %" PRIu32, a->uidvalidity, a->uid);
    imap_append_abandon(s);
    return imap_finish(s, "OK", slice_from_str(code), "APPEND completed");
}

static enum imap_next refused(struct imap_session *s)
{
    enum imap_next next = say_refusal(s, s->append);
    imap_append_abandon(s);
    return next;
}

/* The whole command is there: the text ends with the head of the message's literal, which has gone to the store. */
enum imap_next imap_cmd_append(struct imap_session *s)
{
    struct imap_append *a = s->append;
    struct arguments args = { .has_date = false };
    if (a == NULL) {
        if (parse_arguments(&s->args, &args))
            s->args.error = "the message has to come as a literal";
        return imap_bad_syntax(s);
    }
    if (!slice_ends_nocase(s->args.in, a->is_utf8 ? SLICE("}\r\n)") : SLICE("}\r\n"))) {
        imap_append_abandon(s);
        return imap_bad(s, "unexpected text behind the message");
    }
    if (a->rc != RC_OK)
        return refused(s);
    /* The keywords once more: if the record that made them has failed meanwhile, their bits may be another's by now. */
    if (!parse_arguments(&s->args, &args))
        return imap_append_abandon(s), imap_bad_syntax(s);
    a->rc = imap_keyword_bits(s, a->mailbox_id, &args.flags, true, &a->keywords, &a->fault);
    if (a->rc != RC_OK)
        return refused(s);
    if (!is_within_quota(s, store_body_size(a->body))) {        /* others have brought something meanwhile */
        (void)refuse(a, "OVERQUOTA", "there is no room left in this account");
        return refused(s);
    }
    uint64_t wait = 0;
    struct store_body *body = a->body;
    a->body = NULL;
    a->rc = store_append(s->options.store, a->mailbox_id, body, a->date, a->flags, a->keywords, &a->uid, &wait, &a->fault);
    if (a->rc == RC_NONE)
        (void)refuse(a, "TRYCREATE", "there is no such mailbox");
    return a->rc == RC_OK ? imap_wait(s, wait, appended) : refused(s);
}
