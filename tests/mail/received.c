/* Trace headers. */
#include "mail/received.h"

#include "check.h"

static void check_received(void)
{
    struct address to = { .local_part = SLICE("u"), .domain = SLICE("example.org") };
    struct received r = {
        .helo = SLICE("mx.example.net"), .peer_address = SLICE("192.0.2.1"), .peer_name = SLICE("host.example.net"),
        .by = SLICE("mail.example.org"), .with = SLICE("ESMTPS"), .id = SLICE("abc123"), .for_path = &to,
        .tls_version = SLICE("TLSv1.3"), .tls_cipher = SLICE("TLS_AES_256_GCM_SHA384"),
        .date = { 1795330048, 60 },
    };
    struct buf out;

    buf_init(&out, 1024);
    CASE("a Received field says all that is known");
    CHECK(received_write(&r, &out));
    CHECK_SLICE(buf_slice(&out),
                SLICE("Received: from mx.example.net (host.example.net [192.0.2.1])\r\n"
                      "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n"
                      "\tby mail.example.org with ESMTPS id abc123\r\n"
                      "\tfor <u@example.org>;\r\n"
                      "\tSun, 22 Nov 2026 07:47:28 +0100\r\n"));
    buf_clear(&out);
    CASE("what is not known is not said");
    r.peer_name = r.tls_version = r.helo = SLICE_NONE;
    r.peer_address = SLICE("2001:db8::1");
    r.for_path = NULL;
    CHECK(received_write(&r, &out));
    CHECK_SLICE(buf_slice(&out),
                SLICE("Received: from unknown ([IPv6:2001:db8::1])\r\n"
                      "\tby mail.example.org with ESMTPS id abc123;\r\n"
                      "\tSun, 22 Nov 2026 07:47:28 +0100\r\n"));
    buf_clear(&out);
    CASE("a name from outside cannot end its line, its word or its comment");
    r.peer_name = SLICE("a)\r\nBcc: x\0(;");
    CHECK(received_write(&r, &out));
    CHECK_SLICE(slice_sub(buf_slice(&out), 0, 63), SLICE("Received: from unknown (a???Bcc:?x??? [IPv6:2001:db8::1])\r\n\tby "));
    buf_clear(&out);
    CASE("Return-Path");
    struct address null = { .is_null = true };
    CHECK(return_path_write(&to, &out) && return_path_write(&null, &out));
    CHECK_SLICE(buf_slice(&out), SLICE("Return-Path: <u@example.org>\r\nReturn-Path: <>\r\n"));
    buf_free(&out);
}

static void check_protocols(void)
{
    CASE("the protocol names of RFC 3848 and RFC 6531");
    CHECK_STR(received_protocol(false, false, false, false, false), "SMTP");
    CHECK_STR(received_protocol(false, true, false, false, false), "ESMTP");
    CHECK_STR(received_protocol(false, true, false, true, true), "ESMTPSA");
    CHECK_STR(received_protocol(false, true, true, true, false), "UTF8SMTPS");
    CHECK_STR(received_protocol(true, true, false, false, false), "LMTP");
    CHECK_STR(received_protocol(true, true, true, true, true), "UTF8LMTPSA");
}

int main(void)
{
    check_received();
    check_protocols();
    return check_done();
}
