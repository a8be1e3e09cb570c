/* Control sockets: how the command line talks to running roles. One call a connection: FRAME_CONTROL with a command and its
 * arguments (each ends with NUL), any number of FRAME_CONTROL_ROW (a JSON object each), FRAME_CONTROL_DONE.
 *
 *     run_dir/control.sock         launcher: status, reload, stop
 *     run_dir/control-auth.sock    auth: domain, account, alias (config/directory_command.h)
 *     run_dir/control-post.sock    post: queue, why, ledger
 *
 * The sockets are 0600; who may open them is the administrator. */
#ifndef THURN_ROLE_CONTROL_H
#define THURN_ROLE_CONTROL_H

#include "base/buf.h"
#include "base/fault.h"
#include "base/slice.h"

struct loop;
struct control;
struct control_call;

/* ---- in a role ---- */

/* Serves a listening descriptor (taken). Each call is answered by any number of control_row and one control_done, at once or
 * later. arguments: each terminated by NUL; slice_take_until(&arguments, '\0') takes one. */
typedef void control_handler(void *arg, struct control_call *, struct slice command, struct slice arguments);
struct control *control_listen(struct loop *, int fd, control_handler *, void *arg);
void control_free(struct control *);                                /* no new calls; nothing for NULL */
void control_row(void *call, struct slice json);
void control_done(struct control_call *, const struct fault *);     /* rc RC_OK: fine */

/* ---- on the command line: blocking ---- */

/* RC_NONE: no server listens there (the fault says how to start it). Otherwise the outcome of the call itself. */
enum rc control_call(const char *socket_path, const char *command, const char *const *arguments, size_t count,
                     void (*row)(void *arg, struct slice json), void *arg, struct fault *);

#endif
