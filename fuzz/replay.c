/* A fuzz target without a fuzzer: runs every file it is given (folders: the files in them), then mutations of them.
 *
 *     fuzz-<name> [-n mutations] [-t seconds] [-s seed] file-or-folder...
 *
 * The same seed and files give the same mutations, so a failure comes back. When the target stops the program, or an
 * input takes longer than HANG_SECONDS, the input is written to crash-<name> in the current folder, to be run again
 * by naming it. Every input stands in memory of exactly its size, so that the address sanitizer sees a byte read
 * past its end. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    MUTATIONS = 20000,
    SECONDS = 5,
    HANG_SECONDS = 10,
    INPUT_MAX = 64 * 1024,      /* mutants grow no further */
    RUN_MAX = 3000,             /* a repeated piece: past every line limit in mail */
    STEPS_MAX = 8,              /* mutations on top of each other */
    POOL = 32,                  /* mutants kept to be mutated further */
};

struct input {
    uint8_t *data;
    size_t size;
};

struct corpus {
    struct input *inputs;
    size_t count;
};

/* What is running now, for the last words. */
static struct input running;
static char crash_path[128];

static _Noreturn void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(2);
}

static void *allocate(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL)
        fail("replay", "out of memory");
    return memory;
}

static uint64_t random_state;

/* SplitMix64 */
static uint64_t random_u64(void)
{
    uint64_t value = random_state += 0x9e3779b97f4a7c15;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
}

static size_t random_below(size_t limit) { return limit == 0 ? 0 : (size_t)(random_u64() % limit); }

/* Last words: only calls that a signal handler may make. */
static void save_running(void)
{
    static const char said[] = "replay: the input is saved as ";
    int fd = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, running.data, running.size) < 0)
        return;
    close(fd);
    if (write(STDERR_FILENO, said, sizeof said - 1) < 0 || write(STDERR_FILENO, crash_path, strlen(crash_path)) < 0
        || write(STDERR_FILENO, "\n", 1) < 0)
        return;
}

static void on_signal(int signal_number)
{
    save_running();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* There when a sanitizer is linked; it then reports faults better than a handler of ours would. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

static void prepare_last_words(const char *program)
{
    const char *name = strrchr(program, '/') == NULL ? program : strrchr(program, '/') + 1;
    snprintf(crash_path, sizeof crash_path, "crash-%s", strncmp(name, "fuzz-", 5) == 0 ? name + 5 : name);
    static const int always[] = { SIGABRT, SIGALRM };
    static const int without_sanitizer[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
        signal(always[i], on_signal);
    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(save_running);
        return;
    }
    for (size_t i = 0; i < sizeof without_sanitizer / sizeof without_sanitizer[0]; i++)
        signal(without_sanitizer[i], on_signal);
}

static void run(const uint8_t *data, size_t size)
{
    uint8_t *exact = allocate(size == 0 ? 1 : size);
    if (size > 0)
        memcpy(exact, data, size);
    running = (struct input){ exact, size };
    alarm(HANG_SECONDS);
    LLVMFuzzerTestOneInput(exact, size);
    alarm(0);
    running = (struct input){ NULL, 0 };
    free(exact);
}

static void add_input(struct corpus *corpus, const void *data, size_t size)
{
    corpus->inputs = reallocarray(corpus->inputs, corpus->count + 1, sizeof *corpus->inputs);
    if (corpus->inputs == NULL)
        fail("replay", "out of memory");
    struct input *input = &corpus->inputs[corpus->count++];
    *input = (struct input){ allocate(size + 1), size };
    if (size > 0)
        memcpy(input->data, data, size);
}

static void add_file(struct corpus *corpus, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail(path, strerror(errno));
    char *data = NULL, piece[65536];
    size_t size = 0;
    for (size_t got; (got = fread(piece, 1, sizeof piece, file)) > 0; size += got) {
        data = realloc(data, size + got);
        if (data == NULL)
            fail(path, "out of memory");
        memcpy(data + size, piece, got);
    }
    if (ferror(file))
        fail(path, strerror(errno));
    fclose(file);
    add_input(corpus, data, size);
    free(data);
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static void add_folder(struct corpus *corpus, const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, is_visible, alphasort);
    if (count < 0)
        fail(path, strerror(errno));
    for (int i = 0; i < count; i++) {
        char name[4096];
        if ((size_t)snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name) >= sizeof name)
            fail(path, "name too long");
        add_file(corpus, name);
        free(entries[i]);
    }
    free(entries);
}

