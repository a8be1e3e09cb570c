/* The SMTP client against scripted servers, well-behaved and others (smtp/client.h). A script is a transcript: what the
 * server says (S:, R: raw), what the client has to say then (C:), T the handshake, L the connection is lost, B the body is
 * given. Every script runs with the server's bytes whole, one by one and in sevens. */
#include "base/text.h"
#include "check.h"
#include "smtp/client.h"

enum { BODY_PIECE = 9 };

struct script {
    const char *sentence;
    int tls;                        /* SMTP_TLS_* */
    const char *user;               /* NULL: no AUTH; the password is "wonderland" */
    bool is_lmtp, has_8bit, has_bare_eol, needs_utf8, lacks_final_eol, waits_with_body;
    unsigned rcpt_count;            /* 0: 1 */
    unsigned message_count;         /* 0: 1 */
    const char *body;               /* NULL: "a: b\r\n\r\n.\r\n" */
    const char *lines;
    const char *outcomes;           /* one line for each recipient of each message, then of the session */
};

#define HELLO "S: 220 there\nC: EHLO here.test\nS: 250 there\n"
#define PIPES "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 PIPELINING\n"
#define GROUP2 "C: MAIL FROM:<a@here.test>\nC: RCPT TO:<r0@there.test>\nC: RCPT TO:<r1@there.test>\nC: DATA\n"
#define TEXT "C: a: b\nC: \nC: ..\nC: .\n"
#define BYE "C: QUIT\nS: 221 bye\n"

