/* What every protocol machine has in common.
 *
 * A protocol, in or out, is a machine without I/O. Its driver (role/driver.c) owns the connection and does this:
 *
 *     step     takes bytes off the front of the input, appends to the machine's bounded output, and says what it
 *              wants next. It is called again only when that has happened.
 *     answer   (a function of each protocol, since the questions differ) continues a machine that asked.
 *
 * The same bytes in any chunking give the same questions and the same output: a machine never looks at how much
 * input there is, only at whether a whole unit (a line, a literal, a chunk of body) is. */
#ifndef THURN_WIRE_MACHINE_H
#define THURN_WIRE_MACHINE_H

#include "base/buf.h"
#include "base/peer.h"
#include "base/slice.h"

enum want {
    WANT_INPUT,     /* more bytes from the peer: call step again when there are some. Output goes out first. */
    WANT_ANSWER,    /* a question is standing (the machine's `ask`): call its answer function, then step */
    WANT_FLUSH,     /* output is near its limit: send it, then step again */
    WANT_TLS,       /* send the output, DROP all buffered input, do the TLS handshake, tell the machine, then step */
    WANT_CLOSE,     /* send the output, then close */
};

#endif
