/* FETCH (RFC 3501 6.4.5) with CHANGEDSINCE, MODSEQ and VANISHED (RFC 7162 3.1.4, 3.1.5, 3.2.6), BINARY (RFC 3516).
 *
 * \Seen that a FETCH sets is one change for all its messages, made before the first of them goes out, so that each
 * response carries the new flags; a disk that is too full to note it does not keep anyone from reading. Bodies go out in
 * pieces as the output has room. */
#include "imap/fetch.h"

#include <string.h>

enum { PIECE_BYTES = 32 * 1024, LOAD_WORK = 50 };

struct fetch_job {
    struct fetch_items items;
    bool has_changed_since, has_vanished;
    uint64_t changed_since;
    struct slice set;           /* as the client gave it */
    bool has_partial;
    struct imap_partial partial;
    struct imap_cursor at;
    uint32_t seq;
    bool is_open;               /* "* 5 FETCH (" stands there */
    const char *separator;
    size_t item;                /* next one of the open response */
    struct store_message message;
    bool is_streaming;
    struct fetch_bytes bytes;
    bool has_failed, has_unknown_encoding;
    unsigned work;
};

/* ---- items --------------------------------------------------------------------------------------------------------- */

static void write_date(struct imap_session *s, const struct store_message *message)
{
    (void)buf_append_str(&s->text, "INTERNALDATE \"");
    (void)date_write_imap((struct mail_date){ message->internal_s, message->internal_zone_min }, &s->text);
    (void)buf_append_byte(&s->text, '"');
}

static enum rc write_envelope(struct imap_session *s)
{
    struct slice header;
    enum rc rc = imap_message_header(&s->message, &header);
    if (rc != RC_OK)
        return rc;
    (void)buf_append_str(&s->text, "ENVELOPE ");
    return imap_write_envelope(&s->text, header, &s->scratch_arena) ? RC_OK : RC_TEMP;
}

static enum rc write_structure(struct imap_session *s, bool is_extended)
{
    struct slice whole;
    const struct mime_message *mime = NULL;
    enum rc rc = imap_message_mime(&s->message, &whole, &mime);
    if (rc != RC_OK)
        return rc;
    (void)buf_append_str(&s->text, is_extended ? "BODYSTRUCTURE " : "BODY ");
    return imap_write_structure(&s->text, whole, mime->root, is_extended, &s->scratch_arena) ? RC_OK : RC_TEMP;
}

static enum rc write_preview(struct imap_session *s)
{
    struct slice whole;
    const struct mime_message *mime = NULL;
    struct buf preview;
    enum rc rc = imap_message_mime(&s->message, &whole, &mime);
    if (rc != RC_OK)
        return rc;
    buf_init(&preview, PREVIEW_MAX * 4 + 1);
    buf_clear(&s->scratch);
    imap_preview(whole, mime->root, &s->scratch, &preview);
    (void)buf_append_str(&s->text, "PREVIEW ");
    bool ok = imap_write_string(&s->text, buf_len(&preview) > 0 ? buf_slice(&preview) : SLICE(""));
    buf_free(&preview);
    return ok ? RC_OK : RC_TEMP;
}

/* The next piece of a body. False: the disk lies, or memory is short. */
static bool write_piece(struct imap_session *s, struct fetch_job *job)
{
    struct fetch_bytes *bytes = &job->bytes;
    if (!bytes->is_stored) {
        struct slice piece = slice_take(&bytes->memory, PIECE_BYTES);
        job->is_streaming = bytes->memory.len > 0;
        return buf_append(&s->text, piece);
    }
    size_t len = bytes->left < PIECE_BYTES ? (size_t)bytes->left : PIECE_BYTES;
    char *to = buf_reserve(&s->text, len);
    if (to == NULL || (len > 0 && store_read(s->options.store, job->message.body_id, bytes->offset, len, to, NULL) != RC_OK))
        return false;
    buf_commit(&s->text, len);
    bytes->offset += len;
    bytes->left -= len;
    job->is_streaming = bytes->left > 0;
    return true;
}

