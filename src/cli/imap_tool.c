/* An IMAP connection for the tools: see imap_tool.h. */
#include "cli/imap_tool.h"

const struct net_ports imap_tool_ports = { .starttls = 143, .implicit = 993, .usual = NET_TLS_IMPLICIT };

static enum want step(void *self, struct slice *in) { return imap_client_step(self, in); }
static struct buf *output(void *self) { return imap_client_output(self); }
static void tls_started(void *self) { imap_client_tls_started(self); }

static void drop(struct imap_tool *tool)
{
    net_close(tool->net);
    tool->net = NULL;
}

bool imap_tool_is_over(const struct imap_tool *tool) { return tool->net == NULL; }

/* Gives what came to whom it concerns; what the caller has to give stands. */
static enum rc hand_over(struct imap_tool *tool, bool *is_for_caller)
{
    struct imap_client *client = tool->client;
    uint32_t number;
    bool goes_on = true;
    *is_for_caller = false;
    switch (imap_client_ask(client)) {
    case IMAP_CLIENT_ASK_RESPONSE:
        goes_on = tool->on_response == NULL || tool->on_response(tool->arg, imap_client_response(client));
        break;
    case IMAP_CLIENT_ASK_PIECE: {
        struct slice piece = imap_client_piece(client, &number);
        goes_on = tool->on_piece == NULL || tool->on_piece(tool->arg, number, piece);
        break;
    }
    case IMAP_CLIENT_ASK_DONE:
        goes_on = tool->on_done == NULL || tool->on_done(tool->arg, imap_client_result(client));
        break;
    case IMAP_CLIENT_ASK_READY:
    case IMAP_CLIENT_ASK_BODY:
    case IMAP_CLIENT_ASK_NONE:
    default:
        *is_for_caller = true;
        return RC_OK;
    }
    imap_client_next(client);
    return goes_on ? RC_OK : RC_PERM;
}

/* What a person is told when the server refuses. */
static enum rc judge(const struct imap_client_result *said, const char *command, struct fault *f)
{
    struct buf text;
    if (said->rc == RC_OK)
        return RC_OK;
    buf_init(&text, FAULT_TEXT_MAX / 2);
    buf_append_escaped(&text, slice_sub(said->text, 0, 60), true);
    size_t word = strcspn(command, " ");
    if (strncmp(command, "UID ", 4) == 0)
        word = 4 + strcspn(command + 4, " ");
    fault_perm(f, 0, "the server refuses %.*s: %.*s", (int)word, command, SLICE_ARG(buf_slice(&text)));
    buf_free(&text);
    return RC_PERM;
}

/* `ended`, when not NULL: the outcome of the one command under way. */
static enum rc run(struct imap_tool *tool, const char *command, enum rc *ended, struct fault *f)
{
    bool is_for_caller = false;
    enum rc rc = RC_OK;
    while (rc == RC_OK && !is_for_caller) {
        rc = net_run(tool->net, &tool->machine, f);
        if (rc == RC_OK && ended != NULL && imap_client_ask(tool->client) == IMAP_CLIENT_ASK_DONE)
            *ended = judge(imap_client_result(tool->client), command, f);
        if (rc == RC_OK)
            rc = hand_over(tool, &is_for_caller);
        if (rc == RC_OK && ended != NULL && is_for_caller && imap_client_in_flight(tool->client) > 0) {
            imap_client_wait(tool->client);     /* there is room for more commands, but this one's end is wanted */
            is_for_caller = false;
        }
    }
    const struct fault *why = rc == RC_NONE ? imap_client_fault(tool->client) : NULL;
    if (why != NULL)
        *f = *why;
    if (rc != RC_OK)
        drop(tool);
    return why != NULL ? why->rc : rc;
}

enum rc imap_tool_run(struct imap_tool *tool, struct fault *f)
{
    return tool->net == NULL ? fault_temp(f, 0, "the connection is gone") : run(tool, "", NULL, f);
}

static enum rc log_in(struct imap_tool *tool, struct net_target *target, unsigned in_flight, struct fault *f)
{
    struct imap_client_options options = {
        .tls = target->tls == NET_TLS_IMPLICIT ? IMAP_CLIENT_TLS_IMPLICIT
             : target->tls == NET_TLS_STARTTLS ? IMAP_CLIENT_TLS_MUST : IMAP_CLIENT_TLS_NEVER,
        .user = slice_from_str(target->user), .password = slice_from_str(target->password),
        .plain_without_tls = target->is_insecure || net_peer(tool->net)->is_loopback,
        .nonce = { (const char *)target->nonce, sizeof(target->nonce) }, .in_flight = in_flight,
    };
    if (target->tls == NET_TLS_IMPLICIT) {
        enum rc rc = net_start_tls(tool->net, f);
        if (rc != RC_OK)
            return rc;
    }
    tool->client = imap_client_new(&options, net_peer(tool->net));
    if (tool->client == NULL)
        return fault_no_memory(f);
    tool->machine = (struct net_machine){ .self = tool->client, .step = step, .output = output, .tls_started = tls_started };
    return imap_tool_run(tool, f);
}

enum rc imap_tool_open(struct imap_tool *tool, struct net_target *target, unsigned in_flight, struct fault *f)
{
    *tool = (struct imap_tool){ .net = NULL };
    enum rc rc = net_connect(target, &tool->net, f);
    if (rc == RC_OK)
        rc = log_in(tool, target, in_flight, f);
    if (rc != RC_OK)
        imap_tool_close(tool);
    return rc;
}

static enum rc run_command(struct imap_tool *tool, const char *command, struct slice mailbox, struct fault *f,
                           uint32_t (*start)(struct imap_client *, const char *, struct slice))
{
    if (tool->net == NULL)
        return fault_temp(f, 0, "the connection is gone");
    if (start(tool->client, command, mailbox) == 0)
        return fault_perm(f, 0, "this cannot be the name of a mailbox");
    enum rc ended = RC_OK, rc = run(tool, command, &ended, f);
    return rc != RC_OK ? rc : ended;
}

enum rc imap_tool_command(struct imap_tool *tool, const char *command, struct slice mailbox, struct fault *f)
{
    return run_command(tool, command, mailbox, f, imap_client_command);
}

enum rc imap_tool_command_raw(struct imap_tool *tool, const char *command, struct slice wire_name, struct fault *f)
{
    return run_command(tool, command, wire_name, f, imap_client_command_raw);
}

void imap_tool_close(struct imap_tool *tool)
{
    struct fault ignored;
    if (tool->net != NULL && tool->client != NULL && imap_client_ask(tool->client) == IMAP_CLIENT_ASK_READY &&
        imap_client_in_flight(tool->client) == 0) {
        imap_client_logout(tool->client);
        (void)imap_tool_run(tool, &ignored);
    }
    drop(tool);
    imap_client_free(tool->client);
    tool->client = NULL;
}
