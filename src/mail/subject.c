/* The base subject: see subject.h. The numbers are the steps of RFC 5256 2.1; the texts are its ABNF in section 5. */
#include "mail/subject.h"

#include "mail/header.h"

static bool is_space(char c) { return c == ' ' || c == '\t'; }

static void trim_start(struct slice *text)
{
    while (text->len > 0 && is_space(text->ptr[0]))
        (void)slice_take(text, 1);
}

static void trim_end(struct slice *text)
{
    while (text->len > 0 && is_space(text->ptr[text->len - 1]))
        text->len--;
}

/* Tabs and runs of white space are one space (1). */
static bool squeeze(struct slice text, struct buf *out)
{
    bool was_space = false;
    for (size_t i = 0; i < text.len; i++) {
        bool space = is_space(text.ptr[i]) || text.ptr[i] == '\r' || text.ptr[i] == '\n';
        if (!(space && was_space) && !buf_append_byte(out, space ? ' ' : text.ptr[i]))
            return false;
        was_space = space;
    }
    return true;
}

/* subj-trailer (2). */
static bool take_trailers(struct slice *text)
{
    bool is_forward = false;
    for (;;) {
        trim_end(text);
        if (!slice_ends_nocase(*text, SLICE("(fwd)")))
            return is_forward;
        text->len -= 5;
        is_forward = true;
    }
}

/* subj-blob: "[anything but brackets]" and the white space behind it. */
static bool take_blob(struct slice *text)
{
    struct slice rest = *text;
    if (!slice_take_byte(&rest, '['))
        return false;
    while (rest.len > 0 && rest.ptr[0] != '[' && rest.ptr[0] != ']')
        (void)slice_take(&rest, 1);
    if (!slice_take_byte(&rest, ']'))
        return false;
    trim_start(&rest);
    *text = rest;
    return true;
}

/* subj-refwd: "re", "fw" or "fwd", a blob perhaps, a colon. */
static bool take_refwd(struct slice *text)
{
    struct slice rest = *text;
    if (!slice_take_prefix_nocase(&rest, SLICE("re")) && !slice_take_prefix_nocase(&rest, SLICE("fwd"))
        && !slice_take_prefix_nocase(&rest, SLICE("fw")))
        return false;
    trim_start(&rest);
    (void)take_blob(&rest);
    if (!slice_take_byte(&rest, ':'))
        return false;
    *text = rest;
    return true;
}

/* subj-leader: blobs and a refwd, or white space (3). */
static bool take_leader(struct slice *text, bool *is_reply)
{
    struct slice rest = *text;
    while (take_blob(&rest))
        continue;
    if (take_refwd(&rest)) {
        *text = rest;
        *is_reply = true;
        return true;
    }
    rest = *text;
    trim_start(text);
    return text->len < rest.len;
}

/* A blob goes too when something is left (4). */
static bool take_lone_blob(struct slice *text)
{
    struct slice rest = *text;
    if (!take_blob(&rest) || rest.len == 0)
        return false;
    *text = rest;
    return true;
}

/* "[fwd: ...]" (6). */
static bool unwrap(struct slice *text)
{
    struct slice rest = *text;
    if (!slice_take_prefix_nocase(&rest, SLICE("[fwd:")) || rest.len == 0 || rest.ptr[rest.len - 1] != ']')
        return false;
    rest.len--;
    *text = rest;
    return true;
}

static struct slice strip(struct slice text, bool *is_reply)
{
    do {
        *is_reply |= take_trailers(&text);
        while (take_leader(&text, is_reply) || take_lone_blob(&text))
            continue;                                           /* (5) */
    } while (unwrap(&text) && (*is_reply = true));
    return text;
}

bool subject_base(struct slice field_body, struct buf *out, bool *is_reply)
{
    struct buf decoded, text;
    bool reply = false;
    buf_init(&decoded, field_body.len * 4 + 16);
    buf_init(&text, field_body.len * 4 + 16);
    bool ok = header_decode(field_body, &decoded) && squeeze(buf_slice(&decoded), &text);
    ok = ok && buf_append(out, strip(buf_slice(&text), &reply));
    buf_free(&decoded);
    buf_free(&text);
    if (is_reply != NULL)
        *is_reply = reply;
    return ok;
}
