/* The client's side of SASL: see sasl.h. */
#include "sasl/scram.h"

#include "base/text.h"

enum turn { TURN_FIRST, TURN_SECOND, TURN_THIRD, TURN_OVER };

struct sasl_client {
    enum sasl_mechanism mechanism;
    enum turn turn;
    struct arena *arena;
    struct slice name, password;    /* the caller's */
    struct slice nonce;
    struct slice gs2_header, binding_data, first_bare;
    struct scram_key server_signature;
    bool is_server_proved;
};

/* The words of the list the server has announced. */
static bool is_offered(struct slice offered, enum sasl_mechanism mechanism)
{
    while (offered.len > 0)
        if (slice_equal_nocase(slice_take_until(&offered, ' '), slice_from_str(sasl_mechanism_name(mechanism))))
            return true;
    return false;
}

static const char *binding_type(const struct sasl_binding *binding)
{
    if (binding == NULL)
        return NULL;
    if (binding->tls_exporter.len > 0)
        return "tls-exporter";
    return binding->tls_server_end_point.len > 0 ? "tls-server-end-point" : NULL;
}

static enum sasl_mechanism choose(struct slice offered, bool can_bind, bool plain_allowed)
{
    const struct { enum sasl_mechanism mechanism; bool allowed; } best_first[] = {
        { SASL_SCRAM_SHA_256_PLUS, can_bind },
        { SASL_SCRAM_SHA_256, true },
        { SASL_PLAIN, plain_allowed },
        { SASL_LOGIN, plain_allowed },
    };
    for (size_t i = 0; i < sizeof best_first / sizeof best_first[0]; i++)
        if (best_first[i].allowed && is_offered(offered, best_first[i].mechanism))
            return best_first[i].mechanism;
    return SASL_NONE;
}

/* RFC 5802 6: "y" tells a server that does offer binding that somebody has hidden it from us. */
static bool set_binding(struct sasl_client *c, const struct sasl_binding *binding)
{
    const char *type = binding_type(binding);
    const char *header = c->mechanism == SASL_SCRAM_SHA_256_PLUS ? arena_printf(c->arena, "p=%s,,", type)
                         : type != NULL ? "y,," : "n,,";
    c->gs2_header = slice_from_str(header);
    if (c->mechanism == SASL_SCRAM_SHA_256_PLUS)
        c->binding_data = arena_copy(c->arena, scram_binding_data(binding, slice_from_str(type)));
    return header != NULL && (c->mechanism != SASL_SCRAM_SHA_256_PLUS || c->binding_data.ptr != NULL);
}

struct sasl_client *sasl_client_begin(struct slice offered, struct slice name, struct slice password,
                                      const struct sasl_binding *binding, bool has_tls, bool plain_allowed,
                                      struct slice nonce, struct arena *arena, struct fault *f)
{
    enum sasl_mechanism mechanism = choose(offered, binding_type(binding) != NULL, has_tls || plain_allowed);
    if (mechanism == SASL_NONE) {
        fault_perm(f, ESC(5, 7, 4), has_tls || plain_allowed ? "the server offers no mechanism that we know"
                   : "the server offers no mechanism that is safe without TLS");
        return NULL;
    }
    struct sasl_client *c = ARENA_NEW(arena, struct sasl_client);
    if (c == NULL) {
        fault_no_memory(f);
        return NULL;
    }
    *c = (struct sasl_client){ .mechanism = mechanism, .arena = arena, .name = name, .password = password };
    c->nonce = scram_nonce_text(nonce, arena);
    if (c->nonce.ptr == NULL || !set_binding(c, binding)) {
        fault_no_memory(f);
        return NULL;
    }
    must(scram_is_nonce(c->nonce));
    return c;
}

enum sasl_mechanism sasl_client_mechanism(const struct sasl_client *c) { return c->mechanism; }

