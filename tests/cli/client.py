#!/usr/bin/env python3
"""The tools for people (send, fetch, sendmail) against servers that are scripts: good ones, rude ones and hostile ones.

    client.py THURN

Each test is a function whose docstring is its sentence; each gets an empty folder of its own. All servers listen on
loopback, on ports that the system gives.
"""
import base64
import email
import email.policy
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading

THURN = str(pathlib.Path(sys.argv[1]).resolve())
SHARED = pathlib.Path(tempfile.mkdtemp(prefix="thurn-client-"))
CERTIFICATE, KEY = SHARED / "cert.pem", SHARED / "key.pem"


class Failed(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Failed(what)


def thurn(*words, status=0, input=None, name="thurn", env=None):
    """Runs it to its end; fails when its exit status is another one."""
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC", "THURN_PASSWORD": "secret word", **(env or {})}
    done = subprocess.run([name, *map(str, words)], executable=THURN, capture_output=True, env=environment, timeout=60,
                          **({"input": input} if input is not None else {"stdin": subprocess.DEVNULL}))
    done.out, done.err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if done.returncode != status:
        raise Failed(f"{name} {' '.join(map(str, words))}: exit status {done.returncode}, want {status}\n{done.out}{done.err}")
    return done


class Server:
    """One script a connection: `talk(self, stream)`. What went wrong in it fails the test."""

    def __init__(self, talk, path=None, tls=False):
        self.talk, self.tls, self.problems, self.connections = talk, tls, [], 0
        if path:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.bind(str(path))
        else:
            self.socket = socket.socket()
            self.socket.bind(("127.0.0.1", 0))
            self.port = self.socket.getsockname()[1]
        self.socket.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        stream = Stream(connection)
        try:
            if self.tls:
                stream.start_tls()
            self.talk(stream)
        except (OSError, EOFError):
            pass
        except Exception as problem:
            self.problems.append(repr(problem))
        stream.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        if kind is None:
            check(not self.problems, self.problems)


class Stream:
    def __init__(self, connection):
        self.connection, self.buffer, self.has_tls = connection, b"", False

    def start_tls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE, KEY)
        self.buffer = b""
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.has_tls = True

    def fill(self):
        piece = self.connection.recv(65536)
        if not piece:
            raise EOFError
        self.buffer += piece

    def line(self):
        while b"\r\n" not in self.buffer:
            self.fill()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode(errors="surrogateescape")

    def take(self, size):
        while len(self.buffer) < size:
            self.fill()
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def text(self):
        """Up to the line with a dot, which is not part of it."""
        data, self.buffer, seen = bytearray(b"\r\n" + self.buffer), b"", 0
        while (end := data.find(b"\r\n.\r\n", max(0, seen - 5))) < 0:
            seen = len(data)
            self.fill()
            data += self.buffer
            self.buffer = b""
        self.buffer = bytes(data[end + 5:])
        return bytes(data[2:end + 2])

    def say(self, text):
        self.connection.sendall(text.encode() if isinstance(text, str) else text)

    def close(self):
        try:
            self.connection.close()
        except OSError:
            pass


# ---- SMTP ----

class Smtp:
    """A server that takes messages: (sender, recipients, bytes); extensions and refusals by setting."""

    def __init__(self, extensions=("PIPELINING", "8BITMIME", "SIZE 100000000", "ENHANCEDSTATUSCODES"), starttls=True, auth=True, refused=(),
                 unusual=None):
        self.extensions, self.starttls, self.auth, self.refused = extensions, starttls, auth, refused
        self.unusual = unusual or {}
        self.messages, self.passwords, self.commands = [], [], []

    def hello(self, s):
        words = ["mail.test", *self.extensions]
        if self.starttls and not s.has_tls:
            words.append("STARTTLS")
        if self.auth and (s.has_tls or not self.starttls):
            words.append("AUTH PLAIN")
        s.say("".join(f"250{'-' if i + 1 < len(words) else ' '}{word}\r\n" for i, word in enumerate(words)))

    def __call__(self, s):
        s.say("220 mail.test ready\r\n")
        sender, recipients = None, []
        while True:
            line = s.line()
            self.commands.append(line)
            verb = line.upper().split(" ")[0]
            if verb in self.unusual:
                s.say(self.unusual[verb])
            elif verb in ("EHLO", "HELO", "LHLO"):
                self.hello(s)
            elif verb == "STARTTLS":
                s.say("220 go on\r\n")
                s.start_tls()
            elif verb == "AUTH":
                self.passwords.append(base64.b64decode(line.split(" ")[2]))
                s.say("235 2.7.0 welcome\r\n" if self.passwords[-1] == b"\0ann\0secret word" else "535 5.7.8 no\r\n")
            elif verb == "MAIL":
                sender, recipients = line, []
                s.say("250 2.1.0 ok\r\n")
            elif verb == "RCPT":
                if any(who in line for who in self.refused):
                    s.say("550 5.1.1 nobody of that name\r\n")
                else:
                    recipients.append(line)
                    s.say("250 2.1.5 ok\r\n")
            elif verb == "DATA":
                if not recipients:
                    s.say("554 5.5.1 nobody to give it to\r\n")
                    continue
                s.say("354 go on\r\n")
                body = s.text()
                self.messages.append((sender, recipients, b"\r\n".join(l[1:] if l.startswith(b".") else l for l in body.split(b"\r\n"))))
                s.say("250 2.0.0 queued as Q1\r\n")
            elif verb == "BDAT":
                size = int(line.split(" ")[1])
                body = s.take(size)
                self.partial = getattr(self, "partial", b"") + body
                if line.upper().endswith("LAST"):
                    self.messages.append((sender, recipients, self.partial))
                    self.partial = b""
                s.say("250 2.0.0 queued as Q2\r\n")
            elif verb == "QUIT":
                s.say("221 bye\r\n")
                return
            else:
                s.say("250 ok\r\n")


