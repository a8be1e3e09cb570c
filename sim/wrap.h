/* What the server's object calls instead of the system: `ld -r --wrap=X` has turned X into __wrap_X there. Each is X's own manual
 * page; sim/calls is the list that the build works from. */
#ifndef THURN_SIM_WRAP_H
#define THURN_SIM_WRAP_H

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <time.h>

#include "base/fault.h"
#include "base/slice.h"

struct buf;
struct sandbox;

/* memory.c */
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_reallocarray(void *, size_t, size_t);
void __wrap_free(void *);
char *__wrap_strdup(const char *);
char *__wrap_strndup(const char *, size_t);
int __wrap_asprintf(char **, const char *, ...) __attribute__((format(printf, 2, 3)));
int __wrap___asprintf_chk(char **, int, const char *, ...) __attribute__((format(printf, 3, 4)));

/* kernel.c, process.c */
void __wrap_log_open(const char *role, int fd, bool json);
_Noreturn void __wrap__exit(int);
_Noreturn void __wrap_exit(int);
_Noreturn void __wrap_abort(void);

/* poll.c */
int __wrap_epoll_create1(int);
int __wrap_epoll_ctl(int, int, int, struct epoll_event *);
int __wrap_epoll_wait(int, struct epoll_event *, int, int);
int __wrap_poll(struct pollfd *, nfds_t, int);
int __wrap_eventfd(unsigned, int);

/* calls_file.c */
int __wrap_open64(const char *, int, ...);
int __wrap_close(int);
ssize_t __wrap_pread64(int, void *, size_t, off_t);
ssize_t __wrap_pwrite64(int, const void *, size_t, off_t);
int __wrap_fsync(int);
int __wrap_fdatasync(int);
int __wrap_ftruncate64(int, off_t);
int __wrap_posix_fallocate64(int, off_t, off_t);
int __wrap_flock(int, int);
int __wrap_rename(const char *, const char *);
int __wrap_unlink(const char *);
int __wrap_mkdir(const char *, mode_t);
int __wrap_stat64(const char *, struct stat *);
int __wrap_lstat64(const char *, struct stat *);
int __wrap_fstat64(int, struct stat *);
int __wrap_access(const char *, int);
int __wrap_statvfs64(const char *, struct statvfs *);
int __wrap_chmod(const char *, mode_t);
int __wrap_fchmod(int, mode_t);
int __wrap_chown(const char *, uid_t, gid_t);
mode_t __wrap_umask(mode_t);
DIR *__wrap_opendir(const char *);
struct dirent *__wrap_readdir64(DIR *);
int __wrap_closedir(DIR *);
FILE *__wrap_fopen64(const char *, const char *);
int __wrap_fprintf(FILE *, const char *, ...) __attribute__((format(printf, 2, 3)));
int __wrap___fprintf_chk(FILE *, int, const char *, ...) __attribute__((format(printf, 3, 4)));
size_t __wrap_fwrite(const void *, size_t, size_t, FILE *);

/* calls_socket.c */
ssize_t __wrap_read(int, void *, size_t);
ssize_t __wrap_write(int, const void *, size_t);
int __wrap_fcntl64(int, int, long);
int __wrap_socket(int, int, int);
int __wrap_socketpair(int, int, int, int[2]);
int __wrap_bind(int, const struct sockaddr *, socklen_t);
int __wrap_listen(int, int);
int __wrap_accept4(int, struct sockaddr *, socklen_t *, int);
int __wrap_connect(int, const struct sockaddr *, socklen_t);
int __wrap_shutdown(int, int);
int __wrap_getsockname(int, struct sockaddr *, socklen_t *);
int __wrap_getpeername(int, struct sockaddr *, socklen_t *);
int __wrap_setsockopt(int, int, int, const void *, socklen_t);
int __wrap_getsockopt(int, int, int, void *, socklen_t *);
ssize_t __wrap_recv(int, void *, size_t, int);
ssize_t __wrap_send(int, const void *, size_t, int);
ssize_t __wrap_sendto(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
ssize_t __wrap_sendmsg(int, const struct msghdr *, int);
ssize_t __wrap_recvmsg(int, struct msghdr *, int);

/* calls_child.c */
enum rc __wrap_child_start(char *const argv[], int fd, pid_t *, struct fault *);
enum rc __wrap_sandbox_enter(const struct sandbox *, struct buf *report, struct fault *);
pid_t __wrap_waitpid(pid_t, int *, int);
int __wrap_kill(pid_t, int);
int __wrap_signalfd(int, const sigset_t *, int);
void (*__wrap_signal(int, void (*)(int)))(int);
int __wrap_sigprocmask(int, const sigset_t *, sigset_t *);
int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_join(pthread_t, void **);
int __wrap_pthread_mutex_init(pthread_mutex_t *, const pthread_mutexattr_t *);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *);
int __wrap_pthread_mutex_lock(pthread_mutex_t *);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *);
int __wrap_pthread_cond_init(pthread_cond_t *, const pthread_condattr_t *);
int __wrap_pthread_cond_destroy(pthread_cond_t *);
int __wrap_pthread_cond_wait(pthread_cond_t *, pthread_mutex_t *);
int __wrap_pthread_cond_signal(pthread_cond_t *);
int __wrap_pthread_cond_broadcast(pthread_cond_t *);
pid_t __wrap_getpid(void);
uid_t __wrap_geteuid(void);
char *__wrap_getenv(const char *);
long __wrap_sysconf(int);
int __wrap_getrlimit64(int, struct rlimit *);
int __wrap_setrlimit64(int, const struct rlimit *);

/* calls_time.c */
int __wrap_clock_gettime(clockid_t, struct timespec *);
int __wrap_nanosleep(const struct timespec *, struct timespec *);
ssize_t __wrap_getrandom(void *, size_t, unsigned);
void __wrap_tzset(void);
struct scram_key;
struct store;
struct store_options;
enum rc __wrap_store_open(const struct store_options *, struct store **, struct fault *);
bool __wrap_scram_salted_password(struct slice password, struct slice salt, uint32_t iterations, struct scram_key *);

#endif
