"""thurn ledger: every copy of every message is accounted for while mail comes and goes, of a server that runs and of one that
is stopped; and what somebody takes away behind its back is named."""
import json
import unittest

import sealed
import thurn
from talk import Sink, Talk, submission, submit, wait_mails

TEXT = b"From: alice@sender.test\r\nSubject: hello\r\n\r\nbody\r\n"


def balance(server, *words):
    """The ledger's counts that are not 0, and the rows of what is missing."""
    done = server.thurn("ledger", "--json", *words, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    counts = next(row["ledger"] for row in rows if "ledger" in row)
    return {name: count for name, count in counts.items() if count}, [row for row in rows if "missing" in row], done.returncode


def imap(server, user, *lines):
    with Talk(server.address, server.ports["imaps"], tls=True) as reader:
        reader.line()
        for line in (f"LOGIN {user}@{server.domain} {thurn.PASSWORD}", *lines):
            reader.send(f"a {line}\r\n")
            while not (got := reader.line()).startswith(b"a "):
                if got.startswith(b"+"):
                    reader.send("x: y\r\n\r\nz\r\n\r\n")
            assert got.startswith(b"a OK"), (line, got)


class Ledger(unittest.TestCase):
    def test_mail_that_comes_and_goes_is_accounted_for(self):
        with thurn.Network(zones={"sink.test": ["@ MX 10 mail", "mail A 127.0.0.9"]}) as network:
            sender, recipient = network["sender.test"], network["recipient.test"]
            sender.add_alias("both@sender.test", "alice@sender.test", "bob@sender.test")

            def answer(verb, line, sink):
                return "550 5.1.1 no such user" if "nobody" in line else None
            with Sink("127.0.0.9", network.smtp_port, answer=answer) as sink:
                submit(sender, "alice", ["both@sender.test"], TEXT)                                 # 2 into mailboxes
                submit(sender, "alice", ["bob@recipient.test", "someone@sink.test"], TEXT)          # 2 onward
                submit(sender, "alice", ["nobody@sink.test"], TEXT)                                 # 1 bounced, 1 report
                wait_mails(recipient, "bob")
                wait_mails(sender, "alice", 2)
                sink.wait_messages(1)
                thurn.wait_until(lambda: not sender.queue(), "the queue to be empty")
            imap(sender, "bob", "APPEND INBOX {11}", "SELECT INBOX", "COPY 1 Archive", "MOVE 1 Trash", "STORE 1 +FLAGS (\\Deleted)", "EXPUNGE")
            want = {"messages": 4, "reports": 1, "accepted_to_mailboxes": 3, "accepted_to_queue": 3, "appended": 1, "copied": 1, "received": 8,
                    "in_mailboxes": 4, "delivered": 2, "bounced": 1, "expunged": 1, "accounted": 8}
            self.assertEqual(balance(sender), (want, [], 0))
            self.assertEqual(balance(sender, "--quick"), (want, [], 0))
            self.assertIn("Every copy is accounted for.", sender.thurn("ledger").stdout)
            self.assertIn("ledger: 8 copies of messages received, all accounted for", sender.thurn("status").stdout)
            self.assertEqual(balance(recipient)[0]["in_mailboxes"], 1)
            sender.stop()
            self.assertEqual(balance(sender), (want, [], 0))
            sender.start()
            imap(sender, "alice", "CREATE Old", "SELECT INBOX", "MOVE 1:2 Old", "CLOSE", "DELETE Old")
            want.update(in_mailboxes=2, removed=2)
            self.assertEqual(balance(sender), (want, [], 0))
            sender.thurn("account", "remove", "bob@sender.test")         # what is in its mailboxes stays on disk
            self.assertEqual(balance(sender), (want, [], 0))

    def test_a_message_that_somebody_takes_out_of_the_queue_is_named(self):
        closed = {"closed.test": ["@ MX 10 mail", "mail A 127.0.0.9"]}              # nobody listens there: it waits
        with thurn.Network(servers={"sender.test": "127.0.0.2"}, zones=closed) as network:
            server = network["sender.test"]
            lost = submit(server, "alice", ["someone@closed.test"], TEXT)
            kept = submit(server, "alice", ["bob@sender.test"], TEXT)
            server.stop()
            gone = sealed.edit(server.folder / "data/store/state.db", "DELETE FROM rider WHERE key > 1000 AND key < 1 << 62")
            self.assertEqual(gone, 1)
            server.may_lose_mail = True
            for is_running in (False, True):
                if is_running:
                    server.start()
                counts, missing, status = balance(server)
                self.assertEqual((counts["difference"], status), (1, 1))
                self.assertEqual([(row["id"], row["recipient"]) for row in missing], [(lost, "someone@closed.test")])
                said = server.thurn("ledger", check=False)
                self.assertIn(f"missing: message {lost} to someone@closed.test", said.stdout)
                self.assertNotIn(kept, said.stdout)
                self.assertIn("NOT BALANCED", said.stdout)
            self.assertIn("ledger: NOT BALANCED, 1 of 2 copies", server.thurn("status").stdout)

    def test_a_message_whose_bytes_are_gone_is_named_while_the_server_runs(self):
        with thurn.one_server() as server:
            with submission(server) as talk:
                got = talk.mail("alice@recipient.test", "bob@recipient.test", text=TEXT.replace(b"sender", b"recipient"))
                self.assertTrue(got.startswith("250"), got)
            server.may_lose_mail = True
            for segment in (server.folder / "data/store/log").glob("*.seg"):
                segment.unlink()
            counts, missing, status = balance(server)
            self.assertNotIn("difference", counts)
            self.assertEqual(status, 1)
            self.assertEqual([(row["account"], row["mailbox"], row["uid"]) for row in missing], [("bob@recipient.test", "INBOX", 1)])
            self.assertIn("missing: in mailbox INBOX of bob@recipient.test, UID 1: its bytes are gone", server.thurn("ledger", check=False).stdout)


if __name__ == "__main__":
    unittest.main()
