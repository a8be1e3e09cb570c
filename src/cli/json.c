/* Reading JSON: see json.h. */
#include "cli/json.h"

#include "base/text.h"

struct parser {
    struct slice in;
    struct arena *arena;
};

static bool is_white(unsigned char byte) { return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n'; }
static bool is_number_byte(unsigned char byte) { return byte_is_digit(byte) || strchr("+-.eE", byte) != NULL; }

static bool take_mark(struct parser *p, char mark)
{
    slice_take_while(&p->in, is_white);
    return slice_take_byte(&p->in, mark);
}

static bool take_hex4(struct slice *in, uint32_t *value)
{
    *value = 0;
    for (size_t i = 0; i < 4; i++) {
        char digit = i < in->len ? byte_lower(in->ptr[i]) : '?';
        if (!byte_is_digit((unsigned char)digit) && (digit < 'a' || digit > 'f'))
            return false;
        *value = *value * 16 + (uint32_t)(byte_is_digit((unsigned char)digit) ? digit - '0' : digit - 'a' + 10);
    }
    slice_take(in, 4);
    return true;
}

/* After "\u": one code point, of one or two units. */
static bool take_unicode(struct slice *in, struct buf *out)
{
    uint32_t code, low;
    if (!take_hex4(in, &code))
        return false;
    if (code >= 0xd800 && code < 0xdc00) {
        if (!slice_take_prefix_nocase(in, SLICE("\\u")) || !take_hex4(in, &low) || low < 0xdc00 || low > 0xdfff)
            return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    return utf8_append(out, code);
}

static bool take_escape(struct slice *in, struct buf *out)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    struct slice byte = slice_take(in, 1);
    if (byte.len == 0)
        return false;
    if (byte.ptr[0] == 'u')
        return take_unicode(in, out);
    const char *at = byte.ptr[0] != '\0' ? strchr(names, byte.ptr[0]) : NULL;
    return at != NULL && buf_append_byte(out, values[at - names]);
}

/* After the opening quote. */
static bool take_string(struct parser *p, struct slice *text)
{
    struct buf out;
    bool is_good = true, is_closed = false;
    buf_init(&out, p->in.len + 4);
    while (is_good && !is_closed && p->in.len > 0) {
        char byte = slice_take(&p->in, 1).ptr[0];
        if (byte == '"')
            is_closed = true;
        else if (byte == '\\')
            is_good = take_escape(&p->in, &out);
        else
            is_good = (unsigned char)byte >= ' ' && buf_append_byte(&out, byte);
    }
    *text = arena_copy(p->arena, buf_slice(&out));
    buf_free(&out);
    return is_good && is_closed && (text->len == 0 || text->ptr != NULL);
}

static struct json *take_value(struct parser *, unsigned depth);

static bool take_children(struct parser *p, struct json *parent, char close, unsigned depth)
{
    struct json **end = &parent->first;
    if (take_mark(p, close))
        return true;
    do {
        struct slice name = SLICE_NONE;
        if (parent->kind == JSON_OBJECT && (!take_mark(p, '"') || !take_string(p, &name) || !take_mark(p, ':')))
            return false;
        struct json *child = take_value(p, depth + 1);
        if (child == NULL)
            return false;
        child->name = name;
        *end = child;
        end = &child->next;
    } while (take_mark(p, ','));
    return take_mark(p, close);
}

static bool take_word(struct parser *p, struct json *value)
{
    static const struct slice words[] = {
        SLICE_INIT("true"), SLICE_INIT("false"), SLICE_INIT("null"),
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (slice_equal(slice_sub(p->in, 0, words[i].len), words[i])) {
            value->kind = i < 2 ? JSON_FLAG : JSON_NULL;
            value->text = slice_take(&p->in, words[i].len);
            return true;
        }
    value->kind = JSON_NUMBER;
    value->text = slice_take_while(&p->in, is_number_byte);
    return value->text.len > 0;
}

static struct json *take_value(struct parser *p, unsigned depth)
{
    struct json *value = ARENA_NEW(p->arena, struct json);
    bool is_good;
    if (value == NULL || depth > JSON_DEPTH_MAX)
        return NULL;
    if (take_mark(p, '"')) {
        value->kind = JSON_STRING;
        is_good = take_string(p, &value->text);
    } else if (take_mark(p, '{')) {
        value->kind = JSON_OBJECT;
        is_good = take_children(p, value, '}', depth);
    } else if (take_mark(p, '[')) {
        value->kind = JSON_LIST;
        is_good = take_children(p, value, ']', depth);
    } else
        is_good = take_word(p, value);
    return is_good ? value : NULL;
}

enum rc json_parse(struct slice text, struct arena *arena, struct json **out, struct fault *f)
{
    struct parser p = { text, arena };
    *out = take_value(&p, 0);
    slice_take_while(&p.in, is_white);
    return *out != NULL && p.in.len == 0 ? RC_OK : fault_perm(f, 0, "this is no JSON text");
}

const struct json *json_get(const struct json *object, const char *name)
{
    if (object == NULL || object->kind != JSON_OBJECT)
        return NULL;
    for (const struct json *child = object->first; child != NULL; child = child->next)
        if (slice_equal(child->name, slice_from_str(name)))
            return child;
    return NULL;
}

struct slice json_text(const struct json *object, const char *name)
{
    const struct json *member = json_get(object, name);
    return member != NULL ? member->text : SLICE_NONE;
}

int64_t json_number(const struct json *object, const char *name)
{
    struct slice text = json_text(object, name);
    uint64_t value = 0;
    bool is_negative = slice_take_byte(&text, '-');
    slice_take_number(&text, INT64_MAX, &value);
    return is_negative ? -(int64_t)value : (int64_t)value;
}

bool json_flag(const struct json *object, const char *name) { return slice_equal(json_text(object, name), SLICE("true")); }
