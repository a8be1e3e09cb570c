"""Delivery to servers with moods of their own: outcomes of each recipient, sessions that end early, sizes, many recipients,
many messages, circles of aliases, and destinations that are down beside others that are not."""
import re
import threading
import unittest

import thurn
from talk import Sink, mails, submission, submit
from test_smtp import TwoServers, parse, parts_of_report, text


class Moods(TwoServers):
    zones = {name + ".test": ["@ MX 10 mail", f"mail A 127.0.0.{number}"]
             for number, name in enumerate(("four", "five", "six", "seven", "eight"), 4)}

    def outcomes(self, message_id):
        """The last outcome of each recipient."""
        last = {}
        for event in self.sender.why(message_id)["events"]:
            for outcome in event.get("outcomes", []):
                last[outcome["to"]] = outcome
        return last

    def port(self):
        return self.network.smtp_port

    def test_each_recipient_has_its_own_outcome_and_only_the_deferred_is_tried_again(self):
        seen = []

        def answer(verb, line, sink):
            if verb == "RCPT":
                seen.append(line)
                if "gone" in line:
                    return "550 5.1.1 gone"
                if "later" in line and len([s for s in seen if "later" in s]) == 1:
                    return "451 4.2.1 later"
        with Sink("127.0.0.4", self.port(), answer=answer, extensions=("PIPELINING", "8BITMIME")) as sink:
            first = submit(self.sender, "alice", ["good@four.test", "gone@four.test", "later@four.test"], text("mixed"))
            self.wait_done(first)
            self.assertEqual(len(sink.messages), 2)
        last = self.outcomes(first)
        self.assertEqual({to: o["state"] for to, o in last.items()},
                         {"good@four.test": "delivered", "gone@four.test": "bounced", "later@four.test": "delivered"})
        self.assertEqual([sum(who in line for line in seen) for who in ("good", "gone", "later")], [1, 1, 2])
        bounce = thurn.wait_until(lambda: [m for m in mails(self.sender, "alice") if b"gone@four.test" in m], "the bounce")[0]
        _, _, rows, _ = parts_of_report(bounce)
        self.assertEqual([row["Final-Recipient"] for row in rows], ["rfc822; gone@four.test"])

    def test_a_refusal_of_the_whole_message_at_its_end(self):
        with Sink("127.0.0.5", self.port(), answer=lambda verb, *_: "554 5.6.0 not this" if verb == "." else None):
            first = submit(self.sender, "alice", ["a@five.test", "b@five.test"], text("refused at the end"))
            self.wait_done(first)
        self.assertEqual({o["status"] for o in self.outcomes(first).values()}, {"5.6.0"})
        bounce = thurn.wait_until(lambda: [m for m in mails(self.sender, "alice") if b"b@five.test" in m], "the bounce")[0]
        _, _, rows, _ = parts_of_report(bounce)
        self.assertEqual(len(rows), 2)                                             # one report for both

    def test_a_session_that_ends_at_any_point_is_tried_again(self):
        """421, or a connection that is simply closed: at the greeting, EHLO, MAIL, RCPT, DATA, the end of the message."""
        for way in ("421 4.3.2 going down", "close"):
            moods = {verb: way for verb in ("", "EHLO", "MAIL", "RCPT", "DATA", ".")}
            with self.subTest(way), Sink("127.0.0.6", self.port(), answer=lambda verb, line, sink: moods.pop(verb, None), extensions=()) as sink:
                first = submit(self.sender, "alice", ["x@six.test"], text(f"early {way[:3]}"))
                while moods:
                    before = len(moods)
                    thurn.wait_until(lambda: len(moods) < before, "the next attempt")
                    self.sender.thurn("queue", "retry", first, check=False)
                self.wait_done(first)
                self.assertEqual(self.outcomes(first)["x@six.test"]["state"], "delivered")
                self.assertFalse([m for m in mails(self.sender, "alice") if b"x@six.test" in m])
                self.assertGreaterEqual(len(sink.messages), 1)

    def test_a_message_larger_than_the_other_takes_bounces_without_being_sent(self):
        with Sink("127.0.0.7", self.port(), extensions=("SIZE 10000",)) as sink:
            first = submit(self.sender, "alice", ["x@seven.test"], text("large") + b"large\r\n" * 3000)
            self.wait_done(first)
            self.assertEqual((self.outcomes(first)["x@seven.test"]["state"], self.outcomes(first)["x@seven.test"]["status"]), ("bounced", "5.3.4"))
            self.assertEqual((sink.messages, [c for c in sink.commands if c.startswith("DATA")]), ([], []))

    def test_binary_for_a_server_that_cannot_take_it_bounces(self):
        with Sink("127.0.0.7", self.port()) as sink:
            with submission(self.sender) as talk:
                talk.expect("MAIL FROM:<alice@sender.test> BODY=BINARYMIME", "250")
                talk.expect("RCPT TO:<x@seven.test>", "250")
                body = text("binary") + b"\n\0\n"
                talk.send(b"BDAT %d LAST\r\n" % len(body) + body)
                first = talk.reply().split()[-1]
            self.wait_done(first)
            self.assertEqual(self.outcomes(first)["x@seven.test"]["status"], "5.6.3")
            self.assertEqual(sink.messages, [])

    def test_hundreds_of_recipients_at_one_destination(self):
        with Sink("127.0.0.4", self.port(), extensions=("PIPELINING",)) as sink:
            recipients = [f"r{number}@four.test" for number in range(250)]
            first = submit(self.sender, "alice", recipients, text("to many"))
            self.wait_done(first)
            told = [re.search(r"<(.*)>", c)[1] for c in sink.commands if c.startswith("RCPT")]
        self.assertEqual(sorted(told), sorted(recipients))
        self.assertEqual({o["state"] for o in self.outcomes(first).values()}, {"delivered"})

    def test_a_large_message_goes_through_whole(self):
        lines = b"".join(b"%07d 0123456789012345678901234567890123456789012345678901234567890\r\n" % number for number in range(300_000))
        with submission(self.sender) as talk:
            got = talk.mail("alice@sender.test", "bob@recipient.test", text=text("twenty megabytes") + lines)
            self.assertTrue(got.startswith("250"), got)
        whole = self.subject_arrives("twenty megabytes")
        self.assertTrue(whole.endswith(b"\r\n\r\nhello\r\n" + lines))

    def test_a_destination_that_is_down_does_not_hold_up_another(self):
        blocked = [submit(self.sender, "alice", [f"x{number}@eight.test"], text(f"blocked {number}")) for number in range(20)]
        with Sink("127.0.0.4", self.port()) as sink:
            done = submit(self.sender, "alice", ["y@four.test", "z@eight.test"], text("one goes, one stays"))
            sink.wait_messages()
            thurn.wait_until(lambda: self.outcomes(done).get("y@four.test", {}).get("state") == "delivered", "the one that goes")
        with Sink("127.0.0.8", self.port()) as sink:                               # and back it comes
            for message_id in [*blocked, done]:
                self.wait_done(message_id)
            self.assertEqual(len(sink.messages), 21)

    def test_at_most_ten_connections_to_one_destination(self):
        now, most, lock = set(), [0], threading.Lock()

        def answer(verb, line, sink):
            with lock:
                if verb == "MAIL":
                    now.add(threading.get_ident())
                    most[0] = max(most[0], len(now))
                elif verb == ".":
                    now.discard(threading.get_ident())
        with Sink("127.0.0.5", self.port(), answer=answer) as sink:
            ids = [submit(self.sender, "alice", [f"x{number}@five.test"], text(f"crowd {number}")) for number in range(40)]
            for message_id in ids:
                self.wait_done(message_id)
            self.assertEqual(len(sink.messages), 40)
        self.assertLessEqual(most[0], 10)


