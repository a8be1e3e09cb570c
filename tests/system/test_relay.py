"""No open relay: every classic way to have this server carry mail for a stranger, on the configuration that the set-up
makes. Whatever is answered, in the end nothing may be in the queue and nothing may have been accepted for elsewhere."""
import base64
import shutil
import socket
import tempfile
import unittest

import thurn
from talk import Talk, mails, submission

DOMAIN = "recipient.test"
ELSEWHERE = "victim@elsewhere.test"
USUAL_PORTS = {"smtp": 25, "submission": 587, "submissions": 465, "imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995}

RECIPIENTS = [
    "<victim@elsewhere.test>", "<VICTIM@ELSEWHERE.TEST>", "victim@elsewhere.test", "<victim@elsewhere.test.>",
    "<postmaster@elsewhere.test>", "<alice@elsewhere.test>", "<alice+victim@elsewhere.test>",
    # percent hack
    "<victim%elsewhere.test>", "<victim%elsewhere.test@recipient.test>", "<victim%elsewhere.test@mail.recipient.test>",
    "<victim%elsewhere.test@[127.0.0.2]>", "<postmaster%elsewhere.test@recipient.test>", "<victim%elsewhere.test%recipient.test@recipient.test>",
    '<"victim%elsewhere.test">', '<"victim%elsewhere.test"@recipient.test>',
    # source routes
    "<@recipient.test:victim@elsewhere.test>", "<@mail.recipient.test:victim@elsewhere.test>", "<@[127.0.0.2]:victim@elsewhere.test>",
    "<@recipient.test,@mail.recipient.test:victim@elsewhere.test>", "<@elsewhere.test:victim@elsewhere.test>",
    "<recipient.test:victim@elsewhere.test>", "<@:victim@elsewhere.test>",
    # bang paths
    "<elsewhere.test!victim>", "<elsewhere.test!victim@recipient.test>", "<recipient.test!victim@elsewhere.test>",
    "<recipient.test!elsewhere.test!victim>", "<elsewhere.test!victim@[127.0.0.2]>",
    # quoted local parts and more than one @
    '<"victim@elsewhere.test">', '<"victim@elsewhere.test"@recipient.test>', '<"victim@elsewhere.test"@mail.recipient.test>',
    '<"victim@elsewhere.test"@[127.0.0.2]>', "<victim@elsewhere.test@recipient.test>", "<victim@recipient.test@elsewhere.test>",
    "<victim\\@elsewhere.test@recipient.test>", '<"alice@recipient.test"@elsewhere.test>', "<victim@elsewhere.test@>",
    "<@victim@elsewhere.test>", "<<victim@elsewhere.test>>", "<victim @elsewhere.test>", "<victim@elsewhere.test >",
    # address literals
    "<victim@[127.0.0.2]>", "<victim@[127.0.0.1]>", "<victim@[IPv6:::1]>", "<victim@[192.0.2.1]>", "<victim@127.0.0.2>",
    "<victim@[elsewhere.test]>",
    # hosts of no domain, and neighbours of ours
    "<victim@localhost>", "<root@localhost>", "<victim@recipient.test.elsewhere.test>", "<victim@xrecipient.test>",
    "<victim@sub.recipient.test>", "<victim@.recipient.test>", "<victim@test>", "<root>", "<victim>", "<>",
    # several in one, and what comes after
    "<alice@recipient.test,victim@elsewhere.test>", "<alice@recipient.test;victim@elsewhere.test>",
    "<alice@recipient.test> <victim@elsewhere.test>", "<alice@recipient.test><victim@elsewhere.test>",
    "<victim@elsewhere.test> ORCPT=rfc822;alice@recipient.test", "<alice@recipient.test\rRCPT TO:<victim@elsewhere.test>>",
    "<alice@recipient.test\nRCPT TO:<victim@elsewhere.test>>", "<alice@recipient.test\0@elsewhere.test>",
    "<alice@recipient.test(victim@elsewhere.test)>", "alice <victim@elsewhere.test>",
    # files and programs, which are no addresses here
    "</etc/passwd>", "<|id>", '<"|id"@recipient.test>', "<:include:/etc/passwd>", '<"/etc/passwd"@recipient.test>',
]
SENDERS = ["", "stranger@elsewhere.test", "alice@recipient.test", "postmaster@recipient.test", "root@localhost", "alice@[127.0.0.2]",
           "alice@mail.recipient.test", "victim%elsewhere.test@recipient.test"]
NAMES = ["client.test", "recipient.test", "mail.recipient.test", "localhost", "[127.0.0.2]", "[127.0.0.1]"]


def free_offset(address):
    """What to add to the usual ports so that all are free."""
    for offset in range(12000, 60000, 1000):
        try:
            for port in USUAL_PORTS.values():
                with socket.socket() as probe:
                    probe.bind((address, port + offset))
            return offset
        except OSError:
            continue
    raise AssertionError(f"no free ports on {address}")


class AsSetUp(thurn.Server):
    """A server with the configuration that `thurn setup` writes; to it a test may add."""

    def __init__(self, folder, address="127.0.0.2", more=""):
        super().__init__(folder, DOMAIN, address, protocols=())
        self.more = more

    def write_config(self):
        offset = free_offset(self.address)
        thurn.run(self.program, "setup", "--prefix", self.folder, "--listen", self.address, "--port-offset", offset, "--domain",
                  self.domain, self.host)
        self.ports = {name: port + offset for name, port in USUAL_PORTS.items()}
        text = self.config.read_text()
        if self.more:
            self.ports["lmtp"] = thurn.free_port(self.address)
            text = text.replace("listen:\n", f'listen:\n  lmtp: "{self.address}:{self.ports["lmtp"]}"\n', 1)
        self.config.write_text(text + f"\nlog:\n  format: json\n  file: {self.log_path}\n")


class NoRelay(unittest.TestCase):
    more = ""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix="thurn-test-")
        cls.addClassCleanup(shutil.rmtree, folder, True)
        cls.server = AsSetUp(folder, more=cls.more)
        cls.addClassCleanup(cls.server.stop)
        cls.server.start()
        for name in ("alice", "bob", "gone"):
            cls.server.add_account(name)
        cls.server.thurn("account", "disable", "gone@recipient.test")

    def tearDown(self):
        """The judgement of every test here."""
        self.assertEqual(self.server.queue(), [])
        self.assertEqual([e for e in self.server.events("accepted") if e["queued"] != 0], [])

    def talk(self, port="smtp", **options):
        return Talk(self.server.address, self.server.ports[port], **options)

    def refused(self, talk, line):
        got = talk.command(line)
        self.assertIsNotNone(got, f"the connection ended after {line!r}")
        self.assertEqual(got[0], "5", f"{line!r} was answered {got!r}")
        return got