static bool has_byte(struct slice text, char byte) { return text.len > 0 && memchr(text.ptr, byte, text.len) != NULL; }

/* The length is said only when the first piece is there: up to then there is a way back. */
static enum rc write_section(struct imap_session *s, struct fetch_job *job, const struct fetch_item *item)
{
    enum rc rc = imap_find_section(&s->message, item->section, &s->scratch, &job->bytes);
    (void)buf_append(&s->text, item->label);
    if (rc == RC_NONE) {
        (void)buf_append_str(&s->text, " NIL");
        return RC_OK;
    }
    job->has_unknown_encoding |= job->bytes.has_unknown_encoding;
    if (rc != RC_OK)
        return rc;
    if (item->section->is_binary && !job->bytes.is_stored && has_byte(job->bytes.memory, '\0'))
        (void)buf_append_str(&s->text, " ~");   /* literal8: NUL may stand in it */
    else
        (void)buf_append_byte(&s->text, ' ');
    uint64_t len = job->bytes.is_stored ? job->bytes.left : job->bytes.memory.len;
    (void)buf_printf(&s->text, "{%" PRIu64 "}\r\n", len);
    if (write_piece(s, job))
        return RC_OK;
    job->is_streaming = false;
    return RC_PERM;
}

static enum rc write_binary_size(struct imap_session *s, struct fetch_job *job, const struct fetch_item *item)
{
    struct fetch_bytes bytes;
    enum rc rc = imap_find_section(&s->message, item->section, &s->scratch, &bytes);
    job->has_unknown_encoding |= bytes.has_unknown_encoding;
    if (rc != RC_OK && rc != RC_NONE)
        return rc;
    (void)buf_append(&s->text, item->label);
    imap_say(s, " %" PRIu64, bytes.is_stored ? bytes.left : bytes.memory.len);
    return RC_OK;
}

static enum rc write_item(struct imap_session *s, struct fetch_job *job, const struct fetch_item *item)
{
    const struct store_message *message = &job->message;
    switch (item->kind) {
    case FETCH_FLAGS:
        imap_write_flags(s, message);
        return RC_OK;
    case FETCH_UID:
        imap_say(s, "UID %" PRIu32, message->uid);
        return RC_OK;
    case FETCH_INTERNALDATE:
        write_date(s, message);
        return RC_OK;
    case FETCH_SIZE:
        imap_say(s, "RFC822.SIZE %" PRIu32, message->size);
        return RC_OK;
    case FETCH_MODSEQ:
        imap_say(s, "MODSEQ (%" PRIu64 ")", message->modseq);
        return RC_OK;
    case FETCH_EMAILID:
        imap_say(s, "EMAILID (" IMAP_EMAIL_ID ")", message->body_id);
        return RC_OK;
    case FETCH_THREADID:                        /* RFC 8474 5.2: threads have no ids here */
        imap_say(s, "THREADID NIL");
        return RC_OK;
    case FETCH_PREVIEW:
        job->work += LOAD_WORK + message->size / 1024;
        return write_preview(s);
    case FETCH_ENVELOPE:
        job->work += LOAD_WORK;
        return write_envelope(s);
    case FETCH_BODY:
    case FETCH_BODYSTRUCTURE:
        job->work += LOAD_WORK + message->size / 1024;
        return write_structure(s, item->kind == FETCH_BODYSTRUCTURE);
    case FETCH_SECTION:
        job->work += LOAD_WORK;
        return write_section(s, job, item);
    case FETCH_BINARY_SIZE:
        job->work += LOAD_WORK + message->size / 1024;
        return write_binary_size(s, job, item);
    }
    return RC_PERM;
}

