/* The server's side of SASL: see sasl.h. One function per message that is awaited, in one table. */
#include "sasl/scram.h"

#include "base/text.h"

enum phase {
    PHASE_PLAIN, PHASE_LOGIN_NAME, PHASE_LOGIN_PASSWORD, PHASE_CLIENT_FIRST, PHASE_CLIENT_FINAL, PHASE_ACKNOWLEDGE,
    PHASE_LOOKUP_PASSWORD, PHASE_LOOKUP_SCRAM, PHASE_OVER, PHASES
};

struct sasl_server {
    enum sasl_mechanism mechanism;
    enum phase phase;
    struct arena *arena;
    struct sasl_binding binding;
    struct slice nonce;             /* of ours, as text */
    struct slice name, authorize;
    char *password;                 /* secret, in the arena until checked */
    size_t password_len;
    /* SCRAM */
    bool exists;
    struct sasl_verifier verifier;
    struct slice gs2_header, binding_data, client_nonce, whole_nonce, first_bare, server_first;
};

/* All wrong credentials look alike. */
static enum sasl_state wrong(struct sasl_server *s, struct fault *f)
{
    s->phase = PHASE_OVER;
    fault_perm(f, ESC(5, 7, 8), "authentication credentials invalid");
    return SASL_FAILED;
}

static enum sasl_state garbled(struct sasl_server *s, struct fault *f)
{
    s->phase = PHASE_OVER;
    fault_perm(f, ESC(5, 5, 2), "authentication message cannot be understood");
    return SASL_FAILED;
}

static enum sasl_state no_memory(struct sasl_server *s, struct fault *f)
{
    s->phase = PHASE_OVER;
    fault_no_memory(f);
    return SASL_FAILED;
}

static enum sasl_state challenge(struct sasl_server *s, enum phase next)
{
    s->phase = next;
    return SASL_CHALLENGE;
}

struct sasl_server *sasl_server_begin(enum sasl_mechanism mechanism, const struct sasl_binding *binding, struct slice nonce,
                                      struct arena *arena)
{
    static const enum phase first[SASL_MECHANISMS] = {
        [SASL_NONE] = PHASE_OVER,
        [SASL_PLAIN] = PHASE_PLAIN,
        [SASL_LOGIN] = PHASE_LOGIN_NAME,
        [SASL_SCRAM_SHA_256] = PHASE_CLIENT_FIRST,
        [SASL_SCRAM_SHA_256_PLUS] = PHASE_CLIENT_FIRST,
    };
    struct sasl_server *s = ARENA_NEW(arena, struct sasl_server);
    if (s == NULL || mechanism == SASL_NONE || !scram_copy_binding(binding, arena, &s->binding))
        return NULL;
    s->mechanism = mechanism;
    s->phase = first[mechanism];
    s->arena = arena;
    s->nonce = scram_nonce_text(nonce, arena);
    return s->nonce.ptr != NULL && s->nonce.len >= SCRAM_NONCE_MIN ? s : NULL;
}

static bool is_name(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return false;
    return utf8_is_valid(s);
}

static void forget_password(struct sasl_server *s)
{
    if (s->password != NULL)
        explicit_bzero(s->password, s->password_len);
    s->password = NULL;
}

/* ---- PLAIN and LOGIN ---- */

static enum sasl_state lookup_password(struct sasl_server *s, struct slice password, struct fault *f)
{
    if (password.len == 0)
        return wrong(s, f);
    s->password = ARENA_ARRAY(s->arena, char, password.len);
    if (s->password == NULL)
        return no_memory(s, f);
    memcpy(s->password, password.ptr, password.len);
    s->password_len = password.len;
    s->phase = PHASE_LOOKUP_PASSWORD;
    return SASL_LOOKUP;
}

/* RFC 4616 2: [authzid] NUL authcid NUL passwd. */
static enum sasl_state on_plain(struct sasl_server *s, struct slice message, struct buf *out, struct fault *f)
{
    (void)out;
    size_t first = slice_find_byte(message, '\0');
    if (first == message.len)
        return garbled(s, f);
    struct slice authorize = slice_take_until(&message, '\0');
    if (slice_find_byte(message, '\0') == message.len)
        return garbled(s, f);
    struct slice name = slice_take_until(&message, '\0');
    if (name.len == 0 || !is_name(name) || !is_name(authorize) || slice_find_byte(message, '\0') < message.len)
        return garbled(s, f);
    s->name = arena_copy(s->arena, name);
    s->authorize = slice_equal(name, authorize) ? SLICE_NONE : arena_copy(s->arena, authorize);
    if (s->name.ptr == NULL || (s->authorize.len > 0 && s->authorize.ptr == NULL))
        return no_memory(s, f);
    return lookup_password(s, message, f);
}

static enum sasl_state on_login_name(struct sasl_server *s, struct slice message, struct buf *out, struct fault *f)
{
    if (message.len == 0 || !is_name(message))
        return garbled(s, f);
    s->name = arena_copy(s->arena, message);
    if (s->name.ptr == NULL)
        return no_memory(s, f);
    buf_append_str(out, "Password:");
    return challenge(s, PHASE_LOGIN_PASSWORD);
}

