/* The text of a message as a function of its token, and texts held against it; reports (RFC 3464) and whom they are about. */
#include "sim/truth_inner.h"

#include <stdio.h>
#include <stdlib.h>

enum { TEXT_MAX = 8 * 1024 * 1024 };

static uint64_t roll(uint64_t *state)           /* splitmix64 */
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* A line of the body: words, and now and then what has made servers stumble. */
static void write_line(struct buf *out, uint64_t *state)
{
    static const char *const odd[] = { "", ".", "..", ".leads with a dot", "From here on", " ", "\t", "--", "X-Token: not one", "a=20b=" };
    uint64_t r = roll(state);
    if (r % 8 == 0) {
        (void)buf_append_str(out, odd[(r >> 8) % (sizeof odd / sizeof odd[0])]);
    } else {
        for (unsigned words = 1 + (unsigned)(r >> 8) % 12; words > 0; words--) {
            uint64_t word = roll(state);
            for (unsigned letters = 1 + (unsigned)(word % 9); letters > 0; letters--, word >>= 5)
                (void)buf_append_byte(out, (char)('a' + (word >> 8) % 26));
            (void)buf_append_byte(out, ' ');
        }
    }
    (void)buf_append_str(out, "\r\n");
}

static bool write_text(const struct truth_message *message, struct buf *out)
{
    uint64_t state = message->token;
    (void)buf_printf(out, "X-Token: %016llx\r\nFrom: <%s>\r\nSubject: %llx\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <%016llx@sim.example>\r\n"
                     "MIME-Version: 1.0\r\n\r\n",
                     (unsigned long long)message->token, *message->from != '\0' ? message->from : "nobody@sim.example",
                     (unsigned long long)roll(&state) & 0xffff, (unsigned long long)message->token);
    size_t head = buf_len(out);
    while (buf_len(out) - head < message->size && !out->overflow)
        write_line(out, &state);
    return !out->overflow;
}

bool truth_message_text(const struct truth *t, uint64_t token, struct buf *out)
{
    const struct truth_message *message = truth_message_find(t, token);
    return message != NULL && write_text(message, out);
}

/* Where the field's line begins; text.len: nowhere. */
static size_t find_field(struct slice text)
{
    if (slice_starts_nocase(text, SLICE("X-Token: ")))
        return 0;
    size_t at = slice_find(text, SLICE("\nX-Token: "));
    return at < text.len ? at + 1 : at;
}

static uint64_t first_token(struct slice text)
{
    size_t at = find_field(text);
    char digits[17];
    if (at == text.len || !slice_to_str(slice_sub(text, at + 9, 16), digits, sizeof digits))
        return 0;
    char *end;
    uint64_t token = strtoull(digits, &end, 16);
    return end == digits + 16 ? token : 0;
}

static bool is_report(struct slice text)
{
    struct slice head = slice_sub(text, 0, slice_find(text, SLICE("\r\n\r\n")));
    return slice_find_nocase(head, SLICE("multipart/report")) < head.len;
}

/* FNV-1a: reports are told apart by what they say. */
static uint64_t name_of_report(struct slice text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (unsigned char)text.ptr[i]) * 0x100000001b3u;
    return hash;
}

uint64_t truth_token_of(struct slice text)
{
    uint64_t token = is_report(text) ? 0 : first_token(text);
    return token != 0 ? token : name_of_report(text);
}

/* ---- held against what was sent ------------------------------------------------------------------------------------------ */

/* Before our first field only trace fields may stand (RFC 5321 4.4), each with its folded lines. */
static bool is_trace(struct slice head, char what[80])
{
    while (head.len > 0) {
        struct slice line = slice_take_until(&head, '\n');
        bool is_folded = line.len > 0 && byte_is_space((unsigned char)line.ptr[0]);
        if (is_folded || slice_starts_nocase(line, SLICE("Received: ")) || slice_starts_nocase(line, SLICE("Return-Path: ")))
            continue;
        (void)snprintf(what, 80, "%.*s", line.len < 70 ? (int)line.len : 70, line.ptr);
        return false;
    }
    return true;
}