static enum rc unexpected(struct sasl_client *c, struct fault *f)
{
    c->turn = TURN_OVER;
    return fault_perm(f, ESC(5, 7, 8), "the server's authentication message makes no sense");
}

/* ---- PLAIN and LOGIN ---- */

static enum rc step_plain(struct sasl_client *c, bool *has_response, struct buf *out, struct fault *f)
{
    if (c->turn != TURN_FIRST)
        return unexpected(c, f);
    c->turn = TURN_OVER;
    *has_response = true;
    return buf_append_byte(out, '\0') && buf_append(out, c->name) && buf_append_byte(out, '\0') &&
           buf_append(out, c->password) ? RC_OK : fault_no_memory(f);
}

/* What the prompts say is not standardized: the first is for the name, the second for the password. */
static enum rc step_login(struct sasl_client *c, bool has_challenge, bool *has_response, struct buf *out, struct fault *f)
{
    if (!has_challenge) {
        *has_response = false;
        return c->turn == TURN_FIRST ? RC_OK : unexpected(c, f);
    }
    if (c->turn != TURN_FIRST && c->turn != TURN_SECOND)
        return unexpected(c, f);
    *has_response = true;
    bool fits = buf_append(out, c->turn == TURN_FIRST ? c->name : c->password);
    c->turn = c->turn == TURN_FIRST ? TURN_SECOND : TURN_OVER;
    return fits ? RC_OK : fault_no_memory(f);
}

/* ---- SCRAM ---- */

static enum rc send_client_first(struct sasl_client *c, struct buf *out, struct fault *f)
{
    size_t before = buf_len(out);
    buf_append(out, c->gs2_header);
    size_t bare = buf_len(out);
    buf_append_str(out, "n=");
    for (size_t i = 0; i < c->name.len; i++) {
        char byte = c->name.ptr[i];
        if (byte == ',' || byte == '=')
            buf_append_str(out, byte == ',' ? "=2C" : "=3D");
        else
            buf_append_byte(out, byte);
    }
    buf_append_str(out, ",r=");
    buf_append(out, c->nonce);
    if (out->overflow || buf_len(out) - before > SCRAM_MESSAGE_MAX)
        return fault_perm(f, ESC(5, 7, 8), "user name too long");
    c->first_bare = arena_copy(c->arena, slice_sub(buf_slice(out), bare, SIZE_MAX));
    c->turn = TURN_SECOND;
    return c->first_bare.ptr != NULL ? RC_OK : fault_no_memory(f);
}

struct server_first {
    struct slice nonce;
    struct buf salt;
    uint64_t iterations;
};

/* Few iterations would make what an eavesdropper hears cheap to search, many keep us busy. */
static bool parse_server_first(const struct sasl_client *c, struct slice message, struct server_first *first)
{
    struct slice salt, iterations;
    return message.len <= SCRAM_MESSAGE_MAX && scram_take(&message, 'r', &first->nonce) &&
           scram_take(&message, 's', &salt) && scram_take(&message, 'i', &iterations) &&
           first->nonce.len > c->nonce.len && slice_equal(slice_sub(first->nonce, 0, c->nonce.len), c->nonce) &&
           base64_decode(salt, &first->salt) == RC_OK && buf_len(&first->salt) > 0 &&
           slice_take_number(&iterations, SCRAM_ITERATIONS_MAX, &first->iterations) && iterations.len == 0 &&
           first->iterations >= SCRAM_ITERATIONS_MIN;
}

static bool make_proof(struct sasl_client *c, const struct server_first *first, struct slice auth_message, struct scram_key *proof)
{
    struct scram_key salted, client, stored, signature, server;
    bool done = scram_salted_password(c->password, buf_slice(&first->salt), (uint32_t)first->iterations, &salted) &&
                scram_hmac(&salted, SLICE("Client Key"), &client) && scram_hash(&client, &stored) &&
                scram_hmac(&stored, auth_message, &signature) && scram_hmac(&salted, SLICE("Server Key"), &server) &&
                scram_hmac(&server, auth_message, &c->server_signature);
    if (done)
        *proof = scram_xor(&client, &signature);
    explicit_bzero(&salted, sizeof salted);
    explicit_bzero(&client, sizeof client);
    explicit_bzero(&server, sizeof server);
    return done;
}

