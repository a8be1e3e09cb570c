/* `thurn fetch`: what its IMAP half and its POP3 half have in common. */
#ifndef THURN_CLI_FETCH_H
#define THURN_CLI_FETCH_H

#include "base/arena.h"
#include "cli/net.h"
#include "cli/terminal.h"

#include <stdio.h>

enum { FETCH_HEADER_MAX = 64 * 1024, FETCH_MESSAGES_MAX = 10 * 1000 * 1000 };

struct fetch {
    struct net_target target;
    const char *protocol, *mailbox, *output;
    bool all, deletes, json;
    char **words;                   /* numbers to get: UIDs of IMAP ("7", "3:9", "12:*"), message numbers of POP3 */
    size_t word_count;
    struct progress progress;
    uint64_t messages, bytes;       /* fetched */
};

/* What they are to do; each says on standard error what went wrong and returns the exit status. */
enum fetch_task { FETCH_FOLDERS, FETCH_MESSAGES, FETCH_GET };
int fetch_imap(struct fetch *, enum fetch_task);
int fetch_pop3(struct fetch *, enum fetch_task);
int fetch_failed(const struct fault *);

/* ---- one message on its way to standard output or a file ---- */

struct fetch_file {
    FILE *file;
    char path[4096], temporary[4096];
    uint64_t bytes;
    bool is_open;
};
/* `name` names the message where the output is a folder ("17"). Until kept, the file has another name. */
enum rc fetch_file_begin(struct fetch_file *, const struct fetch *, const char *name, struct fault *);
bool fetch_file_write(struct fetch_file *, struct slice);
/* On stable storage, under its name: only then may the server's copy be deleted. */
enum rc fetch_file_keep(struct fetch_file *, struct fault *);
void fetch_file_abandon(struct fetch_file *);

/* ---- one line of a listing ---- */

struct fetch_summary {
    const char *id_name;            /* "uid" or "number" */
    uint32_t id;
    struct slice unique;            /* POP3 UIDL or empty */
    uint64_t size;
    struct slice flags;             /* "\Seen \Flagged", or empty */
    struct slice header;            /* at least Date, From, Subject */
};
void fetch_print_summary(const struct fetch *, const struct fetch_summary *);

#endif
