/* BODY and BODYSTRUCTURE (RFC 3501 7.4.2), from the MIME tree.
 *
 * Parameters are given as they stand in the header (RFC 2231 pieces and encoded words untouched): a client decodes them
 * better than a server that would have to say the result in seven bits. */
#include "imap/fetch.h"

struct writer {
    struct buf *out;
    struct slice message;
    bool is_extended;
    struct arena *arena;
};

static void say(struct writer *w, const char *text) { (void)buf_append_str(w->out, text); }
static void say_text(struct writer *w, struct slice text) { (void)imap_write_nstring(w->out, text.len > 0 ? text : SLICE_NONE); }

/* ---- parameters, as they stand ------------------------------------------------------------------------------------------ */

static bool is_white(unsigned char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
static bool is_name_byte(unsigned char c) { return c > ' ' && c != 0x7f && strchr("()<>@,;:\\\"/[]?=", c) == NULL; }
/* Unquoted values come with everything that should have been quoted. */
static bool is_value_byte(unsigned char c) { return !is_white(c) && c != ';' && c != '"' && c != '('; }

static void skip_comment(struct slice *in)
{
    size_t depth = 0, at = 0;
    for (; at < in->len; at++) {
        if (in->ptr[at] == '\\')
            at++;
        else if (in->ptr[at] == '(')
            depth++;
        else if (in->ptr[at] == ')' && --depth == 0)
            break;
    }
    (void)slice_take(in, at + 1);
}

static void skip_white(struct slice *in)
{
    do {
        (void)slice_take_while(in, is_white);
        if (in->len > 0 && in->ptr[0] == '(')
            skip_comment(in);
    } while (in->len > 0 && (is_white((unsigned char)in->ptr[0]) || in->ptr[0] == '('));
}

static struct slice take_quoted(struct slice *in, struct arena *arena)
{
    char *text = arena_alloc(arena, 1, in->len);
    size_t len = 0;
    (void)slice_take(in, 1);
    while (text != NULL && in->len > 0) {
        char c = slice_take(in, 1).ptr[0];
        if (c == '"')
            break;
        if (c == '\\' && in->len > 0)
            c = slice_take(in, 1).ptr[0];
        if (c != '\r' && c != '\n')
            text[len++] = c;
    }
    return (struct slice){ text != NULL ? text : "", len };
}

/* Takes the next "; name=value"; false at the end. What is none is passed over. */
static bool next_param(struct slice *in, struct arena *arena, struct slice *name, struct slice *value)
{
    while (in->len > 0) {
        if (in->ptr[0] == '"') {
            (void)take_quoted(in, arena);
            continue;
        }
        if (in->ptr[0] == '(') {
            skip_comment(in);
            continue;
        }
        if (slice_take(in, 1).ptr[0] != ';')
            continue;
        skip_white(in);
        *name = slice_take_while(in, is_name_byte);
        skip_white(in);
        if (name->len == 0 || !slice_take_byte(in, '='))
            continue;
        skip_white(in);
        *value = in->len > 0 && in->ptr[0] == '"' ? take_quoted(in, arena) : slice_take_while(in, is_value_byte);
        return true;
    }
    return false;
}

static struct slice field_of(struct writer *w, const struct mime_part *part, struct slice name)
{
    struct header_field field;
    struct slice header = slice_sub(w->message, part->header_start, part->body_start - part->header_start);
    return header_find(header, name, &field) == RC_OK ? field.body : SLICE_NONE;
}

static size_t say_params(struct writer *w, struct slice body)
{
    struct slice name, value;
    size_t count = 0;
    while (count < HEADER_PARAMS_MAX && next_param(&body, w->arena, &name, &value)) {
        say(w, count++ == 0 ? "(" : " ");
        (void)imap_write_string(w->out, name);
        say(w, " ");
        (void)imap_write_string(w->out, value);
    }
    if (count > 0)
        say(w, ")");
    return count;
}

static void say_type_params(struct writer *w, const struct mime_part *part)
{
    if (say_params(w, field_of(w, part, SLICE("Content-Type"))) > 0)
        return;
    bool is_text = slice_starts_nocase(part->type.value, SLICE("text/"));
    say(w, is_text ? "(\"charset\" \"us-ascii\")" : "NIL");         /* RFC 2045 5.2 */
}

/* ---- what stands behind in BODYSTRUCTURE --------------------------------------------------------------------------------- */

static void say_disposition(struct writer *w, const struct mime_part *part)
{
    if (part->disposition.value.len == 0) {
        say(w, " NIL");
        return;
    }
    say(w, " (");
    (void)imap_write_string(w->out, part->disposition.value);
    say(w, " ");
    if (say_params(w, field_of(w, part, SLICE("Content-Disposition"))) == 0)
        say(w, "NIL");
    say(w, ")");
}

static void say_languages(struct writer *w, struct slice languages)
{
    say(w, " ");
    if (slice_find_byte(languages, ',') == languages.len) {
        say_text(w, languages);
        return;
    }
    const char *separator = "(";
    while (languages.len > 0) {
        struct slice language = slice_trim(slice_take_until(&languages, ','));
        say(w, separator);
        (void)imap_write_string(w->out, language);
        separator = " ";
    }
    say(w, ")");
}

static void say_extension(struct writer *w, const struct mime_part *part)
{
    say_disposition(w, part);
    say_languages(w, part->language);
    say(w, " ");
    say_text(w, part->location);
}

/* ---- parts --------------------------------------------------------------------------------------------------------------------- */

static void say_part(struct writer *w, const struct mime_part *part);

static struct slice subtype_of(struct slice type)
{
    (void)slice_take_until(&type, '/');
    return type;
}

static void say_multipart(struct writer *w, const struct mime_part *part)
{
    say(w, "(");
    for (const struct mime_part *child = part->first_child; child != NULL; child = child->next)
        say_part(w, child);
    say(w, " ");
    (void)imap_write_string(w->out, subtype_of(part->type.value));
    if (w->is_extended) {
        say(w, " ");
        say_type_params(w, part);
        say_extension(w, part);
    }
    say(w, ")");
}

static void say_message(struct writer *w, const struct mime_part *part)
{
    const struct mime_part *inner = part->first_child;
    say(w, " ");
    (void)imap_write_envelope(w->out, slice_sub(w->message, inner->header_start, inner->body_start - inner->header_start), w->arena);
    say(w, " ");
    say_part(w, inner);
}

static void say_leaf(struct writer *w, const struct mime_part *part)
{
    struct slice type = part->type.value;
    bool is_rfc822 = slice_equal_nocase(type, SLICE("message/rfc822"));
    bool has_message = is_rfc822 && part->is_message && part->first_child != NULL;
    if (is_rfc822 && !has_message)
        type = SLICE("application/octet-stream");       /* the grammar wants an envelope there, and it is encoded or too deep */
    struct slice top = type;
    top = slice_take_until(&top, '/');
    say(w, "(");
    (void)imap_write_string(w->out, top);
    say(w, " ");
    (void)imap_write_string(w->out, subtype_of(type));
    say(w, " ");
    say_type_params(w, part);
    say(w, " ");
    say_text(w, part->id);
    say(w, " ");
    say_text(w, part->description);
    say(w, " ");
    (void)imap_write_string(w->out, part->encoding_name.len > 0 ? part->encoding_name : SLICE("7bit"));
    (void)buf_printf(w->out, " %zu", part->body_end - part->body_start);
    if (has_message)
        say_message(w, part);
    if (has_message || slice_equal_nocase(top, SLICE("text")))
        (void)buf_printf(w->out, " %zu", part->body_lines);
    if (w->is_extended) {
        say(w, " ");
        say_text(w, part->md5);
        say_extension(w, part);
    }
    say(w, ")");
}

static void say_part(struct writer *w, const struct mime_part *part)
{
    if (part->is_multipart && part->first_child != NULL)
        say_multipart(w, part);
    else
        say_leaf(w, part);
}

bool imap_write_structure(struct buf *out, struct slice message, const struct mime_part *root, bool is_extended, struct arena *scratch)
{
    struct writer w = { out, message, is_extended, scratch };
    say_part(&w, root);
    return !out->overflow;
}
