/* Frames: what is written is what is parsed, whatever else arrives closes the channel. */
#include "check.h"

#include "role/frame.h"

#include <stdlib.h>

/* One frame of a type, with values that depend on the field's place. */
static char long_bytes[600];

static bool write_numbers(struct buf *out)
{
    return frame_write(out, FRAME_CHANNEL, 7, (uint64_t)3, UINT64_MAX);
}

static void check_round_trip(void)
{
    struct buf out;
    struct frame *frame = calloc(1, sizeof(*frame));
    struct fault fault, refusal;
    buf_init(&out, FRAME_MAX * 2);
    CASE("numbers keep all their bits, the session its own");
    CHECK(write_numbers(&out));
    struct slice in = buf_slice(&out);
    CHECK_INT(frame_parse(&in, frame, &fault), RC_OK);
    CHECK_INT(in.len, 0);
    CHECK_INT(frame->type, FRAME_CHANNEL);
    CHECK_INT(frame->session, 7);
    CHECK_INT(frame->count, 2);
    CHECK(frame->field[0].number == 3 && frame->field[1].number == UINT64_MAX && frame->fd == -1);

    CASE("bytes keep every byte, and may be none");
    buf_clear(&out);
    CHECK(frame_write(&out, FRAME_CONTROL, UINT32_MAX, SLICE("a\0b\r\n\xff"), SLICE_NONE));
    in = buf_slice(&out);
    CHECK_INT(frame_parse(&in, frame, &fault), RC_OK);
    CHECK_SLICE(frame->field[0].bytes, SLICE("a\0b\r\n\xff"));
    CHECK_INT(frame->field[1].bytes.len, 0);
    CHECK(frame->session == UINT32_MAX);

    CASE("an outcome keeps its rc, status and text");
    buf_clear(&out);
    (void)fault_temp(&refusal, ESC(4, 2, 2), "the mailbox is full");
    CHECK(frame_write(&out, FRAME_MAIL_ANSWER, 1, &refusal, SLICE("id")));
    in = buf_slice(&out);
    CHECK_INT(frame_parse(&in, frame, &fault), RC_OK);
    CHECK_INT(frame->field[0].fault.rc, RC_TEMP);
    CHECK(frame->field[0].fault.esc == ESC(4, 2, 2));
    CHECK_STR(frame->field[0].fault.text, "the mailbox is full");
    CHECK_SLICE(frame->field[1].bytes, SLICE("id"));

    CASE("frames stand one behind the other");
    buf_clear(&out);
    for (int i = 0; i < 10; i++)
        CHECK(frame_write(&out, FRAME_TICKET_END, (uint32_t)i, (uint64_t)i));
    in = buf_slice(&out);
    for (uint64_t i = 0; i < 10; i++) {
        CHECK_INT(frame_parse(&in, frame, &fault), RC_OK);
        CHECK(frame->session == i && frame->field[0].number == i);
    }
    CHECK_INT(frame_parse(&in, frame, &fault), RC_MORE);
    buf_free(&out);
    free(frame);
}

static void check_pieces(void)
{
    struct buf out;
    struct frame *frame = calloc(1, sizeof(*frame));
    struct fault fault;
    buf_init(&out, 4096);
    (void)frame_write(&out, FRAME_SIGN, 9, (uint64_t)1, (uint64_t)2, (uint64_t)3, SLICE("digest"));
    CASE("a torn frame wants more and takes nothing");
    for (size_t len = 0; len < buf_len(&out); len++) {
        struct slice in = slice_sub(buf_slice(&out), 0, len);
        CHECK_INT(frame_parse(&in, frame, &fault), RC_MORE);
        CHECK_INT(in.len, len);
    }
    CASE("a frame with a byte changed is parsed or refused, and never reads outside of itself");
    for (size_t at = 4; at < buf_len(&out); at++)
        for (int bit = 0; bit < 8; bit++) {
            char *copy = malloc(buf_len(&out));
            memcpy(copy, buf_slice(&out).ptr, buf_len(&out));
            copy[at] = (char)(copy[at] ^ (1 << bit));
            struct slice in = { copy, buf_len(&out) };
            enum rc rc = frame_parse(&in, frame, &fault);
            CHECK(rc == RC_OK || rc == RC_PERM);
            free(copy);
        }
    buf_free(&out);
    free(frame);
}