static const struct script scripts[] = {
    { .sentence = "a message, step by step",
      .lines = HELLO "C: MAIL FROM:<a@here.test>\nS: 250 ok\nC: RCPT TO:<r0@there.test>\nS: 250 ok\nC: DATA\nS: 354 go\n"
               TEXT "S: 250 2.6.0 kept as 1\n" BYE,
      .outcomes = "ok 2.6.0 250 2.6.0 kept as 1\n" },
    { .sentence = "a message in one group",
      .rcpt_count = 2,
      .lines = PIPES GROUP2 "S: 250 ok\nS: 250 ok\nS: 251 will forward\nS: 354 go\n" TEXT "S: 250 fine\n" BYE,
      .outcomes = "ok 2.0.0 250 fine\nok 2.0.0 250 fine\n" },
    { .sentence = "one recipient of two refused in a group",
      .rcpt_count = 2,
      .lines = PIPES GROUP2 "S: 250 ok\nS: 550-5.1.1 no such\nS: 550 5.1.1 user\nS: 250 ok\nS: 354 go\n" TEXT "S: 250 fine\n" BYE,
      .outcomes = "perm 5.1.1 550 5.1.1 no such 5.1.1 user\nok 2.0.0 250 fine\n" },
    { .sentence = "all refused, and DATA answered 354 all the same: a lone dot (RFC 2920 3.1)",
      .rcpt_count = 2, .message_count = 2,
      .lines = PIPES GROUP2 "S: 250 ok\nS: 550 no\nS: 450 later\nS: 354 go\nC: .\nS: 554 no recipients\n"
               "C: RSET\nS: 250 ok\n" GROUP2 "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" TEXT "S: 250 fine\n" BYE,
      .outcomes = "perm 5.0.0 550 no\ntemp 4.0.0 450 later\nok 2.0.0 250 fine\nok 2.0.0 250 fine\n" },
    { .sentence = "all refused and DATA refused",
      .rcpt_count = 2,
      .lines = PIPES GROUP2 "S: 250 ok\nS: 550 no\nS: 450 later\nS: 503 no recipients\n" BYE,
      .outcomes = "perm 5.0.0 550 no\ntemp 4.0.0 450 later\n" },
    { .sentence = "the sender refused in a group: what was on its way is read and means nothing",
      .rcpt_count = 2,
      .lines = PIPES GROUP2 "S: 550 5.7.1 not you\nS: 503 first MAIL\nS: 503 first MAIL\nS: 503 first MAIL\n" BYE,
      .outcomes = "perm 5.7.1 550 5.7.1 not you\nperm 5.7.1 550 5.7.1 not you\n" },
    { .sentence = "the sender refused, step by step: nothing more is sent",
      .lines = HELLO "C: MAIL FROM:<a@here.test>\nS: 451 4.3.0 later\n" BYE,
      .outcomes = "temp 4.3.0 451 4.3.0 later\n" },
    { .sentence = "all refused, step by step: DATA is not sent, RSET comes before the next",
      .message_count = 2,
      .lines = HELLO "C: MAIL FROM:<a@here.test>\nS: 250 ok\nC: RCPT TO:<r0@there.test>\nS: 550 no\n"
               "C: RSET\nS: 250 ok\nC: MAIL FROM:<a@here.test>\nS: 250 ok\nC: RCPT TO:<r0@there.test>\nS: 551 moved\n" BYE,
      .outcomes = "perm 5.0.0 550 no\nperm 5.0.0 551 moved\n" },
    { .sentence = "552 for a recipient means too many, which is temporary (RFC 5321 4.5.3.1.10)",
      .rcpt_count = 2,
      .lines = PIPES GROUP2 "S: 250 ok\nS: 250 ok\nS: 552 5.5.3 too many\nS: 354 go\n" TEXT "S: 250 fine\n" BYE,
      .outcomes = "ok 2.0.0 250 fine\ntemp 4.5.3 552 5.5.3 too many\n" },
    { .sentence = "DATA refused",
      .lines = HELLO "C: MAIL FROM:<a@here.test>\nS: 250 ok\nC: RCPT TO:<r0@there.test>\nS: 250 ok\nC: DATA\nS: 451 busy\n" BYE,
      .outcomes = "temp 4.0.0 451 busy\n" },
    { .sentence = "the message refused at its end, the next one goes without RSET",
      .rcpt_count = 2, .message_count = 2,
      .lines = PIPES GROUP2 "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" TEXT "S: 554 5.7.1 spam\n"
               GROUP2 "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" TEXT "S: 250 fine\n" BYE,
      .outcomes = "perm 5.7.1 554 5.7.1 spam\nperm 5.7.1 554 5.7.1 spam\nok 2.0.0 250 fine\nok 2.0.0 250 fine\n" },
    { .sentence = "a status of another class than the code is not believed",
      .lines = HELLO "C: MAIL FROM:<a@here.test>\nS: 450 5.1.1 hm\n" BYE,
      .outcomes = "temp 4.0.0 450 5.1.1 hm\n" },
    { .sentence = "bytes that would upset a log or a terminal are escaped",
      .lines = HELLO "C: MAIL FROM:<a@here.test>\nS: 550 \\x1b[2J\\xff\n" BYE,
      .outcomes = "perm 5.0.0 550 \\x1b[2J\\xff\n" },

    /* sessions */
    { .sentence = "EHLO unknown: HELO (RFC 5321 3.2)",
      .has_8bit = false,
      .lines = "S: 220 there\nC: EHLO here.test\nS: 500 what\nC: HELO here.test\nS: 250 there\nC: MAIL FROM:<a@here.test>\nS: 250 ok\n"
               "C: RCPT TO:<r0@there.test>\nS: 250 ok\nC: DATA\nS: 354 go\n" TEXT "S: 250 fine\n" BYE,
      .outcomes = "ok 2.0.0 250 fine\n" },
    { .sentence = "no service: the greeting's words are the outcome",
      .lines = "S: 554 no SMTP service here\nC: QUIT\n", .outcomes = "session perm 5.0.0 554 no SMTP service here\n" },
    { .sentence = "421 as greeting: no QUIT is owed",
      .lines = "S: 421 4.3.2 too busy\n", .outcomes = "session temp 4.3.2 421 4.3.2 too busy\n" },
    { .sentence = "EHLO put off",
      .lines = "S: 220 there\nC: EHLO here.test\nS: 451 later\nC: QUIT\n", .outcomes = "session temp 4.0.0 451 later\n" },
    { .sentence = "421 among the recipients: what is decided stays, the rest is put off",
      .rcpt_count = 2,
      .lines = PIPES GROUP2 "S: 250 ok\nS: 550 no\nS: 421 4.3.2 going down\n",
      .outcomes = "perm 5.0.0 550 no\ntemp 4.3.2 421 4.3.2 going down\nsession temp 4.3.2 421 4.3.2 going down\n" },
    { .sentence = "421 after the dot",
      .lines = HELLO "C: MAIL FROM:<a@here.test>\nS: 250 ok\nC: RCPT TO:<r0@there.test>\nS: 250 ok\nC: DATA\nS: 354 go\n"
               TEXT "S: 421 gone\n",
      .outcomes = "temp 4.0.0 421 gone\nsession temp 4.0.0 421 gone\n" },
    { .sentence = "a refusal in the middle of the text ends it and the connection",
      .waits_with_body = true,
      .lines = HELLO "C: MAIL FROM:<a@here.test>\nS: 250 ok\nC: RCPT TO:<r0@there.test>\nS: 250 ok\nC: DATA\nS: 354 go\nS: 552 5.3.4 enough\n",
      .outcomes = "perm 5.3.4 552 5.3.4 enough\n" },
    { .sentence = "the connection lost in the middle of the text",
      .waits_with_body = true,
      .lines = HELLO "C: MAIL FROM:<a@here.test>\nS: 250 ok\nC: RCPT TO:<r0@there.test>\nS: 250 ok\nC: DATA\nS: 354 go\nL: reset\n",
      .outcomes = "temp 4.4.2 0 connection lost: reset\nsession temp 4.4.2 0 connection lost: reset\n" },
    { .sentence = "the connection lost while waiting for the verdict",
      .lines = HELLO "C: MAIL FROM:<a@here.test>\nS: 250 ok\nC: RCPT TO:<r0@there.test>\nS: 250 ok\nC: DATA\nS: 354 go\n" TEXT "L: reset\n",
      .outcomes = "temp 4.4.2 0 connection lost: reset\nsession temp 4.4.2 0 connection lost: reset\n" },
    { .sentence = "the connection lost before the greeting",
      .lines = "L: closed\n", .outcomes = "session temp 4.4.2 0 connection lost: closed\n" },
    { .sentence = "the connection lost in the middle of a reply",
      .lines = "S: 220-the\nR: 220 re\nL: closed\n", .outcomes = "session temp 4.4.2 0 connection lost: closed\n" },

    /* servers that make no sense */
    { .sentence = "no SMTP at all", .lines = "S: SSH-2.0-OpenSSH_9.2\n", .outcomes = "session temp 4.5.0 0 the server's replies make no sense\n" },
    { .sentence = "an empty line", .lines = "S: \n", .outcomes = "session temp 4.5.0 0 the server's replies make no sense\n" },
    { .sentence = "a code too high", .lines = "S: 620 hi\n", .outcomes = "session temp 4.5.0 0 the server's replies make no sense\n" },
    { .sentence = "a code too low", .lines = "S: 120 hi\n", .outcomes = "session temp 4.5.0 0 the server's replies make no sense\n" },
    { .sentence = "two digits", .lines = "S: 22 hi\n", .outcomes = "session temp 4.5.0 0 the server's replies make no sense\n" },
    { .sentence = "four digits", .lines = "S: 2200 hi\n", .outcomes = "session temp 4.5.0 0 the server's replies make no sense\n" },
    { .sentence = "codes that change within a reply", .lines = "S: 220-a\nS: 250 b\n",
      .outcomes = "session temp 4.5.0 0 the server's replies make no sense\n" },
    { .sentence = "a bare LF in a reply", .lines = "R: 220 a\\n220 b\\r\\n", .outcomes = "session temp 4.5.0 0 the server's replies make no sense\n" },
    { .sentence = "a NUL in a reply", .lines = "R: 220 a\\0b\\r\\n", .outcomes = "session temp 4.5.0 0 the server's replies make no sense\n" },
    { .sentence = "an endless line", .lines = "R: 220 \\{x100000}\\r\\n",
      .outcomes = "session temp 4.5.0 0 the server's replies make no sense\n" },
    { .sentence = "a reply of endless lines", .lines = "M: 300 220-more\n",
      .outcomes = "session temp 4.5.0 0 the server's replies make no sense\n" },
    { .sentence = "354 where no text is due", .lines = HELLO "C: MAIL FROM:<a@here.test>\nS: 354 go\n",
      .outcomes = "temp 4.5.0 0 the server's replies make no sense\nsession temp 4.5.0 0 the server's replies make no sense\n" },
    { .sentence = "250 to DATA", .lines = HELLO "C: MAIL FROM:<a@here.test>\nS: 250 ok\nC: RCPT TO:<r0@there.test>\nS: 250 ok\nC: DATA\nS: 250 ok\n",
      .outcomes = "temp 4.5.0 0 the server's replies make no sense\nsession temp 4.5.0 0 the server's replies make no sense\n" },

    /* TLS */
    { .sentence = "STARTTLS when it may: EHLO again, what was said before is forgotten",
      .tls = SMTP_TLS_MAY,
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250-PIPELINING\nS: 250 STARTTLS\nC: STARTTLS\n"
               "R: 220 go\\r\\n250 injected\\r\\n\nT\nC: EHLO here.test\nS: 250 there\nC: MAIL FROM:<a@here.test>\nS: 550 no\n" BYE,
      .outcomes = "perm 5.0.0 550 no\n" },
    { .sentence = "STARTTLS refused when it may: in the clear",
      .tls = SMTP_TLS_MAY,
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 not now\nC: MAIL FROM:<a@here.test>\nS: 550 no\n" BYE,
      .outcomes = "perm 5.0.0 550 no\n" },
    { .sentence = "STARTTLS refused when it must",
      .tls = SMTP_TLS_MUST,
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 not now\nC: QUIT\n",
      .outcomes = "session temp 4.7.10 0 TLS is required and the server refused STARTTLS\n" },
    { .sentence = "STARTTLS not offered when it must",
      .tls = SMTP_TLS_MUST,
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 PIPELINING\nC: QUIT\n",
      .outcomes = "session temp 4.7.10 0 TLS is required and the server does not offer it\n" },
    { .sentence = "STARTTLS never",
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 STARTTLS\nC: MAIL FROM:<a@here.test>\nS: 550 no\n" BYE,
      .outcomes = "perm 5.0.0 550 no\n" },
    { .sentence = "the handshake fails",
      .tls = SMTP_TLS_MAY,
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nF: bad certificate\n",
      .outcomes = "session temp 4.7.5 0 TLS handshake failed: bad certificate\n" },

    /* AUTH */
    { .sentence = "PLAIN behind TLS",
      .tls = SMTP_TLS_MUST, .user = "alice",
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nT\n"
               "C: EHLO here.test\nS: 250-there\nS: 250 auth LOGIN PLAIN\nC: AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nS: 235 in\n"
               "C: MAIL FROM:<a@here.test>\nS: 550 no\n" BYE,
      .outcomes = "perm 5.0.0 550 no\n" },
    { .sentence = "LOGIN behind TLS",
      .tls = SMTP_TLS_MUST, .user = "alice",
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nT\n"
               "C: EHLO here.test\nS: 250-there\nS: 250 AUTH LOGIN\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: YWxpY2U=\n"
               "S: 334 UGFzc3dvcmQ6\nC: d29uZGVybGFuZA==\nS: 535 5.7.8 wrong\nC: QUIT\n",
      .outcomes = "session perm 5.7.8 535 5.7.8 wrong\n" },
    { .sentence = "PLAIN is not used in the clear",
      .user = "alice",
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 AUTH LOGIN PLAIN\nC: QUIT\n",
      .outcomes = "session perm 5.7.4 0 the server offers no mechanism that is safe without TLS\n" },
    { .sentence = "no AUTH at all",
      .user = "alice", .lines = HELLO "C: QUIT\n",
      .outcomes = "session perm 5.7.4 0 the server offers no mechanism that is safe without TLS\n" },
    { .sentence = "a challenge that is no base64 is cancelled",
      .user = "alice",
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 AUTH SCRAM-SHA-256\n"
               "C: AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPTAxMjM0NTY3ODlhYmNkZWZnaGlq\nS: 334 ???\nC: *\nC: QUIT\n",
      .outcomes = "session perm 5.7.8 0 the server's challenge is no base64\n" },
    { .sentence = "success without the server's proof is none",
      .user = "alice",
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 AUTH SCRAM-SHA-256\n"
               "C: AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPTAxMjM0NTY3ODlhYmNkZWZnaGlq\nS: 235 welcome\nC: QUIT\n",
      .outcomes = "session perm 5.7.8 0 the server claims success without having proved itself\n" },
    { .sentence = "AUTH temporarily impossible",
      .user = "alice",
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 AUTH SCRAM-SHA-256\n"
               "C: AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPTAxMjM0NTY3ODlhYmNkZWZnaGlq\nS: 454 4.7.0 later\nC: QUIT\n",
      .outcomes = "session temp 4.7.0 454 4.7.0 later\n" },

    /* what a message needs */
    { .sentence = "too large for the announced SIZE: not even tried",
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 SIZE 10\n" BYE,
      .outcomes = "perm 5.3.4 0 the message is larger than the server takes\n" },
    { .sentence = "SIZE without a limit, and SIZE is told",
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 SIZE 0\nC: MAIL FROM:<a@here.test> SIZE=11\nS: 452 full\n" BYE,
      .outcomes = "temp 4.0.0 452 full\n" },
    { .sentence = "8-bit text to a server without 8BITMIME: an honest refusal",
      .has_8bit = true, .lines = HELLO BYE, .outcomes = "perm 5.6.3 0 the message needs 8BITMIME and the server lacks it\n" },
    { .sentence = "8-bit text to a server with it",
      .has_8bit = true,
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 8bitmime\nC: MAIL FROM:<a@here.test> BODY=8BITMIME\nS: 452 full\n" BYE,
      .outcomes = "temp 4.0.0 452 full\n" },
    { .sentence = "SMTPUTF8 lacking",
      .needs_utf8 = true, .lines = HELLO BYE, .outcomes = "perm 5.6.7 0 the message needs SMTPUTF8 and the server lacks it\n" },
    { .sentence = "SMTPUTF8 there",
      .needs_utf8 = true,
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 SMTPUTF8\nC: MAIL FROM:<a@here.test> SMTPUTF8\nS: 452 full\n" BYE,
      .outcomes = "temp 4.0.0 452 full\n" },
    { .sentence = "bare line ends without BINARYMIME: refused",
      .has_bare_eol = true,
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 CHUNKING\n" BYE,
      .outcomes = "perm 5.6.3 0 the message needs BINARYMIME and the server lacks it\n" },
    { .sentence = "bare line ends with BINARYMIME: chunks, byte for byte",
      .has_bare_eol = true, .body = "a: b\n\r\n.\rx",
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250-CHUNKING\nS: 250 BINARYMIME\nC: MAIL FROM:<a@here.test> BODY=BINARYMIME\n"
               "S: 250 ok\nC: RCPT TO:<r0@there.test>\nS: 250 ok\nC: BDAT 9\nX: a: b\\n\\r\\n.\\r\nS: 250 9 taken\nC: BDAT 1\nX: x\nS: 250 1 taken\n"
               "C: BDAT 0 LAST\nS: 250 fine\n" BYE,
      .outcomes = "ok 2.0.0 250 fine\n" },
    { .sentence = "a chunk refused",
      .lacks_final_eol = true,
      .lines = "S: 220 there\nC: EHLO here.test\nS: 250-there\nS: 250 CHUNKING\nC: MAIL FROM:<a@here.test>\n"
               "S: 250 ok\nC: RCPT TO:<r0@there.test>\nS: 250 ok\nC: BDAT 9\nX: a: b\\r\\n\\r\\n.\nS: 552 5.3.4 no room\n" BYE,
      .outcomes = "perm 5.3.4 552 5.3.4 no room\n" },
    { .sentence = "a last line without end goes by DATA where there are no chunks, and gets one",
      .lacks_final_eol = true, .body = "a: b\r\n\r\nx",
      .lines = HELLO "C: MAIL FROM:<a@here.test>\nS: 250 ok\nC: RCPT TO:<r0@there.test>\nS: 250 ok\nC: DATA\nS: 354 go\n"
               "C: a: b\nC: \nC: x\nC: .\nS: 250 fine\n" BYE,
      .outcomes = "ok 2.0.0 250 fine\n" },
    { .sentence = "bare line ends that nobody declared do not go out as such (smuggling)",
      .body = "a: b\r\n\r\n\n.\nx\r.\ry\r\n.\nz\r\n",
      .lines = HELLO "C: MAIL FROM:<a@here.test>\nS: 250 ok\nC: RCPT TO:<r0@there.test>\nS: 250 ok\nC: DATA\nS: 354 go\n"
               "C: a: b\nC: \nC: \nC: ..\nC: x\nC: ..\nC: y\nC: ..\nC: z\nC: .\nS: 250 fine\n" BYE,
      .outcomes = "ok 2.0.0 250 fine\n" },

    /* LMTP */
    { .sentence = "LMTP: a reply for each recipient that was taken",
      .is_lmtp = true, .rcpt_count = 3,
      .lines = "S: 220 there\nC: LHLO here.test\nS: 250-there\nS: 250 PIPELINING\n"
               "C: MAIL FROM:<a@here.test>\nC: RCPT TO:<r0@there.test>\nC: RCPT TO:<r1@there.test>\nC: RCPT TO:<r2@there.test>\nC: DATA\n"
               "S: 250 ok\nS: 250 ok\nS: 550 no\nS: 250 ok\nS: 354 go\n" TEXT "S: 452 4.2.2 full\nS: 250 kept\n" BYE,
      .outcomes = "temp 4.2.2 452 4.2.2 full\nperm 5.0.0 550 no\nok 2.0.0 250 kept\n" },
    { .sentence = "LMTP: lost between two of the replies",
      .is_lmtp = true, .rcpt_count = 2,
      .lines = "S: 220 there\nC: LHLO here.test\nS: 250-there\nS: 250 PIPELINING\n" GROUP2
               "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" TEXT "S: 250 kept\nL: reset\n",
      .outcomes = "ok 2.0.0 250 kept\ntemp 4.4.2 0 connection lost: reset\nsession temp 4.4.2 0 connection lost: reset\n" },
    { .sentence = "LMTP: no falling back to HELO",
      .is_lmtp = true, .lines = "S: 220 there\nC: LHLO here.test\nS: 500 what\nC: QUIT\n", .outcomes = "session perm 5.0.0 500 what\n" },
};

