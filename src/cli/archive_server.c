/* Messages into the running server, by its control socket: as an administrator, without anybody's password. */
#include "cli/archive.h"

#include "base/text.h"
#include "role/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PIECE_BYTES = 384 * 1024, WORDS_MAX = 1 << 20, COUNT_MAX = ARCHIVE_KEYWORDS_MAX + 16 };

struct server_sink {
    char socket[4096];
    uint64_t account;
    char folder[MAILBOX_NAME_MAX + 1];
    struct archive_fates fates;
    struct buf words;               /* each ended by NUL */
    size_t count;
};

static void add_word(struct server_sink *s, const char *name, struct slice value)
{
    buf_append_str(&s->words, name);
    buf_append(&s->words, value);
    buf_append_byte(&s->words, '\0');
    s->count++;
}

static void add_number(struct server_sink *s, const char *name, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    add_word(s, name, slice_from_str(text));
}

static void begin(struct server_sink *s)
{
    buf_clear(&s->words);
    s->count = 0;
    add_number(s, "account=", (int64_t)s->account);
    add_word(s, "mailbox=", slice_from_str(s->folder));
}

static enum rc call(struct server_sink *s, const char *command, struct fault *f)
{
    const char *words[COUNT_MAX];
    struct slice rest = buf_slice(&s->words);
    if (s->words.overflow || s->count > COUNT_MAX)
        return fault_no_memory(f);
    for (size_t i = 0; i < s->count; i++)
        words[i] = slice_take_until(&rest, '\0').ptr;
    return control_call(s->socket, command, words, s->count, NULL, NULL, f);
}

static enum rc open_folder(void *self, struct slice name, bool is_subscribed, struct fault *f)
{
    struct server_sink *s = self;
    (void)slice_to_str(slice_sub(name, 0, sizeof s->folder - 1), s->folder, sizeof s->folder);
    begin(s);
    if (is_subscribed)
        add_word(s, "subscribe", SLICE_NONE);
    return call(s, "append-mailbox", f);
}

static bool add_piece(struct server_sink *s, struct slice *rest)
{
    struct slice piece = slice_take(rest, PIECE_BYTES);
    struct buf text;
    buf_init(&text, WORDS_MAX);
    bool ok = base64_encode(piece, &text);
    add_word(s, "data=", buf_slice(&text));
    if (rest->len > 0)
        add_word(s, "more", SLICE_NONE);
    buf_free(&text);
    return ok;
}

static enum rc add(void *self, const struct archive_item *item, uint64_t ticket, struct fault *f)
{
    struct server_sink *s = self;
    struct slice rest = item->bytes;
    begin(s);
    add_number(s, "date=", item->has_date ? item->date.unix_s : (int64_t)time(NULL));
    add_number(s, "zone=", item->has_date ? item->date.zone_min : 0);
    add_number(s, "flags=", item->flags);
    for (size_t i = 0; i < item->keyword_count; i++)
        add_word(s, "keyword=", item->keywords[i]);
    enum rc rc = add_piece(s, &rest) ? call(s, "append", f) : fault_no_memory(f);
    while (rc == RC_OK && rest.len > 0) {
        begin(s);
        rc = add_piece(s, &rest) ? call(s, "append-more", f) : fault_no_memory(f);
    }
    if (rc != RC_OK && rc != RC_PERM)
        return rc;
    s->fates.settled(s->fates.arg, ticket, rc == RC_OK, rc == RC_OK ? "" : f->text);
    return RC_OK;
}

static enum rc finish(void *self, struct fault *f)
{
    (void)self, (void)f;
    return RC_OK;                   /* each is on stable storage when it has been answered */
}

static void close_sink(void *self)
{
    struct server_sink *s = self;
    buf_free(&s->words);
    free(s);
}

enum rc archive_sink_server(const char *run_dir, uint64_t account, const struct archive_fates *fates, struct archive_sink *out, struct fault *f)
{
    struct server_sink *s = calloc(1, sizeof *s);
    if (s == NULL)
        return fault_no_memory(f);
    snprintf(s->socket, sizeof s->socket, "%s/control-post.sock", run_dir);
    s->account = account;
    s->fates = *fates;
    buf_init(&s->words, WORDS_MAX);
    *out = (struct archive_sink){ .self = s, .open_folder = open_folder, .add = add, .finish = finish, .close = close_sink };
    enum rc rc = open_folder(s, SLICE("INBOX"), false, f);      /* it is there: this asks whether the server is */
    if (rc != RC_OK)
        close_sink(s);
    return rc;
}
