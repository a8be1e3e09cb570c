/* Coroutines, and the threads of simulated processes on them.
 *
 * Switching is by _setjmp and _longjmp, which make no system call; a stack is entered for the first time with makecontext. Under
 * AddressSanitizer both directions go by swapcontext with its annotations. Which of the runnable threads goes on is by chance. */
#include "sim/inner.h"

#include "base/fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifndef HAS_ASAN
#define HAS_ASAN 0
#endif

#if HAS_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

struct coroutine {
    struct coroutine *next_free;
    char *stack;
    void (*main)(void *arg);
    void *arg;
    bool is_begun;
    jmp_buf self, caller;
    ucontext_t context, caller_context;
    void *fake, *caller_fake;
    const void *caller_stack;
    size_t caller_stack_size;
};

static struct coroutine *free_coroutines;               /* with their stacks: processes come and go */
static struct coroutine *running;

/* ---- coroutines ------------------------------------------------------------------------------------------------------ */

static struct coroutine *stack_new(void)
{
    struct coroutine *c = calloc(1, sizeof(*c));
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    must(c != NULL);
    c->stack = mmap(NULL, SIM_STACK_BYTES + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    must(c->stack != MAP_FAILED && mprotect(c->stack, page, PROT_NONE) == 0);
    c->stack += page;
    return c;
}

struct coroutine *coroutine_new(void (*main)(void *arg), void *arg)
{
    struct coroutine *c = free_coroutines;
    if (c != NULL)
        free_coroutines = c->next_free;
    else
        c = stack_new();
    c->main = main;
    c->arg = arg;
    c->is_begun = false;
    return c;
}

void coroutine_free(struct coroutine *c)
{
    c->next_free = free_coroutines;
    free_coroutines = c;
}

static void begin(void)
{
    struct coroutine *c = running;
#if HAS_ASAN
    __sanitizer_finish_switch_fiber(NULL, &c->caller_stack, &c->caller_stack_size);
#endif
    c->main(c->arg);
    coroutine_end(c);
}

static void first_entry(struct coroutine *c)
{
    must(getcontext(&c->context) == 0);
    c->context.uc_stack.ss_sp = c->stack;
    c->context.uc_stack.ss_size = SIM_STACK_BYTES;
    c->context.uc_link = NULL;
    makecontext(&c->context, begin, 0);
    c->is_begun = true;
}

#if HAS_ASAN

void coroutine_run(struct coroutine *c)
{
    if (!c->is_begun)
        first_entry(c);
    running = c;
    __sanitizer_start_switch_fiber(&c->caller_fake, c->stack, SIM_STACK_BYTES);
    must(swapcontext(&c->caller_context, &c->context) == 0);
    __sanitizer_finish_switch_fiber(c->caller_fake, NULL, NULL);
    running = NULL;
}

void coroutine_leave(struct coroutine *c)
{
    __sanitizer_start_switch_fiber(&c->fake, c->caller_stack, c->caller_stack_size);
    must(swapcontext(&c->context, &c->caller_context) == 0);
    __sanitizer_finish_switch_fiber(c->fake, &c->caller_stack, &c->caller_stack_size);
}

_Noreturn void coroutine_end(struct coroutine *c)
{
    __sanitizer_start_switch_fiber(NULL, c->caller_stack, c->caller_stack_size);
    (void)setcontext(&c->caller_context);
    abort();
}

#else

void coroutine_run(struct coroutine *c)
{
    running = c;
    if (_setjmp(c->caller) == 0) {
        if (c->is_begun)
            _longjmp(c->self, 1);
        first_entry(c);
        (void)setcontext(&c->context);
        abort();
    }
    running = NULL;
}

void coroutine_leave(struct coroutine *c)
{
    if (_setjmp(c->self) == 0)
        _longjmp(c->caller, 1);
}

_Noreturn void coroutine_end(struct coroutine *c) { _longjmp(c->caller, 1); }

#endif

/* ---- who may run -------------------------------------------------------------------------------------------------------- */

enum { CHAINS = 4096 };

static struct sim_thread **runnable;
static size_t runnable_count, runnable_cap;
static struct sim_thread *self;
static struct list chains[CHAINS];                      /* who waits, by channel; in each chain in the order of waiting */

struct sim_thread *thread_self(void) { return self; }
struct sim_process *sim_self(void) { return self == NULL ? NULL : self->process; }
struct sim_host *sim_self_host(void) { return self == NULL ? NULL : self->process->host; }

void thread_begin(void)
{
    runnable_count = 0;
    for (size_t i = 0; i < CHAINS; i++)
        list_init(&chains[i]);
}

static void make_runnable(struct sim_thread *t)
{
    if (runnable_count == runnable_cap) {
        runnable_cap = runnable_cap == 0 ? 256 : runnable_cap * 2;
        runnable = realloc(runnable, runnable_cap * sizeof(struct sim_thread *));
        must(runnable != NULL);
    }
    t->state = THREAD_RUNNABLE;
    t->run_at = runnable_count;
    runnable[runnable_count++] = t;
}

static void not_runnable(struct sim_thread *t)
{
    runnable[t->run_at] = runnable[--runnable_count];
    runnable[t->run_at]->run_at = t->run_at;
}

static struct list *chain_of(const void *channel)
{
    uintptr_t at = (uintptr_t)channel;
    return &chains[(at >> 4 ^ at >> 16) % CHAINS];
}

static void stop_waiting(struct sim_thread *t)
{
    list_remove(&t->waiting);
    if (t->timeout != NULL)
        sim_cancel(t->timeout);
    t->timeout = NULL;
}

static void thread_main(void *arg)
{
    struct sim_thread *t = arg;
    t->result = t->main(t->arg);
    t->state = THREAD_ENDED;
    sim_wake(t);
}

struct sim_thread *thread_new(struct sim_process *process, void *(*main)(void *), void *arg)
{
    struct sim_thread *t = calloc(1, sizeof(*t));
    must(t != NULL);
    t->process = process;
    t->main = main;
    t->arg = arg;
    t->coroutine = coroutine_new(thread_main, t);
    list_append(&process->threads, &t->list);
    make_runnable(t);
    return t;
}

void thread_free(struct sim_thread *t)
{
    if (t->state == THREAD_RUNNABLE)
        not_runnable(t);
    else if (t->state == THREAD_WAITING)
        stop_waiting(t);
    list_remove(&t->list);
    coroutine_free(t->coroutine);
    free(t);
}

bool thread_run_one(void)
{
    if (runnable_count == 0)
        return false;
    struct sim_thread *t = runnable[runnable_count == 1 ? 0 : sim_below(runnable_count)];
    not_runnable(t);
    t->state = THREAD_RUNNING;
    self = t;
    process_enter(t->process);
    errno = t->saved_errno;
    coroutine_run(t->coroutine);
    t->saved_errno = errno;
    self = NULL;
    return true;
}

/* ---- waiting ------------------------------------------------------------------------------------------------------------- */

void sim_yield(void)
{
    if (self == NULL)
        return;
    make_runnable(self);
    coroutine_leave(self->coroutine);
}

static void on_timeout(void *arg)
{
    struct sim_thread *t = arg;
    t->timeout = NULL;
    t->is_timed_out = true;
    stop_waiting(t);
    make_runnable(t);
}

bool sim_wait(const void *channel, int64_t until_us)
{
    struct sim_thread *t = self;
    must(t != NULL);
    t->state = THREAD_WAITING;
    t->channel = channel;
    t->is_timed_out = false;
    t->timeout = until_us == INT64_MAX ? NULL : sim_at(until_us, on_timeout, t);
    list_append(chain_of(channel), &t->waiting);
    coroutine_leave(t->coroutine);
    return !t->is_timed_out;
}

void sim_wake(const void *channel)
{
    struct list *chain = chain_of(channel);
    LIST_EACH(node, chain) {
        struct sim_thread *t = LIST_ENTRY(node, struct sim_thread, waiting);
        if (t->channel != channel)
            continue;
        stop_waiting(t);
        make_runnable(t);
    }
}

void sim_sleep_us(int64_t us)
{
    int64_t until = sim_now_us() + us;
    (void)sim_wait(self, until);
}
