"""The command line as a new user types it, for people and for programs, on a running server; and sendmail, mailq and
newaliases as cron, PHP and mail(1) call them."""
import contextlib
import email
import email.policy
import json
import os
import pathlib
import pty
import re
import select
import shutil
import socket
import stat
import subprocess
import threading
import time
import unittest

import thurn
from talk import mails, wait_mails

STACK = contextlib.ExitStack()
CLOSED = "127.0.0.9"                # nobody listens there: what goes to closed.test waits in the queue
network = sender = recipient = None
counter = iter(range(1, 10000))


def setUpModule():
    global network, sender, recipient
    network = STACK.enter_context(thurn.Network(zones={"closed.test": ["@ MX 10 mail", f"mail A {CLOSED}"]}))
    sender, recipient = network["sender.test"], network["recipient.test"]


def tearDownModule():
    STACK.close()


def parse(raw):
    return email.message_from_bytes(raw, policy=email.policy.default)


def rows(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = network.folder / f"case{next(counter)}"
        self.folder.mkdir()

    def thurn(self, *words, status=0, says=None, **kwargs):
        """A command with the exit status it should have; `says` is what stands on standard error when it fails."""
        done = sender.thurn(*words, check=False, **kwargs)
        self.assertEqual(done.returncode, status, f"{words}\n{done.stdout}\n{done.stderr}")
        if status == 0:
            self.assertFalse(done.stderr)
        if says:
            self.assertRegex(done.stderr, says)
            self.assertLessEqual(len(done.stderr.splitlines()), 2, done.stderr)
        return done

    def server(self, port, user, server=None):
        """Words that say where to connect and as whom; the password goes by a file."""
        server = server or sender
        password = self.folder / "password"
        password.write_text(thurn.PASSWORD + "\n")
        return ("--server", f"{server.address}:{server.ports[port]}", "--ca", server.certificate, "--tls",
                "implicit" if port.endswith("s") else "starttls", "--user", f"{user}@{server.domain}", "--password-file", password)

    def account(self, server=None):
        return (server or sender).add_account(f"someone{next(counter)}")

    def arrives(self, user, subject, server=None):
        """The message with this subject, once it is there."""
        def look():
            return [raw for raw in mails(server or sender, user) if parse(raw)["Subject"] == subject]
        return thurn.wait_until(look, f"{subject!r} for {user}")[0]

    def terminal(self, words, answers=(), env=None):
        """A command on a terminal of its own: (exit status, what stood there). `answers` are typed, one at each question."""
        pid, fd = pty.fork()
        if pid == 0:
            os.environ.update({"THURN_CONFIG": str(sender.config), "TERM": "vt100", **(env or {})})
            for name in ("THURN_PASSWORD",):
                os.environ.pop(name, None)
            os.execv(sender.program, [sender.program, *map(str, words)])
        shown, answered = b"", 0                        # up to here every question has its answer
        end = time.monotonic() + thurn.TIMEOUT
        while True:
            self.assertLess(time.monotonic(), end, shown)
            if not select.select([fd], [], [], 1)[0]:
                continue
            try:
                data = os.read(fd, 65536)
            except OSError:                             # the other end is closed
                break
            if not data:
                break
            shown += data
            if answers and shown[answered:].endswith(b": "):
                os.write(fd, answers.pop(0).encode() + b"\n")
                answered = len(shown)
        os.close(fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode(errors="replace")


class Directory(Case):
    def test_domains(self):
        self.assertEqual(self.thurn("domain", "add", "new.test").stdout, "new.test: added\n")
        self.thurn("domain", "add", "new.test", status=1, says="is there already")
        self.thurn("domain", "add", "not a domain", status=1, says="domain")
        self.assertIn({"domain": "new.test"}, rows(self.thurn("domain", "list", "--json")))
        self.assertIn("new.test", self.thurn("domain", "list").stdout.split())
        self.thurn("account", "add", "a@new.test", input="secret\n")
        self.thurn("domain", "remove", "new.test", status=1, says="still has 1 account")
        self.thurn("account", "remove", "a@new.test")
        self.assertEqual(rows(self.thurn("domain", "remove", "new.test", "--json")), [{"domain": "new.test", "done": "removed"}])
        self.thurn("domain", "remove", "new.test", status=1, says="no domain new.test")

    def test_accounts(self):
        name = "carl@sender.test"
        self.thurn("account", "add", "carl@nowhere.test", input="x\n", status=1, says="thurn domain add nowhere.test")
        self.thurn("account", "add", "no address", input="x\n", status=1, says="no address")
        self.thurn("account", "add", name, input="\n", status=1, says="password is empty")
        self.thurn("account", "add", name, input="secret\n")
        self.thurn("account", "add", name, input="secret\n", status=1, says="is there already")
        self.logs_in(name, "secret")
        self.thurn("account", "password", name, input="changed\n")
        self.logs_in(name, "changed")
        self.logs_in(name, "secret", status=1)
        self.thurn("account", "quota", name, "5G")
        self.thurn("account", "quota", name, "lots", status=2, says="lots")
        row, = [row for row in rows(self.thurn("account", "list", "--json")) if row["account"] == name]
        self.assertEqual((row["quota_bytes"], row["is_enabled"]), (5 << 30, True))
        self.thurn("account", "disable", name)
        self.assertRegex(self.thurn("account", "list").stdout, rf"{name} +5G +disabled")
        self.logs_in(name, "changed", status=1)
        self.thurn("account", "enable", name)
        self.logs_in(name, "changed")
        self.thurn("account", "remove", name)
        self.logs_in(name, "changed", status=1)
        self.thurn("account", "remove", name, status=1, says="no account carl")

    def logs_in(self, name, password, status=0):
        done = self.thurn("fetch", "--server", f"{sender.address}:{sender.ports['imaps']}", "--tls", "implicit", "--ca", sender.certificate,
                          "--user", name, "list", env={"THURN_PASSWORD": password}, status=status)
        self.assertEqual("INBOX" in done.stdout, status == 0)

    def test_a_generated_password_is_shown_once(self):
        done = self.thurn("account", "add", "dora@sender.test", "--generate")
        self.logs_in("dora@sender.test", re.search(r"(?m)^password: (\S{16,})$", done.stdout)[1])
        done = self.thurn("account", "password", "dora@sender.test", "--generate", "--json")
        self.logs_in("dora@sender.test", {k: v for row in rows(done) for k, v in row.items()}["password"])

    def test_a_password_is_asked_twice_on_a_terminal_and_not_shown(self):
        status, shown = self.terminal(["account", "add", "emma@sender.test"], ["typed unseen", "typed unseen"])
        self.assertEqual(status, 0, shown)
        self.assertNotIn("typed unseen", shown)
        self.logs_in("emma@sender.test", "typed unseen")
        status, shown = self.terminal(["account", "password", "emma@sender.test"], ["one thing", "another"])
        self.assertEqual(status, 1, shown)
        self.logs_in("emma@sender.test", "typed unseen")

    def test_aliases(self):
        self.thurn("alias", "add", "info@sender.test", "alice@sender.test", "bob@recipient.test")
        self.assertIn({"alias": "info@sender.test", "targets": ["alice@sender.test", "bob@recipient.test"]},
                      rows(self.thurn("alias", "list", "--json")))
        self.assertRegex(self.thurn("alias", "list").stdout, r"info@sender\.test +alice@sender\.test bob@recipient\.test")
        self.thurn("send", *self.server("submission", "bob"), "--from", "bob@sender.test", "--to", "info@sender.test",
                   "--subject", "for both", "--body", "x")
        self.arrives("alice", "for both")
        self.arrives("bob", "for both", recipient)
        self.thurn("alias", "add", "info@other.test", "alice@sender.test", status=1, says="thurn domain add other.test")
        self.thurn("alias", "remove", "info@sender.test")
        self.thurn("alias", "remove", "info@sender.test", status=1, says="no alias")


class Mail(Case):
    """send and fetch."""

    def test_send_says_what_happened(self):
        for port in ("submission", "submissions"):
            done = self.thurn("send", "--json", *self.server(port, "alice"), "--from", "Alice <alice@sender.test>", "--to",
                              "bob@recipient.test, nobody@sender.test", "--cc", "bob@sender.test", "--bcc", "alice@sender.test", "--subject",
                              f"Grüße {port}", "--body", "Schön", status=1)
            row, = rows(done)
            self.assertEqual(row["auth_mechanism"], "SCRAM-SHA-256-PLUS")
            self.assertEqual((row["tls_version"], row["tls_verified"]), ("TLSv1.3", True))
            fates = {r["address"]: r for r in row["recipients"]}
            self.assertEqual({name for name, fate in fates.items() if fate["accepted"]},
                             {"bob@recipient.test", "bob@sender.test", "alice@sender.test"})
            self.assertEqual((fates["nobody@sender.test"]["code"], fates["nobody@sender.test"]["status"]), (550, "5.1.1"))
            got = parse(self.arrives("bob", f"Grüße {port}", recipient))
            self.assertEqual(got["From"], "Alice <alice@sender.test>")
            self.assertEqual(got.get_content().rstrip(), "Schön")
            self.assertIsNone(got["Bcc"])
            self.assertEqual(got["Message-ID"], row["message_id"])

    def test_send_for_a_person(self):
        done = self.thurn("send", *self.server("submission", "alice"), "--from", "alice@sender.test", "--to", "bob@sender.test",
                          "--to", "nobody@sender.test", "--subject", "for a person", "--body", "x", status=1)
        self.assertRegex(done.stdout, r"(?m)^accepted +bob@sender\.test: 250 2\.0\.0 accepted as \w{13}$")
        self.assertRegex(done.stderr, r"(?m)^refused +nobody@sender\.test: 550 5\.1\.1 ")

    def test_attachments_have_their_types_and_the_text_comes_from_anywhere(self):
        picture, data = self.folder / "Bild ä.png", self.folder / "data.bin"
        picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 30)
        data.write_bytes(bytes(range(256)) * 4000)
        self.thurn("send", *self.server("submissions", "alice"), "--from", "alice@sender.test", "--to", "bob@recipient.test", "--subject",
                   "attached", "--body-file", "-", "--attach", picture, "--attach", data, input="From standard input\nzwei Ω\n")
        got = parse(self.arrives("bob", "attached", recipient))
        self.assertEqual(got.get_body().get_content().replace("\r\n", "\n"), "From standard input\nzwei Ω\n")
        parts = {part.get_filename(): (part.get_content_type(), part.get_content()) for part in got.iter_attachments()}
        self.assertEqual(parts, {"Bild ä.png": ("image/png", picture.read_bytes()),
                                 "data.bin": ("application/octet-stream", data.read_bytes())})

    def test_a_raw_message_goes_as_it_is(self):
        raw = b"From: alice@sender.test\nTo: bob@sender.test\nSubject: raw\nDate: Mon, 1 Jan 2024 10:00:00 +0000\n" \
              b"Message-ID: <raw@sender.test>\nX-Own: \tas it is  \n\n.\n..two\nlast line"
        (self.folder / "raw.eml").write_bytes(raw)
        self.thurn("send", *self.server("submission", "alice"), "--raw", self.folder / "raw.eml", "--read-recipients")
        got = self.arrives("bob", "raw")
        self.assertTrue(got.endswith(raw.replace(b"\n", b"\r\n") + b"\r\n"), got)
        self.thurn("send", "--server", f"{sender.address}:{sender.ports['lmtp']}", "--tls", "none", "--protocol", "lmtp", "--from",
                   "x@elsewhere.test", "--to", "bob@sender.test", "--subject", "by lmtp", "--body", "x")
        self.arrives("bob", "by lmtp")

    def test_mistakes_are_named_and_nothing_is_sent(self):
        submission = self.server("submission", "alice")
        for words, says in (
                (("--from", "alice@sender.test"), "--to ADDR"),
                (("--to", "bob@sender.test"), "--from ADDR"),
                (("--from", "alice@sender.test", "--to", "bob"), "\"bob\""),
                (("--from", "alice@sender.test", "--to", "bob@sender.test", "--attach", "/nonexistent"), "/nonexistent: No such file"),
                (("--from", "bob@sender.test", "--to", "alice@sender.test", "--subject", "x"), "5[.]7[.]1|not yours|as"),
        ):
            with self.subTest(words):
                done = sender.thurn("send", *submission, *words, check=False)
                self.assertIn(done.returncode, (1, 2))
                self.assertRegex(done.stderr, says)
        self.thurn("send", "--nonsense", status=2, says="nonsense")
        wrong = (*submission[:-1], "/dev/null")
        self.thurn("send", *wrong, "--from", "alice@sender.test", "--to", "bob@sender.test", status=2, says="/dev/null")
        self.thurn("send", "--server", f"{CLOSED}:{sender.ports['submission']}", "--from", "a@sender.test", "--to", "b@sender.test",
                   status=1, says="cannot connect to 127.0.0.9 port [0-9]+: Connection refused")
        untrusted = [word for word in submission if word not in ("--ca", sender.certificate)]
        self.thurn("send", *untrusted, "--from", "alice@sender.test", "--to", "bob@sender.test", status=1, says="--ca FILE")

    def test_fetch_lists_and_reads_over_imap_and_pop3(self):
        user = self.account()
        name = user.split("@")[0]
        for subject in ("one", "Zwölf"):
            self.thurn("send", *self.server("submission", "alice"), "--from", "alice@sender.test", "--to", user, "--subject", subject,
                       "--body", "x")
        stored = mails(sender, user)
        self.assertEqual(len(stored), 2)
        imap, pop3 = self.server("imaps", name), ("--protocol", "pop3", *self.server("pop3s", name))
        folders = {row["mailbox"]: row for row in rows(self.thurn("fetch", *imap, "list", "--json"))}
        self.assertEqual((folders["INBOX"]["messages"], folders["INBOX"]["unseen"]), (2, 2))
        self.assertEqual({row.get("special_use") for row in folders.values()},
                         {None, "\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash"})
        self.assertRegex(self.thurn("fetch", *imap, "list").stdout, r"(?m)^ +2 messages +2 unread +INBOX$")
        for way in (imap, pop3, self.server("imap", name), ("--protocol", "pop3", *self.server("pop3", name))):
            listed = rows(self.thurn("fetch", *way, "list", "messages", "--json"))
            self.assertEqual([row["subject"] for row in listed], ["one", "Zwölf"])
            self.assertEqual([row["size"] for row in listed], [len(raw) for raw in stored])
            self.assertRegex(self.thurn("fetch", *way, "list", "messages").stdout, "alice@sender.test +Zwölf")
            got = self.thurn("fetch", *way, "get", "2", text=False)
            self.assertEqual(got.stdout, stored[1])
            into = self.folder / "out"
            into.mkdir(exist_ok=True)
            self.thurn("fetch", *way, "get", "--all", "--output", into)
            self.assertEqual(sorted(path.read_bytes() for path in into.iterdir()), sorted(stored))
            shutil.rmtree(into)
        self.thurn("fetch", *imap, "--mailbox", "None", "list", "messages", status=1, says="no such mailbox")
        self.thurn("fetch", *imap, "get", "17", status=1)
        self.thurn("fetch", *imap, "get", status=2, says="numbers or --all")
        into.mkdir()
        self.thurn("fetch", *pop3, "get", "--all", "--delete", "--output", into)
        self.assertEqual(mails(sender, user), [])

    def test_the_wrong_kind_of_tls_is_told(self):
        self.thurn("fetch", "--server", f"{sender.address}:{sender.ports['imap']}", "--tls", "implicit", "--ca", sender.certificate, "--user",
                   "x", "list", env={"THURN_PASSWORD": "x"}, status=1, says="--tls starttls")
        self.thurn("fetch", "--server", f"{sender.address}:{sender.ports['imaps']}", "--tls", "starttls", "--ca", sender.certificate,
                   "--timeout", "1", "--user", "x", "list", env={"THURN_PASSWORD": "x"}, status=1, says="--tls implicit")

    def test_import_and_export(self):
        user = self.account()
        name = user.split("@")[0]
        box = self.folder / "old.mbox"
        box.write_text("".join(f"From a@b.test Mon Jan  1 10:00:0{n} 2024\nFrom: a@b.test\nSubject: old {n}\n\n>From here\n\n" for n in range(5)))
        done = self.thurn("import", *self.server("imaps", name), "--mailbox", "Old/Mail", "mbox", box)
        self.assertRegex(done.stdout, "^5 messages imported")
        self.thurn("export", *self.server("imap", name), "maildir", self.folder / "by-server")
        self.thurn("export", "--account", user, "maildir", self.folder / "by-store")
        contents = [sorted(path.read_bytes() for path in (self.folder / way).rglob("cur/*")) for way in ("by-server", "by-store")]
        self.assertEqual(contents[0], [f"From: a@b.test\nSubject: old {n}\n\nFrom here\n".encode() for n in range(5)])
        self.assertEqual(contents[0], contents[1])
        other = self.account()
        row, = rows(self.thurn("import", "--json", *self.server("imaps", other.split("@")[0]), "maildir", self.folder / "by-server"))
        self.assertEqual((row["kept"], row["skipped_count"]), (5, 0))
        self.thurn("import", "--account", user, "mbox", box, status=1, says="in use|--server")
        self.thurn("export", "--account", "nobody@sender.test", "mbox", self.folder / "x", status=1, says="no such account")
        self.thurn("import", *self.server("imaps", name), "mbox", "/nonexistent", status=1)

    def test_inspect(self):
        path = self.folder / "message"
        path.write_bytes(b"From: a@b.test\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
                         b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n"
                         b"Content-Type: application/pdf; name=x.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n")
        shown = self.thurn("inspect", path).stdout
        for word in ("Grüße", "multipart/mixed", "application/pdf", "x.pdf"):
            self.assertIn(word, shown)
        row, = rows(self.thurn("inspect", "--json", path))
        pdf = row["message"]["parts"][1]
        self.assertEqual((pdf["type"], pdf["content_bytes"]), ("application/pdf", 3))
        self.assertEqual(path.read_bytes()[pdf["body_start"]:pdf["body_end"]].strip(), b"AAEC")
        self.thurn("inspect", "/nonexistent", status=1, says="cannot open /nonexistent")


class Queue(Case):
    def queued(self, subject):
        """A message that waits, as nobody answers; its id."""
        row, = rows(self.thurn("send", "--json", *self.server("submission", "alice"), "--from", "alice@sender.test", "--to",
                               "far@closed.test", "--subject", subject, "--body", "x"))
        message_id = row["recipients"][0]["reply"].split()[-1]
        thurn.wait_until(lambda: [r for r in sender.queue(message_id) if r["recipients"][0]["attempts"] > 0], f"an attempt for {message_id}")
        return message_id

    def state(self, message_id):
        row, = rows(self.thurn("queue", "list", "--json", message_id))
        return row["recipients"][0]["state"]

    def test_a_message_is_held_released_retried_and_deleted(self):
        message_id = self.queued("held")
        shown = self.thurn("queue", "list").stdout
        self.assertRegex(shown, rf"(?m)^{message_id} +\d+ .*alice@sender\.test")
        self.assertRegex(shown, r"far@closed\.test +\w+, .*\d attempt")
        self.assertIn("Connection refused", shown)
        self.thurn("queue", "hold", message_id)
        self.assertEqual(self.state(message_id), "held")
        self.assertIn(message_id, {row["id"] for row in rows(self.thurn("queue", "list", "--held", "--json"))})
        self.thurn("queue", "release", message_id)
        self.assertNotEqual(self.state(message_id), "held")
        thurn.wait_until(lambda: sender.thurn("queue", "retry", message_id, check=False).returncode == 0, "a retry between two attempts")
        self.assertIn("far@closed.test", self.thurn("queue", "show", message_id).stdout)
        for words in (("--domain", "closed.test"), ("--sender", "alice"), ("--recipient", "far@"), ("--error", "refused"), ("--younger", "1h")):
            self.assertIn(message_id, {row["id"] for row in rows(self.thurn("queue", "list", *words, "--json"))}, words)
        for words in (("--domain", "other.test"), ("--sender", "nobody"), ("--older", "1h")):
            self.assertNotIn(message_id, {row["id"] for row in rows(self.thurn("queue", "list", *words, "--json"))}, words)
        self.thurn("queue", "delete", message_id)
        self.thurn("queue", "show", message_id, status=1, says=f"thurn why {message_id}")
        self.assertIn("deleted", self.thurn("why", message_id).stdout)

    def test_a_bounce_tells_the_sender(self):
        message_id = self.queued("given up")
        self.thurn("queue", "bounce", "--recipient", "far@closed.test", message_id, status=2, says="one or the other")
        self.thurn("queue", "bounce", message_id)
        report = thurn.wait_until(lambda: [m for m in mails(sender, "alice") if b"given up" in m and b"multipart/report" in m], "the report")
        self.assertIn("far@closed.test", parse(report[0]).get_body().get_content())
        life = rows(self.thurn("why", message_id, "--json"))[0]
        self.assertEqual([event["event"] for event in life["events"]][:2], ["accepted", "attempt"])
        told = self.thurn("why", message_id).stdout
        for word in ("accepted", "alice@sender.test", "127.0.0.9", "Connection refused", "bounce"):
            self.assertIn(word, told)

    def test_wrong_words(self):
        self.thurn("queue", "hold", status=2, says="which messages")
        self.thurn("queue", "hold", "xyz", status=1, says="no.* message id")
        self.thurn("queue", "dance", status=2, says="dance")
        self.thurn("why", status=2, says="ID")
        self.thurn("why", "1k80000000000", status=1)

    def test_a_delivered_message_has_its_whole_life_told(self):
        row, = rows(self.thurn("send", "--json", *self.server("submission", "alice"), "--from", "alice@sender.test", "--to",
                               "bob@recipient.test", "--subject", "followed", "--body", "x"))
        message_id = row["recipients"][0]["reply"].split()[-1]
        self.arrives("bob", "followed", recipient)
        told = thurn.wait_until(lambda: (lambda text: text if "delivered" in text else None)(self.thurn("why", message_id).stdout),
                                "the delivery to be told")
        for word in ("alice@sender.test", "mail.recipient.test", "TLSv1.3", "bob@recipient.test", "accepted as"):
            self.assertIn(word, told)


class Server(Case):
    def test_status_and_check(self):
        found = rows(self.thurn("status", "--json"))
        self.assertEqual({row["role"] for row in found}, {"launcher", "keys", "auth", "edge", "post", "out", "local"})
        self.assertEqual({row["state"] for row in found}, {"ready"})
        shown = self.thurn("status").stdout
        for row in found:
            self.assertRegex(shown, rf"(?m)^{row['role']}\b.* {row['pid']} ")
        self.assertIn(": ok\n", self.thurn("check").stdout)
        self.assertEqual(rows(self.thurn("check", "--json")), [{"file": str(sender.config), "is_good": True}])
        wrong = self.folder / "wrong.yaml"
        wrong.write_text(sender.config.read_text() + "\nnonsense: 1\n")
        line = wrong.read_text().split("\n").index("nonsense: 1") + 1
        self.thurn("check", "--config", wrong, status=1, says=rf"wrong\.yaml:{line}:1: .*nonsense")
        self.assertEqual(rows(self.thurn("check", "--json", "--config", wrong, status=1))[0]["is_good"], False)
        self.thurn("check", "--config", "/nonexistent", status=1, says="thurn setup")

    def test_help_is_everywhere(self):
        listed = re.findall(r"(?m)^  (\w+)  ", self.thurn("--help").stdout)
        self.assertGreater(len(listed), 15)
        for command in listed:
            if command not in ("help", "version"):
                self.assertRegex(self.thurn(command, "--help").stdout, rf"^Usage: thurn {command}")
                self.assertEqual(self.thurn("help", command).stdout, self.thurn(command, "--help").stdout)
        self.thurn("sned", status=2, says='no command "sned"')
        self.assertRegex(self.thurn("--version").stdout, r"^thurn \d")

    def test_without_a_server_each_command_says_so(self):
        quiet = thurn.Server(self.folder / "quiet", "quiet.test", "127.0.0.4")
        quiet.write_config()
        for words in (("status",), ("queue", "list"), ("why", "1k80000000000"), ("reload",), ("stop",)):
            done = quiet.thurn(*words, check=False)
            self.assertEqual(done.returncode, 1, done)
            self.assertIn('"thurn serve" starts one', done.stderr)
        program = self.folder / "sendmail"
        program.symlink_to(quiet.program)
        done = thurn.run(program, "bob@sender.test", input="Subject: x\n\nx\n", check=False, env={**os.environ, "THURN_CONFIG": str(quiet.config)})
        self.assertEqual(done.returncode, 75, done)             # sysexits: try again later

    def test_passwords_are_in_no_process_list(self):
        secret = "a-secret-nobody-sees"
        with socket.create_server((CLOSED, 0)) as mute:             # takes the connection and never says a word
            port = mute.getsockname()[1]
            password = self.folder / "password"
            password.write_text(secret + "\n")
            running, connections = [], []
            for words in (("fetch", "list"), ("send", "--from", "a@b.test", "--to", "c@d.test")):
                words = (words[0], "--server", f"{CLOSED}:{port}", "--tls", "starttls", "--user", "x", *words[1:])
                running.append(subprocess.Popen([sender.program, *words, "--password-file", password], stdout=subprocess.DEVNULL,
                                                stderr=subprocess.DEVNULL))
                running.append(subprocess.Popen([sender.program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                                env={**os.environ, "THURN_PASSWORD": secret}))
            try:
                connections = [mute.accept()[0] for _ in running]
                for process in pathlib.Path("/proc").glob("[0-9]*"):
                    with contextlib.suppress(OSError):
                        self.assertNotIn(secret.encode(), (process / "cmdline").read_bytes(), process)
                for process in running:                              # and where it is a variable, only the owner reads it
                    self.assertEqual(stat.S_IMODE(os.stat(f"/proc/{process.pid}/environ").st_mode) & 0o077, 0)
            finally:
                for process in running:
                    process.kill()
                    process.wait()
                for connection in connections:
                    connection.close()

    def test_progress_is_for_terminals(self):
        """Nothing is shown before a second has passed, so the other end of this one is slow."""
        large = self.folder / "large.bin"
        large.write_bytes(bytes(15_000_000))
        for is_terminal in (False, True):
            with Slow() as slow:
                words = ("send", "--server", f"{CLOSED}:{slow.port}", "--tls", "none", "--from", "a@b.test", "--to", "c@d.test",
                         "--attach", large)
                if is_terminal:
                    status, shown = self.terminal(words)
                    self.assertEqual(status, 0, shown)
                    self.assertRegex(shown, r"\rsend: [0-9.]+ MB of 20\.\d MB \(\d+%\), ")
                else:
                    self.assertNotIn("\r", self.thurn(*words).stdout)           # and thurn() saw nothing on standard error
            self.assertGreater(slow.got, 20_000_000)


class Slow:
    """An SMTP server that falls asleep in the middle of a message."""

    def __enter__(self):
        self.listener = socket.create_server((CLOSED, 0))
        self.port = self.listener.getsockname()[1]
        self.got = 0
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join(thurn.TIMEOUT)
        self.listener.close()

    def serve(self):
        self.listener.settimeout(thurn.TIMEOUT)
        connection = self.listener.accept()[0]
        with connection, connection.makefile("rb") as lines:
            connection.settimeout(thurn.TIMEOUT)
            connection.sendall(b"220 slow.test\r\n")
            for line in lines:
                if line.upper() == b"DATA\r\n":
                    connection.sendall(b"354 go on\r\n")
                    for text in lines:
                        if self.got == 0:
                            time.sleep(1.5)
                        self.got += len(text)
                        if text == b".\r\n":
                            break
                connection.sendall(b"221 bye\r\n" if line.upper() == b"QUIT\r\n" else b"250 ok\r\n")


class Sendmail(Case):
    """By the names that scripts know."""

    def setUp(self):
        super().setUp()
        for name in ("sendmail", "mailq", "newaliases"):
            (self.folder / name).symlink_to(sender.program)
        self.env = {**os.environ, "THURN_CONFIG": str(sender.config), "LC_ALL": "C.UTF-8"}
        self.user = self.account()

    def call(self, name, *words, status=0, **kwargs):
        done = thurn.run(self.folder / name, *words, check=False, env=self.env, **kwargs)
        self.assertEqual(done.returncode, status, done)
        return done

    def got(self, count=1):
        return wait_mails(sender, self.user, count)

    def test_recipients_from_the_message(self):
        self.call("sendmail", "-t", "-i", input=f"To: Somebody <{self.user}>\nBcc: bob@recipient.test\nSubject: Grüße\n\n.\nbehind the dot\n")
        raw, = self.got()
        self.assertTrue(raw.endswith(b"\r\n\r\n.\r\nbehind the dot\r\n"), raw)
        message = parse(raw)
        self.assertIsNone(message["Bcc"])
        for field in ("Date", "From", "Message-ID", "Return-Path"):
            self.assertTrue(message[field], field)
        self.assertEqual(message["Subject"], "Grüße")
        self.arrives("bob", "Grüße", recipient)

    def test_a_dot_ends_the_message_without_i(self):
        self.call("sendmail", self.user, input="Subject: dot\n\nbefore\n.\nbehind\n")
        self.assertTrue(self.got()[0].endswith(b"before\r\n"))

    def test_sender_and_recipients_in_words(self):
        self.call("sendmail", "-f", "bounces@elsewhere.test", "-oi", self.user, input="Subject: x\nFrom: shown@elsewhere.test\n\n.\nx\n")
        message = parse(self.got()[0])
        self.assertEqual((message["Return-Path"], message["From"]), ("<bounces@elsewhere.test>", "shown@elsewhere.test"))
        self.call("sendmail", "-fbounces", "-F", "A Script", "-oi", "--", self.user, input="Subject: y\n\nx\n")
        message = parse(self.got(2)[1])
        self.assertEqual(message["Return-Path"], "<bounces@mail.sender.test>")
        self.assertEqual(message["From"].addresses[0].display_name, "A Script")
        self.call("sendmail", "-f", "<>", "-oi", self.user, input="Subject: z\nFrom: x@y.test\n\nx\n")
        self.assertEqual(parse(self.got(3)[2])["Return-Path"], "<>")

    def test_exit_statuses_are_those_of_sysexits(self):
        self.call("sendmail", "nobody@sender.test", input="Subject: x\n\nx\n", status=67)       # EX_NOUSER
        self.call("sendmail", "-t", input="Subject: x\n\nno recipient\n", status=64)              # EX_USAGE
        self.call("sendmail", "-Z", self.user, input="x\n", status=64)
        self.call("sendmail", "-bd", status=64)

    def test_as_cron_calls_it(self):
        text = f"From: root (Cron Daemon)\nTo: {self.user}\nSubject: Cron <root@host> date\nMIME-Version: 1.0\n" \
               "Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\nX-Cron-Env: <SHELL=/bin/sh>\n\nSo 1. März\n"
        self.call("sendmail", "-i", "-FCronDaemon", "-B8BITMIME", "-oem", self.user, input=text)
        message = parse(self.got()[0])
        self.assertEqual(message["Subject"], "Cron <root@host> date")
        self.assertEqual(message.get_content().rstrip(), "So 1. März")

    def test_as_php_calls_it(self):
        code = f'exit(mail("{self.user}", "=?UTF-8?B?R3LDvMOfZQ==?=", "Zeile 1\\n.\\nZeile 3\\n", ' \
               '["From" => "web@elsewhere.test", "X-Own" => "a"], "-fbounces@elsewhere.test") ? 0 : 1);'
        thurn.run("php", "-n", "-d", f"sendmail_path={self.folder}/sendmail -t -i", "-r", code, env=self.env)
        message = parse(self.got()[0])
        self.assertEqual((message["Subject"], message["From"], message["X-Own"], message["Return-Path"]),
                         ("Grüße", "web@elsewhere.test", "a", "<bounces@elsewhere.test>"))
        self.assertEqual(message.get_payload().replace("\r\n", "\n").rstrip(), "Zeile 1\n.\nZeile 3")

    def test_as_mail_calls_it(self):
        rc = self.folder / "mailrc"
        rc.write_text(f"set sendmail={self.folder}/sendmail\nset sendwait\n")
        thurn.run("bsd-mailx", "-s", "from a script", self.user, input="text\n", env={**self.env, "MAILRC": str(rc), "HOME": str(self.folder)})
        message = parse(self.got()[0])
        self.assertEqual(message["Subject"], "from a script")
        self.assertEqual(message.get_payload().strip(), "text")

    def test_smtp_on_standard_input(self):
        said = self.call("sendmail", "-bs", input=f"HELO me\r\nMAIL FROM:<x@elsewhere.test>\r\nRCPT TO:<{self.user}>\r\nDATA\r\n"
                                                  "Subject: bs\r\n\r\nx\r\n.\r\nQUIT\r\n").stdout
        self.assertEqual([line[:3] for line in said.splitlines()], ["220", "250", "250", "250", "354", "250", "221"])
        self.assertEqual(parse(self.got()[0])["Subject"], "bs")

    def test_mailq_and_newaliases(self):
        self.call("sendmail", "-f", "alice@sender.test", "far@closed.test", input="Subject: waits\n\nx\n")
        message_id = thurn.wait_until(lambda: [r["id"] for r in sender.queue("--domain", "closed.test")
                                               if r["user"] == "(local user)" and r["recipients"][0]["attempts"] > 0], "the queue")[0]
        for words in (("mailq",), ("sendmail", "-bp")):
            shown = self.call(*words).stdout
            self.assertRegex(shown, rf"(?m)^{message_id}\b.* alice@sender\.test$")
            self.assertRegex(shown, r"(?m)^ +far@closed\.test$")
            self.assertIn("Connection refused", shown)
        sender.thurn("queue", "delete", message_id)
        for words in (("newaliases",), ("sendmail", "-bi")):
            self.assertEqual(self.call(*words).stdout, "")

    def test_any_user_may_send(self):
        """The web server's user, say: all it needs is the socket."""
        if os.getuid() != 0:
            self.skipTest("only root can become somebody else")
        for path in (network.folder, sender.folder, self.folder):
            path.chmod(0o711)
        program = self.folder / "copy" / "sendmail"
        program.parent.mkdir()
        shutil.copy(sender.program, program)
        thurn.run(program, "-t", "-i", input=f"To: {self.user}\nSubject: from nobody\n\nx\n", env=self.env, cwd="/", user="nobody",
                  group="nogroup", extra_groups=[])
        message = parse(self.got()[0])
        self.assertEqual(message["Return-Path"], "<nobody@mail.sender.test>")
        self.assertEqual(message["From"].addresses[0].addr_spec, "nobody@mail.sender.test")


if __name__ == "__main__":
    unittest.main(verbosity=2)
