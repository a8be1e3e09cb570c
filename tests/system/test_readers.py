"""A person's mail as other people's programs read it: IMAP and POP3 by curl, Python's imaplib and poplib, mutt, mbsync,
fetchmail, getmail and openssl; two sessions at one mailbox, and many."""
import contextlib
import email.message
import email.policy
import imaplib
import os
import pathlib
import poplib
import pty
import re
import select
import shutil
import socket
import statistics
import tempfile
import threading
import time
import unittest

import thurn
from talk import Talk, mails, tls_client_context

HOST = "localhost"
SERVER = contextlib.ExitStack()
server = None
counter = iter(range(1, 10000))


def setUpModule():
    global server
    server = SERVER.enter_context(thurn.one_server(accounts=(), start=False, address="127.0.0.1"))
    # All of these programs verify the certificate, most by a name: "localhost" is one that resolves everywhere.
    thurn.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
              f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", server.key, "-out", server.certificate)
    server.key.chmod(0o600)
    server.start()
    server.add_domain()


def tearDownModule():
    SERVER.close()


def text(subject, body="hello"):
    """A small message, as it is stored."""
    return (f"From: Somebody <somebody@elsewhere.test>\r\nTo: reader@recipient.test\r\nSubject: {subject}\r\n"
            f"Date: Mon, 1 Jan 2024 10:00:00 +0100\r\nMessage-ID: <{subject.replace(' ', '.')}@elsewhere.test>\r\n\r\n{body}\r\n").encode()


def url(scheme, path=""):
    return f"{scheme}://{HOST}:{server.ports[scheme]}/{path}"


