/* An IMAP connection for the tools: connects, logs in, and runs one command after another, blocking. */
#ifndef THURN_CLI_IMAP_TOOL_H
#define THURN_CLI_IMAP_TOOL_H

#include "cli/net.h"
#include "imap/client.h"

extern const struct net_ports imap_tool_ports;

struct imap_tool {
    struct net *net;
    struct imap_client *client;
    struct net_machine machine;
    /* What a command's responses and bodies are given to; either may be NULL. False ends the connection: the fault is
     * the receiver's. */
    bool (*on_response)(void *arg, const struct imap_response *);
    bool (*on_piece)(void *arg, uint32_t number, struct slice piece);
    /* The end of a command of imap_tool_run_until (pipelined ones). */
    bool (*on_done)(void *arg, const struct imap_client_result *);
    void *arg;
};

/* To the first ready. The target outlives the tool. */
enum rc imap_tool_open(struct imap_tool *, struct net_target *, unsigned in_flight, struct fault *);
/* "%m" in the command is the mailbox. RC_PERM with the server's words for NO and BAD; then the connection goes on unless
 * imap_tool_is_over. */
enum rc imap_tool_command(struct imap_tool *, const char *command, struct slice mailbox, struct fault *);
enum rc imap_tool_command_raw(struct imap_tool *, const char *command, struct slice wire_name, struct fault *);
/* Runs until the machine asks for something that the caller has to give (READY, BODY). */
enum rc imap_tool_run(struct imap_tool *, struct fault *);
bool imap_tool_is_over(const struct imap_tool *);
void imap_tool_close(struct imap_tool *);       /* logs out when it can */

#endif