def target(server, *more):
    return ["-s", f"127.0.0.1:{server.port}", "--ca", CERTIFICATE, "-u", "ann", *more]


def test_send(folder):
    """a message with a subject in many scripts and an attachment arrives as it was meant, over STARTTLS with a password"""
    smtp = Smtp()
    (folder / "böse datei.pdf").write_bytes(bytes(range(256)) * 1000)
    with Server(smtp) as server:
        done = thurn("send", *target(server, "--from", "Änn <ann@example.org>", "--to", "bob@example.net, Carl C. <carl@example.net>", "--cc", "d@example.net",
                                     "--bcc", "e@example.net", "--subject", "Grüße 日本語 😀", "--body", "Erste Zeile\n.\nFrom me\n",
                                     "--attach", folder / "böse datei.pdf"))
    check("250 2.0.0 queued as Q1" in done.out and done.out.count("accepted") == 4, done.out)
    (sender, recipients, body), = smtp.messages
    check(sender.startswith("MAIL FROM:<ann@example.org>") and len(recipients) == 4, (sender, recipients))
    message = email.message_from_bytes(body, policy=email.policy.default)
    check(message["Subject"] == "Grüße 日本語 😀", message["Subject"])
    check(message["From"].addresses[0].display_name == "Änn" and str(message["To"].addresses[1].display_name) == "Carl C.", message["From"])
    check("e@example.net" not in body.decode("ascii") and message["Bcc"] is None, "Bcc shows")
    text, attachment = message.iter_parts()
    check(text.get_content().replace("\r\n", "\n") == "Erste Zeile\n.\nFrom me\n", text.get_content())
    check(attachment.get_content_type() == "application/pdf" and attachment.get_filename() == "böse datei.pdf", attachment.items())
    check(attachment.get_content() == bytes(range(256)) * 1000, "the attachment changed")
    check(message["Message-ID"] and message["Date"] and smtp.passwords == [b"\0ann\0secret word"], "fields")


def test_send_json(folder):
    """what happened is said for a program: TLS, recipient by recipient, and refusals"""
    smtp = Smtp(refused=("nobody@",))
    with Server(smtp) as server:
        done = thurn("send", *target(server, "--from", "ann@example.org", "--to", "bob@example.net", "--to", "nobody@example.net", "--body", "x", "--json"), status=1)
    said = json.loads(done.out)
    check(said["tls_version"] == "TLSv1.3" and said["tls_verified"] and said["port"] == server.port, said)
    good, bad = said["recipients"]
    check(good["accepted"] and good["code"] == 250 and good["reply"] == "queued as Q1" or "queued as Q1" in good["reply"], good)
    check(not bad["accepted"] and bad["code"] == 550 and bad["status"] == "5.1.1" and not bad["temporary"], bad)