static enum sasl_state on_login_password(struct sasl_server *s, struct slice message, struct buf *out, struct fault *f)
{
    (void)out;
    return lookup_password(s, message, f);
}

/* The hash is computed for names that do not exist as well: the time tells nothing. */
static enum sasl_state check_password(struct sasl_server *s, const struct sasl_verifier *verifier, bool exists, struct fault *f)
{
    bool is_right = sasl_verifier_check(verifier, (struct slice){ s->password, s->password_len });
    forget_password(s);
    if (!is_right || !exists)
        return wrong(s, f);
    s->phase = PHASE_OVER;
    return SASL_OK;
}

/* ---- SCRAM ---- */

/* RFC 5802 5.1: "," is =2C and "=" is =3D, nothing else is escaped. */
static bool decode_name(struct slice in, struct arena *arena, struct slice *out)
{
    char *to = ARENA_ARRAY(arena, char, in.len + 1);
    size_t len = 0;
    if (to == NULL)
        return false;
    while (in.len > 0) {
        char byte = slice_take(&in, 1).ptr[0];
        if (byte == '=') {
            struct slice code = slice_take(&in, 2);
            if (!slice_equal_nocase(code, SLICE("2C")) && !slice_equal_nocase(code, SLICE("3D")))
                return false;
            byte = code.ptr[0] == '2' ? ',' : '=';
        }
        to[len++] = byte;
    }
    *out = (struct slice){ to, len };
    return is_name(*out);
}

/* RFC 5802 6: what the client says of channel binding has to agree with what was offered and chosen; "y" (it could,
 * but thinks that we cannot) where we do offer it means that someone has been at the list. */
static bool take_binding_flag(struct sasl_server *s, struct slice flag)
{
    bool is_plus = s->mechanism == SASL_SCRAM_SHA_256_PLUS;
    if (slice_take_prefix_nocase(&flag, SLICE("p="))) {
        s->binding_data = scram_binding_data(&s->binding, flag);
        return is_plus && s->binding_data.len > 0;
    }
    if (is_plus)
        return false;
    return slice_equal(flag, SLICE("n")) || (slice_equal(flag, SLICE("y")) && !s->binding.offers_plus);
}

static enum sasl_state on_client_first(struct sasl_server *s, struct slice message, struct buf *out, struct fault *f)
{
    (void)out;
    struct slice name, rest, whole = arena_copy(s->arena, message);
    if (message.len == 0 || message.len > SCRAM_MESSAGE_MAX)
        return garbled(s, f);
    if (whole.ptr == NULL)
        return no_memory(s, f);
    rest = whole;
    struct slice flag = slice_take_until(&rest, ',');
    struct slice authorize = slice_take_until(&rest, ',');
    s->gs2_header = slice_sub(whole, 0, whole.len - rest.len);
    s->first_bare = rest;
    if (authorize.len > 0 && (!slice_take_prefix_nocase(&authorize, SLICE("a=")) ||
                              !decode_name(authorize, s->arena, &s->authorize)))
        return garbled(s, f);
    if (!scram_take(&rest, 'n', &name) || !decode_name(name, s->arena, &s->name) ||     /* "m=" is refused by this too */
        !scram_take(&rest, 'r', &s->client_nonce) || !scram_is_nonce(s->client_nonce))
        return garbled(s, f);
    if (slice_equal(s->name, s->authorize))
        s->authorize = SLICE_NONE;
    if (!take_binding_flag(s, flag))
        return wrong(s, f);
    s->phase = PHASE_LOOKUP_SCRAM;
    return SASL_LOOKUP;
}

static enum sasl_state send_server_first(struct sasl_server *s, const struct sasl_verifier *verifier, bool exists,
                                         struct buf *out, struct fault *f)
{
    s->verifier = *verifier;
    s->exists = exists;
    size_t before = buf_len(out);
    buf_printf(out, "r=%.*s%.*s,s=", SLICE_ARG(s->client_nonce), SLICE_ARG(s->nonce));
    size_t nonce_len = s->client_nonce.len + s->nonce.len;
    base64_encode((struct slice){ (const char *)verifier->salt, SASL_SALT_BYTES }, out);
    if (!buf_printf(out, ",i=%u", verifier->iterations))
        return no_memory(s, f);
    s->server_first = arena_copy(s->arena, slice_sub(buf_slice(out), before, SIZE_MAX));
    if (s->server_first.ptr == NULL)
        return no_memory(s, f);
    s->whole_nonce = slice_sub(s->server_first, 2, nonce_len);
    return challenge(s, PHASE_CLIENT_FINAL);
}

