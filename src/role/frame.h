/* Frames between roles: length-prefixed binary, one schema table.
 *
 * A frame is a u32 length (of what follows), a u16 type, a u32 `session` (which conversation on this channel it belongs
 * to; chosen by the side that began it) and the fields that the schema gives for the type: n = u64, s = bytes (u32
 * length first), r = an outcome: rc (u8), enhanced status (u32), text (bytes), little-endian throughout. A frame that
 * does not fit its schema closes the channel. A few carry one file descriptor beside them (marked F). */
#ifndef THURN_ROLE_FRAME_H
#define THURN_ROLE_FRAME_H

#include "base/buf.h"
#include "base/fault.h"

enum { FRAME_MAX = 1024 * 1024, FRAME_FIELDS_MAX = 24, FRAME_BODY_PIECE = 64 * 1024 };

/*    name                  fields            from -> to: meaning                                                        */
#define FRAME_TABLE(X) \
    X(FRAME_CONFIG,         "s")           /* launcher -> all: config_encode()                                           */ \
    X(FRAME_CHANNEL,        "nn")          /* F launcher -> role: channel to (role, index)                               */ \
    X(FRAME_CHANNEL_LOST,   "nn")          /* role -> launcher: the channel to (role, index) broke: another one, if that one lives */ \
    X(FRAME_LISTENER,       "nns")         /* F launcher -> edge, post, auth: (kind, protocol, "address:port")           */ \
    X(FRAME_UNLISTEN,       "s")           /* launcher -> edge: "address:port" is not served any more                    */ \
    X(FRAME_CERTIFICATE,    "ns")          /* launcher -> edge: key number, PEM chain                                    */ \
    X(FRAME_KEY,            "ns")          /* launcher -> keys: key number, PEM; keys: read once, then the file is gone  */ \
    X(FRAME_SECRET,         "ss")          /* launcher -> out: route name, password                                      */ \
    X(FRAME_START,          "")            /* launcher -> role: everything has been handed over: confine yourself, begin */ \
    X(FRAME_READY,          "s")           /* role -> launcher: text of the sandbox in force                             */ \
    X(FRAME_FAILED,         "r")           /* role -> launcher: cannot start, and why (one clear line)                   */ \
    X(FRAME_STOP,           "")            /* launcher -> role: end running transactions, then exit                      */ \
    X(FRAME_STATUS,         "")            /* launcher -> role                                                           */ \
    X(FRAME_STATUS_ANSWER,  "s")           /* role -> launcher: JSON object of figures                                   */ \
    X(FRAME_LOG_REOPEN,     "")            /* F launcher -> role: the log file anew                                      */ \
    X(FRAME_SIGN,           "nnns")        /* edge -> keys: key number, kind (1 RSA raw private, 2 ECDSA), padding, bytes*/ \
    X(FRAME_SIGNED,         "rs")          /* keys -> edge                                                               */ \
    X(FRAME_AUTH,           "nnnsssns")    /* edge -> auth: is_start, mechanism, has_message, message, server end point, exporter, offers_plus, peer */ \
    X(FRAME_AUTH_ANSWER,    "nsrnns")      /* auth -> edge: sasl_state, bytes, fault, ticket, account, name              */ \
    X(FRAME_AUTH_END,       "")            /* edge -> auth: the exchange is over (cancelled, connection gone)            */ \
    X(FRAME_TICKET,         "nnns")        /* auth -> post: ticket, account, edge index, name                            */ \
    X(FRAME_TICKET_END,     "n")           /* edge -> post: the connection that had this ticket is over                  */ \
    X(FRAME_DIRECTORY,      "n")           /* auth -> post: begins, with version; rows follow; post -> auth: anew, please */ \
    X(FRAME_DOMAIN,         "s")           \
    X(FRAME_ACCOUNT,        "nsnn")        /* id, address, quota, is_enabled                                             */ \
    X(FRAME_ALIAS,          "ss")          /* address, targets                                                           */ \
    X(FRAME_DIRECTORY_END,  "n")           /* version: the rows take force together; post -> auth: they have, durably    */ \
    X(FRAME_MAIL,           "nnsssssnsssnnnnnsn") /* edge -> post: face, ticket, peer address, helo, tls version, tls cipher, user, \
                                              is_null, local part, domain, envid, size, body, is_utf8, ret, is_literal, protocol, is_loopback */ \
    X(FRAME_MAIL_ANSWER,    "rs")          /* post -> edge: outcome, message id                                          */ \
    X(FRAME_RCPT,           "ssnnsn")      /* edge -> post: local part, domain, is_literal, notify, orcpt, is_utf8       */ \
    X(FRAME_RCPT_ANSWER,    "r")           \
    X(FRAME_BODY,           "ns")          /* edge -> post: trace_bytes (first one), bytes; no answer                    */ \
    X(FRAME_COMMIT,         "nnnnnnns")    /* edge -> post: total bytes, has_8bit, has_long_line, has_bare_eol, has_utf8_header, lacks_final_eol, \
                                              submission: is the From header understood, its addresses (NUL behind each) */ \
    X(FRAME_COMMIT_ANSWER,  "r")           /* post -> edge: one a recipient for LMTP, one otherwise                      */ \
    X(FRAME_ABANDON,        "")            /* edge -> post: forget the transaction; no answer                            */ \
    X(FRAME_VRFY,           "ss")          /* edge -> post; answered by RCPT_ANSWER                                      */ \
    X(FRAME_OPEN,           "nnsnss")      /* F edge -> post: protocol, ticket, tag, was_login, bytes already read, peer; \
                                              the descriptor is the session's plaintext stream                           */ \
    X(FRAME_JOB,            "sssnnnsnsssnnnnnn") /* post -> out: queue id, next hop, user, port, is_lmtp, tls, helo, is_null, \
                                              local part, domain, envid, size, body, is_utf8, ret, flags (1 8bit, 2 long line, 4 bare eol, 8 utf8 header, 16 no final eol), rcpt count */ \
    X(FRAME_JOB_RCPT,       "ssnns")       /* post -> out: local part, domain, is_literal, notify, orcpt                 */ \
    X(FRAME_JOB_WANT,       "nn")          /* out -> post: offset, length of body wanted                                 */ \
    X(FRAME_JOB_BODY,       "ns")          /* post -> out: offset, bytes                                                 */ \
    X(FRAME_JOB_OUTCOME,    "nnnnssn")     /* out -> post: recipient, rc, enhanced status, reply code, text, remote "name[address]:port", is_remote */ \
    X(FRAME_JOB_DONE,       "sssn")        /* out -> post: TLS version and cipher, MX chosen and why, remote's greeting name, \
                                              flags (1 destination is dead, 2 next hop takes DSN over)                   */ \
    X(FRAME_JOB_CANCEL,     "")            /* post -> out                                                                */ \
    X(FRAME_CONTROL,        "ss")          /* command line -> role: command, arguments (each terminated by NUL)          */ \
    X(FRAME_CONTROL_ROW,    "s")           /* role -> command line: one JSON object                                      */ \
    X(FRAME_CONTROL_DONE,   "r")           /* role -> command line: how it ended                                         */