static enum rc send_client_final(struct sasl_client *c, struct slice server_first, const struct server_first *first,
                                 struct buf *out, struct fault *f)
{
    struct scram_key proof;
    size_t before = buf_len(out);
    buf_append_str(out, "c=");
    scram_append_c(out, c->gs2_header, c->binding_data);
    buf_append_str(out, ",r=");
    buf_append(out, first->nonce);
    if (out->overflow)
        return fault_no_memory(f);
    struct slice without = slice_sub(buf_slice(out), before, SIZE_MAX);
    struct slice auth_message = scram_auth_message(c->arena, c->first_bare, server_first, without);
    if (auth_message.ptr == NULL || !make_proof(c, first, auth_message, &proof))
        return fault_no_memory(f);
    c->turn = TURN_THIRD;
    return buf_append_str(out, ",p=") && base64_encode(scram_key_slice(&proof), out) ? RC_OK : fault_no_memory(f);
}

static enum rc on_server_first(struct sasl_client *c, struct slice message, struct buf *out, struct fault *f)
{
    struct server_first first = { .iterations = 0 };
    buf_init(&first.salt, SCRAM_MESSAGE_MAX);
    enum rc rc = parse_server_first(c, message, &first) ? send_client_final(c, message, &first, out, f) : unexpected(c, f);
    buf_free(&first.salt);
    return rc;
}

/* The server knows the verifier, or it is not the server. */
static enum rc on_server_final(struct sasl_client *c, struct slice message, struct fault *f)
{
    struct slice value;
    struct scram_key signature;
    c->turn = TURN_OVER;
    if (!scram_take(&message, 'v', &value) || !scram_decode_key(value, &signature))
        return fault_perm(f, ESC(5, 7, 8), "the server refused the proof");
    c->is_server_proved = slice_equal_secret(scram_key_slice(&signature), scram_key_slice(&c->server_signature));
    return c->is_server_proved ? RC_OK : fault_perm(f, ESC(5, 7, 8), "the server could not prove that it knows the password");
}

static enum rc step_scram(struct sasl_client *c, bool has_challenge, struct slice message, bool *has_response,
                          struct buf *out, struct fault *f)
{
    *has_response = true;
    if (c->turn == TURN_FIRST && (!has_challenge || message.len == 0))
        return send_client_first(c, out, f);
    if (c->turn == TURN_SECOND && has_challenge)
        return on_server_first(c, message, out, f);
    if (c->turn == TURN_THIRD && has_challenge)
        return on_server_final(c, message, f);
    return unexpected(c, f);
}

enum rc sasl_client_step(struct sasl_client *c, bool has_challenge, struct slice message, bool *has_response,
                         struct buf *out, struct fault *f)
{
    *has_response = false;
    switch (c->mechanism) {
    case SASL_PLAIN:                return step_plain(c, has_response, out, f);
    case SASL_LOGIN:                return step_login(c, has_challenge, has_response, out, f);
    case SASL_SCRAM_SHA_256:
    case SASL_SCRAM_SHA_256_PLUS:   return step_scram(c, has_challenge, message, has_response, out, f);
    case SASL_NONE:
    case SASL_MECHANISMS:           break;
    }
    return unexpected(c, f);
}

enum rc sasl_client_verify(const struct sasl_client *c, struct fault *f)
{
    bool is_scram = c->mechanism == SASL_SCRAM_SHA_256 || c->mechanism == SASL_SCRAM_SHA_256_PLUS;
    if (!is_scram || c->is_server_proved)
        return RC_OK;
    return fault_perm(f, ESC(5, 7, 8), "the server claims success without having proved itself");
}
