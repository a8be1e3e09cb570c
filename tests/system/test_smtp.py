"""Mail between two servers over DNS, submitted by other people's clients; queue, routing, reports, the directory."""
import email
import email.policy
import json
import re
import smtplib
import threading
import unittest

import thurn
from talk import Sink, Talk, mails, submission, submit, tls_client_context, wait_mails

TEXT = "From: {}\r\nTo: bob@recipient.test\r\nSubject: {}\r\n\r\nhello\r\n"


def text(subject="x", sender="alice@sender.test"):
    return TEXT.format(sender, subject).encode()


def parse(message):
    return email.message_from_bytes(message, policy=email.policy.default)


def parts_of_report(message):
    """Of a DSN: (plain text, per-message fields, fields of each recipient, the returned message or headers)."""
    whole = parse(message)
    assert whole.get_content_type() == "multipart/report" and whole.get_param("report-type") == "delivery-status", whole
    plain, status, returned = whole.iter_parts()
    groups = [dict(group) for group in status.get_payload()]
    return plain.get_content(), groups[0], groups[1:], returned


class TwoServers(unittest.TestCase):
    """A network for all tests of a class; what a test needs beyond the usual stands in `options`."""
    options = {}
    zones = {}

    @classmethod
    def setUpClass(cls):
        cls.network = thurn.Network(zones=cls.zones, **cls.options)
        cls.addClassCleanup(cls.network.close)
        cls.sender = cls.network["sender.test"]
        cls.recipient = cls.network["recipient.test"]

    def subject_arrives(self, subject, server=None, user="bob"):
        """The message with this subject, when it is there."""
        server = server or self.recipient

        def look():
            found = [m for m in mails(server, user) if parse(m)["Subject"] == subject]
            return found[0] if found else None
        return thurn.wait_until(look, f"{subject!r} in the mailbox of {user} at {server.domain}")

    def wait_done(self, message_id, server=None):
        """The history of a message when nothing of it is in the queue any more."""
        server = server or self.sender
        thurn.wait_until(lambda: not [e for e in server.queue() if e["id"] == message_id], f"{message_id} to leave the queue")
        return server.why(message_id)