def test_send_raw(folder):
    """a raw message keeps its bytes, line ends become CRLF, recipients come from it, Bcc goes"""
    smtp = Smtp()
    raw = folder / "m.eml"
    raw.write_bytes(b"From: ann@example.org\nTo: bob@example.net,\n carl@example.net\nBcc: d@example.net\n e@example.net\nSubject: x\n\n.dot\n..\nlast")
    raw.write_bytes(raw.read_bytes().replace(b"Bcc: d@example.net\n e@", b"Bcc: d@example.net,\n e@"))
    with Server(smtp) as server:
        thurn("send", *target(server, "--raw", raw, "-t"))
    (sender, recipients, body), = smtp.messages
    check("ann@example.org" in sender and len(recipients) == 4, (sender, recipients))
    check(body == b"From: ann@example.org\r\nTo: bob@example.net,\r\n carl@example.net\r\nSubject: x\r\n\r\n.dot\r\n..\r\nlast\r\n", body)


def test_send_binary(folder):
    """a raw message with bare CR and NUL goes byte for byte by BDAT, or not at all"""
    raw = folder / "m.eml"
    raw.write_bytes(b"From: ann@example.org\n\na\rb\0c\xff\n")
    smtp = Smtp(extensions=("PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME"))
    with Server(smtp) as server:
        thurn("send", *target(server, "--raw", raw, "--to", "b@example.net"))
    (sender, _, body), = smtp.messages
    check("BODY=BINARYMIME" in sender.upper() and body == b"From: ann@example.org\r\n\r\na\rb\0c\xff\r\n", (sender, body))
    smtp = Smtp()
    with Server(smtp) as server:
        thurn("send", *target(server, "--raw", raw, "--to", "b@example.net"), status=1)
    check(not smtp.messages, "it was sent all the same")


def test_send_large(folder):
    """an attachment of 30 MB passes through"""
    smtp = Smtp()
    content = os.urandom(30_000_000)
    (folder / "large.bin").write_bytes(content)
    with Server(smtp) as server:
        thurn("send", *target(server, "--from", "ann@example.org", "--to", "b@example.net", "--body", "x", "--attach", folder / "large.bin"))
    (_, _, body), = smtp.messages
    check(list(email.message_from_bytes(body, policy=email.policy.default).iter_attachments())[0].get_content() == content, "it changed")


def test_send_trust(folder):
    """no password goes to a server whose certificate is not trusted, names another host, or that offers no TLS"""
    smtp = Smtp()
    words = ["--from", "ann@example.org", "--to", "b@example.net", "--body", "x"]
    with Server(smtp) as server:
        done = thurn("send", "-s", f"127.0.0.1:{server.port}", "-u", "ann", *words, status=1)
        check("certificate is not trusted" in done.err and "--ca" in done.err, done.err)
        done = thurn("send", *target(server, "--tls-name", "other.test", *words), status=1)
        check("certificate is not trusted" in done.err, done.err)
        thurn("send", *target(server, "--tls-name", "mail.test", *words))
    smtp = Smtp(starttls=False)
    with Server(smtp) as server:
        done = thurn("send", *target(server, *words), status=1)
        check("TLS" in done.err, done.err)
        done = thurn("send", *target(server, *words, "--json"), status=1)
        check("TLS" in json.loads(done.out)["error"], done.out)
    check(not smtp.passwords and not smtp.messages, smtp.commands)


def test_send_wrong(folder):
    """what is wrong is named before anything is sent"""
    smtp = Smtp()
    with Server(smtp) as server:
        for words, status, says in [
            (["--from", "ann@example.org", "--body", "x"], 1, "--to"),
            (["--from", "no address", "--to", "b@example.net", "--body", "x"], 1, "no address"),
            (["--from", "ann@example.org", "--to", "b@example.net", "--attach", folder / "missing"], 1, "missing"),
            (["--from", "ann@example.org", "--to", "b@example.net", "--body-file", folder / "missing"], 1, "missing"),
            (["--to", "b@example.net", "--body", "x"], 2, "--from"),
            (["--from", "ann@example.org", "--raw", "x", "--subject", "y"], 2, "--raw"),
            (["--from", "ann@example.org", "--to", "b@example.net", "--body", "x", "--tls", "maybe"], 2, "starttls, implicit or none"),
        ]:
            done = thurn("send", *target(server, *words), status=status)
            check(says in done.err, done.err)
    check(server.connections == 0, "something was sent")


# ---- sendmail ----

def local_server(folder, smtp):
    thurn("setup", "--prefix", folder / "t", "mail.example.test")
    path, env = folder / "t/run", {"THURN_CONFIG": str(folder / "t/thurn.yaml")}
    path.mkdir(parents=True, exist_ok=True)
    return Server(smtp, path=path / "submit.sock"), env


