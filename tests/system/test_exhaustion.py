"""When something runs out: room on the disk, descriptors, memory; and what strangers can make grow (doc/limits.md has the figures).

Mail is refused with 4xx before it is taken, reading and deleting go on, what was acknowledged is there, room that is made is used
again without a restart, and no role grows past a stated ceiling.

THURN_WHOLE=1: the attacks in their whole size (10,000 connections, 1 GB, a million recipients, 200,000 messages), for the figures."""
import contextlib
import itertools
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import load_client
import thurn
from talk import Sink, Talk, mails

WHOLE = os.environ.get("THURN_WHOLE") == "1"
DOMAIN = "recipient.test"
LISTENS = ("smtp", "submission", "lmtp", "imap", "pop3")
WITNESS = thurn.BUILD / "tests/system/powercut.so"
MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")


def in_namespace():
    """Mounts of this program are its own, and go with it. Where that cannot be, the tests that need one fail: they were not made."""
    if "THURN_TEST_MOUNTS" in os.environ:
        return
    os.environ["THURN_TEST_MOUNTS"] = "yes"
    words = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
    probe = subprocess.run([*words, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    if probe.returncode != 0:
        os.environ["THURN_TEST_MOUNTS"] = probe.stderr.strip() or "no"
        return
    os.execvp("unshare", [*words, sys.executable, *sys.argv])


def user(name):
    return f"{name}@{DOMAIN}"


def imap_as(server, name):
    return contextlib.closing(load_client.Imap(server.address, server.ports["imap"], user(name), thurn.PASSWORD))


def proportional(pid):
    """Memory that is a process's own part (PSS), in bytes."""
    with contextlib.suppress(OSError):
        return int(re.search(r"^Pss:\s+(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1]) * 1024
    return 0


class Watch:
    """The most that each role needed while the with-block ran: {role: bytes}, edges one by one."""

    def __init__(self, server):
        self.rows = [(f"{row['role']}", row["pid"]) for row in server.roles() if row["role"] != "launcher"]
        self.before = {pid: proportional(pid) for _, pid in self.rows}
        self.most = dict(self.before)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.over.wait(0.05):
            self.look()

    def look(self):
        for _, pid in self.rows:
            self.most[pid] = max(self.most[pid], proportional(pid))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.look()

    def peak(self, role):
        return max(self.most[pid] for name, pid in self.rows if name == role)

    def __str__(self):
        return ", ".join(f"{name} {self.before[pid] / MIB:.0f} -> {self.most[pid] / MIB:.0f} MiB" for name, pid in self.rows)


def say(text):
    print(f"    {text}", file=sys.stderr)


class Base(unittest.TestCase):
    settings = "auth_without_tls_on_loopback: yes\n"
    sections = {}

    def serve(self, accounts=("bob",), room=None, haste=None, small=False, **options):
        """A server, its data on a tmpfs of `room` bytes when given."""
        env = {"LD_PRELOAD": str(WITNESS), "POWERCUT_HASTE": str(haste)} if haste else {}
        self.server = server = self.enterContext(thurn.one_server(accounts=(), start=False, domain=DOMAIN, protocols=LISTENS, env=env,
                                                                  **{"settings": self.settings, "sections": self.sections, **options}))
        if room:
            self.assertEqual(os.environ.get("THURN_TEST_MOUNTS"), "yes",
                             "needs a mount name space of its own with a tmpfs in it: as root, or where users may make name spaces")
            server.data.mkdir(parents=True)
            thurn.run("mount", "-t", "tmpfs", "-o", f"size={room}", "thurn-test", server.data)
            self.addCleanup(subprocess.run, ["umount", "-l", str(server.data)])
        server.start()
        if small:
            server.stop()
            server.use_small_segments()
            server.start()
        server.add_domain()
        for name in accounts:
            server.add_account(name)
        return server

    def deliver(self, key, size=2000, to="bob"):
        """The first reply that is not 2xx or 3xx, or the last one, and the command that it was for."""
        text = f"X-Key: {key}\r\nSubject: {key}\r\n\r\n".encode() + b"0123456789012345678901234567890123456789012345678901234567890123456789\r\n" * (size // 72)
        with Talk(self.server.address, self.server.ports["smtp"]) as talk:
            talk.greet()
            for line in ("MAIL FROM:<x@client.test>", f"RCPT TO:<{user(to) if '@' not in to else to}>", "DATA"):
                got = talk.command(line)
                if got is None or got[0] not in "23":
                    return got, line
            talk.send(text + b".\r\n")
            return talk.reply(), "."

    def keys_of(self, name="bob"):
        with imap_as(self.server, name) as imap:
            return sorted(row[0] for row in load_client.look(imap)[0]["INBOX"].values())

    def nobody_died(self):
        self.assertEqual(self.server.events("role-died"), [], self.server.said()[-2000:])


class FullDisk(Base):
    """The log's segments have 256 KiB, two of which are the reserve for what makes room again; post's minute has three seconds."""

    def fill(self, kept):
        """Until the disk is full. Every refusal has to come before the message, and be temporary."""
        for number in itertools.count(len(kept)):
            got, line = self.deliver(f"m{number}", 60000)
            if got.startswith("250"):
                kept.append(f"m{number}")
                continue
            self.assertTrue(got.startswith("452 4.3.1"), got)
            self.assertNotIn("/", got)
            if line.startswith("MAIL"):
                return
        raise AssertionError

    def test_mail_fills_it_and_room_made_by_deleting_is_used_again_without_a_restart(self):
        self.serve(room=16 * MIB, haste=20, small=True)
        counts = []
        for _ in range(3):
            kept = []
            self.fill(kept)
            counts.append(len(kept))
            self.assertGreater(len(kept), 40)
            self.assertEqual(self.keys_of(), sorted(kept))
            with imap_as(self.server, "bob") as imap:
                imap.command("SELECT INBOX")
                imap.command("STORE 1:* +FLAGS (\\Flagged $Seen)")
                with self.assertRaises(load_client.Refused):
                    for number in range(1000):              # what is taken fills the reserve of nobody
                        imap.command("APPEND INBOX", b"Subject: x\r\n\r\n" + b"x\r\n" * 40000)
                imap.command("STORE 1:* +FLAGS.SILENT (\\Deleted)")
                imap.command("EXPUNGE")
            thurn.wait_until(lambda: self.deliver("again", 100)[0].startswith("250"), "mail to be taken again", timeout=4 * thurn.TIMEOUT)
            with imap_as(self.server, "bob") as imap:
                imap.command("SELECT INBOX")
                imap.command("STORE 1:* +FLAGS.SILENT (\\Deleted)")
                imap.command("EXPUNGE")
        say(f"a disk of 16 MiB took {counts} messages of 60 kB, one filling after the other")
        self.assertGreater(min(counts[1:]), counts[0] // 2, "room that was made is room")
        self.nobody_died()
        self.assertEqual(self.server.stop(), 0)

    def test_what_is_queued_still_leaves_and_comes_back_and_a_restart_works(self):
        """Q2: outcomes have their place although nothing new is taken."""
        with Sink("127.0.0.9", answer=lambda verb, line, sink: "550 5.1.1 nobody of that name" if "nobody" in line and verb == "RCPT" else None) as sink:
            hold = f'{{ domain: elsewhere.test, host: "[127.0.0.9]", port: {sink.port} }}'
            self.serve(room=16 * MIB, haste=20, small=True, settings=self.settings + f"routes: [ {hold} ]", accounts=("bob", "alice"))
            login = (user("alice"), thurn.PASSWORD)
            ids = []
            with contextlib.closing(load_client.Smtp(self.server.address, self.server.ports["submission"], login=login)) as smtp:
                sink_port = sink.port
                sink.stop()
                for number in range(20):
                    smtp.command(f"MAIL FROM:<{login[0]}>")
                    smtp.command(f"RCPT TO:<{'nobody' if number % 2 else 'friend'}{number}@elsewhere.test>")
                    smtp.command("DATA", "354")
                    smtp.send(f"From: {login[0]}\r\nX-Key: q{number}\r\nSubject: x\r\n\r\n".encode() + b"x\r\n.\r\n")
                    ids.append(smtp.reply("250").split()[-1])
            self.assertEqual({row["id"] for row in self.server.queue()}, set(ids))
            kept = []
            self.fill(kept)
            sink.port = sink_port
            sink.start()
            thurn.wait_until(lambda: not self.server.queue(), "the queue to be empty", timeout=4 * thurn.TIMEOUT)
            came = sorted(load_client.key_of(text) for text in sink.messages)
            self.assertEqual(came, sorted(f"q{number}" for number in range(0, 20, 2)))
            bounces = [text for text in mails(self.server, "alice", ) if b"multipart/report" in text] if "pop3s" in self.server.ports else self.reports()
            self.assertEqual(len(bounces), 10)
            self.assertEqual(self.server.stop(), 0)
            self.server.start()
            self.assertEqual(self.keys_of(), sorted(kept))
            self.nobody_died()

    def reports(self):
        with imap_as(self.server, "alice") as imap:
            return [row[2] for row in load_client.look(imap)[0]["INBOX"].values() if b"multipart/report" in row[2]]

    def test_others_fill_it_to_the_last_byte_and_nothing_acknowledged_is_lost(self):
        """Not a byte is left, not for a checkpoint either: the server refuses, reads, and is whole when there is room again."""
        server = self.serve(room=24 * MIB, haste=20, small=True, accounts=load_client.Load.account_names())
        record = load_client.Record()
        with load_client.Load(server.address, server.ports, DOMAIN, thurn.PASSWORD, record, seed=5, sizes=(200, 6000), large=0) as load:
            ballast = server.data / "ballast"
            for _ in range(3):
                record.wait_for_more(100)
                with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
                    while file.write(bytes(65536)):
                        pass
                thurn.wait_until(lambda: self.deliver("probe", 100, "nobody-reads-this")[0].startswith("4"), "mail to be refused")
                ballast.unlink()
                thurn.wait_until(lambda: not self.deliver("probe", 100, "nobody-reads-this")[0].startswith("4"), "mail to be taken")
            record.wait_for_more(50)
        self.nobody_died()
        server.stop()
        server.start()
        wrong, now = [], time.monotonic()
        for name in load_client.Load.account_names():
            with imap_as(server, name) as imap:
                seen = load_client.look(imap)
            if name.startswith("imap"):
                wrong += record.judge_account(name, now, seen)
            elif name != "sender":
                wrong += record.judge_inbox(name, now, seen, no_means_no=True)
        self.assertEqual(wrong[:10], [])


class Descriptors(Base):
    def test_without_descriptors_nobody_dies_nobody_spins_and_later_all_goes_on(self):
        self.serve(program=self.limited("--nofile=90:90"))
        edges = [row["pid"] for row in self.server.roles() if row["role"] == "edge"]
        self.assertTrue(self.deliver("before")[0].startswith("250"))
        with contextlib.ExitStack() as stack:
            waiting = [stack.enter_context(socket.create_connection((self.server.address, self.server.ports["smtp"]), thurn.TIMEOUT)) for _ in range(400)]
            before, since = sum(self.cpu(pid) for pid in edges), time.monotonic()
            greeted = self.greeted(waiting)
            for talk in waiting[:3]:                        # whoever is in is served
                talk.sendall(b"NOOP\r\n")
            while time.monotonic() - since < 2:             # a stretch of time to look at, whatever happens in it
                time.sleep(0.1)
            spent = sum(self.cpu(pid) for pid in edges) - before
            elapsed = time.monotonic() - since
            say(f"400 connections, 90 descriptors a role: {greeted} greeted, the edges needed {spent / elapsed * 100:.0f} % of a processor")
            self.assertLess(greeted, 200)
            self.assertLess(spent, elapsed * 0.5)
            for connection in waiting:
                connection.close()
        thurn.wait_until(lambda: self.deliver("after")[0].startswith("250"), "mail to be taken again")
        self.assertEqual(self.keys_of(), ["after", "before"])
        self.nobody_died()

    def limited(self, *words):
        """The program under other limits: a script in its place."""
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="thurn-test-")))
        script = folder / "thurn"
        script.write_text(f"#!/bin/sh\nexec prlimit {' '.join(words)} -- {thurn.THURN} \"$@\"\n")
        script.chmod(0o755)
        return script

    @staticmethod
    def cpu(pid):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @staticmethod
    def greeted(connections):
        """How many have been: with a pause for those who never will be."""
        count = 0
        for connection in connections:
            connection.settimeout(thurn.TIMEOUT if count == 0 else 0.02)
            with contextlib.suppress(TimeoutError):
                count += connection.recv(4096).startswith(b"220")
        return count

    def test_post_without_descriptors_refuses_and_loses_nothing(self):
        """Each reader is a descriptor in post: hundreds of them leave none for the store's files."""
        self.serve(accounts=("bob", "alice"))
        post = next(row["pid"] for row in self.server.roles() if row["role"] == "post")
        self.assertTrue(self.deliver("before")[0].startswith("250"))
        used = len(list(pathlib.Path(f"/proc/{post}/fd").iterdir()))
        resource.prlimit(post, resource.RLIMIT_NOFILE, (used + 20, used + 20))
        kept = ["before"]
        with contextlib.ExitStack() as stack:
            told = 0
            for _ in range(60):
                try:
                    stack.enter_context(imap_as(self.server, "alice"))
                except (load_client.Refused, OSError):
                    told += 1
            self.assertGreater(told, 20)
            for number in range(20):
                got, _ = self.deliver(f"m{number}")
                self.assertIn(got[0], "24", got)
                kept += [f"m{number}"] if got.startswith("250") else []
        thurn.wait_until(lambda: (self.deliver("after")[0] or "").startswith("250"), "mail to be taken again")
        found = self.keys_of()
        self.assertEqual(sorted(set(found) - {"after"}), sorted(kept))
        self.nobody_died()


class Memory(Base):
    def test_roles_with_little_memory_refuse_or_begin_anew_and_nothing_is_lost(self):
        """Each role may have 24 MiB more than it has: a few large things at once are too many."""
        server = self.serve(accounts=load_client.Load.account_names())
        server.may_lose_roles = True
        record = load_client.Record()
        over = threading.Event()

        def squeeze():
            squeezed = set()
            while not over.wait(0.05):
                with contextlib.suppress(AssertionError, OSError, ValueError):
                    for row in server.roles():
                        if row["role"] not in ("launcher", "keys") and row["state"] == "ready" and row["pid"] not in squeezed:
                            size = int(pathlib.Path(f"/proc/{row['pid']}/statm").read_text().split()[0]) * resource.getpagesize()
                            resource.prlimit(row["pid"], resource.RLIMIT_AS, (size + 24 * MIB, size + 24 * MIB))
                            squeezed.add(row["pid"])
        squeezer = threading.Thread(target=squeeze, daemon=True)
        squeezer.start()
        with load_client.Load(server.address, server.ports, DOMAIN, thurn.PASSWORD, record, seed=9, sizes=(200, 6000), large=0.05):
            for _ in range(4):
                record.wait_for_more(60)
                with contextlib.ExitStack() as stack:       # 300 times 120 kB are more than there is
                    for _ in range(300):
                        with contextlib.suppress(AssertionError, OSError, TypeError):
                            talk = stack.enter_context(Talk(server.address, server.ports["smtp"]))
                            talk.greet()
                            talk.expect("MAIL FROM:<x@client.test>", "250")
                            talk.expect(f"RCPT TO:<{user('recipient0')}>", "250")
                            talk.expect("DATA", "354")
                            talk.send(b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 1600)
            over.set()
            squeezer.join()
            record.wait_for_more(20)
        thurn.wait_until(lambda: all(row["state"] == "ready" for row in server.roles()), "all to be ready")
        say(f"deaths for want of memory: {[row['name'] for row in server.events('role-died')]}")
        wrong, now = [], time.monotonic()
        server.stop()
        server.start()
        for name in load_client.Load.account_names():
            with imap_as(server, name) as imap:
                seen = load_client.look(imap)
            if name.startswith("imap"):
                wrong += record.judge_account(name, now, seen)
            elif name != "sender":
                wrong += record.judge_inbox(name, now, seen)
        self.assertEqual(wrong[:10], [])


class Ceilings(Base):
    """What a stranger can do, and how much each role needs at most. A row of doc/limits.md each."""

    def connect(self, stack, count, protocols=("smtp", "imap", "pop3")):
        resource.setrlimit(resource.RLIMIT_NOFILE, (count + 1000, max(count + 1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
        return [stack.enter_context(socket.create_connection((self.server.address, self.server.ports[protocols[n % len(protocols)]]), thurn.TIMEOUT))
                for n in range(count)]

    def test_connections_that_each_send_half_a_line(self):
        count = 10000 if WHOLE else 2000
        self.serve(sections={"limits": ["connections: 8000"]})
        with contextlib.ExitStack() as stack, Watch(self.server) as watch:
            connections = self.connect(stack, count)
            for connection in connections:
                connection.recv(4096)
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.sendall(b"A" * 2000)
            thurn.wait_until(lambda: self.deliver("meanwhile")[0] is not None, "an answer")
            watch.look()
        say(f"{count} connections with half a line: {watch}")
        self.assertLess(watch.peak("edge"), 16 * MIB + count // 2 * 24 * 1024)
        self.assertLess(watch.peak("post"), 40 * MIB)
        thurn.wait_until(lambda: self.deliver("after")[0].startswith("250"), "mail to be taken")
        self.nobody_died()

    def begin_bodies(self, stack, count, size):
        """So many messages of which all but the end is sent. How many were let in so far."""
        talks, piece = [], (b"y" * 70 + b"\r\n") * (size // 72)
        for _ in range(count):
            talk = stack.enter_context(Talk(self.server.address, self.server.ports["smtp"]))
            talk.send(f"EHLO x\r\nMAIL FROM:<x@client.test>\r\nRCPT TO:<{user('bob')}>\r\nDATA\r\n".encode())
            talks.append(talk)
        let_in = []
        for talk in talks:
            talk.greet_reply = [talk.reply() for _ in range(5)]
            if talk.greet_reply[-1] and talk.greet_reply[-1].startswith("354"):
                let_in.append(talk)
                with contextlib.suppress(OSError):
                    talk.send(piece)
        return let_in

    def test_messages_that_do_not_end(self):
        count = 10000 if WHOLE else 3000
        resource.setrlimit(resource.RLIMIT_NOFILE, (count + 1000, max(count + 1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
        self.serve(sections={"limits": ["connections: 8000"]})
        with contextlib.ExitStack() as stack, Watch(self.server) as watch:
            let_in = self.begin_bodies(stack, count, 120000)
            with imap_as(self.server, "bob") as imap:       # post has read what was sent before this is answered
                imap.command("NOOP")
            watch.look()
        say(f"{count} messages of 120 kB that do not end, {len(let_in)} let in: {watch}")
        self.assertLess(watch.peak("post"), 250 * MIB)
        thurn.wait_until(lambda: (self.deliver("after")[0] or "").startswith("250"), "mail to be taken")
        self.nobody_died()

    def test_a_message_of_a_gigabyte(self):
        size = 1000 * MIB if WHOLE else 100 * MIB
        self.serve(settings=self.settings, sections={"limits": [f"message_size: {64 * 1024}"]})
        with Talk(self.server.address, self.server.ports["smtp"]) as talk:
            talk.greet()
            self.assertTrue(talk.command(f"MAIL FROM:<x@client.test> SIZE={size}").startswith("552 5.3.4"))
        for limit in (64 * 1024, 1500 * MIB):
            self.server.sections = {"limits": [f"message_size: {limit}"]}
            self.server.write_config()
            self.server.thurn("reload")
            with Watch(self.server) as watch, Talk(self.server.address, self.server.ports["smtp"], timeout=10 * thurn.TIMEOUT) as talk:
                thurn.wait_until(lambda: self.offered() == limit, "the limit to be in force")
                talk.greet()
                for line in ("MAIL FROM:<x@client.test>", f"RCPT TO:<{user('bob')}>", "DATA"):
                    self.assertIn(talk.command(line)[0], "23")
                piece = (b"z" * 70 + b"\r\n") * 14563           # a MiB
                for _ in range(size // len(piece)):
                    talk.send(piece)
                talk.send(b".\r\n")
                got = talk.reply()
            self.assertTrue(got.startswith("250" if limit > size else "552 5.3.4"), got)
            say(f"a message of {size // MIB} MiB, limit {limit // 1024} KiB, answered {got[:3]}: {watch}")
            self.assertLess(watch.peak("edge"), 40 * MIB)
            self.assertLess(watch.peak("post"), 100 * MIB)
        with imap_as(self.server, "bob") as imap, Watch(self.server) as watch:
            imap.command("SELECT INBOX")
            imap.send("r FETCH 1 (BODY.PEEK[])\r\n")
            left, line = size // len(piece) * len(piece), b""
            while not line.startswith(b"* 1 FETCH"):
                line = imap.line()
            left = int(re.search(rb"\{(\d+)\}", line)[1])
            while left > 0:
                data = imap.have or imap.socket.recv(min(left, MIB))
                imap.have = b""
                self.assertTrue(data)
                left -= len(data)
        say(f"reading it: {watch}")
        self.assertLess(watch.peak("post"), 100 * MIB)
        self.nobody_died()

    def offered(self):
        with Talk(self.server.address, self.server.ports["smtp"]) as talk:
            return next(int(line[5:]) for line in talk.greet() if line.startswith("SIZE "))

    def recipients(self, talk, count, tag):
        """RCPT after RCPT in one transaction, pipelined. How many were taken."""
        taken = 0
        for start in range(0, count, 500):
            lines = [f"RCPT TO:<bob+{tag}.{n}@{DOMAIN}> ORCPT=rfc822;{'o' * 400}{n}@{DOMAIN}\r\n" for n in range(start, min(count, start + 500))]
            talk.send("".join(lines))
            for _ in lines:
                got = talk.reply()
                if got is None or got.startswith("421"):
                    return taken
                taken += got.startswith("250")
        return taken

    def test_recipients_by_the_hundred_thousand(self):
        whole = 1000000 if WHOLE else 100000
        self.serve(settings=self.settings)
        with Watch(self.server) as watch, Talk(self.server.address, self.server.ports["smtp"]) as talk:
            talk.greet()
            talk.expect("MAIL FROM:<x@client.test>", "250")
            taken = self.recipients(talk, whole // 10, "one")
        say(f"{whole // 10} recipients in one transaction, {taken} taken: {watch}")
        self.assertLessEqual(taken, 1000)
        self.assertLess(watch.peak("post"), 60 * MIB)
        count, total = whole // 1000, 0
        with contextlib.ExitStack() as stack, Watch(self.server) as watch:
            for number in range(count):
                talk = stack.enter_context(Talk(self.server.address, self.server.ports["smtp"]))
                talk.greet()
                if talk.command("MAIL FROM:<x@client.test>").startswith("250"):
                    total += self.recipients(talk, 1000, f"many{number}")
            watch.look()
        say(f"{whole} recipients in {count} transactions at once, {total} taken: {watch}")
        self.assertLess(watch.peak("post"), 250 * MIB)
        self.assertLess(watch.peak("edge"), 16 * MIB + count * 64 * 1024)
        thurn.wait_until(lambda: self.deliver("after")[0].startswith("250"), "mail to be taken")
        self.nobody_died()

    def test_an_import_of_very_many_messages(self):
        count = 200000 if WHOLE else 20000
        self.serve()
        source = self.server.folder / "mbox"
        with open(source, "wb") as file:
            for number in range(count):
                file.write(f"From x@client.test Sun Nov 22 10:00:00 2026\nFrom: x@client.test\nSubject: {number}\nMessage-ID: <{number}@x>\n\nbody {number}\n\n".encode())
        with Watch(self.server) as watch:
            self.server.thurn("import", "mbox", source, "--server", f"{self.server.address}:{self.server.ports['imap']}", "--tls", "none", "--insecure",
                              "--user", user("bob"), env={"THURN_PASSWORD": thurn.PASSWORD}, timeout=3600)
        say(f"{count} messages imported over IMAP: {watch}")
        self.assertLess(watch.peak("post"), 40 * MIB + count * 400)
        with imap_as(self.server, "bob") as imap, Watch(self.server) as watch:
            rows, _ = imap.command("SELECT INBOX")
            self.assertIn(f"* {count} EXISTS".encode(), [row[0] for row in rows])
            rows, _ = imap.command("FETCH 1:* (UID FLAGS)")
            self.assertEqual(len(rows), count)
            imap.command("SEARCH TEXT 12345")
        say(f"reading that mailbox: {watch}")
        self.assertLess(watch.peak("post"), 80 * MIB + count * 800)
        self.nobody_died()


if __name__ == "__main__":
    in_namespace()
    unittest.main(verbosity=2)
