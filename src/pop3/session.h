/* POP3 after login (RFC 1939 5 and 6): TRANSACTION and UPDATE, in the post role, straight on the store.
 * A session is a snapshot of INBOX and locks nobody out; deletions happen at QUIT, and +OK to QUIT means they are on stable
 * storage. Same driving as imap/session.h. */
#ifndef THURN_POP3_SESSION_H
#define THURN_POP3_SESSION_H

#include "store/store.h"
#include "wire/machine.h"

struct pop3_session_options {
    struct store *store;
    uint64_t account;
    struct slice host_name;
};

struct pop3_session;
struct pop3_session *pop3_session_new(const struct pop3_session_options *);
void pop3_session_free(struct pop3_session *);
enum want pop3_session_step(struct pop3_session *, struct slice *in);
uint64_t pop3_session_wait(const struct pop3_session *);
void pop3_session_answer(struct pop3_session *, enum rc settled);
struct buf *pop3_session_output(struct pop3_session *);
void pop3_session_stop(struct pop3_session *, const char *text);
unsigned pop3_session_timeout_s(const struct pop3_session *);       /* 10 minutes at least (RFC 1939 3) */

#endif