def test_sendmail(folder):
    """sendmail takes a message as cron and PHP give it: -t, a dot ends it, fields that are missing are added"""
    smtp = Smtp(starttls=False, auth=False)
    server, env = local_server(folder, smtp)
    with server:
        thurn("-t", "-fann@example.org", "-F", "Ann Ä", input=b"To: bob@example.net, root\nSubject: x\nBcc: c@example.net\n\nline\n..\n.\nrest\n", env=env, name="sendmail")
        thurn("-oi", "-f", "ann@example.org", "bob@example.net", input=b"Subject: x\r\n\r\nline\r\n.\r\nrest", env=env, name="/usr/sbin/sendmail")
        thurn("-i", "-f", "", "--", "bob@example.net", input=b"no header at all: perhaps\nbut this is none\n", env=env, name="sendmail")
    (one, to_one, first), (_, _, second), (null, _, third) = smtp.messages
    check("<ann@example.org>" in one and len(to_one) == 3 and any("root@mail.example.test" in r for r in to_one), (one, to_one))
    message = email.message_from_bytes(first, policy=email.policy.default)
    check(message["From"].addresses[0].display_name == "Ann Ä" and message["Date"] and message["Message-ID"] and message["Bcc"] is None, first)
    check(first.endswith(b"\r\n\r\nline\r\n..\r\n"), first)
    check(second.endswith(b"Subject: x\r\n\r\nline\r\n.\r\nrest\r\n"), second)
    check(null.startswith("MAIL FROM:<>") and b"\r\n\r\nbut this is none\r\n" in third or b"\r\n\r\nno header" in third, third)


def test_sendmail_status(folder):
    """sendmail's exit status is what scripts expect: 64 wrong words, 67 nobody, 69 refused, 75 later"""
    smtp = Smtp(starttls=False, auth=False, refused=("nobody@",))
    server, env = local_server(folder, smtp)
    with server:
        thurn("-i", "nobody@example.net", input=b"Subject: x\n\n", env=env, name="sendmail", status=67)
        thurn("-i", input=b"Subject: x\n\n", env=env, name="sendmail", status=64)
        thurn("-t", input=b"Subject: x\n\n", env=env, name="sendmail", status=64)
        thurn("-Z", "a@b.example", input=b"", env=env, name="sendmail", status=64)
        smtp.unusual = {"MAIL": "451 4.3.0 later\r\n"}
        thurn("-i", "a@example.net", input=b"Subject: x\n\n", env=env, name="sendmail", status=75)
        smtp.unusual = {"MAIL": "550 5.7.1 not you\r\n"}
        thurn("-i", "a@example.net", input=b"Subject: x\n\n", env=env, name="sendmail", status=69)
    done = thurn("-i", "a@example.net", input=b"Subject: x\n\n", env=env, name="sendmail", status=75)
    check("submit.sock" in done.err, done.err)


# ---- IMAP ----

class Imap:
    """Answers by a table: the command without its tag -> what to say before its OK."""

    def __init__(self, answers, greeting="* OK ready\r\n", capabilities="IMAP4rev1 SASL-IR LITERAL+ UIDPLUS AUTH=PLAIN", before_login=None):
        self.answers, self.greeting, self.capabilities, self.before_login, self.commands = answers, greeting, capabilities, before_login, []

    def __call__(self, s):
        s.say(self.greeting)
        while True:
            tag, _, command = s.line().partition(" ")
            self.commands.append(command)
            if command == "CAPABILITY":
                words = self.capabilities if self.before_login is None or s.has_tls else self.before_login
                s.say(f"* CAPABILITY {words}\r\n{tag} OK done\r\n")
            elif command == "STARTTLS":
                s.say(f"{tag} OK begin\r\n" + self.answers.get("STARTTLS", ""))
                s.start_tls()
            elif command.startswith("AUTHENTICATE"):
                check(base64.b64decode(command.split(" ")[2]) == b"\0ann\0secret word", command)
                s.say(f"{tag} OK welcome\r\n")
            elif command == "LOGOUT":
                s.say(f"* BYE bye\r\n{tag} OK\r\n")
                return
            else:
                known = [text for start, text in self.answers.items() if command.startswith(start)]
                answer = known[0] if known else ""
                if callable(answer):
                    answer(s, tag)
                else:
                    s.say(answer)
                    s.say(f"{tag} OK done\r\n")


