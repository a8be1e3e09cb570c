/* A message in memory: see message.h. */
#include "imap/message.h"

#include <stdlib.h>

enum {
    FIRST_BYTES = 8 * 1024,             /* most headers fit */
    MIME_ARENA_BYTES = 8 * 1024 * 1024, /* mail/mime.h asks for 4 MiB and four times the longest header */
};

/* In the place of a message that is not to be parsed any more. Its bytes can be had all the same, as BODY[]. */
static const struct slice stand_in = SLICE_INIT(
    "Content-Type: text/plain; charset=us-ascii\r\n\r\n"
    "This message is set aside: the server died twice when it looked into it.\r\n"
    "It is kept as it came; its source can still be fetched.\r\n");

void imap_message_init(struct imap_message *m, struct store *store)
{
    *m = (struct imap_message){ .store = store };
}

void imap_message_free(struct imap_message *m)
{
    free(m->bytes);
    if (m->arena.max_bytes != 0)
        arena_free(&m->arena);
    imap_message_init(m, m->store);
}

void imap_message_use(struct imap_message *m, const struct store_message *message)
{
    if (m->body_id == message->body_id && m->body_id != 0)
        return;
    imap_message_free(m);
    m->body_id = message->body_id;
    m->size_bytes = message->size;
    m->is_set_aside = store_is_set_aside(m->store, HANDLING_READ, m->body_id);
    header_scan_init(&m->scan);
}

static enum rc load(struct imap_message *m, size_t want)
{
    if (want <= m->loaded)
        return RC_OK;
    if (want > m->cap) {
        char *bytes = realloc(m->bytes, want);
        if (bytes == NULL)
            return RC_TEMP;
        m->bytes = bytes;
        m->cap = want;
    }
    enum rc rc = store_read(m->store, m->body_id, m->loaded, want - m->loaded, m->bytes + m->loaded, NULL);
    if (rc != RC_OK)
        return rc;
    if (!m->scan.is_ended)
        (void)header_scan_feed(&m->scan, (struct slice){ m->bytes + m->loaded, want - m->loaded });
    m->loaded = want;
    return RC_OK;
}

enum rc imap_message_header(struct imap_message *m, struct slice *header)
{
    size_t want = m->loaded > FIRST_BYTES ? m->loaded : FIRST_BYTES;
    if (m->is_set_aside) {
        *header = SLICE_NONE;
        return RC_OK;
    }
    store_handling_begin(m->store, HANDLING_READ, m->body_id);
    for (;;) {
        enum rc rc = load(m, want < m->size_bytes ? want : m->size_bytes);
        if (rc != RC_OK)
            return rc;
        if (m->scan.is_ended || m->loaded == m->size_bytes)
            break;
        want *= 4;
    }
    *header = (struct slice){ m->bytes == NULL ? "" : m->bytes, m->scan.bytes };
    return RC_OK;
}

enum rc imap_message_whole(struct imap_message *m, struct slice *whole)
{
    enum rc rc = load(m, m->size_bytes);
    *whole = (struct slice){ m->bytes == NULL ? "" : m->bytes, m->loaded };
    return rc;
}

enum rc imap_message_mime(struct imap_message *m, struct slice *whole, const struct mime_message **mime)
{
    enum rc rc = RC_OK;
    if (m->is_set_aside) {
        *whole = stand_in;
    } else {
        store_handling_begin(m->store, HANDLING_READ, m->body_id);
        rc = imap_message_whole(m, whole);
    }
    if (rc != RC_OK)
        return rc;
    if (m->mime == NULL) {
        arena_init(&m->arena, MIME_ARENA_BYTES + 4 * m->size_bytes);
        struct mime_message *parsed = ARENA_NEW(&m->arena, struct mime_message);
        if (parsed == NULL || mime_parse(*whole, &m->arena, parsed, NULL) != RC_OK)
            return RC_TEMP;
        m->mime = parsed;
    }
    *mime = m->mime;
    return RC_OK;
}
