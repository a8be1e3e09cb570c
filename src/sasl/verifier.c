/* Mechanism names and verifiers: see sasl.h. */
#include "sasl/scram.h"

#include "base/text.h"

static const char *const names[SASL_MECHANISMS] = {
    [SASL_NONE] = "",
    [SASL_PLAIN] = "PLAIN",
    [SASL_LOGIN] = "LOGIN",
    [SASL_SCRAM_SHA_256] = "SCRAM-SHA-256",
    [SASL_SCRAM_SHA_256_PLUS] = "SCRAM-SHA-256-PLUS",
};

const char *sasl_mechanism_name(enum sasl_mechanism mechanism)
{
    return names[mechanism];
}

enum sasl_mechanism sasl_mechanism_find(struct slice name)
{
    unsigned at = SASL_MECHANISMS - 1;
    while (at > SASL_NONE && !slice_equal_nocase(name, slice_from_str(names[at])))
        at--;
    return (enum sasl_mechanism)at;
}

/* What we keep of SASLprep (RFC 4013 2.3): nobody types a control character on purpose. */
static enum rc check_password(struct slice password, struct fault *f)
{
    struct slice rest = password;
    uint32_t code_point;
    if (password.len == 0)
        return fault_perm(f, ESC(5, 7, 8), "the password is empty");
    if (password.len > SASL_MESSAGE_MAX / 4)
        return fault_perm(f, ESC(5, 7, 8), "the password has more than %d bytes", SASL_MESSAGE_MAX / 4);
    while (rest.len > 0) {
        if (utf8_take(&rest, &code_point) != RC_OK)
            return fault_perm(f, ESC(5, 7, 8), "the password is not UTF-8");
        if (code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0))
            return fault_perm(f, ESC(5, 7, 8), "the password contains a control character");
    }
    return RC_OK;
}

static struct slice salt_of(const struct sasl_verifier *v) { return (struct slice){ (const char *)v->salt, SASL_SALT_BYTES }; }

static bool derive(struct slice password, struct sasl_verifier *v)
{
    struct scram_key salted, client, stored, server;
    bool done = scram_salted_password(password, salt_of(v), v->iterations, &salted) &&
                scram_hmac(&salted, SLICE("Client Key"), &client) && scram_hash(&client, &stored) &&
                scram_hmac(&salted, SLICE("Server Key"), &server);
    if (done) {
        memcpy(v->stored_key, stored.bytes, SCRAM_KEY_BYTES);
        memcpy(v->server_key, server.bytes, SCRAM_KEY_BYTES);
    }
    explicit_bzero(&salted, sizeof salted);
    explicit_bzero(&client, sizeof client);
    return done;
}

enum rc sasl_verifier_make(struct slice password, const unsigned char salt[SASL_SALT_BYTES], uint32_t iterations,
                           struct sasl_verifier *v, struct fault *f)
{
    enum rc rc = check_password(password, f);
    if (rc != RC_OK)
        return rc;
    *v = (struct sasl_verifier){ .iterations = iterations };
    memcpy(v->salt, salt, SASL_SALT_BYTES);
    return derive(password, v) ? RC_OK : fault_perm(f, ESC(5, 7, 8), "cannot derive keys with %u iterations", iterations);
}

bool sasl_verifier_check(const struct sasl_verifier *v, struct slice password)
{
    struct sasl_verifier derived = *v;
    bool is_same = derive(password, &derived) &&
                   slice_equal_secret((struct slice){ (const char *)v->stored_key, SCRAM_KEY_BYTES },
                                      (struct slice){ (const char *)derived.stored_key, SCRAM_KEY_BYTES });
    explicit_bzero(&derived, sizeof derived);
    return is_same;
}

void sasl_verifier_invent(const unsigned char secret[32], struct slice name, uint32_t iterations, struct sasl_verifier *v)
{
    struct scram_key key, salt;
    memcpy(key.bytes, secret, SCRAM_KEY_BYTES);
    *v = (struct sasl_verifier){ .iterations = iterations };
    if (scram_hmac(&key, name, &salt))
        memcpy(v->salt, salt.bytes, SASL_SALT_BYTES);
    explicit_bzero(&key, sizeof key);
}

static bool append_base64(struct buf *out, const unsigned char *bytes, size_t len)
{
    return base64_encode((struct slice){ (const char *)bytes, len }, out);
}

bool sasl_verifier_write(const struct sasl_verifier *v, struct buf *out)
{
    return buf_printf(out, "SCRAM-SHA-256$%u:", v->iterations) && append_base64(out, v->salt, SASL_SALT_BYTES) &&
           buf_append_byte(out, '$') && append_base64(out, v->stored_key, SCRAM_KEY_BYTES) &&
           buf_append_byte(out, ':') && append_base64(out, v->server_key, SCRAM_KEY_BYTES);
}

enum rc sasl_verifier_parse(struct slice in, struct sasl_verifier *v)
{
    struct scram_key stored, server;
    uint64_t iterations;
    struct buf salt;
    buf_init(&salt, SASL_SALT_BYTES + 2);
    bool is_good = slice_take_prefix_nocase(&in, SLICE("SCRAM-SHA-256$")) &&
                   slice_take_number(&in, SCRAM_ITERATIONS_MAX, &iterations) && iterations > 0 && slice_take_byte(&in, ':') &&
                   base64_decode(slice_take_until(&in, '$'), &salt) == RC_OK && buf_len(&salt) == SASL_SALT_BYTES &&
                   scram_decode_key(slice_take_until(&in, ':'), &stored) && scram_decode_key(in, &server);
    if (is_good) {
        v->iterations = (uint32_t)iterations;
        memcpy(v->salt, buf_slice(&salt).ptr, SASL_SALT_BYTES);
        memcpy(v->stored_key, stored.bytes, SCRAM_KEY_BYTES);
        memcpy(v->server_key, server.bytes, SCRAM_KEY_BYTES);
    }
    buf_free(&salt);
    return is_good ? RC_OK : RC_PERM;
}
