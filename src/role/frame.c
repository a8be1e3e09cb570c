/* Frames between roles: see frame.h. Writing and parsing both walk the one schema table. */
#include "role/frame.h"

struct schema {
    const char *name;
    const char *fields;
};

#define FRAME_SCHEMA(name, fields) [name] = { #name, fields },
static const struct schema schemas[FRAME_TYPES] = { FRAME_TABLE(FRAME_SCHEMA) };
#undef FRAME_SCHEMA

static const char *const roles[ROLES] = {
    [ROLE_LAUNCHER] = "launcher", [ROLE_KEYS] = "keys", [ROLE_AUTH] = "auth",
    [ROLE_EDGE] = "edge", [ROLE_POST] = "post", [ROLE_OUT] = "out",
    [ROLE_LOCAL] = "local",
};

enum { HEADER_BYTES = 2 + 4 };          /* type and session, behind the length */

const char *frame_name(enum frame_type type)
{
    return type > FRAME_NONE && type < FRAME_TYPES ? schemas[type].name : "FRAME_NONE";
}

const char *role_name(enum role role) { return role < ROLES ? roles[role] : "?"; }

bool frame_carries_fd(enum frame_type type)
{
    return type == FRAME_CHANNEL || type == FRAME_LISTENER || type == FRAME_LOG_REOPEN || type == FRAME_OPEN;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static bool write_bytes(struct buf *out, struct slice bytes)
{
    return buf_append_u32(out, (uint32_t)bytes.len) && buf_append(out, bytes);
}

static bool write_fault(struct buf *out, const struct fault *fault)
{
    return buf_append_byte(out, (char)fault->rc) && buf_append_u32(out, fault->esc) &&
           write_bytes(out, slice_from_str(fault->rc == RC_OK ? "" : fault->text));
}

static bool write_fields(struct buf *out, const char *fields, va_list arguments)
{
    bool fits = true;
    for (const char *kind = fields; *kind != '\0' && fits; kind++) {
        if (*kind == 'n')
            fits = buf_append_u64(out, va_arg(arguments, uint64_t));
        else if (*kind == 's')
            fits = write_bytes(out, va_arg(arguments, struct slice));
        else
            fits = write_fault(out, va_arg(arguments, const struct fault *));
    }
    return fits;
}

bool frame_write_v(struct buf *out, enum frame_type type, uint32_t session, va_list arguments)
{
    must(type > FRAME_NONE && type < FRAME_TYPES);
    size_t start = buf_len(out);
    bool fits = buf_append_u32(out, 0) && buf_append_byte(out, (char)(type & 0xff)) && buf_append_byte(out, (char)(type >> 8)) &&
                buf_append_u32(out, session) && write_fields(out, schemas[type].fields, arguments);
    size_t len = buf_len(out) - start;
    if (!fits || len - 4 > FRAME_MAX) {
        buf_truncate(out, start);
        return false;
    }
    uint32_t behind = (uint32_t)(len - 4);
    char *at = out->data + out->start + start;
    for (int i = 0; i < 4; i++)
        at[i] = (char)(behind >> (8 * i));
    return true;
}

bool frame_write(struct buf *out, enum frame_type type, uint32_t session, ...)
{
    va_list arguments;
    va_start(arguments, session);
    bool fits = frame_write_v(out, type, session, arguments);
    va_end(arguments);
    return fits;
}

/* ---- parsing ----------------------------------------------------------------------------------------------------- */

static uint64_t load(const char *from, size_t len)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value |= (uint64_t)(unsigned char)from[i] << (8 * i);
    return value;
}

static bool take_number(struct slice *in, size_t len, uint64_t *value)
{
    if (in->len < len)
        return false;
    *value = load(slice_take(in, len).ptr, len);
    return true;
}

static bool take_bytes(struct slice *in, struct slice *bytes)
{
    uint64_t len;
    if (!take_number(in, 4, &len) || len > in->len)
        return false;
    *bytes = slice_take(in, (size_t)len);
    return true;
}

static bool take_fault(struct slice *in, struct fault *fault)
{
    uint64_t rc, esc;
    struct slice text;
    memset(fault, 0, sizeof(*fault));
    if (!take_number(in, 1, &rc) || rc > RC_PERM || !take_number(in, 4, &esc) || !take_bytes(in, &text))
        return false;
    fault->rc = (enum rc)rc;
    fault->esc = (uint32_t)esc;
    (void)slice_to_str(slice_sub(text, 0, FAULT_TEXT_MAX - 1), fault->text, sizeof(fault->text));
    return true;
}

static bool take_fields(struct slice *in, struct frame *frame)
{
    const char *kinds = schemas[frame->type].fields;
    for (frame->count = 0; kinds[frame->count] != '\0'; frame->count++) {
        bool fits;
        if (kinds[frame->count] == 'n')
            fits = take_number(in, 8, &frame->field[frame->count].number);
        else if (kinds[frame->count] == 's')
            fits = take_bytes(in, &frame->field[frame->count].bytes);
        else
            fits = take_fault(in, &frame->field[frame->count].fault);
        if (!fits)
            return false;
    }
    return in->len == 0;
}

enum rc frame_parse(struct slice *in, struct frame *frame, struct fault *fault)
{
    if (in->len < 4)
        return RC_MORE;
    uint64_t len = load(in->ptr, 4);
    if (len < HEADER_BYTES || len > FRAME_MAX)
        return fault_perm(fault, 0, "a frame of %llu bytes", (unsigned long long)len);
    if (in->len - 4 < len)
        return RC_MORE;
    struct slice rest = slice_sub(*in, 4, (size_t)len);
    uint64_t type = 0, session = 0;
    (void)take_number(&rest, 2, &type);
    (void)take_number(&rest, 4, &session);
    if (type == FRAME_NONE || type >= FRAME_TYPES)
        return fault_perm(fault, 0, "a frame of unknown type %llu", (unsigned long long)type);
    frame->type = (enum frame_type)type;
    frame->session = (uint32_t)session;
    frame->fd = -1;
    if (!take_fields(&rest, frame))
        return fault_perm(fault, 0, "a malformed %s", frame_name(frame->type));
    (void)slice_take(in, 4 + (size_t)len);
    return RC_OK;
}
