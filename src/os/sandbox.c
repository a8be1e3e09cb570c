/* Giving powers up: see sandbox.h. The order matters: the user first (it needs privileges), then the capabilities, then
 * no_new_privs (which the two that follow need when not root), then files, then system calls. */
#include "os/sandbox_inner.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static enum rc switch_user(const char *name, struct buf *report, struct fault *fault)
{
    if (name == NULL || geteuid() != 0) {
        (void)buf_append_str(report, "user=as-started");
        return RC_OK;
    }
    char space[4096];
    struct passwd user, *found = NULL;
    if (getpwnam_r(name, &user, space, sizeof(space), &found) != 0 || found == NULL)
        return fault_perm(fault, 0, "there is no user %s: \"thurn setup\" makes the roles' users (or set \"user: none\" to run without)", name);
    if (setgroups(0, NULL) != 0 || setresgid(user.pw_gid, user.pw_gid, user.pw_gid) != 0 ||
        setresuid(user.pw_uid, user.pw_uid, user.pw_uid) != 0)
        return fault_errno(fault, errno, "cannot become the user %s", name);
    (void)buf_printf(report, "user=%s", name);
    return RC_OK;
}

/* Root without any would be refused at files of the account that started it, in a test's folder say; Landlock bounds it. */
static enum rc drop_capabilities(const struct sandbox *sandbox, struct buf *report, struct fault *fault)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = { { 0, 0, 0 } };
    bool keeps_files = geteuid() == 0 && (sandbox->powers & (POWER_FILES | POWER_READ_FILES)) != 0;
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (keeps_files)
        sets[0].permitted = sets[0].effective = 1u << CAP_DAC_OVERRIDE;
    if (syscall(SYS_capset, &header, sets) != 0) {
        if (!keeps_files)
            return fault_errno(fault, errno, "cannot drop capabilities");
        sets[0].permitted = sets[0].effective = 0;          /* a container's root without that one */
        if (syscall(SYS_capset, &header, sets) != 0)
            return fault_errno(fault, errno, "cannot drop capabilities");
    }
    (void)buf_append_str(report, sets[0].permitted != 0 ? " caps=dac_override" : " caps=none");
    return RC_OK;
}

/* No core (it would hold mail), no debugger of the same user, and the end when the launcher ends: the change of user
 * took that away. A launcher that died in between is noticed by the closed channel. */
static void keep_to_itself(void)
{
    const struct rlimit none = { 0, 0 };
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

enum rc sandbox_enter(const struct sandbox *sandbox, struct buf *report, struct fault *fault)
{
    enum rc rc = switch_user(sandbox->user, report, fault);
    if (rc == RC_OK)
        rc = drop_capabilities(sandbox, report, fault);
    if (rc != RC_OK)
        return rc;
    keep_to_itself();
    bool has_no_new_privs = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
    (void)buf_append_str(report, has_no_new_privs ? " no_new_privs=yes" : " no_new_privs=no");
    rc = sandbox_restrict_files(sandbox, report, fault);
    if (rc == RC_OK)
        rc = sandbox_restrict_calls(sandbox, report, fault);
    return rc;
}
