/* What both sides of SCRAM-SHA-256 share: see scram.h. */
#include "sasl/scram.h"

#include "base/text.h"

#include <limits.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

bool scram_salted_password(struct slice password, struct slice salt, uint32_t iterations, struct scram_key *out)
{
    if (password.len > INT_MAX || salt.len > INT_MAX || iterations == 0 || iterations > SCRAM_ITERATIONS_MAX)
        return false;
    return PKCS5_PBKDF2_HMAC(password.len > 0 ? password.ptr : "", (int)password.len, (const unsigned char *)salt.ptr,
                             (int)salt.len, (int)iterations, EVP_sha256(), SCRAM_KEY_BYTES, out->bytes) == 1;
}

bool scram_hmac(const struct scram_key *key, struct slice text, struct scram_key *out)
{
    unsigned len = 0;
    return HMAC(EVP_sha256(), key->bytes, SCRAM_KEY_BYTES, (const unsigned char *)text.ptr, text.len, out->bytes, &len)
           != NULL && len == SCRAM_KEY_BYTES;
}

bool scram_hash(const struct scram_key *key, struct scram_key *out)
{
    return SHA256(key->bytes, SCRAM_KEY_BYTES, out->bytes) != NULL;
}

struct scram_key scram_xor(const struct scram_key *a, const struct scram_key *b)
{
    struct scram_key out;
    for (size_t i = 0; i < SCRAM_KEY_BYTES; i++)
        out.bytes[i] = a->bytes[i] ^ b->bytes[i];
    return out;
}

struct slice scram_key_slice(const struct scram_key *key)
{
    return (struct slice){ (const char *)key->bytes, SCRAM_KEY_BYTES };
}

bool scram_take(struct slice *in, char attribute, struct slice *value)
{
    if (in->len < 3 || in->ptr[0] != attribute || in->ptr[1] != '=')
        return false;
    slice_take(in, 2);
    *value = slice_take_until(in, ',');
    return value->len > 0;
}

static bool is_nonce_byte(char byte) { return byte > 0x20 && byte < 0x7f && byte != ','; }

static bool is_nonce_text(struct slice s)
{
    size_t at = 0;
    while (at < s.len && is_nonce_byte(s.ptr[at]))
        at++;
    return at == s.len;
}

bool scram_is_nonce(struct slice s)
{
    return s.len >= SCRAM_NONCE_MIN && s.len <= SCRAM_NONCE_MAX && is_nonce_text(s);
}

struct slice scram_nonce_text(struct slice random, struct arena *arena)
{
    if (is_nonce_text(random))
        return arena_copy(arena, random);
    struct buf text;
    buf_init(&text, SCRAM_NONCE_MAX);
    struct slice copy = base64_encode(random, &text) ? arena_copy(arena, buf_slice(&text)) : SLICE_NONE;
    buf_free(&text);
    return copy;
}

struct slice scram_binding_data(const struct sasl_binding *binding, struct slice type)
{
    if (slice_equal(type, SLICE("tls-exporter")))               /* RFC 9266 */
        return binding->tls_exporter;
    if (slice_equal(type, SLICE("tls-server-end-point")))       /* RFC 5929 4 */
        return binding->tls_server_end_point;
    return SLICE_NONE;
}

bool scram_copy_binding(const struct sasl_binding *binding, struct arena *arena, struct sasl_binding *out)
{
    *out = (struct sasl_binding){ 0 };
    if (binding == NULL)
        return true;
    out->offers_plus = binding->offers_plus;
    out->tls_exporter = arena_copy(arena, binding->tls_exporter);
    out->tls_server_end_point = arena_copy(arena, binding->tls_server_end_point);
    return (binding->tls_exporter.len == 0 || out->tls_exporter.ptr != NULL) &&
           (binding->tls_server_end_point.len == 0 || out->tls_server_end_point.ptr != NULL);
}

bool scram_append_c(struct buf *out, struct slice gs2_header, struct slice data)
{
    struct buf plain;
    buf_init(&plain, SCRAM_MESSAGE_MAX);
    bool fits = buf_append(&plain, gs2_header) && buf_append(&plain, data) && base64_encode(buf_slice(&plain), out);
    buf_free(&plain);
    return fits;
}

struct slice scram_auth_message(struct arena *arena, struct slice first_bare, struct slice server_first, struct slice final_bare)
{
    struct buf text;
    buf_init(&text, 4 * SCRAM_MESSAGE_MAX);
    bool fits = buf_append(&text, first_bare) && buf_append_byte(&text, ',') && buf_append(&text, server_first) &&
                buf_append_byte(&text, ',') && buf_append(&text, final_bare);
    struct slice copy = fits ? arena_copy(arena, buf_slice(&text)) : SLICE_NONE;
    buf_free(&text);
    return copy;
}

bool scram_decode_key(struct slice base64, struct scram_key *out)
{
    struct buf plain;
    buf_init(&plain, SCRAM_KEY_BYTES + 2);
    bool is_key = base64_decode(base64, &plain) == RC_OK && buf_len(&plain) == SCRAM_KEY_BYTES;
    if (is_key)
        memcpy(out->bytes, buf_slice(&plain).ptr, SCRAM_KEY_BYTES);
    buf_free(&plain);
    return is_key;
}
