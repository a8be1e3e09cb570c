/* Records, certificates and signatures of the stand-in for TLS: see tls.h. */
#include "sim/tls.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

bool sim_tls_put(struct buf *out, enum sim_tls_type type, struct slice payload)
{
    char head[SIM_TLS_HEAD] = { (char)type, (char)(payload.len >> 8), (char)(payload.len & 0xff) };
    return payload.len <= SIM_TLS_RECORD_MAX && buf_append(out, (struct slice){ head, sizeof(head) }) && buf_append(out, payload);
}

enum rc sim_tls_take(struct slice *in, enum sim_tls_type *type, struct slice *payload)
{
    if (in->len == 0)
        return RC_MORE;
    unsigned first = (unsigned char)in->ptr[0];
    if (first != SIM_TLS_CLOSE && first != SIM_TLS_HELLO && first != SIM_TLS_DATA)
        return RC_PERM;
    if (in->len < SIM_TLS_HEAD)
        return RC_MORE;
    size_t len = (size_t)(unsigned char)in->ptr[1] << 8 | (unsigned char)in->ptr[2];
    if (len > SIM_TLS_RECORD_MAX)
        return RC_PERM;
    if (in->len - SIM_TLS_HEAD < len)
        return RC_MORE;
    *type = (enum sim_tls_type)first;
    (void)slice_take(in, SIM_TLS_HEAD);
    *payload = slice_take(in, len);
    return RC_OK;
}

/* ---- certificates ------------------------------------------------------------------------------------------------ */

static bool take_hex(struct slice *in, uint64_t *value)
{
    char text[17];
    struct slice digits = slice_take(in, 16);
    char *end;
    if (!slice_to_str(digits, text, sizeof(text)))
        return false;
    *value = strtoull(text, &end, 16);
    return end == text + 16;
}

bool sim_certificate_parse(struct slice pem, struct sim_certificate *certificate)
{
    static const struct slice mark = SLICE_INIT("simtls certificate ");
    size_t at = slice_find(pem, mark);
    if (at == pem.len)
        return false;
    struct slice rest = slice_sub(pem, at + mark.len, pem.len);
    if (!take_hex(&rest, &certificate->id) || !slice_take_byte(&rest, ' '))
        return false;
    certificate->names = slice_trim(slice_take_until(&rest, '\n'));
    return certificate->names.len > 0;
}

bool sim_certificate_has_name(const struct sim_certificate *certificate, const char *name)
{
    struct slice rest = certificate->names;
    while (rest.len > 0)
        if (slice_equal_nocase(slice_take_until(&rest, ','), slice_from_str(name)))
            return true;
    return false;
}

/* ---- signatures -------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        hash = (hash ^ (unsigned char)bytes.ptr[i]) * 0x100000001b3;
    return hash;
}

static void spread(uint64_t hash, unsigned char out[SIM_TLS_DIGEST])
{
    for (size_t i = 0; i < SIM_TLS_DIGEST; i++) {
        hash = (hash ^ (hash >> 29)) * 0xbf58476d1ce4e5b9 + i;
        out[i] = (unsigned char)(hash >> 56);
    }
}

void sim_tls_digest(struct slice hello, unsigned char digest[SIM_TLS_DIGEST]) { spread(mix(0xcbf29ce484222325, hello), digest); }

void sim_tls_signature(uint64_t id, const unsigned char digest[SIM_TLS_DIGEST], unsigned char signature[SIM_TLS_DIGEST])
{
    spread(mix(id, (struct slice){ (const char *)digest, SIM_TLS_DIGEST }), signature);
}

bool sim_tls_answer(struct buf *out, struct slice certificate, const unsigned char signature[SIM_TLS_DIGEST])
{
    (void)buf_append_str(out, SIM_TLS_SERVER);
    for (size_t i = 0; i < SIM_TLS_DIGEST; i++)
        (void)buf_printf(out, "%02x", signature[i]);
    return buf_append_byte(out, ' ') && buf_append(out, certificate) && !out->overflow;
}

bool sim_tls_check(struct slice answer, struct slice hello, struct sim_certificate *certificate)
{
    unsigned char digest[SIM_TLS_DIGEST], signature[SIM_TLS_DIGEST];
    char text[2 * SIM_TLS_DIGEST + 1];
    if (!slice_take_prefix_nocase(&answer, SLICE(SIM_TLS_SERVER)))
        return false;
    struct slice told = slice_take(&answer, 2 * SIM_TLS_DIGEST);
    if (!sim_certificate_parse(answer, certificate))
        return false;
    sim_tls_digest(hello, digest);
    sim_tls_signature(certificate->id, digest, signature);
    for (size_t i = 0; i < SIM_TLS_DIGEST; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", signature[i]);
    return slice_equal(told, slice_from_str(text));
}
