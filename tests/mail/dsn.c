/* Delivery status notifications: what is written is MIME that a program reads, whatever peers said. */
#include "mail/dsn.h"

#include "base/text.h"
#include "check.h"
#include "mail/mime.h"

static const struct slice original = SLICE_INIT(
    "Received: from x\r\n\tby y; Thu\r\nMessage-ID: <1@a.example>\r\nSubject: hello\r\n\r\nthe body\r\n");

static struct address sender = { .local_part = SLICE_INIT("s"), .domain = SLICE_INIT("a.example") };
static struct address rcpt = { .local_part = SLICE_INIT("r"), .domain = SLICE_INIT("b.example") };

static struct dsn plain_report(const struct dsn_recipient *recipients, size_t count)
{
    return (struct dsn){
        .reporting_host = SLICE("mail.a.example"), .to = &sender, .envid = SLICE("QQ314159"),
        .arrival_s = 1795330048, .queue_id = SLICE("q1"), .message_id = SLICE("m1@mail.a.example"),
        .boundary_seed = SLICE("seed"), .now = { 1795330148, 0 },
        .recipients = recipients, .recipient_count = count, .original = original,
    };
}

struct written {
    struct arena arena;
    struct buf out;
    struct mime_message mime;
    const struct mime_part *parts[3];
};

static struct slice body_of(const struct written *w, size_t n)
{
    return slice_sub(buf_slice(&w->out), w->parts[n]->body_start, w->parts[n]->body_end - w->parts[n]->body_start);
}

static void write_report(struct written *w, const struct dsn *d)
{
    arena_init(&w->arena, 1 << 20);
    buf_init(&w->out, 1 << 20);
    CHECK_INT(dsn_write(d, &w->out, NULL), RC_OK);
    CHECK_INT(mime_parse(buf_slice(&w->out), &w->arena, &w->mime, NULL), RC_OK);
    CHECK_INT(w->mime.defect_count, 0);
    CHECK_SLICE(w->mime.root->type.value, SLICE("multipart/report"));
    CHECK_SLICE(header_value_param(&w->mime.root->type, SLICE("report-type")), SLICE("delivery-status"));
    const struct mime_part *part = w->mime.root->first_child;
    for (size_t i = 0; i < 3; i++, part = part == NULL ? NULL : part->next)
        w->parts[i] = part;
    CHECK(w->parts[2] != NULL && part == NULL);
}

static void free_report(struct written *w)
{
    arena_free(&w->arena);
    buf_free(&w->out);
}

static void check_failure(void)
{
    struct dsn_recipient r = {
        .final = &rcpt, .original = SLICE("rfc822;R@B.example"), .action = DSN_FAILED, .esc = ESC(5, 1, 1),
        .remote_host = SLICE("mx.b.example"), .diagnostic = SLICE("550 5.1.1 no such user"), .is_diagnostic_smtp = true,
        .last_attempt_s = 1795330100,
    };
    struct dsn d = plain_report(&r, 1);
    struct written w;

    CASE("a failure, as RFC 3464 has it");
    write_report(&w, &d);
    CHECK_SLICE(w.parts[0]->type.value, SLICE("text/plain"));
    CHECK_SLICE(w.parts[1]->type.value, SLICE("message/delivery-status"));
    CHECK_SLICE(w.parts[2]->type.value, SLICE("text/rfc822-headers"));
    CHECK_SLICE(body_of(&w, 1), SLICE(
        "Reporting-MTA: dns; mail.a.example\r\nOriginal-Envelope-Id: QQ314159\r\nX-Thurn-Queue-Id: q1\r\n"
        "Arrival-Date: Sun, 22 Nov 2026 06:47:28 +0000\r\n\r\n"
        "Original-Recipient: rfc822;R@B.example\r\nFinal-Recipient: rfc822; r@b.example\r\nAction: failed\r\n"
        "Status: 5.1.1\r\nRemote-MTA: dns; mx.b.example\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
        "Last-Attempt-Date: Sun, 22 Nov 2026 06:48:20 +0000\r\n"));
    CHECK_SLICE(body_of(&w, 2), slice_sub(original, 0, header_end(original)));
    CHECK(slice_find(body_of(&w, 0), SLICE("<r@b.example>\r\n    The server mx.b.example said:\r\n    550 5.1.1 no such user\r\n"))
          < body_of(&w, 0).len);
    CHECK(text_is_ascii(buf_slice(&w.out)));
    struct header_field field;
    CHECK_INT(header_find(buf_slice(&w.out), SLICE("To"), &field), RC_OK);
    CHECK_SLICE(field.body, SLICE(" <s@a.example>"));
    CHECK_INT(header_find(buf_slice(&w.out), SLICE("In-Reply-To"), &field), RC_OK);
    CHECK_SLICE(field.body, SLICE(" <1@a.example>"));
    CHECK_INT(header_find(buf_slice(&w.out), SLICE("Auto-Submitted"), &field), RC_OK);
    CHECK_INT(header_find(buf_slice(&w.out), SLICE("From"), &field), RC_OK);
    CHECK_SLICE(field.body, SLICE(" Mail Delivery System <MAILER-DAEMON@mail.a.example>"));
    free_report(&w);

    CASE("the whole message goes back when it is asked for");
    d.return_full = true;
    write_report(&w, &d);
    CHECK_SLICE(w.parts[2]->type.value, SLICE("message/rfc822"));
    CHECK_SLICE(body_of(&w, 2), original);
    free_report(&w);
}

