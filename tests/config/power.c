/* The account directory when the disk fails: the power goes at every call, and every call fails once. A change that was acknowledged is
 * there afterwards, one that was refused is not, and nothing is half done. The calls are SQLite's, on a disk that forgets. */
#include "config/directory.h"
#include "config/directory_command.h"
#include "sim/disk.h"

#include "check.h"

#include <errno.h>
#include <inttypes.h>

static struct disk *disk;
static struct disk *current(void) { return disk; }

/* Each is one change. The password is not what costs time here: it is made once for each account. */
static const char *const steps[] = {
    "domain add|a.example",
    "account add|alice@a.example|secret",
    "alias add|sales@a.example|alice@a.example",
    "account quota|alice@a.example|1000000",
    "domain add|b.example",
    "alias add|sales@a.example|alice@a.example else@b.example",
    "account disable|alice@a.example",
    "alias add|@b.example|alice@a.example",
    "account enable|alice@a.example",
    "alias remove|sales@a.example",
    "account remove|alice@a.example",
    "alias remove|@b.example",
    "domain remove|b.example",
    "domain add|c.example",
};
enum { STEPS = sizeof steps / sizeof steps[0], STATE_MAX = 1 << 16 };

static void add_row(void *arg, struct slice json)
{
    struct buf *out = arg;
    buf_append(out, json);
    buf_append_byte(out, '\n');
}

static void no_row(void *arg, struct slice json) { (void)arg, (void)json; }

static enum rc run(struct directory *d, const char *line, directory_row *row, void *arg, struct fault *f)
{
    struct slice rest = slice_from_str(line), command = slice_take_until(&rest, '|');
    struct buf arguments;
    buf_init(&arguments, 4096);
    while (rest.len > 0) {
        buf_append(&arguments, slice_take_until(&rest, '|'));
        buf_append_byte(&arguments, '\0');
    }
    enum rc rc = directory_command(d, command, buf_slice(&arguments), 1700000000, row, arg, f);
    buf_free(&arguments);
    return rc;
}

/* RC_OK, or the rc of a list that could not be read. */
static enum rc write_state(struct directory *d, struct buf *out)
{
    static const char *const lists[] = { "domain list", "account list", "alias list" };
    struct fault f;
    enum rc rc = RC_OK;
    buf_clear(out);
    for (size_t i = 0; i < 3 && rc == RC_OK; i++)
        rc = run(d, lists[i], add_row, out, &f);
    uint64_t version = directory_version(d);
    if (rc == RC_OK && version == 0)
        rc = RC_TEMP;
    buf_printf(out, "version %" PRIu64 "\n", version);
    return rc;
}

static enum rc open_it(struct directory **d, struct fault *f)
{
    static struct file_ops ops;
    ops = disk_ops(disk);
    *f = (struct fault){ 0 };
    return directory_open_on(&ops, "/data/directory", d, f);
}

static void new_disk(uint64_t seed)
{
    disk = disk_new(seed, 0, false);
    CHECK_INT(disk_make_dir(disk, "/data", 0700), 0);
    disk_power_cut(disk, DISK_LOSE_NOTHING);
}

static struct buf reference[STEPS + 1];

static uint64_t run_reference(void)
{
    struct directory *d;
    struct fault f;
    CASE("with the power on");
    new_disk(1);
    CHECK_INT(open_it(&d, &f), RC_OK);
    for (size_t step = 0; step <= STEPS; step++) {
        buf_init(&reference[step], STATE_MAX);
        CHECK_INT(write_state(d, &reference[step]), RC_OK);
        if (step < STEPS)
            CHECK_INT(run(d, steps[step], no_row, NULL, &f), RC_OK);
    }
    uint64_t calls = disk_calls(disk);
    directory_close(d);
    disk_free(disk);
    return calls;
}

