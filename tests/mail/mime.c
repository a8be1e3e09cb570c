/* The MIME tree: as RFC 2046 has it, and as spam has it. */
#include "mail/mime.h"

#include "base/buf.h"
#include "check.h"

/* A part is told as "type[body]", a multipart or message as "type(children)"; defects as "!". */
static const struct {
    const char *sentence;
    const char *message;
    const char *want;
    size_t defects;
} cases[] = {
    { "a plain message", "A: b\r\n\r\nbody\r\n", "text/plain[body\r\n]", 0 },
    { "no header", "\r\nbody", "text/plain[body]", 0 },
    { "no body", "A: b\r\n", "text/plain[]", 0 },
    { "nothing", "", "text/plain[]", 0 },
    { "two parts", "Content-Type: multipart/mixed; boundary=x\r\n\r\npre\r\n--x\r\n\r\na\r\n--x\r\nContent-Type: text/html\r\n\r\nb\r\n--x--\r\npost\r\n",
      "multipart/mixed(text/plain[a]text/html[b])", 0 },
    { "the line end before a boundary is the boundary's", "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\na\r\n\r\n--x--",
      "multipart/mixed(text/plain[a\r\n])", 0 },
    { "an empty part", "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n--x\r\n\r\n\r\n--x--\r\n",
      "multipart/mixed(text/plain[]text/plain[])", 0 },
    { "bare LF", "Content-Type: multipart/mixed; boundary=x\n\n--x\n\na\n--x\n\nb\n--x--\n", "multipart/mixed(text/plain[a]text/plain[b])", 0 },
    { "white space behind a boundary", "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x \t\r\n\r\na\r\n--x-- \r\n", "multipart/mixed(text/plain[a])", 0 },
    { "a longer line is no boundary", "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n--xy\r\n--x-\r\n--x--\r\n",
      "multipart/mixed(text/plain[--xy\r\n--x-])", 0 },
    { "nested multiparts", "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/alternative; boundary=ab\r\n\r\n"
      "--ab\r\n\r\n1\r\n--ab\r\n\r\n2\r\n--ab--\r\n--a\r\n\r\n3\r\n--a--\r\n",
      "multipart/mixed(multipart/alternative(text/plain[1]text/plain[2])text/plain[3])", 0 },
    { "an inner multipart that is not closed", "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
      "--b\r\n\r\n1\r\n--a\r\n\r\n2\r\n--a--\r\n", "multipart/mixed(multipart/mixed(text/plain[1])text/plain[2])", 1 },
    { "a multipart that is not closed", "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n1\r\n", "multipart/mixed(text/plain[1\r\n])", 1 },
    { "a closed multipart's boundary is text", "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n1\r\n--a--\r\n--a\r\n\r\n2\r\n", "multipart/mixed(text/plain[1])", 0 },
    { "an attached message", "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nin\r\n--a--\r\n",
      "multipart/mixed(message/rfc822(text/plain[in]))", 0 },
    { "an attached message with parts", "Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n1\r\n--b--\r\n",
      "message/rfc822(multipart/mixed(text/plain[1]))", 0 },
    { "an encoded attached message is not looked into", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nQTogYg==\r\n",
      "message/rfc822[QTogYg==\r\n]", 0 },
    { "a digest's parts are messages", "Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\nSubject: x\r\n\r\nin\r\n--a--\r\n",
      "multipart/digest(message/rfc822(text/plain[in]))", 0 },
    { "a multipart without a boundary is text", "Content-Type: multipart/mixed\r\n\r\nbody", "text/plain[body]", 1 },
    { "a multipart without a part is text", "Content-Type: multipart/mixed; boundary=x\r\n\r\nbody", "text/plain[body]", 2 },
    { "an empty boundary is none", "Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\nbody", "text/plain[--\r\nbody]", 1 },
    { "a type that is none is text", "Content-Type: text\r\n\r\nbody", "text/plain[body]", 1 },
    { "of two types the first counts", "Content-Type: text/html\r\nContent-Type: text/plain\r\n\r\nbody", "text/html[body]", 1 },
    { "a boundary within a header", "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n--x\r\n\r\nb\r\n--x--\r\n",
      "multipart/mixed(text/html[]text/plain[b])", 1 },
    { "an attached message without a body", "Content-Type: multipart/digest; boundary=x\n\n--x\n\nSubject: a\n\n--x--\n",
      "multipart/digest(message/rfc822(text/plain[]))", 0 },
    { "inner and outer boundary are the same", "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n1\r\n--x--\r\n--x--\r\n",
      "multipart/mixed(multipart/mixed(text/plain[1]))", 0 },
    { "a multipart in base64 is read as it is", "Content-Type: multipart/mixed; boundary=x\r\nContent-Transfer-Encoding: base64\r\n\r\n--x\r\n\r\n1\r\n--x--\r\n",
      "multipart/mixed(text/plain[1])", 1 },
    { "an unknown transfer encoding", "Content-Transfer-Encoding: x-uuencode\r\n\r\nbody", "text/plain[body]", 1 },
    { "a line that is no field", "From a@b Thu\r\nA: b\r\n\r\nbody", "text/plain[body]", 1 },
    { "only a boundary", "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x", "multipart/mixed(text/plain[])", 1 },
    { "only an end", "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x--", "text/plain[--x--]", 1 },
    { "a boundary with spaces and specials", "Content-Type: multipart/mixed; boundary=\"a b?=_\"\r\n\r\n--a b?=_\r\n\r\n1\r\n--a b?=_--\r\n", "multipart/mixed(text/plain[1])", 0 },
};

