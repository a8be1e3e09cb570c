"""thurn backup of a server that works meanwhile, and thurn restore from it: a whole server, an account, a mailbox, a message. The
load comes from Python's imaplib and smtplib, which write down what was acknowledged."""
import contextlib
import json
import pathlib
import random
import shutil
import signal
import smtplib
import subprocess
import tempfile
import threading
import unittest

import thurn
from talk import tls_client_context
from test_restore import append, expunge, imap, message, ok, texts


class Load(threading.Thread):
    """Appends messages of all sizes, submits some, expunges some; `acknowledged` has what the server said OK to, in order."""

    def __init__(self, server):
        super().__init__()
        self.server = server
        self.random = random.Random(7)
        self.is_over = threading.Event()
        self.acknowledged = []                # (Message-ID, bytes or None when the server adds to it)
        self.failure = None

    def text(self, number):
        size = self.random.choice((100, 3000, 20000, 300000 if number % 20 == 0 else 5000))
        filler = "".join(self.random.choices("abcdefghij \t", k=70))
        lines = "\r\n".join(f"{n} {filler}" for n in range(size // 76))
        return f"From: alice@{self.server.domain}\r\nSubject: {number}\r\nMessage-ID: <load-{number}@else.test>\r\n\r\n{lines}\r\n".encode()

    def submit(self, number):
        with smtplib.SMTP(self.server.address, self.server.ports["submission"], timeout=thurn.TIMEOUT) as client:
            client.starttls(context=tls_client_context())
            client.login(f"alice@{self.server.domain}", thurn.PASSWORD)
            client.sendmail(f"alice@{self.server.domain}", [f"bob@{self.server.domain}"], self.text(number))
        self.acknowledged.append((f"<load-{number}@else.test>", None))

    def run(self):
        try:
            with imap(self.server) as client:
                number = 0
                while not self.is_over.is_set():
                    number += 1
                    text = self.text(number)
                    ok(client.append("INBOX", None, None, text))
                    self.acknowledged.append((f"<load-{number}@else.test>", text))
                    if number % 10 == 0:
                        append(client, (1,), "Trash")
                        expunge(client, "1:*", "Trash")
                    if number % 7 == 0:
                        number += 1
                        self.submit(number)
        except BaseException as failure:
            self.failure = failure
            raise

    def wait_for(self, count):
        thurn.wait_until(lambda: self.failure or len(self.acknowledged) >= count, f"{count} messages to be acknowledged", 4 * thurn.TIMEOUT)
        assert self.failure is None, self.failure
        return list(self.acknowledged)

    def stop(self):
        self.is_over.set()
        self.join()


@contextlib.contextmanager
def under_load(server):
    load = Load(server)
    load.start()
    try:
        yield load
    finally:
        load.stop()


@contextlib.contextmanager
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="thurn-backup-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def back_up(server, path, *words):
    return json.loads(server.thurn("backup", "--json", path, *words).stdout)


@contextlib.contextmanager
def restored(path, domain="recipient.test"):
    """Another server, on a data directory that came from the backup."""
    with thurn.one_server(start=False, domain=domain) as server:
        server.write_config()
        server.thurn("restore", path)
        server.start()
        yield server


def read_all(server):
    """Every message of alice's and bob's inboxes by its Message-ID."""
    found = {}
    for user in ("alice", "bob"):
        with imap(server, user) as client:
            for text in texts(client):
                found[text.split(b"Message-ID: ")[1].split(b"\r\n")[0].decode()] = text
    return found


def check_has(test, server, acknowledged):
    found = read_all(server)
    for message_id, text in acknowledged:
        test.assertIn(message_id, found)
        if text is not None:
            test.assertEqual(found[message_id], text)
    return found


@contextlib.contextmanager
def small_server(domain="recipient.test"):
    """With small segments: many of them are filled, emptied and used again within the test."""
    with thurn.one_server(start=False, domain=domain) as server:
        server.start()
        server.stop()
        server.use_small_segments()
        server.start()
        server.add_domain()
        for name in ("alice", "bob"):
            server.add_account(name)
        yield server


class Backup(unittest.TestCase):
    def test_what_was_acknowledged_before_a_backup_began_is_in_it_and_the_next_one_copies_what_is_new(self):
        with small_server() as server, folder() as path:
            with under_load(server) as load:
                before = load.wait_for(60)
                first = back_up(server, path)
                self.assertTrue(first["running"])
                self.assertEqual(first["damaged"], 0)
                with restored(path) as second_server:
                    check_has(self, second_server, before)
                later = load.wait_for(len(load.acknowledged) + 60)
                back_up(server, path, "--rate", "200M")
            back_up(server, path)

            def copies_little():                # the databases, and no segment; unless a checkpoint comes between
                again = back_up(server, path)
                manifest = json.loads((path / "MANIFEST").read_text().splitlines()[0])
                databases = sum(f["bytes"] for f in manifest["files"] if f["name"].startswith("snapshot"))
                return again["copied"] - databases < 4096 and again["copied"] < again["bytes"] / 4
            thurn.wait_until(copies_little, "a backup that has next to nothing to copy")
            with restored(path) as third_server:
                found = check_has(self, third_server, later + load.acknowledged)
                self.assertEqual(found, read_all(server))
                append_again = [(f"<letter-{n}@else.test>", message(n)) for n in range(1, 4)]
                with imap(third_server) as client:                          # it goes on from there
                    append(client, range(1, 4))
                check_has(self, third_server, append_again)
                back_up(third_server, path)                                 # another history from here on, in the same folder
                with restored(path) as fourth_server:
                    self.assertEqual(read_all(fourth_server), read_all(third_server))

    def test_a_backup_killed_at_any_moment_leaves_the_one_before_it_whole_or_none(self):
        with small_server() as server, folder() as path:
            with under_load(server) as load:
                load.wait_for(40)
            whole = {}
            chance = random.Random(11)
            for attempt in range(12):
                process = subprocess.Popen([server.program, "backup", "--config", str(server.config), "--rate", "20M", str(path)],
                                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(chance.random() * 0.3)
                process.send_signal(signal.SIGKILL)
                process.wait()
                with thurn.one_server(start=False) as other:
                    other.write_config()
                    done = other.thurn("restore", path, check=False)
                    if (path / "MANIFEST").exists():
                        self.assertEqual(done.returncode, 0, done.stderr)
                        other.start()
                        found = read_all(other)
                        self.assertGreaterEqual(found.keys(), whole.keys())
                        whole = found
                    else:
                        self.assertIn("there is no MANIFEST", done.stderr)
                        self.assertFalse((other.data / "store").exists())
                with imap(server) as client:
                    append(client, (attempt + 1,))
            back_up(server, path)
            with restored(path) as other:
                self.assertEqual(read_all(other), read_all(server))

    def test_an_account_a_mailbox_and_a_message_come_back_into_a_server_that_runs_and_one_that_does_not(self):
        with thurn.one_server() as server, folder() as path:
            large = b"Message-ID: <large@else.test>\r\n\r\n" + b"0123456789abcdef\r\n" * 60000
            with imap(server) as client:
                append(client, range(1, 5), "INBOX", "(\\Flagged $Label)")
                ok(client.create("Projects/Thurn"))
                ok(client.append("Projects/Thurn", None, None, large))
            back_up(server, path)
            with imap(server) as client:
                expunge(client, "1:*")
                ok(client.delete("Projects/Thurn"))
            for is_running in (True, False):
                if not is_running:
                    server.stop()
                alice = ("--account", f"alice@{server.domain}")
                server.thurn("restore", path, *alice, "--mailbox", "INBOX", "--message", "<letter-3@else.test>")
                server.thurn("restore", path, *alice, "--mailbox", "Projects/Thurn")
                server.thurn("restore", path, *alice, "--mailbox", "INBOX", "--into", "Rescued")
                if not is_running:
                    server.start()
                with imap(server) as client:
                    self.assertEqual(texts(client), [message(3)])
                    fetched = ok(client.fetch("1", "(FLAGS INTERNALDATE)"))[0].decode()
                    for part in ("\\Flagged", "$Label", " 3-Jan-2025 12:00:00 +0100"):
                        self.assertIn(part, fetched)
                    self.assertEqual(texts(client, "Projects/Thurn"), [large])
                    self.assertEqual(texts(client, "Rescued"), [message(n) for n in range(1, 5)])
                    for name in ("INBOX", "Projects/Thurn", "Rescued"):
                        expunge(client, "1:*", name)
            server.thurn("restore", path, *alice)
            with imap(server) as client:
                self.assertEqual(texts(client), [message(n) for n in range(1, 5)])
                self.assertEqual(texts(client, "Projects/Thurn"), [large])

    def test_damage_in_a_backup_and_in_its_original_is_said(self):
        with small_server() as server, folder() as path:
            server.may_lose_mail = True
            with under_load(server) as load:
                load.wait_for(60)
            server.stop()
            back_up(server, path)
            segment = sorted((path / "log").iterdir())[0]
            original = segment.read_bytes()
            segment.write_bytes(original[:5000] + bytes([original[5000] ^ 1]) + original[5001:])
            with thurn.one_server(start=False) as other:
                other.write_config()
                done = other.thurn("restore", path, check=False)
                self.assertEqual(done.returncode, 1)
                self.assertIn(f"{segment.name} is damaged", done.stderr)
                self.assertFalse((other.data / "store").exists())
            shutil.rmtree(path)
            mine = server.data / "store/log" / segment.name
            mine.write_bytes(original[:5000] + bytes([original[5000] ^ 1]) + original[5001:])
            done = server.thurn("backup", path, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"{segment.name} is damaged at byte", done.stderr)

    def test_folders_that_are_not_meant_are_refused(self):
        with thurn.one_server() as server, folder() as path:
            done = server.thurn("restore", path, check=False)
            self.assertIn("there is no MANIFEST", done.stderr)
            back_up(server, path)
            done = server.thurn("restore", path, check=False)
            self.assertIn("is not empty: stop the server", done.stderr)
            done = server.thurn("backup", server.folder, check=False)
            self.assertIn("has other things in it", done.stderr)
            done = server.thurn("restore", path, "--account", "nobody@recipient.test", check=False)
            self.assertIn("no such account", done.stderr)
            for words, said in ((("backup",), "where to?"), (("restore", path, "--mailbox", "INBOX"), "--account ADDRESS"),
                                (("backup", "--rate", "fast", path), "--rate")):
                done = server.thurn(*words, check=False)
                self.assertEqual(done.returncode, 2)
                self.assertIn(said, done.stderr)


if __name__ == "__main__":
    unittest.main()
