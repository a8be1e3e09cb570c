/* The simulated name service, asked as the server asks: through src/dns. */
#include "check.h"
#include "fake_kernel.h"

#include "dns/dns.h"
#include "sim/net.h"

enum { SECOND = 1000 * 1000 };

static struct sim_host host = { .name = "here", .addresses = { "192.0.2.1" }, .is_up = true };

struct told {
    unsigned times;
    enum rc rc;
    bool is_nxdomain;
    size_t count;
    uint16_t preference;
    char name[256], address[46], text[600];
};

static void on_answer(void *arg, const struct dns_answer *answer)
{
    struct told *told = arg;
    told->times++;
    told->rc = answer->rc;
    told->is_nxdomain = answer->is_nxdomain;
    told->count = answer->count;
    if (answer->count == 0)
        return;
    (void)slice_to_str(answer->records[0].name, told->name, sizeof(told->name));
    (void)slice_to_str(answer->records[0].data, told->text, sizeof(told->text));
    (void)snprintf(told->address, sizeof(told->address), "%s", answer->records[0].address);
    told->preference = answer->records[0].preference;
}

static struct dns *begin(uint64_t seed)
{
    static const char *const servers[] = { "127.0.0.1@53" };
    struct dns *dns;
    struct fault fault;
    fake_begin(seed, &host);
    net_begin();
    dns_clear();
    dns_set("example.org", "MX", "10 mail.example.org");
    dns_set("mail.example.org", "A", "192.0.2.25");
    dns_set("mail.example.org", "AAAA", "2001:db8::25");
    dns_set("www.example.org", "CNAME", "mail.example.org");
    dns_set("one.example.org", "CNAME", "two.example.org");
    dns_set("two.example.org", "CNAME", "one.example.org");
    dns_set("25.2.0.192.in-addr.arpa", "PTR", "mail.example.org");
    dns_set("example.org", "TXT", "v=spf1 mx -all");
    must(dns_open(&(struct dns_options){ .servers = servers, .server_count = 1 }, &dns, &fault) == RC_OK);
    return dns;
}

static void ask(struct dns *dns, const char *name, enum dns_type type, int64_t seconds, struct told *told)
{
    *told = (struct told){ .times = 0 };
    uint32_t number = dns_query(dns, slice_from_str(name), type, on_answer, told);
    must(number != 0);
    CHECK_INT(told->times, 0);
    for (int64_t end = sim_now_us() + seconds * SECOND; sim_now_us() < end && told->times == 0;) {
        fake_run(sim_now_us() + 1000);
        struct sim_file *bell = sim_fd(dns_fd(dns));
        if (bell->ops->ready(bell) & SIM_READABLE)
            dns_process(dns);
    }
    dns_cancel(dns, number);
}

static void answers(void)
{
    struct dns *dns = begin(1);
    struct told told;
    CASE("records of every type that mail asks for come as they were set");
    ask(dns, "example.org", DNS_MX, 1, &told);
    CHECK_INT(told.rc, RC_OK);
    CHECK_INT(told.preference, 10);
    CHECK_STR(told.name, "mail.example.org");
    ask(dns, "Mail.Example.org", DNS_A, 1, &told);
    CHECK_STR(told.address, "192.0.2.25");
    ask(dns, "mail.example.org", DNS_AAAA, 1, &told);
    CHECK_STR(told.address, "2001:db8::25");
    ask(dns, "25.2.0.192.in-addr.arpa", DNS_PTR, 1, &told);
    CHECK_STR(told.name, "mail.example.org");
    ask(dns, "example.org", DNS_TXT, 1, &told);
    CHECK_STR(told.text, "v=spf1 mx -all");
    CASE("a CNAME is followed, a loop of them is a failure");
    ask(dns, "www.example.org", DNS_A, 1, &told);
    CHECK_STR(told.address, "192.0.2.25");
    ask(dns, "one.example.org", DNS_A, 1, &told);
    CHECK_INT(told.rc, RC_TEMP);
    CASE("no such name, no such record");
    ask(dns, "nobody.example.org", DNS_A, 1, &told);
    CHECK_INT(told.rc, RC_NONE);
    CHECK(told.is_nxdomain);
    ask(dns, "example.org", DNS_AAAA, 1, &told);
    CHECK_INT(told.rc, RC_NONE);
    CHECK(!told.is_nxdomain);
    CASE("what is changed is answered anew");
    dns_remove("mail.example.org", "A");
    dns_set("mail.example.org", "A", "192.0.2.26");
    ask(dns, "mail.example.org", DNS_A, 1, &told);
    CHECK_STR(told.address, "192.0.2.26");
    dns_close(dns);
}

static void moods(void)
{
    struct dns *dns = begin(2);
    struct told told;
    unsigned answered = 0, silent = 0, lied = 0;
    CASE("a mood is for the zone and what is below it");
    dns_set_mood("example.org", DNS_SERVFAIL);
    ask(dns, "mail.example.org", DNS_A, 1, &told);
    CHECK_INT(told.rc, RC_TEMP);
    ask(dns, "25.2.0.192.in-addr.arpa", DNS_PTR, 1, &told);
    CHECK_INT(told.rc, RC_OK);
    CASE("the closest zone counts");
    dns_set_mood("mail.example.org", DNS_WELL);
    ask(dns, "mail.example.org", DNS_A, 1, &told);
    CHECK_INT(told.rc, RC_OK);
    dns_set_mood("mail.example.org", DNS_SILENT);
    CASE("silence lasts minutes, or for ever");
    for (unsigned i = 0; i < 20; i++) {
        ask(dns, "mail.example.org", DNS_A, 30, &told);
        CHECK_INT(told.times, 0);
        ask(dns, "mail.example.org", DNS_A, 600, &told);
        answered += told.times == 1 && told.rc == RC_TEMP;
        silent += told.times == 0;
    }
    CHECK(answered > 0 && silent > 0);
    CASE("lies are answers of every kind");
    dns_set_mood("mail.example.org", DNS_LIES);
    for (unsigned i = 0; i < 40; i++) {
        ask(dns, "mail.example.org", DNS_AAAA, 1, &told);
        CHECK_INT(told.times, 1);
        lied |= told.rc == RC_OK ? 1 : told.rc == RC_TEMP ? 2 : told.is_nxdomain ? 4 : 8;
    }
    CHECK_INT(lied, 15);
    CASE("what nobody waits for any more goes with its asker");
    dns_close(dns);
}

int main(void)
{
    answers();
    moods();
    fake_begin(3, &host);
    net_begin();
    dns_clear();
    return check_done();
}
