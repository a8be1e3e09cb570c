/* Parameters of MAIL and RCPT (RFC 5321 4.1.1.11): one table. To add an extension's parameter, add a row. */
#include "smtp/session.h"

#include "base/text.h"

enum { ENVID_MAX = 100, ORCPT_MAX = 500, SIZE_DIGITS_MAX = 20 };      /* RFC 3461 4.4, 4.2; RFC 1870 6 */

struct target {                     /* where a parameter goes: one of the two */
    struct smtp_server *s;
    struct arena *arena;
    struct smtp_mail *mail;
    struct smtp_rcpt *rcpt;
};

static bool refuse_value(struct smtp_server *s, const char *what)
{
    smtp_refuse(s, 501, ESC(5, 5, 4), "bad value of %s", what);
    return false;
}

/* RFC 1870 6.1: refused at once when it is known to be too large. */
static bool on_size(const struct target *to, struct slice value)
{
    if (value.len > SIZE_DIGITS_MAX || !slice_take_number(&value, UINT64_MAX, &to->mail->size) || value.len > 0)
        return refuse_value(to->s, "SIZE");
    if (to->s->options->size_max == 0 || to->mail->size <= to->s->options->size_max)
        return true;
    smtp_refuse(to->s, 552, ESC(5, 3, 4), "message larger than %llu bytes",
                (unsigned long long)to->s->options->size_max);
    return false;
}

struct choice {
    const char *name;
    unsigned value;
};

static bool choose(const struct choice *choices, size_t count, struct slice value, unsigned *out)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equal_nocase(value, slice_from_str(choices[i].name))) {
            *out = choices[i].value;
            return true;
        }
    return false;
}

static bool on_body(const struct target *to, struct slice value)
{
    static const struct choice bodies[] = {
        { "7BIT", SMTP_BODY_7BIT }, { "8BITMIME", SMTP_BODY_8BITMIME }, { "BINARYMIME", SMTP_BODY_BINARYMIME },
    };
    unsigned body = SMTP_BODY_7BIT;
    if (!choose(bodies, sizeof bodies / sizeof bodies[0], value, &body))
        return refuse_value(to->s, "BODY");
    to->mail->body = (enum smtp_body)body;
    return true;
}

static bool on_ret(const struct target *to, struct slice value)
{
    static const struct choice rets[] = { { "FULL", SMTP_RET_FULL }, { "HDRS", SMTP_RET_HDRS } };
    unsigned ret = SMTP_RET_DEFAULT;
    if (!choose(rets, sizeof rets / sizeof rets[0], value, &ret))
        return refuse_value(to->s, "RET");
    to->mail->ret = (enum smtp_ret)ret;
    return true;
}

static bool on_smtputf8(const struct target *to, struct slice value)
{
    (void)value;
    to->mail->is_utf8 = true;
    return true;
}

/* xtext (RFC 3461 4): "+XX" is a byte, capital hex digits only. */
static bool xtext_decode(struct slice in, struct arena *arena, struct slice *out)
{
    static const char digits[] = "0123456789ABCDEF";
    char *to = ARENA_ARRAY(arena, char, in.len + 1);
    size_t len = 0;
    if (to == NULL)
        return false;
    while (in.len > 0) {
        char byte = slice_take(&in, 1).ptr[0];
        if (byte == '+') {
            struct slice pair = slice_take(&in, 2);
            size_t high = pair.len == 2 ? slice_find_byte(SLICE(digits), pair.ptr[0]) : 16;
            size_t low = pair.len == 2 ? slice_find_byte(SLICE(digits), pair.ptr[1]) : 16;
            if (high > 15 || low > 15)
                return false;
            byte = (char)(unsigned char)(high << 4 | low);
        }
        to[len++] = byte;
    }
    *out = (struct slice){ to, len };
    return true;
}

/* What ends up in the fields of a delivery report: one line of printable text. */
static bool is_reportable(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return false;
    return utf8_is_valid(s);
}

static bool on_envid(const struct target *to, struct slice value)
{
    struct slice envid;
    if (value.len > ENVID_MAX || !xtext_decode(value, to->arena, &envid) || !is_reportable(envid) ||
        !text_is_ascii(envid))
        return refuse_value(to->s, "ENVID");
    to->mail->envid = envid;
    return true;
}

/* RFC 4954 5: who submitted it elsewhere. We trust nobody's word on that, so it is read and left aside. */
static bool on_mail_auth(const struct target *to, struct slice value)
{
    struct slice identity;
    return xtext_decode(value, to->arena, &identity) || refuse_value(to->s, "AUTH");
}