class Submission(TwoServers):
    """Each client submits over TLS with a password, and bob at the other server gets the message."""

    def swaks(self, subject, *options, port="submission"):
        return thurn.run("swaks", "--server", f"{self.sender.address}:{self.sender.ports[port]}", "--from", "alice@sender.test",
                         "--to", "bob@recipient.test", "--auth-user", "alice@sender.test", "--auth-password", thurn.PASSWORD,
                         "--h-Subject", subject, "--body", "hello", *options).stdout

    def test_swaks_with_starttls_and_each_mechanism(self):
        for mechanism in ("PLAIN", "LOGIN"):
            subject = f"swaks starttls {mechanism}"
            with self.subTest(subject):
                said = self.swaks(subject, "--tls", "--auth", mechanism)
                self.assertIn("=== TLS started", said)
                self.assertIn("235", said)
                self.subject_arrives(subject)

    def test_swaks_with_tls_from_the_start(self):
        self.swaks("swaks tls", "--tls-on-connect", "--auth", "PLAIN", port="submissions")
        self.subject_arrives("swaks tls")

    def test_swaks_with_a_wrong_password_is_refused(self):
        done = thurn.run("swaks", "--server", f"{self.sender.address}:{self.sender.ports['submission']}", "--from",
                         "alice@sender.test", "--to", "bob@recipient.test", "--auth-user", "alice@sender.test",
                         "--auth-password", "wrong", "--tls", "--auth", "PLAIN", check=False)
        self.assertEqual(done.returncode, 28, done.stdout)                 # swaks(1): authentication failed
        self.assertIn("535 5.7.8", done.stdout)

    def test_swaks_without_tls_is_not_offered_auth(self):
        done = thurn.run("swaks", "--server", f"{self.sender.address}:{self.sender.ports['submission']}", "--from",
                         "alice@sender.test", "--to", "bob@recipient.test", "--auth-user", "alice@sender.test",
                         "--auth-password", thurn.PASSWORD, "--auth", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertNotIn("250-AUTH", done.stdout)

    def test_msmtp_with_each_mechanism(self):
        for mechanism in ("plain", "login", "scram-sha-256"):
            for tls, port in (("on", "submission"), ("off", "submissions")):
                subject = f"msmtp {mechanism} {port}"
                with self.subTest(subject):
                    config = self.network.folder / "msmtprc"
                    config.write_text(
                        f"account default\nhost {self.sender.address}\nport {self.sender.ports[port]}\ntls on\ntls_starttls {tls}\n"
                        f"tls_trust_file {self.sender.certificate}\ntls_host_override {self.sender.host}\nauth {mechanism}\n"
                        f"user alice@sender.test\npassword {thurn.PASSWORD}\nfrom alice@sender.test\n")
                    config.chmod(0o600)
                    thurn.run("msmtp", "-C", config, "bob@recipient.test", input=text(subject).decode().replace("\r\n", "\n"))
                    self.subject_arrives(subject)

    def test_curl_over_smtp_and_smtps(self):
        message = self.network.folder / "message"
        for scheme, port in (("smtp", "submission"), ("smtps", "submissions")):
            for mechanism in ("PLAIN", "LOGIN"):
                subject = f"curl {scheme} {mechanism}"
                with self.subTest(subject):
                    message.write_bytes(text(subject))
                    thurn.run("curl", "-sS", "--fail", "--ssl-reqd", "--cacert", self.sender.certificate, "--url",
                              f"{scheme}://{self.sender.address}:{self.sender.ports[port]}/client.test", "--login-options",
                              f"AUTH={mechanism}", "--user", f"alice@sender.test:{thurn.PASSWORD}", "--mail-from",
                              "alice@sender.test", "--mail-rcpt", "bob@recipient.test", "--upload-file", message)
                    self.subject_arrives(subject)

    def test_python_smtplib(self):
        with smtplib.SMTP(self.sender.address, self.sender.ports["submission"], timeout=thurn.TIMEOUT) as client:
            client.starttls(context=tls_client_context())
            client.login("alice@sender.test", thurn.PASSWORD)
            self.assertEqual(client.sendmail("alice@sender.test", ["bob@recipient.test"], text("smtplib starttls")), {})
        with smtplib.SMTP_SSL(self.sender.address, self.sender.ports["submissions"], timeout=thurn.TIMEOUT,
                              context=tls_client_context()) as client:
            client.login("alice@sender.test", thurn.PASSWORD)
            message = email.message.EmailMessage(policy=email.policy.SMTP)
            message["From"], message["To"], message["Subject"] = "alice@sender.test", "bob@recipient.test", "smtplib tls"
            message["Bcc"] = "alice@recipient.test"
            message.set_content("Grüße\n")
            message.add_attachment(bytes(range(256)) * 100, maintype="application", subtype="octet-stream", filename="é.bin")
            self.assertEqual(client.send_message(message), {})
        self.subject_arrives("smtplib starttls")
        got = parse(self.subject_arrives("smtplib tls"))
        self.assertEqual(next(got.iter_attachments()).get_content(), bytes(range(256)) * 100)
        self.assertIsNone(got["Bcc"])
        self.subject_arrives("smtplib tls", user="alice")

    def test_own_client_with_scram_plus(self):
        done = self.sender.thurn(
            "send", "--json", "--server", f"{self.sender.address}:{self.sender.ports['submission']}", "--tls", "starttls", "--ca",
            self.sender.certificate, "--tls-name", self.sender.host, "--user", "alice@sender.test", "--from", "alice@sender.test",
            "--to", "bob@recipient.test", "--subject", "own client", "--body", "hello", env={"THURN_PASSWORD": thurn.PASSWORD})
        self.assertIn("SCRAM-SHA-256-PLUS", done.stdout)
        self.subject_arrives("own client")

    def test_submission_adds_date_and_message_id_and_takes_bcc_away(self):
        submit(self.sender, "alice", ["bob@recipient.test"],
               b"From: alice@sender.test\r\nBcc: secret@elsewhere.test\r\nSubject: bare\r\n\r\nx\r\n")
        got = parse(self.subject_arrives("bare"))
        self.assertTrue(got["Date"])
        self.assertRegex(got["Message-ID"], r"^<[^<>@ ]+@[^<>@ ]+>$")
        self.assertIsNone(got["Bcc"])

    def test_a_message_is_followed_from_one_log_to_the_other(self):
        first = submit(self.sender, "alice", ["bob@recipient.test"], text("followed"))
        self.subject_arrives("followed")
        left = self.sender.wait_event("delivered", id=first)
        second = re.search(r"accepted as (\w+)", left["text"])[1]
        arrived = self.recipient.wait_event("accepted", id=second)
        self.assertEqual(arrived["from"], "alice@sender.test")
        self.assertEqual(arrived["peer"], "127.0.0.2")
        self.assertTrue(arrived["tls"].startswith("TLSv1.3"), arrived)
        self.assertEqual(self.sender.wait_event("accepted", id=first)["user"], "alice@sender.test")
        got = parse(self.subject_arrives("followed"))
        self.assertEqual(got["Return-Path"], "<alice@sender.test>")
        received = got.get_all("Received")
        self.assertEqual(len(received), 2)
        self.assertIn(f"id {second}", received[0])
        self.assertIn("ESMTPS", received[0])
        self.assertIn(f"id {first}", received[1])
        self.assertIn("ESMTPSA", received[1])

    def test_why_tells_the_journey(self):
        first = submit(self.sender, "alice", ["bob@recipient.test"], text("why"))
        life = self.wait_done(first)
        accepted, attempt = life["events"]
        self.assertEqual((accepted["event"], accepted["user"], accepted["queued"]),
                         ("accepted", "alice@sender.test", ["bob@recipient.test"]))
        self.assertEqual(attempt["event"], "attempt")
        self.assertRegex(attempt["mx"], r"^mail\.recipient\.test.*127\.0\.0\.3")      # chosen anew, or a connection used again
        self.assertTrue(attempt["tls"].startswith("TLSv1.3"))
        outcome, = attempt["outcomes"]
        self.assertEqual((outcome["state"], outcome["code"]), ("delivered", 250))
        second = re.search(r"accepted as (\w+)", outcome["reply"])[1]
        delivery, = self.recipient.why(second)["events"][0]["delivered"]
        self.assertEqual((delivery["to"], delivery["mailbox"]), ("bob@recipient.test", "INBOX"))
        self.assertEqual(self.sender.thurn("why", first).stdout.count("bob@recipient.test: delivered"), 1)
        unknown = self.sender.thurn("why", "1k80000000000", check=False)
        self.assertEqual(unknown.returncode, 1)

    def test_pipelining_in_one_packet(self):
        with submission(self.sender) as talk:
            talk.send("MAIL FROM:<alice@sender.test>\r\nRCPT TO:<bob@recipient.test>\r\nRCPT TO:<no@no@no>\r\nDATA\r\n")
            self.assertEqual([talk.reply()[:3] for _ in range(4)], ["250", "250", "501", "354"])
            talk.send(text("pipelined") + b".\r\nNOOP\r\nQUIT\r\n")
            self.assertEqual([talk.reply()[:3] for _ in range(3)], ["250", "250", "221"])
            self.assertTrue(talk.is_closed())
        self.subject_arrives("pipelined")

    def test_bdat_in_pieces_with_binary(self):
        body = bytes(range(256)) * 50 + b"\r\n.\r\n\n.\n.\r" + b"x"
        header = b"From: alice@sender.test\r\nSubject: binary\r\nContent-Type: application/octet-stream\r\n" \
                 b"Content-Transfer-Encoding: binary\r\nMIME-Version: 1.0\r\n\r\n"
        with submission(self.sender) as talk:
            talk.expect("MAIL FROM:<alice@sender.test> BODY=BINARYMIME", "250")
            talk.expect("RCPT TO:<bob@recipient.test>", "250")
            talk.send(b"BDAT %d\r\n" % len(header) + header + b"BDAT %d\r\n" % len(body) + body + b"BDAT 0 LAST\r\n")
            for _ in range(3):
                self.assertEqual(talk.reply()[:3], "250")
        # Over IMAP: what POP3 gives has line ends.
        import imaplib
        self.wait_done(self.sender.events("accepted")[-1]["id"])
        client = imaplib.IMAP4_SSL(self.recipient.address, self.recipient.ports["imaps"], ssl_context=tls_client_context())
        client.login("bob@recipient.test", thurn.PASSWORD)
        client.select("INBOX", readonly=True)
        number = client.search(None, "SUBJECT", "binary")[1][0]
        whole = client.fetch(number, "(BODY.PEEK[])")[1][0][1]
        client.logout()
        self.assertTrue(whole.endswith(b"\r\n\r\n" + body), whole[-100:])

    def test_eight_bits_and_utf8_addresses(self):
        with submission(self.sender) as talk:
            talk.expect("MAIL FROM:<alice@sender.test> BODY=8BITMIME SMTPUTF8", "250")
            talk.expect("RCPT TO:<bob+größe@recipient.test>".encode(), "250")
            talk.expect("DATA", "354")
            talk.send("From: alice@sender.test\r\nSubject: Grüße\r\nTo: bob+größe@recipient.test\r\n\r\nSüß\r\n.\r\n".encode())
            self.assertEqual(talk.reply()[:3], "250")
        got = thurn.wait_until(lambda: [m for m in mails(self.recipient, "bob") if b"S\xc3\xbc\xc3\x9f" in m], "the utf8 message")[0]
        self.assertIn("Subject: Grüße\r\n".encode(), got)
        self.assertIn("UTF8SMTPS", parse(got).get_all("Received")[0])


class Reports(TwoServers):
    """Delivery status notifications (RFC 3461, 3464, 6522), read by the sender over POP3."""
    zones = {"sink.test": ["@ MX 10 mail", "mail A 127.0.0.4"], "slow.test": ["@ MX 10 mail", "mail A 127.0.0.5"]}
    options = {"sections": {"delivery": ["warn_after: 1s", "give_up_after: 1h"]}}

    def report(self, about, user="alice"):
        """The report on the message with this envelope id, taken apart."""
        def look():
            for message in mails(self.sender, user):
                if parse(message).get_content_type() == "multipart/report" and f"Original-Envelope-Id: {about}\r\n".encode() in message:
                    return message
        message = thurn.wait_until(look, f"the report on {about}")
        self.assertEqual(parse(message)["Return-Path"], "<>")
        return parts_of_report(message)

    def test_an_unknown_recipient_bounces_to_the_sender(self):
        first = submit(self.sender, "alice", ["nobody@recipient.test", "bob@recipient.test"], text("half"), " ENVID=half RET=FULL",
                       " NOTIFY=FAILURE ORCPT=rfc822;who+40else@x.test")
        self.subject_arrives("half")
        plain, whole, (row,), returned = self.report("half")
        self.assertIn("nobody@recipient.test", plain)
        self.assertIn("5.1.1", plain)
        self.assertEqual(whole["Reporting-MTA"], "dns; mail.sender.test")
        self.assertEqual(row["Final-Recipient"], "rfc822; nobody@recipient.test")
        self.assertEqual(row["Original-Recipient"], "rfc822;who@else@x.test")
        self.assertEqual((row["Action"], row["Status"]), ("failed", "5.1.1"))
        self.assertEqual(row["Remote-MTA"], "dns; mail.recipient.test")
        self.assertTrue(row["Diagnostic-Code"].startswith("smtp; 550 5.1.1"), row)
        self.assertEqual(returned.get_content_type(), "message/rfc822")
        self.assertIn(b"hello", bytes(returned.get_payload(0)))
        life = self.sender.why(first)
        report_id, = [event["report"] for event in life["events"] if "report" in event]
        self.assertEqual(self.sender.why(report_id)["events"][0]["delivered"][0]["to"], "alice@sender.test")

    def test_headers_alone_are_returned_when_asked_for(self):
        submit(self.sender, "alice", ["nobody@recipient.test"], text("headers only"), " ENVID=hdrs RET=HDRS")
        *_, returned = self.report("hdrs")
        self.assertEqual(returned.get_content_type(), "text/rfc822-headers")
        self.assertIn("Subject: headers only", returned.get_content())
        self.assertNotIn("hello", returned.get_content())

    def test_success_is_told_by_the_server_that_delivers(self):
        submit(self.sender, "alice", ["bob@recipient.test"], text("success"), " ENVID=success", " NOTIFY=SUCCESS ORCPT=rfc822;bob@old.test")
        plain, whole, (row,), returned = self.report("success")
        self.assertEqual(whole["Reporting-MTA"], "dns; mail.recipient.test")
        self.assertEqual((row["Action"], row["Original-Recipient"]), ("delivered", "rfc822;bob@old.test"))
        self.assertEqual(row["Status"][0], "2")
        self.assertEqual(returned.get_content_type(), "text/rfc822-headers")          # RFC 3461 6.2: of a success, no more
        told = [m for m in mails(self.sender, "alice") if b"Original-Envelope-Id: success\r\n" in m]
        self.assertEqual(len(told), 1)

    def test_success_of_a_local_delivery_is_told_too(self):
        submit(self.sender, "alice", ["bob@sender.test"], text("local"), " ENVID=local", " NOTIFY=SUCCESS")
        _, whole, (row,), _ = self.report("local")
        self.assertEqual((whole["Reporting-MTA"], row["Action"]), ("dns; mail.sender.test", "delivered"))

    def test_a_server_without_dsn_makes_it_relayed(self):
        with Sink("127.0.0.4", self.network.smtp_port):
            self.wait_done(submit(self.sender, "alice", ["x@sink.test"], text("relayed"), " ENVID=relayed", " NOTIFY=SUCCESS,FAILURE"))
            _, whole, (row,), _ = self.report("relayed")
        self.assertEqual((whole["Reporting-MTA"], row["Action"]), ("dns; mail.sender.test", "relayed"))

    def test_dsn_parameters_are_handed_on_to_a_server_that_knows_them(self):
        with Sink("127.0.0.4", self.network.smtp_port, extensions=("DSN", "8BITMIME", "SIZE 1000000")) as sink:
            self.wait_done(submit(self.sender, "bob", ["y@sink.test"], text("handed on", "bob@sender.test"), " ENVID=handed+20on RET=HDRS",
                                  " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;q@x.test"))
            mail, = sink.wait_commands(start="MAIL")
            rcpt, = sink.wait_commands(start="RCPT")
        self.assertIn(" ENVID=handed+20on", mail)
        self.assertIn(" RET=HDRS", mail)
        self.assertIn("NOTIFY=SUCCESS,DELAY", rcpt)
        self.assertIn("ORCPT=rfc822;q@x.test", rcpt)

    def test_never_means_never(self):
        first = submit(self.sender, "bob", ["nobody@recipient.test"], text("never", "bob@sender.test"), " ENVID=never", " NOTIFY=NEVER")
        life = self.wait_done(first)
        self.assertEqual(life["events"][-1]["outcomes"][0]["state"], "bounced")
        self.assertFalse([event for event in life["events"] if "report" in event])
        self.assertFalse([m for m in mails(self.sender, "bob") if b"never" in m])

    def lifetime(self, time):
        self.sender.sections = {"delivery": ["warn_after: 1s", f"give_up_after: {time}"]}
        self.sender.write_config()
        self.sender.thurn("reload")

    def test_a_delay_is_told_once_and_then_the_end(self):
        with Sink("127.0.0.5", self.network.smtp_port, answer=lambda verb, *_: "450 4.2.0 not now" if verb == "RCPT" else None):
            first = submit(self.sender, "alice", ["slow@slow.test"], text("late"), " ENVID=late")
            quiet = submit(self.sender, "alice", ["slow@slow.test"], text("quiet"), " ENVID=quiet", " NOTIFY=FAILURE")
            self.report("late")                         # the delay; only then is the lifetime made short
            self.lifetime("2s")
            self.addCleanup(self.lifetime, "1h")
            for message_id in (first, quiet):
                self.assertEqual(self.wait_done(message_id)["events"][-1]["outcomes"][0]["state"], "bounced")
        reports = [parts_of_report(m) for m in mails(self.sender, "alice") if b"Original-Envelope-Id: late\r\n" in m]
        rows = [row for _, _, (row,), _ in reports]
        self.assertEqual([row["Action"] for row in rows], ["delayed", "failed"])
        self.assertIn("Will-Retry-Until", rows[0])
        self.assertEqual(rows[0]["Status"][0], "4")
        self.assertEqual(rows[1]["Status"], "4.4.7")                                   # RFC 3463: delivery time expired
        reports = [parts_of_report(m) for m in mails(self.sender, "alice") if b"Original-Envelope-Id: quiet\r\n" in m]
        self.assertEqual([row["Action"] for _, _, (row,), _ in reports], ["failed"])

    def test_a_bounce_never_bounces(self):
        """A stranger's message to an alias that leads nowhere: the report on it cannot be delivered, and that is the end."""
        self.recipient.add_alias("away@recipient.test", "nobody@sender.test")
        with Talk(self.recipient.address, self.recipient.ports["smtp"]) as talk:
            talk.greet()
            first = talk.mail("ghost@sender.test", "away@recipient.test", text=text("ghost")).split()[-1]
        report_id, = [e["report"] for e in self.wait_done(first, self.recipient)["events"] if "report" in e]
        life = self.wait_done(report_id, self.recipient)
        self.assertEqual(life["events"][-1]["outcomes"][0]["state"], "bounced")
        self.assertFalse([event for event in life["events"] if "report" in event])
        before = len(self.recipient.events("accepted"))
        with Talk(self.recipient.address, self.recipient.ports["smtp"]) as talk:        # nor one that comes from outside
            talk.greet()
            second = talk.mail("", "away@recipient.test", text=text("null")).split()[-1]
        life = self.wait_done(second, self.recipient)
        self.assertFalse([event for event in life["events"] if "report" in event])
        self.assertEqual(len(self.recipient.events("accepted")), before + 1)


class Routes(TwoServers):
    """Where mail goes: exchangers, addresses, literals, settings."""
    zones = {
        "null.test": ["@ MX 0 ."],
        "address.test": ["@ A 127.0.0.4"],
        "fallback.test": ["@ MX 10 first", "@ MX 20 second", "first A 127.0.0.8", "second A 127.0.0.4"],
        "prefer.test": ["@ MX 20 second", "@ MX 10 first", "first A 127.0.0.4", "second A 127.0.0.5"],
        "equal.test": ["@ MX 10 a", "@ MX 10 b", "a A 127.0.0.4", "b A 127.0.0.5"],
        "refuse.test": ["@ MX 10 a", "@ MX 20 b", "a A 127.0.0.6", "b A 127.0.0.4"],
        "loop.test": ["@ MX 10 mail.sender.test."],
        "text.test": ["@ TXT nothing"],
        "six.test": ["@ MX 10 mail", "mail A 127.0.0.7"],
    }

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        port = cls.network.smtp_port
        cls.four = cls.enterClassContext(Sink("127.0.0.4", port, name="four"))
        cls.five = cls.enterClassContext(Sink("127.0.0.5", port, name="five"))

    def bounce(self, recipient):
        """Submits, and gives back the last outcome."""
        life = self.wait_done(submit(self.sender, "alice", [recipient], text("x")))
        return life["events"][-1]["outcomes"][-1]

    def reaches(self, sink, recipient, subject):
        before = len(sink.messages)
        first = submit(self.sender, "alice", [recipient], text(subject))
        self.assertIn(f"Subject: {subject}\r\n".encode(), sink.wait_messages(before + 1)[-1])
        return self.wait_done(first)

    def test_null_mx_bounces_at_once(self):
        got = self.bounce("x@null.test")
        self.assertEqual((got["state"], got["status"]), ("bounced", "5.1.10"))

    def test_no_such_domain_bounces_at_once(self):
        got = self.bounce("x@no-such-host.recipient.test")
        self.assertEqual((got["state"], got["status"]), ("bounced", "5.1.2"))

    def test_a_domain_with_neither_mx_nor_address_bounces(self):
        got = self.bounce("x@text.test")
        self.assertEqual(got["state"], "bounced")
        self.assertEqual(got["status"], "5.4.4")

    def test_mail_that_would_come_back_to_us_bounces(self):
        got = self.bounce("x@loop.test")
        self.assertEqual((got["state"], got["status"]), ("bounced", "5.4.6"))

    def test_without_mx_the_address_serves(self):
        self.reaches(self.four, "x@address.test", "by address")

    def test_the_second_exchanger_when_the_first_is_down(self):
        life = self.reaches(self.four, "x@fallback.test", "second")
        self.assertIn("second.fallback.test (20) of 2", life["events"][-1]["mx"])

    def test_the_second_exchanger_when_the_first_does_not_serve(self):
        with Sink("127.0.0.6", self.network.smtp_port, answer=lambda verb, *_: "554 5.3.2 no service here" if verb == "" else None) as first:
            self.reaches(self.four, "x@refuse.test", "greeted with 554")
            self.assertEqual(first.messages, [])
            self.assertGreater(first.connections, 0)

    def test_the_preferred_exchanger_first(self):
        for i in range(3):
            self.reaches(self.four, f"x{i}@prefer.test", f"preferred {i}")

    def test_an_address_literal(self):
        self.reaches(self.four, "x@[127.0.0.4]", "literal")

    def test_eight_bits_for_a_server_that_cannot_take_them_bounce_honestly(self):
        with Sink("127.0.0.7", self.network.smtp_port, extensions=()) as sink:
            got = self.wait_done(submit(self.sender, "alice", ["x@six.test"], "Subject: 8\r\n\r\nSüß\r\n".encode(), " BODY=8BITMIME"))
            outcome = got["events"][-1]["outcomes"][-1]
            self.assertEqual((outcome["state"], outcome["status"]), ("bounced", "5.6.3"))
            self.assertEqual(sink.messages, [])

    def test_utf8_addresses_for_a_server_without_smtputf8_bounce(self):
        with submission(self.sender) as talk:
            talk.expect("MAIL FROM:<alice@sender.test> SMTPUTF8", "250")
            talk.expect("RCPT TO:<größe@address.test>".encode(), "250")
            talk.expect("DATA", "354")
            got = talk.command("Subject: x\r\n\r\nx\r\n.")
        outcome = self.wait_done(got.split()[-1])["events"][-1]["outcomes"][-1]
        self.assertEqual((outcome["state"], outcome["status"]), ("bounced", "5.6.7"))

    def test_tls_that_fails_is_tried_in_the_clear(self):
        """RFC 7435: opportunistic. The sink offers STARTTLS, and then closes at the handshake."""
        with Sink("127.0.0.7", self.network.smtp_port, extensions=(), breaks_tls=True) as sink:
            first = submit(self.sender, "alice", ["x@six.test"], text("clear at last"))
            sink.wait_messages()
            self.assertEqual(sink.is_secret, [False])
            self.wait_done(first)


class Configured(unittest.TestCase):
    """Routes of the configuration: a smarthost with AUTH and TLS from the start, LMTP, a route that insists on TLS."""

    def test_smarthost_with_auth_and_implicit_tls(self):
        with thurn.Network(start=False) as network:
            sender, recipient = network["sender.test"], network["recipient.test"]
            recipient.make_certificate()
            password = network.folder / "password"
            password.write_text(thurn.PASSWORD + "\n")
            password.chmod(0o600)
            sender.env = {"SSL_CERT_FILE": str(recipient.certificate)}
            sender.settings = (f"routes:\n  - {{ domain: '*', host: mail.recipient.test, port: {recipient.ports['submissions']}, tls: implicit, "
                               f"user: carol@recipient.test, password_file: {password} }}\n")
            network.start()
            recipient.add_account("carol")
            # Carol may send as nobody but herself there, so the message is hers: it comes in by an alias.
            sender.add_alias("out@sender.test", "bob@recipient.test")
            with Talk(sender.address, sender.ports["smtp"]) as talk:
                talk.greet()
                got = talk.mail("carol@recipient.test", "out@sender.test", text=text("by smarthost", "carol@recipient.test"))
                self.assertTrue(got.startswith("250"), got)
            message, = wait_mails(recipient, "bob")
            self.assertIn("ESMTPSA", parse(message).get_all("Received")[0])
            self.assertEqual(recipient.wait_event("accepted")["user"], "carol@recipient.test")
            attempt = thurn.wait_until(lambda: [e for e in sender.why(got.split()[-1])["events"] if e["event"] == "attempt"], "the attempt")[0]
            self.assertTrue(attempt["tls"].startswith("TLSv1.3"), attempt)

    def test_a_smarthost_whose_certificate_does_not_fit_gets_neither_password_nor_mail(self):
        with thurn.Network(start=False) as network:
            sender, recipient = network["sender.test"], network["recipient.test"]
            password = network.folder / "password"
            password.write_text(thurn.PASSWORD + "\n")
            sender.settings = (f"routes:\n  - {{ domain: '*', host: mail.recipient.test, port: {recipient.ports['submissions']}, tls: implicit, "
                               f"user: alice@recipient.test, password_file: {password} }}\n")
            network.start()
            first = submit(sender, "alice", ["bob@elsewhere.test"], text("x"))
            row = thurn.wait_until(lambda: [e for e in sender.why(first)["events"] if e["event"] == "attempt"], "an attempt")[0]
            self.assertEqual(row["outcomes"][0]["state"], "due", row)
            self.assertIn("certificate", str(row["outcomes"][0]))
            self.assertEqual(recipient.events("login"), [])

    def test_a_route_to_lmtp_by_path_and_by_port(self):
        with thurn.Network(start=False) as network:
            sender, recipient = network["sender.test"], network["recipient.test"]
            socket = network.folder / "lmtp"
            recipient.sections = {"listen": [f"lmtp: [\"{recipient.address}:{recipient.ports['lmtp']}\", \"{socket}\"]"]}
            lmtp_port = recipient.ports.pop("lmtp")
            recipient.sections = {"listen": [f'lmtp: ["{recipient.address}:{lmtp_port}", "{socket}"]']}
            sender.settings = (f"routes:\n  - {{ domain: recipient.test, host: {socket}, protocol: lmtp }}\n"
                               f"  - {{ domain: also.test, host: \"[{recipient.address}]\", port: {lmtp_port}, protocol: lmtp, tls: never }}\n")
            network.start()
            recipient.add_domain("also.test")
            recipient.add_account("bob@also.test")
            first = submit(sender, "alice", ["bob@recipient.test", "nobody@recipient.test", "bob@also.test"], text("by lmtp"))
            message, = wait_mails(recipient, "bob")
            self.assertIn("LMTP", parse(message).get_all("Received")[0])
            wait_mails(recipient, "bob@also.test")
            bounce, = wait_mails(sender, "alice")
            _, _, (row,), _ = parts_of_report(bounce)
            self.assertEqual(row["Final-Recipient"], "rfc822; nobody@recipient.test")
            thurn.wait_until(lambda: not sender.queue(), "an empty queue")
            states = {o["to"]: o["state"] for e in sender.why(first)["events"] for o in e.get("outcomes", [])}
            self.assertEqual(states, {"bob@recipient.test": "delivered", "nobody@recipient.test": "bounced", "bob@also.test": "delivered"})


class Queue(TwoServers):
    """What waits, and what an administrator does with it."""
    zones = {"sink.test": ["@ MX 10 mail", "mail A 127.0.0.4"], "down.test": ["@ MX 10 mail", "mail A 127.0.0.8"],
             "flaky.test": ["@ MX 10 mail", "mail A 127.0.0.5"]}
    # Nothing is tried again by itself while a test looks, but where the test makes it.
    options = {"sections": {"delivery": []}}

    def waiting(self, recipient, subject):
        """A message in the queue whose first attempt has failed."""
        first = submit(self.sender, "alice", [recipient], text(subject))
        thurn.wait_until(lambda: [e for e in self.sender.why(first)["events"] if e["event"] == "attempt"], "the first attempt")
        return first

    def test_4xx_is_tried_again_until_it_works(self):
        refusals = {"MAIL": 1, "RCPT": 1, "DATA": 1, ".": 1, "": 1}

        def answer(verb, line, sink):
            if refusals.get(verb, 0) > 0:
                refusals[verb] -= 1
                return f"451 4.3.0 no {verb} yet"
        with Sink("127.0.0.5", self.network.smtp_port, answer=answer, extensions=()) as sink:
            first = submit(self.sender, "alice", ["x@flaky.test"], text("at last"))
            thurn.wait_until(lambda: self.sender.queue("--domain", "flaky.test") or sink.messages, "the entry")
            while any(refusals.values()):
                before = sum(refusals.values())
                self.sender.thurn("queue", "retry", "--all", check=False)
                thurn.wait_until(lambda: sum(refusals.values()) < before, "the next attempt")
            life = self.wait_done(first)
            self.assertEqual(sink.wait_messages(2)[0], sink.messages[1])              # kept once though 451 was said, then for good
        states = [e["outcomes"][0]["state"] for e in life["events"] if e["event"] == "attempt"]
        self.assertEqual(states, ["due"] * 5 + ["delivered"])

    def test_retries_come_by_themselves(self):
        refused = []

        def answer(verb, line, sink):
            if verb == "RCPT" and len(refused) < 2:
                refused.append(line)
                return "450 4.2.0 grey"
        with Sink("127.0.0.4", self.network.smtp_port, answer=answer) as sink:
            first = submit(self.sender, "alice", ["x@sink.test"], text("grey"))
            sink.wait_messages()
            life = self.wait_done(first)
        attempts = [e for e in life["events"] if e["event"] == "attempt"]
        self.assertEqual(len(attempts), 3, attempts)

    def test_list_and_show(self):
        first = self.waiting("listed@down.test", "listed")
        row, = self.sender.queue(first)
        self.assertEqual((row["id"], row["from"]), (first, "alice@sender.test"))
        recipient, = row["recipients"]
        self.assertEqual((recipient["to"], recipient["state"]), ("listed@down.test", "due"))
        for option, value, found in (("--domain", "down.test", 1), ("--domain", "up.test", 0), ("--sender", "alice", 1),
                                     ("--sender", "carol", 0), ("--recipient", "listed@", 1), ("--error", "refused", 1),
                                     ("--error", "no such words", 0), ("--older", "1h", 0), ("--younger", "1h", 1)):
            rows = [r for r in self.sender.queue(option, value) if r["id"] == first]
            self.assertEqual(len(rows), found, (option, value))
        shown = self.sender.thurn("queue", "show", first).stdout
        self.assertIn("listed@down.test", shown)
        self.assertIn(first, self.sender.thurn("queue", "list").stdout)
        self.sender.thurn("queue", "delete", first)
        self.wait_done(first)

    def test_hold_keeps_and_release_lets_go(self):
        first = self.waiting("held@down.test", "held")
        self.sender.thurn("queue", "hold", first)
        row, = self.sender.queue("--held")
        self.assertEqual((row["id"], row["recipients"][0]["state"]), (first, "held"))
        with Sink("127.0.0.8", self.network.smtp_port) as sink:
            self.sender.thurn("queue", "retry", "--all", check=False)
            self.assertEqual(self.sender.queue(first)[0]["recipients"][0]["state"], "held")
            self.sender.thurn("queue", "release", first)
            self.sender.thurn("queue", "retry", first, check=False)
            self.assertIn(b"Subject: held", sink.wait_messages()[0])
            self.wait_done(first)

    def test_bounce_gives_up_and_tells(self):
        first = self.waiting("given-up@down.test", "given up")
        self.sender.thurn("queue", "bounce", first)
        self.wait_done(first)
        bounce = thurn.wait_until(lambda: [m for m in mails(self.sender, "alice") if b"given-up@down.test" in m], "the bounce")[0]
        _, _, (row,), _ = parts_of_report(bounce)
        self.assertEqual(row["Action"], "failed")

    def test_delete_tells_nobody(self):
        first = self.waiting("deleted@down.test", "deleted")
        self.sender.thurn("queue", "delete", first)
        self.wait_done(first)
        self.assertFalse([m for m in mails(self.sender, "alice") if b"deleted@down.test" in m])
        self.assertFalse([e for e in self.sender.why(first)["events"] if "report" in e])

    def test_the_queue_is_there_after_a_restart(self):
        first = self.waiting("kept@down.test", "kept")
        self.sender.thurn("queue", "hold", first)
        self.sender.stop()
        self.sender.start()
        row, = self.sender.queue(first)
        self.assertEqual(row["recipients"][0]["state"], "held")
        self.sender.thurn("queue", "delete", first)

    def test_one_connection_carries_many_messages(self):
        with Sink("127.0.0.4", self.network.smtp_port) as sink:
            for i in range(5):
                self.wait_done(submit(self.sender, "alice", [f"x{i}@sink.test"], text(f"many {i}")))
            self.assertEqual(len(sink.messages), 5)
            self.assertEqual(sink.connections, 1)


class Directory(unittest.TestCase):
    """Aliases, tags, catch-alls, several domains, quotas, one stored copy."""

    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(thurn.one_server(accounts=("alice", "bob", "carol"), sections={"delivery": []}))

    def send(self, *recipients, subject="x", sender="stranger@elsewhere.test", body=b"hello\r\n"):
        with Talk(self.server.address, self.server.ports["smtp"]) as talk:
            talk.greet()
            return talk.mail(sender, *recipients, text=f"Subject: {subject}\r\n\r\n".encode() + body)

    def has(self, user, subject):
        return sum(f"Subject: {subject}\r\n".encode() in m for m in mails(self.server, user))

    def rcpt(self, recipient, server=None, parameters=""):
        server = server or self.server
        with Talk(server.address, server.ports["smtp"]) as talk:
            talk.greet()
            talk.expect("MAIL FROM:<stranger@elsewhere.test>" + parameters, "250")
            return talk.command(f"RCPT TO:<{recipient}>")

    def test_an_alias_leads_to_several_and_each_gets_it_once(self):
        self.server.add_alias("team@recipient.test", "alice@recipient.test", "bob@recipient.test")
        self.server.add_alias("all@recipient.test", "team@recipient.test", "alice@recipient.test", "carol@recipient.test")
        self.send("all@recipient.test", "alice@recipient.test", subject="to all")
        self.assertEqual([self.has(user, "to all") for user in ("alice", "bob", "carol")], [1, 1, 1])

    def test_a_tag_leads_to_the_mailbox(self):
        self.send("alice+lists@recipient.test", subject="tagged")
        self.assertEqual(self.has("alice", "tagged"), 1)

    def test_case_does_not_matter(self):
        self.send("ALICE@Recipient.Test", subject="case")
        self.assertEqual(self.has("alice", "case"), 1)

    def test_postmaster_is_always_there(self):
        self.send("postmaster@recipient.test", "RCPT TO:<Postmaster>", subject="post")
        self.assertEqual(sum(self.has(user, "post") for user in ("alice", "bob", "carol")), 1)

    def test_several_domains_and_a_catch_all(self):
        self.server.add_domain("second.test")
        self.server.add_account("alice@second.test")
        self.assertTrue(self.rcpt("anyone@second.test").startswith("550 5.1.1"))
        self.server.add_alias("@second.test", "carol@recipient.test")
        self.send("anyone@second.test", "alice@second.test", subject="second domain")
        self.assertEqual([self.has(u, "second domain") for u in ("carol", "alice@second.test", "alice")], [1, 1, 0])
        self.server.thurn("domain", "remove", "second.test", check=False)

    def test_an_alias_that_leads_to_itself_is_refused_not_followed(self):
        self.server.thurn("alias", "add", "circle@recipient.test", "round@recipient.test", check=False)
        self.server.thurn("alias", "add", "round@recipient.test", "circle@recipient.test", check=False)
        self.assertEqual(self.rcpt("circle@recipient.test")[:1], "5")

    def test_a_disabled_account_takes_no_mail(self):
        self.server.add_account("gone")
        self.server.thurn("account", "disable", "gone@recipient.test")
        self.assertTrue(self.rcpt("gone@recipient.test").startswith("550 5.2.1"))

    def test_fifty_recipients_are_one_stored_copy(self):
        users = [f"u{i}@recipient.test" for i in range(50)]
        for user in users:
            self.server.add_account(user)

        def written():
            return next(r["figures"]["bytes-written"] for r in self.server.roles() if r["role"] == "post")
        before = written()
        body = (b"0123456789" * 7 + b"\r\n") * 1000
        self.send(*users, subject="fifty", body=body)
        self.assertLess(written() - before, len(body) * 1.5)
        self.assertEqual([self.has(u, "fifty") for u in (users[0], users[49])], [1, 1])

    def test_a_full_mailbox_is_for_later(self):
        self.server.thurn("account", "quota", self.server.add_account("small"), "10K")
        self.send("small@recipient.test", subject="fits")
        self.assertTrue(self.rcpt("small@recipient.test", parameters=" SIZE=20000").startswith("452 4.2.2"))
        late = self.send("small@recipient.test", subject="one too many", body=(b"y" * 70 + b"\r\n") * 150)      # of unannounced size
        self.assertTrue(late.startswith("452 4.2.2"), late)
        self.assertEqual((self.has("small", "fits"), self.has("small", "one too many")), (1, 0))
        self.server.thurn("account", "quota", "small@recipient.test", "none")
        self.assertTrue(self.rcpt("small@recipient.test", parameters=" SIZE=20000").startswith("250"))

    def test_a_full_mailbox_may_refuse_for_good(self):
        with thurn.one_server(accounts=("alice",), settings="full_mailbox: refuse") as server:
            server.thurn("account", "quota", "alice@recipient.test", "10K")
            self.assertEqual(self.rcpt("alice@recipient.test", server, " SIZE=20000")[:9], "552 5.2.2")


if __name__ == "__main__":
    unittest.main(verbosity=2)
