/* seccomp: the system calls a role may still make, by power. What is in no row answers EPERM; what only an intruder would
 * try ends the process on the spot. */
#include "os/sandbox_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER 0
#endif

enum { FILES = POWER_FILES, FILES_OR_READ = POWER_FILES | POWER_READ_FILES };

/* Allowed with any arguments when the role has one of the powers. POWER_LOOP: always. */
static const struct free_call {
    int number;
    unsigned powers;
} free_calls[] = {
    /* bytes in and out of what is open */
    { SCMP_SYS(read), POWER_LOOP }, { SCMP_SYS(readv), POWER_LOOP }, { SCMP_SYS(write), POWER_LOOP }, { SCMP_SYS(writev), POWER_LOOP },
    { SCMP_SYS(close), POWER_LOOP }, { SCMP_SYS(lseek), POWER_LOOP }, { SCMP_SYS(recvfrom), POWER_LOOP }, { SCMP_SYS(sendto), POWER_LOOP },
    { SCMP_SYS(recvmsg), POWER_LOOP }, { SCMP_SYS(sendmsg), POWER_LOOP }, { SCMP_SYS(recvmmsg), POWER_LOOP },
    { SCMP_SYS(sendmmsg), POWER_LOOP }, { SCMP_SYS(recv), POWER_LOOP }, { SCMP_SYS(send), POWER_LOOP },
    { SCMP_SYS(shutdown), POWER_LOOP }, { SCMP_SYS(getsockname), POWER_LOOP }, { SCMP_SYS(getpeername), POWER_LOOP },
    { SCMP_SYS(getsockopt), POWER_LOOP }, { SCMP_SYS(setsockopt), POWER_LOOP }, { SCMP_SYS(fstat), POWER_LOOP },
    { SCMP_SYS(fstat64), POWER_LOOP }, { SCMP_SYS(dup), POWER_LOOP }, { SCMP_SYS(dup2), POWER_LOOP }, { SCMP_SYS(dup3), POWER_LOOP },
    { SCMP_SYS(pipe2), POWER_LOOP }, { SCMP_SYS(eventfd2), POWER_LOOP },
    /* waiting */
    { SCMP_SYS(epoll_wait), POWER_LOOP }, { SCMP_SYS(epoll_pwait), POWER_LOOP }, { SCMP_SYS(epoll_pwait2), POWER_LOOP },
    { SCMP_SYS(epoll_ctl), POWER_LOOP }, { SCMP_SYS(epoll_create1), POWER_LOOP }, { SCMP_SYS(poll), POWER_LOOP },
    { SCMP_SYS(ppoll), POWER_LOOP }, { SCMP_SYS(select), POWER_LOOP }, { SCMP_SYS(pselect6), POWER_LOOP },
    { SCMP_SYS(nanosleep), POWER_LOOP }, { SCMP_SYS(clock_nanosleep), POWER_LOOP }, { SCMP_SYS(futex), POWER_LOOP },
    { SCMP_SYS(restart_syscall), POWER_LOOP }, { SCMP_SYS(sched_yield), POWER_LOOP },
    /* time, chance, who we are */
    { SCMP_SYS(clock_gettime), POWER_LOOP }, { SCMP_SYS(clock_getres), POWER_LOOP }, { SCMP_SYS(gettimeofday), POWER_LOOP },
    { SCMP_SYS(time), POWER_LOOP }, { SCMP_SYS(getrandom), POWER_LOOP }, { SCMP_SYS(getpid), POWER_LOOP }, { SCMP_SYS(gettid), POWER_LOOP },
    { SCMP_SYS(getppid), POWER_LOOP }, { SCMP_SYS(getuid), POWER_LOOP }, { SCMP_SYS(geteuid), POWER_LOOP }, { SCMP_SYS(getgid), POWER_LOOP },
    { SCMP_SYS(getegid), POWER_LOOP }, { SCMP_SYS(uname), POWER_LOOP }, { SCMP_SYS(sysinfo), POWER_LOOP }, { SCMP_SYS(getrusage), POWER_LOOP },
    { SCMP_SYS(sched_getaffinity), POWER_LOOP }, { SCMP_SYS(times), POWER_LOOP },
    /* memory (mmap and mprotect below: never executable) */
    { SCMP_SYS(munmap), POWER_LOOP }, { SCMP_SYS(mremap), POWER_LOOP }, { SCMP_SYS(brk), POWER_LOOP }, { SCMP_SYS(madvise), POWER_LOOP },
    { SCMP_SYS(membarrier), POWER_LOOP },
    /* signals and the end */
    { SCMP_SYS(rt_sigaction), POWER_LOOP }, { SCMP_SYS(rt_sigprocmask), POWER_LOOP }, { SCMP_SYS(rt_sigreturn), POWER_LOOP },
    { SCMP_SYS(sigaltstack), POWER_LOOP }, { SCMP_SYS(signalfd4), POWER_LOOP }, { SCMP_SYS(exit), POWER_LOOP }, { SCMP_SYS(exit_group), POWER_LOOP },
    /* connections */
    { SCMP_SYS(accept), POWER_ACCEPT }, { SCMP_SYS(accept4), POWER_ACCEPT },
    { SCMP_SYS(connect), POWER_CONNECT }, { SCMP_SYS(bind), POWER_CONNECT },
    /* threads (clone below) */
    { SCMP_SYS(set_robust_list), POWER_LOOP }, { SCMP_SYS(rseq), POWER_LOOP },
    /* files: open below for those that only read */
    { SCMP_SYS(open), FILES }, { SCMP_SYS(openat), FILES }, { SCMP_SYS(creat), FILES },
    { SCMP_SYS(stat), FILES_OR_READ }, { SCMP_SYS(lstat), FILES_OR_READ }, { SCMP_SYS(newfstatat), FILES_OR_READ },
    { SCMP_SYS(statx), FILES_OR_READ }, { SCMP_SYS(statfs), FILES_OR_READ }, { SCMP_SYS(fstatfs), FILES_OR_READ },
    { SCMP_SYS(access), FILES_OR_READ }, { SCMP_SYS(faccessat), FILES_OR_READ }, { SCMP_SYS(faccessat2), FILES_OR_READ },
    { SCMP_SYS(readlink), FILES_OR_READ }, { SCMP_SYS(readlinkat), FILES_OR_READ }, { SCMP_SYS(getdents64), FILES_OR_READ },
    { SCMP_SYS(getcwd), FILES_OR_READ }, { SCMP_SYS(pread64), FILES_OR_READ }, { SCMP_SYS(preadv), FILES_OR_READ },
    { SCMP_SYS(fadvise64), FILES_OR_READ },
    { SCMP_SYS(pwrite64), FILES }, { SCMP_SYS(pwritev), FILES }, { SCMP_SYS(pwritev2), FILES }, { SCMP_SYS(fsync), FILES },
    { SCMP_SYS(fdatasync), FILES }, { SCMP_SYS(sync_file_range), FILES }, { SCMP_SYS(fallocate), FILES }, { SCMP_SYS(ftruncate), FILES },
    { SCMP_SYS(truncate), FILES }, { SCMP_SYS(flock), FILES }, { SCMP_SYS(rename), FILES }, { SCMP_SYS(renameat), FILES },
    { SCMP_SYS(renameat2), FILES }, { SCMP_SYS(unlink), FILES }, { SCMP_SYS(unlinkat), FILES }, { SCMP_SYS(mkdir), FILES },
    { SCMP_SYS(mkdirat), FILES }, { SCMP_SYS(rmdir), FILES }, { SCMP_SYS(link), FILES }, { SCMP_SYS(linkat), FILES },
    { SCMP_SYS(chmod), FILES }, { SCMP_SYS(fchmod), FILES }, { SCMP_SYS(fchmodat), FILES }, { SCMP_SYS(utimensat), FILES },
    { SCMP_SYS(umask), FILES }, { SCMP_SYS(copy_file_range), FILES }, { SCMP_SYS(msync), FILES },
};