class Circles(TwoServers):
    def test_mail_that_goes_round_between_two_servers_ends_in_a_report(self):
        self.sender.add_alias("round@sender.test", "round@recipient.test")
        self.recipient.add_alias("round@recipient.test", "round@sender.test")
        submit(self.sender, "alice", ["round@recipient.test"], text("circle"))
        report, = thurn.wait_until(lambda: [m for m in mails(self.sender, "alice") if b"circle" in m], "the report")
        _, _, (row,), _ = parts_of_report(report)
        self.assertEqual((row["Action"], row["Status"]), ("failed", "5.4.6"))      # RFC 3463: routing loop detected
        self.assertLess(len(self.sender.events("accepted")) + len(self.recipient.events("accepted")), 110)

    def test_a_forwarded_message_keeps_its_sender_and_bounces_to_it(self):
        self.recipient.add_alias("forward@recipient.test", "nobody@sender.test", "bob@sender.test")
        submit(self.sender, "alice", ["forward@recipient.test"], text("forwarded"))
        got = self.subject_arrives("forwarded", self.sender)
        self.assertEqual(parse(got)["Return-Path"], "<alice@sender.test>")
        bounce = thurn.wait_until(lambda: [m for m in mails(self.sender, "alice") if b"forwarded" in m], "the bounce")[0]
        _, whole, (row,), _ = parts_of_report(bounce)
        self.assertEqual(whole["Reporting-MTA"], "dns; mail.recipient.test")
        self.assertEqual(row["Final-Recipient"], "rfc822; nobody@sender.test")


