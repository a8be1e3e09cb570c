/* The memory of simulated processes: every block that a server's code asks for belongs to the process that asked, counts towards
 * its host's limit, and goes when the process goes. Asked for outside of any process (an event), it belongs to nobody and stays
 * until it is freed. SQLite gets its memory here too. */
#include "sim/inner.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "sim/disk.h"
#include "sim/wrap.h"

struct block {                          /* before each; keeps what follows aligned to 16 */
    struct list list;
    struct sim_process *owner;
    size_t size;
};

void *sim_new(size_t size)
{
    void *made = calloc(1, size == 0 ? 1 : size);
    must(made != NULL);
    return made;
}

void *sim_renew(void *old, size_t size)
{
    void *made = realloc(old, size == 0 ? 1 : size);
    must(made != NULL);
    return made;
}

void sim_delete(void *memory) { free(memory); }

static void *block_new(size_t size)
{
    struct sim_process *owner = sim_self();
    struct host_inner *host = owner == NULL ? NULL : host_inner(owner->host);
    if (size > SIZE_MAX / 4 || (host != NULL && host->host.memory_limit != 0 && host->memory + size > host->host.memory_limit)) {
        errno = ENOMEM;
        if (owner != NULL)
            owner->lacked_memory = true;
        return NULL;
    }
    struct block *block = malloc(sizeof(*block) + size);
    if (block == NULL)
        return NULL;
    block->owner = owner;
    block->size = size;
    list_init(&block->list);
    if (owner != NULL) {
        list_append(&owner->blocks, &block->list);
        owner->memory += size;
        host->memory += size;
    }
    return block + 1;
}

static void block_free(void *memory)
{
    if (memory == NULL)
        return;
    struct block *block = (struct block *)memory - 1;
    list_remove(&block->list);
    if (block->owner != NULL) {
        block->owner->memory -= block->size;
        host_inner(block->owner->host)->memory -= block->size;
    }
    free(block);
}

static void *block_resize(void *memory, size_t size)
{
    if (memory == NULL)
        return block_new(size);
    const struct block *old = (struct block *)memory - 1;
    void *made = block_new(size);
    if (made == NULL)
        return NULL;
    memcpy(made, memory, old->size < size ? old->size : size);
    block_free(memory);
    return made;
}

void memory_free_all(struct sim_process *process)
{
    LIST_EACH(node, &process->blocks)
        free(LIST_ENTRY(node, struct block, list));
    list_init(&process->blocks);
    host_inner(process->host)->memory -= process->memory;
    process->memory = 0;
}

/* A request that may be made to fail: the judge may say so. */
static bool is_refused(const char *call)
{
    int error = sim_enter(call);
    if (error == 0)
        return false;
    errno = error;
    sim_self()->lacked_memory = true;
    return true;
}

void *__wrap_malloc(size_t size) { return is_refused("malloc") ? NULL : block_new(size); }

void *__wrap_calloc(size_t count, size_t size)
{
    size_t total;
    if (is_refused("calloc") || __builtin_mul_overflow(count, size, &total))
        return NULL;
    void *made = block_new(total);
    return made == NULL ? NULL : memset(made, 0, total);
}

void *__wrap_realloc(void *memory, size_t size) { return is_refused("realloc") ? NULL : block_resize(memory, size); }

void *__wrap_reallocarray(void *memory, size_t count, size_t size)
{
    size_t total;
    return is_refused("realloc") || __builtin_mul_overflow(count, size, &total) ? NULL : block_resize(memory, total);
}

void __wrap_free(void *memory) { block_free(memory); }

char *__wrap_strndup(const char *text, size_t max)
{
    size_t len = strnlen(text, max);
    char *copy = is_refused("strdup") ? NULL : block_new(len + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *__wrap_strdup(const char *text) { return __wrap_strndup(text, SIZE_MAX); }

__attribute__((format(printf, 2, 0)))
static int print(char **out, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int len = vsnprintf(NULL, 0, format, again);
    va_end(again);
    *out = len < 0 || is_refused("asprintf") ? NULL : block_new((size_t)len + 1);
    return *out == NULL ? -1 : vsnprintf(*out, (size_t)len + 1, format, arguments);
}

int __wrap_asprintf(char **out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int len = print(out, format, arguments);
    va_end(arguments);
    return len;
}

int __wrap___asprintf_chk(char **out, int flag, const char *format, ...)
{
    va_list arguments;
    (void)flag;
    va_start(arguments, format);
    int len = print(out, format, arguments);
    va_end(arguments);
    return len;
}

/* ---- SQLite ---------------------------------------------------------------------------------------------------------- */

static void *sqlite_malloc(int size) { return size <= 0 || is_refused("malloc") ? NULL : block_new((size_t)size); }
static void *sqlite_realloc(void *memory, int size) { return is_refused("realloc") ? NULL : block_resize(memory, (size_t)size); }
static int sqlite_size(void *memory) { return memory == NULL ? 0 : (int)((struct block *)memory - 1)->size; }
static int sqlite_round_up(int size) { return (size + 7) & ~7; }
static int sqlite_begin(void *arg) { return arg == NULL ? SQLITE_OK : SQLITE_ERROR; }
static void sqlite_end(void *arg) { (void)arg; }

static struct disk *current_disk(void) { return sim_self_host()->disk; }
static const void *current_owner(void) { return sim_self(); }
static void enter(const char *call) { (void)sim_enter(call); }
static int64_t current_ms(void) { return sim_unix_us(sim_self_host()) / 1000; }

/* Single-threaded: a coroutine that is left in the middle of a call must not hold a lock against the next. No statistics: they
 * would count what went away with a process. */
void memory_begin(void)
{
    static const sqlite3_mem_methods methods = {
        sqlite_malloc, block_free, sqlite_realloc, sqlite_size, sqlite_round_up, sqlite_begin, sqlite_end, NULL,
    };
    static bool is_done;
    if (!is_done) {
        (void)mallopt(M_MMAP_THRESHOLD, 1 << 30);       /* what a process leaves is the next one's: no page is asked for twice */
        (void)mallopt(M_TRIM_THRESHOLD, INT_MAX);
        must(sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) == SQLITE_OK && sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) == SQLITE_OK);
        must(sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) == SQLITE_OK && sqlite3_initialize() == SQLITE_OK);
    }
    is_done = true;
    disk_vfs_install(&(struct disk_vfs_hooks){
        .current = current_disk, .owner = current_owner, .random = sim_random, .now_ms = current_ms, .sleep_us = sim_sleep_us,
        .enter = enter });
}