static size_t first_difference(struct slice a, struct slice b)
{
    size_t at = 0;
    while (at < a.len && at < b.len && a.ptr[at] == b.ptr[at])
        at++;
    return at;
}

void truth_text_check(struct truth *t, const struct truth_message *message, struct slice text, bool is_bare, const char *where)
{
    unsigned long long token = (unsigned long long)message->token;
    t->figures.texts++;
    size_t at = find_field(text);
    char what[80];
    if (is_bare && at > 0)
        truth_broken(t, "altered: message %016llx at %s was appended by a client and has %zu bytes before it", token, where, at);
    else if (!is_trace(slice_sub(text, 0, at), what))
        truth_broken(t, "altered: message %016llx at %s has a line \"%s\" before it that is no trace field", token, where, what);
    struct buf want;
    buf_init(&want, TEXT_MAX);
    (void)write_text(message, &want);
    struct slice got = slice_sub(text, at, text.len - at);
    if (!slice_equal(got, buf_slice(&want)))
        truth_broken(t, "altered: message %016llx at %s: %zu bytes instead of %zu, other from byte %zu on", token, where, got.len,
                     buf_len(&want), first_difference(got, buf_slice(&want)));
    buf_free(&want);
}

/* ---- reports --------------------------------------------------------------------------------------------------------------- */

static void told_of(struct truth *t, struct truth_message *message, struct slice address_text, struct slice action, const char *receiver)
{
    char address[300];
    if (!slice_to_str(address_text, address, sizeof address))
        return;
    struct truth_owed *owed = truth_owed_find(message, address);
    if (owed == NULL) {
        truth_broken(t, "misplaced: %s got a report on message %016llx for %s, who is no recipient of it", receiver,
                     (unsigned long long)message->token, address);
        return;
    }
    if (!slice_equal_nocase(action, SLICE("failed")))
        return;
    t->figures.bounced++;
    if (owed->failed++ > 0 && truth_disturbances(t, owed) == 0 && !truth_was_disturbed(t, message))
        truth_broken(t, "doubled: %s was told twice that message %016llx did not come to %s", receiver, (unsigned long long)message->token, address);
}

static struct slice value_of(struct slice line)
{
    (void)slice_take_until(&line, ':');
    return slice_trim(line);
}

/* Each recipient's group: Final-Recipient stands before Action in it (RFC 3464 2.3). */
static void read_groups(struct truth *t, struct truth_message *message, struct slice text, const char *receiver)
{
    struct slice address = SLICE_NONE;
    while (text.len > 0) {
        struct slice line = slice_take_until(&text, '\n');
        if (slice_starts_nocase(line, SLICE("Final-Recipient:"))) {
            address = value_of(line);
            (void)slice_take_until(&address, ';');
            address = slice_trim(address);
        } else if (slice_starts_nocase(line, SLICE("Action:")) && address.len > 0) {
            told_of(t, message, address, value_of(line), receiver);
            address = SLICE_NONE;
        } else if (slice_starts_nocase(line, SLICE("X-Token:"))) {
            return;
        }
    }
}

void truth_report_check(struct truth *t, const char *receiver, struct slice text, bool counts)
{
    t->figures.texts++;
    uint64_t token = first_token(text);
    struct truth_message *message = truth_message_find(t, token);
    if (message == NULL) {
        truth_broken(t, "altered: %s has a message of %zu bytes without a token of ours, and no report on one", receiver, text.len);
        return;
    }
    if (!slice_equal_nocase(slice_from_str(message->from), slice_from_str(receiver)))
        truth_broken(t, "misplaced: %s got a report on message %016llx of %s", receiver, (unsigned long long)token, message->from);
    if (!is_report(text))
        truth_broken(t, "altered: %s has message %016llx with other bytes before its header", receiver, (unsigned long long)token);
    else if (counts)
        read_groups(t, message, text, receiver);
}