/* Opens what is left; it is the state after one of the steps from `from` to `to`, and it takes changes again. */
static void open_and_match(size_t from, size_t to)
{
    struct directory *d;
    struct fault f;
    struct buf state;
    enum rc rc = open_it(&d, &f);
    CHECK_INT(rc, RC_OK);
    CHECK_STR(f.text, "");
    if (rc != RC_OK)
        return;
    buf_init(&state, STATE_MAX);
    CHECK_INT(write_state(d, &state), RC_OK);
    while (from < to && !slice_equal(buf_slice(&state), buf_slice(&reference[from])))
        from++;
    CHECK_SLICE(buf_slice(&state), buf_slice(&reference[from]));
    unsigned char secret[32];
    CHECK_INT(directory_secret(d, secret, &f), RC_OK);
    CHECK_INT(run(d, "domain add|last.example", no_row, NULL, &f), RC_OK);
    buf_free(&state);
    directory_close(d);
}

/* error 0: the power goes at the call. Otherwise the call fails, and the power goes some calls later. */
static void crash_at(uint64_t call, enum disk_loss loss, int error)
{
    char sentence[80];
    struct directory *d;
    struct fault f;
    snprintf(sentence, sizeof sentence, "power off at call %" PRIu64 ", loss %d, error %d", call, (int)loss, error);
    CASE(sentence);
    new_disk(call);
    disk_plan(disk, error == 0 ? 0 : call, error, error == 0 ? call : call + 1 + call % 40);
    size_t step = 0;
    bool is_open = open_it(&d, &f) == RC_OK;
    while (is_open && step < STEPS && run(d, steps[step], no_row, NULL, &f) == RC_OK)
        step++;
    disk_plan(disk, 0, 0, 1);
    if (is_open)
        directory_close(d);
    disk_power_cut(disk, loss);
    open_and_match(step, !is_open || step == STEPS ? step : step + 1);
    disk_free(disk);
}

/* A commit that failed is undone: what follows finds the state before it, now and after a crash. */
static void fail_at(uint64_t call, int error)
{
    char sentence[80];
    struct directory *d;
    struct fault f;
    snprintf(sentence, sizeof sentence, "call %" PRIu64 " fails with %d", call, error);
    CASE(sentence);
    new_disk(call);
    disk_plan(disk, call, error, 0);
    if (open_it(&d, &f) != RC_OK) {
        CHECK(disk_failed_call(disk) != NULL);
        CHECK(f.text[0] != '\0');
        CHECK_INT(open_it(&d, &f), RC_OK);
    }
    struct buf state;
    buf_init(&state, STATE_MAX);
    for (size_t step = 0; step < STEPS; step++) {
        enum rc rc = run(d, steps[step], no_row, NULL, &f);
        if (rc != RC_OK) {
            CHECK_INT(rc, RC_TEMP);
            CHECK(disk_failed_call(disk) != NULL && f.text[0] != '\0');
            CHECK_INT(write_state(d, &state), RC_OK);
            CHECK_SLICE(buf_slice(&state), buf_slice(&reference[step]));
            CHECK_INT(run(d, steps[step], no_row, NULL, &f), RC_OK);
        }
    }
    disk_plan(disk, 0, 0, call % 2 == 0 ? 0 : 1);
    directory_close(d);
    disk_power_cut(disk, call % 2 == 0 ? DISK_LOSE_ALL : DISK_LOSE_TORN);
    open_and_match(STEPS, STEPS);
    buf_free(&state);
    disk_free(disk);
}

int main(int argc, char **argv)
{
    uint64_t every = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, cuts = 0, faults = 0;
    disk_vfs_install(&(struct disk_vfs_hooks){ .current = current });
    uint64_t calls = run_reference();
    for (uint64_t call = 1; call <= calls && check_failed < 20; call += every)
        for (enum disk_loss loss = DISK_LOSE_ALL; loss <= DISK_LOSE_NOTHING; loss++, cuts += 2) {
            crash_at(call, loss, 0);
            crash_at(call, loss, call % 3 == 0 ? -ENOSPC : -EIO);
        }
    for (uint64_t call = 1; call <= calls && check_failed < 20; call += every, faults += 2) {
        fail_at(call, -EIO);
        fail_at(call, -ENOSPC);
    }
    fprintf(stderr, "of %" PRIu64 " calls one in %" PRIu64 ": %" PRIu64 " power cuts, %" PRIu64 " failures\n", calls, every, cuts, faults);
    for (size_t i = 0; i <= STEPS; i++)
        buf_free(&reference[i]);
    return check_done();
}
