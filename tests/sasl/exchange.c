/* SASL exchanges: the server against scripted clients, the client against scripted servers, and both against each
 * other (RFC 4616, RFC 5802, RFC 7677, RFC 9266). */
#include "base/text.h"
#include "check.h"
#include "sasl/sasl.h"

static const char server_nonce[] = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", client_nonce[] = "rOprNGfwEbeRWgbNEkqO";

/* The account of RFC 7677 3. */
static struct sasl_verifier rfc7677_verifier(void)
{
    struct sasl_verifier v;
    struct fault f;
    struct buf salt;
    buf_init(&salt, 64);
    CHECK_INT(base64_decode(SLICE("W22ZaJ0SNY7soEsUEjb6gQ=="), &salt), RC_OK);
    CHECK_INT(sasl_verifier_make(SLICE("pencil"), (const unsigned char *)buf_slice(&salt).ptr, 4096, &v, &f), RC_OK);
    buf_free(&salt);
    return v;
}

/* ---- scripted clients: the verifier is the RFC's, for the name "user" ---- */

struct script {
    const char *sentence;
    enum sasl_mechanism mechanism;
    int binding;                    /* 0 none, 1 data there, 2 data there and -PLUS offered */
    const char *messages[4];        /* the client's; a first NULL: it begins without one. "~" stands for NUL */
    const char *challenges[4];      /* wanted, in order */
    enum sasl_state end;
    uint32_t esc;                   /* wanted with SASL_FAILED */
};

#define WRONG ESC(5, 7, 8)
#define GARBLED ESC(5, 5, 2)
#define FIRST "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define FINAL "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define PROOF ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="