/* An item that cannot be read is left out, and the end of the command says so. */
static void next_item(struct imap_session *s, struct fetch_job *job)
{
    size_t mark = buf_len(&s->text);
    (void)buf_append_str(&s->text, job->separator);
    arena_rewind(&s->scratch_arena);
    if (write_item(s, job, &job->items.items[job->item++]) == RC_OK) {
        job->separator = " ";
        return;
    }
    buf_truncate(&s->text, mark);
    job->has_failed = true;
}

/* ---- messages ------------------------------------------------------------------------------------------------------- */

static bool is_newly_seen(const struct imap_session *s, const struct fetch_job *job)
{
    return s->from_uids.count > 0 && uid_set_contains(&s->from_uids, job->message.uid);
}

static bool has_item(const struct fetch_job *job, enum fetch_kind kind)
{
    for (size_t i = 0; i < job->items.count; i++) {
        if (job->items.items[i].kind == kind)
            return true;
    }
    return false;
}

static void open_response(struct imap_session *s, struct fetch_job *job)
{
    job->is_open = true;
    job->item = 0;
    job->separator = "";
    imap_message_use(&s->message, &job->message);
    imap_learn_keywords(s, job->message.keywords);
    imap_say(s, "* %" PRIu32 " FETCH (", job->seq);
}

static void close_response(struct imap_session *s, struct fetch_job *job)
{
    if (is_newly_seen(s, job) && !has_item(job, FETCH_FLAGS)) {
        imap_say(s, "%s", job->separator);
        imap_write_flags(s, &job->message);
        job->separator = " ";
    }
    if (is_newly_seen(s, job) && s->is_condstore && !job->items.has_modseq)
        imap_say(s, "%sMODSEQ (%" PRIu64 ")", job->separator, job->message.modseq);
    imap_say(s, ")\r\n");
    job->is_open = false;
}

static bool next_message(struct imap_session *s, struct fetch_job *job)
{
    if (!imap_next_seq(&s->seqs, &job->at, &job->seq))
        return false;
    store_view_at(s->selected.view, job->seq, &job->message);
    /* A message that this very command marked as seen changed after the client asked. */
    if (!job->has_changed_since || job->message.modseq > job->changed_since)
        open_response(s, job);
    return true;
}

static enum imap_next fetch_on(struct imap_session *s)
{
    struct fetch_job *job = s->job;
    for (job->work = 0; !imap_is_enough(s, job->work); job->work++) {
        if (job->is_streaming) {
            if (write_piece(s, job))
                continue;
            s->is_closing = true;               /* in the middle of a literal nothing else can be said */
            return IMAP_DONE;
        }
        if (job->is_open && job->item < job->items.count) {
            next_item(s, job);
        } else if (job->is_open) {
            close_response(s, job);
        } else if (!next_message(s, job)) {
            if (job->has_unknown_encoding)
                return imap_no(s, "UNKNOWN-CTE", "the transfer encoding of a part is not known");
            if (job->has_failed)
                return imap_no(s, "SERVERBUG", "some messages could not be read");
            return imap_ok(s, "FETCH completed");
        }
    }
    return imap_again(s, fetch_on);
}

/* ---- the command -------------------------------------------------------------------------------------------------------- */

static bool parse_modifiers(struct imap_parser *p, struct fetch_job *job)
{
    if (!imap_parse_takes(p, ' '))
        return imap_parse_end(p);
    if (!imap_parse_byte(p, '('))
        return false;
    do {
        struct slice name;
        if (!imap_parse_atom(p, &name))
            return false;
        if (slice_equal_nocase(name, SLICE("VANISHED"))) {
            job->has_vanished = true;
        } else if (slice_equal_nocase(name, SLICE("PARTIAL"))) {            /* RFC 9394 3.3 */
            job->has_partial = true;
            if (!imap_parse_space(p) || !imap_parse_partial(p, &job->partial))
                return false;
        } else if (slice_equal_nocase(name, SLICE("CHANGEDSINCE"))) {
            job->has_changed_since = true;
            if (!imap_parse_space(p) || !imap_parse_number(p, INT64_MAX, &job->changed_since))
                return false;
        } else {
            return imap_parse_failed(p, "there is no such FETCH modifier");
        }
    } while (imap_parse_takes(p, ' '));
    if (!imap_parse_byte(p, ')') || !imap_parse_end(p))
        return false;
    return !job->has_changed_since || imap_fetch_add(p, &job->items, FETCH_MODSEQ);
}