def test_fetch_imap(folder):
    """messages come byte for byte, as literals, as strings, and with the UID behind the body"""
    large = b"Subject: large\r\n\r\n" + b"x" * 3_000_000 + b"\r\n"
    answers = {
        "EXAMINE": "* 3 EXISTS\r\n* FLAGS (\\Seen)\r\n",
        "UID FETCH": lambda s, tag: (s.say(b"* 1 FETCH (UID 7 BODY[] {%d}\r\n" % len(large) + large + b")\r\n"),
                                     s.say(b'* 2 FETCH (BODY[] "a: b" UID 9 FLAGS (\\Seen) X-NEW (1 (2 "3") {2}\r\nxx NIL))\r\n'),
                                     s.say(b"* 9 FETCH (FLAGS (\\Seen))\r\n* 4 EXISTS\r\n* 3 FETCH (UID 10 BODY[] {0}\r\n)\r\n" + tag.encode() + b" OK\r\n")),
    }
    imap = Imap(answers)
    with Server(imap, tls=True) as server:
        thurn("fetch", *target(server, "--tls", "implicit", "get", "--all", "--output", folder))
    check((folder / "7.eml").read_bytes() == large, "7")
    check((folder / "9.eml").read_bytes() == b"a: b", "9")
    check((folder / "10.eml").read_bytes() == b"", "10")
    check(sorted(p.name for p in folder.iterdir()) == ["10.eml", "7.eml", "9.eml"], list(folder.iterdir()))


def test_fetch_delete(folder):
    """what is deleted on the server is what was written, by UID, and nothing when writing fails"""
    answers = {"SELECT": "* 2 EXISTS\r\n", "EXAMINE": "* 2 EXISTS\r\n", "UID FETCH": "* 1 FETCH (UID 3 BODY[] {2}\r\nab)\r\n* 2 FETCH (UID 5 BODY[] {2}\r\ncd)\r\n"}
    imap = Imap(answers)
    with Server(imap, tls=True) as server:
        thurn("fetch", *target(server, "--tls", "implicit", "get", "3:5", "--output", folder, "--delete"))
        check([c for c in imap.commands if c.startswith("UID")][1:] == ["UID STORE 3,5 +FLAGS.SILENT (\\Deleted)", "UID EXPUNGE 3,5"], imap.commands)
        imap.commands.clear()
        thurn("fetch", *target(server, "--tls", "implicit", "get", "3:5", "--output", folder / "no/such/folder", "--delete"), status=1)
        (folder / "one-file").write_text("")
        said = thurn("fetch", *target(server, "--tls", "implicit", "get", "3:5", "--output", folder / "one-file", "--delete"), status=1).stderr
        check(b"several messages want a folder" in said, said)
        thurn("fetch", *target(server, "--tls", "implicit", "get", "3:5", "--output", f"{folder}/made"))
        check((folder / "made" / "3.eml").stat().st_size > 0, "the folder was made")
        check(not [c for c in imap.commands if "STORE" in c], imap.commands)


def test_fetch_list(folder):
    """folders and messages are listed, names decoded, with nothing that moves the cursor"""
    answers = {
        'LIST "" "*"': '* LIST (\\HasNoChildren \\Sent) "/" "Gesendete &- Entw&APw-rfe"\r\n* LIST (\\Noselect) NIL {5}\r\nlevel\r\n',
        "LSUB": '* LSUB () "/" "Gesendete &- Entw&APw-rfe"\r\n',
        "STATUS": '* STATUS "Gesendete &- Entw&APw-rfe" (MESSAGES 12 UNSEEN 3)\r\n',
        "EXAMINE": "* 1 EXISTS\r\n",
        "UID FETCH": "* 1 FETCH (UID 4 RFC822.SIZE 1234 FLAGS (\\Seen $Work) BODY[HEADER.FIELDS (DATE FROM SUBJECT)] {76}\r\n"
                     "Subject: =?utf-8?q?gr=C3=BCn=1B[31m?=\r\nFrom: =?utf-8?b?xLBzdGFuYnVs?= <a@b.c>\r\n\r\n\r\n)\r\n",
    }
    answers["UID FETCH"] = answers["UID FETCH"].replace("{76}", "{%d}" % len(answers["UID FETCH"].split("}\r\n", 1)[1].rsplit(")\r\n", 1)[0].encode()))
    imap = Imap(answers)
    with Server(imap, tls=True) as server:
        words = target(server, "--tls", "implicit")
        folders = [json.loads(line) for line in thurn("fetch", *words, "list", "--json").out.splitlines()]
        check(folders[0] == {"mailbox": "Gesendete & Entwürfe", "selectable": True, "subscribed": True, "messages": 12, "unseen": 3, "special_use": "\\Sent"}, folders)
        check(folders[1]["mailbox"] == "level" and not folders[1]["selectable"], folders)
        done = thurn("fetch", *words, "list", "messages")
        check("İstanbul <a@b.c>" in done.out and "grün" in done.out and "\x1b" not in done.out and "Seen $Work" in done.out, done.out)