static void tell(struct buf *out, struct slice message, const struct mime_part *part)
{
    bool has_children = part->is_multipart || part->is_message;

    buf_append(out, part->type.value);
    buf_append_byte(out, has_children ? '(' : '[');
    if (!has_children)
        buf_append(out, slice_sub(message, part->body_start, part->body_end - part->body_start));
    for (const struct mime_part *child = part->first_child; child != NULL; child = child->next)
        tell(out, message, child);
    buf_append_byte(out, has_children ? ')' : ']');
}

/* What must hold of any tree, whatever the message. */
static void check_tree(struct slice message, const struct mime_part *part)
{
    uint32_t number = 1;
    struct slice body = slice_sub(message, part->body_start, part->body_end - part->body_start);
    size_t lines = 0;

    CHECK(part->header_start <= part->body_start && part->body_start <= part->body_end && part->body_end <= message.len);
    for (size_t i = 0; i < body.len; i++)
        lines += body.ptr[i] == '\n';
    CHECK_INT(part->body_lines, lines);
    CHECK((part->first_child != NULL) == (part->is_multipart || part->is_message));
    for (const struct mime_part *child = part->first_child; child != NULL; child = child->next) {
        CHECK(child->parent == part && child->number == number++);
        CHECK(child->header_start >= part->body_start && child->body_end <= part->body_end);
        CHECK(child->next == NULL || child->next->header_start >= child->body_end);
        check_tree(message, child);
    }
}

static void check_cases(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct slice message = slice_from_str(cases[i].message);
        struct mime_message m;
        struct arena arena;
        struct buf said;
        CASE(cases[i].sentence);
        arena_init(&arena, 1 << 20);
        buf_init(&said, 65536);
        CHECK_INT(mime_parse(message, &arena, &m, NULL), RC_OK);
        tell(&said, message, m.root);
        CHECK_SLICE(buf_slice(&said), slice_from_str(cases[i].want));
        CHECK_INT(m.defect_count, cases[i].defects);
        check_tree(message, m.root);
        buf_free(&said);
        arena_free(&arena);
    }
}

static const struct slice tree = SLICE_INIT(
    "Content-Type: multipart/mixed; boundary=a\r\n\r\n"
    "--a\r\nContent-ID: <i@x>\r\nContent-Description: =?utf-8?q?a?=\r\n  b\r\nContent-Language: de\r\n\r\none\r\n"
    "--a\r\nContent-Type: image/png; name=n.png\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename*=utf-8''%C3%A4\r\n\r\nSGVsbG8=\r\n"
    "--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: s\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"
    "--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E4\r\n"
    "--b\r\nContent-Type: text/html\r\n\r\nhtml\r\n--b--\r\n"
    "--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: t\r\n\r\nalone\r\n"
    "--a--\r\n");

static const struct {
    uint32_t path[4];
    size_t depth;
    const char *type;           /* NULL: no such part */
} places[] = {
    { { 0 }, 0, "multipart/mixed" },        { { 1 }, 1, "text/plain" },         { { 2 }, 1, "image/png" },
    { { 3 }, 1, "message/rfc822" },         { { 3, 1 }, 2, "text/plain" },      { { 3, 2 }, 2, "text/html" },
    { { 4 }, 1, "message/rfc822" },         { { 4, 1 }, 2, "text/plain" },
    { { 5 }, 1, NULL },                     { { 1, 1 }, 2, NULL },              { { 3, 3 }, 2, NULL },
    { { 3, 1, 1 }, 3, NULL },               { { 4, 1, 1 }, 3, NULL },           { { 4, 2 }, 2, NULL },
    { { 1000000 }, 1, NULL },
};

