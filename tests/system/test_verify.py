"""thurn verify: of a server that runs under load nothing is found; of one that was stopped and damaged everything is, and after
--repair all mail that could be read is there as IMAP showed it before."""
import contextlib
import hashlib
import imaplib
import json
import random
import re
import threading
import unittest

import thurn
from talk import submission, tls_client_context

DOMAIN = "here.test"
NAMES = ("alice", "bob", "carol")
LISTENS = ("smtp", "submission", "imaps")


@contextlib.contextmanager
def reader(server, name):
    client = imaplib.IMAP4_SSL(server.address, server.ports["imaps"], ssl_context=tls_client_context(), timeout=thurn.TIMEOUT)
    with client:
        client.login(f"{name}@{DOMAIN}", thurn.PASSWORD)
        yield client


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def mail_of(server, name):
    """All that IMAP shows of an account: {mailbox: (UIDVALIDITY, UIDNEXT, {uid: (flags, date, digest)})}."""
    found = {}
    with reader(server, name) as client:
        boxes = [re.search(rb'"/" "?(.*?)"?$', line).group(1).decode() for line in ok(client.list())]
        for box in boxes:
            ok(client.select(f'"{box}"', readonly=True))
            status = ok(client.status(f'"{box}"', "(UIDVALIDITY UIDNEXT)"))[0].decode()
            messages = {}
            for part in ok(client.uid("FETCH", "1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")):
                if isinstance(part, tuple):
                    head = part[0].decode()
                    uid = int(re.search(r"UID (\d+)", head).group(1))
                    flags = tuple(sorted(flag.decode() for flag in imaplib.ParseFlags(part[0]) if flag != b"\\Recent"))
                    date = re.search(r'INTERNALDATE "(.*?)"', head).group(1)
                    messages[uid] = (flags, date, hashlib.sha256(part[1]).hexdigest())
            found[box] = (re.search(r"UIDVALIDITY (\d+)", status).group(1), int(re.search(r"UIDNEXT (\d+)", status).group(1)), messages)
    return found


def all_mail(server):
    return {name: mail_of(server, name) for name in NAMES}


def text(number, size):
    return f"From: alice@{DOMAIN}\r\nSubject: {number}\r\n\r\n".encode() + b"".join(b"%d line %d\r\n" % (number, i) for i in range(size))


class Verify(unittest.TestCase):
    def setUp(self):
        self.server = self.enterContext(thurn.one_server(start=False, domain=DOMAIN, settings="store: { keep_expunged: 0 }", protocols=LISTENS))
        self.server.start()
        self.server.stop()
        self.server.use_small_segments()
        self.server.start()
        self.server.add_domain()
        for name in NAMES:
            self.server.add_account(name)

    def send(self, count, first=0, over=None):
        with submission(self.server) as talk:
            for number in range(first, first + count):
                if over is not None and over.is_set():
                    return
                got = talk.mail(f"alice@{DOMAIN}", f"{NAMES[number % 3]}@{DOMAIN}", f"{NAMES[(number + 1) % 3]}@{DOMAIN}", text=text(number, 10 + number % 7 * 200))
                self.assertTrue(got.startswith("250"), got)

    def move_about(self, name):
        """Flags, copies, moves, expunges, new mailboxes, keywords, large messages."""
        with reader(self.server, name) as client:
            ok(client.create("Work/Notes"))
            ok(client.append("Work/Notes", "(\\Flagged)", None, text(1, 30000)))
            ok(client.append("Work/Notes", "", None, text(2, 20)))
            ok(client.select("INBOX"))
            ok(client.store("1:4", "+FLAGS", "(\\Seen $Label1)"))
            ok(client.copy("2:3", "Archive"))
            ok(client.store("5:12", "+FLAGS", "(\\Deleted)"))
            ok(client.expunge())

    def verify(self, *words):
        done = self.server.thurn("verify", "--json", *words, check=False)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return [row for row in rows if "finding" in row], rows, done

    def assert_clean(self):
        findings, rows, done = self.verify()
        self.assertEqual((findings, done.returncode), ([], 0), done.stderr)
        return rows[-1]["verified"]

    def repair(self):
        findings, rows, done = self.verify("--repair")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return findings, next(row["repaired"] for row in rows if "repaired" in row)

    def state(self, name="state.db"):
        return self.server.data / "store" / name

    def test_damage_is_found_named_and_repaired(self):
        self.check_a_loaded_server_is_clean()
        for name in NAMES:
            self.move_about(name)
        before = all_mail(self.server)
        self.assert_clean()
        refused = self.server.thurn("verify", "--repair", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("Stop the server first", refused.stderr)
        self.server.stop()
        self.assertTrue(self.assert_clean()["is_compared"])
        for act in (self.delete_state, self.write_noise):
            with self.subTest(act.__name__):
                self.check_rebuilt(act, before)
        self.check_flipped_bits(before)

    def check_a_loaded_server_is_clean(self):
        over = threading.Event()
        load = threading.Thread(target=self.send, args=(100000, 0, over))
        load.start()
        try:
            for _ in range(3):
                self.assert_clean()
        finally:
            over.set()
            load.join()
        self.send(60, 100000)

    def delete_state(self):
        for name in ("state.db", "state.db-wal", "state.db-shm"):
            self.state(name).unlink(missing_ok=True)

    def write_noise(self):
        self.state().write_bytes(random.Random(7).randbytes(self.state().stat().st_size))

    def check_rebuilt(self, act, before):
        act()
        findings, _, done = self.verify()
        self.assertEqual((findings[0]["finding"], findings[0]["file"], done.returncode), ("state", "state.db", 1))
        findings, figures = self.repair()
        self.assertTrue(figures["is_rebuilt"])
        self.assertEqual(figures["lost_messages"], 0)
        self.server.start()
        self.assertEqual(all_mail(self.server), before)
        self.server.stop()

    def check_flipped_bits(self, before):
        """In the middle of two messages: they are named, and nothing else is gone or changed."""
        wanted = {b"100001 line 3\r\n", b"100030 line 3\r\n"}
        for path in sorted((self.server.data / "store/log").glob("*.seg")):
            with open(path, "r+b") as segment:
                content = segment.read()
                for line in wanted:
                    for found in re.finditer(re.escape(line), content):
                        segment.seek(found.start())
                        segment.write(bytes([content[found.start()] ^ 4]))
        findings, _, done = self.verify()
        named = {(row["account"], row["mailbox"], row["uid"]) for row in findings if row["finding"] == "message"}
        self.assertEqual(done.returncode, 1)
        self.assertIn("damage", {row["finding"] for row in findings})
        self.assertGreaterEqual(len(named), 2)
        accepted = [row for row in findings if row["finding"] == "message" and row["mailbox"] == "INBOX"]
        self.assertTrue(accepted and all("id" in row for row in accepted), findings)
        _, figures = self.repair()
        self.assertEqual(figures["lost_messages"], len(named))
        self.server.start()
        after = all_mail(self.server)
        gone = set()
        for name in NAMES:
            for box, (_, _, messages) in before[name].items():
                for uid, message in messages.items():
                    if uid in after[name][box][2]:
                        self.assertEqual(after[name][box][2][uid], message)
                    else:
                        gone.add((f"{name}@{DOMAIN}", box, uid))
        self.assertEqual(gone, named)
        for row in accepted:                            # named as thurn why knows it
            self.assertIn(f"{row['account']}", self.server.thurn("why", row["id"]).stdout)
        self.send(1, 200000)                            # and it goes on
        self.assert_clean()
        self.server.stop()


if __name__ == "__main__":
    unittest.main()