def refuses(talk, says, tls=True, status=1, words=("list",), **more):
    with Server(talk, tls=tls) as server:
        done = thurn("fetch", *target(server, "--tls", "implicit" if tls else "starttls", *words), status=status, **more)
        check(says in done.err, done.err)


def test_imap_hostile(folder):
    """a server that lies, floods or breaks off is refused in one line and in bounded time and memory"""
    def listing(text):
        return Imap({"LIST": text})
    refuses(listing('* LIST (\\A) "/" {99999999999}\r\n'), "literal is too large")
    refuses(listing('* LIST (\\A) "/" "unterminated\r\n'), "cannot be understood")
    refuses(listing("* LIST " + "(" * 2000 + "\r\n"), "cannot be understood")
    refuses(listing("* LIST (" + "\\F " * 2000 + ') "/" x\r\n'), "too many flags")
    refuses(listing("* 1 FETCH (X " + "(" * 500 + ")" * 500 + ")\r\n"), "nested too deeply")
    refuses(listing("*" + " x" * 200_000 + "\r\n"), "too long")
    refuses(listing("A99 OK never asked\r\n"), "never given")
    refuses(listing("* BYE go away\r\n"), "go away")
    refuses(listing("* OK a\rb\r\n"), "bare CR")
    refuses(listing("+ go on\r\n"), "nothing more")
    refuses(lambda s: s.say("220 this is SMTP\r\n"), "no IMAP server")
    refuses(lambda s: s.say("* BYE too busy\r\n"), "too busy")
    refuses(lambda s: None, "closed the connection")
    refuses(Imap({}, capabilities="IMAP4rev1 LOGINDISABLED"), "lets nobody log in")


def test_imap_starttls(folder):
    """PREAUTH in front of STARTTLS is refused, what is injected behind STARTTLS is never seen, and no STARTTLS is no login"""
    refuses(Imap({}, greeting="* PREAUTH come in\r\n"), "PREAUTH", tls=False)
    refuses(Imap({}, before_login="IMAP4rev1 AUTH=PLAIN"), "offers no STARTTLS", tls=False)
    imap = Imap({"STARTTLS": "* CAPABILITY IMAP4rev1 LOGINDISABLED INJECTED\r\n", 'LIST "" "*"': '* LIST () "/" good\r\n', "STATUS": "* STATUS good (MESSAGES 1 UNSEEN 1)\r\n"},
                before_login="IMAP4rev1 STARTTLS")
    with Server(imap) as server:
        check("good" in thurn("fetch", *target(server, "--tls", "starttls", "list")).out, "no listing")


# ---- POP3 ----

class Pop3:
    def __init__(self, answers, capabilities=("USER", "UIDL", "SASL PLAIN"), greeting="+OK ready\r\n"):
        self.answers, self.capabilities, self.greeting, self.commands = answers, capabilities, greeting, []

    def __call__(self, s):
        s.say(self.greeting)
        while True:
            command = s.line()
            self.commands.append(command)
            if command == "CAPA":
                s.say("+OK\r\n" + "".join(f"{c}\r\n" for c in self.capabilities) + ".\r\n")
            elif command == "STLS":
                s.say("+OK\r\n" + self.answers.get("STLS", ""))
                s.start_tls()
            elif command.startswith("AUTH"):
                check(base64.b64decode(command.split(" ")[2]) == b"\0ann\0secret word", command)
                s.say("+OK\r\n")
            elif command in self.answers:
                s.say(self.answers[command])
            elif command == "QUIT":
                s.say("+OK bye\r\n")
                return
            else:
                s.say("+OK\r\n")


def test_fetch_pop3(folder):
    """messages come byte for byte with their dots, and are deleted when the server says so to QUIT"""
    pop3 = Pop3({"LIST": "+OK\r\n1 20\r\n3 10\r\n.\r\n", "RETR 1": b"+OK\r\na: b\r\n\r\n..\r\n...x\r\n.\r\n", "RETR 3": b"+OK\r\n.\r\n", "TOP 1 0": "+OK\r\nSubject: top\r\n\r\n.\r\n",
                 "TOP 3 0": "-ERR no\r\n", "UIDL 1": "+OK 1 abc\r\n"})
    words = ("-p", "pop3")
    with Server(pop3, tls=True) as server:
        thurn("fetch", *target(server, *words, "--tls", "implicit", "get", "--all", "-o", folder, "--delete"))
        check((folder / "1.eml").read_bytes() == b"a: b\r\n\r\n.\r\n..x\r\n" and (folder / "3.eml").read_bytes() == b"", "bytes")
        check(pop3.commands[-5:] == ["RETR 1", "DELE 1", "RETR 3", "DELE 3", "QUIT"], pop3.commands)
        done = thurn("fetch", *target(server, *words, "--tls", "implicit", "list", "messages", "--json"), status=1)
        check(json.loads(done.out)["subject"] == "top" and json.loads(done.out)["unique_id"] == "abc", done.out)
        pop3.answers["QUIT"] = "-ERR not all removed\r\n"
        done = thurn("fetch", *target(server, *words, "--tls", "implicit", "get", "1", "-o", folder, "--delete"), status=1)
        check("not all removed" in done.err, done.err)