static void check_delay_and_success(void)
{
    struct dsn_recipient r[2] = {
        { .final = &rcpt, .action = DSN_RELAYED },
        { .final = &sender, .action = DSN_DELAYED, .will_retry_until_s = 1795762048 },
    };
    struct dsn d = plain_report(r, 2);
    struct written w;
    struct header_field field;

    CASE("a delay says until when; a status that is not given follows from the action");
    write_report(&w, &d);
    CHECK(slice_find(body_of(&w, 1), SLICE("\r\n\r\nFinal-Recipient: rfc822; r@b.example\r\nAction: relayed\r\nStatus: 2.0.0\r\n\r\n"
                                           "Final-Recipient: rfc822; s@a.example\r\nAction: delayed\r\nStatus: 4.0.0\r\n"
                                           "Will-Retry-Until: Fri, 27 Nov 2026 06:47:28 +0000\r\n")) < body_of(&w, 1).len);
    CHECK_INT(header_find(buf_slice(&w.out), SLICE("Subject"), &field), RC_OK);
    CHECK(slice_starts_nocase(field.body, SLICE(" Delayed mail")));
    free_report(&w);
}

static void check_hostile(void)
{
    struct dsn_recipient r = {
        .final = &rcpt, .original = SLICE("x\r\nAction: delivered\r\n"), .action = DSN_FAILED,
        .remote_host = SLICE("h\r\n\r\nFinal-Recipient: rfc822; x@y"),
        .diagnostic = SLICE("550-a\r\n550 \xff\xc3\xa4\x01\0b\r\n--=_thurn_seed--\r\n"), .is_diagnostic_smtp = true,
    };
    struct dsn d = plain_report(&r, 1);
    struct written w;
    struct header_field field;

    CASE("what a peer or a sender wrote adds no line to the report");
    d.envid = SLICE("e\r\nAction: delivered");
    d.queue_id = SLICE_NONE;
    d.arrival_s = 0;
    write_report(&w, &d);
    CHECK_SLICE(body_of(&w, 1), SLICE(
        "Reporting-MTA: dns; mail.a.example\r\nOriginal-Envelope-Id: e  Action: delivered\r\n\r\n"
        "Original-Recipient: rfc822;x  Action: delivered\r\nFinal-Recipient: rfc822; r@b.example\r\nAction: failed\r\n"
        "Status: 5.0.0\r\nRemote-MTA: dns; h    Final-Recipient: rfc822; x@y\r\n"
        "Diagnostic-Code: smtp; 550-a  550 \\x{FF}\\x{E4}  b  --=_thurn_seed--\r\n"));
    CHECK_SLICE(w.parts[0]->encoding_name, SLICE("quoted-printable"));
    CHECK(text_is_ascii(buf_slice(&w.out)));
    free_report(&w);

    CASE("a boundary that stands in the message is not used");
    d.original = SLICE("A: b\r\n\r\n--=_thurn_seed\r\n\r\n--=_thurn_seedx--\r\n");
    d.return_full = true;
    write_report(&w, &d);
    CHECK_SLICE(body_of(&w, 2), d.original);
    CHECK_INT(header_find(buf_slice(&w.out), SLICE("In-Reply-To"), &field), RC_NONE);
    free_report(&w);

    CASE("a binary message goes back as its header, an 8-bit one as it is");
    d.original = SLICE("A: b\r\n\r\na\nb\r\n");
    write_report(&w, &d);
    CHECK_SLICE(w.parts[2]->type.value, SLICE("text/rfc822-headers"));
    free_report(&w);
    d.original = SLICE("A: b\r\n\r\n\xe4\r\n");
    write_report(&w, &d);
    CHECK_SLICE(w.parts[2]->type.value, SLICE("message/rfc822"));
    CHECK_INT(w.parts[2]->encoding, MIME_8BIT);
    free_report(&w);
    CASE("an 8-bit header goes back encoded");
    d.original = SLICE("A: \xe4\r\n\r\nx\r\n");
    d.return_full = false;
    write_report(&w, &d);
    CHECK_SLICE(body_of(&w, 2), SLICE("A: =E4\r\n\r\n"));
    free_report(&w);
    CASE("a message that has no line end at its end, and none at all");
    d.original = SLICE("A: b");
    write_report(&w, &d);
    CHECK_SLICE(body_of(&w, 2), SLICE("A: b\r\n"));
    free_report(&w);
    d.original = SLICE("");
    write_report(&w, &d);
    CHECK_SLICE(body_of(&w, 2), SLICE(""));
    free_report(&w);
}

