"""thurn restore from what a running server still keeps: messages that were expunged, mailboxes that were deleted, a mailbox as it
was at a moment. The client is Python's imaplib."""
import contextlib
import imaplib
import json
import time
import unittest

import thurn
from talk import tls_client_context


@contextlib.contextmanager
def imap(server, user="alice"):
    client = imaplib.IMAP4_SSL(server.address, server.ports["imaps"], ssl_context=tls_client_context())
    try:
        client.login(f"{user}@{server.domain}", thurn.PASSWORD)
        yield client
    finally:
        with contextlib.suppress(imaplib.IMAP4.error, OSError):
            client.logout()


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def message(number):
    return f"From: carol@else.test\r\nSubject: letter {number}\r\nMessage-ID: <letter-{number}@else.test>\r\n\r\nbody of {number}\r\n".encode()


def append(client, numbers, mailbox="INBOX", flags="(\\Seen)"):
    for number in numbers:
        ok(client.append(mailbox, flags, f'"{number:02d}-Jan-2025 12:00:00 +0100"', message(number)))


def texts(client, mailbox="INBOX"):
    """What is in a mailbox, in order."""
    ok(client.select(mailbox, readonly=True))
    rows = ok(client.fetch("1:*", "(BODY.PEEK[])")) if int(client.untagged_responses["EXISTS"][-1]) > 0 else []
    return [row[1] for row in rows if isinstance(row, tuple)]


def expunge(client, sequence, mailbox="INBOX"):
    ok(client.select(mailbox))
    ok(client.store(sequence, "+FLAGS", "(\\Deleted)"))
    ok(client.expunge())


def moment():
    """A time behind everything so far and before everything that follows: times are whole seconds."""
    now = int(time.time())
    thurn.wait_until(lambda: time.time() >= now + 1, "the next second")
    thurn.wait_until(lambda: time.time() >= now + 2, "the one behind it")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 1))


def restore(server, *words, user="alice"):
    """The head and the rows."""
    done = server.thurn("restore", "--account", f"{user}@{server.domain}", "--json", *words)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return rows[0], rows[1:]


