/* Slowing down those who guess: see guesses.h. */
#include "role/guesses.h"

#include "base/map.h"
#include "role/network.h"

void guesses_init(struct guesses *guesses, const uint64_t seed[2])
{
    memset(guesses, 0, sizeof(*guesses));
    guesses->seed[0] = seed[0];
    guesses->seed[1] = seed[1];
}

int64_t guesses_failed(struct guesses *guesses, struct slice peer_address, int64_t now_ms)
{
    char network[NETWORK_TEXT];
    size_t place = (size_t)(siphash(guesses->seed, network_of(peer_address, network)) % GUESSES_SLOTS);
    int64_t forgiven = (now_ms - guesses->slot[place].since_ms) / GUESSES_FORGET_MS;
    uint32_t failures = guesses->slot[place].failures;
    failures = forgiven >= (int64_t)failures ? 0 : failures - (uint32_t)(forgiven > 0 ? forgiven : 0);
    failures++;
    guesses->slot[place].failures = failures;
    guesses->slot[place].since_ms = now_ms;
    if (failures <= GUESSES_FREE)
        return 0;
    int64_t delay = (int64_t)(failures - GUESSES_FREE) * GUESSES_DELAY_MS;
    return delay < GUESSES_DELAY_MAX_MS ? delay : GUESSES_DELAY_MAX_MS;
}