/* Allowed when (argument & mask) == value. */
static const struct bound_call {
    int number;
    unsigned powers;
    unsigned argument;
    uint64_t mask, value;
} bound_calls[] = {
    { SCMP_SYS(mmap), POWER_LOOP, 2, PROT_EXEC, 0 },
    { SCMP_SYS(mprotect), POWER_LOOP, 2, PROT_EXEC, 0 },
    { SCMP_SYS(newfstatat), POWER_LOOP, 3, AT_EMPTY_PATH, AT_EMPTY_PATH },          /* how this C library does fstat */
    { SCMP_SYS(prctl), POWER_LOOP, 0, UINT32_MAX, PR_SET_NAME },
    { SCMP_SYS(prlimit64), POWER_LOOP, 2, UINT64_MAX, 0 },                          /* asking, not setting */
    { SCMP_SYS(socketpair), POWER_LOOP, 0, UINT32_MAX, AF_UNIX },                   /* a session's stream to post */
    { SCMP_SYS(socket), POWER_CONNECT, 0, UINT32_MAX, AF_INET },
    { SCMP_SYS(socket), POWER_CONNECT, 0, UINT32_MAX, AF_INET6 },
    { SCMP_SYS(socket), POWER_CONNECT, 0, UINT32_MAX, AF_UNIX },                    /* LMTP to a path */
    { SCMP_SYS(clone), POWER_THREADS, 0, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND },
    { SCMP_SYS(open), POWER_READ_FILES, 1, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY },
    { SCMP_SYS(openat), POWER_READ_FILES, 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY },
};