class Restore(unittest.TestCase):
    def test_expunged_messages_come_back_once_with_dates_and_flags(self):
        with thurn.one_server() as server, imap(server) as client:
            append(client, range(1, 7))
            ok(client.select("INBOX"))
            ok(client.store("2", "+FLAGS", "(\\Flagged $Label)"))
            before = moment()
            expunge(client, "2,5")
            head, rows = restore(server, "--at", before)
            self.assertTrue(head["is_complete"])
            inbox = next(row for row in rows if row["mailbox"] == "INBOX")
            self.assertEqual((inbox["messages"], inbox["there"], inbox["missing"]), (6, 4, 2))
            head, rows = restore(server, "--at", before, "--mailbox", "inbox")
            self.assertEqual([(row["uid"], row["subject"], row["how"]) for row in rows], [(2, "letter 2", "expunged"), (5, "letter 5", "expunged")])
            self.assertEqual(sorted(rows[0]["flags"]), ["$Label", "\\Deleted", "\\Flagged", "\\Seen"])
            self.assertEqual(rows[0]["date"], "2025-01-02T11:00:00.000Z")
            self.assertIn("letter 5", server.thurn("restore", "-A", "alice@recipient.test", "-m", "INBOX").stdout)

            head, rows = restore(server, "--at", before, "--apply")
            self.assertEqual([(row["mailbox"], row["restored"]) for row in rows], [("INBOX", 2)])
            self.assertEqual(texts(client), [message(n) for n in (1, 3, 4, 6, 2, 5)])
            ok(client.select("INBOX", readonly=True))
            fetched = ok(client.fetch("5", "(UID FLAGS INTERNALDATE)"))[0].decode()
            for part in ("UID 7", "\\Flagged", "\\Seen", "$Label", "2-Jan-2025 12:00:00 +0100"):
                self.assertIn(part, fetched)
            self.assertNotIn("Deleted", fetched)
            self.assertEqual(restore(server, "--at", before, "--apply")[1], [])         # nothing twice
            self.assertEqual(len(texts(client)), 6)

    def test_one_message_by_uid_or_message_id_into_another_mailbox(self):
        with thurn.one_server() as server, imap(server) as client:
            append(client, range(1, 5))
            expunge(client, "1:4")
            restore(server, "--mailbox", "INBOX", "--message", "3", "--apply")
            self.assertEqual(texts(client), [message(3)])
            restore(server, "--message", "<letter-2@else.test>", "--into", "Rescued", "--apply")
            self.assertEqual(texts(client, "Rescued"), [message(2)])
            self.assertEqual(texts(client), [message(3)])

    def test_a_mailbox_as_it_was_between_two_moments(self):
        with thurn.one_server() as server, imap(server) as client:
            append(client, (1, 2))
            first = moment()
            expunge(client, "1")
            append(client, (3,))
            second = moment()
            expunge(client, "1:2")
            append(client, (4,))

            def missing(at):
                return [row["subject"] for row in restore(server, "--at", at, "--mailbox", "INBOX")[1]]
            self.assertEqual(missing(first), ["letter 1", "letter 2"])
            self.assertEqual(missing(second), ["letter 2", "letter 3"])
            self.assertEqual([row["subject"] for row in restore(server, "--mailbox", "INBOX")[1]], ["letter 1", "letter 2", "letter 3"])
            restore(server, "--at", second, "--mailbox", "INBOX", "--apply")
            self.assertEqual(texts(client), [message(n) for n in (4, 2, 3)])

    def test_a_deleted_mailbox_comes_back_under_its_name_after_a_restart(self):
        with thurn.one_server() as server:
            with imap(server) as client:
                ok(client.create("Projects/Thurn"))
                append(client, range(1, 4), "Projects/Thurn", "($Label)")
                before = moment()
                ok(client.delete("Projects/Thurn"))
                self.assertEqual(client.select("Projects/Thurn")[0], "NO")
            server.stop()
            server.start()
            row = next(row for row in restore(server, "--at", before)[1] if row["mailbox"] == "Projects/Thurn")
            self.assertEqual((row["missing"], "deleted" in row), (3, True))
            restore(server, "--at", before, "--mailbox", "Projects/Thurn", "--apply")
            with imap(server) as client:
                self.assertEqual(texts(client, "Projects/Thurn"), [message(n) for n in range(1, 4)])
                self.assertIn("$Label", ok(client.fetch("1", "(FLAGS)"))[0].decode())

    def test_a_removed_account_comes_back_with_its_password_and_its_mail(self):
        with thurn.one_server() as server:
            with imap(server) as client:
                append(client, range(1, 4))
                expunge(client, "2")
            server.thurn("account", "remove", "alice@recipient.test")
            server.wait_event("account-removed")
            with self.assertRaises(imaplib.IMAP4.error), imap(server):
                pass
            done = server.thurn("restore", "--account", "alice@recipient.test", check=False)
            self.assertIn("One that was removed comes back with --apply", done.stderr)
            server.stop()
            server.start()
            server.thurn("restore", "--account", "alice@recipient.test", "--apply")
            server.wait_event("account-restored")
            with imap(server) as client:
                self.assertEqual(texts(client), [message(n) for n in (1, 3, 2)])
            done = server.thurn("restore", "--account", "never@recipient.test", "--apply", check=False)
            self.assertIn("no account never@recipient.test was removed", done.stderr)

    def test_when_the_time_is_over_the_answer_says_what_cannot_be_shown(self):
        with thurn.one_server(settings="store:\n  keep_expunged: 1s") as server, imap(server) as client:
            append(client, (1, 2))
            before = moment()
            expunge(client, "1:2")

            def is_over():                  # the store looks every ten seconds, when something happens or a minute has passed
                ok(client.noop())
                append(client, (3,), "Drafts")
                return not restore(server, "--at", before)[0]["is_complete"]
            thurn.wait_until(is_over, "the expunged messages to be forgotten", 4 * thurn.TIMEOUT)
            head, rows = restore(server, "--at", before, "--mailbox", "INBOX")
            self.assertEqual(rows, [])
            self.assertIn("complete_since", head)
            said = server.thurn("restore", "--account", "alice@recipient.test", "--at", before).stdout
            self.assertIn("Not everything that was there then is kept any more", said)

    def test_words_that_make_no_sense_are_answered(self):
        with thurn.one_server() as server:
            for words, said in (((), "--account ADDRESS"), (("--account", "nobody@recipient.test"), "there is no account"),
                                (("--account", "alice@recipient.test", "--at", "noon"), '"2026-11-20 14:00"'),
                                (("--account", "alice@recipient.test", "--mailbox", "None"), "there is no such mailbox")):
                done = server.thurn("restore", *words, check=False)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(said, done.stderr)


if __name__ == "__main__":
    unittest.main()
