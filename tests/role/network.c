/* Who counts as one stranger, and how long the answers to one who guesses take. */
#include "check.h"

#include "role/guesses.h"
#include "role/network.h"

static const struct { const char *sentence, *address, *network; } cases[] = {
    { "an IPv4 address is itself",                              "192.0.2.1",                "192.0.2.1" },
    { "of an IPv6 address the /64 counts",                      "2001:db8:0:1:2:3:4:5",     "2001:db8:0:1::/64" },
    { "wherever its zeros are left out",                        "2001:db8::2:3:4:5",        "2001:db8::/64" },
    { "also when they reach behind it",                         "2001:db8::5",              "2001:db8::/64" },
    { "an address within a site is no different",               "fe80::1",                  "fe80::/64" },
    { "a local peer has no address",                            "",                         "" },
    { "what is no address is itself",                           "1:2:3:4:5",                "1:2:3:4:5" },
};

int main(void)
{
    char text[NETWORK_TEXT], again[NETWORK_TEXT];
    static char longer[500];
    static struct guesses guesses;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CASE(cases[i].sentence);
        CHECK_SLICE(network_of(slice_from_str(cases[i].address), text), slice_from_str(cases[i].network));
    }
    CASE("a /64 is not another");
    CHECK(!slice_equal(network_of(SLICE("2001:db8:0:1::1"), text), network_of(SLICE("2001:db8:0:2::1"), again)));
    CASE("what is too long to be an address is cut");
    memset(longer, '1', sizeof(longer));
    CHECK_INT(network_of((struct slice){ longer, sizeof(longer) }, text).len, NETWORK_TEXT - 1);

    guesses_init(&guesses, (uint64_t[2]){ 1, 2 });
    CASE("who mistypes waits for nothing");
    for (int i = 0; i < GUESSES_FREE; i++)
        CHECK_INT(guesses_failed(&guesses, SLICE("2001:db8::1"), 1000), 0);
    CASE("who guesses waits, whichever of his addresses he uses");
    CHECK_INT(guesses_failed(&guesses, SLICE("2001:db8::ffff:1:2:3"), 1000), GUESSES_DELAY_MS);
    for (int i = 0; i < 100; i++)
        (void)guesses_failed(&guesses, SLICE("2001:db8::ffff:1:2:3"), 1000);
    CHECK_INT(guesses_failed(&guesses, SLICE("2001:db8::1"), 1000), GUESSES_DELAY_MAX_MS);
    CASE("somebody else does not");
    CHECK_INT(guesses_failed(&guesses, SLICE("192.0.2.1"), 1000), 0);
    CASE("and all is forgiven in time");
    CHECK_INT(guesses_failed(&guesses, SLICE("2001:db8::1"), 1000 + 200LL * GUESSES_FORGET_MS), 0);
    return check_done();
}