#define FRAME_NAME(name, fields) name,
enum frame_type { FRAME_NONE, FRAME_TABLE(FRAME_NAME) FRAME_TYPES };
#undef FRAME_NAME

struct frame {
    enum frame_type type;
    uint32_t session;
    size_t count;
    struct {
        uint64_t number;
        struct slice bytes;         /* into the input: until more is read */
        struct fault fault;         /* kind r (only its first FAULT_TEXT_MAX - 1 bytes of text) */
    } field[FRAME_FIELDS_MAX];
    int fd;                         /* -1, or a descriptor that the receiver now owns */
};

/* Appends a frame. Arguments by the schema: uint64_t for n, struct slice for s, const struct fault * for r. */
bool frame_write(struct buf *out, enum frame_type, uint32_t session, ...);
bool frame_write_v(struct buf *out, enum frame_type, uint32_t session, va_list);
/* Takes one frame off the front: RC_OK, RC_MORE, or RC_PERM (malformed: close the channel). fd is set to -1. */
enum rc frame_parse(struct slice *in, struct frame *, struct fault *);
const char *frame_name(enum frame_type);
bool frame_carries_fd(enum frame_type);

enum role { ROLE_LAUNCHER, ROLE_KEYS, ROLE_AUTH, ROLE_EDGE, ROLE_POST, ROLE_OUT, ROLE_LOCAL, ROLES };
const char *role_name(enum role);

#endif