struct run {
    const struct script *script;
    size_t chunk;
    struct smtp_client *client;
    struct peer peer;
    struct smtp_rcpt rcpts[8];
    struct smtp_message message;
    struct slice body;              /* still to be given */
    struct buf in, out, outcomes;
    unsigned messages_sent;
    bool holds_body, awaits_tls, is_closed;
};

static const char *rc_name(enum rc rc)
{
    return rc == RC_OK ? "ok" : rc == RC_TEMP ? "temp" : rc == RC_PERM ? "perm" : "open";
}

static void note(struct buf *out, const char *before, const struct smtp_outcome *o)
{
    buf_printf(out, "%s%s %u.%u.%u %d ", before, rc_name(o->rc), ESC_CLASS(o->esc), ESC_SUBJECT(o->esc), ESC_DETAIL(o->esc), o->code);
    buf_append(out, o->text);
    buf_append_byte(out, '\n');
    CHECK_INT(o->is_remote, o->code != 0);
}

static void send_message(struct run *r)
{
    static const char *const names[] = { "r0", "r1", "r2", "r3" };
    const struct script *s = r->script;
    r->body = slice_from_str(s->body != NULL ? s->body : "a: b\r\n\r\n.\r\n");
    r->message = (struct smtp_message){
        .mail.reverse_path = { .local_part = SLICE("a"), .domain = SLICE("here.test") },
        .rcpts = r->rcpts, .rcpt_count = s->rcpt_count != 0 ? s->rcpt_count : 1, .size = r->body.len, .has_8bit = s->has_8bit,
        .has_bare_eol = s->has_bare_eol, .needs_utf8 = s->needs_utf8, .lacks_final_eol = s->lacks_final_eol,
    };
    for (size_t i = 0; i < r->message.rcpt_count; i++)
        r->rcpts[i].forward_path = (struct address){ .local_part = slice_from_str(names[i]), .domain = SLICE("there.test") };
    r->messages_sent++;
    smtp_client_send(r->client, &r->message);
}

