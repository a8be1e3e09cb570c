/* Composed messages: what is put in can be read out by MIME. */
#include "mail/compose.h"

#include "base/text.h"
#include "check.h"
#include "mail/mime.h"

static const struct address anna = { .local_part = SLICE_INIT("anna"), .domain = SLICE_INIT("a.example") };
static const struct address bert = { .local_part = SLICE_INIT("b ert"), .domain = SLICE_INIT("b.example") };

static struct compose plain_message(void)
{
    static const struct compose_mailbox to[] = {
        { SLICE_INIT("Bert, the second"), &bert }, { SLICE_INIT("J\xc3\xb6rg"), &anna }, { { "", 0 }, &anna },
    };
    return (struct compose){
        .from = { SLICE("Anna"), &anna }, .to = to, .to_count = 3, .subject = SLICE("Hello"), .date = { 1795330048, 0 },
        .random = { 1, 2, 3, 255 }, .text = SLICE("a\nb"),
    };
}

static void check_plain(void)
{
    struct compose c = plain_message();
    struct buf out;

    CASE("a plain message");
    buf_init(&out, 65536);
    CHECK(compose_write(&c, &out));
    CHECK_SLICE(buf_slice(&out), SLICE(
        "Date: Sun, 22 Nov 2026 06:47:28 +0000\r\nFrom: Anna <anna@a.example>\r\n"
        "To: \"Bert, the second\" <\"b ert\"@b.example>, =?utf-8?Q?J=C3=B6rg?=\r\n <anna@a.example>, anna@a.example\r\n"
        "Subject: Hello\r\nMessage-ID: <010203ff000000000000000000000000@a.example>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\na\r\nb\r\n"));
    buf_free(&out);
}

static const struct {
    const char *sentence;
    struct slice text, want;
    enum mime_encoding encoding;
} texts[] = {
    { "line ends become CRLF", SLICE_INIT("a\nb\r\nc\rd\r\r\n"), SLICE_INIT("a\r\nb\r\nc\r\nd\r\n"), MIME_7BIT },
    { "nothing", SLICE_INIT(""), SLICE_INIT(""), MIME_7BIT },
    { "UTF-8 is encoded", SLICE_INIT("Gr\xc3\xbc\xc3\x9f" "e\n"), SLICE_INIT("Gr\xc3\xbc\xc3\x9f" "e\r\n"), MIME_QUOTED_PRINTABLE },
    { "what is not UTF-8 becomes it", SLICE_INIT("\xe4\n"), SLICE_INIT("\xc3\xa4\r\n"), MIME_QUOTED_PRINTABLE },
    { "a NUL is encoded", SLICE_INIT("a\0b\n"), SLICE_INIT("a\0b\r\n"), MIME_QUOTED_PRINTABLE },
    { "a dot and From stay", SLICE_INIT(".\nFrom x\n"), SLICE_INIT(".\r\nFrom x\r\n"), MIME_7BIT },
};

static void check_texts(void)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct compose c = plain_message();
        struct mime_message m;
        struct arena arena;
        struct buf out, text;
        CASE(texts[i].sentence);
        arena_init(&arena, 1 << 20);
        buf_init(&out, 65536);
        buf_init(&text, 65536);
        c.text = texts[i].text;
        CHECK(compose_write(&c, &out));
        CHECK_INT(mime_parse(buf_slice(&out), &arena, &m, NULL), RC_OK);
        CHECK_INT(m.defect_count, 0);
        CHECK_INT(m.root->encoding, texts[i].encoding);
        CHECK_INT(mime_decode_text(buf_slice(&out), m.root, &text), RC_OK);
        CHECK_SLICE(buf_slice(&text), texts[i].want);
        CHECK(text_is_ascii(buf_slice(&out)));
        buf_free(&out);
        buf_free(&text);
        arena_free(&arena);
    }
}

static void check_attachments(void)
{
    char content[100000];
    const struct compose_attachment attachments[] = {
        { SLICE("/home/x/Gr\xc3\xbc\xc3\x9f" "e aus K\xc3\xb6ln.PNG"), SLICE_NONE, SLICE("\x89PNG\r\n\0") },
        { SLICE("a\"b.txt"), SLICE("text/x-odd"), { content, sizeof content } },
        { SLICE("x"), SLICE("bad type\r\nA: b"), SLICE("") },
        { SLICE("mail.eml"), SLICE_NONE, SLICE("A: b\r\n\r\n") },
    };
    static const char *const types[] = { "image/png", "text/x-odd", "application/octet-stream", "application/octet-stream" };
    static const char *const names[] = { ("Gr\xc3\xbc\xc3\x9f" "e aus K\xc3\xb6ln.PNG"), "a\"b.txt", "x", "mail.eml" };
    struct compose c = plain_message();
    struct mime_message m;
    struct arena arena;
    struct buf out, pieces, body;

    CASE("attachments come back as they went in");
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (char)(i * i);
    arena_init(&arena, 1 << 20);
    buf_init(&out, 1 << 20);
    buf_init(&pieces, 1 << 20);
    buf_init(&body, 1 << 20);
    c.attachments = attachments;
    c.attachment_count = 4;
    c.subject = SLICE("Gr\xc3\xbc\xc3\x9f" "e");
    CHECK(compose_write(&c, &out));
    CHECK(text_is_ascii(buf_slice(&out)));
    CHECK_INT(mime_parse(buf_slice(&out), &arena, &m, NULL), RC_OK);
    CHECK_INT(m.defect_count, 0);
    CHECK_INT(m.part_count, 6);
    const struct mime_part *part = m.root->first_child;
    for (size_t i = 0; i < 4; i++) {
        part = part->next;
        buf_clear(&body);
        CHECK_SLICE(part->type.value, slice_from_str(types[i]));
        CHECK_SLICE(mime_file_name(part), slice_from_str(names[i]));
        CHECK_INT(mime_decode_body(buf_slice(&out), part, &body), RC_OK);
        CHECK_SLICE(buf_slice(&body), attachments[i].content);
    }
    CASE("in pieces it is the same");
    CHECK(compose_write_start(&c, &pieces));
    for (size_t i = 0; i < 4; i++) {
        struct slice rest = attachments[i].content;
        CHECK(compose_write_attachment_head(&c, &attachments[i], &pieces));
        while (rest.len > 0)
            CHECK(compose_write_content(slice_take(&rest, COMPOSE_PIECE_BYTES), &pieces));
    }
    CHECK(compose_write_end(&c, &pieces));
    CHECK(slice_equal(buf_slice(&out), buf_slice(&pieces)));
    CASE("no room is told");
    struct buf small;
    buf_init(&small, 1000);
    CHECK(!compose_write(&c, &small));
    buf_free(&small);
    buf_free(&out);
    buf_free(&pieces);
    buf_free(&body);
    arena_free(&arena);
}

static void check_media_types(void)
{
    CASE("media types by name");
    CHECK_STR(media_type_of(SLICE("a.b.PDF")), "application/pdf");
    CHECK_STR(media_type_of(SLICE("pdf")), "application/octet-stream");
    CHECK_STR(media_type_of(SLICE("a.unknown")), "application/octet-stream");
    CHECK_STR(media_type_of(SLICE("")), "application/octet-stream");
}

int main(void)
{
    check_plain();
    check_texts();
    check_attachments();
    check_media_types();
    return check_done();
}
