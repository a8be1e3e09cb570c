/* Frames from a role that somebody has taken over: parsed or refused, never read outside of, and what is parsed can be
 * written again as it was. The numbers, bytes and outcomes of a parsed frame are all touched. */
#include "fuzz.h"

#include "role/frame.h"

#include <stdlib.h>

static uint64_t touch(const struct frame *frame)
{
    uint64_t sum = frame->session;
    for (size_t i = 0; i < frame->count; i++) {
        sum += frame->field[i].number;
        for (size_t k = 0; k < frame->field[i].bytes.len; k++)
            sum += (unsigned char)frame->field[i].bytes.ptr[k];
        sum += strlen(frame->field[i].fault.text);
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = { (const char *)data, size };
    struct frame *frame = calloc(1, sizeof(*frame));
    struct fault fault;
    volatile uint64_t sink = 0;
    must(frame != NULL);
    for (;;) {
        size_t before = in.len;
        enum rc rc = frame_parse(&in, frame, &fault);
        must(rc == RC_OK || rc == RC_MORE || rc == RC_PERM);
        must(rc == RC_OK ? in.len < before : in.len == before);
        if (rc != RC_OK)
            break;
        must(frame->type > FRAME_NONE && frame->type < FRAME_TYPES && frame->count <= FRAME_FIELDS_MAX && frame->fd == -1);
        sink = sink + touch(frame);
    }
    free(frame);
    return 0;
}