static void take_outcomes(struct run *r)
{
    size_t count = 0;
    const struct smtp_outcome *outcomes = smtp_client_outcomes(r->client, &count);
    CHECK_INT(count, r->message.rcpt_count);
    for (size_t i = 0; i < count; i++)
        note(&r->outcomes, "", &outcomes[i]);
    smtp_client_next(r->client);
}

/* False: the question waits. */
static bool answer(struct run *r)
{
    unsigned wanted = r->script->message_count != 0 ? r->script->message_count : 1;
    switch (smtp_client_ask(r->client)) {
    case SMTP_CLIENT_ASK_MESSAGE:
        if (r->messages_sent < wanted)
            send_message(r);
        else
            smtp_client_quit(r->client);
        return true;
    case SMTP_CLIENT_ASK_BODY:
        if (r->holds_body)
            return false;
        smtp_client_body(r->client, slice_take(&r->body, BODY_PIECE));
        return true;
    case SMTP_CLIENT_ASK_DONE:
        take_outcomes(r);
        return true;
    case SMTP_CLIENT_ASK_NONE:
    default:
        CHECK(false);
        return false;
    }
}

static void pump(struct run *r)
{
    for (bool goes_on = true; goes_on && !r->is_closed && !r->awaits_tls;) {
        size_t len = buf_len(&r->in);
        char *bytes = malloc(len + 1);
        must(bytes != NULL);
        memcpy(bytes, len > 0 ? buf_slice(&r->in).ptr : "", len);
        struct slice in = { bytes, len };
        enum want want = smtp_client_step(r->client, &in);
        buf_consume(&r->in, len - in.len);
        free(bytes);
        struct buf *out = smtp_client_output(r->client);
        buf_append(&r->out, buf_slice(out));
        buf_consume(out, buf_len(out));
        CHECK(smtp_client_timeout_s(r->client) > 0);
        if (want == WANT_ANSWER)
            goes_on = answer(r);
        else if (want == WANT_INPUT)
            goes_on = false;
        else if (want == WANT_TLS)
            r->awaits_tls = true;
        else if (want == WANT_CLOSE)
            r->is_closed = true;
    }
}