def tree(folder):
    """What lies in a folder: path and content of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def imap(user, *, tls=True, password=thurn.PASSWORD):
    """imaplib logged in."""
    if tls:
        client = imaplib.IMAP4_SSL(server.address, server.ports["imaps"], ssl_context=tls_client_context(), timeout=thurn.TIMEOUT)
    else:
        client = imaplib.IMAP4(server.address, server.ports["imap"], timeout=thurn.TIMEOUT)
        client.starttls(tls_client_context())
    # imaplib sends a literal and the line end behind it apart: without this each APPEND waits for a delayed ACK.
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.login(user, password)
    return client


def pop3(user, *, tls=True):
    if tls:
        client = poplib.POP3_SSL(server.address, server.ports["pop3s"], context=tls_client_context(), timeout=thurn.TIMEOUT)
    else:
        client = poplib.POP3(server.address, server.ports["pop3"], timeout=thurn.TIMEOUT)
        client.stls(tls_client_context())
    client.user(user)
    client.pass_(thurn.PASSWORD)
    return client


class Case(unittest.TestCase):
    """Every test has an account of its own, with the messages it puts there, and a folder."""

    def setUp(self):
        self.user = server.add_account(f"reader{next(counter)}")
        self.folder = server.folder / self.user
        self.folder.mkdir()

    def put(self, *messages, folder="INBOX", flags=""):
        with imap(self.user) as client:
            for message in messages:
                self.ok(client.append(folder, flags, None, message))

    def deliver(self, *messages, to=None):
        """By LMTP, as a server would."""
        with Talk(server.address, server.ports["lmtp"]) as talk:
            talk.greet(verb="LHLO")
            for message in messages:
                got = talk.mail("somebody@elsewhere.test", to or self.user, text=message)
                self.assertTrue(got.startswith("250"), got)

    def ok(self, answer):
        self.assertEqual(answer[0], "OK", answer)
        return answer[1]

    def flags(self, folder="INBOX"):
        """{subject: flags} of a folder; without selecting it for writing."""
        found = {}
        with imap(self.user) as client:
            self.ok(client.select(folder, readonly=True))
            for row in self.ok(client.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")) if client.response("EXISTS")[1] != [b"0"] else []:
                if isinstance(row, tuple):
                    head, subject = row
                    found[subject.split(b": ", 1)[1].strip().decode()] = {
                        flag.decode() for flag in imaplib.ParseFlags(head)} - {"\\Recent"}
        return found

    def subjects(self, folder="INBOX"):
        return sorted(self.flags(folder))


class Curl(Case):
    def curl(self, *words, **kwargs):
        return thurn.run("curl", "-sS", "--fail", "--ssl-reqd", "--cacert", server.certificate, "--user",
                         f"{self.user}:{thurn.PASSWORD}", *words, text=False, **kwargs).stdout

    def test_imap_with_starttls_and_with_tls(self):
        first, second = text("first message"), text("second message", "with other words")
        for number, scheme in enumerate(("imap", "imaps")):
            folder = f"by-{scheme}"
            with self.subTest(scheme):
                message = self.folder / "message"
                self.curl(url(scheme), "-X", f"CREATE {folder}")
                for content in (first, second):
                    message.write_bytes(content)
                    self.curl(url(scheme, folder), "--upload-file", message)
                self.assertIn(f'"/" {folder}'.encode(), self.curl(url(scheme)))
                self.assertEqual(self.curl(url(scheme, f"{folder};UID=1")), first)
                self.assertEqual(self.curl(url(scheme, f"{folder};MAILINDEX=2")), second)
                self.assertEqual(self.curl(url(scheme, f"{folder};UID=2;SECTION=TEXT")), b"with other words\r\n")
                self.assertEqual(self.curl(url(scheme, f"{folder}?SUBJECT%20%22second%20message%22")), b"* SEARCH 2\r\n")
                self.assertEqual(self.curl(url(scheme, f"{folder}?BODY%20nowhere")).strip(), b"* SEARCH")
                self.assertIn(b"\\Deleted", self.curl(url(scheme, folder), "-X", "STORE 1 +FLAGS (\\Deleted)"))
                self.assertIn(b"* 1 EXPUNGE", self.curl(url(scheme, folder), "-X", "EXPUNGE"))
                self.assertEqual(self.subjects(folder), ["second message"])
                self.assertIn(b"MESSAGES 1", self.curl(url(scheme), "-X", f"STATUS {folder} (MESSAGES UIDNEXT)"))
                self.curl(url(scheme), "-X", f"DELETE {folder}")
                self.assertNotIn(folder.encode(), self.curl(url(scheme)))

    def test_every_way_to_log_in(self):
        self.put(text("one"))
        for scheme in ("imap", "imaps", "pop3", "pop3s"):
            for way in ("AUTH=PLAIN", "AUTH=LOGIN", "AUTH=*"):
                path = "INBOX;UID=1" if scheme[0] == "i" else "1"
                with self.subTest(f"{scheme} {way}"):
                    self.assertEqual(self.curl(url(scheme, path), "--login-options", way), text("one"))

    def test_pop3_with_stls_and_with_tls(self):
        for scheme in ("pop3", "pop3s"):
            with self.subTest(scheme):
                self.put(text(f"{scheme} first"), text(f"{scheme} second", ".dot\r\n..dots\r\n."))
                rows = self.curl(url(scheme)).split(b"\r\n")
                self.assertEqual([row.split()[0] for row in rows if row.strip()], [b"1", b"2"])
                self.assertEqual(self.curl(url(scheme, "1")), text(f"{scheme} first"))
                self.assertEqual(self.curl(url(scheme, "2")), text(f"{scheme} second", ".dot\r\n..dots\r\n."))
                self.assertEqual(len(self.curl(url(scheme), "-X", "UIDL").split(b"\r\n")[0].split()), 2)
                self.assertIn(f"Subject: {scheme} second".encode(), self.curl(url(scheme), "-X", "TOP 2 0"))
                for _ in range(2):
                    self.curl(url(scheme), "--head", "-X", "DELE 1")
                self.assertEqual(self.subjects(), [])

    def test_a_wrong_password_and_no_tls_are_refused(self):
        for scheme in ("imap", "imaps", "pop3", "pop3s"):
            with self.subTest(scheme):
                done = thurn.run("curl", "-sS", "--ssl-reqd", "--cacert", server.certificate, "--user", f"{self.user}:wrong", url(scheme),
                                 check=False)
                self.assertEqual(done.returncode, 67, done.stderr)          # curl(1): login denied
        for scheme in ("imap", "pop3"):
            done = thurn.run("curl", "-sS", "--user", f"{self.user}:{thurn.PASSWORD}", url(scheme), check=False)
            self.assertEqual(done.returncode, 67, done.stderr)


class Imaplib(Case):
    def test_folders_from_birth_say_what_they_are_for(self):
        with imap(self.user) as client:
            rows = self.ok(client.list())
            found = {re.search(rb'"/" "?(.*?)"?$', row)[1]: row for row in rows}
            self.assertEqual(set(found), {b"INBOX", b"Archive", b"Drafts", b"Junk", b"Sent", b"Trash"})
            for name in (b"Archive", b"Drafts", b"Junk", b"Sent", b"Trash"):
                self.assertIn(b"\\" + name, found[name])                    # RFC 6154
                self.ok(client.select(name.decode()))
            self.assertEqual(sorted(self.ok(client.lsub())) != [None], True)
            self.assertIn(b'(("" "/")) NIL NIL', self.ok(client.namespace()))

    def test_reading_and_changing(self):
        for tls in (True, False):
            with self.subTest(tls=tls), imap(self.user, tls=tls) as client:
                self.ok(client.create("work"))
                self.assertEqual(self.ok(client.select("work")), [b"0"])
                for subject in ("a", "b", "c"):
                    got = self.ok(client.append("work", "(\\Flagged $Label1)", imaplib.Time2Internaldate(1700000000), text(subject)))
                    self.assertRegex(got[0], rb"APPENDUID \d+ \d+")
                self.assertEqual(self.ok(client.select("work")), [b"3"])
                data = self.ok(client.fetch("2", "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])"))
                self.assertEqual(data[0][1], text("b"))
                self.assertIn(f"RFC822.SIZE {len(text('b'))}".encode(), data[0][0])
                self.assertEqual(time.mktime(imaplib.Internaldate2tuple(data[0][0] + b")")), 1700000000)
                self.assertIn(b"$Label1", b"".join(imaplib.ParseFlags(data[0][0])))
                self.assertEqual(self.ok(client.search(None, "UNSEEN")), [b"1 2 3"])
                self.assertEqual(self.ok(client.search(None, "FLAGGED", "SUBJECT", '"b"')), [b"2"])
                self.assertEqual(self.ok(client.search("UTF-8", "NOT", "KEYWORD", "$Label1")), [b""])
                self.assertEqual(self.ok(client.store("2", "+FLAGS.SILENT", "(\\Seen \\Answered)")), [None])
                self.assertEqual(self.ok(client.search(None, "SEEN")), [b"2"])
                self.assertIn(b"COPYUID", b"".join(self.ok(client.copy("1:2", "Archive"))))
                self.ok(client.uid("MOVE", "3", "Trash"))
                self.assertNotEqual(client.response("COPYUID")[1], [None])
                self.assertEqual(client.response("EXPUNGE")[1], [b"3"])
                self.assertEqual(self.ok(client.search(None, "ALL")), [b"1 2"])
                self.ok(client.store("1", "+FLAGS", "\\Deleted"))
                self.assertEqual(self.ok(client.expunge()), [b"1"])
                self.ok(client.rename("work", "done"))
                self.assertEqual(self.ok(client.status("Archive", "(MESSAGES UNSEEN)")), [b"Archive (MESSAGES 2 UNSEEN 1)"])
                self.ok(client.close())
                self.ok(client.delete("done"))
                for folder in ("Archive", "Trash"):
                    self.ok(client.select(folder))
                    self.ok(client.store("1:*", "+FLAGS", "\\Deleted"))
                    self.ok(client.close())

    def test_names_of_folders_in_every_script(self):
        for name, encoded in (("Entwürfe", "Entw&APw-rfe"), ("台北/日本語", "&U,BTFw-/&ZeVnLIqe-"), ("R&D", "R&-D"), ("😀", "&2D3eAA-")):
            with self.subTest(name), imap(self.user) as client:
                self.ok(client.create(f'"{encoded}"'))
                self.ok(client.append(f'"{encoded}"', "", None, text("x")))
                self.ok(client.subscribe(f'"{encoded}"'))
                self.assertTrue(any(encoded.encode() in row for row in self.ok(client.list())))
                self.assertTrue(any(encoded.encode() in row for row in self.ok(client.lsub())))
                self.assertEqual(self.ok(client.select(f'"{encoded}"')), [b"1"])
                self.ok(client.unselect())
                self.ok(client.delete(f'"{encoded}"'))
        with imap(self.user) as client:
            with self.assertRaisesRegex(imaplib.IMAP4.error, "UTF-7"):          # RFC 3501 5.1.3: not well encoded
                client.create('"&Jjo!"')

    def test_condstore(self):
        self.put(text("a"), text("b"), text("c"))
        with imap(self.user) as client:
            self.ok(client.enable("CONDSTORE"))
            self.ok(client.select("INBOX"))
            status = self.ok(client.status("INBOX", "(HIGHESTMODSEQ)"))
            before = int(re.search(rb"HIGHESTMODSEQ (\d+)", status[0])[1])
            self.ok(client.store("2", "+FLAGS", "\\Seen"))
            rows = self.ok(client.fetch("1:*", f"(FLAGS) (CHANGEDSINCE {before})"))
            self.assertEqual(len(rows), 1, rows)
            self.assertRegex(rows[0], rb"^2 .*MODSEQ \(\d+\)")
            client.store("2", f"(UNCHANGEDSINCE {before}) +FLAGS", "\\Flagged")
            self.assertEqual(client.response("MODIFIED")[1], [b"2"])
            self.assertEqual(self.ok(client.search(None, "MODSEQ", str(before + 1)))[0].split()[0], b"2")
        self.assertEqual(self.flags()["b"], {"\\Seen"})

    def test_a_large_message_and_many_small(self):
        large = text("large", "\r\n".join("line %08d %s" % (n, "x" * 60) for n in range(200000)))
        self.put(large, *[text(f"small {n}") for n in range(200)])
        with imap(self.user) as client:
            self.assertEqual(self.ok(client.select("INBOX")), [b"201"])
            self.assertEqual(self.ok(client.fetch("1", "(BODY.PEEK[])"))[0][1], large)
            part = self.ok(client.fetch("1", "(BODY.PEEK[]<1000000.5000>)"))[0][1]
            self.assertEqual(part, large[1000000:1005000])
            rows = [row for row in self.ok(client.fetch("2:*", "(BODY.PEEK[])")) if isinstance(row, tuple)]
            self.assertEqual([row[1] for row in rows], [text(f"small {n}") for n in range(200)])


class Poplib(Case):
    def test_reading_and_deleting(self):
        for tls in (True, False):
            with self.subTest(tls=tls):
                self.put(text("a"), text("b", "\r\n".join(f".{n}" for n in range(30))), text("c"))
                client = pop3(self.user, tls=tls)
                self.assertEqual(client.stat(), (3, len(text("a")) * 2 + len(text("b", "\r\n".join(f".{n}" for n in range(30))))))
                self.assertEqual([int(row.split()[0]) for row in client.list()[1]], [1, 2, 3])
                unique = [row.split()[1] for row in client.uidl()[1]]
                self.assertEqual(len(set(unique)), 3)
                self.assertEqual(b"\r\n".join(client.retr(2)[1]) + b"\r\n", text("b", "\r\n".join(f".{n}" for n in range(30))))
                self.assertEqual(client.top(2, 3)[1][-3:], [b".0", b".1", b".2"])
                client.dele(1)
                client.rset()
                client.dele(1)
                client.dele(3)
                with self.assertRaises(poplib.error_proto):
                    client.retr(3)
                client.quit()
                client = pop3(self.user, tls=tls)
                self.assertEqual([row.split()[1] for row in client.uidl()[1]], [unique[1]])     # the same for ever
                client.dele(1)
                client.quit()
                self.assertEqual(mails(server, self.user), [])

    def test_what_a_broken_connection_had_deleted_is_still_there(self):
        self.put(text("a"))
        client = pop3(self.user)
        client.dele(1)
        client.sock.shutdown(2)                         # RFC 1939 6: without QUIT nothing is removed
        client.close()
        self.assertEqual(self.subjects(), ["a"])

    def test_capabilities(self):
        always = {"TOP", "UIDL", "PIPELINING", "RESP-CODES"}
        client = poplib.POP3(server.address, server.ports["pop3"], timeout=thurn.TIMEOUT)
        found = client.capa()
        self.assertLessEqual(always | {"STLS"}, set(found))
        self.assertFalse({"USER", "SASL"} & set(found))         # no password without TLS
        client.stls(tls_client_context())
        found = client.capa()
        self.assertLessEqual(always | {"USER"}, set(found))
        self.assertLessEqual({"PLAIN", "SCRAM-SHA-256"}, set(found["SASL"]))
        self.assertNotIn("STLS", found)
        client.user(self.user)
        client.pass_(thurn.PASSWORD)
        self.assertLessEqual(always, set(client.capa()))
        client.quit()


class Sessions(Case):
    def talk(self, name="INBOX"):
        """A raw IMAP connection with a folder open."""
        talk = Talk(server.address, server.ports["imaps"], tls=True)
        self.addCleanup(talk.close)
        talk.line()
        self.say(talk, f"LOGIN {self.user} {thurn.PASSWORD}")
        self.say(talk, f"SELECT {name}")
        return talk

    def say(self, talk, command):
        """The untagged answers to a command that goes well."""
        talk.send(f"a {command}\r\n")
        rows = []
        while not (row := talk.line()).startswith(b"a "):
            rows.append(row)
        self.assertTrue(row.startswith(b"a OK"), (command, row))
        return rows

    def hears(self, talk, row):
        """Waits for an answer that comes unasked; the seconds it took."""
        began = time.monotonic()
        while True:
            got = talk.line()
            self.assertIsNotNone(got)
            if re.search(row, got):
                return time.monotonic() - began

    def test_idle_hears_of_mail_flags_and_deletion(self):
        idle, other = self.talk(), self.talk()
        idle.send("i IDLE\r\n")
        self.assertTrue(idle.line().startswith(b"+"))
        waited = []
        self.deliver(text("news"))
        waited.append(self.hears(idle, rb"^\* 1 EXISTS"))
        self.say(other, "NOOP")
        self.say(other, "STORE 1 +FLAGS (\\Flagged)")
        waited.append(self.hears(idle, rb"^\* 1 FETCH .*\\Flagged"))
        self.say(other, "STORE 1 +FLAGS (\\Deleted)")
        self.hears(idle, rb"^\* 1 FETCH .*\\Deleted")
        self.say(other, "EXPUNGE")
        waited.append(self.hears(idle, rb"^\* 1 EXPUNGE"))
        self.put(text("appended"))
        waited.append(self.hears(idle, rb"^\* 1 EXISTS"))
        idle.send("DONE\r\n")
        self.hears(idle, rb"^i OK")
        self.assertLess(statistics.median(waited), 1.0, waited)         # not the maximum: the machine may be busy otherwise

    def test_two_sessions_see_each_other_without_idle(self):
        one, two = self.talk(), self.talk()
        self.deliver(text("a"), text("b"))
        self.assertIn(b"* 2 EXISTS", self.say(one, "NOOP"))
        self.say(one, "STORE 1 +FLAGS (\\Seen \\Deleted)")
        self.assertIn(b"* 2 EXISTS", self.say(two, "NOOP"))
        self.say(one, "EXPUNGE")
        # RFC 3501 5.5: numbers do not change under a FETCH by number; they do at NOOP.
        self.assertEqual([row for row in self.say(two, "FETCH 2 (UID)") if b"EXPUNGE" in row], [])
        self.assertIn(b"* 1 EXPUNGE", self.say(two, "NOOP"))
        self.assertRegex(self.say(two, "FETCH 1 (UID)")[0], rb"^\* 1 FETCH \(UID 2\)")

    def test_sixteen_connections_of_one_person(self):
        clients = [imap(self.user) for _ in range(16)]
        failures = []

        def work(number, client):
            try:
                client.select("INBOX")
                for round_ in range(5):
                    self.ok(client.append("INBOX", "", None, text(f"of {number} number {round_}")))
                    self.ok(client.noop())
                    self.ok(client.fetch("1:*", "(UID FLAGS)"))
            except BaseException as problem:
                failures.append((number, problem))
        threads = [threading.Thread(target=work, args=(n, c)) for n, c in enumerate(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        views = []
        for client in clients:
            self.ok(client.noop())
            rows = self.ok(client.fetch("1:*", "(UID)"))
            views.append(rows)
            self.assertEqual(self.ok(client.uid("SEARCH", "ALL"))[0].split(), [str(n + 1).encode() for n in range(80)])
            client.logout()
        self.assertTrue(all(view == views[0] for view in views))
        self.assertEqual(self.subjects(), sorted(f"of {n} number {r}" for n in range(16) for r in range(5)))


class Mutt(Case):
    def setUp(self):
        super().setUp()
        self.rc = self.folder / "muttrc"
        login = f"{self.user.replace('@', '%40')}:{thurn.PASSWORD}"
        self.url = f"imaps://{login}@{HOST}:{server.ports['imaps']}/"
        self.rc.write_text("\n".join([
            f'set from="{self.user}" realname="A Reader" use_from=yes use_envelope_from=yes',
            f'set smtp_url="smtp://{login}@{HOST}:{server.ports["submission"]}/" ssl_starttls=yes ssl_force_tls=yes',
            f'set ssl_ca_certificates_file="{server.certificate}"',
            f'set folder="{self.url}" record="=Sent" postponed="=Drafts" spoolfile="=INBOX" copy=yes',
            'set header_cache="" message_cachedir="" quit=yes move=no delete=yes confirmappend=no confirmcreate=no wait_key=no',
            # With TLS 1.3 this mutt chooses SCRAM-SHA-256-PLUS where it is offered, but cannot do it (RFC 9266).
            'set smtp_authenticators="scram-sha-256:plain" pop_authenticators="scram-sha-256:plain"',
            'set mail_check_stats=no sleep_time=0 timeout=1 charset="utf-8" send_charset="utf-8"', ""]))

    def terminal(self, *words):
        """mutt on a terminal of its own, to its end; what it showed."""
        pid, fd = pty.fork()
        if pid == 0:
            os.environ.update(TERM="vt100", HOME=str(self.folder), LC_ALL="C.UTF-8")
            os.execvp("mutt", ["mutt", "-n", "-F", str(self.rc), *words])
        shown = b""
        end = time.monotonic() + thurn.TIMEOUT
        try:
            while time.monotonic() < end:
                if select.select([fd], [], [], 0.5)[0]:
                    try:
                        data = os.read(fd, 65536)
                    except OSError:                     # the other end is closed: mutt has ended
                        data = b""
                    if not data:
                        return shown
                    shown += data
            os.kill(pid, 9)
            raise AssertionError(f"mutt did not end; it showed: {shown[-1500:]!r}")
        finally:
            os.close(fd)
            os.waitpid(pid, 0)

    def test_sends_with_an_attachment_and_keeps_a_copy(self):
        attachment = self.folder / "Grüße.bin"
        attachment.write_bytes(bytes(range(256)) * 400)
        thurn.run("mutt", "-n", "-F", self.rc, "-s", "Grüße mit Anhang", "-a", attachment, "--", self.user,
                  input="Schöne Grüße\n", env={**os.environ, "HOME": str(self.folder), "LC_ALL": "C.UTF-8"})
        arrived, = mails(server, self.user)
        with imap(self.user) as client:
            self.assertEqual(self.ok(client.select("Sent", readonly=True)), [b"1"])
            copy = self.ok(client.fetch("1", "(FLAGS BODY.PEEK[])"))[0]
        self.assertIn(b"\\Seen", copy[0])
        for raw in (arrived, copy[1]):
            got = email.message_from_bytes(raw, policy=email.policy.default)
            self.assertEqual(got["Subject"], "Grüße mit Anhang")
            self.assertEqual(got.get_body().get_content().rstrip(), "Schöne Grüße")
            part, = got.iter_attachments()
            self.assertEqual(part.get_content(), bytes(range(256)) * 400)
            self.assertEqual(part.get_filename(), "Grüße.bin")

    def test_opens_flags_deletes_and_saves(self):
        self.put(*[text(subject) for subject in ("keep", "flag", "delete", "save", "read")])
        self.terminal("-f", f"{self.url}INBOX", "-e", "push '" + "".join([
            "<limit>all<enter>",
            "<search>~s flag<enter><flag-message>",
            "<first-entry><search>~s delete<enter><delete-message>",
            "<first-entry><search>~s save<enter><save-message><kill-line>=Archive<enter>",
            "<first-entry><search>~s read<enter><display-message><exit>",
            "<sync-mailbox><quit>"]) + "'")
        flags = self.flags()
        self.assertEqual(sorted(flags), ["flag", "keep", "read"])
        self.assertIn("\\Flagged", flags["flag"])
        self.assertIn("\\Seen", flags["read"])
        self.assertNotIn("\\Flagged", flags["keep"])
        self.assertEqual(self.subjects("Archive"), ["save"])

    def test_reads_by_pop3(self):
        self.put(text("first"), text("second"))
        login = f"{self.user.replace('@', '%40')}:{thurn.PASSWORD}"
        self.terminal("-f", f"pops://{login}@{HOST}:{server.ports['pop3s']}/", "-e",
                      "push '<first-entry><delete-message><sync-mailbox><quit>'")
        self.assertEqual(self.subjects(), ["second"])


class Mbsync(Case):
    def setUp(self):
        super().setUp()
        self.mail = self.folder / "Mail"
        self.mail.mkdir()
        self.rc = self.folder / "mbsyncrc"
        self.configure()

    def configure(self, tls="IMAPS", port="imaps", extra="Expunge Both"):
        self.rc.write_text("\n".join([
            "IMAPStore far", f"Host {HOST}", f"Port {server.ports[port]}", f"User {self.user}", f"Pass {thurn.PASSWORD}",
            f"SSLType {tls}", "SystemCertificates no", f"CertificateFile {server.certificate}", "",
            "MaildirStore near", f"Path {self.mail}/", f"Inbox {self.mail}/INBOX", "SubFolders Verbatim", "",
            "Channel all", "Far :far:", "Near :near:", "Patterns *", "Create Both", "Remove Both", "Sync All", extra, "SyncState *", ""]))

    def sync(self):
        done = thurn.run("mbsync", "-c", self.rc, "-a", env={**os.environ, "HOME": str(self.folder)})
        self.assertNotIn("arning", done.stderr)
        return done

    def local(self, folder="INBOX"):
        """{subject: letters of its flags} of a local Maildir."""
        found = {}
        for path in [*(self.mail / folder).glob("cur/*"), *(self.mail / folder).glob("new/*")]:
            subject = re.search(rb"Subject: (.*)\n", path.read_bytes().replace(b"\r\n", b"\n"))[1].decode()
            found[subject] = set(path.name.rpartition(":2,")[2]) if ":2," in path.name else set()
        return found

    def server_state(self):
        with imap(self.user) as client:
            names = [re.search(rb'"/" "?(.*?)"?$', row)[1].decode() for row in self.ok(client.list())]
            return [self.ok(client.status(f'"{name}"', "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)")) for name in names]

    def test_both_directions_and_nothing_the_second_time(self):
        for way in (("IMAPS", "imaps"), ("STARTTLS", "imap")):
            with self.subTest(way[0]):
                self.configure(*way)
                self.round(way[0])

    def round(self, mark):
        subject = lambda name: f"{mark} {name}"
        self.put(*[text(subject(name)) for name in ("read far", "delete far", "delete near", "flag near")])
        self.put(text(subject("draft")), folder="Drafts", flags="(\\Draft \\Seen)")
        self.sync()
        self.assertTrue({subject(n) for n in ("read far", "delete far", "delete near", "flag near")} <= set(self.local()))
        self.assertEqual(self.local("Drafts")[subject("draft")], {"D", "S"})
        # Changes at both ends: new mail, flags, deletions, a folder.
        (self.mail / "INBOX/cur" / f"{mark}.1.local:2,S").write_bytes(text(subject("written near")).replace(b"\r\n", b"\n"))
        for path in [*(self.mail / "INBOX").glob("cur/*"), *(self.mail / "INBOX").glob("new/*")]:
            content = path.read_bytes()
            letters = {subject("delete near"): "ST", subject("flag near"): "FS"}
            for name, flags in letters.items():
                if f"Subject: {name}".encode() in content:
                    path.rename(self.mail / "INBOX/cur" / (path.name.split(":2,")[0] + f":2,{flags}"))
        with imap(self.user) as client:
            self.ok(client.select("INBOX"))
            for name, flag in (("read far", "\\Seen"), ("delete far", "\\Deleted")):
                number, = self.ok(client.search(None, "SUBJECT", f'"{subject(name)}"'))
                self.ok(client.store(number.decode(), "+FLAGS", flag))
            self.ok(client.expunge())
            self.ok(client.create(f"work/{mark}"))
            self.ok(client.append(f"work/{mark}", "(\\Answered)", None, text("x")))
        self.sync()
        expected = {subject("read far"): {"S"}, subject("flag near"): {"F", "S"}, subject("written near"): {"S"}}
        self.assertEqual({k: v for k, v in self.local().items() if k.startswith(mark)}, expected)
        self.assertEqual({k: {f[1] for f in v} for k, v in self.flags().items() if k.startswith(mark)}, expected)
        self.assertEqual(self.local(f"work/{mark}"), {"x": {"R"}})
        # Nothing to do: nothing changes, at neither end.
        before, state = tree(self.mail), self.server_state()
        done = self.sync()
        self.assertEqual(tree(self.mail), before)
        self.assertEqual(self.server_state(), state)
        self.assertNotRegex(done.stdout, r"\+[1-9]")


class Fetchmail(Case):
    def fetch(self, protocol, port, *options, tls="ssl sslcertck"):
        """Fetches into a file for each message; the files' contents."""
        into = self.folder / "fetched"
        into.mkdir(exist_ok=True)
        rc = self.folder / "fetchmailrc"
        rc.write_text(
            f'poll {HOST} protocol {protocol} service {server.ports[port]} timeout {int(thurn.TIMEOUT)}\n'
            f'user "{self.user}" password "{thurn.PASSWORD}" {tls} sslcertfile "{server.certificate}" mda "cat > {into}/$$.$(date +%N)"\n')
        rc.chmod(0o600)
        done = thurn.run("fetchmail", "--nodetach", "--nosyslog", "--invisible", "-f", rc, "--pidfile", self.folder / "pid", *options,
                         check=False, env={**os.environ, "HOME": str(self.folder), "FETCHMAILHOME": str(self.folder)})
        self.assertIn(done.returncode, (0, 1), done.stderr + done.stdout)       # fetchmail(1): 1 is no mail
        found = sorted(path.read_bytes() for path in into.iterdir())
        for path in into.iterdir():
            path.unlink()
        return found

    def test_pop3_and_imap_with_tls_and_starttls(self):
        for protocol, port, tls in (("POP3", "pop3s", "ssl sslcertck"), ("IMAP", "imaps", "ssl sslcertck"),
                                    ("POP3", "pop3", 'sslproto "tls1.2+" sslcertck'), ("IMAP", "imap", 'sslproto "tls1.2+" sslcertck')):
            with self.subTest(f"{protocol} {port}"):
                sent = [text(f"{port} {n}", f".dot {n}\r\nFrom here\r\n.") for n in range(3)]
                self.put(*sent)
                got = self.fetch(protocol, port, tls=tls)
                self.assertEqual([m.replace(b"\r\n", b"\n") for m in got], [m.replace(b"\r\n", b"\n") for m in sent])
                self.assertEqual(self.subjects(), [])           # fetched is deleted
                self.assertEqual(self.fetch(protocol, port, tls=tls), [])

    def test_keeping_and_fetching_only_what_is_new(self):
        self.put(text("old"))
        for protocol, port in (("POP3", "pop3s"), ("IMAP", "imaps")):
            with self.subTest(protocol):
                options = ("--keep", "--uidl") if protocol == "POP3" else ("--keep",)
                first = self.fetch(protocol, port, *options)
                self.assertGreaterEqual(len(first), 1)
                self.assertEqual(self.fetch(protocol, port, *options), [])
                self.put(text(f"new for {protocol}"))
                self.assertEqual(len(self.fetch(protocol, port, *options)), 1)