class Strangers(NoRelay):
    def test_no_recipient_but_ours_whoever_sends(self):
        for sender in SENDERS:
            # One connection each: a server may hang up on a client with so many errors.
            for start in range(0, len(RECIPIENTS), 8):
                with self.talk() as talk:
                    talk.greet()
                    talk.expect(f"MAIL FROM:<{sender}>", "250")
                    for recipient in RECIPIENTS[start:start + 8]:
                        with self.subTest(sender=sender, recipient=recipient):
                            self.refused(talk, f"RCPT TO:{recipient}".encode("latin-1"))
                    self.refused(talk, "DATA")

    def test_no_name_in_ehlo_and_no_address_of_the_client_makes_a_difference(self):
        for name in NAMES:
            for source in ("127.0.0.1", "127.0.0.2", "127.0.0.9"):
                with self.subTest(name=name, source=source), self.talk(source=source) as talk:
                    talk.greet(name)
                    talk.expect(f"MAIL FROM:<alice@{DOMAIN}>", "250")
                    self.refused(talk, f"RCPT TO:<{ELSEWHERE}>")
                with self.subTest(name=name, verb="HELO"), self.talk(source=source) as talk:
                    talk.greet(name, "HELO")
                    talk.expect("MAIL FROM:<>", "250")
                    self.refused(talk, f"RCPT TO:<{ELSEWHERE}>")

    def test_tls_makes_no_difference(self):
        with self.talk() as talk:
            talk.greet()
            talk.upgrade()
            talk.expect("MAIL FROM:<>", "250")
            self.refused(talk, f"RCPT TO:<{ELSEWHERE}>")

    def test_commands_that_would_lend_another_identity_are_unknown(self):
        for line in ("XCLIENT ADDR=127.0.0.1 LOGIN=alice@recipient.test", "XFORWARD ADDR=127.0.0.1", "ETRN elsewhere.test",
                     "TURN", "ATRN elsewhere.test", f"SEND FROM:<{ELSEWHERE}>", f"SOML FROM:<{ELSEWHERE}>", "EXPN postmaster"):
            with self.subTest(line), self.talk() as talk:
                talk.greet()
                self.refused(talk, line)
                talk.expect("MAIL FROM:<>", "250")
                self.refused(talk, f"RCPT TO:<{ELSEWHERE}>")

    def test_a_claimed_login_is_none(self):
        """AUTH= of MAIL (RFC 4954 5) is what a server says about another's client: it proves nothing."""
        with self.talk() as talk:
            talk.greet()
            got = talk.command("MAIL FROM:<alice@recipient.test> AUTH=alice@recipient.test")
            if got.startswith("250"):
                self.refused(talk, f"RCPT TO:<{ELSEWHERE}>")

    def test_one_good_recipient_does_not_carry_a_bad_one_along(self):
        with self.talk() as talk:
            talk.greet()
            talk.send(f"MAIL FROM:<x@elsewhere.test>\r\nRCPT TO:<{ELSEWHERE}>\r\nRCPT TO:<alice@recipient.test>\r\n"
                      f"RCPT TO:<{ELSEWHERE}>\r\nDATA\r\n")
            self.assertEqual([talk.reply()[:3] for _ in range(5)], ["250", "550", "250", "550", "354"])
            # What the header says is nobody's route.
            talk.send(f"To: {ELSEWHERE}\r\nBcc: {ELSEWHERE}\r\nResent-To: {ELSEWHERE}\r\nSubject: x\r\n\r\nx\r\n.\r\n")
            self.assertEqual(talk.reply()[:3], "250")
        self.assertEqual(self.server.events("accepted")[-1]["mailboxes"], 1)

    def test_postmaster_and_tags_and_our_own_host_stay_here(self):
        with self.talk() as talk:
            talk.greet()
            for recipient in ("postmaster@recipient.test", "alice+victim%elsewhere.test@recipient.test", "postmaster"):
                got = talk.mail("x@elsewhere.test", recipient, text=b"Subject: ours\r\n\r\nx\r\n")
                self.assertTrue(got.startswith("250"), got)
        self.assertEqual(sum(b"Subject: ours" in m for m in mails(self.server, "alice")), 3)

    def test_vrfy_tells_nothing_to_strangers(self):
        with self.talk() as talk:
            talk.greet()
            self.assertEqual({talk.command(f"VRFY {who}")[:3] for who in ("alice", "alice@recipient.test", "nobody@recipient.test")}, {"252"})

    def test_the_port_for_servers_lets_nobody_log_in_in_the_clear(self):
        with self.talk() as talk:
            self.assertFalse([line for line in talk.greet() if line.startswith("AUTH")])
            self.refused(talk, "AUTH PLAIN " + base64.b64encode(b"\0alice@recipient.test\0wonderland").decode())
            talk.expect("MAIL FROM:<alice@recipient.test>", "250")
            self.refused(talk, f"RCPT TO:<{ELSEWHERE}>")