/* RFC 7162 3.2.6, RFC 9394 3.3: only so. */
static bool modifiers_are_right(struct imap_session *s, const struct fetch_job *job)
{
    if (job->has_partial && !s->is_uid)
        return imap_parse_failed(&s->args, "PARTIAL needs UID FETCH");
    if (!job->has_vanished || (s->is_qresync && s->is_uid && job->has_changed_since))
        return true;
    return imap_parse_failed(&s->args, "VANISHED needs ENABLE QRESYNC, UID FETCH and CHANGEDSINCE");
}

static bool parse_arguments(struct imap_session *s, struct fetch_job *job)
{
    struct imap_parser *p = &s->args;
    if (!imap_parse_space(p))
        return false;
    struct imap_parser ahead = *p;
    if (!imap_take_set(s) || !imap_parse_set(&ahead, &job->set) || !imap_parse_space(p))
        return false;
    if (s->is_uid && !imap_fetch_add(p, &job->items, FETCH_UID))        /* RFC 3501 6.4.8 */
        return false;
    return imap_parse_fetch_items(p, &job->items) && parse_modifiers(p, job) && modifiers_are_right(s, job);
}

/* The messages that this command will have been the first to show. */
static bool find_unseen(struct imap_session *s, const struct fetch_job *job)
{
    struct imap_cursor at = { 0, 0 };
    uint32_t seq;
    if (!job->items.sets_seen || s->selected.is_read_only)
        return false;
    while (imap_next_seq(&s->seqs, &at, &seq)) {
        struct store_message message;
        store_view_at(s->selected.view, seq, &message);
        bool is_wanted = !job->has_changed_since || message.modseq > job->changed_since;
        if (is_wanted && (message.flags & FLAG_SEEN) == 0 && !uid_set_add(&s->from_uids, message.uid, message.uid))
            break;
    }
    return s->from_uids.count > 0;
}

static enum imap_next seen(struct imap_session *s)
{
    if (s->settled != RC_OK)
        uid_set_clear(&s->from_uids);
    return fetch_on(s);
}

enum imap_next imap_cmd_fetch(struct imap_session *s)
{
    struct fetch_job *job = ARENA_NEW(&s->arena, struct fetch_job);
    uint64_t modseq = 0, wait = 0;
    if (job == NULL)
        return imap_no(s, "UNAVAILABLE", "out of memory");
    if (!parse_arguments(s, job))
        return imap_bad_syntax(s);
    if (job->items.has_modseq)
        imap_enable_condstore(s);
    s->job = job;
    if (job->has_partial && !imap_take_partial(&s->seqs, &job->partial))
        return imap_no(s, "UNAVAILABLE", "out of memory");
    if (job->has_vanished && !imap_say_vanished_since(s, job->changed_since, job->set))
        return imap_no(s, "UNAVAILABLE", "out of memory");
    if (!find_unseen(s, job))
        return fetch_on(s);
    enum rc rc = store_flags(s->options.store, s->selected.mailbox_id, &s->from_uids, FLAGS_ADD, FLAG_SEEN, 0, UINT64_MAX,
                             &s->modified, &modseq, &wait, NULL);
    if (rc != RC_OK) {
        uid_set_clear(&s->from_uids);
        return fetch_on(s);
    }
    imap_own_change(s, modseq, false);
    return imap_wait(s, wait, seen);
}
