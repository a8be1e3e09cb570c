"""What is wrong is said in one line that names the thing and the way out; a disk that is full takes no mail and loses none;
logs are lines that programs can read, without a password or a body in them."""
import base64
import contextlib
import imaplib
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading
import unittest

import sealed
import thurn
from talk import Talk, mails, submission, submit, tls_client_context

SECRET = "Rumpelstilzchen-7"
BODY = "quidquid-agis-prudenter"


def processes_of(server):
    """Command lines of all processes that were started with this server's folder or program."""
    found = {}
    for path in pathlib.Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                words = (path / "cmdline").read_bytes()
                if os.readlink(path / "exe") == server.program or str(server.folder).encode() in words:
                    found[int(path.name)] = words
    return found


class BadInput(unittest.TestCase):
    def setUp(self):
        self.server = self.enterContext(thurn.one_server(start=False))
        self.server.write_config()
        self.good = self.server.config.read_text()

    def refused(self, *names, text=None, **how):
        """Starts it; the one line that it says has to contain all of these."""
        if text is not None:
            self.server.config.write_text(text)
        before = set(processes_of(self.server))
        done = subprocess.run([self.server.program, "serve", "--config", str(self.server.config)], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=thurn.TIMEOUT, **how)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("thurn: "), done.stderr)
        for name in names:
            self.assertIn(str(name), done.stderr)
        mine = {pid for pid, words in processes_of(self.server).items() if str(self.server.folder).encode() in words}
        self.assertEqual(mine - before, set(), "a process remains")
        run = self.server.folder / "run"
        self.assertEqual(list(run.iterdir()) if run.exists() else [], [])
        return done.stderr

    def test_a_wrong_setting_names_file_line_and_what_would_be_right(self):
        place = str(self.server.config)
        for text, names in (
                (self.good.replace("edges: 2", "edges: many"), ("limits.edges", "many", "number between")),
                (self.good.replace("host_name:", "hostname:"), ("hostname", 'did you mean "host_name"')),
                (self.good.replace("  retry_first: 1s", "  retry_first: soon"), ("delivery.retry_first", "soon", "30m")),
                (self.good.replace("host_name: mail.recipient.test", "host_name: mail..test"), ("host_name", "mail..test")),
                (self.good.replace("listen:", "listen: {}\nlisten:"), ("listen", "second time")),
                (self.good.replace(f'"{self.server.address}:{self.server.ports["pop3"]}"', '"no.such:host:110"'), ("listen.pop3", "no.such:host:110")),
                (self.good + "nonsense: [\n", ("",)),
                (self.good + "routes:\n  - { domain: x.test, hosts: y.test }\n", ("hosts", "host")),
                (self.good + "routes:\n  - { domain: x.test, host: y.test, user: me }\n", ("password_file",)),
                ("", ("host_name",))):
            with self.subTest(names):
                self.assertNotEqual(text, self.good)
                said = self.refused(*names, text=text)
                self.assertIn(place, said)
                if text:
                    self.assertRegex(said, re.escape(place) + r":\d+:\d+: ")
                checked = subprocess.run([self.server.program, "check", str(self.server.config)], capture_output=True, text=True)
                self.assertEqual((checked.returncode, "thurn: " + checked.stderr), (1, said))     # the same answer without starting

    def test_a_configuration_that_is_not_there(self):
        self.server.config.unlink()
        self.refused(self.server.config, "thurn setup")

    def test_files_that_cannot_be_read(self):
        password = self.server.folder / "password"
        for text, name in ((self.good.replace(str(self.server.certificate), "/nonexistent/certificate.pem"), "/nonexistent/certificate.pem"),
                           (self.good.replace(f"key: {self.server.key}", "key: /nonexistent/key.pem"), "/nonexistent/key.pem"),
                           (self.good + f"routes:\n  - {{ domain: '*', host: y.test, tls: must, user: me, password_file: {password} }}\n", password),
                           (self.good.replace("data_dir: ", "data_dir: /proc/nonexistent"), "/proc/nonexistent"),
                           (self.good.replace(f"file: {self.server.log_path}", "file: /nonexistent/log"), "/nonexistent/log")):
            with self.subTest(name):
                self.refused(name, text=text)

    @unittest.skipUnless(os.geteuid() == 0, "needs root, to be somebody else")
    def test_a_key_that_may_not_be_read(self):
        for path in (self.server.folder, *self.server.folder.parents[:1]):
            path.chmod(0o777)
        self.server.certificate.chmod(0o644)
        # The program may stand where only root comes: it is copied to where nobody can run it.
        program = self.server.folder / "thurn"
        shutil.copy(self.server.program, program)
        program.chmod(0o755)
        self.server.program = str(program)
        self.refused(self.server.key, "Permission denied", user=65534, group=65534, extra_groups=[])

    def test_certificate_and_key_that_do_not_fit(self):
        thurn.run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.server.key)
        self.refused(self.server.key, self.server.certificate)

    def test_a_certificate_that_is_none(self):
        self.server.certificate.write_text("no certificate\n")
        self.refused(self.server.certificate)

    def test_data_of_a_newer_version(self):
        self.server.start()
        self.server.add_domain()
        self.server.add_account("bob")
        self.server.stop()
        data = self.server.folder / "data"
        for file, sql in (("directory/directory.db", "UPDATE meta SET value = 99 WHERE name = 'format'"),
                          ("store/state.db", "UPDATE meta SET value = 99 WHERE key = 'format'")):
            with self.subTest(file):
                kept = self.server.folder / "kept"
                shutil.copytree(data, kept)
                self.assertEqual(sealed.edit(data / file, sql), 1)
                self.refused(data / file.split("/")[0], "99", "version")
                shutil.rmtree(data)
                kept.rename(data)
        self.server.start()

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("unshare"), "needs root and namespaces")
    def test_no_dns_server(self):
        empty = self.server.folder / "resolv.conf"
        empty.write_text("# nothing\n")
        wrapper = self.server.folder / "in-namespace"
        wrapper.write_text(f"#!/bin/sh\nexec unshare -m sh -c 'mount --bind {empty} /etc/resolv.conf && exec {self.server.program} \"$@\"' sh \"$@\"\n")
        wrapper.chmod(0o755)
        if subprocess.run([wrapper, "version"], capture_output=True).returncode != 0:
            self.skipTest("this machine does not let root make a mount namespace")
        plain, self.server.program = self.server.program, str(wrapper)
        self.refused("no DNS server", "dns.servers")
        self.server.program = plain

    def test_a_dns_server_that_is_down_makes_mail_wait_and_says_so(self):
        """It may come back: the server starts, what is local works, and what waits says why."""
        with thurn.socket.socket(thurn.socket.AF_INET, thurn.socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            port = silent.getsockname()[1]
        self.server.config.write_text(self.good + f'dns:\n  servers: ["127.0.0.1@{port}"]\n')
        self.server.start()
        self.server.add_domain()
        self.server.add_account("alice")
        first = submit(self.server, "alice", ["x@elsewhere.test"], b"From: alice@recipient.test\r\nSubject: x\r\n\r\nx\r\n")
        submit(self.server, "alice", ["alice@recipient.test"], b"From: alice@recipient.test\r\nSubject: x\r\n\r\nx\r\n")
        self.assertEqual(len(mails(self.server, "alice")), 1)
        thurn.wait_until(lambda: [e for e in self.server.why(first)["events"] if e["event"] == "attempt"], "the first attempt", timeout=120)
        row, = self.server.queue(first)[0]["recipients"]
        self.assertEqual((row["state"], row["status"]), ("due", "4.4.3"))
        self.assertIn("DNS", row["last"])
        self.assertIn("DNS", self.server.events("no-next-hop", id=first)[0]["why"])


def has_mounts():
    """May this test mount a file system of its own?"""
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0


class FullDisk(unittest.TestCase):
    """On a file system of its own. What is preallocated is 64 MiB at a time, and a reserve of two of that is kept for flags,
    expunges and the outcomes of deliveries."""

    def mount(self, folder, size):
        folder.mkdir(parents=True)
        thurn.run("mount", "-t", "tmpfs", "-o", f"size={size}", "thurn-test", folder)
        self.addCleanup(subprocess.run, ["umount", "-l", str(folder)])

    def setUp(self):
        if not has_mounts():
            self.skipTest("needs root and the right to mount")
        self.server = self.enterContext(thurn.one_server(accounts=(), start=False))

    def deliver(self, subject, body=b"x\r\n" * 100):
        """The first reply that is not 2xx or 3xx, or the last one."""
        with Talk(self.server.address, self.server.ports["smtp"]) as talk:
            talk.greet()
            for line in ("MAIL FROM:<x@client.test>", "RCPT TO:<bob@recipient.test>", "DATA"):
                got = talk.command(line)
                if got[0] not in "23":
                    return got
            talk.send(f"Subject: {subject}\r\n\r\n".encode() + body + b".\r\n")
            return talk.reply()

    def test_full_it_takes_no_mail_and_goes_on_reading_and_room_made_is_used_again(self):
        self.mount(self.server.folder / "data", "320m")
        self.server.start()
        self.server.add_domain()
        self.server.add_account("bob")
        self.assertTrue(self.deliver("before").startswith("250"))
        ballast = self.server.folder / "data/ballast"
        with open(ballast, "wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        thurn.wait_until(lambda: self.deliver("full").startswith("452 4.3.1"), "452 for want of room")
        accepted = len(mails(self.server, "bob"))
        got = self.deliver("still full")                                                 # at MAIL, before the message is sent
        self.assertTrue(got.startswith("452 4.3.1"))
        self.assertNotIn("/", got)
        with submission(self.server, "bob") as talk:
            self.assertTrue(talk.command("MAIL FROM:<bob@recipient.test>").startswith("452 4.3.1"))
        # Reading works, and so does what makes room.
        client = imaplib.IMAP4_SSL(self.server.address, self.server.ports["imaps"], ssl_context=tls_client_context())
        client.login("bob@recipient.test", thurn.PASSWORD)
        self.assertEqual(client.select("INBOX")[0], "OK")
        self.assertIn(b"Subject: before", client.fetch("1", "(BODY[HEADER])")[1][0][1])
        self.assertEqual(client.store("1", "+FLAGS", r"(\Flagged)")[0], "OK")
        try:
            said = client.append("INBOX", None, None, b"Subject: appended\r\n\r\n" + b"x\r\n" * 1000)[0]
        except imaplib.IMAP4.error:
            said = "NO"
        self.assertEqual(said, "NO")
        client.logout()
        self.assertEqual(len(mails(self.server, "bob")), accepted)
        self.assertEqual(self.server.events("role-died"), [])
        said = self.server.events("sender-refused")[-1]                                  # where, the administrator is told alone
        self.assertIn(str(self.server.folder / "data"), said["why"])
        # Room again: mail again, without a restart; and nothing was lost on the way.
        ballast.unlink()
        thurn.wait_until(lambda: self.deliver("after").startswith("250"), "mail to be taken again")
        self.assertGreater(len(mails(self.server, "bob")), accepted)
        self.assertEqual(self.server.stop(), 0)
        self.server.start()
        self.assertTrue(mails(self.server, "bob")[0].count(b"Subject: before"))

    def test_a_disk_too_small_from_the_start_takes_nothing_and_says_so(self):
        self.mount(self.server.folder / "data", "1m")
        self.server.start()
        self.server.add_domain()
        self.server.add_account("bob")
        self.assertTrue(self.deliver("too much").startswith("452 4.3.1"))
        thurn.run("mount", "-o", "remount,size=320m", self.server.folder / "data")       # a larger disk, under the running server
        thurn.wait_until(lambda: self.deliver("enough").startswith("250"), "mail to be taken")
        self.assertEqual(len(mails(self.server, "bob")), 1)
        self.assertEqual(self.server.stop(), 0)


class Logs(unittest.TestCase):
    def exercise(self, server):
        """Everything that handles passwords and bodies, right and wrong."""
        bob = "bob@recipient.test"
        password_file = server.folder / "secret"
        password_file.write_text(SECRET + "\n")
        server.thurn("account", "add", bob, "--password-file", password_file)
        server.thurn("account", "password", bob, input=SECRET + "\n")
        plain = base64.b64encode(f"\0{bob}\0{SECRET}".encode())
        wrong = base64.b64encode(f"\0{bob}\0{SECRET}x".encode())
        with Talk(server.address, server.ports["submissions"], tls=True) as talk:
            talk.greet()
            talk.command(b"AUTH PLAIN " + wrong)
            talk.command(b"AUTH PLAIN")
            talk.command(wrong)
            talk.command("AUTH LOGIN")
            talk.command(base64.b64encode(bob.encode()))
            talk.command(base64.b64encode(SECRET.encode()))
            talk.command(b"AUTH PLAIN " + plain)                                           # out of order by now
            talk.command(b"XAUTH " + plain)                                                # and an unknown command
            talk.mail(bob, "elsewhere@nowhere.recipient.test", bob,
                      text=f"From: {bob}\r\nSubject: {BODY} in the subject\r\n\r\n{BODY}\r\n".encode())
        with Talk(server.address, server.ports["smtp"]) as talk:                           # bodies that are refused, torn, misplaced
            talk.greet()
            talk.command("MAIL FROM:<x@client.test>")
            talk.command(f"RCPT TO:<{bob}>")
            talk.command("DATA")
            talk.send(f"Subject: x\n{BODY}\r\n.\r\n{BODY}\r\n")
            talk.reply(), talk.reply()
            talk.mail("x@client.test", bob, text=f"Subject: x\r\n\r\n{BODY}\r\n".encode())
            talk.send(f"BDAT 100\r\n{BODY}")
        for line in (f"a LOGIN {bob} {SECRET}x", f"b LOGIN {bob} {{{len(SECRET)}+}}\r\n{SECRET}"):
            with Talk(server.address, server.ports["imaps"], tls=True) as talk:
                talk.line()
                talk.send(line + "\r\n")
                talk.line()
                talk.send(f"c SEARCH BODY {BODY}\r\nd LOGIN {bob} {SECRET}\r\ne APPEND INBOX {{{len(BODY) + 4}+}}\r\n\r\n{BODY}\r\n\r\nf LOGOUT\r\n")
                talk.rest()
        for word in (SECRET + "x", SECRET):
            with Talk(server.address, server.ports["pop3s"], tls=True) as talk:
                talk.line()
                talk.send(f"USER {bob}\r\nPASS {word}\r\nRETR 1\r\nPASS {SECRET}\r\nQUIT\r\n")
                talk.rest()
        server.thurn("send", "--server", f"{server.address}:{server.ports['submission']}", "--tls", "starttls", "--insecure", "--user", bob,
                     "--password-file", password_file, "--from", bob, "--to", bob, "--subject", "x", "--body-file", "-", input=BODY)
        return plain, wrong

    def test_no_password_and_no_body_is_in_a_log_or_a_command_line(self):
        with thurn.one_server(accounts=()) as server:
            seen, over = [], threading.Event()

            def watch():
                while not over.wait(0.01):
                    seen.extend(processes_of(server).values())
            watcher = threading.Thread(target=watch)
            watcher.start()
            try:
                plain, wrong = self.exercise(server)
            finally:
                over.set()
                watcher.join()
            self.assertTrue([words for words in seen if b"--role" in words or b"post" in words])
            log = server.log_path.read_bytes() + server.stderr_path.read_bytes()
            self.assertIn(b'"event":"accepted"', log)
            self.assertIn(b"bob@recipient.test", log)
            for secret in (SECRET.encode(), plain, wrong, base64.b64encode(SECRET.encode()), BODY.encode()):
                self.assertNotIn(secret, log)
                self.assertFalse([words for words in seen if secret in words])
            for path in (server.folder / "data/directory").rglob("*"):
                self.assertNotIn(SECRET.encode(), path.read_bytes(), path)                 # verifiers, never passwords

    def hostile(self, server):
        """What strangers may write goes to the log escaped."""
        for name in ('"},{"event":"forged', "a\\", "\x1b[31m", "ü" * 10, "x" * 400, "\x7f\x01", "{}", "%s%n"):
            for line in (f"EHLO {name}", f"MAIL FROM:<{name}@x.test>", f'MAIL FROM:<"{name}"@x.test>', f"RCPT TO:<{name}>", f"AUTH PLAIN {name}"):
                with Talk(server.address, server.ports["smtp"]) as talk:
                    talk.greet()
                    if line.startswith("RCPT"):
                        talk.expect("MAIL FROM:<>", "250")
                    talk.command(line)
        with Talk(server.address, server.ports["smtp"]) as talk:
            talk.greet()
            talk.send(b"\xff\xfe\n\0\r\n" * 3 + b'RCPT TO:<"a\nevent=forged"@x.test>\r\n')
            talk.send(b"\x16\x03\x01\x02\x00" * 100 + b"\r\n")
            talk.socket.shutdown(thurn.socket.SHUT_WR)
            talk.rest()
        with Talk(server.address, server.ports["imaps"], tls=True) as talk:
            talk.line()
            talk.send(b'a LOGIN "x\\"} event=forged" {3+}\r\n\xff\n\x01\r\n\r\n')
            talk.send("b LOGOUT\r\n")
            talk.rest()

    def test_every_line_of_a_json_log_is_an_object_with_the_usual_members(self):
        with thurn.one_server() as server:
            self.hostile(server)
            with submission(server) as talk:
                talk.mail("alice@recipient.test", "bob@recipient.test", text=b"From: alice@recipient.test\r\n\r\nx\r\n")
            server.thurn("reload")
            self.assertEqual(server.stop(), 0)
            text = server.log_path.read_bytes()
            self.assertTrue(text.endswith(b"\n"))
            rows = [json.loads(line) for line in text.decode("utf-8").splitlines()]
            self.assertEqual(len(rows), text.count(b"\n"))
            for row in rows:
                self.assertLessEqual({"time", "level", "role", "pid", "event"}, set(row), row)
                self.assertRegex(row["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            self.assertNotIn("forged", {row["event"] for row in rows})

    def test_every_line_of_a_text_log_is_a_line_of_key_and_value(self):
        with thurn.one_server(start=False) as server:
            server.write_config()
            server.config.write_text(server.config.read_text().replace("format: json", "format: text"))
            server.start()
            self.hostile(server)
            self.assertEqual(server.stop(), 0)
            value = r'(?:"(?:[^"\\\x00-\x1f]|\\.)*"|[^\s"\\\x00-\x1f]*)'
            for line in server.log_path.read_text(errors="surrogateescape").split("\n")[:-1]:
                self.assertRegex(line, rf"^\S+( [a-z]\S*)*?( [a-z0-9-]+={value})*$")
                self.assertNotIn(" event=forged", line.split(" ")[0:3])


if __name__ == "__main__":
    unittest.main(verbosity=2)