/* RFC 5802 3: the proof gives the client's key, the key's hash is what we have stored. */
static bool is_proof_right(const struct sasl_server *s, struct slice auth_message, const struct scram_key *proof)
{
    struct scram_key stored, signature, found;
    memcpy(stored.bytes, s->verifier.stored_key, SCRAM_KEY_BYTES);
    if (!scram_hmac(&stored, auth_message, &signature))
        return false;
    struct scram_key client = scram_xor(proof, &signature);
    bool is_right = scram_hash(&client, &found) && slice_equal_secret(scram_key_slice(&found), scram_key_slice(&stored));
    explicit_bzero(&client, sizeof client);
    return is_right && s->exists;
}

static bool is_binding_right(const struct sasl_server *s, struct slice given)
{
    struct buf want;
    buf_init(&want, 2 * SCRAM_MESSAGE_MAX);
    bool is_right = scram_append_c(&want, s->gs2_header, s->binding_data) && slice_equal_secret(buf_slice(&want), given);
    buf_free(&want);
    return is_right;
}

static bool send_server_final(struct sasl_server *s, struct slice auth_message, struct buf *out)
{
    struct scram_key server, signature;
    memcpy(server.bytes, s->verifier.server_key, SCRAM_KEY_BYTES);
    return scram_hmac(&server, auth_message, &signature) && buf_append_str(out, "v=") &&
           base64_encode(scram_key_slice(&signature), out);
}

/* The proof is the last attribute; what is signed is everything in front of it, unknown extensions included. */
static bool split_proof(struct slice message, struct slice *without, struct slice *proof)
{
    size_t at = message.len;
    while (at > 3 && memcmp(message.ptr + at - 3, ",p=", 3) != 0)
        at--;
    if (at <= 3)
        return false;
    *without = slice_sub(message, 0, at - 3);
    *proof = slice_sub(message, at, SIZE_MAX);
    return true;
}

static enum sasl_state on_client_final(struct sasl_server *s, struct slice message, struct buf *out, struct fault *f)
{
    struct slice without, proof_text, rest, binding, nonce;
    struct scram_key proof;
    if (message.len > SCRAM_MESSAGE_MAX || !split_proof(message, &without, &proof_text))
        return garbled(s, f);
    rest = without;
    if (!scram_take(&rest, 'c', &binding) || !scram_take(&rest, 'r', &nonce) || !scram_decode_key(proof_text, &proof))
        return garbled(s, f);
    struct slice auth_message = scram_auth_message(s->arena, s->first_bare, s->server_first, without);
    if (auth_message.ptr == NULL)
        return no_memory(s, f);
    if (!is_binding_right(s, binding) || !slice_equal(nonce, s->whole_nonce) || !is_proof_right(s, auth_message, &proof))
        return wrong(s, f);
    if (!send_server_final(s, auth_message, out))
        return no_memory(s, f);
    return challenge(s, PHASE_ACKNOWLEDGE);
}

/* The client has nothing to say to v=..., but has to have seen it. */
static enum sasl_state on_acknowledge(struct sasl_server *s, struct slice message, struct buf *out, struct fault *f)
{
    (void)out;
    if (message.len > 0)
        return garbled(s, f);
    s->phase = PHASE_OVER;
    return SASL_OK;
}

/* ---- steps ---- */

static const struct awaited {
    const char *prompt;             /* the challenge when the client began without a message; NULL: never awaited first */
    enum sasl_state (*on_message)(struct sasl_server *, struct slice, struct buf *out, struct fault *);
} awaited[PHASES] = {
    [PHASE_PLAIN] = { "", on_plain },
    [PHASE_LOGIN_NAME] = { "Username:", on_login_name },
    [PHASE_LOGIN_PASSWORD] = { NULL, on_login_password },
    [PHASE_CLIENT_FIRST] = { "", on_client_first },
    [PHASE_CLIENT_FINAL] = { NULL, on_client_final },
    [PHASE_ACKNOWLEDGE] = { NULL, on_acknowledge },
};

enum sasl_state sasl_server_step(struct sasl_server *s, bool has_message, struct slice message, struct buf *out, struct fault *f)
{
    const struct awaited *now = &awaited[s->phase];
    if (now->on_message == NULL)                /* no message is due: whoever relays them has lost count */
        return garbled(s, f);
    if (!has_message && now->prompt != NULL) {
        buf_append_str(out, now->prompt);
        return SASL_CHALLENGE;
    }
    if (message.len > SASL_MESSAGE_MAX)
        return garbled(s, f);
    return now->on_message(s, message, out, f);
}

enum sasl_state sasl_server_verifier(struct sasl_server *s, const struct sasl_verifier *verifier, bool exists,
                                     struct buf *out, struct fault *f)
{
    must(s->phase == PHASE_LOOKUP_PASSWORD || s->phase == PHASE_LOOKUP_SCRAM);
    if (s->phase == PHASE_LOOKUP_PASSWORD)
        return check_password(s, verifier, exists, f);
    return send_server_first(s, verifier, exists, out, f);
}

struct slice sasl_server_name(const struct sasl_server *s) { return s->name; }
struct slice sasl_server_authorize(const struct sasl_server *s) { return s->authorize; }