static void check_utf8(void)
{
    struct address utf8 = { .local_part = SLICE("j\xc3\xb6rg"), .domain = SLICE("b.example"), .is_utf8 = true };
    struct dsn_recipient r = { .final = &utf8, .action = DSN_FAILED, .diagnostic = SLICE("550 nein, J\xc3\xb6rg"),
                               .is_diagnostic_smtp = true };
    struct dsn d = plain_report(&r, 1);
    struct written w;

    CASE("with SMTPUTF8 the parts are those of RFC 6533");
    d.is_utf8 = true;
    write_report(&w, &d);
    CHECK_SLICE(w.parts[1]->type.value, SLICE("message/global-delivery-status"));
    CHECK_SLICE(w.parts[2]->type.value, SLICE("message/global-headers"));
    CHECK(slice_find(body_of(&w, 1), SLICE("Final-Recipient: utf-8; j\xc3\xb6rg@b.example\r\n")) < body_of(&w, 1).len);
    free_report(&w);
    CASE("without it a UTF-8 address is written in ASCII");
    d.is_utf8 = false;
    write_report(&w, &d);
    CHECK(slice_find(body_of(&w, 1), SLICE("Final-Recipient: utf-8; j\\x{F6}rg@b.example\r\n")) < body_of(&w, 1).len);
    CHECK(text_is_ascii(buf_slice(&w.out)));
    free_report(&w);
}

static const struct {
    const char *sentence;
    struct slice text, decoded;
    enum rc rc;
} xtexts[] = {
    { "plain", SLICE_INIT("rfc822;a@b.example"), SLICE_INIT("rfc822;a@b.example"), RC_OK },
    { "escapes", SLICE_INIT("a+2Bb+3Dc+20d+00"), SLICE_INIT("a+b=c d\0"), RC_OK },
    { "nothing", SLICE_INIT(""), SLICE_INIT(""), RC_OK },
    { "a torn escape", SLICE_INIT("a+2"), SLICE_INIT(""), RC_PERM },
    { "a bad escape", SLICE_INIT("a+GG"), SLICE_INIT(""), RC_PERM },
    { "an equals sign", SLICE_INIT("a=b"), SLICE_INIT(""), RC_PERM },
    { "a space", SLICE_INIT("a b"), SLICE_INIT(""), RC_PERM },
    { "8-bit", SLICE_INIT("\xe4"), SLICE_INIT(""), RC_PERM },
};

static void check_xtext(void)
{
    for (size_t i = 0; i < sizeof xtexts / sizeof xtexts[0]; i++) {
        struct buf out;
        CASE(xtexts[i].sentence);
        buf_init(&out, 256);
        enum rc rc = xtext_decode(xtexts[i].text, &out);
        CHECK_INT(rc, xtexts[i].rc);
        if (rc == RC_OK) {
            CHECK_SLICE(buf_slice(&out), xtexts[i].decoded);
            buf_clear(&out);
            CHECK(xtext_encode(xtexts[i].decoded, &out));
            CHECK_SLICE(buf_slice(&out), xtexts[i].text);
        }
        buf_free(&out);
    }
}

static void check_no_room(void)
{
    struct dsn_recipient r = { .final = &rcpt, .action = DSN_FAILED };
    struct dsn d = plain_report(&r, 1);
    struct buf out;
    struct fault f;

    CASE("no room is a temporary failure");
    buf_init(&out, 500);
    CHECK_INT(dsn_write(&d, &out, &f), RC_TEMP);
    buf_free(&out);
}

int main(void)
{
    check_failure();
    check_delay_and_success();
    check_hostile();
    check_utf8();
    check_xtext();
    check_no_room();
    return check_done();
}