def test_pop3_hostile(folder):
    """a POP3 server that lies or breaks off is refused in one line"""
    words = ("-p", "pop3", "list")
    refuses(Pop3({"LIST": "+OK\r\n" + "x" * 10000 + "\r\n"}), "too long", words=words)
    refuses(Pop3({"LIST": "+OK\r\n0 1\r\n.\r\n"}), "cannot be understood", words=words)
    refuses(Pop3({"LIST": "+OK\r\n99999999999 1\r\n.\r\n"}), "cannot be understood", words=words)
    refuses(Pop3({"LIST": "250 what\r\n"}), "no answer of a POP3 server", words=words)
    refuses(Pop3({"LIST": "-ERR [SYS/TEMP] later\r\n"}), "later", words=words)
    refuses(Pop3({}, capabilities=("UIDL",)), "offers no STLS", tls=False, words=words)
    refuses(lambda s: s.say("-ERR busy\r\n"), "busy", words=words)
    pop3 = Pop3({"STLS": "+OK injected\r\n", "LIST": "+OK\r\n1 5\r\n.\r\n"}, capabilities=("STLS", "SASL PLAIN"))
    with Server(pop3) as server:
        check("1 messages" in thurn("fetch", *target(server, "--tls", "starttls", *words)).out, "STLS")


# ---- import and export ----

def own_store(folder):
    thurn("setup", "--prefix", folder / "t", "mail.example.test")
    env = {"THURN_CONFIG": str(folder / "t/thurn.yaml")}
    for name in ("ann", "bob"):
        thurn("account", "add", f"{name}@example.test", input=b"secret word\n", env=env)
    return env


def make_maildir(root):
    messages = {
        "cur/1600000000.M1P1.h:2,FSab": b"Subject: one\n\nbody\n",
        "cur/1600000001.M1P1.h:2,": b"Subject: two\nStatus: R\n\nFrom me\n>From you\n.\n..\n",
        "new/1600000002.M1P1.h": b"Subject: three\n\nno line end",
        ".Archive.2024/cur/1600000003.M1P1.h:2,PRST": b"Subject: four\n\n" + b"x" * 3_000_000 + b"\n",
        ".Entw&APw-rfe/cur/1600000004.M1P1.h:2,D": b"Subject: five\n\n\xff\xfe\0\n",
    }
    for name, text in messages.items():
        path = root / name
        for part in ("cur", "new", "tmp"):
            (path.parent.parent / part).mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
        seconds = int(path.name[:10])
        os.utime(path, (seconds, seconds))
    (root / "dovecot-keywords").write_text("0 Urgent\n1 $Label1\n")
    (root / "subscriptions").write_text("V\t2\n\nArchive\t2024\n")
    return messages


def contents(root):
    """folder, time, flags, keyword letters and bytes of all messages of a Maildir"""
    found = set()
    for path in root.rglob("cur/*"):
        found.add((str(path.parent.relative_to(root)), int(path.stat().st_mtime), path.name.split(":2,")[1], path.read_bytes().rstrip(b"\n")))
    return found