static bool on_notify(const struct target *to, struct slice value)
{
    static const struct choice notifies[] = {
        { "NEVER", NOTIFY_NEVER }, { "SUCCESS", NOTIFY_SUCCESS }, { "FAILURE", NOTIFY_FAILURE }, { "DELAY", NOTIFY_DELAY },
    };
    unsigned all = 0, one = 0;
    if (value.len == 0 || value.ptr[value.len - 1] == ',')
        return refuse_value(to->s, "NOTIFY");
    while (value.len > 0) {
        if (!choose(notifies, sizeof notifies / sizeof notifies[0], slice_take_until(&value, ','), &one))
            return refuse_value(to->s, "NOTIFY");
        all |= one;
    }
    if ((all & NOTIFY_NEVER) != 0 && all != NOTIFY_NEVER)       /* RFC 3461 4.1: NEVER stands alone */
        return refuse_value(to->s, "NOTIFY");
    to->rcpt->notify = all;
    return true;
}

static bool is_type_byte(unsigned char byte) { return byte_is_alnum(byte) || byte == '-' || byte == '.' || byte == '_'; }

/* RFC 3461 4.2: type ";" xtext. With type utf-8 (RFC 6533 3) the \x{...} forms stay as they are. */
static bool on_orcpt(const struct target *to, struct slice value)
{
    struct slice rest = value, decoded;
    struct slice type = slice_take_while(&rest, is_type_byte);
    if (value.len > ORCPT_MAX || type.len == 0 || !slice_take_byte(&rest, ';') || rest.len == 0 ||
        !xtext_decode(value, to->arena, &decoded) || !is_reportable(decoded) ||
        (!text_is_ascii(decoded) && !slice_equal_nocase(type, SLICE("utf-8"))))
        return refuse_value(to->s, "ORCPT");
    to->rcpt->orcpt = decoded;
    return true;
}

enum value_rule { NO_VALUE, NEEDS_VALUE };

static const struct parameter {
    const char *keyword;
    enum value_rule value;
    bool of_mail;                   /* else of RCPT */
    bool (*set)(const struct target *, struct slice value);
} parameters[] = {
    { "SIZE",     NEEDS_VALUE, true,  on_size },        /* RFC 1870 */
    { "BODY",     NEEDS_VALUE, true,  on_body },        /* RFC 6152, RFC 3030 3 */
    { "SMTPUTF8", NO_VALUE,    true,  on_smtputf8 },    /* RFC 6531 3.4 */
    { "RET",      NEEDS_VALUE, true,  on_ret },         /* RFC 3461 4.3 */
    { "ENVID",    NEEDS_VALUE, true,  on_envid },       /* RFC 3461 4.4 */
    { "AUTH",     NEEDS_VALUE, true,  on_mail_auth },   /* RFC 4954 5 */
    { "NOTIFY",   NEEDS_VALUE, false, on_notify },      /* RFC 3461 4.1 */
    { "ORCPT",    NEEDS_VALUE, false, on_orcpt },       /* RFC 3461 4.2 */
};
enum { PARAMETERS = sizeof parameters / sizeof parameters[0] };

static size_t find_parameter(struct slice keyword, bool of_mail)
{
    size_t i = 0;
    while (i < PARAMETERS && !(parameters[i].of_mail == of_mail &&
                               slice_equal_nocase(keyword, slice_from_str(parameters[i].keyword))))
        i++;
    return i;
}

static bool take_parameter(const struct target *to, struct slice word, unsigned *seen)
{
    bool has_value = slice_find_byte(word, '=') < word.len;
    struct slice value = word, keyword = slice_take_until(&value, '=');
    size_t at = find_parameter(keyword, to->mail != NULL);
    if (at == PARAMETERS) {
        smtp_refuse(to->s, 555, ESC(5, 5, 4), "unknown parameter");     /* RFC 5321 4.1.1.11 */
        return false;
    }
    if (has_value != (parameters[at].value == NEEDS_VALUE) || (has_value && value.len == 0) ||
        slice_find_byte(value, '=') < value.len)
        return refuse_value(to->s, parameters[at].keyword);
    if ((*seen & 1u << at) != 0) {
        smtp_refuse(to->s, 501, ESC(5, 5, 4), "%s given twice", parameters[at].keyword);
        return false;
    }
    *seen |= 1u << at;
    return parameters[at].set(to, value);
}

static bool take_all(const struct target *to, struct slice params)
{
    unsigned seen = 0;
    if (params.len > 0 && params.ptr[0] != ' ') {
        smtp_refuse(to->s, 501, ESC(5, 5, 4), "text behind the address");
        return false;
    }
    for (params = slice_trim(params); params.len > 0; params = slice_trim(params)) {
        if (!to->s->is_extended) {
            smtp_refuse(to->s, 555, ESC(5, 5, 4), "parameters need EHLO");
            return false;
        }
        if (!take_parameter(to, slice_take_until(&params, ' '), &seen))
            return false;
    }
    return true;
}

bool smtp_params_mail(struct smtp_server *s, struct slice params, struct smtp_mail *mail)
{
    return take_all(&(struct target){ .s = s, .arena = &s->transaction, .mail = mail }, params);
}

bool smtp_params_rcpt(struct smtp_server *s, struct slice params, struct smtp_rcpt *rcpt)
{
    return take_all(&(struct target){ .s = s, .arena = &s->scratch, .rcpt = rcpt }, params);
}