class Submission(NoRelay):
    def test_without_a_login_nothing(self):
        for port, tls in (("submission", False), ("submissions", True)):
            for sender in SENDERS:
                with self.subTest(port=port, sender=sender), self.talk(port, tls=tls) as talk:
                    talk.greet()
                    if not tls:
                        self.refused(talk, f"MAIL FROM:<{sender}>")
                        talk.upgrade()
                    self.assertTrue(self.refused(talk, f"MAIL FROM:<{sender}>").startswith("530"))
                    self.refused(talk, f"RCPT TO:<{ELSEWHERE}>")
                    self.refused(talk, "RCPT TO:<alice@recipient.test>")
                    self.refused(talk, "DATA")
                    self.refused(talk, "BDAT 0 LAST")

    def test_a_login_that_failed_is_none(self):
        """A wrong password, an account that is disabled, one that is not there, an empty password, another's identity."""
        for words in (b"\0alice@recipient.test\0wrong", b"\0gone@recipient.test\0wonderland", b"\0nobody@recipient.test\0wonderland",
                      b"\0alice@recipient.test\0", b"\0\0", b"bob@recipient.test\0alice@recipient.test\0wonderland",
                      b"\0alice@elsewhere.test\0wonderland", b"\0%@recipient.test\0wonderland"):
            with self.subTest(words), self.talk("submissions", tls=True) as talk:
                talk.greet()
                self.refused(talk, b"AUTH PLAIN " + base64.b64encode(words))
                self.refused(talk, "MAIL FROM:<alice@recipient.test>")

    def test_a_login_ends_with_its_connection_and_with_starttls(self):
        with submission(self.server) as talk:
            self.refused(talk, "STARTTLS")
        with self.talk("submissions", tls=True) as talk:
            talk.greet()
            self.refused(talk, "MAIL FROM:<alice@recipient.test>")

    def test_nobody_sends_as_somebody_else(self):
        for sender in ("bob@recipient.test", "postmaster@elsewhere.test", "alice@elsewhere.test", "root@recipient.test",
                       "alice@mail.recipient.test", "alice%recipient.test@elsewhere.test", '"alice@recipient.test"@elsewhere.test',
                       "alice@recipient.test.elsewhere.test", "bob+alice@recipient.test", "alice@[127.0.0.2]"):
            with self.subTest(sender), submission(self.server) as talk:
                self.assertTrue(self.refused(talk, f"MAIL FROM:<{sender}>").startswith("550 5.7.1"))
                self.refused(talk, f"RCPT TO:<{ELSEWHERE}>")

    def test_nobody_sends_with_somebody_elses_header(self):
        for header in ("From: bob@recipient.test", "From: Alice <alice@recipient.test>, bob@recipient.test",
                       'From: "alice@recipient.test" <bob@recipient.test>'):
            with self.subTest(header), submission(self.server) as talk:
                got = talk.mail("alice@recipient.test", "bob@recipient.test", text=header.encode() + b"\r\nSubject: forged\r\n\r\nx\r\n")
                self.assertEqual(got[:3], "550", got)
        with submission(self.server) as talk:
            got = talk.mail("alice@recipient.test", "bob@recipient.test",
                            text=b"From: alice@recipient.test\r\nFrom: bob@recipient.test\r\nSubject: forged\r\n\r\nx\r\n")
            self.assertEqual(got[:3], "554", got)
        self.assertFalse([m for m in mails(self.server, "bob") if b"forged" in m])


class WithLmtp(NoRelay):
    """The same configuration with LMTP, for other servers of one's own: it delivers, and it never relays."""
    more = "lmtp"

    def test_lmtp_delivers_to_mailboxes_here_and_nowhere_else(self):
        with self.talk("lmtp") as talk:
            talk.greet(verb="LHLO")
            talk.expect("MAIL FROM:<alice@recipient.test>", "250")
            talk.expect("RCPT TO:<alice@recipient.test>", "250")
            self.refused(talk, f"RCPT TO:<{ELSEWHERE}>")
        for start in range(0, len(RECIPIENTS), 8):              # a few a connection: it ends after too many errors
            with self.talk("lmtp") as talk:
                talk.greet(verb="LHLO")
                talk.expect("MAIL FROM:<alice@recipient.test>", "250")
                for recipient in RECIPIENTS[start:start + 8]:
                    with self.subTest(recipient):
                        self.refused(talk, f"RCPT TO:{recipient}".encode("latin-1"))

    def test_an_lmtp_listener_is_no_smtp(self):
        with self.talk("lmtp") as talk:
            talk.reply()
            self.refused(talk, "EHLO client.test")


del NoRelay
if __name__ == "__main__":
    unittest.main(verbosity=2)