static const struct {
    const char *sentence;
    struct slice bytes;
} malformed[] = {
    { "a frame of no length",                        SLICE_INIT("\0\0\0\0") },
    { "a frame shorter than its head",               SLICE_INIT("\5\0\0\0" "\7\0\0\0\0") },
    { "a frame longer than any may be",              SLICE_INIT("\1\0\20\0") },
    { "a length of all ones",                        SLICE_INIT("\377\377\377\377") },
    { "type nought",                                 SLICE_INIT("\6\0\0\0" "\0\0" "\0\0\0\0") },
    { "a type that is not",                          SLICE_INIT("\6\0\0\0" "\377\377" "\0\0\0\0") },
    { "a missing field",                             SLICE_INIT("\6\0\0\0" "\1\0" "\0\0\0\0") },
    { "bytes longer than the frame",                 SLICE_INIT("\12\0\0\0" "\1\0" "\0\0\0\0" "\1\0\0\0") },
    { "bytes longer than all memory",                SLICE_INIT("\12\0\0\0" "\1\0" "\0\0\0\0" "\377\377\377\377") },
    { "something behind the last field",             SLICE_INIT("\13\0\0\0" "\1\0" "\0\0\0\0" "\0\0\0\0" "x") },
};

static void check_malformed(void)
{
    struct frame *frame = calloc(1, sizeof(*frame));
    struct fault fault;
    struct buf out;
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        struct slice in = malformed[i].bytes;
        CASE(malformed[i].sentence);
        CHECK_INT(frame_parse(&in, frame, &fault), RC_PERM);
        CHECK(fault.text[0] != '\0');
    }
    CASE("an outcome that is none");
    buf_init(&out, 4096);
    struct fault fine = { .rc = RC_OK };
    (void)frame_write(&out, FRAME_RCPT_ANSWER, 1, &fine);
    out.data[out.start + 10] = 77;
    struct slice in = buf_slice(&out);
    CHECK_INT(frame_parse(&in, frame, &fault), RC_PERM);
    buf_free(&out);
    free(frame);
}

static void check_limits(void)
{
    struct buf out;
    struct frame *frame = calloc(1, sizeof(*frame));
    struct fault fault;
    char *large = calloc(1, FRAME_MAX);
    CASE("the largest frame goes through, the next larger is not written");
    buf_init(&out, 4 * FRAME_MAX);
    (void)buf_append_str(&out, "before");
    CHECK(frame_write(&out, FRAME_CONFIG, 1, ((struct slice){ large, FRAME_MAX - 10 })));
    CHECK(!frame_write(&out, FRAME_CONFIG, 1, ((struct slice){ large, FRAME_MAX - 9 })));
    buf_consume(&out, 6);
    struct slice in = buf_slice(&out);
    CHECK_INT(frame_parse(&in, frame, &fault), RC_OK);
    CHECK_INT(in.len, 0);
    buf_free(&out);
    CASE("what does not fit the buffer leaves no half of itself");
    buf_init(&out, 100);
    (void)frame_write(&out, FRAME_TICKET_END, 1, (uint64_t)1);
    size_t before = buf_len(&out);
    CHECK(!frame_write(&out, FRAME_CONFIG, 1, ((struct slice){ large, 200 })));
    CHECK_INT(buf_len(&out), before);
    buf_free(&out);
    CASE("a text longer than a fault holds is cut, not refused");
    buf_init(&out, 4096);
    memset(long_bytes, 'x', sizeof(long_bytes));
    (void)buf_append_u32(&out, 6 + 1 + 4 + 4 + sizeof(long_bytes));
    (void)buf_append_byte(&out, (char)FRAME_FAILED);
    (void)buf_append_byte(&out, 0);
    (void)buf_append_u32(&out, 0);
    (void)buf_append_byte(&out, RC_PERM);
    (void)buf_append_u32(&out, 0);
    (void)buf_append_u32(&out, sizeof(long_bytes));
    (void)buf_append(&out, (struct slice){ long_bytes, sizeof(long_bytes) });
    in = buf_slice(&out);
    CHECK_INT(frame_parse(&in, frame, &fault), RC_OK);
    CHECK_INT(strlen(frame->field[0].fault.text), FAULT_TEXT_MAX - 1);
    buf_free(&out);
    free(large);
    free(frame);
}

int main(void)
{
    check_round_trip();
    check_pieces();
    check_malformed();
    check_limits();
    CASE("every type has its name");
    for (enum frame_type type = FRAME_CONFIG; type < FRAME_TYPES; type++)
        CHECK(strncmp(frame_name(type), "FRAME_", 6) == 0);
    CHECK_STR(role_name(ROLE_EDGE), "edge");
    CHECK(frame_carries_fd(FRAME_OPEN) && !frame_carries_fd(FRAME_MAIL));
    return check_done();
}