static const struct script scripts[] = {
    { "RFC 7677 3, the example", SASL_SCRAM_SHA_256, 0, { "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", FINAL PROOF, "" },
      { FIRST, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" }, SASL_OK, 0 },
    { "a client that speaks second gets an empty challenge", SASL_SCRAM_SHA_256, 0,
      { NULL, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", FINAL PROOF, "" },
      { "", FIRST, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" }, SASL_OK, 0 },
    { "the last word of the server has to be acknowledged by silence", SASL_SCRAM_SHA_256, 0,
      { "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", FINAL PROOF, "hm" },
      { FIRST, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" }, SASL_FAILED, GARBLED },
    { "a wrong proof fails", SASL_SCRAM_SHA_256, 0,
      { "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", FINAL ",p=eHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=" },
      { FIRST }, SASL_FAILED, WRONG },
    { "a proof of the wrong length fails", SASL_SCRAM_SHA_256, 0,
      { "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", FINAL ",p=eHzb" }, { FIRST }, SASL_FAILED, GARBLED },
    { "a final message without a proof fails", SASL_SCRAM_SHA_256, 0,
      { "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", FINAL }, { FIRST }, SASL_FAILED, GARBLED },
    { "another nonce in the final message fails", SASL_SCRAM_SHA_256, 0,
      { "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "c=biws,r=rOprNGfwEbeRWgbNEkqO" PROOF }, { FIRST }, SASL_FAILED, WRONG },
    { "a name that does not exist fails at the end", SASL_SCRAM_SHA_256, 0,
      { "n,,n=nobody,r=rOprNGfwEbeRWgbNEkqO", FINAL PROOF }, { FIRST }, SASL_FAILED, WRONG },
    { "mandatory extensions are refused", SASL_SCRAM_SHA_256, 0, { "n,,m=x,n=user,r=rOprNGfwEbeRWgbNEkqO" }, { NULL },
      SASL_FAILED, GARBLED },
    { "a short nonce is refused", SASL_SCRAM_SHA_256, 0, { "n,,n=user,r=abc" }, { NULL }, SASL_FAILED, GARBLED },
    { "an empty name is refused", SASL_SCRAM_SHA_256, 0, { "n,,n=,r=rOprNGfwEbeRWgbNEkqO" }, { NULL }, SASL_FAILED, GARBLED },
    { "an unknown escape in the name is refused", SASL_SCRAM_SHA_256, 0, { "n,,n=a=41,r=rOprNGfwEbeRWgbNEkqO" }, { NULL },
      SASL_FAILED, GARBLED },
    { "binding claimed without -PLUS fails", SASL_SCRAM_SHA_256, 2,
      { "p=tls-exporter,,n=user,r=rOprNGfwEbeRWgbNEkqO" }, { NULL }, SASL_FAILED, WRONG },
    { "no binding with -PLUS fails", SASL_SCRAM_SHA_256_PLUS, 2, { "n,,n=user,r=rOprNGfwEbeRWgbNEkqO" }, { NULL },
      SASL_FAILED, WRONG },
    { "an unknown binding type fails", SASL_SCRAM_SHA_256_PLUS, 2, { "p=tls-unique,,n=user,r=rOprNGfwEbeRWgbNEkqO" },
      { NULL }, SASL_FAILED, WRONG },
    { "a client that was told we cannot bind when we can: someone is between", SASL_SCRAM_SHA_256, 2,
      { "y,,n=user,r=rOprNGfwEbeRWgbNEkqO" }, { NULL }, SASL_FAILED, WRONG },
    { "a client that could bind where we do not offer it is welcome", SASL_SCRAM_SHA_256, 1,
      { "y,,n=user,r=rOprNGfwEbeRWgbNEkqO", "garbage" }, { FIRST }, SASL_FAILED, GARBLED },
    { "an empty message is no SCRAM", SASL_SCRAM_SHA_256, 0, { "" }, { NULL }, SASL_FAILED, GARBLED },

    { "PLAIN with the message at once", SASL_PLAIN, 0, { "~user~pencil" }, { NULL }, SASL_OK, 0 },
    { "PLAIN after an empty challenge", SASL_PLAIN, 0, { NULL, "~user~pencil" }, { "" }, SASL_OK, 0 },
    { "PLAIN with the same authorization name", SASL_PLAIN, 0, { "user~user~pencil" }, { NULL }, SASL_OK, 0 },
    { "PLAIN with a wrong password", SASL_PLAIN, 0, { "~user~pen" }, { NULL }, SASL_FAILED, WRONG },
    { "PLAIN with an unknown name", SASL_PLAIN, 0, { "~nobody~pencil" }, { NULL }, SASL_FAILED, WRONG },
    { "PLAIN with an empty password", SASL_PLAIN, 0, { "~user~" }, { NULL }, SASL_FAILED, WRONG },
    { "PLAIN with one NUL", SASL_PLAIN, 0, { "user~pencil" }, { NULL }, SASL_FAILED, GARBLED },
    { "PLAIN with three NULs", SASL_PLAIN, 0, { "~user~pencil~" }, { NULL }, SASL_FAILED, GARBLED },
    { "PLAIN without a name", SASL_PLAIN, 0, { "~~pencil" }, { NULL }, SASL_FAILED, GARBLED },
    { "PLAIN with a name that is not UTF-8", SASL_PLAIN, 0, { "~us\xe9r~pencil" }, { NULL }, SASL_FAILED, GARBLED },

    { "LOGIN asks for name and password", SASL_LOGIN, 0, { NULL, "user", "pencil" }, { "Username:", "Password:" }, SASL_OK, 0 },
    { "LOGIN with the name at once", SASL_LOGIN, 0, { "user", "pencil" }, { "Password:" }, SASL_OK, 0 },
    { "LOGIN with a wrong password", SASL_LOGIN, 0, { "user", "pencils" }, { "Password:" }, SASL_FAILED, WRONG },
    { "LOGIN with an unknown name asks for the password all the same", SASL_LOGIN, 0, { "nobody", "pencil" },
      { "Password:" }, SASL_FAILED, WRONG },
    { "LOGIN without a name", SASL_LOGIN, 0, { NULL, "" }, { "Username:" }, SASL_FAILED, GARBLED },
};

static struct sasl_binding binding_of(int kind)
{
    struct sasl_binding b = { .offers_plus = kind == 2 };
    if (kind > 0) {
        b.tls_exporter = SLICE("exporter-bytes-0123456789abcdef!");
        b.tls_server_end_point = SLICE("\x01\x02\x03 end point");
    }
    return b;
}

static enum sasl_state look_up(struct sasl_server *s, const struct sasl_verifier *v, struct buf *out, struct fault *f)
{
    return sasl_server_verifier(s, v, slice_equal(sasl_server_name(s), SLICE("user")), out, f);
}

static void run_script(const struct script *script)
{
    struct arena arena;
    struct fault f;
    struct buf out, message;
    struct sasl_verifier v = rfc7677_verifier();
    struct sasl_binding binding = binding_of(script->binding);
    enum sasl_state state = SASL_CHALLENGE;
    arena_init(&arena, 65536);
    buf_init(&out, SASL_MESSAGE_MAX);
    buf_init(&message, SASL_MESSAGE_MAX);
    struct sasl_server *s = sasl_server_begin(script->mechanism, &binding, slice_from_str(server_nonce), &arena);
    CHECK(s != NULL);
    for (size_t i = 0; s != NULL && i < 4 && state == SASL_CHALLENGE; i++) {
        bool has_message = i > 0 || script->messages[0] != NULL;
        buf_clear(&out);
        buf_clear(&message);
        for (const char *at = script->messages[i]; at != NULL && *at != '\0'; at++)
            buf_append_byte(&message, *at == '~' ? '\0' : *at);
        state = sasl_server_step(s, has_message, buf_slice(&message), &out, &f);
        if (state == SASL_LOOKUP)
            state = look_up(s, &v, &out, &f);
        if (state == SASL_CHALLENGE)
            CHECK_SLICE(buf_slice(&out), slice_from_str(script->challenges[i]));
    }
    CHECK_INT(state, script->end);
    if (state == SASL_FAILED)
        CHECK_INT(f.esc, script->esc);
    buf_free(&out);
    buf_free(&message);
    arena_free(&arena);
}

/* ---- client against server ---- */

struct meeting {
    const char *sentence;
    const char *offered;
    int binding;                    /* what both see */
    bool server_sees_other_end;     /* someone in between has another certificate */
    bool has_tls, plain_allowed;
    const char *name, *password;
    enum sasl_mechanism chosen;     /* SASL_NONE: the client finds none */
    bool succeeds;
};

static const struct meeting meetings[] = {
    { "with TLS and -PLUS offered, the channel is bound", "PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", 2, false, true, false,
      "user", "pencil", SASL_SCRAM_SHA_256_PLUS, true },
    { "a man in the middle cannot pass on a bound proof", "SCRAM-SHA-256 SCRAM-SHA-256-PLUS", 2, true, true, false,
      "user", "pencil", SASL_SCRAM_SHA_256_PLUS, false },
    { "-PLUS struck from the list is noticed", "PLAIN SCRAM-SHA-256", 2, false, true, false, "user", "pencil",
      SASL_SCRAM_SHA_256, false },
    { "without -PLUS on either side, SCRAM", "PLAIN LOGIN SCRAM-SHA-256", 1, false, true, false, "user", "pencil",
      SASL_SCRAM_SHA_256, true },
    { "SCRAM without TLS", "PLAIN SCRAM-SHA-256", 0, false, false, false, "user", "pencil", SASL_SCRAM_SHA_256, true },
    { "SCRAM with a wrong password", "SCRAM-SHA-256", 0, false, false, false, "user", "pencils", SASL_SCRAM_SHA_256, false },
    { "SCRAM with an unknown name", "SCRAM-SHA-256", 0, false, false, false, "nobody", "pencil", SASL_SCRAM_SHA_256, false },
    { "PLAIN over TLS", "LOGIN PLAIN", 0, false, true, false, "user", "pencil", SASL_PLAIN, true },
    { "PLAIN without TLS is not used", "LOGIN PLAIN", 0, false, false, false, "user", "pencil", SASL_NONE, false },
    { "PLAIN without TLS where that is allowed", "LOGIN PLAIN", 0, false, false, true, "user", "pencil", SASL_PLAIN, true },
    { "LOGIN where there is nothing else", "login", 0, false, true, false, "user", "pencil", SASL_LOGIN, true },
    { "LOGIN with a wrong password", "LOGIN", 0, false, true, false, "user", "no", SASL_LOGIN, false },
    { "nothing in common", "CRAM-MD5 GSSAPI", 0, false, true, false, "user", "pencil", SASL_NONE, false },
    { "nothing offered", "", 0, false, true, false, "user", "pencil", SASL_NONE, false },
    { "a name with comma and equals sign", "SCRAM-SHA-256", 0, false, false, false, "us,er=1", "pencil", SASL_SCRAM_SHA_256, false },
};

static void meet(struct sasl_client *c, struct sasl_server *s, const char *name, bool succeeds)
{
    struct sasl_verifier v = rfc7677_verifier();
    struct fault f;
    struct buf to_server, to_client;
    bool has_response = false;
    enum sasl_state state = SASL_CHALLENGE;
    enum rc rc;
    buf_init(&to_server, SASL_MESSAGE_MAX);
    buf_init(&to_client, SASL_MESSAGE_MAX);
    rc = sasl_client_step(c, false, SLICE_NONE, &has_response, &to_server, &f);
    for (int turn = 0; turn < 6 && rc == RC_OK && state == SASL_CHALLENGE; turn++) {
        buf_clear(&to_client);
        state = sasl_server_step(s, has_response, buf_slice(&to_server), &to_client, &f);
        if (state == SASL_LOOKUP) {
            CHECK_SLICE(sasl_server_name(s), slice_from_str(name));
            state = look_up(s, &v, &to_client, &f);
        }
        buf_clear(&to_server);
        if (state == SASL_CHALLENGE)
            rc = sasl_client_step(c, true, buf_slice(&to_client), &has_response, &to_server, &f);
    }
    CHECK_INT(rc == RC_OK && state == SASL_OK && sasl_client_verify(c, &f) == RC_OK, succeeds);
    buf_free(&to_server);
    buf_free(&to_client);
}

static void run_meeting(const struct meeting *m)
{
    struct arena arena;
    struct fault f;
    struct sasl_binding mine = binding_of(m->binding), its = mine;
    arena_init(&arena, 131072);
    if (m->server_sees_other_end)
        its.tls_exporter = SLICE("exporter-bytes-of-someone-else!!");
    struct sasl_client *c = sasl_client_begin(slice_from_str(m->offered), slice_from_str(m->name), slice_from_str(m->password),
                                              &mine, m->has_tls, m->plain_allowed, slice_from_str(client_nonce), &arena, &f);
    CHECK_INT(c == NULL ? SASL_NONE : sasl_client_mechanism(c), m->chosen);
    if (c != NULL) {
        struct slice raw = SLICE("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11");
        struct sasl_server *s = sasl_server_begin(sasl_client_mechanism(c), &its, raw, &arena);
        CHECK(s != NULL);
        if (s != NULL)
            meet(c, s, m->name, m->succeeds);
    }
    arena_free(&arena);
}

/* ---- clients against servers that cheat ---- */

static const struct cheat {
    const char *sentence;
    const char *first, *final;      /* the server's; final NULL: claims success without one */
    bool accepts_first;
} cheats[] = {
    { "a server that knows no verifier but says yes", FIRST, NULL, true },
    { "a server with a made-up signature", FIRST, "v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", true },
    { "a server that says e=", FIRST, "e=invalid-proof", true },
    { "a server with an empty signature", FIRST, "v=", true },
    { "a server that drops our nonce", "r=somebodyelsesnonce,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", NULL, false },
    { "a server that adds nothing to our nonce", "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", NULL, false },
    { "a server that asks for too few iterations", "r=rOprNGfwEbeRWgbNEkqOabc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1", NULL, false },
    { "a server that asks for days of work", "r=rOprNGfwEbeRWgbNEkqOabc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000", NULL, false },
    { "a server without a salt", "r=rOprNGfwEbeRWgbNEkqOabc,s=,i=4096", NULL, false },
    { "a server with a salt that is no base64", "r=rOprNGfwEbeRWgbNEkqOabc,s=???,i=4096", NULL, false },
    { "a server with a mandatory extension", "m=1,r=rOprNGfwEbeRWgbNEkqOabc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", NULL, false },
};

static void run_cheat(const struct cheat *cheat)
{
    struct arena arena;
    struct fault f;
    struct buf out;
    bool has_response;
    arena_init(&arena, 65536);
    buf_init(&out, SASL_MESSAGE_MAX);
    struct sasl_client *c = sasl_client_begin(SLICE("SCRAM-SHA-256"), SLICE("user"), SLICE("pencil"), NULL, false, false,
                                              slice_from_str(client_nonce), &arena, &f);
    CHECK_INT(sasl_client_step(c, false, SLICE_NONE, &has_response, &out, &f), RC_OK);
    CHECK_SLICE(buf_slice(&out), SLICE("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"));
    buf_clear(&out);
    CHECK_INT(sasl_client_step(c, true, slice_from_str(cheat->first), &has_response, &out, &f) == RC_OK, cheat->accepts_first);
    if (cheat->final != NULL)
        CHECK_INT(sasl_client_step(c, true, slice_from_str(cheat->final), &has_response, &out, &f), RC_PERM);
    CHECK_INT(sasl_client_verify(c, &f), RC_PERM);
    buf_free(&out);
    arena_free(&arena);
}

int main(void)
{
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        CASE(scripts[i].sentence);
        run_script(&scripts[i]);
    }
    for (size_t i = 0; i < sizeof meetings / sizeof meetings[0]; i++) {
        CASE(meetings[i].sentence);
        run_meeting(&meetings[i]);
    }
    for (size_t i = 0; i < sizeof cheats / sizeof cheats[0]; i++) {
        CASE(cheats[i].sentence);
        run_cheat(&cheats[i]);
    }
    return check_done();
}