static void unescape(struct buf *out, struct slice text)
{
    while (text.len > 0) {
        buf_append(out, slice_take(&text, slice_find_byte(text, '\\')));
        slice_take(&text, 1);
        struct slice code = slice_take(&text, 1);
        uint64_t count = 0;
        switch (code.len > 0 ? code.ptr[0] : ' ') {
        case 'r': buf_append_byte(out, '\r'); break;
        case 'n': buf_append_byte(out, '\n'); break;
        case '0': buf_append_byte(out, '\0'); break;
        case 'x': must(hex_decode(slice_take(&text, 2), out) == RC_OK); break;
        case '{':
            code = slice_take(&text, 1);
            must(slice_take_number(&text, 1000000, &count) && slice_take_byte(&text, '}'));
            while (count-- > 0)
                buf_append(out, code);
            break;
        default: break;
        }
    }
}

static void serve(struct run *r, struct slice text, const char *line_end)
{
    struct buf bytes;
    buf_init(&bytes, 1 << 20);
    unescape(&bytes, text);
    buf_append_str(&bytes, line_end);
    for (struct slice rest = buf_slice(&bytes); rest.len > 0;) {
        buf_append(&r->in, slice_take(&rest, r->chunk));
        pump(r);
    }
    buf_free(&bytes);
}