/* F_SETOWN and F_SETSIG would aim signals at others, F_NOTIFY spies on folders: the rest is named. */
static const int fcntl_commands[] = {
    F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW,
};

/* Nothing of ours ever does these. */
static const int deadly_calls[] = {
    SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
    SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(unshare), SCMP_SYS(setns),
    SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(kexec_load), SCMP_SYS(bpf), SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup), SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key),
    SCMP_SYS(memfd_create), SCMP_SYS(personality), SCMP_SYS(setuid), SCMP_SYS(setresuid), SCMP_SYS(capset),
};

static int add_free(scmp_filter_ctx filter, unsigned powers, unsigned *allowed)
{
    int result = 0;
    for (size_t i = 0; i < sizeof(free_calls) / sizeof(free_calls[0]) && result == 0; i++)
        if ((free_calls[i].powers & powers) != 0) {
            result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, free_calls[i].number, 0);
            (*allowed)++;
        }
    return result;
}

static bool is_free(int number, unsigned powers)
{
    for (size_t i = 0; i < sizeof(free_calls) / sizeof(free_calls[0]); i++)
        if (free_calls[i].number == number && (free_calls[i].powers & powers) != 0)
            return true;
    return false;
}

static int add_bound(scmp_filter_ctx filter, unsigned powers, unsigned *allowed)
{
    int result = 0;
    for (size_t i = 0; i < sizeof(bound_calls) / sizeof(bound_calls[0]) && result == 0; i++) {
        const struct bound_call *call = &bound_calls[i];
        if ((call->powers & powers) == 0 || is_free(call->number, powers))
            continue;
        const struct scmp_arg_cmp condition = SCMP_CMP(call->argument, SCMP_CMP_MASKED_EQ, call->mask, call->value);
        result = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call->number, 1, &condition);
        (*allowed)++;
    }
    for (size_t i = 0; i < sizeof(fcntl_commands) / sizeof(fcntl_commands[0]) && result == 0; i++) {
        const struct scmp_arg_cmp condition = SCMP_CMP(1, SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)fcntl_commands[i]);
        result = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, &condition);
    }
    *allowed += 2;                              /* fcntl; tgkill */
    if (result == 0) {                          /* abort() signals itself, and nobody else */
        const struct scmp_arg_cmp self = SCMP_CMP(0, SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)getpid());
        result = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, &self);
    }
    return result;
}

static int add_refusals(scmp_filter_ctx filter)
{
    /* The C library falls back to clone, whose flags can be looked at. */
    int result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    for (size_t i = 0; i < sizeof(deadly_calls) / sizeof(deadly_calls[0]) && result == 0; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, deadly_calls[i], 0);
    return result;
}

static int make_filter(scmp_filter_ctx filter, const struct sandbox *sandbox, unsigned *allowed)
{
    unsigned powers = sandbox->powers | POWER_LOOP;
    int result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);        /* threads that are there already, too */
    (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);            /* a binary tree: some 100 rows a call otherwise */
    if (result == 0)
        result = add_free(filter, powers, allowed);
    if (result == 0)
        result = add_bound(filter, powers, allowed);
    return result == 0 ? add_refusals(filter) : result;
}

enum rc sandbox_restrict_calls(const struct sandbox *sandbox, struct buf *report, struct fault *fault)
{
    unsigned allowed = 0;
    if (HAS_SANITIZER) {
        (void)buf_append_str(report, " seccomp=no(built with a sanitizer)");
        return RC_OK;
    }
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0) {
        (void)buf_append_str(report, " seccomp=no(kernel)");
        return RC_OK;
    }
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL)
        return fault_no_memory(fault);
    int result = make_filter(filter, sandbox, &allowed);
    if (result == 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    if (result != 0)
        return fault_errno(fault, -result, "seccomp refuses its rules");
    (void)buf_printf(report, " seccomp=yes(%u calls)", allowed);
    return RC_OK;
}