static void add_path(struct corpus *corpus, const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0)
        fprintf(stderr, "replay: no corpus %s: starting from nothing\n", path);
    else if (S_ISDIR(info.st_mode))
        add_folder(corpus, path);
    else
        add_file(corpus, path);
}

/* Pieces on which mail grammars turn. */
#define TOKEN(literal) { (const uint8_t *)(literal), sizeof(literal) - 1 }
static const struct token {
    const uint8_t *data;
    size_t size;
} tokens[] = {
    TOKEN("\r\n"), TOKEN("\n"), TOKEN("\r"), TOKEN("\0"), TOKEN("\r\n.\r\n"), TOKEN("\n.\n"), TOKEN("\n.\r\n"),
    TOKEN("\r\n.\n"), TOKEN("\r.\r"), TOKEN("\r\n.."), TOKEN("\r\n\r\n"), TOKEN("\r\n "), TOKEN(" "), TOKEN("\t"),
    TOKEN("\""), TOKEN("\\"), TOKEN("\\\""), TOKEN("<"), TOKEN(">"), TOKEN("<>"), TOKEN("@"), TOKEN(","), TOKEN(":"),
    TOKEN(";"), TOKEN("("), TOKEN(")"), TOKEN("()"), TOKEN("["), TOKEN("]"), TOKEN("{"), TOKEN("}"), TOKEN("*"),
    TOKEN("%"), TOKEN("="), TOKEN("=="), TOKEN("+"), TOKEN("-"), TOKEN("--"), TOKEN("."), TOKEN("~"), TOKEN("NIL"),
    TOKEN("0"), TOKEN("1"), TOKEN("-1"), TOKEN("255"), TOKEN("65536"), TOKEN("4294967295"), TOKEN("4294967296"),
    TOKEN("18446744073709551615"), TOKEN("18446744073709551616"), TOKEN("{0}\r\n"), TOKEN("{3+}\r\n"),
    TOKEN("{4294967295}\r\n"), TOKEN("=?utf-8?Q?"), TOKEN("=?utf-8?B?"), TOKEN("?="), TOKEN("=\r\n"), TOKEN("=00"),
    TOKEN("Content-Type: multipart/mixed; boundary=a\r\n"), TOKEN("\r\n--a\r\n"), TOKEN("\r\n--a--\r\n"),
    TOKEN("\x7f"), TOKEN("\x80"), TOKEN("\xc3\xa4"), TOKEN("\xc0\x80"), TOKEN("\xed\xa0\x80"), TOKEN("\xe2\x82"),
    TOKEN("\xf4\x90\x80\x80"), TOKEN("\xff"), TOKEN("\xff\xff\xff\xff"), TOKEN("\0\0\0\0"), TOKEN("\x01\0\0\0"),
};

/* The mutant under work. */
static uint8_t work[INPUT_MAX];
static size_t work_size;

static void insert(size_t at, const uint8_t *data, size_t size)
{
    if (size > INPUT_MAX - work_size)
        return;
    memmove(work + at + size, work + at, work_size - at);
    memcpy(work + at, data, size);
    work_size += size;
}

static void overwrite(size_t at, const uint8_t *data, size_t size)
{
    memcpy(work + at, data, size < work_size - at ? size : work_size - at);
}

static size_t random_place(void) { return random_below(work_size + 1); }

static void flip_bit(const struct input *other)
{
    (void)other;
    if (work_size > 0)
        work[random_below(work_size)] ^= (uint8_t)(1u << random_below(8));
}

static void set_byte(const struct input *other)
{
    (void)other;
    uint8_t byte = (uint8_t)random_u64();
    overwrite(random_place(), &byte, 1);
}

static void insert_byte(const struct input *other)
{
    (void)other;
    uint8_t byte = (uint8_t)random_u64();
    insert(random_place(), &byte, 1);
}

static void insert_token(const struct input *other)
{
    (void)other;
    const struct token *token = &tokens[random_below(sizeof tokens / sizeof tokens[0])];
    insert(random_place(), token->data, token->size);
}

static void overwrite_token(const struct input *other)
{
    (void)other;
    const struct token *token = &tokens[random_below(sizeof tokens / sizeof tokens[0])];
    overwrite(random_place(), token->data, token->size);
}