static void expect(struct run *r, struct slice text, const char *line_end)
{
    struct buf want;
    buf_init(&want, 65536);
    pump(r);
    unescape(&want, text);
    buf_append_str(&want, line_end);
    CHECK_SLICE(slice_sub(buf_slice(&r->out), 0, buf_len(&want)), buf_slice(&want));
    buf_consume(&r->out, buf_len(&want) < buf_len(&r->out) ? buf_len(&want) : buf_len(&r->out));
    buf_free(&want);
}

static void run_line(struct run *r, struct slice line)
{
    uint64_t count = 0;
    char why[64];
    char kind = line.ptr[0];
    slice_take(&line, 3);
    switch (kind) {
    case 'S': serve(r, line, "\r\n"); break;
    case 'R': serve(r, line, ""); break;
    case 'C': expect(r, line, "\r\n"); break;
    case 'X': expect(r, line, ""); break;
    case 'M':
        must(slice_take_number(&line, 100000, &count));
        while (count-- > 0)
            serve(r, slice_sub(line, 1, SIZE_MAX), "\r\n");
        break;
    case 'T':
        CHECK(r->awaits_tls);
        r->awaits_tls = false;
        buf_clear(&r->in);              /* as every driver does */
        r->peer.has_tls = true;
        smtp_client_tls_started(r->client);
        break;
    case 'F':
        CHECK(r->awaits_tls && slice_to_str(line, why, sizeof why));
        r->awaits_tls = false;
        smtp_client_tls_failed(r->client, why);
        break;
    case 'L':
        CHECK(slice_to_str(line, why, sizeof why));
        smtp_client_lost(r->client, why);
        break;
    default: CHECK(false);
    }
}