class Getmail(Case):
    """getmail does not deliver for root: then it runs as nobody, in a folder that nobody may enter."""

    def setUp(self):
        super().setUp()
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="thurn-test-getmail-"))
        self.addCleanup(shutil.rmtree, self.place)
        shutil.copy(server.certificate, self.place / "ca.pem")
        self.identity = {"user": "nobody", "group": "nogroup"} if os.getuid() == 0 else {}

    def getmail(self, kind, port, destination, *options, protocol_lines=()):
        rc = self.place / "getmailrc"
        rc.write_text("\n".join([
            "[retriever]", f"type = Simple{kind}Retriever", f"server = {HOST}", f"port = {server.ports[port]}",
            f"username = {self.user}", f"password = {thurn.PASSWORD}", f"ca_certs = {self.place}/ca.pem", *protocol_lines,
            "[destination]", *destination, "[options]", "delivered_to = false", "received = false", "verbose = 1", *options, ""]))
        data = self.place / "state"
        data.mkdir(exist_ok=True)
        for path in (self.place, *self.place.rglob("*")) if self.identity else ():
            shutil.chown(path, **self.identity)
        return thurn.run("getmail", f"--rcfile={rc}", f"--getmaildir={data}", cwd=self.place, **self.identity,
                         **({"extra_groups": []} if self.identity else {}), env={**os.environ, "HOME": str(self.place)})

    def maildir(self, name):
        path = self.place / name
        for part in ("cur", "new", "tmp"):
            (path / part).mkdir(parents=True, exist_ok=True)
        return path

    def test_pop3_and_imap_to_a_maildir(self):
        sent = [text(f"message {n}") for n in range(5)]
        for kind, port in (("POP3SSL", "pop3s"), ("IMAPSSL", "imaps")):
            with self.subTest(kind):
                self.put(*sent)
                path = self.maildir(kind)
                destination = ("type = Maildir", f"path = {path}/")
                self.getmail(kind, port, destination, "read_all = false")
                strip = lambda m: m.replace(b"X-getmail-retrieved-from-mailbox: INBOX\n", b"").removeprefix(b"Return-Path: <unknown>\n")
                got = sorted(strip(p.read_bytes()) for p in (path / "new").iterdir())
                self.assertEqual(got, [m.replace(b"\r\n", b"\n") for m in sent])
                self.getmail(kind, port, destination, "read_all = false")               # nothing is new
                self.assertEqual(len(list((path / "new").iterdir())), len(sent))
                self.getmail(kind, port, destination, "read_all = true", "delete = true")
                self.assertEqual(self.subjects(), [])

    def test_imap_folders_to_an_mbox(self):
        self.put(text("in the inbox"))
        self.put(text("in the archive"), folder="Archive")
        path = self.place / "mbox"
        path.touch()
        self.getmail("IMAPSSL", "imaps", ("type = Mboxrd", f"path = {path}"), "delete = true",
                     protocol_lines=('mailboxes = ("INBOX", "Archive")',))
        content = path.read_text()
        self.assertEqual(len(re.findall(r"^From ", content, re.M)), 2)
        self.assertIn("Subject: in the inbox", content)
        self.assertIn("Subject: in the archive", content)
        self.assertEqual(self.subjects() + self.subjects("Archive"), [])


