/* Time and randomness, as a simulated process sees them; and what takes long on purpose or by its size. */
#include "sim/inner.h"
#include "sim/wrap.h"

#include "sasl/scram.h"
#include "store/store.h"

#include <errno.h>
#include <string.h>
#include <time.h>

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    struct sim_host *host = sim_self_host();
    int64_t us = clock == CLOCK_REALTIME ? sim_unix_us(host) : sim_monotonic_us(host);
    now->tv_sec = us / 1000000;
    now->tv_nsec = us % 1000000 * 1000;
    return 0;
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
    int error = sim_enter("nanosleep");
    if (left != NULL)
        *left = *time;
    if (error != 0)
        return (int)call_result(-error);
    sim_sleep_us((int64_t)time->tv_sec * 1000000 + time->tv_nsec / 1000);
    return 0;
}

ssize_t __wrap_getrandom(void *out, size_t len, unsigned flags)
{
    int error = sim_enter("getrandom");
    (void)flags;
    if (error != 0)
        return call_result(-error);
    for (size_t at = 0; at < len; at += sizeof(uint64_t)) {
        uint64_t word = sim_random();
        memcpy((char *)out + at, &word, len - at < sizeof(word) ? len - at : sizeof(word));
    }
    return (ssize_t)len;
}

void __wrap_tzset(void) { }

/* Thousands of iterations are there to take time, of which there is none here: whatever number is agreed, a few are done. */
bool __wrap_scram_salted_password(struct slice password, struct slice salt, uint32_t iterations, struct scram_key *key)
{
    return scram_salted_password(password, salt, iterations < 4 ? iterations : 4, key);
}

/* Small segments: a start reads less, and the ends of segments are passed often. */
enum rc __wrap_store_open(const struct store_options *options, struct store **store, struct fault *fault)
{
    struct store_options own = *options;
    if (own.segment_bytes == 0)
        own.segment_bytes = sim_self_host()->segment_bytes;
    return store_open(&own, store, fault);
}
