/* Reading commands: see input.h. */
#include "imap/input.h"

#include "imap/response.h"

enum { KEPT_MAX = 16 * 1024 };  /* an idle session does not sit on what its largest command needed */

void imap_input_init(struct imap_input *input, size_t line_max_bytes, size_t command_max_bytes)
{
    *input = (struct imap_input){ .keeps_empty_lines = false };
    line_reader_init(&input->reader, line_max_bytes);
    buf_init(&input->text, command_max_bytes);
}

void imap_input_free(struct imap_input *input) { buf_free(&input->text); }

void imap_input_reset(struct imap_input *input)
{
    if (input->text.cap > KEPT_MAX)
        buf_free(&input->text);
    else
        buf_clear(&input->text);
    input->refused = NULL;
    input->literal_bytes = input->literal_left = 0;
    input->is_skipping = input->is_streaming = false;
    input->tag[0] = '\0';
}

static bool is_tag_byte(unsigned char c) { return c > ' ' && c < 0x7f && strchr("(){%*\"\\+", c) == NULL; }

static struct slice tag_of(struct slice line)
{
    struct slice rest = slice_sub(line, 0, IMAP_TAG_MAX);
    struct slice tag = slice_take_while(&rest, is_tag_byte);
    return rest.len > 0 && rest.ptr[0] == ' ' ? tag : SLICE_NONE;
}

struct slice imap_input_tag(const struct imap_input *input)
{
    return input->tag[0] != '\0' ? slice_from_str(input->tag) : tag_of(buf_slice(&input->text));
}

/* The line reader drops a line that is too long; its tag is worth keeping, so that the client gets its answer. */
static void peek_tag(struct imap_input *input, struct slice in)
{
    if (buf_len(&input->text) == 0 && !input->reader.is_skipping && in.len > input->reader.max_bytes)
        (void)slice_to_str(tag_of(in), input->tag, sizeof(input->tag));
}

/* Literal8 (RFC 3516) announces itself with a tilde, which the parser sees. */
static bool ends_with_literal(struct imap_input *input, struct slice line)
{
    size_t plus = line.len >= 3 && line.ptr[line.len - 1] == '}' && line.ptr[line.len - 2] == '+';
    input->is_synchronising = plus == 0;
    if (plus == 0)
        return imap_literal_at_end(line, &input->literal_bytes);
    size_t brace = line.len - 2;
    while (brace > 0 && byte_is_digit((unsigned char)line.ptr[brace - 1]))
        brace--;
    if (brace == 0 || line.ptr[brace - 1] != '{')
        return false;
    struct slice digits = slice_sub(line, brace, line.len - 2 - brace);
    return slice_take_number(&digits, INT64_MAX, &input->literal_bytes);
}

static enum imap_input_kind on_line(struct imap_input *input, enum line_kind kind, struct slice line)
{
    if (kind == LINE_TOO_LONG) {
        input->refused = "line too long";
        return IMAP_INPUT_REFUSED;
    }
    input->tag[0] = '\0';
    if (kind == LINE_BARE)
        input->refused = "bare CR, LF or NUL in a line";
    if (!buf_append(&input->text, line))
        input->refused = "command too long";
    if (!ends_with_literal(input, line))
        return input->refused != NULL ? IMAP_INPUT_REFUSED : IMAP_INPUT_COMMAND;
    if (!buf_append(&input->text, SLICE("\r\n")))
        input->refused = "command too long";
    return IMAP_INPUT_LITERAL;
}

enum imap_input_kind imap_input_read(struct imap_input *input, struct slice *in)
{
    for (;;) {
        if (input->literal_left > 0) {
            struct slice piece = imap_input_streamed(input, in);
            if (!input->is_skipping && !input->is_streaming && !buf_append(&input->text, piece))
                input->refused = "command too long";
            if (input->literal_left > 0)
                return IMAP_INPUT_NONE;
        }
        input->is_skipping = input->is_streaming = false;
        struct slice line;
        peek_tag(input, *in);
        enum line_kind kind = line_read(&input->reader, in, &line);
        if (kind == LINE_NONE)
            return IMAP_INPUT_NONE;
        bool is_first = buf_len(&input->text) == 0;
        if (kind == LINE_WHOLE && line.len == 0 && is_first && !input->keeps_empty_lines)
            continue;
        return on_line(input, kind, line);
    }
}

void imap_input_take(struct imap_input *input) { input->literal_left = input->literal_bytes; }

void imap_input_skip(struct imap_input *input)
{
    input->literal_left = input->literal_bytes;
    input->is_skipping = true;
    if (input->refused == NULL)
        input->refused = "literal too long";
}

void imap_input_stream(struct imap_input *input)
{
    input->literal_left = input->literal_bytes;
    input->is_streaming = true;
}

struct slice imap_input_streamed(struct imap_input *input, struct slice *in)
{
    size_t len = input->literal_left < in->len ? (size_t)input->literal_left : in->len;
    input->literal_left -= len;
    return slice_take(in, len);
}