class Openssl(Case):
    def client(self, lines, port, starttls=None):
        words = ["openssl", "s_client", "-quiet", "-crlf", "-verify_return_error", "-CAfile", server.certificate, "-verify_hostname",
                 HOST, "-connect", f"{HOST}:{server.ports[port]}"]
        if starttls:
            words += ["-starttls", starttls, *(["-name", "client.test"] if starttls == "smtp" else [])]
        return thurn.run(*words, input="".join(f"{line}\n" for line in lines)).stdout

    def test_imap(self):
        self.put(text("by openssl"))
        lines = [f"a LOGIN {self.user} {thurn.PASSWORD}", "b SELECT INBOX", "c FETCH 1 (BODY.PEEK[HEADER.FIELDS (SUBJECT)])", "d LOGOUT"]
        for port, starttls in (("imaps", None), ("imap", "imap")):
            with self.subTest(port):
                said = self.client(lines, port, starttls)
                self.assertIn("Subject: by openssl", said)
                self.assertRegex(said, r"(?m)^d OK")

    def test_pop3(self):
        self.put(text("by openssl"))
        lines = [f"USER {self.user}", f"PASS {thurn.PASSWORD}", "RETR 1", "QUIT"]
        for port, starttls in (("pop3s", None), ("pop3", "pop3")):
            with self.subTest(port):
                self.assertIn("Subject: by openssl", self.client(lines, port, starttls))

    def test_smtp(self):
        for port, starttls in (("submissions", None), ("submission", "smtp"), ("smtp", "smtp")):
            with self.subTest(port):
                said = self.client(["EHLO client.test", "NOOP", "QUIT"], port, starttls)
                self.assertIn("PIPELINING", said)
                self.assertNotIn("STARTTLS", said.split("PIPELINING")[-1])
                self.assertRegex(said, r"(?m)^221")

    def test_old_versions_of_tls_are_refused(self):
        for version in ("-tls1", "-tls1_1"):                    # RFC 8996
            done = thurn.run("openssl", "s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-connect",
                             f"{server.address}:{server.ports['imaps']}", input="", check=False)
            self.assertNotEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
