/* Names of the directory as keys: see names.h. */
#include "config/names.h"

static enum rc lower(struct slice text, struct arena *arena, struct slice *out, struct fault *f)
{
    char *copy = arena_alloc(arena, 1, text.len);
    if (copy == NULL)
        return fault_no_memory(f);
    for (size_t i = 0; i < text.len; i++)
        copy[i] = byte_lower(text.ptr[i]);
    *out = (struct slice){ copy, text.len };
    return RC_OK;
}

enum rc name_domain_key(struct slice domain, struct arena *arena, struct slice *key, struct fault *f)
{
    struct buf out;
    if (domain.len > 0 && domain.ptr[0] == '[')
        return lower(domain, arena, key, f);
    buf_init(&out, DOMAIN_MAX + 1);
    enum rc rc = domain_to_ascii(domain, &out, f);
    if (rc == RC_OK)
        rc = lower(buf_slice(&out), arena, key, f);
    buf_free(&out);
    return rc;
}

enum rc name_key(struct slice local_part, struct slice domain, struct arena *arena, struct slice *key, struct fault *f)
{
    struct slice domain_key;
    enum rc rc = name_domain_key(domain, arena, &domain_key, f);
    if (rc != RC_OK)
        return rc;
    char *text = arena_alloc(arena, 1, local_part.len + 1 + domain_key.len);
    if (text == NULL)
        return fault_no_memory(f);
    for (size_t i = 0; i < local_part.len; i++)
        text[i] = byte_lower(local_part.ptr[i]);
    text[local_part.len] = '@';
    memcpy(text + local_part.len + 1, domain_key.ptr, domain_key.len);
    *key = (struct slice){ text, local_part.len + 1 + domain_key.len };
    return RC_OK;
}

static bool is_separator(unsigned char byte) { return byte == ' ' || byte == ',' || byte == '\t' || byte == '\n'; }

bool name_take_target(struct slice *targets, struct slice *one)
{
    bool is_quoted = false;
    size_t len = 0;
    slice_take_while(targets, is_separator);
    for (; len < targets->len && (is_quoted || !is_separator((unsigned char)targets->ptr[len])); len++) {
        if (targets->ptr[len] == '"')
            is_quoted = !is_quoted;
        else if (targets->ptr[len] == '\\' && is_quoted && len + 1 < targets->len)
            len++;
    }
    *one = slice_take(targets, len);
    return one->len > 0;
}