class Insisting(unittest.TestCase):
    """Routes with `tls: must`."""

    def send(self, trust):
        with thurn.Network(start=False) as network:
            sender, recipient = network["sender.test"], network["recipient.test"]
            recipient.make_certificate()
            sender.env = {"SSL_CERT_FILE": str(recipient.certificate)} if trust else {}
            sender.settings = f"routes:\n  - {{ domain: recipient.test, host: mail.recipient.test, port: {network.smtp_port}, tls: must }}\n"
            network.start()
            first = submit(sender, "alice", ["bob@recipient.test"], text("insisting"))
            attempt = thurn.wait_until(lambda: [e for e in sender.why(first)["events"] if e["event"] == "attempt"], "an attempt")[0]
            return attempt, len(mails(recipient, "bob"))

    def test_a_verified_certificate_or_nothing(self):
        attempt, count = self.send(trust=True)
        self.assertEqual((attempt["outcomes"][0]["state"], count), ("delivered", 1))
        self.assertIn("verified", attempt["tls"])
        attempt, count = self.send(trust=False)
        self.assertEqual((attempt["outcomes"][0]["state"], count), ("due", 0))

    def test_a_server_without_starttls_gets_nothing(self):
        zones = {"plain.test": ["@ MX 10 mail", "mail A 127.0.0.4"]}
        with thurn.Network(servers={"sender.test": "127.0.0.2"}, zones=zones, start=False) as network, Sink("127.0.0.4", network.smtp_port) as sink:
            sender = network["sender.test"]
            sender.settings = f"routes:\n  - {{ domain: plain.test, host: mail.plain.test, port: {network.smtp_port}, tls: must }}\n"
            network.start()
            first = submit(sender, "alice", ["x@plain.test"], text("x"))
            attempt = thurn.wait_until(lambda: [e for e in sender.why(first)["events"] if e["event"] == "attempt"], "an attempt")[0]
            self.assertEqual(attempt["outcomes"][0]["state"], "due")
            self.assertFalse([c for c in sink.commands if c.startswith("MAIL")])


class OverIpv6(unittest.TestCase):
    def test_an_exchanger_with_an_ipv6_address(self):
        try:
            sink = Sink("::1", family=thurn.socket.AF_INET6).start()
        except OSError:
            self.skipTest("this machine has no ::1")
        self.addCleanup(sink.stop)
        zones = {"six.test": ["@ MX 10 mail", "mail AAAA ::1"]}
        with thurn.Network(servers={"sender.test": "127.0.0.2"}, zones=zones, start=False) as network:
            sender = network["sender.test"]
            sender.delivery_port = sink.port
            sender.write_config()
            sender.config.write_text(sender.config.read_text().replace(f"  source: {sender.address}\n", ""))
            network.start()
            submit(sender, "alice", ["x@six.test", "y@[IPv6:::1]"], text("over six"))
            sink.wait_messages(2)
            thurn.wait_until(lambda: not sender.queue(), "an empty queue")
            self.assertEqual(set(sink.sources), {"::1"})


# The base class is a test case too, without tests.
del TwoServers
if __name__ == "__main__":
    unittest.main(verbosity=2)
