"""Only CRLF "." CRLF ends a message, both ways; nothing said before TLS counts behind it; a message whose connection breaks
off does not exist."""
import contextlib
import re
import socket
import ssl
import unittest

import thurn
from talk import Sink, Talk, mails, submission

# What other servers have taken for the end of a message (SMTP smuggling 2023, and later variations of it).
ENDS = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n.\r", b"\r.\n", b"\r\r\n.\r\n\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n",
        b"\r\n. \r\n", b"\r\n .\r\n", b"\r\n.\t\r\n", b"\r\n.\r\r\n", b"\n\n.\n\n", b"\r\r.\r\r", b"\x0b.\x0b", b"\xc2\x85.\xc2\x85",
        b"\xe2\x80\xa8.\xe2\x80\xa8", b"\r\n\x1a.\r\n", b"\r\n\x1a\r\n", b"\n.\n.\n", b"\r\n..\n", b"\r\n..\r\n"]
SMUGGLED = b"MAIL FROM:<smuggler@elsewhere.test>\r\nRCPT TO:<bob@recipient.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"


class Inbound(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(thurn.one_server())

    def tearDown(self):
        self.assertEqual(mails(self.server, "bob"), [])
        self.assertFalse([e for e in self.server.events("accepted") if "smuggler" in e["from"]])

    def transaction(self, port="smtp"):
        """A conversation up to the 354."""
        if port == "submission":
            talk = submission(self.server)
            talk.expect("MAIL FROM:<alice@recipient.test>", "250")
        else:
            talk = Talk(self.server.address, self.server.ports[port])
            talk.greet(verb="LHLO" if port == "lmtp" else "EHLO")
            talk.expect("MAIL FROM:<x@elsewhere.test>", "250")
        talk.expect("RCPT TO:<alice@recipient.test>", "250")
        return talk

    def test_data_ends_with_nothing_but_crlf_dot_crlf(self):
        for port in ("smtp", "submission", "lmtp"):
            for end in ENDS:
                with self.subTest(port=port, end=end), self.transaction(port) as talk:
                    talk.expect("DATA", "354")
                    # If `end` ended the message, what stands behind it would be answered by four replies more.
                    talk.send(b"From: alice@recipient.test\r\nSubject: carrier\r\n\r\nx" + end + SMUGGLED + b"QUIT\r\n")
                    self.assertIn(talk.reply()[:3], ("250", "550", "554", "500", "552"))
                    got = talk.reply()
                    self.assertTrue(got is None or got.startswith(("221", "500")), got)

    def test_the_same_byte_by_byte(self):
        for end in ENDS[:8]:
            with self.subTest(end=end), self.transaction() as talk:
                talk.expect("DATA", "354")
                talk.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for byte in b"Subject: carrier\r\n\r\nx" + end + SMUGGLED + b"QUIT\r\n":
                    talk.send(bytes([byte]))
                self.assertIn(talk.reply()[:3], ("250", "550", "554"))
                self.assertEqual(talk.reply()[:3], "221")

    def test_a_message_with_bare_line_ends_is_refused_not_repaired(self):
        before = len(mails(self.server, "alice"))
        for text in (b"Subject: x\n\r\nx\r\n", b"Subject: x\r\n\r\nx\ny\r\n", b"Subject: x\r\n\r\nx\ry\r\n"):
            with self.subTest(text), self.transaction() as talk:
                talk.expect("DATA", "354")
                talk.send(text + b".\r\n")
                self.assertTrue(talk.reply().startswith("5"))
                talk.expect("NOOP", "250")                              # and the conversation is where it was
        self.assertEqual(len(mails(self.server, "alice")), before)

    def test_bdat_is_as_long_as_it_says_whatever_is_in_it(self):
        for number, end in enumerate([b"\r\n.\r\n", *ENDS]):
            with self.subTest(end=end), self.transaction() as talk:
                text = b"Subject: chunk %d\r\n\r\nx" % number + end + SMUGGLED
                talk.send(b"BDAT %d LAST\r\n" % len(text) + text + b"QUIT\r\n")
                self.assertIn(talk.reply()[:3], ("250", "554", "550"))
                self.assertEqual(talk.reply()[:3], "221")
                self.assertTrue(talk.is_closed())
        kept = [m for m in mails(self.server, "alice") if b"Subject: chunk 0\r\n" in m]
        self.assertEqual(len(kept), 1)
        self.assertTrue(kept[0].endswith(b"x\r\n.\r\n" + SMUGGLED), kept[0])

    def test_commands_end_with_crlf_alone(self):
        for command in (b"NOOP\nMAIL FROM:<smuggler@elsewhere.test>\r\n", b"NOOP\rMAIL FROM:<smuggler@elsewhere.test>\r\n",
                        b"HELP\n\nRSET\n\r\n"):
            with self.subTest(command), Talk(self.server.address, self.server.ports["smtp"]) as talk:
                talk.greet()
                talk.send(command)
                self.assertTrue(talk.reply().startswith("5"))
                self.assertTrue(talk.command("RCPT TO:<bob@recipient.test>").startswith("503"))


class Outbound(unittest.TestCase):
    """What leaves: dots doubled, line ends CRLF alone, and what cannot be said so is said by BDAT or not at all."""

    @classmethod
    def setUpClass(cls):
        zones = {"data.test": ["@ MX 10 mail", "mail A 127.0.0.4"], "chunk.test": ["@ MX 10 mail", "mail A 127.0.0.5"]}
        cls.network = cls.enterClassContext(thurn.Network(servers={"sender.test": "127.0.0.2"}, zones=zones))
        cls.server = cls.network["sender.test"]
        cls.sink = cls.enterClassContext(Sink("127.0.0.4", cls.network.smtp_port))
        cls.chunk_sink = cls.enterClassContext(Sink("127.0.0.5", cls.network.smtp_port, extensions=("CHUNKING", "BINARYMIME", "8BITMIME")))

    def leave(self, recipient, text, binary=False):
        """Submits by BDAT, which takes any bytes; the last attempt's outcome, or the refusal."""
        with submission(self.server) as talk:
            talk.expect("MAIL FROM:<alice@sender.test>" + (" BODY=BINARYMIME" if binary else ""), "250")
            talk.expect(f"RCPT TO:<{recipient}>", "250")
            talk.send(b"BDAT %d LAST\r\n" % len(text) + text)
            got = talk.reply()
        if not got.startswith("250"):
            return got
        message_id = got.split()[-1]
        thurn.wait_until(lambda: not [e for e in self.server.queue() if e["id"] == message_id], "the message to leave")
        return self.server.why(message_id)["events"][-1]["outcomes"][-1]

    def test_lines_that_begin_with_dots_arrive_as_they_were(self):
        body = b".\r\n..\r\n.hidden\r\n...\r\nx.\r\n.\r\n" + SMUGGLED
        before = len(self.sink.messages)
        outcome = self.leave("x@data.test", b"From: alice@sender.test\r\nSubject: dots\r\n\r\n" + body)
        self.assertEqual(outcome["state"], "delivered")
        kept, = self.sink.messages[before:]
        self.assertTrue((b"\r\n" + kept).replace(b"\r\n..", b"\r\n.").endswith(b"\r\n\r\n" + body), kept)

    def test_bare_line_ends_never_leave_by_data(self):
        for end in ENDS:
            for binary in (False, True):
                with self.subTest(end=end, binary=binary):
                    before = len(self.sink.messages)
                    outcome = self.leave("x@data.test", b"From: alice@sender.test\r\nSubject: bare\r\n\r\nx" + end + SMUGGLED, binary)
                    for message in self.sink.messages[before:]:
                        self.assertFalse(re.search(rb"(?<!\r)\n|\r(?!\n)", message), message)
                    self.assertLessEqual(len(self.sink.messages), before + 1)
                    self.assertTrue(isinstance(outcome, str) or outcome["state"] in ("bounced", "delivered"), outcome)
        self.assertFalse([c for c in self.sink.commands if "smuggler" in c])

    def test_binary_leaves_by_bdat_as_it_is(self):
        for end in (b"\n.\n", b"\r.\r", b"\n.\r\n", b"\0\r\n.\r\n\n"):
            with self.subTest(end):
                text = b"x" + end + SMUGGLED
                before = len(self.chunk_sink.messages)
                outcome = self.leave("x@chunk.test", b"From: alice@sender.test\r\nSubject: binary\r\n\r\n" + text, binary=True)
                self.assertEqual(outcome["state"], "delivered", outcome)
                kept, = self.chunk_sink.messages[before:]
                self.assertTrue(kept.endswith(b"\r\n\r\n" + text), kept)
        self.assertFalse([c for c in self.chunk_sink.commands if "smuggler" in c])


class Injection(unittest.TestCase):
    """What was sent along with STARTTLS, in the clear, is not a command under TLS (CVE-2011-0411 and its many sisters)."""

    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(thurn.one_server())

    def upgrade_with(self, port, before, command, injected):
        """Sends command and injected in one packet; under TLS then says NOOP and gives back the first line said there."""
        talk = Talk(self.server.address, self.server.ports[port])
        self.addCleanup(talk.close)
        talk.line() if port != "smtp" and port != "submission" else talk.reply()
        for line in before:
            talk.command(line) if port in ("smtp", "submission") else (talk.send(line + "\r\n"), talk.line())
        talk.send(command + b"\r\n" + injected)
        return talk

    def test_smtp(self):
        for port in ("smtp", "submission"):
            for injected in (b"NOOP\r\n", b"EHLO injected.test\r\nMAIL FROM:<>\r\n", b"RSET\r\nRSET\r\nRSET\r\n"):
                with self.subTest(port=port, injected=injected):
                    talk = self.upgrade_with(port, ["EHLO client.test"], b"STARTTLS", injected)
                    self.assertTrue(talk.reply().startswith("220"))
                    talk.start_tls()
                    talk.expect("RCPT TO:<alice@recipient.test>", "503")        # the first answer is to the first command
                    talk.expect("MAIL FROM:<>", "503")                            # RFC 3207 4.2: no EHLO has been said yet
                    talk.expect("EHLO client.test", "250")

    def test_imap(self):
        talk = self.upgrade_with("imap", [], b"a STARTTLS", b"b LOGOUT\r\nc CAPABILITY\r\n")
        self.assertTrue(talk.line().startswith(b"a OK"))
        talk.start_tls()
        talk.send("d NOOP\r\n")
        self.assertTrue(talk.line().startswith(b"d OK"))

    def test_pop3(self):
        talk = self.upgrade_with("pop3", [], b"STLS", b"USER bob@recipient.test\r\nQUIT\r\n")
        self.assertTrue(talk.line().startswith(b"+OK"))
        talk.start_tls()
        talk.send("CAPA\r\n")
        self.assertTrue(talk.line().startswith(b"+OK"))
        talk.until(b".\r\n")
        talk.send("PASS wonderland\r\n")                                          # the injected USER is not remembered
        self.assertTrue(talk.line().startswith(b"-ERR"))

    def test_our_own_client_drops_what_a_server_says_early(self):
        """The other way round: replies sent along with the answer to STARTTLS are not the answers to commands under TLS."""
        zones = {"early.test": ["@ MX 10 mail", "mail A 127.0.0.4"]}
        with thurn.Network(servers={"sender.test": "127.0.0.2"}, zones=zones) as network:
            sender = network["sender.test"]

            def answer(verb, line, sink):
                if verb == "STARTTLS":
                    return "220 go on\r\n250-injected.test\r\n250 AUTH PLAIN\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 lost"
            with Sink("127.0.0.4", network.smtp_port, answer=answer, certificate=sender.certificate, key=sender.key) as sink:
                with submission(sender) as talk:
                    got = talk.mail("alice@sender.test", "x@early.test", text=b"From: alice@sender.test\r\nSubject: early\r\n\r\nx\r\n")
                thurn.wait_until(lambda: not sender.queue(), "the queue to be empty")
                outcome = sender.why(got.split()[-1])["events"][-1]["outcomes"][-1]
                self.assertEqual((outcome["state"], outcome["reply"]), ("delivered", "kept"))
                self.assertEqual((len(sink.messages), sink.is_secret), (1, [True]))


class BrokenOff(unittest.TestCase):
    """Connections that end in the middle of a message."""

    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(thurn.one_server())

    def body_under_way(self, port, by_bdat):
        talk = submission(self.server) if port == "submission" else Talk(self.server.address, self.server.ports[port])
        if port == "smtp":
            talk.greet()
            talk.upgrade()
        talk.expect("MAIL FROM:<alice@recipient.test>", "250")
        talk.expect("RCPT TO:<bob@recipient.test>", "250")
        text = b"From: alice@recipient.test\r\nSubject: torn\r\n\r\n" + b"half of it\r\n" * 1000
        if by_bdat:
            talk.send(b"BDAT %d LAST\r\n" % (len(text) + 1) + text)
        else:
            talk.expect("DATA", "354")
            talk.send(text)
        return talk

    def settle(self):
        """When the edges have no session any more, what was under way has been judged."""
        def is_quiet():
            return all(row["figures"]["sessions"] == 0 for row in self.server.roles() if row["role"] == "edge")
        thurn.wait_until(is_quiet, "every session to be over")

    def test_tls_closed_in_order_within_a_message_leaves_nothing(self):
        for port in ("smtp", "submission"):
            for by_bdat in (False, True):
                with self.subTest(port=port, by_bdat=by_bdat):
                    talk = self.body_under_way(port, by_bdat)
                    with contextlib.suppress(OSError):
                        talk.socket.unwrap()                                      # close_notify
                    talk.close()
                    self.settle()
                    self.assertEqual(mails(self.server, "bob"), [])

    def test_what_comes_in_the_clear_behind_the_end_of_tls_is_no_part_of_anything(self):
        """TLS ends, TCP goes on: a man in the middle says the rest (Exim 2026)."""
        for by_bdat in (False, True):
            with self.subTest(by_bdat=by_bdat):
                talk = self.body_under_way("smtp", by_bdat)
                talk.socket.settimeout(thurn.TIMEOUT)
                with contextlib.suppress(OSError, ssl.SSLError):
                    plain = talk.socket.unwrap()
                    plain.sendall(b"x\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<bob@recipient.test>\r\nDATA\r\nSubject: clear\r\n\r\n.\r\n")
                    plain.settimeout(thurn.TIMEOUT)
                    said = b""
                    while data := plain.recv(4096):
                        said += data
                    self.assertNotIn(b"250", said)
                talk.close()
                self.settle()
                self.assertEqual(mails(self.server, "bob"), [])

    def test_tcp_cut_within_a_message_leaves_nothing(self):
        for by_bdat in (False, True):
            with self.subTest(by_bdat=by_bdat):
                talk = self.body_under_way("smtp", by_bdat)
                talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                talk.close()                                                      # reset
                self.settle()
                self.assertEqual(mails(self.server, "bob"), [])

    def test_garbage_within_tls_ends_the_connection(self):
        talk = self.body_under_way("smtp", False)
        raw = socket.socket(fileno=talk.socket.detach())
        raw.settimeout(thurn.TIMEOUT)
        raw.sendall(b"\r\n.\r\nNOOP\r\n" * 10)
        with contextlib.suppress(ConnectionError):
            while raw.recv(4096):
                pass
        raw.close()
        self.settle()
        self.assertEqual(mails(self.server, "bob"), [])

    def test_a_session_in_the_clear_with_no_end_leaves_nothing(self):
        with Talk(self.server.address, self.server.ports["smtp"]) as talk:
            talk.greet()
            talk.expect("MAIL FROM:<>", "250")
            talk.expect("RCPT TO:<bob@recipient.test>", "250")
            talk.expect("DATA", "354")
            talk.send(b"Subject: torn\r\n\r\nx\r\n.")
        self.settle()
        self.assertEqual(mails(self.server, "bob"), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
