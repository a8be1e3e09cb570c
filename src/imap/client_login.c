/* The IMAP client before its commands: greeting, CAPABILITY, STARTTLS, AUTHENTICATE or LOGIN. See client.h. */
#include "imap/client_inner.h"

#include "base/text.h"

#include <inttypes.h>

enum { SASL_STEPS_MAX = 10 };

static void ask_capability(struct imap_client *client, enum phase phase)
{
    buf_clear(&client->capabilities);
    imap_client_say(client, "CAPABILITY");
    client->phase = phase;
}

static bool needs_starttls(const struct imap_client *client)
{
    return client->options.tls == IMAP_CLIENT_TLS_MUST && !client->peer->has_tls;
}

/* The names behind "AUTH=", as sasl_client_begin wants them. */
static void offered_mechanisms(const struct imap_client *client, struct buf *out)
{
    struct slice words = buf_slice(&client->capabilities);
    while (words.len > 0) {
        struct slice word = slice_take_until(&words, ' ');
        if (slice_take_prefix_nocase(&word, SLICE("AUTH="))) {
            buf_append(out, word);
            buf_append_byte(out, ' ');
        }
    }
}

/* The answer to a challenge, or the first message (has_challenge false). */
static bool step_sasl(struct imap_client *client, bool has_challenge, struct slice challenge, bool *has_response)
{
    buf_clear(&client->sasl_message);
    enum rc rc = sasl_client_step(client->sasl, has_challenge, challenge, has_response, &client->sasl_message, &client->fault);
    if (rc != RC_PERM && rc != RC_TEMP)
        return true;
    fault_prefix(&client->fault, "login");
    imap_client_end(client);
    return false;
}

static void say_sasl(struct imap_client *client)
{
    base64_encode(buf_slice(&client->sasl_message), &client->output);
    buf_append_str(&client->output, "\r\n");
    buf_clear(&client->sasl_message);
}

/* AUTHENTICATE: the first message goes along (RFC 4959) or waits for an empty challenge. */
static void authenticate(struct imap_client *client)
{
    bool has_first = false;
    client->mechanism = sasl_mechanism_name(sasl_client_mechanism(client->sasl));
    client->phase = PHASE_AUTH;
    if (!step_sasl(client, false, SLICE_NONE, &has_first))
        return;
    buf_printf(&client->output, "A%" PRIu32 " AUTHENTICATE %s", ++client->last_command, client->mechanism);
    if (has_first && imap_client_has(client, SLICE("SASL-IR"))) {
        buf_append_str(&client->output, buf_len(&client->sasl_message) == 0 ? " =" : " ");
        say_sasl(client);
    } else {
        buf_append_str(&client->output, "\r\n");
        client->has_first_unsaid = has_first;
    }
}

static bool begin_sasl(struct imap_client *client)
{
    struct buf offered;
    struct sasl_binding binding = {
        .tls_server_end_point = { (const char *)client->peer->tls_server_end_point, client->peer->tls_server_end_point_len },
        .tls_exporter = { (const char *)client->peer->tls_exporter, client->peer->tls_exporter_len },
    };
    buf_init(&offered, CAPABILITIES_MAX);
    offered_mechanisms(client, &offered);
    if (buf_len(&offered) > 0)
        client->sasl = sasl_client_begin(buf_slice(&offered), client->options.user, client->options.password, &binding,
                                         client->peer->has_tls, client->options.plain_without_tls, client->options.nonce,
                                         &client->sasl_arena, &client->fault);
    buf_free(&offered);
    return client->sasl != NULL;
}

