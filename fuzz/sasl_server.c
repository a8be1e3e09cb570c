/* A SASL server in the hands of a hostile client. First byte: mechanism and binding; messages are separated by LF, an
 * empty first one means that the client waits for the challenge. Without the password, nothing succeeds. */
#include "fuzz.h"

#include "sasl/sasl.h"

#include <stdlib.h>

static const char nonce[] = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct sasl_verifier verifier = { .salt = "0123456789abcde", .iterations = 1, .stored_key = "nobody's key" };
    struct sasl_binding binding = { .offers_plus = (data[0] & 8) != 0 };
    if ((data[0] & 16) != 0)
        binding.tls_exporter = SLICE("0123456789abcdef0123456789abcdef");
    struct arena arena;
    struct buf out;
    struct fault f;
    arena_init(&arena, 1 << 16);
    buf_init(&out, 1 << 14);
    struct sasl_server *s = sasl_server_begin((enum sasl_mechanism)(1 + data[0] % 4), &binding, SLICE(nonce), &arena);
    must(s != NULL);
    struct slice rest = { (const char *)data + 1, size - 1 };
    enum sasl_state state = SASL_CHALLENGE;
    for (bool is_first = true; state == SASL_CHALLENGE && (rest.len > 0 || is_first); is_first = false) {
        struct slice text = slice_take_until(&rest, '\n');
        char *message = malloc(text.len + 1);
        must(message != NULL);
        memcpy(message, text.len > 0 ? text.ptr : "", text.len);
        buf_clear(&out);
        state = sasl_server_step(s, !is_first || text.len > 0, (struct slice){ message, text.len }, &out, &f);
        free(message);
        if (state == SASL_LOOKUP)
            state = sasl_server_verifier(s, &verifier, (data[0] & 32) != 0, &out, &f);
        must(!out.overflow && state != SASL_OK && state != SASL_LOOKUP);
    }
    if (state == SASL_FAILED)
        must(f.rc == RC_PERM && f.text[0] != '\0');
    arena_free(&arena);
    buf_free(&out);
    return 0;
}