static void check_find(void)
{
    struct mime_message m;
    struct arena arena;
    struct buf out;

    arena_init(&arena, 1 << 20);
    buf_init(&out, 1024);
    CASE("the parts that IMAP counts");
    CHECK_INT(mime_parse(tree, &arena, &m, NULL), RC_OK);
    CHECK_INT(m.part_count, 9);
    CHECK_INT(m.defect_count, 0);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const struct mime_part *part = mime_find(&m, places[i].path, places[i].depth);
        CHECK((part == NULL) == (places[i].type == NULL));
        if (part != NULL && places[i].type != NULL)
            CHECK_SLICE(part->type.value, slice_from_str(places[i].type));
    }
    CASE("what a part says of itself");
    const struct mime_part *one = m.root->first_child, *image = one->next, *text = image->next->first_child->first_child;
    CHECK_SLICE(one->id, SLICE("<i@x>"));
    CHECK_SLICE(one->description, SLICE("=?utf-8?q?a?=  b"));
    CHECK_SLICE(one->language, SLICE("de"));
    CHECK_SLICE(mime_file_name(image), SLICE("\xc3\xa4"));
    CHECK_SLICE(image->disposition.value, SLICE("attachment"));
    CHECK_INT(mime_decode_body(tree, image, &out), RC_OK);
    CHECK_SLICE(buf_slice(&out), SLICE("Hello"));
    buf_clear(&out);
    CHECK_INT(mime_decode_text(tree, text, &out), RC_OK);
    CHECK_SLICE(buf_slice(&out), SLICE("\xc3\xa4"));
    buf_clear(&out);
    CASE("part 1 of a message without parts is its body");
    CHECK_INT(mime_parse(SLICE("A: b\r\n\r\nx"), &arena, &m, NULL), RC_OK);
    CHECK(mime_find(&m, (const uint32_t[]){ 1 }, 1) == m.root);
    CHECK(mime_find(&m, (const uint32_t[]){ 1, 1 }, 2) == NULL);
    CHECK(mime_find(&m, (const uint32_t[]){ 2 }, 1) == NULL);
    buf_free(&out);
    arena_free(&arena);
}

static void check_message(const char *sentence, struct slice message, size_t arena_max, enum rc want)
{
    struct mime_message m;
    struct arena arena;

    CASE(sentence);
    arena_init(&arena, arena_max);
    CHECK_INT(mime_parse(message, &arena, &m, NULL), want);
    if (want == RC_OK) {
        CHECK(m.part_count <= MIME_PARTS_MAX && m.defect_count <= MIME_DEFECTS_MAX);
        check_tree(message, m.root);
    }
    arena_free(&arena);
}

static void check_hostile(void)
{
    struct buf in;
    size_t parts = 0;

    buf_init(&in, 16 << 20);
    buf_append_str(&in, "Content-Type: multipart/mixed; boundary=a\r\n\r\n");
    for (int i = 0; i < 100000; i++)
        buf_append_str(&in, "--a\r\n\r\nx\r\n");
    check_message("a hundred thousand parts", buf_slice(&in), 16 << 20, RC_OK);
    check_message("an arena that is too small is a temporary failure", buf_slice(&in), 65536, RC_TEMP);
    buf_clear(&in);
    for (; parts < 5000; parts++)
        buf_printf(&in, "Content-Type: multipart/mixed; boundary=b%zu\r\n\r\n--b%zu\r\n", parts, parts);
    for (int i = 0; i < 300000; i++)
        buf_append_str(&in, "--b0x\r\n");
    check_message("five thousand levels, and lines that nearly are boundaries", buf_slice(&in), 16 << 20, RC_OK);
    buf_clear(&in);
    for (int i = 0; i < 20000; i++)
        buf_append_str(&in, "Content-Type: message/rfc822\r\n\r\n");
    check_message("twenty thousand messages in messages", buf_slice(&in), 16 << 20, RC_OK);
    buf_clear(&in);
    for (int i = 0; i < 100000; i++)
        buf_append_str(&in, "Content-Type: text/plain; a=b\r\n");
    check_message("a hundred thousand types", buf_slice(&in), 16 << 20, RC_OK);
    buf_clear(&in);
    buf_append_str(&in, "Content-Type: text/plain; n*0=\"");
    for (int i = 0; i < 1000000; i++)
        buf_append_str(&in, "(\\");
    check_message("a parameter of two megabytes", buf_slice(&in), 64 << 20, RC_OK);
    buf_free(&in);
}

int main(void)
{
    check_cases();
    check_find();
    check_hostile();
    return check_done();
}