static void delete_range(const struct input *other)
{
    (void)other;
    size_t at = random_place(), size = random_below(work_size - at + 1);
    if (random_below(2) == 0 && size > 8)
        size = random_below(8);
    memmove(work + at, work + at + size, work_size - at - size);
    work_size -= size;
}

static void repeat_range(const struct input *other)
{
    (void)other;
    uint8_t piece[RUN_MAX];
    size_t at = random_place(), size = work_size - at < 64 ? work_size - at : 64;
    size = random_below(size + 1);
    size_t times = size == 0 ? 0 : 1 + random_below(random_below(8) == 0 ? RUN_MAX / size : 3), filled = 0;
    for (; times > 0 && filled + size <= sizeof piece; times--, filled += size)
        memcpy(piece + filled, work + at, size);
    insert(at, piece, filled);
}

static void truncate_end(const struct input *other)
{
    (void)other;
    work_size = random_place();
}

/* A piece of another input. */
static void splice_piece(const struct input *other)
{
    size_t from = random_below(other->size + 1), size = random_below(other->size - from + 1);
    if (random_below(2) == 0)
        insert(random_place(), other->data + from, size);
    else
        overwrite(random_place(), other->data + from, size);
}

/* The front of this and the back of another. */
static void cross(const struct input *other)
{
    work_size = random_place();
    size_t from = random_below(other->size + 1);
    insert(work_size, other->data + from, other->size - from);
}

static void (*const mutations[])(const struct input *other) = {
    flip_bit, set_byte, insert_byte, insert_token, insert_token, insert_token, overwrite_token, delete_range,
    delete_range, repeat_range, truncate_end, splice_piece, splice_piece, cross,
};

static const struct input *pick(const struct corpus *corpus, const struct corpus *pool)
{
    if (pool->count > 0 && random_below(3) == 0)
        return &pool->inputs[random_below(pool->count)];
    return &corpus->inputs[random_below(corpus->count)];
}

static void keep(struct corpus *pool)
{
    if (pool->count < POOL) {
        add_input(pool, work, work_size);
        return;
    }
    struct input *old = &pool->inputs[random_below(POOL)];
    free(old->data);
    *old = (struct input){ allocate(work_size + 1), work_size };
    memcpy(old->data, work, work_size);
}

static void mutate_once(const struct corpus *corpus, struct corpus *pool)
{
    const struct input *from = pick(corpus, pool);
    work_size = from->size < INPUT_MAX ? from->size : INPUT_MAX;
    memcpy(work, from->data, work_size);
    for (size_t steps = 1 + random_below(STEPS_MAX); steps > 0; steps--)
        mutations[random_below(sizeof mutations / sizeof mutations[0])](pick(corpus, pool));
    run(work, work_size);
    if (random_below(8) == 0)
        keep(pool);
}

static void free_corpus(struct corpus *corpus)
{
    for (size_t i = 0; i < corpus->count; i++)
        free(corpus->inputs[i].data);
    free(corpus->inputs);
}

static unsigned long long number(const char *text)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        fail(text, "not a number");
    return value;
}

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    unsigned long long wanted = MUTATIONS, seconds = SECONDS, ran = 0;
    random_state = 1;
    for (int option; (option = getopt(argc, argv, "n:t:s:")) != -1;) {
        switch (option) {
        case 'n': wanted = number(optarg); break;
        case 't': seconds = number(optarg); break;
        case 's': random_state = number(optarg); break;
        default: fail(argv[0], "usage: [-n mutations] [-t seconds] [-s seed] file-or-folder...");
        }
    }
    prepare_last_words(argv[0]);
    struct corpus corpus = { NULL, 0 }, pool = { NULL, 0 };
    add_input(&corpus, "", 0);
    for (int i = optind; i < argc; i++)
        add_path(&corpus, argv[i]);
    for (size_t i = 0; i < corpus.count; i++)
        run(corpus.inputs[i].data, corpus.inputs[i].size);
    for (double end = now_seconds() + (double)seconds; ran < wanted && (ran % 16 != 0 || now_seconds() < end); ran++)
        mutate_once(&corpus, &pool);
    fprintf(stderr, "%zu inputs, %llu mutations\n", corpus.count, ran);
    free_corpus(&corpus);
    free_corpus(&pool);
    return 0;
}