def test_import_maildir(folder):
    """a Maildir comes in and goes out as it was: folders, flags, keywords, dates, subscriptions, bytes"""
    env = own_store(folder)
    messages = make_maildir(folder / "in")
    done = thurn("import", "maildir", folder / "in", "--account", "ann@example.test", "--journal", folder / "journal", "--json", env=env)
    said = json.loads(done.out)
    check(said["kept"] == 5 and said["skipped_count"] == 0 and said["folders"] == 3, said)
    said = json.loads(thurn("import", "maildir", folder / "in", "--account", "ann@example.test", "--journal", folder / "journal", "--json", env=env).out)
    check(said["kept"] == 0 and said["kept_before"] == 5, said)
    thurn("export", "maildir", folder / "out", "--account", "ann@example.test", env=env)
    want = {("cur", 1600000000, "FSab", messages["cur/1600000000.M1P1.h:2,FSab"].rstrip(b"\n")),
            ("cur", 1600000001, "", messages["cur/1600000001.M1P1.h:2,"].rstrip(b"\n")),
            ("cur", 1600000002, "", messages["new/1600000002.M1P1.h"]),
            (".Archive.2024/cur", 1600000003, "PRSTa", messages[".Archive.2024/cur/1600000003.M1P1.h:2,PRST"].rstrip(b"\n")),
            (".Entw&APw-rfe/cur", 1600000004, "D", messages[".Entw&APw-rfe/cur/1600000004.M1P1.h:2,D"].rstrip(b"\n"))}
    got = contents(folder / "out")
    check({(a, b, c) for a, b, c, _ in got} == {(a, b, c) for a, b, c, _ in want}, sorted((a, b, c) for a, b, c, _ in got))
    check(got == want, "bytes changed")
    check("Archive\t2024\n" in (folder / "out/subscriptions").read_text() and "Entw" not in (folder / "out/subscriptions").read_text(), "subscriptions")
    check((folder / "out/dovecot-keywords").read_text() == "0 Urgent\n1 $Label1\n", "keywords")


def test_import_mbox(folder):
    """mbox files come in and go out as they were, flags and keywords too; what export added import takes off"""
    env = own_store(folder)
    make_maildir(folder / "in")
    thurn("import", "maildir", folder / "in", "--account", "ann@example.test", env=env)
    thurn("export", "mbox", folder / "mbox", "--account", "ann@example.test", env=env)
    check(b"\n>From me\n>>From you\n" in (folder / "mbox/INBOX.mbox").read_bytes(), "From is not quoted")
    thurn("import", "mbox", folder / "mbox", "--account", "bob@example.test", env=env)
    thurn("export", "maildir", folder / "one", "--account", "ann@example.test", env=env)
    thurn("export", "maildir", folder / "two", "--account", "bob@example.test", env=env)
    check(contents(folder / "one") == contents(folder / "two"), "it changed on the way")
    other = folder / "other.mbox"
    other.write_bytes(b"From a@b Thu Jan  1 00:00:10 1970\nStatus: RO\nX-Status: AF\nX-Keywords: Work  \nSubject: x\n\ny\n")
    thurn("import", "mbox", other, "--account", "bob@example.test", "--mailbox", "Other/One", env=env)
    thurn("export", "mbox", folder / "single", "--account", "bob@example.test", "--mailbox", "Other/One", env=env)
    text = (folder / "single").read_bytes()
    check(b"X-Thurn-Added: 3\nStatus: RO\nX-Status: AF\nX-Keywords: Work\nStatus: RO\nX-Status: AF\n" in text, text)
    check(text.startswith(b"From MAILER-DAEMON Thu Jan  1 00:00:10 1970\n"), text)


def test_import_wrong(folder):
    """what cannot be imported or exported is named"""
    env = own_store(folder)
    for words, status, says in [
        (["import", "tar", "x", "--account", "ann@example.test"], 2, "mbox or maildir"),
        (["import", "mbox", "x"], 2, "--account"),
        (["import", "mbox", folder / "missing", "--account", "ann@example.test"], 1, "missing"),
        (["import", "maildir", folder, "--account", "ann@example.test"], 1, "no Maildir"),
        (["import", "mbox", folder, "--account", "eve@example.test"], 1, "no such account"),
        (["import", "mbox", folder, "--account", "ann@example.test", "--config", folder / "none.yaml"], 1, "none.yaml"),
        (["export", "mbox", folder / "x", "--account", "ann@example.test", "--mailbox", "Nowhere"], 1, "no such folder"),
        (["export", "maildir", folder / "t/no/such", "--account", "ann@example.test"], 1, "No such file"),
    ]:
        done = thurn(*words, status=status, env=env)
        check(says in done.err, done.err)


def main():
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", KEY, "-out", CERTIFICATE,
                    "-days", "2", "-subj", "/CN=mail.test", "-addext", "subjectAltName=DNS:mail.test,IP:127.0.0.1"], check=True, capture_output=True)
    failed = 0
    wanted = sys.argv[2:]
    for name, test in list(globals().items()):
        if not name.startswith("test_") or (wanted and name not in wanted):
            continue
        folder = pathlib.Path(tempfile.mkdtemp(prefix="thurn-client-"))
        try:
            test(folder)
            print(f"ok   {test.__doc__}")
        except Exception as problem:
            failed += 1
            print(f"FAIL {name}: {test.__doc__}\n     {type(problem).__name__}: {problem}")
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(SHARED, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