static void log_in(struct imap_client *client)
{
    if (begin_sasl(client)) {
        authenticate(client);
        return;
    }
    if (imap_client_has(client, SLICE("LOGINDISABLED")) || !(client->peer->has_tls || client->options.plain_without_tls)) {
        if (client->fault.rc == RC_OK)
            fault_perm(&client->fault, 0, "the server lets nobody log in on a connection without TLS");
        imap_client_end(client);
        return;
    }
    fault_clear(&client->fault);
    client->mechanism = "LOGIN";
    size_t before = buf_len(&client->output);
    buf_printf(&client->output, "A%" PRIu32 " LOGIN ", ++client->last_command);
    bool is_possible = imap_client_append_quoted(&client->output, client->options.user);
    buf_append_byte(&client->output, ' ');
    is_possible = imap_client_append_quoted(&client->output, client->options.password) && is_possible;
    buf_append_str(&client->output, "\r\n");
    client->phase = PHASE_LOGIN;
    if (!is_possible) {
        buf_truncate(&client->output, before);
        imap_client_fail(client, "a user name or password holds a line end", SLICE_NONE);
    }
}

void imap_client_on_greeting(struct imap_client *client, bool is_understood)
{
    const struct imap_response *response = &client->response;
    bool is_untagged = is_understood && response->tag.len == 0;
    if (is_untagged && response->says == IMAP_SAYS_OK) {
        ask_capability(client, PHASE_CAPABILITY);
    } else if (is_untagged && response->says == IMAP_SAYS_PREAUTH && !needs_starttls(client)) {
        client->mechanism = "PREAUTH";
        ask_capability(client, PHASE_CAPABILITY_AFTER);
    } else if (is_untagged && response->says == IMAP_SAYS_PREAUTH) {
        imap_client_fail(client, "the server greets with PREAUTH, so TLS cannot be started", SLICE_NONE);
    } else {
        imap_client_fail(client, is_untagged && response->says == IMAP_SAYS_BYE ? "the server turns us away" : "this is no IMAP server", client->raw.text);
    }
}

void imap_client_on_capabilities(struct imap_client *client)
{
    if (client->response.says != IMAP_SAYS_OK) {
        imap_client_fail(client, "CAPABILITY was refused", client->response.text);
    } else if (!needs_starttls(client)) {
        log_in(client);
    } else if (imap_client_has(client, SLICE("STARTTLS"))) {
        imap_client_say(client, "STARTTLS");
        client->phase = PHASE_STARTTLS;
    } else {
        imap_client_fail(client, "the server offers no STARTTLS", SLICE_NONE);
    }
}

void imap_client_on_starttls(struct imap_client *client)
{
    if (client->response.says == IMAP_SAYS_OK)
        client->phase = PHASE_TLS;
    else
        imap_client_fail(client, "STARTTLS was refused", client->response.text);
}

void imap_client_on_login(struct imap_client *client)
{
    if (client->response.says != IMAP_SAYS_OK)
        imap_client_fail(client, "the server refuses the login", client->response.text);
    else if (client->sasl != NULL && sasl_client_verify(client->sasl, &client->fault) != RC_OK)
        imap_client_end(client);
    else
        ask_capability(client, PHASE_CAPABILITY_AFTER);
}

void imap_client_on_capabilities_after(struct imap_client *client)
{
    if (client->response.says != IMAP_SAYS_OK)
        imap_client_fail(client, "CAPABILITY was refused", client->response.text);
    else
        client->phase = PHASE_COMMANDS;
}

void imap_client_on_challenge(struct imap_client *client)
{
    struct buf challenge;
    bool has_response;
    if (client->phase != PHASE_AUTH || ++client->sasl_steps > SASL_STEPS_MAX) {
        imap_client_fail(client, "the server asks for more when there is nothing more", client->response.text);
        return;
    }
    if (client->has_first_unsaid) {
        client->has_first_unsaid = false;
        say_sasl(client);
        return;
    }
    buf_init(&challenge, SASL_MESSAGE_MAX);
    if (base64_decode(client->response.text, &challenge) != RC_OK)
        imap_client_fail(client, "the server's challenge is not base64", client->response.text);
    else if (step_sasl(client, true, buf_slice(&challenge), &has_response))
        say_sasl(client);
    buf_free(&challenge);
}

void imap_client_tls_started(struct imap_client *client)
{
    must(client->phase == PHASE_TLS);
    line_reader_init(&client->reader, IMAP_CLIENT_LINE_MAX);
    ask_capability(client, PHASE_CAPABILITY);       /* what was known before counts no more (RFC 3501 6.2.1) */
}
