/* The driver: joins a protocol machine (wire/machine.h) to a connection. One switch serves all protocols.
 *
 * The driver steps the machine while it wants nothing, moves its output to the connection, starts TLS, closes. When the
 * machine asks a question the owner's `ask` is called; the owner answers the machine, at once or later, and then calls
 * driver_answered. The driver is embedded in what owns it; `ended` comes at the end of a turn of the loop, when machine
 * and connection are gone, so nothing that the owner does there can be under the driver's feet. */
#ifndef THURN_ROLE_DRIVER_H
#define THURN_ROLE_DRIVER_H

#include "mail/date.h"
#include "os/conn.h"
#include "os/loop.h"
#include "wire/machine.h"

struct machine_type {
    enum want (*step)(void *machine, struct slice *in, struct mail_date now);
    struct buf *(*output)(void *machine);
    void (*tls_started)(void *machine);             /* NULL: never asks for TLS */
    void (*stop)(void *machine, const char *text);
    bool (*is_idle)(void *machine);                 /* NULL: always may be stopped */
    void (*free)(void *machine);
    bool is_silent_at_timeout;                      /* stop gets NULL then (RFC 1939 3: closed without a word) */
};

struct driver {
    const struct machine_type *type;
    void *machine;
    struct conn *conn;
    struct tls_context *const *tls; /* for WANT_TLS: the one in force then; NULL when the machine never asks */
    void (*ask)(void *arg);
    void (*ended)(void *arg, const char *why);      /* may free the driver */
    bool (*is_held)(void *arg);     /* true: no step now, the owner calls driver_wake; what has come stays in the input. NULL: never */
    void *arg;

    /* The driver's own, zero at first. */
    struct loop_task end_task;
    char why[128];
    const char *stop_text;
    bool is_waiting;                /* a question is standing */
    bool is_starting_tls;
    bool is_running;                /* in driver_run: an answer given from within `ask` does not start another */
    bool is_stopping;               /* stop as soon as the machine is idle */
};

/* conn, type, machine and the callbacks are filled in, the rest is zero; the connection's owner must be driver_event with
 * the driver. */
void driver_start(struct driver *);
void driver_event(void *driver, struct conn *, enum conn_event);
/* The standing question has been answered: go on (from the loop or from within `ask`). */
void driver_answered(struct driver *);
/* Steps a machine that waits for input, with what input there is: a session in IDLE has news. */
void driver_wake(struct driver *);
/* Ends it politely as soon as no transaction is open; text (which must live on) goes out if the protocol can say it. */
void driver_stop(struct driver *, const char *text);
/* Gives the connection back, with what is buffered in it, and frees the machine; `ended` is not called. Also from `ask`. */
struct conn *driver_release(struct driver *);
/* Ends it now, without a word; `ended` is not called. Never from within `ask`. */
void driver_abort(struct driver *);

#endif