static void run_script(const struct script *script, size_t chunk)
{
    static struct run run;
    struct run *r = &run;
    *r = (struct run){ .script = script, .chunk = chunk, .holds_body = script->waits_with_body };
    buf_init(&r->in, 1 << 20);
    buf_init(&r->out, 1 << 20);
    buf_init(&r->outcomes, 65536);
    struct smtp_client_options options = {
        .helo = SLICE("here.test"), .is_lmtp = script->is_lmtp, .user = slice_from_str(script->user), .password = SLICE("wonderland"),
        .nonce = SLICE("0123456789abcdefghij"),
    };
    options.tls = script->tls == SMTP_TLS_MUST ? SMTP_TLS_MUST : script->tls == SMTP_TLS_MAY ? SMTP_TLS_MAY : SMTP_TLS_NEVER;
    r->client = smtp_client_new(&options, &r->peer);
    must(r->client != NULL);
    for (struct slice lines = slice_from_str(script->lines); lines.len > 0;) {
        struct slice line = slice_take_until(&lines, '\n');
        if (line.len > 0)
            run_line(r, line);
    }
    pump(r);
    CHECK(r->is_closed);
    CHECK_SLICE(buf_slice(&r->out), SLICE(""));
    const struct smtp_outcome *session = smtp_client_session_outcome(r->client);
    if (session != NULL)
        note(&r->outcomes, "session ", session);
    CHECK_SLICE(buf_slice(&r->outcomes), slice_from_str(script->outcomes));
    smtp_client_free(r->client);
    buf_free(&r->in);
    buf_free(&r->out);
    buf_free(&r->outcomes);
}

/* Then it must not go round for ever with the same piece: whoever has the connection ends it. */
static void out_of_memory(void)
{
    CASE("text that finds no memory is not tried again and again");
    struct smtp_client_options options = { .helo = SLICE("here.test") };
    struct slice in = SLICE_NONE;
    struct smtp_client *client = smtp_client_new(&options, &(struct peer){ 0 });
    must(client != NULL);
    CHECK_INT(smtp_client_step(client, &in), WANT_INPUT);
    smtp_client_output(client)->overflow = true;
    CHECK_INT(smtp_client_step(client, &in), WANT_FLUSH);
    smtp_client_free(client);
}

int main(void)
{
    out_of_memory();
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        CASE(scripts[i].sentence);
        run_script(&scripts[i], SIZE_MAX);
        run_script(&scripts[i], 1);
        run_script(&scripts[i], 7);
    }
    return check_done();
}
